//! Counted permits, without the types that hold them.
//!
//! ```text
//!   the word:   | number of permits | WAITED |
//! ```
//!
//! As long as nobody waits, to take a permit and to give one is one atomic operation each. Who
//! waits does so because there is none, so while somebody does (`WAITED`) there is none; one that
//! is given is handed to the first who waits for one, and nobody who comes later gets it first.
//! `WAITED` is set and cleared with the list locked.

use std::sync::atomic::Ordering;

use super::steps::{AtomicUsize, Mutex, MutexGuard, lock};
use super::waiting::{self, Home, Subscribed};
use super::waitlist::{Notice, WaitList};
use crate::greenlet::{Ready, Subscription};

const WAITED: usize = 1;
const PERMIT: usize = 2;

pub(super) const PERMITS_MAX: usize = usize::MAX / PERMIT;

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// A permit.
    Take,
    /// To see one, and leave it there.
    Look,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct RawSemaphore {
    word: AtomicUsize,
    /// There can't be more permits than this.
    permits_max: usize,
    waiters: Mutex<WaitList<Want>>,
}

impl RawSemaphore {
    pub(super) const fn new(permits: usize, permits_max: usize) -> RawSemaphore {
        RawSemaphore {
            word: AtomicUsize::new(permits * PERMIT),
            permits_max,
            waiters: Mutex::new(WaitList::new()),
        }
    }

    pub(super) fn permits(&self) -> usize {
        self.word.load(Ordering::Acquire) / PERMIT
    }

    pub(super) fn permits_max(&self) -> usize {
        self.permits_max
    }

    /// How many wait, for whatever.
    pub(super) fn waiting(&self) -> usize {
        self.waiters().len()
    }

    #[inline]
    pub(super) fn try_take(&self) -> bool {
        self.take_if_free() || waiting::take_over(self, false) && self.take_if_free()
    }

    #[inline]
    fn take_if_free(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word >= PERMIT && word & WAITED == 0 {
            let taken = self.word.compare_exchange_weak(
                word,
                word - PERMIT,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes a permit, at the latest at the deadline, which is asked for only when it is needed;
    /// returns whether there was one.
    #[inline]
    pub(super) fn take(&self, deadline: impl FnOnce() -> Option<u64>) -> bool {
        self.take_if_free() || self.wait_for(Want::Take, deadline())
    }

    /// Waits until there is a permit, and leaves it there.
    pub(super) fn look(&self, deadline: impl FnOnce() -> Option<u64>) -> bool {
        self.permits() > 0 || self.wait_for(Want::Look, deadline())
    }

    #[cold]
    fn wait_for(&self, want: Want, deadline: Option<u64>) -> bool {
        let mut waiters = self.waiters();
        if self.is_served(want) {
            return true;
        }
        let key = waiters.push(want, Notice::to_me());
        drop(waiters);
        waiting::wait(self, key, "a semaphore", deadline).is_ok()
    }

    /// With the list locked: has its wish fulfilled if there is a permit; otherwise sees to it
    /// that whoever gives one comes to the list.
    fn is_served(&self, want: Want) -> bool {
        let word = self.word.fetch_or(WAITED, Ordering::Acquire);
        if word < PERMIT {
            return false;
        }
        let taken = if want == Want::Take { PERMIT } else { 0 };
        self.word.fetch_sub(taken + WAITED, Ordering::Relaxed);
        true
    }

    /// Gives a permit; false if there would be too many.
    #[inline]
    pub(super) fn give(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word / PERMIT >= self.permits_max {
                return false;
            }
            if word & WAITED != 0 {
                if self.hand_over() {
                    return true;
                }
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            let given = self.word.compare_exchange_weak(
                word,
                word + PERMIT,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match given {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Shows a permit to those who want to look, until it comes to one who takes it; false if
    /// there is none.
    #[cold]
    fn hand_over(&self) -> bool {
        loop {
            let mut waiters = self.waiters();
            let first = waiters.first_mut().copied();
            let notice = waiters.grant_first();
            if waiters.is_empty() {
                self.word.fetch_and(!WAITED, Ordering::Relaxed);
            }
            drop(waiters);
            notice.into_iter().for_each(Notice::tell);
            match first {
                Some(Want::Look) => (),
                Some(Want::Take) => return true,
                None => return false,
            }
        }
    }

    pub(super) fn subscribe(&self, ready: Ready) -> Option<Box<dyn Subscription + '_>> {
        let mut waiters = self.waiters();
        if self.is_served(Want::Look) {
            drop(waiters);
            ready.call();
            return None;
        }
        let subscribed = Subscribed::new(self, &mut waiters, Want::Look, ready);
        Some(Box::new(subscribed))
    }

    fn waiters(&self) -> MutexGuard<'_, WaitList<Want>> {
        lock(&self.waiters)
    }
}

impl Home for RawSemaphore {
    type Payload = Want;

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList<Want>) -> R) -> R {
        f(&mut self.waiters())
    }

    fn pass_on(&self, want: Want) {
        if want == Want::Take {
            self.give();
        }
    }
}
