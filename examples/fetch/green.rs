//! The names this example takes from greenroom, over plain threads.
//!
//! A stand-in until the library has them: same names, same signatures, so that each
//! crate root swaps `mod green;` for `use greenroom as green;` and nothing else changes.
#![allow(
    dead_code,
    unused_imports,
    reason = "each example uses its own part of it"
)]

use std::io;
use std::thread;
use std::time::Duration;

/// `greenroom::net`: the surface of `std::net`.
pub(crate) mod net {
    pub(crate) use std::net::{TcpListener, TcpStream, ToSocketAddrs};
}

/// `greenroom::sleep`.
pub(crate) use std::thread::sleep;

/// The default stack of a greenlet, so that a thread overflows where a greenlet would.
const STACK: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    256 << 10
};

/// `greenroom::Greenlet`.
#[derive(Debug)]
pub(crate) struct Greenlet<T>(thread::JoinHandle<T>);

/// `greenroom::JoinError`.
#[derive(Debug)]
pub(crate) struct JoinError;

/// `greenroom::Elapsed`.
#[derive(Debug)]
pub(crate) struct Elapsed;

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> io::Error {
        io::ErrorKind::TimedOut.into()
    }
}

impl<T> Greenlet<T> {
    /// `greenroom::Greenlet::join`.
    pub(crate) fn join(self) -> Result<T, JoinError> {
        self.0.join().map_err(|_| JoinError)
    }
}

/// `greenroom::spawn`.
pub(crate) fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Greenlet(
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(f)
            .expect("spawn a thread"),
    )
}

/// `greenroom::joinall`.
pub(crate) fn joinall<T>(
    greenlets: impl IntoIterator<Item = Greenlet<T>>,
) -> Vec<Result<T, JoinError>> {
    let started: Vec<_> = greenlets.into_iter().collect();
    started.into_iter().map(Greenlet::join).collect()
}

/// `greenroom::with_timeout`; a thread can't be interrupted, so here it is only a wish.
pub(crate) fn with_timeout<T>(_limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    Ok(f())
}
