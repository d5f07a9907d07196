//! Pipes whose ends park.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Source, read_by_reference, write_by_reference};
use crate::poller::Interest;
use crate::sys;
use crate::sys::fd_traits::fd_traits;

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
        PipeReader::of(Source::new(reader)),
        PipeWriter::of(Source::new(writer)),
    ))
}

/// The end of a [`pipe`] to read from. Dropping it closes it, unless a clone is left.
///
/// Converting from a descriptor panics when it can't be made nonblocking, which no open pipe
/// refuses; turned back into one, it gets back the mode that it had.
///
/// # Parks
/// A read parks until there is data or the last writer is gone. A kill or a timeout unwinds.
pub struct PipeReader {
    source: Source,
}

/// The end of a [`pipe`] to write to. Dropping it closes it, unless a clone is left: whoever reads
/// then comes to the end.
///
/// Converting from a descriptor panics when it can't be made nonblocking, which no open pipe
/// refuses; turned back into one, it gets back the mode that it had.
///
/// # Parks
/// A write parks while the pipe is full. A kill or a timeout unwinds.
pub struct PipeWriter {
    source: Source,
}

impl PipeReader {
    /// A second handle of the same end.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        self.source.try_clone().map(PipeReader::of)
    }
}

impl PipeWriter {
    /// A second handle of the same end.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        self.source.try_clone().map(PipeWriter::of)
    }
}

impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| sys::fd::read(fd, buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.source
            .retry(Interest::Read, |fd| sys::fd::readv(fd, buffers))
    }
}

read_by_reference!(PipeReader);

impl Write for &PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.source
            .retry(Interest::Write, |fd| sys::fd::write(fd, bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.source
            .retry(Interest::Write, |fd| sys::fd::writev(fd, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

write_by_reference!(PipeWriter);

macro_rules! end_of_pipe {
    ($end:ident) => {
        impl $end {
            pub(crate) fn of(source: Source) -> $end {
                $end { source }
            }

            fn adopt(fd: OwnedFd) -> $end {
                let source = Source::adopt(fd);
                $end::of(source.expect("the descriptor of a pipe can be made nonblocking"))
            }

            fn release(self) -> OwnedFd {
                self.source.into_owned_fd()
            }
        }

        fd_traits!($end, io::$end);

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
