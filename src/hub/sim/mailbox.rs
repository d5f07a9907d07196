//! A queue whose state shows at a descriptor: readable as long as something is in it.
//!
//! ```text
//!   push --> queue --> pop          one byte is in the pipe exactly while the queue is not
//!     +-----> bell ====> fd         empty, so that poll(2), epoll and wait_readable all see it
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use crate::sys::lock::lock;
use crate::sys::socket::{self, Kind};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    bell: OwnedFd,
    queue: Mutex<VecDeque<T>>,
}

impl<T> Mailbox<T> {
    /// A mailbox, and the descriptor that shows its state.
    pub(super) fn new() -> io::Result<(Mailbox<T>, OwnedFd)> {
        let (bell, fd) = socket::pair(Kind::Stream)?;
        let queue = Mutex::default();
        Ok((Mailbox { bell, queue }, fd))
    }

    pub(super) fn push(&self, item: T) -> io::Result<()> {
        let mut queue = self.queue();
        if queue.is_empty() {
            socket::send(self.bell.as_fd(), &[0])?;
        }
        queue.push_back(item);
        Ok(())
    }

    /// Takes the first out; `fd` is the descriptor that came with the mailbox.
    pub(super) fn pop(&self, fd: BorrowedFd<'_>) -> io::Result<T> {
        let mut queue = self.queue();
        let item = queue.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        if queue.is_empty() {
            socket::recv(fd, &mut [0])?;
        }
        Ok(item)
    }

    /// The queue, to look at.
    pub(super) fn queue(&self) -> MutexGuard<'_, VecDeque<T>> {
        lock(&self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::sys;

    #[test]
    fn its_descriptor_is_readable_exactly_while_something_is_in_it() {
        let _bound = bounded();
        let (mailbox, fd) = Mailbox::new().unwrap();
        let readable = || sys::fd::poll(Some(fd.as_fd()), true, false, Some(0)).unwrap();
        assert!(!readable());
        mailbox.push(1).unwrap();
        mailbox.push(2).unwrap();
        assert_eq!((readable(), mailbox.pop(fd.as_fd()).unwrap()), (true, 1));
        assert_eq!((readable(), mailbox.pop(fd.as_fd()).unwrap()), (true, 2));
        assert!(!readable());
        let error = mailbox.pop(fd.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        mailbox.push(3).unwrap();
        assert!(readable());
    }
}
