//! Accepting, and what a listener does when the process is out of descriptors.
//!
//! With no descriptor left for it, a connection stays in the queue and every accept fails at once:
//! a loop that logs and goes on would spin. So the listener itself pauses before it says so, for
//! 10 ms at first and twice as long each time, up to 1 s, until an accept succeeds.
use crate::greenlet::sleep;
use crate::io::Source;
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::report::report;
use crate::sys::socket;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often in a row accepts failed, for want of descriptors or memory for the most part.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: AtomicU32,
}

impl Backoff {
    /// Accepts one connection.
    pub(crate) fn accept(&self, listener: &Source) -> io::Result<(Source, SockAddr)> {
        let result = accept_through(listener, || Ok(()));
        match &result {
            Ok(_) => self.succeed(),
            Err(error) if socket::is_exhaustion(error) && !listener.is_nonblocking() => {
                let fd = listener.as_fd().as_raw_fd();
                sleep(self.next(&format_args!("accept on descriptor {fd}"), error));
            }
            Err(_) => {}
        }
        result.map(|(source, addr, ())| (source, addr))
    }

    /// One has succeeded: the next failure is the first of its row.
    #[inline]
    pub(crate) fn succeed(&self) {
        self.failures.store(0, Relaxed);
    }

    /// How long to pause now that `what` has failed. The first of a row is logged.
    pub(crate) fn next(&self, what: &dyn fmt::Display, error: &io::Error) -> Duration {
        let before = self.failures.load(Relaxed);
        self.failures.store(before.saturating_add(1), Relaxed);
        if before == 0 {
            report!(Warn, "{what} failed: {error}; pausing before each retry");
        }
        (PAUSE_MIN * (1 << before.min(7))).min(PAUSE_MAX)
    }
}

/// Accepts one connection, with what `gate` gave for it: each attempt first asks that one, whose
/// errors are returned.
pub(crate) fn accept_through<P>(
    listener: &Source,
    mut gate: impl FnMut() -> io::Result<P>,
) -> io::Result<(Source, SockAddr, P)> {
    let Some(simulated) = listener.simulated() else {
        let ((fd, addr), pass) = listener.retry(Interest::Read, |fd| {
            let pass = gate()?;
            socket::accept(fd).map(|accepted| (accepted, pass))
        })?;
        return Ok((Source::new(fd), addr, pass));
    };
    let (accepted, pass) = listener.retry(Interest::Read, |fd| {
        let pass = gate()?;
        simulated.accept(fd).map(|accepted| (accepted, pass))
    })?;
    let peer = accepted.1.peer()?;
    Ok((Source::simulate(accepted), SockAddr::from(&peer), pass))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::sys::socket::Kind;

    #[test]
    fn pauses_double_up_to_a_second() {
        let _bound = bounded();
        let backoff = Backoff::default();
        let error = io::Error::from_raw_os_error(24);
        assert!(socket::is_exhaustion(&error));
        let pauses: Vec<_> = (0..9)
            .map(|_| backoff.next(&"accept", &error).as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn other_errors_are_returned_without_a_pause() {
        let _bound = bounded();
        let source = Source::new(socket::open(socket::UNIX, Kind::Stream).unwrap());
        let backoff = Backoff::default();
        let error = backoff.accept(&source).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "not listening");
        assert_eq!(backoff.failures.load(Relaxed), 0);
    }
}
