//! What the tests of select and of the selectors share.
#![allow(dead_code, reason = "each file of tests uses a part")]

#[path = "../gevent_support/mod.rs"]
mod gevent_support;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

#[allow(unused_imports, reason = "as above")]
pub(crate) use gevent_support::{LONG, bounded, bounded_by, is_alone, ms, passes_alone};
use greenroom::hub;
use greenroom::os::unix::net::UnixStream;
use greenroom::select::Events;
use greenroom::selectors::{Kind, Selector};

pub(crate) const NOW: Option<Duration> = Some(Duration::ZERO);
pub(crate) const SOON: Option<Duration> = Some(Duration::from_millis(20));
pub(crate) const EBADF: Option<i32> = Some(libc::EBADF);

pub(crate) fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// A duplicate of `fd` under a number that nothing else in this process gets.
pub(crate) fn far_duplicate(fd: &impl AsRawFd) -> OwnedFd {
    static NEXT: AtomicI32 = AtomicI32::new(12_000);
    let least = NEXT.fetch_add(10, Ordering::Relaxed);
    // SAFETY: fcntl takes plain numbers; what it gives back is new and ours alone.
    unsafe {
        let number = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least);
        assert_eq!(number, least, "the number is free");
        OwnedFd::from_raw_fd(number)
    }
}

/// The number of a descriptor that is closed, and stays so.
pub(crate) fn closed_number() -> RawFd {
    let null = File::open("/dev/null").unwrap();
    let duplicate = far_duplicate(&null);
    duplicate.as_raw_fd()
}

/// Nobody waits for a descriptor on this hub, and none is left in its set but the caller's.
#[track_caller]
pub(crate) fn assert_nobody_waits() {
    let stats = hub::stats();
    assert_eq!((stats.waiting, stats.timers), (0, 0), "{stats:?}");
}

/// What is told, without the keys.
pub(crate) fn told<T, K: Kind>(
    selector: &Selector<T, K>,
    limit: Option<Duration>,
) -> Vec<(RawFd, Events)> {
    let mut told: Vec<_> = selector.select(limit).unwrap().into_iter().collect();
    told.sort_by_key(|(key, _)| key.fd);
    told.into_iter()
        .map(|(key, events)| (key.fd, events))
        .collect()
}

#[track_caller]
pub(crate) fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

#[track_caller]
pub(crate) fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.map(drop).unwrap_err().raw_os_error()
}
