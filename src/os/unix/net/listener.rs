//! A Unix stream socket that listens.
use super::{SocketAddr, UnixStream, path_addr};
use crate::io::Source;
use crate::net::adopt;
use crate::net::backoff::Backoff;
use crate::sys::addr::SockAddr;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, Kind, as_std};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::{fmt, io};

/// A Unix socket server, listening for connections.
///
/// The same as [`std::os::unix::net::UnixListener`], parking where that blocks. Dropping it closes
/// the socket and leaves its path where it is.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::os::unix::net::{UnixListener, UnixStream};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("sock");
/// let listener = UnixListener::bind(&path)?;
/// let stream = UnixStream::connect(&path)?;
/// let (_peer, from) = listener.accept()?;
/// assert!(from.is_unnamed());
/// assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    source: Source,
    backoff: Backoff,
}

fd_traits!(UnixListener, std::os::unix::net::UnixListener);

impl UnixListener {
    pub(crate) fn from_source(source: Source) -> UnixListener {
        UnixListener {
            source,
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    fn adopt(fd: OwnedFd) -> UnixListener {
        UnixListener::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::os::unix::net::UnixListener> {
        as_std(self.source.as_fd())
    }

    /// Listens at `path`, where nothing may be yet.
    ///
    /// Up to 4096 connections may wait to be accepted, or fewer where the system's
    /// `net.core.somaxconn` says so.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that doesn't fit an address, then
    /// those of bind(2), such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::listen(&path_addr(path.as_ref())?)
    }

    /// Listens at an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// Those of bind(2), such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::listen(&SockAddr::from(socket_addr))
    }

    fn listen(addr: &SockAddr) -> io::Result<UnixListener> {
        let fd = socket::open(socket::UNIX, Kind::Stream)?;
        socket::bind(fd.as_fd(), addr)?;
        socket::listen(fd.as_fd(), socket::BACKLOG_MAX)?;
        Ok(UnixListener::from_source(Source::new(fd)))
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2). When the process or the system is out of descriptors or memory, the
    /// listener pauses before it returns the error, exactly as
    /// [`TcpListener::accept`](crate::net::TcpListener::accept) does.
    ///
    /// # Parks
    ///
    /// Until there is a connection, and for the pause above. A kill ends either; no connection is
    /// lost by it.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (source, addr) = self.backoff.accept(&self.source)?;
        Ok((UnixStream::from_source(source), addr.to_unix()?))
    }

    /// A second handle on the same listening socket; each connection goes to one of the two.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        self.source.try_clone().map(UnixListener::from_source)
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
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

    /// The connections, one after the other and without an end, as [`accept`](Self::accept) gives
    /// them.
    ///
    /// # Parks
    ///
    /// Each step, as `accept` does.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.std()).fmt(f)
    }
}

/// The endless iterator over the connections that a [`UnixListener`] accepts.
#[must_use = "iterators are lazy and do nothing unless consumed"]
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
