//! Where a greenlet can't own its thread-locals. The same names, and no value of them.

use std::io;

/// Above all.
pub(crate) const THREAD_ID_FIRST: u32 = 1 << 28;

/// There is none.
#[derive(Debug)]
pub(crate) enum Identity {}

impl Identity {
    pub(crate) fn new() -> io::Result<Identity> {
        Err(io::Error::other(probe().unwrap_err()))
    }

    pub(crate) fn address(&self) -> usize {
        match *self {}
    }

    pub(crate) fn thread_id(&self) -> u32 {
        match *self {}
    }

    pub(crate) fn join(&self) {}

    pub(crate) fn leave(&self) {}

    pub(crate) fn has_one_user(&self) -> bool {
        match *self {}
    }

    /// # Safety
    /// None is needed: it can't be called.
    pub(crate) unsafe fn within<R>(&self, _run: impl FnOnce() -> R) -> R {
        match *self {}
    }

    /// # Safety
    /// None is needed: it can't be called.
    pub(crate) unsafe fn run_destructors(&self) {
        match *self {}
    }
}

/// Nobody ever runs with others than the OS thread's.
///
/// # Safety
/// None is needed.
pub(crate) unsafe fn at_home<R>(run: impl FnOnce() -> R) -> R {
    run()
}

pub(crate) fn is_at_home() -> bool {
    true
}

/// Says why not.
pub(crate) fn probe() -> Result<(), String> {
    Err("thread-locals of a greenlet's own need glibc".into())
}
