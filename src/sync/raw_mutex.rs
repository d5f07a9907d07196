//! A lock without anything in it.
//!
//! ```text
//!            lock                    somebody waits
//!   FREE <=========> LOCKED ---------------------------> CONTENDED
//!           unlock      ^                                    |
//!                       +------------------------------------+
//!                        unlock: the last who waited has it
//! ```
//!
//! The double arrow is the fast path: one atomic operation each. All else happens with the list
//! of waiters locked, so that there is no state between "looked" and "waits". Who unlocks while
//! others wait hands the lock over to the first of them: it is never free meanwhile, so nobody
//! who comes later gets it first.

use std::sync::atomic::Ordering;

use super::steps::{AtomicU8, Mutex, MutexGuard, lock};
use super::waiting::{self, Home};
use super::waitlist::{Notice, WaitList};

const FREE: u8 = 0;
const LOCKED: u8 = 1;
/// Locked, and whoever unlocks must look who waits.
const CONTENDED: u8 = 2;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct RawMutex {
    state: AtomicU8,
    waiters: Mutex<WaitList>,
}

impl RawMutex {
    pub(super) const fn new() -> RawMutex {
        RawMutex {
            state: AtomicU8::new(FREE),
            waiters: Mutex::new(WaitList::new()),
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.lock_if_free() || waiting::take_over(self, false) && self.lock_if_free()
    }

    #[inline]
    fn lock_if_free(&self) -> bool {
        self.state
            .compare_exchange(FREE, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock, at the latest at the deadline, which is asked for only when it is needed;
    /// returns whether it was had. Meanwhile dumps say that it waits for `what`.
    #[inline]
    pub(super) fn lock(&self, what: &'static str, deadline: impl FnOnce() -> Option<u64>) -> bool {
        self.lock_if_free() || self.lock_slowly(what, deadline())
    }

    #[cold]
    fn lock_slowly(&self, what: &'static str, deadline: Option<u64>) -> bool {
        let mut waiters = self.waiters();
        if self.state.swap(CONTENDED, Ordering::Acquire) == FREE {
            // Nobody waits for what is free, and while we have the list nobody begins to.
            self.state.store(LOCKED, Ordering::Relaxed);
            return true;
        }
        let key = waiters.push((), Notice::to_me());
        drop(waiters);
        waiting::wait(self, key, what, deadline).is_ok()
    }

    /// Only for whoever has the lock.
    #[inline]
    pub(super) fn unlock(&self) {
        let unlocked =
            self.state
                .compare_exchange(LOCKED, FREE, Ordering::Release, Ordering::Relaxed);
        if unlocked.is_err() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
        let mut waiters = self.waiters();
        let Some(first) = waiters.grant_first_living() else {
            // They have all given up.
            return self.state.store(FREE, Ordering::Release);
        };
        if waiters.is_empty() {
            self.state.store(LOCKED, Ordering::Relaxed);
        }
        drop(waiters);
        first.tell();
    }

    fn waiters(&self) -> MutexGuard<'_, WaitList> {
        lock(&self.waiters)
    }
}

impl Home for RawMutex {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.waiters())
    }

    fn pass_on(&self, (): ()) {
        self.unlock();
    }
}
