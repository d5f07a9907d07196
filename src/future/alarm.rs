//! The waker of a future that is awaited by blocking.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use crate::hub::waker::Waker;
use crate::sys::lock::lock;

/// Wakes whoever has made it, from any thread, and remembers that it has.
pub(super) struct Alarm {
    sleeper: Mutex<Waker>,
    /// Made where no greenlet and no root ran.
    native: bool,
    rung: AtomicBool,
}

impl Alarm {
    pub(super) fn for_caller() -> Alarm {
        let sleeper = Waker::current();
        Alarm {
            native: matches!(sleeper, Waker::Native(_)),
            sleeper: Mutex::new(sleeper),
            rung: AtomicBool::new(false),
        }
    }

    /// Makes it wake the caller as it waits now. The future may have given its OS thread a hub,
    /// and then the caller parks on that.
    pub(super) fn renew(&self) {
        if self.native {
            *lock(&self.sleeper) = Waker::current();
        }
    }

    /// Whether it has been rung since the last look.
    pub(super) fn is_rung(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who has rung already has woken it, or it has yet to park and will look first.
        if !self.rung.swap(true, Ordering::AcqRel) {
            lock(&self.sleeper).wake();
        }
    }
}
