//! Guards of a part of what is locked, as std's, which are not stable yet.
//!
//! Facts:
//! 1. A hold exists only while its lock is had, in the way that its guard had it: it is made of a
//!    guard that is used up, and its destructor is the only thing that gives the lock back.
//! 2. The part is reached by a pointer that was made from a reference into the locked value, which
//!    lives and stays where it is for as long as the lock is borrowed.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::mutex::{MutexGuard, MutexHold};
use super::rwlock::{ReadHold, RwLockReadGuard, RwLockWriteGuard, WriteHold};

/// `map` and `filter_map` of one kind of guard. `as_mut` or `as_ref` says how its value is lent.
macro_rules! maps {
    ($From:ident => $Mapped:ident, $lend:ident, $Value:ty => $Part:ty) => {
        impl<'a, T: ?Sized> $From<'a, T> {
            /// Goes on with a part of the value. An associated function, to be called as
            #[doc = concat!("`", stringify!($From), "::map(guard, f)`:")]
            /// a method would hide those of the value.
            ///
            /// # Examples
            #[doc = concat!("See [`", stringify!($Mapped), "`].")]
            ///
            /// # Panics
            /// When `f` does; the lock is released then.
            ///
            /// # Parks
            /// As `f` does.
            pub fn map<U, F>(orig: Self, f: F) -> $Mapped<'a, U>
            where
                U: ?Sized,
                F: FnOnce($Value) -> $Part,
            {
                #[allow(unused_mut, reason = "not where the value is only read")]
                let mut value = orig.pointer();
                // SAFETY: facts 1 and 2: `orig` has the lock while `f` runs, and is not used
                // otherwise; then the new guard has it.
                let part = NonNull::from(f(unsafe { value.$lend() }));
                $Mapped::new(part, orig.into_hold())
            }

            /// Goes on with a part of the value, if `f` finds it.
            ///
            /// # Examples
            #[doc = concat!("See [`", stringify!($Mapped), "`].")]
            ///
            /// # Errors
            /// The guard itself, when `f` returns `None`.
            ///
            /// # Panics
            /// # Parks
            /// As [`map`](Self::map).
            pub fn filter_map<U, F>(orig: Self, f: F) -> Result<$Mapped<'a, U>, Self>
            where
                U: ?Sized,
                F: FnOnce($Value) -> Option<$Part>,
            {
                #[allow(unused_mut, reason = "not where the value is only read")]
                let mut value = orig.pointer();
                // SAFETY: as in `map`.
                match f(unsafe { value.$lend() }).map(NonNull::from) {
                    Some(part) => Ok($Mapped::new(part, orig.into_hold())),
                    None => Err(orig),
                }
            }
        }
    };
}

macro_rules! mapped_guard {
    (
        $(#[$docs:meta])* $Mapped:ident of $Guard:ident, $Hold:ident,
        $lend:ident, $Value:ty => $Part:ty, $Variance:ty
    ) => {
        $(#[$docs])*
        #[must_use = "if unused the lock is released at once"]
        pub struct $Mapped<'a, T: ?Sized + 'a> {
            /// Keeps the guard on its OS thread, as std's is.
            value: NonNull<T>,
            hold: $Hold<'a>,
            variance: PhantomData<$Variance>,
        }

        // SAFETY: a shared guard gives out shared references to the value, which is `Sync`.
        unsafe impl<T: ?Sized + Sync> Sync for $Mapped<'_, T> {}

        impl<'a, T: ?Sized> $Mapped<'a, T> {
            fn new(value: NonNull<T>, hold: $Hold<'a>) -> $Mapped<'a, T> {
                $Mapped {
                    value,
                    hold,
                    variance: PhantomData,
                }
            }

            fn pointer(&self) -> NonNull<T> {
                self.value
            }

            fn into_hold(self) -> $Hold<'a> {
                self.hold
            }
        }

        maps!($Guard => $Mapped, $lend, $Value => $Part);
        maps!($Mapped => $Mapped, $lend, $Value => $Part);

        impl<T: ?Sized> Deref for $Mapped<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: facts 1 and 2, and only `deref_mut`, which needs this guard unborrowed,
                // gives out a unique reference.
                unsafe { self.value.as_ref() }
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $Mapped<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }

        impl<T: ?Sized + fmt::Display> fmt::Display for $Mapped<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&**self, f)
            }
        }
    };
}

mapped_guard! {
    /// Has the lock of a [`Mutex`](super::Mutex) until it is dropped, for a part of the value.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{MappedMutexGuard, Mutex, MutexGuard};
    /// let pair = Mutex::new((1, [2, 3]));
    /// let list: MappedMutexGuard<'_, [i32; 2]> =
    ///     MutexGuard::map(pair.lock().unwrap(), |pair| &mut pair.1);
    /// let mut last = MappedMutexGuard::filter_map(list, |list| list.last_mut()).unwrap();
    /// *last += 1;
    /// drop(last);
    /// assert_eq!(pair.into_inner().unwrap(), (1, [2, 4]));
    /// ```
    MappedMutexGuard of MutexGuard, MutexHold, as_mut, &mut T => &mut U, &'a mut T
}

mapped_guard! {
    /// May read a part of what is in an [`RwLock`](super::RwLock) until it is dropped.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{RwLock, RwLockReadGuard};
    /// let pair = RwLock::new((1, "text"));
    /// let text = RwLockReadGuard::map(pair.read().unwrap(), |pair| pair.1);
    /// assert_eq!(&*text, "text");
    /// ```
    MappedRwLockReadGuard of RwLockReadGuard, ReadHold, as_ref, &T => &U, &'a T
}

mapped_guard! {
    /// May change a part of what is in an [`RwLock`](super::RwLock) until it is dropped.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{RwLock, RwLockWriteGuard};
    /// let list = RwLock::new(vec![1]);
    /// let first = RwLockWriteGuard::filter_map(list.write().unwrap(), |list| list.get_mut(0));
    /// *first.unwrap() = 2;
    /// assert_eq!(list.into_inner().unwrap(), [2]);
    /// ```
    MappedRwLockWriteGuard of RwLockWriteGuard, WriteHold, as_mut, &mut T => &mut U, &'a mut T
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: facts 1 and 2, and the guard is borrowed for as long.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> DerefMut for MappedRwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: facts 1 and 2, and the guard is borrowed for as long.
        unsafe { self.value.as_mut() }
    }
}
