//! Use what sockets can do on Linux only, as with `std::os::linux::net`.
use crate::net::TcpStream;
use crate::sys::socket;
use std::io;
use std::time::Duration;

pub use std::os::linux::net::SocketAddrExt;

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::net::TcpStream {}
}

/// What a [`TcpStream`] can do on Linux only.
///
/// # Examples
///
/// ```
/// use greenroom::net::{TcpListener, TcpStream};
/// use greenroom::os::linux::net::TcpStreamExt;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(listener.local_addr()?)?;
/// stream.set_quickack(true)?;
/// assert!(stream.quickack()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait TcpStreamExt: sealed::Sealed {
    /// Acknowledges data at once (`TCP_QUICKACK`); the kernel may take that back later.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_quickack(&self, quickack: bool) -> io::Result<()>;

    /// Is data acknowledged at once?
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn quickack(&self) -> io::Result<bool>;

    /// Has a connection accepted only once data has arrived, or after so many whole seconds
    /// (`TCP_DEFER_ACCEPT`).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn set_deferaccept(&self, accept: Duration) -> io::Result<()>;

    /// For how long a connection without data is kept from being accepted.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    fn deferaccept(&self) -> io::Result<Duration>;
}

impl TcpStreamExt for TcpStream {
    fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        let source = self.source();
        source.set_option("quickack", quickack, || {
            socket::set_quickack(source.as_fd(), quickack)
        })
    }

    fn quickack(&self) -> io::Result<bool> {
        let source = self.source();
        source.flag("quickack", true, || socket::quickack(source.as_fd()))
    }

    fn set_deferaccept(&self, accept: Duration) -> io::Result<()> {
        let source = self.source();
        let seconds = u32::try_from(accept.as_secs()).unwrap_or(u32::MAX);
        source.set_option("deferaccept", seconds, || {
            socket::set_defer_accept(source.as_fd(), accept)
        })
    }

    fn deferaccept(&self) -> io::Result<Duration> {
        let source = self.source();
        let seconds = source.option("deferaccept", 0, || socket::defer_accept(source.as_fd()))?;
        Ok(Duration::from_secs(seconds.into()))
    }
}
