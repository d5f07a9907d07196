//! Standard output and standard error, with a lock between greenlets.
//!
//! ```text
//!   greenlet A   lock() ----+                       +--> std's handle: its buffer, its lock,
//!                           +--> RLock of a handle -+    held for the length of one call
//!   greenlet B   lock() ----+    (B parks)          +--> descriptor 1 or 2
//! ```
//!
//! std's own lock belongs to an OS thread, so all greenlets of one hold it at once. It is taken
//! inside of ours, for one call that neither parks nor runs code of the user's. There is no buffer
//! here: what std flushes at the end of the process is all that there is, and `print!` and these
//! handles keep their order.

use std::fmt;
use std::io::{self, IoSlice, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::sync::{RLock, RLockGuard};
use crate::sys;

/// A handle, its lock and the function that makes it, of which there are two.
macro_rules! output {
    (
        $(#[$handle_docs:meta])* $Handle:ident, $(#[$lock_docs:meta])* $Lock:ident,
        $(#[$make_docs:meta])* $make:ident, $fd:ident
    ) => {
        $(#[$handle_docs])*
        pub struct $Handle(());

        $(#[$lock_docs])*
        pub struct $Lock<'a> {
            _held: RLockGuard<'a, ()>,
        }

        $(#[$make_docs])*
        pub fn $make() -> $Handle {
            $Handle(())
        }

        impl $Handle {
            /// Keeps other greenlets, and OS threads that use this handle, from writing in between.
            /// The greenlet that has the lock may take it again.
            ///
            /// # Parks
            /// Until those who came before have released theirs. A kill or a timeout unwinds; it
            /// releases the lock if it comes while that is held.
            pub fn lock(&self) -> $Lock<'static> {
                static LOCK: RLock<()> = RLock::new(());
                $Lock {
                    _held: LOCK.lock(),
                }
            }

            /// Whether it is a terminal. std's trait `IsTerminal` can't be implemented outside of
            /// std.
            pub fn is_terminal(&self) -> bool {
                self.as_fd().is_terminal()
            }
        }

        impl Write for $Lock<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                io::$make().write(bytes)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                io::$make().write_vectored(buffers)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                io::$make().write_all(bytes)
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                self.write_all(text_of(arguments)?.as_bytes())
            }

            fn flush(&mut self) -> io::Result<()> {
                io::$make().flush()
            }
        }

        impl Write for &$Handle {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.lock().write(bytes)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                self.lock().write_vectored(buffers)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.lock().write_all(bytes)
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                self.lock().write_fmt(arguments)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.lock().flush()
            }
        }

        impl Write for $Handle {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                (&*self).write(bytes)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                (&*self).write_all(bytes)
            }

            fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
                (&*self).write_fmt(arguments)
            }

            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }
        }

        impl AsFd for $Handle {
            fn as_fd(&self) -> BorrowedFd<'_> {
                sys::fd::$fd()
            }
        }

        impl AsFd for $Lock<'_> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                sys::fd::$fd()
            }
        }

        impl AsRawFd for $Handle {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl AsRawFd for $Lock<'_> {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        // As std's.
        impl UnwindSafe for $Lock<'_> {}
        impl RefUnwindSafe for $Lock<'_> {}

        impl fmt::Debug for $Handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Handle)).finish_non_exhaustive()
            }
        }

        impl fmt::Debug for $Lock<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Lock)).finish_non_exhaustive()
            }
        }
    };
}

/// The whole text, before std's lock is taken: to make it may park.
fn text_of(arguments: fmt::Arguments<'_>) -> io::Result<String> {
    let mut text = String::new();
    match fmt::write(&mut text, arguments) {
        Ok(()) => Ok(text),
        Err(fmt::Error) => Err(io::Error::other("formatter error")),
    }
}

output! {
    /// A handle to standard output. As [`std::io::Stdout`], with a lock that parks.
    ///
    /// It writes through std's handle, whose buffer it shares. A single `println!` is never torn
    /// by a greenlet; but `print!` and std's own handle know nothing of this lock, and write while
    /// another greenlet holds it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::io::{self, Write};
    /// let writers = (1..=2).map(|n| greenroom::spawn(move || -> io::Result<()> {
    ///     let mut out = io::stdout().lock();
    ///     for _ in 0..3 {
    ///         write!(out, "{n}")?;
    ///         greenroom::yield_now();
    ///     }
    ///     // Prints 111 and 222.
    ///     writeln!(out)
    /// }));
    /// for written in greenroom::joinall(writers.collect::<Vec<_>>()) {
    ///     written.unwrap()?;
    /// }
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Parks
    /// A write parks until those who hold the lock have released it; a kill or a timeout unwinds
    /// from there. The write itself blocks the OS thread, as std's.
    Stdout,
    /// Standard output, held. As [`std::io::StdoutLock`].
    ///
    /// # Parks
    /// Never: a write blocks the OS thread, as std's.
    StdoutLock,
    /// A handle to standard output; see [`Stdout`].
    stdout, standard_output
}

output! {
    /// A handle to standard error. As [`std::io::Stderr`], with a lock that parks.
    ///
    /// `eprint!`, std's own handle and the panic hook know nothing of this lock, and write while
    /// another greenlet holds it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::io::{self, Write};
    /// let mut err = io::stderr().lock();
    /// writeln!(err, "first line")?;
    /// writeln!(err, "second line, right behind")?;
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Parks
    /// As [`Stdout`].
    Stderr,
    /// Standard error, held. As [`std::io::StderrLock`].
    ///
    /// # Parks
    /// Never: a write blocks the OS thread, as std's.
    StderrLock,
    /// A handle to standard error; see [`Stderr`].
    stderr, standard_error
}
