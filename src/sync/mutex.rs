//! A lock around a value, as std's.
//!
//! Facts:
//! 1. A [`MutexGuard`] exists only while its lock is had by the one who made it: it is made after
//!    `raw` has been locked, and its destructor is the only thing that unlocks.
//! 2. `raw` is had by one at a time, and what one does with it happens before the next has it.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use super::poison::{Begun, Flag};
use super::raw_mutex::RawMutex;
use crate::cancel;

/// What one waits for, in dumps.
const A_MUTEX: &str = "a mutex";

/// A value that one greenlet or OS thread at a time may touch.
///
/// As [`std::sync::Mutex`], with the same names; but who waits for it parks, and others of its
/// OS thread run. It may be held across anything that parks. Those who wait get it in the order
/// of their arrival, and who comes later does not overtake them.
///
/// **Poisoning** is std's: a panic with the lock held poisons it. A kill or a timeout does not;
/// see [the module](crate::sync#poisoning).
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, Mutex};
/// let counter = Arc::new(Mutex::new(0));
/// let greenlets = (0..10).map(|_| {
///     let counter = Arc::clone(&counter);
///     greenroom::spawn(move || {
///         let mut count = counter.lock().unwrap();
///         let seen = *count;
///         greenroom::yield_now();
///         *count = seen + 1;
///     })
/// });
/// greenroom::joinall(greenlets.collect::<Vec<_>>());
/// assert_eq!(*counter.lock().unwrap(), 10);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Flag,
    value: UnsafeCell<T>,
}

// Most mutexes have nobody waiting: the list in each must not make them large.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Mutex<()>>() <= 72);

// SAFETY: with the mutex goes its value, which must be `Send` for it.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: fact 2: through a shared mutex the value is used by one thread after the other, which
// is what `Send` allows; never by two at a time, so it need not be `Sync`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// Has the lock of a [`Mutex`] until it is dropped.
///
/// # Examples
/// ```
/// use greenroom::sync::{Mutex, MutexGuard};
/// let mutex = Mutex::new(String::new());
/// let mut text: MutexGuard<'_, String> = mutex.lock().unwrap();
/// text.push('x');
/// drop(text);
/// assert_eq!(mutex.into_inner().unwrap(), "x");
/// ```
#[must_use = "if unused the lock is released at once"]
pub struct MutexGuard<'a, T: ?Sized + 'a> {
    mutex: &'a Mutex<T>,
    begun: Begun,
    /// Stays on its OS thread, as std's does.
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out shared references to the value, which is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    /// A mutex that nobody has.
    ///
    /// # Examples
    /// ```
    /// static NAMES: greenroom::sync::Mutex<Vec<String>> = greenroom::sync::Mutex::new(Vec::new());
    /// NAMES.lock().unwrap().push("Ada".into());
    /// ```
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            raw: RawMutex::new(),
            poison: Flag::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, without the mutex.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(greenroom::sync::Mutex::new(7).into_inner().unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// The value, in an error, when the mutex is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        self.poison.label(self.value.into_inner())
    }

    /// A clone of the value, taken with the lock held.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::Mutex::new(String::from("text"));
    /// assert_eq!(lock.get_cloned().unwrap(), "text");
    /// ```
    ///
    /// # Errors
    /// When the mutex is poisoned.
    ///
    /// # Panics
    /// As [`lock`](Mutex::lock), and when the clone does.
    ///
    /// # Parks
    /// As [`lock`](Mutex::lock), and as the clone does.
    pub fn get_cloned(&self) -> Result<T, PoisonError<()>>
    where
        T: Clone,
    {
        match self.lock() {
            Ok(guard) => Ok(T::clone(&guard)),
            Err(_) => Err(PoisonError::new(())),
        }
    }

    /// Puts another value in, and drops the former one when the lock is released.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::Mutex::new(1);
    /// lock.set(2).unwrap();
    /// assert_eq!(lock.into_inner().unwrap(), 2);
    /// ```
    ///
    /// # Errors
    /// The value given, when the mutex is poisoned.
    ///
    /// # Panics
    /// # Parks
    /// As [`lock`](Mutex::lock).
    pub fn set(&self, value: T) -> Result<(), PoisonError<T>> {
        self.replace(value).map(drop)
    }

    /// Puts another value in, and returns the former one.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::Mutex::new(1);
    /// assert_eq!(lock.replace(2).unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// The value given, when the mutex is poisoned.
    ///
    /// # Panics
    /// # Parks
    /// As [`lock`](Mutex::lock).
    pub fn replace(&self, value: T) -> LockResult<T> {
        match self.lock() {
            Ok(mut guard) => Ok(mem::replace(&mut guard, value)),
            Err(_) => Err(PoisonError::new(value)),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, waiting until it is free.
    ///
    /// # Examples
    /// See [`Mutex`].
    ///
    /// # Errors
    /// The guard, in an error, when the mutex is poisoned.
    ///
    /// # Panics
    /// In the root, when nothing is left that could release it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// While others have the lock or have waited longer for it; never if it is free. A kill or a
    /// timeout unwinds, and then the caller has not got it.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(A_MUTEX, || None);
        self.guard()
    }

    /// Takes the lock if it is free.
    ///
    /// # Examples
    /// ```
    /// let mutex = greenroom::sync::Mutex::new(());
    /// let guard = mutex.lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// drop(guard);
    /// assert!(mutex.try_lock().is_ok());
    /// ```
    ///
    /// # Errors
    /// `WouldBlock` when somebody has it; `Poisoned`, with the guard, when it is poisoned.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        cancel::let_others_run();
        self.try_lock_at_once()
    }

    #[inline]
    fn try_lock_at_once(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() {
            Ok(self.guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Takes the lock, waiting for it at most for `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let mutex = greenroom::sync::Mutex::new(());
    /// let guard = mutex.lock().unwrap();
    /// assert!(mutex.try_lock_for(Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`try_lock`](Mutex::try_lock).
    ///
    /// # Panics
    /// As [`lock`](Mutex::lock), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`lock`](Mutex::lock), and no longer than `limit`.
    pub fn try_lock_for(&self, limit: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.lock(A_MUTEX, || cancel::deadline_in(limit)) {
            Ok(self.guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// For whoever has just locked `raw`.
    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.label(MutexGuard {
            mutex: self,
            begun: self.poison.begin(),
            _not_send: PhantomData,
        })
    }

    /// Whether somebody has panicked with the lock held.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, Mutex};
    /// let mutex = Arc::new(Mutex::new(0));
    /// let theirs = Arc::clone(&mutex);
    /// let unlucky = greenroom::spawn(move || {
    ///     let _guard = theirs.lock();
    ///     panic!("with the lock held");
    /// });
    /// assert!(unlucky.join().is_err());
    /// assert!(mutex.is_poisoned());
    /// mutex.clear_poison();
    /// assert!(mutex.lock().is_ok());
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Takes it that the value is in order again. An example is at
    /// [`is_poisoned`](Mutex::is_poisoned).
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, without locking: who has the mutex to itself need not.
    ///
    /// # Examples
    /// ```
    /// let mut mutex = greenroom::sync::Mutex::new(1);
    /// *mutex.get_mut().unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// ```
    ///
    /// # Errors
    /// The value, in an error, when the mutex is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.label(self.value.get_mut())
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// What it is the guard of.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }

    /// Where the value is.
    pub(super) fn pointer(&self) -> NonNull<T> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.mutex.value.get()) }
    }

    /// Goes on with the lock, without the value.
    pub(super) fn into_hold(self) -> MutexHold<'a> {
        let guard = ManuallyDrop::new(self);
        MutexHold {
            raw: &guard.mutex.raw,
            poison: &guard.mutex.poison,
            begun: guard.begun,
        }
    }
}

/// Has the lock, as a [`MutexGuard`] does.
pub(super) struct MutexHold<'a> {
    raw: &'a RawMutex,
    poison: &'a Flag,
    begun: Begun,
}

impl Drop for MutexHold<'_> {
    fn drop(&mut self) {
        self.poison.end(&self.begun);
        self.raw.unlock();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: facts 1 and 2, and only `deref_mut`, which needs this guard unborrowed, gives
        // out a unique reference.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: facts 1 and 2, and the guard is borrowed for as long.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.end(&self.begun);
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock_at_once() {
            Ok(guard) => f.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => f.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => f.field("data", &format_args!("<locked>")),
        };
        f.field("poisoned", &self.is_poisoned());
        f.finish_non_exhaustive()
    }
}
