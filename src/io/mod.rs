//! Read pipes and standard input without blocking the hub, and wait for any other descriptor.
//!
//! To move code over, replace `std::io` by `greenroom::io`: std's traits and types are exported
//! here again, with [`pipe`] and [`stdin`] that park. Whatever else is [`AsFd`] can be waited for
//! with [`wait_readable`] and [`wait_writable`], or together with other things as [`readable`] and
//! [`writable`]; sockets are in [`net`](crate::net).
//!
//! Standard output and standard error are std's own: a write to them blocks the OS thread, for
//! their locks belong to it.
//!
//! [`AsFd`]: std::os::fd::AsFd
//!
//! # Examples
//! ```
//! use greenroom::io::{self, Read, Write};
//!
//! let (mut reader, mut writer) = io::pipe()?;
//! let reply = greenroom::spawn(move || {
//!     let mut text = String::new();
//!     reader.read_to_string(&mut text).map(|_| text)
//! });
//! writer.write_all(b"through the pipe")?;
//! drop(writer);
//! assert_eq!(reply.join().unwrap()?, "through the pipe");
//! # Ok::<(), io::Error>(())
//! ```

mod by_reference;
mod pipe;
mod registrations;
mod simulated;
mod source;
mod stdin;
mod wait;
mod watch;

pub(crate) use by_reference::{read_by_reference, write_by_reference};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub(crate) use simulated::sit_out;
pub(crate) use source::Source;
pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink,
    Split, Stderr, StderrLock, Stdout, StdoutLock, Take, Write, WriterPanicked, copy, empty,
    prelude, read_to_string, repeat, sink, stderr, stdout,
};
pub use stdin::{Stdin, StdinLock, stdin};
pub use wait::{cancel_waits, wait_readable, wait_writable};
pub use watch::{Readable, Writable, readable, writable};
