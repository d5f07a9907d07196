//! A lock for many readers or one writer around a value, as std's.
//!
//! Facts:
//! 1. A guard exists only while its access to `raw` is had: it is made after that has been
//!    taken, and its destructor is the only thing that gives it back.
//! 2. `raw` is had by one writer or by readers only; what a writer does happens before anybody
//!    else has it, and what readers do before a writer has it.

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
use super::raw_rwlock::{Access, RawRwLock};
use crate::cancel;

/// A value that many may read at a time, or one change.
///
/// As [`std::sync::RwLock`], with the same names; but who waits for it parks, and others of its
/// OS thread run. It may be held across anything that parks. Readers and writers get it in the
/// order of their arrival, so neither starve: a reader that comes after a waiting writer waits,
/// and so who has the lock to read and takes it once more may wait for ever.
///
/// **Poisoning** is std's: a panic of a writer poisons it. A kill or a timeout does not; see
/// [the module](crate::sync#poisoning).
///
/// # Examples
/// ```
/// use greenroom::sync::RwLock;
/// let lock = RwLock::new(5);
/// {
///     let (one, other) = (lock.read().unwrap(), lock.read().unwrap());
///     assert_eq!(*one + *other, 10);
/// }
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: with the lock goes its value, which must be `Send` for it.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: fact 2: readers on several threads share the value, so it must be `Sync`; writers are
// on one thread after the other, so it must be `Send`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// May read what is in a [`RwLock`] until it is dropped.
///
/// # Examples
/// ```
/// use greenroom::sync::{RwLock, RwLockReadGuard};
/// let lock = RwLock::new("text");
/// let text: RwLockReadGuard<'_, &str> = lock.read().unwrap();
/// assert_eq!(text.len(), 4);
/// ```
#[must_use = "if unused the lock is released at once"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    raw: &'a RawRwLock,
    /// A pointer, because a reference would promise that the value stays unchanged until the end
    /// of `drop`, which unlocks. It makes the guard covariant in `T`, and keeps it on its OS
    /// thread, as std's is.
    value: NonNull<T>,
}

// SAFETY: a shared guard gives out shared references to the value, which is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

/// May change what is in a [`RwLock`] until it is dropped.
///
/// # Examples
/// ```
/// use greenroom::sync::{RwLock, RwLockWriteGuard};
/// let lock = RwLock::new(vec![1]);
/// let mut list: RwLockWriteGuard<'_, Vec<i32>> = lock.write().unwrap();
/// list.push(2);
/// ```
#[must_use = "if unused the lock is released at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized + 'a> {
    lock: &'a RwLock<T>,
    begun: Begun,
    /// Stays on its OS thread, as std's does.
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out shared references to the value, which is `Sync`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    /// A lock that nobody has.
    ///
    /// # Examples
    /// ```
    /// static LIMIT: greenroom::sync::RwLock<u32> = greenroom::sync::RwLock::new(100);
    /// assert_eq!(*LIMIT.read().unwrap(), 100);
    /// ```
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            raw: RawRwLock::new(),
            poison: Flag::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, without the lock.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(greenroom::sync::RwLock::new(7).into_inner().unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// The value, in an error, when the lock is poisoned.
    pub fn into_inner(self) -> LockResult<T> {
        self.poison.label(self.value.into_inner())
    }

    /// A clone of the value, taken with the lock held.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::RwLock::new(String::from("text"));
    /// assert_eq!(lock.get_cloned().unwrap(), "text");
    /// ```
    ///
    /// # Errors
    /// When the lock is poisoned.
    ///
    /// # Panics
    /// As [`read`](RwLock::read), and when the clone does.
    ///
    /// # Parks
    /// As [`read`](RwLock::read), and as the clone does.
    pub fn get_cloned(&self) -> Result<T, PoisonError<()>>
    where
        T: Clone,
    {
        match self.read() {
            Ok(guard) => Ok(T::clone(&guard)),
            Err(_) => Err(PoisonError::new(())),
        }
    }

    /// Puts another value in, and drops the former one when the lock is released.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::RwLock::new(1);
    /// lock.set(2).unwrap();
    /// assert_eq!(lock.into_inner().unwrap(), 2);
    /// ```
    ///
    /// # Errors
    /// The value given, when the lock is poisoned.
    ///
    /// # Panics
    /// # Parks
    /// As [`write`](RwLock::write).
    pub fn set(&self, value: T) -> Result<(), PoisonError<T>> {
        self.replace(value).map(drop)
    }

    /// Puts another value in, and returns the former one.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::RwLock::new(1);
    /// assert_eq!(lock.replace(2).unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// The value given, when the lock is poisoned.
    ///
    /// # Panics
    /// # Parks
    /// As [`write`](RwLock::write).
    pub fn replace(&self, value: T) -> LockResult<T> {
        match self.write() {
            Ok(mut guard) => Ok(mem::replace(&mut guard, value)),
            Err(_) => Err(PoisonError::new(value)),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock to read, waiting while it is written.
    ///
    /// # Examples
    /// See [`RwLock`].
    ///
    /// # Errors
    /// The guard, in an error, when the lock is poisoned.
    ///
    /// # Panics
    /// In the root, when nothing is left that could release it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// While a writer has the lock, or others have waited longer for it. A kill or a timeout
    /// unwinds, and then the caller has not got it.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.lock(Access::Read, || None);
        self.read_guard()
    }

    /// Takes the lock to write, waiting until nobody has it.
    ///
    /// # Examples
    /// See [`RwLock`].
    ///
    /// # Errors
    /// The guard, in an error, when the lock is poisoned.
    ///
    /// # Panics
    /// As [`read`](RwLock::read).
    ///
    /// # Parks
    /// While others have the lock or have waited longer for it. A kill or a timeout unwinds, and
    /// then the caller has not got it.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.lock(Access::Write, || None);
        self.write_guard()
    }

    /// Takes the lock to read, if that needs no waiting.
    ///
    /// # Examples
    /// ```
    /// let lock = greenroom::sync::RwLock::new(());
    /// let reader = lock.try_read().unwrap();
    /// assert!(lock.try_read().is_ok());
    /// assert!(lock.try_write().is_err());
    /// ```
    ///
    /// # Errors
    /// `WouldBlock` when it would have to wait; `Poisoned`, with the guard, when the lock is
    /// poisoned.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        cancel::let_others_run();
        self.try_read_at_once()
    }

    #[inline]
    fn try_read_at_once(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.raw.try_lock(Access::Read) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Takes the lock to write, if that needs no waiting.
    ///
    /// # Examples
    /// See [`try_read`](RwLock::try_read).
    ///
    /// # Errors
    /// As [`try_read`](RwLock::try_read).
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        cancel::let_others_run();
        if self.raw.try_lock(Access::Write) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`read`](RwLock::read), waiting at most for `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let lock = greenroom::sync::RwLock::new(());
    /// let writer = lock.write().unwrap();
    /// assert!(lock.try_read_for(Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    /// As [`try_read`](RwLock::try_read).
    ///
    /// # Panics
    /// As [`read`](RwLock::read), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`read`](RwLock::read), and no longer than `limit`.
    pub fn try_read_for(&self, limit: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.raw.lock(Access::Read, || cancel::deadline_in(limit)) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`write`](RwLock::write), waiting at most for `limit`.
    ///
    /// # Examples
    /// See [`try_read_for`](RwLock::try_read_for).
    ///
    /// # Errors
    /// As [`try_read`](RwLock::try_read).
    ///
    /// # Panics
    /// As [`try_read_for`](RwLock::try_read_for).
    ///
    /// # Parks
    /// As [`write`](RwLock::write), and no longer than `limit`.
    pub fn try_write_for(&self, limit: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.raw.lock(Access::Write, || cancel::deadline_in(limit)) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// For whoever has just locked `raw` to read.
    #[inline]
    fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.label(self.guard_of_reader())
    }

    #[inline]
    fn guard_of_reader(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard {
            raw: &self.raw,
            // SAFETY: the address of a field is not null.
            value: unsafe { NonNull::new_unchecked(self.value.get()) },
        }
    }

    /// For whoever has just locked `raw` to write.
    #[inline]
    fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.poison.label(RwLockWriteGuard {
            lock: self,
            begun: self.poison.begin(),
            _not_send: PhantomData,
        })
    }

    /// Whether a writer has panicked with the lock held.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Takes it that the value is in order again.
    ///
    /// # Examples
    /// As [`Mutex::is_poisoned`](crate::sync::Mutex::is_poisoned).
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, without locking: who has the lock to itself need not.
    ///
    /// # Examples
    /// ```
    /// let mut lock = greenroom::sync::RwLock::new(1);
    /// *lock.get_mut().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 2);
    /// ```
    ///
    /// # Errors
    /// The value, in an error, when the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.label(self.value.get_mut())
    }
}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// Where the value is.
    pub(super) fn pointer(&self) -> NonNull<T> {
        self.value
    }

    /// Goes on with the lock, without the value.
    pub(super) fn into_hold(self) -> ReadHold<'a> {
        ReadHold(ManuallyDrop::new(self).raw)
    }
}

/// Has the lock, as a [`RwLockReadGuard`] does.
pub(super) struct ReadHold<'a>(&'a RawRwLock);

impl Drop for ReadHold<'_> {
    fn drop(&mut self) {
        self.0.unlock(Access::Read);
    }
}

/// Has the lock, as a [`RwLockWriteGuard`] does.
pub(super) struct WriteHold<'a> {
    raw: &'a RawRwLock,
    poison: &'a Flag,
    begun: Begun,
}

impl Drop for WriteHold<'_> {
    fn drop(&mut self) {
        self.poison.end(&self.begun);
        self.raw.unlock(Access::Write);
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Where the value is.
    pub(super) fn pointer(&self) -> NonNull<T> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.lock.value.get()) }
    }

    /// Goes on with the lock, without the value.
    pub(super) fn into_hold(self) -> WriteHold<'a> {
        let guard = ManuallyDrop::new(self);
        WriteHold {
            raw: &guard.lock.raw,
            poison: &guard.lock.poison,
            begun: guard.begun,
        }
    }

    /// Goes on as a reader, with nobody writing in between; readers that wait are let in.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{RwLock, RwLockWriteGuard};
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write().unwrap();
    /// *writer += 1;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!(*reader + *lock.read().unwrap(), 4);
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn downgrade(guard: RwLockWriteGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        // The write access is not given back but changed: fact 1.
        let guard = ManuallyDrop::new(guard);
        guard.lock.poison.end(&guard.begun);
        guard.lock.raw.downgrade();
        guard.lock.guard_of_reader()
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: facts 1 and 2: there is no writer, and readers give out shared references only.
        // The value lives as long as its lock, which the guard borrows.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: facts 1 and 2: nobody else has the lock, and only `deref_mut`, which needs
        // this guard unborrowed, gives out a unique reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: facts 1 and 2, and the guard is borrowed for as long.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.unlock(Access::Read);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.end(&self.begun);
        self.lock.raw.unlock(Access::Write);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwLock");
        match self.try_read_at_once() {
            Ok(guard) => f.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => f.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => f.field("data", &format_args!("<locked>")),
        };
        f.field("poisoned", &self.is_poisoned());
        f.finish_non_exhaustive()
    }
}
