//! The end of a child: how it is waited for, without reaping.
//!
//! ```text
//!   spawn --> pidfd_open(pid): the child is not reaped yet, so the number is still its own
//!   wait  --> look; not yet? park until the pidfd is readable; look again
//!             (no pidfd: sleep a little longer each time)
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cancel;
use crate::hub::Why;
use crate::io::Source;
use crate::poller::Interest;
use crate::sys;
use crate::sys::report::report;

/// Without a pidfd, a child is looked at no more often and no more rarely than this.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(1);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(32);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Exit {
    id: u32,
    pidfd: Option<Source>,
    reaped: AtomicBool,
}

impl Exit {
    /// Of a child that has not been reaped.
    pub(super) fn new(id: u32) -> Exit {
        let pidfd = sys::process::pidfd_open(id);
        let pidfd = pidfd.inspect_err(|error| {
            report!(
                Debug,
                "greenroom: no pidfd for the child {id}, it is polled: {error}"
            );
        });
        Exit::by(id, pidfd.ok().map(Source::new))
    }

    pub(super) fn by(id: u32, pidfd: Option<Source>) -> Exit {
        Exit {
            id,
            pidfd,
            reaped: AtomicBool::new(false),
        }
    }

    pub(super) fn note_reaped(&self) {
        self.reaped.store(true, Ordering::Release);
    }

    pub(super) fn has_come(&self) -> bool {
        if self.reaped.load(Ordering::Acquire) {
            return true;
        }
        match &self.pidfd {
            // An error is for the wait to tell, which is to be begun therefore.
            Some(pidfd) => sys::fd::poll(Some(pidfd.as_fd()), true, false, Some(0)).unwrap_or(true),
            None => sys::process::has_ended(self.id),
        }
    }

    /// Parks until `look` finds something, which it may from the end of the child on; `None` when
    /// the time was up first.
    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        mut look: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let Some(pidfd) = &self.pidfd else {
            return poll(limit, look);
        };
        let waited = pidfd.retry_within(limit, Interest::Read, |_| {
            look()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match waited {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            waited => waited.map(Some),
        }
    }
}

fn poll<T>(
    limit: Option<Duration>,
    mut look: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let deadline = limit.and_then(cancel::deadline_in);
    let mut pause = LOOK_EVERY_MIN;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
            return Ok(None);
        }
        let next_look = cancel::deadline_in(pause);
        let wake_at = next_look.into_iter().chain(deadline).min();
        cancel::park(Why::Helper("the end of a child process"), wake_at)?;
        pause = LOOK_EVERY_MAX.min(2 * pause);
    }
}
