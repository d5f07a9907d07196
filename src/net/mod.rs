//! Talk TCP and UDP as with `std::net`: type for type and name for name, with calls that park.
//!
//! To move code over, replace `std::net` by `greenroom::net`. What compiles against [`std::net`]
//! compiles against this module and does the same, but where std blocks the OS thread, these types
//! park the calling greenlet and let the others run.
//!
//! * **Try first.** Every operation first asks the kernel and parks only when it says that it
//!   would block. Methods without a `Parks` section never park.
//! * **A kill or a timeout** of the greenlet ends the wait by unwinding, and then no bytes were
//!   moved: a single read or write either moves bytes or fails, never both. `write_all` and
//!   `read_exact` are made of many, and are not cancel-safe.
//! * **Nonblocking mode and timeouts** are those that you set, not those of the descriptor, which
//!   is always nonblocking to the kernel. They are shared with the clones that `try_clone` makes.
//!   In nonblocking mode, and once a timeout is over, operations fail with
//!   [`WouldBlock`](std::io::ErrorKind::WouldBlock), as std's do.
//! * **To and from std.** Each type converts from and into its namesake in std and [`OwnedFd`].
//!   On the way in the descriptor's blocking mode and timeouts are remembered, on the way out
//!   they are given back. With `dup` (so also with `try_clone`) two descriptors share one
//!   blocking mode, by the kernel's rules: give away a socket and its clones together.
//! * **Simulations.** Inside [`sim::run`](crate::sim::run) the same types make up a network of
//!   their own, with faults if wanted, and touch no interface.
//! * **Lookups.** Host names are resolved off the hub's thread; literal addresses never are.
//!
//! [`OwnedFd`]: std::os::fd::OwnedFd
//!
//! # Examples
//!
//! ```
//! use greenroom::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut client = TcpStream::connect(listener.local_addr()?)?;
//! let (mut server, _) = listener.accept()?;
//!
//! client.write_all(b"hello")?;
//! let mut word = [0; 5];
//! server.read_exact(&mut word)?;
//! assert_eq!(&word, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
mod addrs;
pub(crate) mod backoff;
pub(crate) mod dial;
mod tcp_listener;
mod tcp_stream;
mod udp;

use crate::hub::sim::Socket;
use crate::io::Source;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

pub use self::addrs::ToSocketAddrs;
pub use self::tcp_listener::{Incoming, TcpListener};
pub use self::tcp_stream::TcpStream;
pub use self::udp::UdpSocket;
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

/// Writes a simulated socket as std writes a real one.
fn simulated_fmt(
    what: &str,
    source: &Source,
    socket: &Socket,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut out = f.debug_struct(what);
    out.field("addr", &socket.local());
    if let Ok(peer) = socket.peer() {
        out.field("peer", &peer);
    }
    out.field("fd", &source.as_fd().as_raw_fd()).finish()
}

/// Takes over a descriptor from elsewhere, as the infallible `From` demands.
///
/// # Panics
///
/// When the descriptor can't be made nonblocking: it isn't open, or is open with `O_PATH`.
pub(crate) fn adopt(fd: OwnedFd) -> Source {
    Source::adopt(fd).expect("the descriptor of a socket is open and can be made nonblocking")
}
