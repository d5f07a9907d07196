//! Sleeps. glibc's own go from one to the other inside of it, so each is replaced by itself.
//!
//! A kill or a timeout ends a sleep early, and it returns as if it had slept to its end: callers
//! (std for one) take any other answer but "interrupted" for impossible.

use std::ffi::{c_int, c_uint};

use libc::{clockid_t, timespec, useconds_t};

use super::clocks::{self, Deadline};
use super::gate::{Green, run};
use super::hooks;
use super::raw::{fail, finish, next, raw};
use crate::hub::Why;

const SECOND: u64 = 1_000_000_000;

impl Green<'_> {
    fn sleep_until(&self, deadline: Deadline) {
        loop {
            let done = self.park(Why::Sleep, self.next_look(&deadline)).is_err();
            if done || deadline.is_over() {
                return;
            }
        }
    }

    fn sleep(&self, ns: u64) -> isize {
        if ns == 0 {
            self.hub.yield_now();
        } else {
            self.sleep_until(self.deadline_in(ns).into());
        }
        0
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_nanosleep, time, left) };
    // SAFETY: the caller's; the kernel says what it thinks of null.
    let ns = unsafe { time.as_ref() }.filter(|time| clocks::is_valid(time));
    let Some(ns) = ns.map(clocks::ns_of) else {
        return finish(native()) as c_int;
    };
    finish(run(
        &hooks::nanosleep,
        |green| Some(green.sleep(ns)),
        native,
    )) as c_int
}

/// Returns the errno, and leaves errno alone.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_clock_nanosleep, clock, flags, time, left) };
    // SAFETY: the caller's; the kernel says what it thinks of null.
    let time = unsafe { time.as_ref() }.filter(|time| clocks::is_valid(time));
    // Those of processors don't go on while one sleeps.
    let known = [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_BOOTTIME,
    ];
    let Some(time) = time.filter(|_| known.contains(&clock)) else {
        return -native() as c_int;
    };
    let green = |green: &Green<'_>| {
        if flags & libc::TIMER_ABSTIME == 0 {
            return Some(green.sleep(clocks::ns_of(time)));
        }
        green.sleep_until(Deadline::at(clock, time));
        Some(0)
    };
    -run(&hooks::clock_nanosleep, green, native) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn usleep(micros: useconds_t) -> c_int {
    let ns = u64::from(micros) * 1000;
    let time = clocks::timespec_of(ns);
    // SAFETY: a valid time.
    let native = || unsafe { raw!(SYS_nanosleep, &raw const time, 0) };
    finish(run(&hooks::usleep, |green| Some(green.sleep(ns)), native)) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    let ns = u64::from(seconds) * SECOND;
    let native = || {
        let time = clocks::timespec_of(ns);
        let mut left = clocks::timespec_of(0);
        // SAFETY: a valid time, and room for what is left of it after a signal.
        let slept = unsafe { raw!(SYS_nanosleep, &raw const time, &raw mut left) };
        if slept == 0 {
            0
        } else {
            left.tv_sec as isize + isize::from(left.tv_nsec > 0)
        }
    };
    run(&hooks::sleep, |green| Some(green.sleep(ns)), native) as c_uint
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sched_yield() -> c_int {
    // SAFETY: takes nothing.
    let native = || unsafe { raw!(SYS_sched_yield) };
    let green = |green: &Green<'_>| {
        green.hub.yield_now();
        Some(0)
    };
    finish(run(&hooks::sched_yield, green, native)) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn thrd_sleep(time: *const timespec, left: *mut timespec) -> c_int {
    type Sleep = unsafe extern "C" fn(*const timespec, *mut timespec) -> c_int;
    let native = || match next!(c"thrd_sleep" as Sleep) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(time, left) as isize },
        None => fail(libc::ENOSYS),
    };
    // SAFETY: the caller's; libc says what it thinks of null.
    let ns = unsafe { time.as_ref() }.filter(|time| clocks::is_valid(time));
    let Some(ns) = ns.map(clocks::ns_of) else {
        return native() as c_int;
    };
    run(&hooks::thrd_sleep, |green| Some(green.sleep(ns)), native) as c_int
}
