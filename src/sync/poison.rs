//! Whether somebody has panicked with a lock held.
//!
//! A kill or a timeout that unwinds past a guard is no panic: it comes where the greenlet parks,
//! as a matter of routine, and everybody else is to go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::thread;

use crate::cancel;

/// Set when a lock has been released by a panic.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

/// What a guard remembers: one that was made during an unwind does not poison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    panicking: bool,
}

impl Flag {
    pub(super) const fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    /// The lock has just been taken, or looked into.
    #[inline]
    pub(super) fn begin(&self) -> Begun {
        Begun {
            panicking: thread::panicking(),
        }
    }

    /// The lock is about to be released.
    #[inline]
    pub(super) fn end(&self, begun: &Begun) {
        if !begun.panicking && thread::panicking() {
            self.set_if_it_is_a_panic();
        }
    }

    #[cold]
    fn set_if_it_is_a_panic(&self) {
        if !cancel::is_under_way() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// `value`, as an error if the flag is set.
    #[inline]
    pub(super) fn label<T>(&self, value: T) -> LockResult<T> {
        if self.get() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}
