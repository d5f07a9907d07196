//! How often a task is counted, and whether its hub holds it besides: see the head of `cell`.
//!
//! ```text
//!                      housed                                  not housed
//!   on its hub's       one less; nobody frees                  one less; the last frees
//!   OS thread          evict: any counts? then not housed,
//!                        else free
//!   on any other       one less, unless it is the last:        one less; the last frees
//!                        that is sent to the hub
//! ```
//!
//! A decrement releases what its thread did with the task; the thread that frees it acquires all
//! of that. `housed` is set to false once, and releases what the hub did.

use std::process;
use std::sync::atomic::Ordering;

use crate::sys::atomic::{AtomicBool, AtomicUsize};

/// As std's `Arc`: beyond that somebody forgets clones in a loop.
const REFS_MAX: usize = isize::MAX as usize;

/// See the head of this file.
pub(super) struct Count {
    refs: AtomicUsize,
    housed: AtomicBool,
}

/// What is left to do for a thread that has given up its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// The task is this thread's alone.
    Free,
    /// The count still stands, and is for the task's hub to give up.
    SendHome,
}

impl Count {
    /// Of a task that is counted once.
    #[inline]
    pub(super) fn one(housed: bool) -> Count {
        Count {
            refs: AtomicUsize::new(1),
            housed: AtomicBool::new(housed),
        }
    }

    /// One count more, for a task that is counted, or held by this OS thread's hub.
    #[inline]
    pub(super) fn add(&self) {
        if self.refs.fetch_add(1, Ordering::Relaxed) > REFS_MAX {
            process::abort();
        }
    }

    #[cfg(test)]
    pub(super) fn refs(&self) -> usize {
        self.refs.load(Ordering::Relaxed)
    }

    /// One count less, on the OS thread of the task's hub. Returns whether the task is to be
    /// freed.
    #[inline]
    pub(super) fn drop_at_home(&self) -> bool {
        self.take_off_one() && !self.housed.load(Ordering::Relaxed)
    }

    /// One count less, on any other OS thread.
    #[inline]
    pub(super) fn drop_abroad(&self, is_home_closed: impl Fn() -> bool) -> Then {
        loop {
            if !self.housed.load(Ordering::Acquire) {
                let last = self.take_off_one();
                return if last { Then::Free } else { Then::Nothing };
            }
            let refs = self.refs.load(Ordering::Relaxed);
            if refs == 1 {
                if !is_home_closed() {
                    return Then::SendHome;
                }
                // What is still housed then, its hub has left behind for good.
                if self.housed.load(Ordering::Relaxed) {
                    return Then::Nothing;
                }
                continue;
            }
            let less = refs - 1;
            let (yes, no) = (Ordering::Release, Ordering::Relaxed);
            if self.refs.compare_exchange(refs, less, yes, no).is_ok() {
                return Then::Nothing;
            }
        }
    }

    /// The hub lets go of the task that it has held. Returns whether the task is to be freed.
    #[inline]
    pub(super) fn evict(&self) -> bool {
        // Of a task that is housed only this thread takes off the last count, and has acquired
        // the others then.
        if self.refs.load(Ordering::Relaxed) == 0 {
            return true;
        }
        self.housed.store(false, Ordering::Release);
        false
    }

    /// Whether the hub holds the task; to be asked on the hub's OS thread.
    #[inline]
    pub(super) fn is_housed(&self) -> bool {
        self.housed.load(Ordering::Relaxed)
    }

    /// One count less; true if there is none left.
    #[inline]
    fn take_off_one(&self) -> bool {
        // One is ours. If there is no other, then nobody is there who could make one meanwhile.
        if self.refs.load(Ordering::Acquire) == 1 {
            self.refs.store(0, Ordering::Relaxed);
            return true;
        }
        self.refs.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(all(test, loom))]
mod orders;
