//! The only door to the kernel and to libc.
//!
//! Everything above this room is safe code that speaks of `BorrowedFd`, nanoseconds and
//! `io::Result`. A function here makes one call, turns `-1` into `io::Error` and says nothing
//! about greenlets; what waits and what retries is decided above.
//!
//! What the room `monkey` replaces (read, write, poll, the socket calls) is called through
//! `syscall(2)`: a replaced function is for other people's code, and never called by us.

pub(crate) mod addr;
pub(crate) mod atomic;
pub(crate) mod clock;
pub(crate) mod ending;
pub(crate) mod epoll;
pub(crate) mod event_fd;
pub(crate) mod fd;
pub(crate) mod fd_traits;
pub(crate) mod fork;
#[cfg(not(loom))]
mod futex;
#[cfg(feature = "monkey")]
pub(crate) mod identity;
pub(crate) mod lock;
pub(crate) mod panics;
pub(crate) mod poll;
mod prefetch;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod resolve;
pub(crate) mod signal;
pub(crate) mod sleeper;
pub(crate) mod socket;
pub(crate) mod stderr;
#[cfg(all(test, loom))]
mod weaken;

use std::io;

pub(crate) use prefetch::prefetch;

/// The one gate through which errno becomes `io::Error`.
pub(crate) fn cvt<N: Copy + Into<i64>>(result: N) -> io::Result<N> {
    if result.into() == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As [`cvt`], for `ssize_t` results, which become lengths.
pub(crate) fn cvt_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The errno values that the rooms above speak of, so that none of them names libc.
pub(crate) mod errno {
    pub(crate) use libc::{
        EADDRINUSE, EAGAIN, EBADF, ECANCELED, ECONNREFUSED, ECONNRESET, EDESTADDRREQ, EMFILE,
        EMSGSIZE, ENOTCONN, EPIPE, ETIMEDOUT,
    };
}
