//! A TCP socket that listens.
use super::addrs::each;
use super::backoff::Backoff;
use super::{SocketAddr, TcpStream, ToSocketAddrs, adopt, simulated_fmt};
use crate::hub::sim::simulation;
use crate::io::Source;
use crate::sys::addr::SockAddr;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, Kind, as_std};
use std::iter::FusedIterator;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::{fmt, io};

/// A TCP socket server, listening for connections.
///
/// The same as [`std::net::TcpListener`], parking where that blocks. Dropping it closes the
/// listening socket, unless a clone is left.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (_stream, peer) = listener.accept()?;
/// assert_eq!(peer, client.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    source: Source,
    backoff: Backoff,
}

fd_traits!(TcpListener, std::net::TcpListener);

impl TcpListener {
    pub(crate) fn from_source(source: Source) -> TcpListener {
        TcpListener {
            source,
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    fn adopt(fd: OwnedFd) -> TcpListener {
        TcpListener::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::net::TcpListener> {
        as_std(self.source.as_fd())
    }

    /// Listens on the first of `addr`'s addresses that can be bound; port 0 asks for any free one.
    ///
    /// `SO_REUSEADDR` is set, as std does. Up to 4096 connections (std: 128) may wait to be
    /// accepted, or fewer where the system's `net.core.somaxconn` says so.
    ///
    /// # Errors
    ///
    /// Those of the lookup, then the error of the last address tried, such as
    /// [`AddrInUse`](io::ErrorKind::AddrInUse).
    ///
    /// # Parks
    ///
    /// Only for the lookup of a host name.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        each(addr, |addr| {
            if let Some(network) = simulation(|sim| Arc::clone(&sim.network)) {
                let source = Source::simulate(network.listen(addr)?);
                return Ok(TcpListener::from_source(source));
            }
            let addr = SockAddr::from(addr);
            let fd = socket::open(addr.family(), Kind::Stream)?;
            socket::set_reuse_addr(fd.as_fd())?;
            socket::bind(fd.as_fd(), &addr)?;
            socket::listen(fd.as_fd(), socket::BACKLOG_MAX)?;
            Ok(TcpListener::from_source(Source::new(fd)))
        })
    }

    /// The address that it listens on.
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

    /// A second handle on the same listening socket; each connection goes to one of the two.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        self.source.try_clone().map(TcpListener::from_source)
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2); most of them concern one connection only, and the listener goes on.
    /// When the process or the system is out of descriptors or memory, every accept fails until
    /// some are given back. So that a loop over them doesn't spin, the listener then pauses before
    /// it returns the error: 10 ms, then twice as long each time up to 1 s, until an accept
    /// succeeds. It logs the first of such a row. In nonblocking mode it doesn't pause.
    ///
    /// # Parks
    ///
    /// Until there is a connection, and for the pause above. A kill ends either; no connection is
    /// lost by it.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (source, addr) = self.backoff.accept(&self.source)?;
        Ok((TcpStream::from_source(source), addr.to_inet()?))
    }

    /// The connections, one after the other and without an end, as [`accept`](Self::accept) gives
    /// them.
    ///
    /// # Parks
    ///
    /// Each step, as `accept` does.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
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

    /// Sets `IPV6_V6ONLY`, which can no longer be set once the socket is bound.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2), so [`InvalidInput`](io::ErrorKind::InvalidInput) for every
    /// listener made by [`bind`](Self::bind).
    #[deprecated(
        since = "0.1.0",
        note = "this option can only be set before the socket is bound"
    )]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        match self.source.simulated() {
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
            None => socket::set_only_v6(self.source.as_fd(), only_v6),
        }
    }

    /// Does it take connections of IP version six only?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    #[deprecated(
        since = "0.1.0",
        note = "this option can only be set before the socket is bound"
    )]
    pub fn only_v6(&self) -> io::Result<bool> {
        self.source
            .flag("only_v6", false, || socket::only_v6(self.source.as_fd()))
    }

    /// Takes the error that is pending on the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// In nonblocking mode `accept` never parks: with nothing to accept it fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// Those of the descriptor.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.source.set_nonblocking(nonblocking)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.simulated() {
            Some(socket) => simulated_fmt("TcpListener", &self.source, socket, f),
            None => (*self.std()).fmt(f),
        }
    }
}

/// The endless iterator over the connections that a [`TcpListener`] accepts.
///
/// # Examples
///
/// ```
/// use greenroom::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// for stream in listener.incoming().take(1) {
///     assert_eq!(stream?.peer_addr()?, client.local_addr()?);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "iterators are lazy and do nothing unless consumed"]
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
