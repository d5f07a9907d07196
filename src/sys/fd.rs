//! Plain descriptors: read, write, flags, pipes, and poll(2) for threads without a hub.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{cvt, cvt_len};

/// IOV_MAX on Linux (include/uapi/linux/uio.h, UIO_MAXIOV): more slices are EINVAL.
const SLICES_MAX: usize = 1024;

/// The number as syscall(2) wants it.
fn raw(fd: BorrowedFd<'_>) -> libc::c_long {
    libc::c_long::from(fd.as_raw_fd())
}

pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is valid for its length, the descriptor is open (borrowed).
    let done = unsafe { libc::syscall(libc::SYS_read, raw(fd), buffer.as_mut_ptr(), buffer.len()) };
    cvt_len(done as isize)
}

pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is valid for its length, the descriptor is open (borrowed).
    let done = unsafe { libc::syscall(libc::SYS_write, raw(fd), bytes.as_ptr(), bytes.len()) };
    cvt_len(done as isize)
}

pub(crate) fn readv(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(SLICES_MAX);
    // SAFETY: std guarantees IoSliceMut to have iovec's layout; each slice is valid.
    let done = unsafe { libc::syscall(libc::SYS_readv, raw(fd), buffers.as_mut_ptr(), count) };
    cvt_len(done as isize)
}

pub(crate) fn writev(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = buffers.len().min(SLICES_MAX);
    // SAFETY: std guarantees IoSlice to have iovec's layout; each slice is valid.
    let done = unsafe { libc::syscall(libc::SYS_writev, raw(fd), buffers.as_ptr(), count) };
    cvt_len(done as isize)
}

/// Reads without waiting from a descriptor in blocking mode (RWF_NOWAIT), leaving its mode,
/// which others may share, alone. `Unsupported` where the file can't do that.
pub(crate) fn read_nowait(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: `slice` describes `buffer`, both outlive the call; -1 means the file's position.
    // By number, in which the offset comes in two halves.
    let done = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            raw(fd),
            &raw const slice,
            1usize,
            -1 as libc::c_long,
            -1 as libc::c_long,
            libc::RWF_NOWAIT,
        )
    };
    cvt_len(done as isize)
}

/// As [`read_nowait`], from `offset`, leaving the position alone.
pub(crate) fn pread_nowait(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let offset = libc::off64_t::try_from(offset);
    let offset = offset.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: `slice` describes `buffer`, both outlive the call.
    cvt_len(unsafe { libc::preadv2(fd.as_raw_fd(), &slice, 1, offset, libc::RWF_NOWAIT) })
}

/// What to do about the lock of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flock {
    Shared,
    Exclusive,
    Unlock,
}

/// Takes or gives back the lock of a file; "would block" when another has it.
pub(crate) fn flock(fd: BorrowedFd<'_>, how: Flock) -> io::Result<()> {
    let operation = match how {
        Flock::Shared => libc::LOCK_SH | libc::LOCK_NB,
        Flock::Exclusive => libc::LOCK_EX | libc::LOCK_NB,
        Flock::Unlock => libc::LOCK_UN,
    };
    // SAFETY: a number is passed; the descriptor is open (borrowed).
    cvt(unsafe { libc::flock(fd.as_raw_fd(), operation) }).map(drop)
}

pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(flags(fd)? & libc::O_NONBLOCK != 0)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let old = flags(fd)?;
    let new = if on {
        old | libc::O_NONBLOCK
    } else {
        old & !libc::O_NONBLOCK
    };
    if new != old {
        // SAFETY: F_SETFL takes an int; the descriptor is open (borrowed).
        cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, new) })?;
    }
    Ok(())
}

fn flags(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: F_GETFL takes no argument; the descriptor is open (borrowed).
    cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })
}

/// Descriptor 0, which stays open as long as the process by convention.
pub(crate) fn standard_input() -> BorrowedFd<'static> {
    // SAFETY: std itself relies on it in `std::io::stdin().as_fd()`.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// Descriptor 1, likewise.
pub(crate) fn standard_output() -> BorrowedFd<'static> {
    // SAFETY: std itself relies on it in `std::io::stdout().as_fd()`.
    unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) }
}

/// Descriptor 2, likewise.
pub(crate) fn standard_error() -> BorrowedFd<'static> {
    // SAFETY: std itself relies on it in `std::io::stderr().as_fd()`.
    unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) }
}

/// A pipe, both ends non-blocking and close-on-exec: (reader, writer).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for both descriptors, which are new and ours alone on success.
    unsafe {
        cvt(libc::pipe2(
            ends.as_mut_ptr(),
            libc::O_CLOEXEC | libc::O_NONBLOCK,
        ))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Blocks the OS thread until `fd` is ready (or, without one, just for the time given).
/// `Ok(false)` when the time is up; a signal starts the remaining wait anew.
pub(crate) fn poll(
    fd: Option<BorrowedFd<'_>>,
    read: bool,
    write: bool,
    timeout_ns: Option<u64>,
) -> io::Result<bool> {
    let deadline = timeout_ns.map(|ns| super::clock::now_ns().saturating_add(ns));
    let mut events = 0;
    if read {
        events |= libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP;
    }
    if write {
        events |= libc::POLLOUT;
    }
    let mut one = libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events,
        revents: 0,
    };
    loop {
        let left = deadline.map(|end| end.saturating_sub(super::clock::now_ns()));
        // Not constant: the kernel writes to it how much is left.
        let mut limit = left.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000).min(i32::MAX as u64) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        let limit_ptr = limit
            .as_mut()
            .map_or(std::ptr::null_mut(), std::ptr::from_mut);
        // SAFETY: one pollfd is passed and lives here; `limit_ptr` is null or points to `limit`.
        let found = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                &raw mut one,
                1usize,
                limit_ptr,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        match cvt(found) {
            Ok(found) => return Ok(found > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Number of OS threads of this process, for deciding whether anybody else could wake us.
pub(crate) fn threads_of_process() -> Option<usize> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // proc(5): the command name, in parentheses, may itself hold spaces; num_threads is the
    // 18th field after it.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(17)?.parse().ok()
}
