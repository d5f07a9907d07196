//! Our ends of the pipes to a child.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use crate::io::{PipeReader, PipeWriter, Source, Stderr, Stdout, write_by_reference};
use crate::net::adopt;
use crate::sys;

/// A handle to a child's standard input. As [`std::process::ChildStdin`].
///
/// Dropping it closes it, and the child comes to the end of its input.
///
/// # Parks
/// A write parks while the pipe is full. A kill or a timeout unwinds.
pub struct ChildStdin(PipeWriter);

/// A handle to a child's standard output. As [`std::process::ChildStdout`].
///
/// # Parks
/// A read parks until there is output, or no process is left that could write any. A kill or a
/// timeout unwinds.
pub struct ChildStdout(PipeReader);

/// A handle to a child's standard error. As [`std::process::ChildStderr`].
///
/// # Parks
/// As [`ChildStdout`].
pub struct ChildStderr(PipeReader);

impl Write for &ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

write_by_reference!(ChildStdin);

macro_rules! output {
    ($end:ident) => {
        impl Read for $end {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_vectored(buffers)
            }
        }
    };
}

output!(ChildStdout);
output!(ChildStderr);

/// The conversions that std's ends have. Out of an `OwnedFd`, which must be open, they keep the
/// mode that it had, as their user's mode; into one, or into a `Stdio`, they are blocking again.
macro_rules! end_of_pipe {
    ($end:ident, $pipe:ident) => {
        impl $end {
            /// Of a pipe that std has just made, and that is in blocking mode.
            pub(super) fn of_spawn(end: std::process::$end) -> io::Result<$end> {
                let fd = OwnedFd::from(end);
                sys::fd::set_nonblocking(fd.as_fd(), true)?;
                Ok($end($pipe::of(Source::new(fd))))
            }
        }

        impl AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $end {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl IntoRawFd for $end {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl From<$end> for OwnedFd {
            fn from(end: $end) -> OwnedFd {
                end.0.into()
            }
        }

        impl From<OwnedFd> for $end {
            fn from(fd: OwnedFd) -> $end {
                $end($pipe::of(adopt(fd)))
            }
        }

        impl From<std::process::$end> for $end {
            fn from(end: std::process::$end) -> $end {
                OwnedFd::from(end).into()
            }
        }

        impl From<$end> for std::process::$end {
            fn from(end: $end) -> std::process::$end {
                OwnedFd::from(end).into()
            }
        }

        impl From<$end> for Stdio {
            fn from(end: $end) -> Stdio {
                OwnedFd::from(end).into()
            }
        }

        impl fmt::Debug for $end {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($end))
                    .field("fd", &self.as_raw_fd())
                    .finish()
            }
        }
    };
}

end_of_pipe!(ChildStdin, PipeWriter);
end_of_pipe!(ChildStdout, PipeReader);
end_of_pipe!(ChildStderr, PipeReader);

impl From<Stdout> for Stdio {
    fn from(_: Stdout) -> Stdio {
        std::io::stdout().into()
    }
}

impl From<Stderr> for Stdio {
    fn from(_: Stderr) -> Stdio {
        std::io::stderr().into()
    }
}

impl From<PipeReader> for Stdio {
    fn from(end: PipeReader) -> Stdio {
        OwnedFd::from(end).into()
    }
}

impl From<PipeWriter> for Stdio {
    fn from(end: PipeWriter) -> Stdio {
        OwnedFd::from(end).into()
    }
}
