//! What the tests of the sockets share.

#[path = "../bounded/mod.rs"]
mod bounded;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

use std::io::{ErrorKind, Result};
use std::time::{Duration, Instant};

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
