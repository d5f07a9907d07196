//! POSIX semaphores. libc waits for them out of sight, so the doors themselves are replaced.
//!
//! One that another process posts to is looked at now and then.

use std::ffi::c_int;

use libc::{clockid_t, sem_t, timespec};

use super::clocks::{self, Deadline};
use super::gate::{Green, is_open, run};
use super::hooks;
use super::queue::{Ended, Ticks, Wait, wake_at};
use super::raw::{errno, fail, finish, next};

/// # Safety
/// A valid semaphore.
unsafe fn take(semaphore: *mut sem_t) -> isize {
    // SAFETY: the caller's.
    match unsafe { libc::sem_trywait(semaphore) } {
        0 => 0,
        _ => fail(errno()),
    }
}

/// # Safety
/// A valid semaphore.
unsafe fn is_empty(semaphore: *mut sem_t) -> bool {
    let mut value = 0;
    // SAFETY: the caller's.
    unsafe { libc::sem_getvalue(semaphore, &mut value) == 0 && value <= 0 }
}

/// # Safety
/// As sem_clockwait(3).
unsafe fn wait(
    hook: &'static hooks::Hook,
    semaphore: *mut sem_t,
    until: Option<(clockid_t, &timespec)>,
    native: impl FnOnce() -> isize,
) -> c_int {
    let green = |green: &Green<'_>| {
        if until.is_some_and(|(_, moment)| !clocks::is_fraction(moment)) {
            return Some(fail(libc::EINVAL));
        }
        let mut deadline = None::<Deadline>;
        loop {
            // SAFETY: the caller's.
            let taken = unsafe { take(semaphore) };
            if taken != fail(libc::EAGAIN) {
                return Some(taken);
            }
            if let Some((clock, moment)) = until {
                deadline.get_or_insert_with(|| Deadline::at(clock, moment));
            }
            // SAFETY: the caller's.
            let cause = || unsafe { is_empty(semaphore) };
            let wait = Wait {
                deadline: deadline.unwrap_or(Deadline::NEVER),
                ticks: Ticks::Each,
                ..Wait::at("a semaphore", semaphore as usize)
            };
            if green.wait_at(wait, cause) == Ended::TimedOut {
                return Some(fail(libc::ETIMEDOUT));
            }
        }
    };
    finish(run(hook, green, native)) as c_int
}

/// What libc's own function says, as the kernel would.
fn told(result: Option<c_int>) -> isize {
    match result {
        Some(0) => 0,
        Some(_) => fail(errno()),
        None => fail(libc::ENOSYS),
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    let real = || next!(c"sem_wait" as unsafe extern "C" fn(*mut sem_t) -> c_int);
    // SAFETY: the caller's.
    let native = || told(real().map(|real| unsafe { real(semaphore) }));
    // SAFETY: the caller's.
    unsafe { wait(&hooks::sem_wait, semaphore, None, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sem_timedwait(
    semaphore: *mut sem_t,
    moment: *const timespec,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut sem_t, *const timespec) -> c_int;
    let real = || next!(c"sem_timedwait" as Real);
    // SAFETY: the caller's.
    let native = || told(real().map(|real| unsafe { real(semaphore, moment) }));
    // SAFETY: the caller's.
    let until = unsafe { moment.as_ref() }.map(|moment| (libc::CLOCK_REALTIME, moment));
    // SAFETY: the caller's.
    unsafe { wait(&hooks::sem_timedwait, semaphore, until, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sem_clockwait(
    semaphore: *mut sem_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut sem_t, clockid_t, *const timespec) -> c_int;
    let real = || next!(c"sem_clockwait" as Real);
    // SAFETY: the caller's.
    let native = || told(real().map(|real| unsafe { real(semaphore, clock, moment) }));
    // SAFETY: the caller's.
    let until = unsafe { moment.as_ref() }.map(|moment| (clock, moment));
    // SAFETY: the caller's.
    unsafe { wait(&hooks::sem_clockwait, semaphore, until, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sem_post(semaphore: *mut sem_t) -> c_int {
    let real = next!(c"sem_post" as unsafe extern "C" fn(*mut sem_t) -> c_int);
    // SAFETY: the caller's.
    let result = finish(told(real.map(|real| unsafe { real(semaphore) }))) as c_int;
    if is_open(hooks::sem_post.parts) {
        wake_at(semaphore as usize, 1, u32::MAX);
    }
    result
}
