//! Waiting for any descriptor, without reading or writing it.

use std::io;
use std::os::fd::AsFd;

use super::Source;
use crate::hub::with_hub;
use crate::poller::Interest;
use crate::sys;

/// Waits until a read from `fd` would not block: there is data, the end, or an error.
///
/// Works for whatever epoll can watch; a regular file is always ready. The descriptor's own mode
/// is left alone.
///
/// # Examples
/// ```
/// use std::io::{Read, Write};
/// let (mut reader, mut writer) = std::io::pipe()?;
/// let waiter = greenroom::spawn(move || {
///     greenroom::io::wait_readable(&reader)?;
///     let mut byte = [0];
///     reader.read_exact(&mut byte).map(|()| byte[0])
/// });
/// greenroom::yield_now();
/// writer.write_all(b"x")?;
/// assert_eq!(waiter.join().unwrap()?, b'x');
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// EMFILE and ENFILE: the wait needs a duplicate of the descriptor. EBADF when the wait was
/// cancelled by [`cancel_waits`]. ECANCELED or ETIMEDOUT where a kill or a timeout can't unwind.
///
/// # Parks
/// Until then. A kill or a timeout unwinds.
pub fn wait_readable(fd: &impl AsFd) -> io::Result<()> {
    wait(fd, Interest::Read)
}

/// Waits until a write to `fd` would not block; otherwise as [`wait_readable`].
///
/// # Errors
/// As [`wait_readable`].
///
/// # Parks
/// As [`wait_readable`].
pub fn wait_writable(fd: &impl AsFd) -> io::Result<()> {
    wait(fd, Interest::Write)
}

fn wait(fd: &impl AsFd, interest: Interest) -> io::Result<()> {
    let fd = fd.as_fd();
    let read = interest == Interest::Read;
    if sys::fd::poll(Some(fd), read, !read, Some(0))? {
        return Ok(());
    }
    // A duplicate has an entry of its own in the epoll set, so that this wait is independent of
    // whatever else the descriptor is registered for.
    let duplicate = Source::stand_in(fd)?;
    match duplicate.wait(interest, None) {
        // Regular files can't be watched, since they are always ready.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        waited => waited,
    }
}

/// Wakes every greenlet of this hub that waits for `fd`, in any direction; each then gets EBADF.
/// Returns how many there were.
///
/// What gevent does when a socket is closed under its readers; in Rust a descriptor can't be
/// closed while it is borrowed, so this ends the waits, and the last owner closes.
///
/// # Examples
/// ```
/// use greenroom::os::unix::net::UnixStream;
/// use std::{io::Read, sync::Arc};
///
/// let (socket, _peer) = UnixStream::pair()?;
/// let socket = Arc::new(socket);
/// let theirs = Arc::clone(&socket);
/// let reader = greenroom::spawn(move || (&*theirs).read(&mut [0]).map_err(|e| e.raw_os_error()));
/// greenroom::yield_now();
/// assert_eq!(greenroom::io::cancel_waits(&*socket), 1);
/// assert_eq!(reader.join().unwrap(), Err(Some(9)), "EBADF");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
/// Never.
pub fn cancel_waits(fd: &impl AsFd) -> usize {
    let fd = fd.as_fd();
    with_hub(|hub| hub.map_or(0, |hub| hub.cancel_waits(fd)))
}
