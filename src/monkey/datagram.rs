//! Datagrams to a Unix socket whose queue is full.
//!
//! ```text
//!   sendto(fd, to): EAGAIN, yet poll(fd) says POLLOUT: the sender has room, the receiver has not
//!   probe = socket(); connect(probe, to)      poll(probe) looks at the receiver's queue
//!   park until the probe is writable, close it, try again
//! ```
//! poll(2) of a socket looks at the queue of its peer, and the sender may have none, or another
//! one. To wait for the sender itself would spin: each failed attempt makes it "writable" again.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{sockaddr, socklen_t};

use super::gate::Green;
use super::raw::raw;
use super::turn::{Stop, Turn, is_ready, option};
use crate::hub::Why;
use crate::poller::Interest;

/// After so many waits in one call the probe is no longer believed.
const PROBES_MAX: u32 = 64;
/// The pause that takes its place, at first and at last.
const PAUSE_FIRST_NS: u64 = 1_000_000;
const PAUSE_LAST_NS: u64 = 16_000_000;

/// Where a call sends its datagram.
#[derive(Debug)]
pub(super) struct Destination {
    address: *const sockaddr,
    length: socklen_t,
    probes: u32,
    pause_ns: u64,
}

impl Destination {
    /// `None` for a call that names no address.
    pub(super) fn new(address: *const sockaddr, length: socklen_t) -> Option<Destination> {
        (!address.is_null()).then_some(Destination {
            address,
            length,
            probes: 0,
            pause_ns: PAUSE_FIRST_NS,
        })
    }

    /// `fd` has just refused a datagram: for want of room at the receiver?
    pub(super) fn is_full(&self, fd: c_int) -> bool {
        option(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX)
            && option(fd, libc::SO_TYPE) == Some(libc::SOCK_DGRAM)
            && is_ready(fd, Interest::Write)
    }

    /// Parks until the receiver may have room, at the latest at `deadline`.
    pub(super) fn wait(&mut self, green: &Green<'_>, deadline: Option<u64>) -> Result<(), Stop> {
        self.probes += 1;
        if self.probes <= PROBES_MAX
            && let Some(probe) = self.probe()
        {
            return Turn::new(green, probe.as_raw_fd(), Interest::Write).wait(deadline);
        }
        let end = green.deadline_in(self.pause_ns).unwrap_or(u64::MAX);
        self.pause_ns = (self.pause_ns * 2).min(PAUSE_LAST_NS);
        let why = Why::Helper("room in the queue of a Unix socket");
        let until = end.min(deadline.unwrap_or(u64::MAX));
        green.park(why, Some(until)).map_err(Stop::With)
    }

    /// A socket whose peer is the receiver. There is none where it accepts from its own peer only,
    /// or where the process is out of descriptors.
    fn probe(&self) -> Option<OwnedFd> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let made = unsafe { raw!(SYS_socket, libc::AF_UNIX, kind, 0) };
        // SAFETY: new, and owned by nothing else.
        let probe = (made >= 0).then(|| unsafe { OwnedFd::from_raw_fd(made as c_int) })?;
        // SAFETY: the address is the caller's, who is still in the call that it was passed to.
        let done = unsafe { raw!(SYS_connect, made, self.address, self.length) };
        (done == 0).then_some(probe)
    }
}
