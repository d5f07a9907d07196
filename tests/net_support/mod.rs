//! What the tests of the sockets share.
use std::io::{ErrorKind, Result};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(60);

/// Ends the process when a test takes too long: no wait in these tests is without an end.
#[must_use]
pub(crate) struct Bound(#[allow(dead_code)] Sender<()>);

pub(crate) fn bounded() -> Bound {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let (sender, over) = channel();
    std::thread::spawn(move || {
        if over.recv_timeout(BOUND) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{test} still runs after {BOUND:?}");
            std::process::abort();
        }
    });
    Bound(sender)
}

/// The kind of error that came instead of a result.
#[track_caller]
pub(crate) fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeded, and should not have"),
        Err(error) => error.kind(),
    }
}

/// Runs `op`, which is to wait in vain for about `wait`, and says what error it ended with.
#[allow(dead_code)]
#[track_caller]
pub(crate) fn kind_after<T>(wait: Duration, op: impl FnOnce() -> Result<T>) -> ErrorKind {
    let begin = Instant::now();
    let kind = kind(op());
    let took = begin.elapsed();
    assert!(
        took + Duration::from_millis(10) >= wait,
        "{took:?} is less than {wait:?}"
    );
    kind
}
