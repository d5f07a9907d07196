//! Talk over Unix domain sockets as with `std::os::unix::net`: type for type and name for name,
//! with calls that park.
//!
//! All that [`net`](crate::net) says of nonblocking mode, timeouts, kills and the ways to and from
//! std holds here as well. [`SocketAddr`] is std's own.
//!
//! # Examples
//!
//! ```
//! use greenroom::os::unix::net::UnixStream;
//! use std::io::{Read, Write};
//!
//! let (mut here, mut there) = UnixStream::pair()?;
//! here.write_all(b"hello")?;
//! drop(here);
//! let mut all = String::new();
//! there.read_to_string(&mut all)?;
//! assert_eq!(all, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```
mod datagram;
mod listener;
mod stream;

pub use self::datagram::UnixDatagram;
pub use self::listener::{Incoming, UnixListener};
pub use self::stream::UnixStream;
pub use std::os::unix::net::SocketAddr;

/// Who has the other end of a Unix connection: see [`UnixStream::peer_cred`]. As std's, which is
/// not stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    /// The effective user of the process.
    pub uid: u32,
    /// The effective group of the process.
    pub gid: u32,
    /// The process; on Linux always known.
    pub pid: Option<i32>,
}

use crate::sys::addr::SockAddr;
use std::io;
use std::path::Path;

/// The kernel's form of a path, with std's errors for one that doesn't fit.
fn path_addr(path: &Path) -> io::Result<SockAddr> {
    SocketAddr::from_pathname(path).map(|addr| SockAddr::from(&addr))
}
