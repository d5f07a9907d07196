//! close(2) of a socket with SO_LINGER, which waits until the peer has acknowledged everything.
//!
//! The kernel has no event for that, and no way to ask: only the last close of a socket waits, and
//! whether it is the last one nobody can tell. So the close itself is made on an OS thread of its
//! own, while the greenlet is parked. What replaces a descriptor (dup2) is made to replace one that
//! has a duplicate, which is closed so afterwards.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gate::{Green, run};
use super::raw::raw;
use super::turn::option;
use super::{closing, hooks};
use crate::cancel;
use crate::threadpool::{Builder, ThreadPool};

/// Sockets that linger at a time; the others wait for one of these.
const CLOSES_MAX: usize = 1_000;
const STACK_SIZE: usize = 64 << 10;

/// Was SO_LINGER ever set in this process? Until then no close asks for it.
static USED: AtomicBool = AtomicBool::new(false);

/// Somebody has set SO_LINGER, on a socket that others may be accepted from.
pub(super) fn note_use() {
    USED.store(true, Ordering::Relaxed);
}

/// Would the last close of `fd` wait?
#[inline]
pub(super) fn lingers(fd: c_int) -> bool {
    USED.load(Ordering::Relaxed) && asks_to_linger(fd)
}

#[cold]
fn asks_to_linger(fd: c_int) -> bool {
    let asked = option::<libc::linger>(fd, libc::SO_LINGER);
    asked.is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger > 0)
}

/// A duplicate of `fd`, if its last close would wait: that of `fd` then is not the last one.
pub(super) fn keep(fd: c_int) -> Option<c_int> {
    if !lingers(fd) {
        return None;
    }
    // SAFETY: F_DUPFD_CLOEXEC takes an integer.
    let kept = unsafe { raw!(SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, 0) };
    (kept >= 0).then_some(kept as c_int)
}

/// Closes a descriptor that may linger, the result as the kernel says it.
#[cold]
pub(super) fn close(fd: c_int) -> isize {
    // SAFETY: as our caller says, the descriptor is his to close.
    let native = move || unsafe { raw!(SYS_close, fd) };
    if closing::borrows_memory() {
        return native();
    }
    let green = |green: &Green<'_>| {
        green.hook.count_park();
        cancel::foreign(|| cancel::shield(|| pool()?.call(native).ok()))
    };
    run(&hooks::close, green, native)
}

fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let make = || {
        let pool = Builder::new().size(CLOSES_MAX).stack_size(STACK_SIZE);
        pool.name("greenroom-linger".into()).build().ok()
    };
    POOL.get_or_init(make).as_ref()
}
