//! Pipes whose ends park.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use super::{Source, read_by_reference, write_by_reference};
use crate::poller::Interest;
use crate::sys;

/// A pipe: what is written to the second can be read from the first. As [`std::io::pipe`].
///
/// # Examples
/// ```
/// use greenroom::io::{Read, Write, pipe};
/// let (mut reader, mut writer) = pipe()?;
/// let echo = greenroom::spawn(move || {
///     let mut word = [0; 4];
///     reader.read_exact(&mut word).map(|()| word)
/// });
/// writer.write_all(b"ping")?;
/// assert_eq!(&echo.join().unwrap()?, b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// EMFILE, ENFILE.
///
/// # Parks
/// Never.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = sys::fd::pipe()?;
    Ok((
        PipeReader(Source::new(reader)),
        PipeWriter(Source::new(writer)),
    ))
}

/// The end of a [`pipe`] to read from. Dropping it closes it, unless a clone is left.
///
/// # Parks
/// A read parks until there is data or the last writer is gone. A kill or a timeout unwinds.
pub struct PipeReader(Source);

/// The end of a [`pipe`] to write to. Dropping it closes it, unless a clone is left: whoever reads
/// then comes to the end.
///
/// # Parks
/// A write parks while the pipe is full. A kill or a timeout unwinds.
pub struct PipeWriter(Source);

impl PipeReader {
    /// A second handle of the same end.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        self.0.try_clone().map(PipeReader)
    }
}

impl PipeWriter {
    /// A second handle of the same end.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        self.0.try_clone().map(PipeWriter)
    }
}

impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.retry(Interest::Read, |fd| sys::fd::read(fd, buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0
            .retry(Interest::Read, |fd| sys::fd::readv(fd, buffers))
    }
}

read_by_reference!(PipeReader);

impl Write for &PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .retry(Interest::Write, |fd| sys::fd::write(fd, bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0
            .retry(Interest::Write, |fd| sys::fd::writev(fd, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

write_by_reference!(PipeWriter);

/// The conversions that std's ends have too. Into an `OwnedFd` the end becomes blocking again;
/// out of one it keeps the mode that it had, as its user's mode.
macro_rules! end_of_pipe {
    ($end:ident) => {
        impl $end {
            pub(crate) fn of(source: Source) -> $end {
                $end(source)
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

        impl From<$end> for OwnedFd {
            fn from(end: $end) -> OwnedFd {
                end.0.into_owned_fd()
            }
        }

        impl IntoRawFd for $end {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl TryFrom<OwnedFd> for $end {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<$end> {
                Source::adopt(fd).map($end)
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

end_of_pipe!(PipeReader);
end_of_pipe!(PipeWriter);
