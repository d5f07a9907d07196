//! eventfd: the bell that one thread rings to end another's epoll wait.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::cvt;

/// A non-blocking eventfd, watched edge-triggered and never read: each ring is an edge.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        EventFd::starting_at(0)
    }

    fn starting_at(count: u32) -> io::Result<EventFd> {
        // SAFETY: no pointer is passed; on success the descriptor is new and ours alone.
        unsafe {
            let fd = cvt(libc::eventfd(count, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            Ok(EventFd(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub(crate) fn into_owned_fd(self) -> OwnedFd {
        self.0
    }

    /// Adds one to the counter. A full counter (EAGAIN) means that a ring is pending already,
    /// so it is emptied and rung again: success either way.
    pub(crate) fn ring(&self) {
        if !self.add(1) {
            self.drain();
            self.add(1);
        }
    }

    fn add(&self, count: u64) -> bool {
        // SAFETY: the eight bytes of `count` outlive the call; the descriptor is open.
        let written =
            unsafe { libc::syscall(libc::SYS_write, self.number(), &raw const count, 8usize) };
        written == 8
    }

    fn number(&self) -> libc::c_long {
        libc::c_long::from(self.0.as_raw_fd())
    }

    fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: `count` has room for the eight bytes; the descriptor is open, non-blocking.
        unsafe { libc::syscall(libc::SYS_read, self.number(), &raw mut count, 8usize) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::sys::fd;

    #[test]
    fn a_full_counter_still_rings() {
        let _bound = bounded();
        let bell = EventFd::new().unwrap();
        assert!(
            bell.add(u64::MAX - 1),
            "the largest count that eventfd(2) allows"
        );
        assert!(!bell.add(1), "the counter is full");
        bell.ring();
        assert!(fd::poll(Some(bell.as_fd()), true, false, Some(0)).unwrap());
    }
}
