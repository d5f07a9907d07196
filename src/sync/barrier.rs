//! A place where so many meet before any goes on, as std's.

use std::fmt;
use std::time::Duration;

use super::steps::{Mutex, MutexGuard, lock};
use super::waiting::{self, Home};
use super::waitlist::{Notice, WaitList, tell_all};
use crate::cancel;

/// Lets greenlets and OS threads wait for each other until so many are there.
///
/// As [`std::sync::Barrier`], with the same names; it can be used again and again. Who is killed
/// while it waits, or whose time is up, is not counted any more.
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, Barrier};
/// let barrier = Arc::new(Barrier::new(3));
/// let meet = || {
///     let barrier = Arc::clone(&barrier);
///     greenroom::spawn(move || barrier.wait().is_leader())
/// };
/// let leaders = greenroom::joinall([meet(), meet(), meet()]);
/// assert_eq!(leaders.into_iter().flatten().filter(|leads| *leads).count(), 1);
/// ```
pub struct Barrier {
    count: usize,
    waiters: Mutex<WaitList>,
}

/// Tells one of those who met at a [`Barrier`] from the others.
///
/// # Examples
/// ```
/// assert!(greenroom::sync::Barrier::new(1).wait().is_leader());
/// ```
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether this is the one; it came last.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// A barrier at which `count` meet. Those of 0 and of 1 keep nobody.
    ///
    /// # Examples
    /// See [`Barrier`].
    #[must_use]
    pub const fn new(count: usize) -> Barrier {
        Barrier {
            count,
            waiters: Mutex::new(WaitList::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitList> {
        lock(&self.waiters)
    }

    /// Waits until so many are here.
    ///
    /// # Examples
    /// See [`Barrier`].
    ///
    /// # Panics
    /// In the root, when nobody is left who could come ("this operation would block forever").
    ///
    /// # Parks
    /// Until the last has come; the last does not park. A kill or a timeout unwinds.
    pub fn wait(&self) -> BarrierWaitResult {
        let met = self.wait_until(None);
        met.expect("without a deadline there is only one way to end")
    }

    /// As [`wait`](Barrier::wait), at most for `limit`; `None` if not all have come by then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let barrier = greenroom::sync::Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::from_millis(1)).is_none());
    /// ```
    ///
    /// # Panics
    /// As [`wait`](Barrier::wait), when `limit` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`wait`](Barrier::wait), and no longer than `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(cancel::deadline_in(limit))
    }

    fn wait_until(&self, deadline: Option<u64>) -> Option<BarrierWaitResult> {
        let mut waiters = self.lock();
        if waiters.len() + 1 >= self.count {
            let notices = waiters.grant_all();
            drop(waiters);
            tell_all(notices);
            return Some(BarrierWaitResult(true));
        }
        let key = waiters.push((), Notice::to_me());
        drop(waiters);
        let met = waiting::wait(self, key, "others at a barrier", deadline);
        met.is_ok().then_some(BarrierWaitResult(false))
    }
}

impl Home for Barrier {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.lock())
    }

    /// It was there when all met; that it does not see it changes nothing for them.
    fn pass_on(&self, (): ()) {}
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
