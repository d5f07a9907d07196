//! Waiting for a change of what a mutex guards, as std's.

use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use super::mutex::MutexGuard;
use super::steps::{self, lock};
use super::waiting::{self, Home};
use super::waitlist::{Notice, WaitList, tell_all};
use crate::cancel;

/// Lets those wait who need a [`Mutex`](super::Mutex)'s value to change first.
///
/// As [`std::sync::Condvar`], with the same names. Waiters are notified in the order of their
/// arrival. Nobody is notified for no reason, but what one was notified of may be over when it
/// has the mutex again: so wait in a loop, or with [`wait_while`](Condvar::wait_while).
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, Condvar, Mutex};
/// let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
/// let theirs = Arc::clone(&shared);
/// let consumer = greenroom::spawn(move || {
///     let (list, filled) = &*theirs;
///     let mut list = filled.wait_while(list.lock().unwrap(), |list| list.is_empty()).unwrap();
///     list.pop()
/// });
/// greenroom::yield_now();
/// shared.0.lock().unwrap().push(7);
/// shared.1.notify_one();
/// assert_eq!(consumer.join().unwrap(), Some(7));
/// ```
#[derive(Default)]
pub struct Condvar {
    waiters: steps::Mutex<WaitList>,
}

/// Whether a wait with a limit ended because of it.
///
/// # Examples
/// See [`Condvar::wait_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was up first.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Nobody waits yet.
    pub const fn new() -> Condvar {
        Condvar {
            waiters: steps::Mutex::new(WaitList::new()),
        }
    }

    fn lock(&self) -> steps::MutexGuard<'_, WaitList> {
        lock(&self.waiters)
    }

    /// Releases the mutex, waits to be notified, and takes the mutex again.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, Condvar, Mutex};
    /// let shared = Arc::new((Mutex::new(false), Condvar::new()));
    /// let theirs = Arc::clone(&shared);
    /// greenroom::spawn(move || {
    ///     *theirs.0.lock().unwrap() = true;
    ///     theirs.1.notify_one();
    /// });
    /// let mut done = shared.0.lock().unwrap();
    /// while !*done {
    ///     done = shared.1.wait(done).unwrap();
    /// }
    /// ```
    ///
    /// # Errors
    /// The guard, in an error, when the mutex is poisoned.
    ///
    /// # Panics
    /// In the root, when nothing is left that could notify it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until it is notified, and then until the mutex is free. A kill or a timeout unwinds, with
    /// the mutex released; who has been notified already passes that on.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        match self.wait_until(guard, None) {
            Ok((guard, _)) => Ok(guard),
            Err(error) => Err(PoisonError::new(error.into_inner().0)),
        }
    }

    /// Waits as long as `condition` is true of the mutex's value; not at all if it is not.
    ///
    /// # Examples
    /// See [`Condvar`].
    ///
    /// # Errors
    /// As [`wait`](Condvar::wait).
    ///
    /// # Panics
    /// As [`wait`](Condvar::wait), and when `condition` does.
    ///
    /// # Parks
    /// As [`wait`](Condvar::wait), until `condition` is false.
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Condvar::wait), to be notified at most for `limit`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    /// let limit = Duration::from_millis(1);
    /// let (_guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), limit).unwrap();
    /// assert!(result.timed_out());
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Condvar::wait).
    ///
    /// # Panics
    /// As [`wait`](Condvar::wait), when `limit` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`wait`](Condvar::wait); for the mutex it waits as long as it takes.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, cancel::deadline_in(limit))
    }

    /// As [`wait_timeout`](Condvar::wait_timeout), with the limit in milliseconds; returns
    /// whether it was notified in time.
    ///
    /// # Errors
    /// As [`wait`](Condvar::wait).
    ///
    /// # Panics
    /// Never.
    ///
    /// # Parks
    /// As [`wait_timeout`](Condvar::wait_timeout).
    #[deprecated = "replaced by `wait_timeout`, as in std"]
    pub fn wait_timeout_ms<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit_ms: u32,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        match self.wait_timeout(guard, Duration::from_millis(limit_ms.into())) {
            Ok((guard, result)) => Ok((guard, !result.timed_out())),
            Err(error) => {
                let (guard, result) = error.into_inner();
                Err(PoisonError::new((guard, !result.timed_out())))
            }
        }
    }

    /// As [`wait_while`](Condvar::wait_while), at most for `limit`. It has timed out if
    /// `condition` is still true at the end.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    /// let (ready, changed) = (Mutex::new(false), Condvar::new());
    /// let limit = Duration::from_millis(1);
    /// let guard = ready.lock().unwrap();
    /// let (guard, result) = changed.wait_timeout_while(guard, limit, |ready| !*ready).unwrap();
    /// assert!(!*guard && result.timed_out());
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Condvar::wait).
    ///
    /// # Panics
    /// As [`wait_timeout`](Condvar::wait_timeout), and when `condition` does.
    ///
    /// # Parks
    /// As [`wait_timeout`](Condvar::wait_timeout), until `condition` is false.
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = cancel::deadline_in(limit);
        let mut timed_out = false;
        while condition(&mut *guard) {
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let (again, result) = self.wait_until(guard, deadline)?;
            (guard, timed_out) = (again, result.timed_out());
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<u64>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        /// A notification that is to be used, or else passed on.
        struct Notified<'a>(&'a Condvar);
        impl Drop for Notified<'_> {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let mutex = guard.mutex();
        let key = self.lock().push((), Notice::to_me());
        drop(guard);
        let notified = waiting::wait(self, key, "a condition variable", deadline).is_ok();
        let unused = notified.then(|| Notified(self));
        let locked = mutex.lock();
        std::mem::forget(unused);
        let result = WaitTimeoutResult(!notified);
        match locked {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    /// Notifies the one who has waited longest, if anybody waits.
    ///
    /// # Examples
    /// See [`Condvar`].
    ///
    /// # Parks
    /// Never.
    pub fn notify_one(&self) {
        let first = self.lock().grant_first_living();
        first.into_iter().for_each(Notice::tell);
    }

    /// Notifies all who wait, in the order of their arrival.
    ///
    /// # Examples
    /// See [`notify_one`](Condvar::notify_one).
    ///
    /// # Parks
    /// Never.
    pub fn notify_all(&self) {
        let all = self.lock().grant_all();
        tell_all(all);
    }
}

impl Home for Condvar {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.lock())
    }

    fn pass_on(&self, (): ()) {
        self.notify_one();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
