//! A UDP socket.
use super::addrs::each;
use super::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, adopt, simulated_fmt};
use crate::hub::sim::{Socket, simulation};
use crate::io::Source;
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, Connect, Kind, as_std};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

/// A UDP socket.
///
/// The same as [`std::net::UdpSocket`], parking where that blocks. A datagram that is longer than
/// the buffer it is received into is cut off.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::net::UdpSocket;
///
/// let here = UdpSocket::bind("127.0.0.1:0")?;
/// let there = UdpSocket::bind("127.0.0.1:0")?;
/// here.send_to(b"ping", there.local_addr()?)?;
/// let mut buf = [0; 16];
/// let (count, from) = there.recv_from(&mut buf)?;
/// assert_eq!((&buf[..count], from), (&b"ping"[..], here.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    source: Source,
}

fd_traits!(UdpSocket, std::net::UdpSocket);

impl UdpSocket {
    pub(crate) fn from_source(source: Source) -> UdpSocket {
        UdpSocket { source }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    fn adopt(fd: OwnedFd) -> UdpSocket {
        UdpSocket::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::net::UdpSocket> {
        as_std(self.source.as_fd())
    }

    /// A socket bound to the first of `addr`'s addresses that can be; port 0 asks for any free one.
    ///
    /// # Errors
    ///
    /// Those of the lookup, then the error of the last address tried.
    ///
    /// # Parks
    ///
    /// Only for the lookup of a host name.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        each(addr, |addr| {
            if let Some(network) = simulation(|sim| Arc::clone(&sim.network)) {
                let source = Source::simulate(network.open_datagram(addr)?);
                return Ok(UdpSocket::from_source(source));
            }
            let addr = SockAddr::from(addr);
            let fd = socket::open(addr.family(), Kind::Datagram)?;
            socket::bind(fd.as_fd(), &addr)?;
            Ok(UdpSocket::from_source(Source::new(fd)))
        })
    }

    /// Receives one datagram; says its length and who sent it.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the read timeout is over.
    ///
    /// # Parks
    ///
    /// Until there is a datagram. A kill ends the wait; no datagram is lost by it.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if let Some(simulated) = self.source.simulated() {
            return self.simulated_recv(simulated, buf, false);
        }
        let (count, addr) = self
            .source
            .retry(Interest::Read, |fd| socket::recv_from(fd, buf))?;
        Ok((count, addr.to_inet()?))
    }

    /// As [`recv_from`](Self::recv_from), but leaves the datagram in the queue.
    ///
    /// # Errors
    ///
    /// As `recv_from`.
    ///
    /// # Parks
    ///
    /// As `recv_from`.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if let Some(simulated) = self.source.simulated() {
            return self.simulated_recv(simulated, buf, true);
        }
        let (count, addr) = self
            .source
            .retry(Interest::Read, |fd| socket::peek_from(fd, buf))?;
        Ok((count, addr.to_inet()?))
    }

    /// Sends one datagram to the first of `addr`'s addresses, whatever that answers.
    ///
    /// # Errors
    ///
    /// Those of the lookup, [`InvalidInput`](io::ErrorKind::InvalidInput) when it found nothing,
    /// then those of sendto(2).
    ///
    /// # Parks
    ///
    /// For the lookup of a host name and while the kernel's queue is full.
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let Some(addr) = addr.to_socket_addrs()?.next() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no addresses to send data to",
            ));
        };
        if let Some(simulated) = self.source.simulated() {
            let send = |_: BorrowedFd<'_>| simulated.send_to(buf, Some(&addr));
            return self.source.retry(Interest::Write, send);
        }
        let addr = SockAddr::from(&addr);
        self.source
            .retry(Interest::Write, |fd| socket::send_to(fd, buf, &addr))
    }

    fn simulated_recv(
        &self,
        simulated: &Socket,
        buf: &mut [u8],
        peek: bool,
    ) -> io::Result<(usize, SocketAddr)> {
        self.source
            .retry(Interest::Read, |fd| simulated.recv_from(fd, buf, peek))
    }

    /// The address of the peer that it is connected to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) when there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.source.simulated() {
            Some(socket) => socket.peer(),
            None => self.std().peer_addr(),
        }
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.source.simulated() {
            Some(socket) => Ok(socket.local()),
            None => self.std().local_addr(),
        }
    }

    /// A second handle on the same socket, with the same timeouts and nonblocking mode.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<UdpSocket> {
        self.source.try_clone().map(UdpSocket::from_source)
    }

    /// Sets how long a receive may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_read_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Read, dur)
    }

    /// Sets how long a send may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_write_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Write, dur)
    }

    /// How long a receive may wait.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.source.timeout(Interest::Read))
    }

    /// How long a send may wait.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.source.timeout(Interest::Write))
    }

    /// Allows to send to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.source.set_option("broadcast", broadcast, || {
            self.std().set_broadcast(broadcast)
        })
    }

    /// May it send to broadcast addresses?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn broadcast(&self) -> io::Result<bool> {
        self.source
            .flag("broadcast", false, || self.std().broadcast())
    }

    /// Sets whether this host sees its own multicast packets of version four
    /// (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v4(&self, multicast_loop_v4: bool) -> io::Result<()> {
        self.source
            .set_option("multicast_loop_v4", multicast_loop_v4, || {
                self.std().set_multicast_loop_v4(multicast_loop_v4)
            })
    }

    /// Does this host see its own multicast packets, version four?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.source
            .flag("multicast_loop_v4", true, || self.std().multicast_loop_v4())
    }

    /// Sets over how many hops a multicast packet of version four may go (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_ttl_v4(&self, multicast_ttl_v4: u32) -> io::Result<()> {
        self.source
            .set_option("multicast_ttl_v4", multicast_ttl_v4, || {
                self.std().set_multicast_ttl_v4(multicast_ttl_v4)
            })
    }

    /// Over how many hops a multicast packet of version four may go.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.source
            .option("multicast_ttl_v4", 1, || self.std().multicast_ttl_v4())
    }

    /// Sets whether this host sees its own multicast packets of version six
    /// (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v6(&self, multicast_loop_v6: bool) -> io::Result<()> {
        self.source
            .set_option("multicast_loop_v6", multicast_loop_v6, || {
                self.std().set_multicast_loop_v6(multicast_loop_v6)
            })
    }

    /// Does this host see its own multicast packets, version six?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.source
            .flag("multicast_loop_v6", true, || self.std().multicast_loop_v6())
    }

    /// Sets over how many hops a packet may go (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source
            .set_option("ttl", ttl, || self.std().set_ttl(ttl))
    }

    /// Over how many hops a packet may go.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.option("ttl", 64, || self.std().ttl())
    }

    /// Joins a multicast group of version four, on the interface of that address, or on any
    /// for `0.0.0.0`.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.no_groups()?;
        self.std().join_multicast_v4(multiaddr, interface)
    }

    /// Joins a multicast group of version six, on the interface of that index, or on any for
    /// 0.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.no_groups()?;
        self.std().join_multicast_v6(multiaddr, interface)
    }

    /// Leaves a multicast group of version four, on the interface of that address, or on any
    /// for `0.0.0.0`.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.no_groups()?;
        self.std().leave_multicast_v4(multiaddr, interface)
    }

    /// Leaves a multicast group of version six, on the interface of that index, or on any for
    /// 0.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.no_groups()?;
        self.std().leave_multicast_v6(multiaddr, interface)
    }

    fn no_groups(&self) -> io::Result<()> {
        match self.source.simulated() {
            Some(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a simulated network has no multicast groups",
            )),
            None => Ok(()),
        }
    }

    /// Takes the error that is pending on the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Connects to the first of `addr`'s addresses that can be: `send` goes there, and nothing
    /// from elsewhere is received any more.
    ///
    /// # Errors
    ///
    /// Those of the lookup, then the error of the last address tried.
    ///
    /// # Parks
    ///
    /// Only for the lookup of a host name: nothing is sent.
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each(addr, |addr| {
            if let Some(simulated) = self.source.simulated() {
                simulated.set_peer(addr);
                return Ok(Connect::Done);
            }
            socket::connect(self.source.as_fd(), &SockAddr::from(addr))
        })
        .map(drop)
    }

    /// Sends one datagram to the peer that it is connected to.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) when the peer's host has said that
    /// nobody received an earlier one.
    ///
    /// # Parks
    ///
    /// While the kernel's queue is full.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        if let Some(simulated) = self.source.simulated() {
            let send = |_: BorrowedFd<'_>| simulated.send_to(buf, None);
            return self.source.retry(Interest::Write, send);
        }
        self.source
            .retry(Interest::Write, |fd| socket::send(fd, buf))
    }

    /// Receives one datagram; says its length.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the read timeout is over.
    ///
    /// # Parks
    ///
    /// Until there is a datagram. A kill ends the wait; no datagram is lost by it.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(simulated) = self.source.simulated() {
            return Ok(self.simulated_recv(simulated, buf, false)?.0);
        }
        self.source
            .retry(Interest::Read, |fd| socket::recv(fd, buf))
    }

    /// As [`recv`](Self::recv), but leaves the datagram in the queue.
    ///
    /// # Errors
    ///
    /// As `recv`.
    ///
    /// # Parks
    ///
    /// As `recv`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(simulated) = self.source.simulated() {
            return Ok(self.simulated_recv(simulated, buf, true)?.0);
        }
        self.source
            .retry(Interest::Read, |fd| socket::peek(fd, buf))
    }

    /// In nonblocking mode nothing parks: what would, fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// Those of the descriptor.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.source.set_nonblocking(nonblocking)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.simulated() {
            Some(socket) => simulated_fmt("UdpSocket", &self.source, socket, f),
            None => (*self.std()).fmt(f),
        }
    }
}
