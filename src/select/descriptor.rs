//! What names a descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Whatever names a descriptor: its number, a `BorrowedFd`, or a reference to anything that has
/// one, such as a socket of [`net`](crate::net) or of std. Only this crate implements it.
///
/// The number is looked at when it is used, and the descriptor is neither owned nor borrowed
/// longer than that: nothing here reads, writes or closes it. So it may be closed at any time.
/// What then happens is said where it is used.
///
/// # Examples
/// ```
/// use greenroom::select::Descriptor;
/// use std::os::fd::{AsFd, AsRawFd};
///
/// fn number(fd: impl Descriptor) -> i32 {
///     fd.number()
/// }
/// let (reader, _writer) = greenroom::io::pipe()?;
/// assert_eq!(number(&reader), reader.as_raw_fd());
/// assert_eq!(number(reader.as_fd()), number(reader.as_raw_fd()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Descriptor: sealed::Sealed {
    /// Its number.
    fn number(&self) -> RawFd;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for RawFd {}
impl Descriptor for RawFd {
    fn number(&self) -> RawFd {
        *self
    }
}

impl sealed::Sealed for BorrowedFd<'_> {}
impl Descriptor for BorrowedFd<'_> {
    fn number(&self) -> RawFd {
        self.as_raw_fd()
    }
}

impl<T: AsRawFd + ?Sized> sealed::Sealed for &T {}
impl<T: AsRawFd + ?Sized> Descriptor for &T {
    fn number(&self) -> RawFd {
        self.as_raw_fd()
    }
}

/// The number, if it can be one at all: the kernel passes over negative ones in silence.
///
/// # Errors
/// InvalidInput.
pub(super) fn number_of(fd: &impl Descriptor) -> io::Result<RawFd> {
    let number = fd.number();
    if number >= 0 {
        return Ok(number);
    }
    let what = format!("{number} is no descriptor: they are counted from 0");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}
