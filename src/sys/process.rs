//! Child processes: how to hear of their end. Starting them is std's.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::cvt;

/// A descriptor that is readable from the end of the child `id` on. Close-on-exec always.
pub(crate) fn pidfd_open(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: numbers are passed; on success the descriptor is new and ours alone.
    unsafe {
        let fd = cvt(libc::syscall(
            libc::SYS_pidfd_open,
            libc::c_long::from(id),
            0,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether the child `id` has ended, without reaping it. Who is no child (any more) has ended.
pub(crate) fn has_ended(id: u32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a zeroed siginfo is one, and there to be written.
    let (waited, found) = unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let waited = cvt(libc::waitid(libc::P_PID, id, &raw mut found, options));
        (waited, found.si_pid())
    };
    waited.is_err() || found != 0
}
