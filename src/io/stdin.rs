//! Standard input that parks.
//!
//! The descriptor's mode is left alone: it is shared with the shell and with our siblings, who
//! don't expect it to become non-blocking.

use std::fmt;
use std::io::{self, BufRead, BufReader, IoSliceMut, Lines, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{OnceLock, PoisonError};

use super::wait_readable;
use crate::sync::{Mutex, MutexGuard};
use crate::sys;

/// Standard input without a buffer.
struct Raw;

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        for _ in 0..2 {
            match sys::fd::read_nowait(stdin.as_fd(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_readable(&stdin)?,
                // A terminal can't be asked so.
                Err(error) if error.raw_os_error().is_some() => break,
                done => return done,
            }
        }
        // Ready, but not to be had without waiting: a terminal, or a file that is not in memory.
        wait_readable(&stdin)?;
        sys::fd::read(stdin.as_fd(), buffer)
    }
}

/// One buffer for all handles.
fn shared() -> &'static Mutex<BufReader<Raw>> {
    static SHARED: OnceLock<Mutex<BufReader<Raw>>> = OnceLock::new();
    SHARED.get_or_init(|| Mutex::new(BufReader::new(Raw)))
}

/// A handle to standard input. As [`std::io::Stdin`], with reads that park.
///
/// Its buffer is not the one of `std::io::stdin`: use one of the two.
///
/// # Examples
/// ```no_run
/// for line in greenroom::io::stdin().lines() {
///     println!("{}", line?.to_uppercase());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
/// Reads do, until there is input or its end; [`lock`](Stdin::lock) does, until others have
/// released theirs. A kill or a timeout unwinds.
#[derive(Clone)]
pub struct Stdin(());

/// A handle to standard input; see [`Stdin`].
pub fn stdin() -> Stdin {
    Stdin(())
}

impl Stdin {
    /// Keeps others from reading in between.
    ///
    /// # Parks
    /// Until those who came before have released theirs. A kill or a timeout unwinds.
    pub fn lock(&self) -> StdinLock<'static> {
        let buffer = shared().lock().unwrap_or_else(PoisonError::into_inner);
        StdinLock { buffer }
    }

    /// Reads a line, with its end, and appends it to `line`. The length, 0 at the end of input.
    ///
    /// # Errors
    /// As [`BufRead::read_line`].
    ///
    /// # Parks
    /// Until there is a line.
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        self.lock().read_line(line)
    }

    /// Whether it is a terminal. std's trait `IsTerminal` can't be implemented outside of std.
    pub fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(&self.as_fd())
    }

    /// The lines, without their ends, as an iterator that holds the lock.
    ///
    /// # Parks
    /// As [`lock`](Stdin::lock), and each step until there is a line.
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

impl Read for &Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buffer)
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.lock().read_vectored(buffers)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        self.lock().read_to_end(bytes)
    }

    fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        self.lock().read_to_string(text)
    }
}

impl AsFd for Stdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::fd::standard_input()
    }
}

impl AsRawFd for Stdin {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

/// Standard input, held. As [`std::io::StdinLock`].
///
/// # Parks
/// Reads do, until there is input or its end. A kill or a timeout unwinds.
pub struct StdinLock<'a> {
    buffer: MutexGuard<'a, BufReader<Raw>>,
}

impl Read for StdinLock<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.buffer.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.buffer.read_vectored(buffers)
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.buffer.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.buffer.consume(amount);
    }
}

impl AsFd for StdinLock<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::fd::standard_input()
    }
}

impl AsRawFd for StdinLock<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for StdinLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdinLock").finish_non_exhaustive()
    }
}
