//! Where a greenlet can't own its thread-locals. The same names, and no value of them.

use std::io;

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

/// Says why not.
pub(crate) fn probe() -> Result<(), String> {
    Err("thread-locals of a greenlet's own need glibc".into())
}
