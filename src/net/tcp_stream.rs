//! A TCP connection.
use super::addrs::each;
use super::{Shutdown, SocketAddr, ToSocketAddrs, adopt, dial, simulated_fmt};
use crate::io::{Source, read_by_reference, write_by_reference};
use crate::poller::Interest;
use crate::sys::fd_traits::fd_traits;
use crate::sys::socket::{self, AsStd, as_std};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A TCP stream between a local and a remote socket.
///
/// The same as [`std::net::TcpStream`], parking where that blocks. Dropping it closes the
/// connection, unless a clone is left.
///
/// Two greenlets may use one stream at a time, each in its direction or both in the same: those
/// who wait for the same direction are served in the order in which they came.
///
/// Converting from a descriptor or from std panics when the descriptor can't be made nonblocking,
/// which no open socket refuses.
///
/// # Examples
///
/// ```
/// use greenroom::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut stream = TcpStream::connect(listener.local_addr()?)?;
/// stream.write_all(&[1])?;
/// let mut byte = [0];
/// listener.accept()?.0.read_exact(&mut byte)?;
/// assert_eq!(byte, [1]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
///
/// Reads park until there is data, an error or the end of the stream; writes until the kernel
/// takes at least one byte. The read or write timeout and a kill end either wait, with no bytes
/// moved.
pub struct TcpStream {
    source: Source,
}

fd_traits!(TcpStream, std::net::TcpStream);

impl TcpStream {
    pub(crate) fn from_source(source: Source) -> TcpStream {
        TcpStream { source }
    }

    fn adopt(fd: OwnedFd) -> TcpStream {
        TcpStream::from_source(adopt(fd))
    }

    fn release(self) -> OwnedFd {
        self.source.into_owned_fd()
    }

    fn std(&self) -> AsStd<'_, std::net::TcpStream> {
        as_std(self.source.as_fd())
    }

    /// Opens a connection to the first of `addr`'s addresses that accepts it.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenroom::net::{SocketAddr, TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    /// let stream = TcpStream::connect(&[nobody, listener.local_addr()?][..])?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the lookup, then the error of the last address tried.
    ///
    /// # Parks
    ///
    /// For the lookup of a host name and until the peer has answered. A kill gives the attempt up.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each(addr, |addr| dial::tcp(addr, None)).map(TcpStream::from_source)
    }

    /// Opens a connection to `addr`, within `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when there was no answer in time, and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a `timeout` of zero.
    ///
    /// # Parks
    ///
    /// Until the peer has answered or the time is up. A kill gives the attempt up.
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        dial::tcp(addr, Some(timeout)).map(TcpStream::from_source)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.source.simulated() {
            Some(socket) => socket.peer(),
            None => self.std().peer_addr(),
        }
    }

    /// The address of this end.
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

    /// Shuts down reading, writing or both; whoever is parked in that direction is woken.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// A second handle on the same connection, with the same timeouts and nonblocking mode.
    ///
    /// # Errors
    ///
    /// Those of dup(2): the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        self.source.try_clone().map(TcpStream::from_source)
    }

    /// Sets how long a read may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A read that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_read_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Read, dur)
    }

    /// Sets how long a write may wait; `None` is for ever. Kept as given, not rounded.
    ///
    /// A write that waited in vain fails with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero.
    pub fn set_write_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.source.set_timeout(Interest::Write, dur)
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

    /// Reads without taking the data off the stream: the next read returns it again.
    ///
    /// # Errors
    ///
    /// As a read.
    ///
    /// # Parks
    ///
    /// As a read: until there is data, an error or the end of the stream.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| socket::peek(fd, buf))
    }

    /// Has the close of the socket wait for what was sent to be acknowledged, for at most so long
    /// (`SO_LINGER`, in whole seconds); a limit of zero has it throw away what was not, and reset
    /// the connection. `None`, the default, has it return at once.
    ///
    /// Such a close blocks the OS thread while it waits.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        socket::set_linger(self.source.as_fd(), linger)
    }

    /// For how long a close waits for what was sent to be acknowledged.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        socket::linger(self.source.as_fd())
    }

    /// Sends small writes at once (`TCP_NODELAY`) instead of collecting them.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source
            .set_option("nodelay", nodelay, || self.std().set_nodelay(nodelay))
    }

    /// Are small writes sent at once?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.flag("nodelay", false, || self.std().nodelay())
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

    /// Takes the error that is pending on the socket (`SO_ERROR`).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
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

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

/// The first `most` bytes of `bufs`: for the short writes of a simulation.
#[cold]
fn cut<'a>(bufs: &'a [IoSlice<'_>], mut most: usize) -> Vec<IoSlice<'a>> {
    let part = |buf: &'a IoSlice<'_>| {
        let count = buf.len().min(most);
        most -= count;
        IoSlice::new(&buf[..count])
    };
    bufs.iter().map(part).collect()
}

/// The first `most` bytes of `bufs`: for the short reads of a simulation.
#[cold]
fn cut_mut<'a>(bufs: &'a mut [IoSliceMut<'_>], mut most: usize) -> Vec<IoSliceMut<'a>> {
    let part = |buf: &'a mut IoSliceMut<'_>| {
        let count = buf.len().min(most);
        most -= count;
        IoSliceMut::new(&mut buf[..count])
    };
    bufs.iter_mut().map(part).collect()
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.transfer(Interest::Read, buf.len(), |fd, most| {
            socket::recv(fd, &mut buf[..most])
        })
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let want = socket::vectored_len(bufs.iter().map(|buf| buf.len()));
        if want == 0 {
            return Ok(0);
        }
        self.source.transfer(Interest::Read, want, |fd, most| {
            if most < want {
                return socket::recv_vectored(fd, &mut cut_mut(bufs, most));
            }
            socket::recv_vectored(fd, bufs)
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.source
            .transfer(Interest::Write, buf.len(), |fd, most| {
                socket::send(fd, &buf[..most])
            })
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let want = socket::vectored_len(bufs.iter().map(|buf| buf.len()));
        self.source.transfer(Interest::Write, want, |fd, most| {
            if most < want {
                return socket::send_vectored(fd, &cut(bufs, most));
            }
            socket::send_vectored(fd, bufs)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

read_by_reference!(TcpStream);

write_by_reference!(TcpStream);

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.simulated() {
            Some(socket) => simulated_fmt("TcpStream", &self.source, socket, f),
            None => (*self.std()).fmt(f),
        }
    }
}
