//! Child processes: how to hear of their end. Starting them is std's.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

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

/// Sends SIGKILL to the process behind `pidfd`.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the kernel takes null for what kill(2) would say about the signal.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            libc::c_long::from(pidfd.as_raw_fd()),
            libc::c_long::from(libc::SIGKILL),
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    cvt(sent).map(drop)
}

/// Reaps the child behind `pidfd` if it has ended.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let id = pidfd.as_raw_fd() as libc::id_t;
    let options = libc::WEXITED | libc::WNOHANG;
    // SAFETY: a zeroed siginfo is one, and there to be written; the kernel fills in what is read.
    let (process, code, status) = unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        cvt(libc::waitid(libc::P_PIDFD, id, &raw mut found, options))?;
        (found.si_pid(), found.si_code, found.si_status())
    };
    let raw = match code {
        _ if process == 0 => return Ok(None),
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(ExitStatus::from_raw(raw)))
}
