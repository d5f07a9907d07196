//! A lock that its owner may take again.
//!
//! Facts:
//! 1. A guard exists only while its OS thread has the lock: guards are not `Send`, and the lock
//!    is released by the last of its owner's.
//! 2. `raw` is had by one owner at a time, and what one does happens before the next has it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::raw_mutex::RawMutex;
use crate::cancel;
use crate::hub::owner::{self, NOBODY};

/// A value that one greenlet or OS thread at a time may look at, which may take the lock again
/// while it has it. It is free once all its guards are dropped.
///
/// gevent's `RLock`; also under the name of std's `ReentrantLock`, which is not stable. Since its
/// owner may have several guards, they give `&T`: what is to be changed is in a `Cell` or
/// `RefCell`, which need not be `Sync` for it. What another greenlet locked can't be released,
/// since that is what the guard is for; nor is there poisoning. Those who wait get the lock in the
/// order of their arrival.
///
/// A generator or a fiber is a part of the greenlet that has resumed it, and so is the root of
/// [`run`](crate::run()): what that greenlet has locked they may lock again. A guard that is kept
/// across a yield belongs to the greenlet in which it was taken. A callback of
/// [`hub::subscribe`](crate::hub::subscribe) is a part of no greenlet.
///
/// # Examples
/// ```
/// use greenroom::sync::RLock;
/// use std::cell::Cell;
///
/// let depth = RLock::new(Cell::new(0));
/// fn dive(depth: &RLock<Cell<u32>>, left: u32) {
///     let guard = depth.lock();
///     guard.set(guard.get() + 1);
///     if left > 0 {
///         dive(depth, left - 1);
///     }
/// }
/// dive(&depth, 4);
/// assert_eq!(depth.lock().get(), 5);
/// ```
pub struct RLock<T: ?Sized> {
    raw: RawMutex,
    /// Who has it; changed only by whoever has `raw`.
    owner: AtomicU64,
    /// Guards of the owner; likewise.
    guards: AtomicUsize,
    value: T,
}

// SAFETY: fact 2: through a shared lock the value is used by one thread after the other, which
// is what `Send` allows; never by two at a time, so it need not be `Sync`.
unsafe impl<T: ?Sized + Send> Sync for RLock<T> {}

impl<T: ?Sized> UnwindSafe for RLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RLock<T> {}

/// Has the lock of an [`RLock`] until it is dropped.
///
/// # Examples
/// See [`RLock`].
#[must_use = "if unused the lock is released at once"]
pub struct RLockGuard<'a, T: ?Sized + 'a> {
    lock: &'a RLock<T>,
    /// Fact 1.
    _not_send: PhantomData<*const ()>,
}

/// What one waits for, in dumps.
const A_REENTRANT_LOCK: &str = "a reentrant lock";
impl<T> RLock<T> {
    /// A lock that nobody has.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::RLock;
    /// static LOG: RLock<()> = RLock::new(());
    /// let (_one, _other) = (LOG.lock(), LOG.lock());
    /// ```
    pub const fn new(value: T) -> RLock<T> {
        RLock {
            raw: RawMutex::new(),
            owner: AtomicU64::new(NOBODY),
            guards: AtomicUsize::new(0),
            value,
        }
    }

    /// The value, without the lock.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> RLock<T> {
    /// Takes the lock, waiting until nobody else has it.
    ///
    /// # Examples
    /// See [`RLock`].
    ///
    /// # Panics
    /// In the root, when nothing is left that could release it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// While others have the lock or have waited longer for it; never if the caller has it. A
    /// kill or a timeout unwinds, and then the caller has not got it.
    pub fn lock(&self) -> RLockGuard<'_, T> {
        let guard = self.lock_with(|| self.raw.lock(A_REENTRANT_LOCK, || None));
        guard.expect("without a deadline there is only one way to end")
    }

    /// Takes the lock, if nobody else has it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, RLock};
    /// let lock = Arc::new(RLock::new(()));
    /// let _mine = lock.lock();
    /// assert!(lock.try_lock().is_some());
    /// let theirs = Arc::clone(&lock);
    /// assert!(!greenroom::spawn(move || theirs.try_lock().is_some()).join().unwrap());
    /// ```
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_lock(&self) -> Option<RLockGuard<'_, T>> {
        cancel::let_others_run();
        self.try_lock_at_once()
    }

    fn try_lock_at_once(&self) -> Option<RLockGuard<'_, T>> {
        self.lock_with(|| self.raw.try_lock())
    }

    /// Takes the lock, waiting for it at most for `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let lock = greenroom::sync::RLock::new(1);
    /// assert!(lock.try_lock_for(Duration::from_millis(1)).is_some());
    /// ```
    ///
    /// # Panics
    /// As [`lock`](RLock::lock), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`lock`](RLock::lock), and no longer than `limit`.
    pub fn try_lock_for(&self, limit: Duration) -> Option<RLockGuard<'_, T>> {
        self.lock_with(|| {
            self.raw
                .lock(A_REENTRANT_LOCK, || cancel::deadline_in(limit))
        })
    }

    fn lock_with(&self, lock_raw: impl FnOnce() -> bool) -> Option<RLockGuard<'_, T>> {
        let me = owner::current();
        // Nobody but us writes our own number there.
        if self.owner.load(Ordering::Relaxed) != me {
            if !lock_raw() {
                return None;
            }
            self.owner.store(me, Ordering::Relaxed);
        }
        // So many guards don't fit into memory, but can be forgotten.
        let guards = self.guards.load(Ordering::Relaxed);
        let guards = guards.checked_add(1).expect("2^64 guards are too many");
        self.guards.store(guards, Ordering::Relaxed);
        Some(RLockGuard {
            lock: self,
            _not_send: PhantomData,
        })
    }

    /// Whether anybody has the lock.
    pub fn is_locked(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != NOBODY
    }

    /// The value, without locking: who has the lock to itself need not.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized> Deref for RLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T: ?Sized> Drop for RLockGuard<'_, T> {
    fn drop(&mut self) {
        let lock = self.lock;
        let left = lock.guards.load(Ordering::Relaxed) - 1;
        lock.guards.store(left, Ordering::Relaxed);
        if left == 0 {
            lock.owner.store(NOBODY, Ordering::Relaxed);
            lock.raw.unlock();
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: Default> Default for RLock<T> {
    fn default() -> RLock<T> {
        RLock::new(T::default())
    }
}

impl<T> From<T> for RLock<T> {
    fn from(value: T) -> RLock<T> {
        RLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RLock");
        match self.try_lock_at_once() {
            Some(guard) => f.field("data", &&*guard),
            None => f.field("data", &format_args!("<locked>")),
        };
        f.finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::bounded::bounded;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::hub::remote::skip_hubs;

    /// An id has 24 bits for its hub's number.
    #[test]
    fn greenlets_of_two_hubs_are_two_owners_however_many_hubs_there_were_in_between() {
        let _bound = bounded();
        static LOCK: RLock<()> = RLock::new(());
        let (locked, is_locked) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            crate::run(|| {
                let holds = crate::spawn(move || {
                    let _guard = LOCK.lock();
                    locked.send(crate::current().id()).expect("it waits");
                    finished.recv().expect_err("it is dropped");
                });
                holds.join().expect("it does not panic");
            });
        });
        let id = is_locked.recv().expect("it is sent");
        let alike = || {
            let shared = crate::spawn(|| (crate::current().id(), LOCK.try_lock().is_some()));
            shared.join().expect("it does not panic")
        };
        // Other tests make hubs as well.
        let tried = (0..1000).map(|_| {
            skip_hubs(id);
            crate::run(alike)
        });
        let tried = { tried }.find(|(other, _)| *other == id);
        assert_eq!(
            tried,
            Some((id, false)),
            "it has the same id, and not the lock"
        );
        drop(finish);
        holder.join().expect("it does not panic");
    }
}
