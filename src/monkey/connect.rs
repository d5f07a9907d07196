//! accept and connect.
//!
//! The kernel has no flag for "don't wait" on a single one of these calls. So the open file is
//! made non-blocking around it, for less than a microsecond; other holders of it could see that.

use std::ffi::c_int;

use libc::{sockaddr, socklen_t};

use super::gate::{Green, run_on};
use super::hooks;
use super::raw::{fail, finish, raw};
use super::turn::{Terms, is_ready, option};
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);

/// Runs `op` with `fd` non-blocking. Without, if it is so already, or is no descriptor at all.
pub(super) fn without_blocking(fd: c_int, op: impl FnOnce() -> isize) -> isize {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) };
    if flags < 0 || flags as c_int & libc::O_NONBLOCK != 0 {
        return op();
    }
    // SAFETY: F_SETFL takes an integer.
    unsafe {
        raw!(
            SYS_fcntl,
            fd,
            libc::F_SETFL,
            flags as c_int | libc::O_NONBLOCK
        )
    };
    let result = op();
    // SAFETY: as above.
    unsafe { raw!(SYS_fcntl, fd, libc::F_SETFL, flags as c_int) };
    result
}

/// With more than so many who wait to run, an acceptor does not wait for all of them.
const RUNNABLE_MAX: usize = 256;

/// Whom an acceptor has woken for one connection is to see to it before the next is accepted, as
/// he would on an OS thread of his own: servers count those who are idle.
fn let_others_begin(green: &Green<'_>) -> Result<(), isize> {
    if (1..=RUNNABLE_MAX).contains(&green.hub.runnable()) {
        return green.yield_now();
    }
    Ok(())
}

/// # Safety
/// As accept4(2).
unsafe fn take(
    hook: &'static hooks::Hook,
    fd: c_int,
    (from, length): (*mut sockaddr, *mut socklen_t),
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    let call = || unsafe { raw!(SYS_accept4, fd, from, length, flags) };
    let green = |green: &Green<'_>| {
        if let Err(result) = let_others_begin(green) {
            return Some(result);
        }
        let tried = || without_blocking(fd, call);
        green.retry(fd, Interest::Read, tried, |_| false)
    };
    finish(run_on(fd, hook, green, call)) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn accept(
    fd: c_int,
    from: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { take(&hooks::accept, fd, (from, length), 0) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn accept4(
    fd: c_int,
    from: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { take(&hooks::accept4, fd, (from, length), flags) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn connect(
    fd: c_int,
    to: *const sockaddr,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    let call = || unsafe { raw!(SYS_connect, fd, to, length) };
    let green = |green: &Green<'_>| {
        let mut terms = Terms::default();
        if !terms.may_wait(fd) {
            return Some(call());
        }
        match without_blocking(fd, call) {
            result if result == fail(libc::EINPROGRESS) || result == fail(libc::EALREADY) => {
                Some(conclude(green, terms, (fd, result), call))
            }
            EAGAIN => Some(knock(green, fd, call)),
            result => Some(result),
        }
    };
    finish(run_on(fd, &hooks::connect, green, call)) as c_int
}

/// Waits for the outcome of a connect that is underway. The kernel tells it to who asks again; at
/// the user's timeout it says what it said at first.
fn conclude(
    green: &Green<'_>,
    mut terms: Terms,
    (fd, at_first): (c_int, isize),
    call: impl Fn() -> isize,
) -> isize {
    let outcome = || {
        if !is_ready(fd, Interest::Write) {
            return EAGAIN;
        }
        match without_blocking(fd, &call) {
            result if result == fail(libc::EALREADY) => EAGAIN,
            result if result == fail(libc::EISCONN) => 0,
            result => result,
        }
    };
    match green.retry_on(&mut terms, fd, Interest::Write, outcome, |_| false) {
        Some(EAGAIN) => at_first,
        Some(result) => result,
        None => call(),
    }
}

/// The queue of a Unix listener is full, and the kernel does not tell when it no longer is.
fn knock(green: &Green<'_>, fd: c_int, call: impl Fn() -> isize) -> isize {
    let limit = option::<libc::timeval>(fd, libc::SO_SNDTIMEO);
    let limit = limit.map(|limit| super::clocks::ns_of_timeval(&limit));
    let limit = limit.filter(|limit| *limit > 0);
    let deadline = limit.and_then(|limit| green.deadline_in(limit));
    let attempt = || {
        let result = without_blocking(fd, &call);
        (result != EAGAIN).then_some(result)
    };
    match green.ask_again("room in a listener's queue", deadline, attempt) {
        Ok(Some(result)) => result,
        Ok(None) => EAGAIN,
        Err(interrupted) => interrupted,
    }
}
