//! Errors that a wait of the monkey patch has promised: the room `monkey` makes and collects them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The pipes of a child, by number and inode.
pub(crate) type OutputPipes = [(i32, u64); 2];

/// How many there are in the process.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The error of a kill or a limit that woke a greenlet by reporting descriptors as ready: the next
/// call on each of them fails with it.
#[derive(Debug)]
pub(crate) struct Owed {
    /// The kill or the frame, by number, as in `Local::met`.
    pub(crate) due: u64,
    pub(crate) errno: i32,
    fds: Vec<i32>,
}

impl Owed {
    pub(crate) fn new(due: u64, errno: i32, fds: Vec<i32>) -> Owed {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Owed { due, errno, fds }
    }

    /// Whether any greenlet of the process is owed an error: for calls that have no time to look
    /// for their own.
    #[inline(always)]
    pub(crate) fn any() -> bool {
        COUNT.load(Ordering::Relaxed) > 0
    }

    /// Whether a call on `fd` is to fail; only once.
    pub(crate) fn take(&mut self, fd: i32) -> bool {
        let found = self.fds.iter().position(|other| *other == fd);
        found.map(|found| self.fds.swap_remove(found)).is_some()
    }

    /// Whether a call on `fd` will fail.
    pub(crate) fn has(&self, fd: i32) -> bool {
        self.fds.contains(&fd)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}
