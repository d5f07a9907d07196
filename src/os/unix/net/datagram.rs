//! A Unix datagram socket.
use super::{SocketAddr, path_addr};
use crate::io::Source;
use crate::net::dial::retry_for_room;
use crate::net::{Shutdown, adopt};
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, Kind, as_std};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

/// A Unix datagram socket.
///
/// The same as [`std::os::unix::net::UnixDatagram`], parking where that blocks. A datagram that is
/// longer than the buffer it is received into is cut off.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::os::unix::net::UnixDatagram;
///
/// let (here, there) = UnixDatagram::pair()?;
/// here.send(b"ping")?;
/// let mut buf = [0; 16];
/// let count = there.recv(&mut buf)?;
/// assert_eq!(&buf[..count], b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    source: Source,
}

fd_traits!(UnixDatagram, std::os::unix::net::UnixDatagram);

impl UnixDatagram {
    pub(crate) fn from_source(source: Source) -> UnixDatagram {
        UnixDatagram { source }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    fn adopt(fd: OwnedFd) -> UnixDatagram {
        UnixDatagram::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::os::unix::net::UnixDatagram> {
        as_std(self.source.as_fd())
    }

    /// A socket bound to `path`, where nothing may be yet.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that doesn't fit an address, then
    /// those of bind(2), such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::bound(&path_addr(path.as_ref())?)
    }

    /// A socket bound to an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// Those of bind(2), such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::bound(&SockAddr::from(socket_addr))
    }

    fn bound(addr: &SockAddr) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket::bind(socket.source.as_fd(), addr)?;
        Ok(socket)
    }

    /// A socket without an address.
    ///
    /// # Errors
    ///
    /// Those of socket(2): the process is out of descriptors.
    pub fn unbound() -> io::Result<UnixDatagram> {
        let fd = socket::open(socket::UNIX, Kind::Datagram)?;
        Ok(UnixDatagram::from_source(Source::new(fd)))
    }

    /// Two sockets connected to each other, without names.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2): the process is out of descriptors.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = socket::pair(Kind::Datagram)?;
        Ok((
            UnixDatagram::from_source(Source::new(a)),
            UnixDatagram::from_source(Source::new(b)),
        ))
    }

    /// Connects to the socket at `path`: `send` goes there, and nothing from elsewhere is received
    /// any more.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that doesn't fit an address, then
    /// those of connect(2).
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        socket::connect(self.source.as_fd(), &path_addr(path.as_ref())?).map(drop)
    }

    /// Connects to the socket at an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// Those of connect(2).
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        socket::connect(self.source.as_fd(), &SockAddr::from(socket_addr)).map(drop)
    }

    /// A second handle on the same socket, with the same timeouts and nonblocking mode.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<UnixDatagram> {
        self.source.try_clone().map(UnixDatagram::from_source)
    }

    /// The address of this end; unnamed unless it was bound.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) without a peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
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
        let (count, addr) = self
            .source
            .retry(Interest::Read, |fd| socket::recv_from(fd, buf))?;
        Ok((count, addr.to_unix()?))
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
        self.source
            .retry(Interest::Read, |fd| socket::recv(fd, buf))
    }

    /// As [`recv`](UnixDatagram::recv), but the datagram stays there for the next call.
    ///
    /// # Errors
    ///
    /// As `recv`.
    ///
    /// # Parks
    ///
    /// As `recv`.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| socket::peek(fd, buf))
    }

    /// As [`recv_from`](UnixDatagram::recv_from), but the datagram stays there for the next call.
    ///
    /// # Errors
    ///
    /// As `recv_from`.
    ///
    /// # Parks
    ///
    /// As `recv_from`.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, addr) = self
            .source
            .retry(Interest::Read, |fd| socket::peek_from(fd, buf))?;
        Ok((count, addr.to_unix()?))
    }

    /// Sends one datagram to the socket at `path`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that doesn't fit an address, then
    /// those of sendto(2).
    ///
    /// # Parks
    ///
    /// While the receiver's queue is full. The wait needs a socket more, which is connected to the
    /// receiver; where there can be none, the send is tried again every 1 to 16 ms. The write
    /// timeout and a kill end the wait, with nothing sent.
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_raw(buf, &path_addr(path.as_ref())?)
    }

    /// Sends one datagram to the socket at an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// Those of sendto(2).
    ///
    /// # Parks
    ///
    /// As [`send_to`](Self::send_to).
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        self.send_raw(buf, &SockAddr::from(socket_addr))
    }

    fn send_raw(&self, buf: &[u8], addr: &SockAddr) -> io::Result<usize> {
        retry_for_room(&self.source, addr, |fd| socket::send_to(fd, buf, addr))
    }

    /// Sends one datagram to the peer that it is connected to.
    ///
    /// # Errors
    ///
    /// Those of send(2), such as [`NotConnected`](io::ErrorKind::NotConnected) without a peer.
    ///
    /// # Parks
    ///
    /// While the peer's queue is full. The write timeout and a kill end the wait, with nothing
    /// sent.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Write, |fd| socket::send(fd, buf))
    }

    /// Sets how long a receive may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A receive that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Read, timeout)
    }

    /// Sets how long a send may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A send that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Write, timeout)
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

    /// In nonblocking mode nothing parks: what would, fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// Those of the descriptor.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.source.set_nonblocking(nonblocking)
    }

    /// Takes the error that is pending on the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Shuts down reading, writing or both; whoever is parked in that direction is woken.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) without a peer.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.std()).fmt(f)
    }
}
