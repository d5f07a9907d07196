//! A read or a write that must not wait, where the kernel has no flag that says so.
//!
//! ```text
//!   socket            recvmsg, sendmsg with MSG_DONTWAIT
//!   pipe, named pipe  opened once more, non-blocking, for this one call
//!   terminal          poll(2), then a write of no more than surely has room
//!   anything else     poll(2), then the call itself
//! ```
//! O_NONBLOCK belongs to the open file, which other processes may share: so it is not touched. A
//! pipe that is opened once more is another open file, with a mode of its own; what is written
//! through it and read through it is the same. Where it can't be opened (no /proc, another user's)
//! it is asked by poll(2), and written to in pieces that fit if poll(2) says so. Then somebody
//! else who reads or writes between the two calls may make the second one wait.

use std::ffi::c_int;
use std::io::Write;

use libc::iovec;

use super::file::Way;
use super::raw::{fail, raw};
use super::slices::{Rest, total};
use super::turn::is_ready;

const EAGAIN: isize = fail(libc::EAGAIN);

/// A terminal that is ready to be written to takes at least so much.
const TERMINAL_ROOM: usize = 256;

/// A tenth of a second, in which terminals count.
const TENTH_NS: u64 = 100_000_000;

/// What a descriptor is: S_IFREG, S_IFIFO and so on; 0 if it is nothing.
pub(super) fn kind_of(fd: c_int) -> u32 {
    let mut about = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: there is room for what the kernel writes.
    unsafe {
        let known = libc::fstat(fd, about.as_mut_ptr());
        if known == 0 {
            about.assume_init().st_mode & libc::S_IFMT
        } else {
            0
        }
    }
}

/// The settings of a terminal; `None` for what is none.
fn terminal(fd: c_int) -> Option<libc::termios> {
    let mut settings = std::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: the kernel writes what libc's structure begins with; zeros are valid for the rest.
    unsafe {
        let asked = raw!(SYS_ioctl, fd, libc::TCGETS, settings.as_mut_ptr());
        (asked == 0).then(|| settings.assume_init())
    }
}

/// For how many tenths of a second a read of a terminal waits for the first byte before it
/// returns 0; `None` where it waits for as long as it takes.
fn patience(fd: c_int) -> Option<u8> {
    let settings = terminal(fd)?;
    let raw = settings.c_lflag & libc::ICANON == 0 && settings.c_cc[libc::VMIN] == 0;
    raw.then_some(settings.c_cc[libc::VTIME])
}

/// As [`patience`], in nanoseconds; 0 for no limit.
pub(super) fn patience_ns(fd: c_int) -> u64 {
    patience(fd).map_or(0, |tenths| u64::from(tenths) * TENTH_NS)
}

/// Moves what can be moved without waiting.
///
/// # Safety
/// The slices are valid, for writing if `way` is in.
#[cold]
pub(super) unsafe fn transfer(way: Way, fd: c_int, slices: &[iovec]) -> isize {
    // SAFETY: F_GETFL takes no pointer.
    let mode = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) } as c_int;
    let access = match way {
        Way::In => libc::O_WRONLY,
        Way::Out => libc::O_RDONLY,
    };
    // SAFETY: the caller's.
    unsafe {
        if mode < 0 || mode & libc::O_NONBLOCK != 0 || mode & libc::O_ACCMODE == access {
            // It does not wait, or fails.
            return way.blocking(fd, slices);
        }
        match kind_of(fd) {
            libc::S_IFSOCK if total(slices) > 0 => through_socket(way, fd, slices),
            libc::S_IFIFO => through_pipe(way, fd, mode, slices),
            libc::S_IFCHR => through_device(way, fd, slices),
            libc::S_IFREG => way.blocking(fd, slices),
            _ => when_ready(way, fd, slices),
        }
    }
}

/// # Safety
/// The slices are valid.
unsafe fn through_socket(way: Way, fd: c_int, slices: &[iovec]) -> isize {
    // SAFETY: a message of zeros is one without address, slices or control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: the message and the caller's slices live until the call is over.
    unsafe {
        match way {
            Way::In => raw!(SYS_recvmsg, fd, &raw mut message, libc::MSG_DONTWAIT),
            Way::Out => raw!(SYS_sendmsg, fd, &raw mut message, libc::MSG_DONTWAIT),
        }
    }
}

/// Sends the rest of a write to a socket, of which a part was sent: from there on the kernel
/// raises no SIGPIPE.
///
/// # Safety
/// The slices are valid.
pub(super) unsafe fn send(fd: c_int, rest: &mut Rest) -> isize {
    let message = rest.message();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message lives until the call is over.
    unsafe { raw!(SYS_sendmsg, fd, &raw const message, flags) }
}

/// # Safety
/// As [`transfer`].
unsafe fn through_pipe(way: Way, fd: c_int, mode: c_int, slices: &[iovec]) -> isize {
    if !is_ready(fd, way.interest()) {
        return EAGAIN;
    }
    let Some(again) = open_again(way, fd, mode) else {
        // SAFETY: the caller's.
        return unsafe { in_pieces(way, fd, slices, libc::PIPE_BUF) };
    };
    // SAFETY: the caller's; the descriptor was opened here, and nothing else knows it.
    unsafe {
        let result = way.blocking(again, slices);
        raw!(SYS_close, again);
        result
    }
}

/// The pipe as another open file, which is non-blocking.
fn open_again(way: Way, fd: c_int, mode: c_int) -> Option<c_int> {
    let mut path = [0u8; 32];
    write!(&mut path[..31], "/proc/self/fd/{fd}").ok()?;
    let access = match way {
        Way::In => libc::O_RDONLY,
        Way::Out => libc::O_WRONLY,
    };
    let flags = access | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path ends with NUL.
    let again = unsafe { raw!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) } as c_int;
    if again >= 0 && mode & libc::O_DIRECT != 0 {
        // A pipe of packets can't be opened as one.
        let flags = libc::O_NONBLOCK | libc::O_DIRECT;
        // SAFETY: F_SETFL takes an integer.
        unsafe { raw!(SYS_fcntl, again, libc::F_SETFL, flags) };
    }
    (again >= 0).then_some(again)
}

/// # Safety
/// As [`transfer`].
unsafe fn through_device(way: Way, fd: c_int, slices: &[iovec]) -> isize {
    // SAFETY: the caller's.
    unsafe {
        match way {
            Way::Out if terminal(fd).is_some() => in_pieces(way, fd, slices, TERMINAL_ROOM),
            // It returns 0 at once if there is nothing.
            Way::In if patience(fd) == Some(0) => way.blocking(fd, slices),
            _ => when_ready(way, fd, slices),
        }
    }
}

/// # Safety
/// As [`transfer`].
unsafe fn in_pieces(way: Way, fd: c_int, slices: &[iovec], room: usize) -> isize {
    // SAFETY: the caller's, or the first of them.
    unsafe {
        if total(slices) <= room {
            return when_ready(way, fd, slices);
        }
        when_ready(way, fd, Rest::new(slices, 0).cut(room).as_slice())
    }
}

/// The call itself, unless it would wait.
///
/// # Safety
/// As [`transfer`].
unsafe fn when_ready(way: Way, fd: c_int, slices: &[iovec]) -> isize {
    if !is_ready(fd, way.interest()) {
        return EAGAIN;
    }
    // SAFETY: the caller's.
    unsafe { way.blocking(fd, slices) }
}
