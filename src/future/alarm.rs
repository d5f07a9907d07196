//! The waker of a future that is awaited by blocking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use crate::hub::waker::Waker;

/// Wakes whoever has made it, from any thread, and remembers that it has.
pub(super) struct Alarm {
    sleeper: Waker,
    rung: AtomicBool,
}

impl Alarm {
    pub(super) fn for_caller() -> Alarm {
        Alarm {
            sleeper: Waker::current(),
            rung: AtomicBool::new(false),
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
            self.sleeper.wake();
        }
    }
}
