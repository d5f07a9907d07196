//! Waiting for a signal: a signalfd says when there may be one, and the call itself takes it.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::null;

use libc::{siginfo_t, sigset_t, timespec};

use super::gate::{Green, run};
use super::poll::SIGNALS_SIZE;
use super::raw::{fail, finish, raw};
use super::{clocks, closing, hooks};
use crate::cancel::Met;
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);
const EINTR: isize = fail(libc::EINTR);
const SI_TKILL: c_int = -6;

/// The number of the signal.
///
/// # Safety
/// As sigtimedwait(2).
unsafe fn wait(
    hook: &'static hooks::Hook,
    signals: *const sigset_t,
    info: *mut siginfo_t,
    time: *const timespec,
) -> isize {
    let call = |time: *const timespec| {
        // SAFETY: the caller's.
        unsafe { raw!(SYS_rt_sigtimedwait, signals, info, time, SIGNALS_SIZE) }
    };
    // SAFETY: the caller's: null, or a time.
    let limit = unsafe { time.as_ref() };
    if limit.is_some_and(|time| !clocks::is_valid(time) || clocks::ns_of(time) == 0) {
        return call(time);
    }
    let green = |green: &Green<'_>| {
        let no_time = clocks::timespec_of(0);
        let look = || match call(&raw const no_time) {
            EAGAIN | EINTR => 0,
            result => result,
        };
        let found = look();
        if found != 0 {
            return Some(found);
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the caller's set.
        let bell = unsafe { raw!(SYS_signalfd4, -1i32, signals, SIGNALS_SIZE, flags) };
        let bell = c_int::try_from(bell).ok().filter(|fd| *fd >= 0)?;
        let deadline = limit.and_then(|time| green.deadline_in(clocks::ns_of(time)));
        let wants = [(bell, Interest::Read)];
        let report = |met: Met| Some(fail(met.errno));
        let found = green.look_again(&wants, deadline, false, look, report);
        closing::forget(bell);
        // SAFETY: made here, and nobody else's.
        unsafe { raw!(SYS_close, bell) };
        found.map(|found| if found == 0 { EAGAIN } else { found })
    };
    let found = run(hook, green, || call(time));
    // SAFETY: the caller's: null, or a place for what is told.
    let told = unsafe { info.as_mut() }.filter(|_| found > 0);
    // SI_TKILL is how libc itself sends to one thread: it tells it as SI_USER, and so do we.
    if let Some(info) = told.filter(|info| info.si_code == SI_TKILL) {
        info.si_code = libc::SI_USER;
    }
    found
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sigtimedwait(
    signals: *const sigset_t,
    info: *mut siginfo_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    finish(unsafe { wait(&hooks::sigtimedwait, signals, info, time) }) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sigwaitinfo(
    signals: *const sigset_t,
    info: *mut siginfo_t,
) -> c_int {
    // SAFETY: the caller's.
    finish(unsafe { wait(&hooks::sigwaitinfo, signals, info, null()) }) as c_int
}

/// Returns the errno, which is never EINTR.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sigwait(signals: *const sigset_t, signal: *mut c_int) -> c_int {
    let mut info = MaybeUninit::<siginfo_t>::uninit();
    loop {
        // SAFETY: the caller's, and a place for what is told.
        match unsafe { wait(&hooks::sigwait, signals, info.as_mut_ptr(), null()) } {
            EINTR => {}
            failed if failed < 0 => return -failed as c_int,
            // SAFETY: the caller has a place for the number.
            found => unsafe {
                signal.write(found as c_int);
                return 0;
            },
        }
    }
}
