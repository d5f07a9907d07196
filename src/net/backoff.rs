//! Accepting, and what a listener does when the process is out of descriptors.
//!
//! With no descriptor left for it, a connection stays in the queue and every accept fails at once:
//! a loop that logs and goes on would spin. So the listener itself pauses before it says so, for
//! 10 ms at first and twice as long each time, up to 1 s, until an accept succeeds.
use crate::greenlet::sleep;
use crate::hub::sim::Socket;
use crate::io::Source;
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::socket;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often in a row accepts failed for want of descriptors or memory.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: AtomicU32,
}

impl Backoff {
    /// Accepts one connection.
    pub(crate) fn accept(&self, listener: &Source) -> io::Result<(Source, SockAddr)> {
        let result = match listener.simulated() {
            None => {
                let accepted = listener.retry(Interest::Read, socket::accept);
                accepted.map(|(fd, addr)| (Source::new(fd), addr))
            }
            Some(simulated) => accept_simulated(listener, simulated),
        };
        match &result {
            Ok(_) => self.failures.store(0, Relaxed),
            Err(error) if socket::is_exhaustion(error) && !listener.is_nonblocking() => {
                sleep(self.next(listener, error));
            }
            Err(_) => {}
        }
        result
    }

    fn next(&self, listener: &Source, error: &io::Error) -> Duration {
        let before = self.failures.load(Relaxed);
        self.failures.store(before.saturating_add(1), Relaxed);
        if before == 0 {
            let fd = listener.as_fd().as_raw_fd();
            log::warn!("accept on descriptor {fd} failed: {error}; pausing before each retry");
        }
        (PAUSE_MIN * (1 << before.min(7))).min(PAUSE_MAX)
    }
}

fn accept_simulated(listener: &Source, simulated: &Socket) -> io::Result<(Source, SockAddr)> {
    let accepted = listener.retry(Interest::Read, |fd| simulated.accept(fd))?;
    let peer = accepted.1.peer()?;
    Ok((Source::simulate(accepted), SockAddr::from(&peer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::Kind;

    #[test]
    fn pauses_double_up_to_a_second() {
        let source = Source::new(socket::open(socket::UNIX, Kind::Stream).unwrap());
        let backoff = Backoff::default();
        let error = io::Error::from_raw_os_error(24);
        assert!(socket::is_exhaustion(&error));
        let pauses: Vec<_> = (0..9)
            .map(|_| backoff.next(&source, &error).as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn other_errors_are_returned_without_a_pause() {
        let source = Source::new(socket::open(socket::UNIX, Kind::Stream).unwrap());
        let backoff = Backoff::default();
        let error = backoff.accept(&source).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "not listening");
        assert_eq!(backoff.failures.load(Relaxed), 0);
    }
}
