//! A connected Unix stream socket.
use super::{SocketAddr, UCred, path_addr};
use crate::io::{Source, read_by_reference, write_by_reference};
use crate::net::{Shutdown, adopt, dial};
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, Kind, as_std};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// A Unix stream socket.
///
/// The same as [`std::os::unix::net::UnixStream`], parking where that blocks.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::os::unix::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut here, mut there) = UnixStream::pair()?;
/// here.write_all(&[7])?;
/// let mut byte = [0];
/// there.read_exact(&mut byte)?;
/// assert_eq!(byte, [7]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
///
/// Reads park until there is data, an error or the end of the stream; writes until the kernel
/// takes at least one byte. The read or write timeout and a kill end either wait, with no bytes
/// moved.
pub struct UnixStream {
    source: Source,
}

fd_traits!(UnixStream, std::os::unix::net::UnixStream);

impl UnixStream {
    pub(crate) fn from_source(source: Source) -> UnixStream {
        UnixStream { source }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    fn adopt(fd: OwnedFd) -> UnixStream {
        UnixStream::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::os::unix::net::UnixStream> {
        as_std(self.source.as_fd())
    }

    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that doesn't fit an address, then
    /// those of connect(2).
    ///
    /// # Parks
    ///
    /// While the listener's backlog is full. The kernel has no event for that, so it tries again
    /// after 1 ms, then after twice as long each time, up to 16 ms. A kill gives the attempt up.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        dial::unix(&path_addr(path.as_ref())?).map(UnixStream::from_source)
    }

    /// Connects to the socket at an address, which may be an abstract one.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenroom::os::linux::net::SocketAddrExt;
    /// use greenroom::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    ///
    /// let name = format!("greenroom-doc-{}", std::process::id());
    /// let addr = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&addr)?;
    /// let _stream = UnixStream::connect_addr(&addr)?;
    /// assert!(listener.accept()?.1.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of connect(2).
    ///
    /// # Parks
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<UnixStream> {
        dial::unix(&SockAddr::from(socket_addr)).map(UnixStream::from_source)
    }

    /// Two streams connected to each other, without names.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2): the process is out of descriptors.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = socket::pair(Kind::Stream)?;
        Ok((
            UnixStream::from_source(Source::new(a)),
            UnixStream::from_source(Source::new(b)),
        ))
    }

    /// A second handle on the same connection, with the same timeouts and nonblocking mode.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<UnixStream> {
        self.source.try_clone().map(UnixStream::from_source)
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

    /// Which process, of which user and group, had the other end when the connection was made.
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, _there) = greenroom::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(here.peer_cred()?.pid, Some(std::process::id() as i32));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let (pid, uid, gid) = socket::peer_credentials(self.source.as_fd())?;
        let pid = Some(pid);
        Ok(UCred { uid, gid, pid })
    }

    /// As a read, but the data stays there for the next one.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the read timeout is over.
    ///
    /// # Parks
    ///
    /// As a read.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| socket::peek(fd, buf))
    }

    /// Sets how long a read may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A read that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Read, timeout)
    }

    /// Sets how long a write may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A write that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Write, timeout)
    }

    /// How long a read may wait.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.source.timeout(Interest::Read))
    }

    /// How long a write may wait.
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

impl Read for &UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| socket::recv(fd, buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        self.source
            .retry(Interest::Read, |fd| socket::recv_vectored(fd, bufs))
    }
}

impl Write for &UnixStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Write, |fd| socket::send(fd, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.source
            .retry(Interest::Write, |fd| socket::send_vectored(fd, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

read_by_reference!(UnixStream);

write_by_reference!(UnixStream);

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.std()).fmt(f)
    }
}
