//! Connecting, and the waits that only a timer can end.
use super::SocketAddr;
use crate::cancel;
use crate::greenlet::sleep;
use crate::hub::sim::{Network, Sim, simulation};
use crate::io::{Source, sit_out};
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::socket::{self, Connect, Kind};
use crate::sys::{self, errno};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// The pauses between tries where the kernel offers no event to wait for.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(16);

/// After so many waits in one send a probe is no longer believed.
const PROBES_MAX: u32 = 64;

/// A moment to give up at, by the hub's clock; `None` is never.
#[derive(Clone, Copy, Debug)]
struct Deadline(Option<u64>);

impl Deadline {
    fn after(limit: Option<Duration>) -> Deadline {
        // Too far away to be said is as good as never.
        Deadline(limit.and_then(cancel::deadline_in))
    }

    /// What is left until then: `None` without an end, zero when it is over.
    fn left(self) -> Option<Duration> {
        self.0
            .map(|end| Duration::from_nanos(end.saturating_sub(cancel::fresh_now())))
    }
}

/// A TCP connection to `addr`.
pub(super) fn tcp(addr: &SocketAddr, limit: Option<Duration>) -> io::Result<Source> {
    if let Some(network) = simulation(|sim| Arc::clone(&sim.network)) {
        return simulated(&network, addr, limit);
    }
    let addr = SockAddr::from(addr);
    let source = Source::new(socket::open(addr.family(), Kind::Stream)?);
    let mut state = socket::connect(source.as_fd(), &addr)?;
    if state == Connect::Underway && limit == Some(Duration::ZERO) {
        return Err(no_time());
    }
    let deadline = Deadline::after(limit);
    // A wake may be spurious, so each is followed by the question itself.
    while state == Connect::Underway {
        let left = deadline.left();
        let waited = match left {
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            _ => source.wait(Interest::Write, left),
        };
        waited.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut if limit.is_some() => late(),
            _ => error,
        })?;
        state = socket::connect(source.as_fd(), &addr)?;
    }
    Ok(source)
}

/// A connection within a simulation. No answer comes while too many wait to be accepted.
fn simulated(
    network: &Arc<Network>,
    addr: &SocketAddr,
    limit: Option<Duration>,
) -> io::Result<Source> {
    if limit == Some(Duration::ZERO) {
        return Err(no_time());
    }
    let deadline = Deadline::after(limit);
    let wait = |time: Duration| match deadline.left() {
        Some(left) if left < time => sit_out(left).and(Err(late())),
        _ => sit_out(time),
    };
    wait(simulation(Sim::latency).unwrap_or_default())?;
    if simulation(Sim::refuses) == Some(true) {
        return Err(io::Error::from_raw_os_error(errno::ECONNREFUSED));
    }
    let mut pause = RETRY_MIN;
    let connected = loop {
        if let Some(connected) = network.connect(addr)? {
            break connected;
        }
        wait(pause)?;
        pause = (pause * 2).min(RETRY_MAX);
    };
    simulation(|sim| sim.note(u64::from(connected.1.local().port())));
    Ok(Source::simulate(connected))
}

fn no_time() -> io::Error {
    let what = "cannot set a 0 duration timeout";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "connection timed out")
}

/// A Unix stream connected to `addr`.
pub(crate) fn unix(addr: &SockAddr) -> io::Result<Source> {
    let source = Source::new(socket::open(socket::UNIX, Kind::Stream)?);
    // A full backlog is EAGAIN, and nothing tells when it no longer is.
    retry_on_timer(&source, |fd| match socket::connect(fd, addr)? {
        Connect::Done => Ok(()),
        Connect::Underway => Err(io::ErrorKind::Interrupted.into()),
    })?;
    Ok(source)
}

/// Runs `op` until it doesn't say WouldBlock, with pauses in between, under the source's own
/// nonblocking mode and write timeout. For Unix sockets whose peer is full: epoll says nothing.
fn retry_on_timer<R>(
    source: &Source,
    op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
) -> io::Result<R> {
    let mut pause = RETRY_MIN;
    retry_after(source, op, |left| {
        sleep(pause.min(left));
        pause = (pause * 2).min(RETRY_MAX);
        Ok(())
    })
}

/// Runs `op`, which sends a datagram to `addr`, until it doesn't say WouldBlock. If the receiver's
/// queue is full, which epoll does not say of `source`, it does of a socket that is connected to
/// the receiver.
pub(crate) fn retry_for_room<R>(
    source: &Source,
    addr: &SockAddr,
    op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
) -> io::Result<R> {
    let (mut probes, mut pause) = (0, RETRY_MIN);
    retry_after(source, op, |left| {
        let limit = (left < Duration::MAX).then_some(left);
        if !sys::fd::poll(Some(source.as_fd()), false, true, Some(0))? {
            // Its own buffer is full.
            return ready_or_late(source.wait(Interest::Write, limit));
        }
        probes += 1;
        if probes <= PROBES_MAX
            && let Ok(probe) = socket::open(socket::UNIX, Kind::Datagram)
            && socket::connect(probe.as_fd(), addr).is_ok()
        {
            return ready_or_late(Source::new(probe).wait(Interest::Write, limit));
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(RETRY_MAX);
        Ok(())
    })
}

/// The limit of one wait is no failure yet. A timeout of the greenlet, which has an errno, is one.
fn ready_or_late(waited: io::Result<()>) -> io::Result<()> {
    match waited {
        Err(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
            Ok(())
        }
        waited => waited,
    }
}

/// Runs `op` until it doesn't say WouldBlock, and `wait`, which is told how much time is left, in
/// between; under the source's own nonblocking mode and write timeout.
fn retry_after<R>(
    source: &Source,
    mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    mut wait: impl FnMut(Duration) -> io::Result<()>,
) -> io::Result<R> {
    let mut deadline = None;
    let nonblocking = source.is_nonblocking();
    loop {
        let error = match op(source.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => error,
            done => return done,
        };
        if nonblocking {
            return Err(error);
        }
        let deadline =
            deadline.get_or_insert_with(|| Deadline::after(source.timeout(Interest::Write)));
        let left = deadline.left().unwrap_or(Duration::MAX);
        if left.is_zero() {
            return Err(error);
        }
        wait(left)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::time::Instant;

    fn busy() -> io::Error {
        io::ErrorKind::WouldBlock.into()
    }

    fn source() -> Source {
        Source::new(socket::open(socket::UNIX, Kind::Datagram).unwrap())
    }

    #[test]
    fn a_timed_retry_goes_on_until_it_succeeds() {
        let _bound = bounded();
        let mut tries = 0;
        let done = retry_on_timer(&source(), |_| {
            tries += 1;
            if tries < 4 { Err(busy()) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 4);
    }

    #[test]
    fn a_timed_retry_keeps_to_the_write_timeout() {
        let _bound = bounded();
        let source = source();
        source
            .set_timeout(Interest::Write, Some(Duration::from_millis(20)))
            .unwrap();
        let begin = Instant::now();
        let error = retry_on_timer(&source, |_| Err::<(), _>(busy())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_timed_retry_tries_once_in_nonblocking_mode() {
        let _bound = bounded();
        let source = source();
        source.set_nonblocking(true).unwrap();
        let mut tries = 0;
        let error = retry_on_timer(&source, |_| {
            tries += 1;
            Err::<(), _>(busy())
        });
        assert_eq!(
            (error.unwrap_err().kind(), tries),
            (io::ErrorKind::WouldBlock, 1)
        );
    }

    #[test]
    fn a_deadline_too_far_away_is_none() {
        let _bound = bounded();
        assert_eq!(Deadline::after(Some(Duration::MAX)).left(), None);
        assert_eq!(Deadline::after(None).left(), None);
        assert_eq!(
            Deadline::after(Some(Duration::ZERO)).left(),
            Some(Duration::ZERO)
        );
    }
}
