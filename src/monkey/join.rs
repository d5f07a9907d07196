//! Joining and detaching threads, of which some are greenlets.
//!
//! A thread that is joined stays known to all others, and can be joined by nobody else meanwhile.
//! A kill waits: a caller that joins a thread knows of no failure.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libc::{clockid_t, pthread_t, timespec};

use super::clocks::Deadline;
use super::gate::{Green, run};
use super::raw::next;
use super::threads::{self, Course, Join, with_known};
use super::{hooks, locks};
use crate::cancel::foreign;
use crate::greenlet::Greenlet;

type Claimed = (Greenlet<()>, Arc<Course>);

/// Gives the greenlet to the calling thread, which joins it; `None` for a thread that is none.
///
/// # Errors
/// What libc says of a thread that the caller can't join.
fn claim(thread: pthread_t) -> Option<Result<Claimed, c_int>> {
    // SAFETY: takes nothing.
    let here = unsafe { libc::pthread_self() };
    let joins_us = with_known(
        here,
        |green| matches!(green.state, Join::BeingJoined(by) if by == thread),
    );
    with_known(thread, |green| {
        if matches!(green.state, Join::Detached) {
            return Err(libc::EINVAL);
        }
        if thread == here || joins_us == Some(true) {
            return Err(libc::EDEADLK);
        }
        match std::mem::replace(&mut green.state, Join::BeingJoined(here)) {
            Join::Joinable(greenlet) => Ok((greenlet, Arc::clone(&green.course))),
            other => {
                green.state = other;
                Err(libc::EINVAL)
            }
        }
    })
}

/// Joins a thread that is a greenlet, until a moment if there is one; `None` for one that is not.
///
/// # Safety
/// `value` is null, or has room for what the thread returned.
unsafe fn join(
    thread: pthread_t,
    value: *mut *mut c_void,
    until: locks::Until<'_>,
) -> Option<c_int> {
    let (mut greenlet, course) = match claim(thread)? {
        Ok(claimed) => claimed,
        Err(errno) => return Some(errno),
    };
    let until = until.map(|(clock, moment)| Deadline::at(clock, moment));
    let joined = match until {
        None => {
            drop(foreign(|| greenlet.join()));
            Ok(())
        }
        Some(until) => loop {
            let limit = Duration::from_nanos(until.look_in());
            match foreign(|| greenlet.join_timeout(limit)) {
                Ok(_ended) => break Ok(()),
                Err(left) if until.is_over() => break Err(left),
                Err(left) => greenlet = left,
            }
        },
    };
    if let Err(left) = joined {
        with_known(thread, |green| green.state = Join::Joinable(left));
        return Some(libc::ETIMEDOUT);
    }
    threads::forget(thread);
    if !value.is_null() {
        // SAFETY: the caller's.
        unsafe { value.write(course.value.load(Ordering::Acquire)) };
    }
    Some(0)
}

type TryJoin = unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int;

/// libc's pthread_tryjoin_np, again and again: for an OS thread, of whose end a hub is not told.
///
/// # Safety
/// As pthread_join(3).
unsafe fn join_os_thread(
    thread: pthread_t,
    value: *mut *mut c_void,
    until: locks::Until<'_>,
    native: impl FnOnce() -> c_int,
) -> c_int {
    let green = |green: &Green<'_>| {
        let attempt = next!(c"pthread_tryjoin_np" as TryJoin)?;
        // SAFETY: takes nothing.
        if unsafe { libc::pthread_self() } == thread {
            return None;
        }
        let until = until.map(|(clock, moment)| Deadline::at(clock, moment));
        let asked = || {
            // SAFETY: the caller's.
            match unsafe { attempt(thread, value) } {
                libc::EBUSY if until.is_some_and(|until| until.is_over()) => {
                    Some(libc::ETIMEDOUT as isize)
                }
                libc::EBUSY => None,
                result => Some(result as isize),
            }
        };
        let joined = green.hold_off(|| green.ask_again("the end of a thread", None, asked));
        joined.ok().flatten()
    };
    run(&hooks::pthread_join, green, || native() as isize) as c_int
}

/// Returns the errno.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's.
    if let Some(joined) = unsafe { join(thread, value, None) } {
        return joined;
    }
    let native = || match next!(c"pthread_join" as TryJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value) },
        None => libc::ENOSYS,
    };
    // SAFETY: the caller's.
    unsafe { join_os_thread(thread, value, None, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_tryjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
) -> c_int {
    match with_known(thread, |green| green.has_ended()) {
        Some(false) => return libc::EBUSY,
        // SAFETY: the caller's.
        Some(true) => return unsafe { join(thread, value, None) }.unwrap_or(libc::ESRCH),
        None => {}
    }
    match next!(c"pthread_tryjoin_np" as TryJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value) },
        None => libc::ENOSYS,
    }
}

/// # Safety
/// As pthread_clockjoin_np(3).
unsafe fn join_until(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    moment: *const timespec,
    native: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's: null, or a moment.
    let until = unsafe { moment.as_ref() }.map(|moment| (clock, moment));
    if until.is_some_and(|until| !locks::is_sensible(until)) {
        return libc::EINVAL;
    }
    // SAFETY: the caller's.
    if let Some(joined) = unsafe { join(thread, value, until) } {
        return joined;
    }
    // SAFETY: the caller's.
    unsafe { join_os_thread(thread, value, until, native) }
}

type TimedJoin = unsafe extern "C" fn(pthread_t, *mut *mut c_void, *const timespec) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_timedjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    moment: *const timespec,
) -> c_int {
    let native = || match next!(c"pthread_timedjoin_np" as TimedJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value, moment) },
        None => libc::ENOSYS,
    };
    // SAFETY: the caller's.
    unsafe { join_until(thread, value, libc::CLOCK_REALTIME, moment, native) }
}

type ClockJoin =
    unsafe extern "C" fn(pthread_t, *mut *mut c_void, clockid_t, *const timespec) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_clockjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    let native = || match next!(c"pthread_clockjoin_np" as ClockJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value, clock, moment) },
        None => libc::ENOSYS,
    };
    // SAFETY: the caller's.
    unsafe { join_until(thread, value, clock, moment, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    if let Some(detached) = threads::detach(thread) {
        return detached.err().unwrap_or(0);
    }
    match next!(c"pthread_detach" as unsafe extern "C" fn(pthread_t) -> c_int) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread) },
        None => libc::ENOSYS,
    }
}
