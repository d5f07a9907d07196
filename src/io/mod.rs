//! Read pipes and standard input without blocking the hub, keep lines of output together, and wait
//! for any other descriptor.
//!
//! To move code over, replace `std::io` by `greenroom::io`: std's traits and types are exported
//! here again, with [`pipe`], [`stdin`], [`stdout`] and [`stderr`] that park. Whatever else is
//! [`AsFd`] can be waited for with [`wait_readable`] and [`wait_writable`], or together with other
//! things as [`readable`] and [`writable`]; sockets are in [`net`](crate::net).
//!
//! # What differs from std
//! * A write to standard output or standard error blocks the OS thread for as long as the terminal
//!   or the pipe behind it takes. What parks is the wait for the lock, which belongs to a greenlet.
//! * `print!` and `eprint!` are std's: they know nothing of that lock, and write while another
//!   greenlet holds it.
//! * The buffer of [`stdin`] is not that of std.
//! * [`copy`] is std's, which copies within the kernel between its own types only: with those of
//!   greenroom it goes through a buffer of 8 KiB.
//! * std's trait [`IsTerminal`] is for types of std's only. The three standard streams have
//!   `is_terminal` as a method; of other types, ask the descriptor that `as_fd` returns.
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
mod output;
mod pipe;
mod registrations;
mod simulated;
mod source;
mod stdin;
mod wait;
mod watch;

pub(crate) use by_reference::{read_by_reference, write_by_reference};
pub use output::{Stderr, StderrLock, Stdout, StdoutLock, stderr, stdout};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub(crate) use simulated::sit_out;
pub(crate) use source::Source;
pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink,
    Split, Take, Write, WriterPanicked, copy, empty, prelude, read_to_string, repeat, sink,
};
pub use stdin::{Stdin, StdinLock, stdin};
pub use wait::{cancel_waits, wait_readable, wait_writable};
pub use watch::{Readable, Writable, readable, writable};
