//! epoll_wait: an epoll set is itself a descriptor that becomes readable.

use std::ffi::c_int;

use libc::{epoll_event, sigset_t, timespec};

use super::gate::{Green, run};
use super::poll::SIGNALS_SIZE;
use super::raw::{fail, finish, raw};
use super::{clocks, hooks, owed};
use crate::poller::Interest;

/// # Safety
/// As epoll_pwait(2).
unsafe fn wait(
    hook: &'static hooks::Hook,
    (epfd, events, room): (c_int, *mut epoll_event, c_int),
    limit: Option<u64>,
    mask: *const sigset_t,
    native: impl Fn() -> isize,
) -> c_int {
    if limit == Some(0) {
        return finish(native()) as c_int;
    }
    // SAFETY: the caller's.
    let look = || unsafe { raw!(SYS_epoll_pwait, epfd, events, room, 0, mask, SIGNALS_SIZE) };
    let green = |green: &Green<'_>| {
        green.let_others_run();
        let deadline = limit.and_then(|limit| green.deadline_in(limit));
        let wants = [(epfd, Interest::Read)];
        let report = |met| {
            // SAFETY: the caller has room for so many events.
            unsafe { owed::report_set(green, met, epfd, events, room) }
        };
        green.look_again(&wants, deadline, !mask.is_null(), look, report)
    };
    finish(run(hook, green, native)) as c_int
}

fn limit_of_ms(ms: c_int) -> Option<u64> {
    u64::try_from(ms).ok().map(|ms| ms * 1_000_000)
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn epoll_wait(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    ms: c_int,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_epoll_pwait, epfd, events, room, ms, 0, SIGNALS_SIZE) };
    let (set, limit) = ((epfd, events, room), limit_of_ms(ms));
    // SAFETY: the caller's.
    unsafe { wait(&hooks::epoll_wait, set, limit, std::ptr::null(), native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn epoll_pwait(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    ms: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_epoll_pwait, epfd, events, room, ms, mask, SIGNALS_SIZE) };
    let (set, limit) = ((epfd, events, room), limit_of_ms(ms));
    // SAFETY: the caller's.
    unsafe { wait(&hooks::epoll_pwait, set, limit, mask, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn epoll_pwait2(
    epfd: c_int,
    events: *mut epoll_event,
    room: c_int,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe {
        raw!(
            SYS_epoll_pwait2,
            epfd,
            events,
            room,
            limit,
            mask,
            SIGNALS_SIZE
        )
    };
    // SAFETY: the caller's; null or valid.
    let time = unsafe { limit.as_ref() };
    if time.is_some_and(|time| !clocks::is_valid(time)) {
        return finish(fail(libc::EINVAL)) as c_int;
    }
    let set = (epfd, events, room);
    // SAFETY: the caller's.
    unsafe {
        wait(
            &hooks::epoll_pwait2,
            set,
            time.map(clocks::ns_of),
            mask,
            native,
        )
    }
}
