//! A descriptor that stands for a process.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;

use crate::cancel;
use crate::io::Source;
use crate::net::adopt;
use crate::poller::Interest;
use crate::sys;
use crate::sys::fd_traits::fd_traits;

/// A descriptor that stands for a process (pidfd), as std's, which is not stable. Unlike a number,
/// it never comes to stand for another one.
///
/// [`CommandExt::create_pidfd`] has one made for a child, and [`ChildExt`] returns it. It is
/// readable from the end of the process on: [`io::readable`](crate::io::readable) waits for that,
/// among other things.
///
/// [`CommandExt::create_pidfd`]: crate::os::linux::process::CommandExt::create_pidfd
/// [`ChildExt`]: crate::os::linux::process::ChildExt
///
/// # Examples
/// ```
/// use greenroom::os::linux::process::{ChildExt, CommandExt};
/// use greenroom::process::Command;
///
/// let child = Command::new("sleep").arg("60").create_pidfd(true).spawn()?;
/// let pidfd = child.into_pidfd().expect("Linux 5.3");
/// pidfd.kill()?;
/// assert!(!pidfd.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias("pidfd_open", "process descriptor", "pidfd_send_signal"))]
#[derive(Debug)]
pub struct PidFd {
    source: Source,
}

impl PidFd {
    /// Of the child `id`, which has not been reaped.
    pub(super) fn open(id: u32) -> io::Result<PidFd> {
        let source = Source::new(sys::process::pidfd_open(id)?);
        Ok(PidFd { source })
    }

    fn adopt(fd: OwnedFd) -> PidFd {
        PidFd { source: adopt(fd) }
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    /// Has the process ended by SIGKILL. Fine as well when it has ended and was not reaped.
    ///
    /// # Errors
    /// ESRCH when it was reaped; EPERM.
    ///
    /// # Parks
    /// Never.
    pub fn kill(&self) -> io::Result<()> {
        sys::process::pidfd_kill(self.source.as_fd())
    }

    /// Waits for the end of the child and reaps it. Unlike [`Child::wait`](crate::process::Child)
    /// it closes no standard input.
    ///
    /// # Errors
    /// ECHILD when it was reaped already, here or elsewhere, SIGCHLD is ignored, or the process is
    /// no child of this one. ECANCELED or ETIMEDOUT where a kill or a timeout can't unwind.
    ///
    /// # Parks
    /// Until the child has ended. A kill or a timeout unwinds and leaves the child alone.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.source.retry(Interest::Read, |fd| {
            sys::process::reap(fd)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        })
    }

    /// The status of the child if it has ended, which reaps it.
    ///
    /// # Errors
    /// ECHILD, as [`wait`](PidFd::wait).
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        cancel::let_others_run();
        sys::process::reap(self.source.as_fd())
    }
}

fd_traits!(PidFd);
