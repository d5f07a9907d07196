//! STAND-IN, to be replaced together with `io::Source`: what that needs of the kernel.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Blocks the OS thread in poll(2); false when the time is up.
pub(crate) fn poll(fd: BorrowedFd<'_>, write: bool, limit: Option<Duration>) -> io::Result<bool> {
    let events = if write { libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    let ms = limit.map_or(-1, |d| d.as_millis().saturating_add(1).min(1 << 30) as i32);
    // SAFETY: `entry` is one valid pollfd that outlives the call.
    match unsafe { libc::poll(&raw mut entry, 1, ms) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// Sets or clears O_NONBLOCK; true when it was set before.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<bool> {
    // SAFETY: F_GETFL takes no pointer; the borrow keeps the number open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    let wanted = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: F_SETFL takes no pointer; the borrow keeps the number open.
    if wanted != flags && unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(flags & libc::O_NONBLOCK != 0)
}
