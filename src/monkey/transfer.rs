//! sendfile and splice: bytes that never come to user space.
//!
//! There is no per-call flag that all kinds of files heed, so the ends are made non-blocking
//! around each try, as for accept.

use std::ffi::{c_int, c_uint};

use libc::{loff_t, size_t, ssize_t};

use super::connect::without_blocking;
use super::gate::{Green, run_on};
use super::hooks;
use super::raw::{fail, finish, raw};
use super::turn::{Terms, is_ready};
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);

/// # Safety
/// As sendfile(2).
unsafe fn send_file(
    hook: &'static hooks::Hook,
    (to, from): (c_int, c_int),
    offset: *mut loff_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: the caller's; the kernel moves `offset` on by what it has sent.
    let call = |count: usize| unsafe { raw!(SYS_sendfile, to, from, offset, count) };
    let green = |green: &Green<'_>| {
        let mut terms = Terms::default();
        let mut sent = 0;
        loop {
            // The kernel's timeout is one for each piece of what is sent; and it is the piece that
            // takes the error of a connection, also from a call that has sent others before.
            terms.renew_deadline();
            let tried = || without_blocking(to, || call(count - sent));
            match green.retry_on(&mut terms, to, Interest::Write, tried, |_| false) {
                Some(now) if now > 0 => sent += now as usize,
                _ if sent > 0 => return Some(sent as isize),
                other => return other,
            }
            if sent >= count || !terms.may_wait(to) {
                return Some(sent as isize);
            }
        }
    };
    finish(run_on(to, hook, green, || call(count)))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut loff_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { send_file(&hooks::sendfile, (to, from), offset, count) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut loff_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { send_file(&hooks::sendfile64, (to, from), offset, count) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut loff_t,
    to: c_int,
    to_offset: *mut loff_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    let call = |more: c_uint| {
        // SAFETY: the caller's.
        unsafe {
            raw!(
                SYS_splice,
                from,
                from_offset,
                to,
                to_offset,
                length,
                flags | more
            )
        }
    };
    if flags & libc::SPLICE_F_NONBLOCK != 0 {
        return finish(call(0));
    }
    let at_once = || {
        let once = || call(libc::SPLICE_F_NONBLOCK);
        without_blocking(from, || without_blocking(to, once))
    };
    let green = |green: &Green<'_>| {
        // As each end was when it first had to be waited for.
        let (mut source, mut sink) = (Terms::default(), Terms::default());
        // Which of the two is not ready is not told, so both are asked in turn.
        loop {
            let result = at_once();
            if result != EAGAIN {
                return Some(result);
            }
            let (fd, interest, terms) = if is_ready(from, Interest::Read) {
                (to, Interest::Write, &mut sink)
            } else {
                (from, Interest::Read, &mut source)
            };
            if !terms.may_wait(fd) {
                return Some(EAGAIN);
            }
            match green.retry_when_ready(terms, fd, interest, || 0)? {
                0 => {}
                failed => return Some(failed),
            }
        }
    };
    finish(run_on(to, &hooks::splice, green, || call(0)))
}
