//! Read-write locks of pthreads: see [`locks`](super::locks).
//!
//! An unlock wakes all greenlets that wait, since many readers may go on by it. EDEADLK, which
//! POSIX leaves open, is told to OS threads only: a greenlet waits for itself.

use std::ffi::c_int;

use libc::{EBUSY, clockid_t, pthread_rwlock_t, timespec};

use super::gate::{Green, is_open, run};
use super::hooks::{self, Hook};
use super::locks::{FOR_LOCKS, Until, Wakes, acquire, is_sensible};
use super::raw::next;

type Lock = unsafe extern "C" fn(*mut pthread_rwlock_t) -> c_int;
type TimedLock = unsafe extern "C" fn(*mut pthread_rwlock_t, *const timespec) -> c_int;
type ClockLock = unsafe extern "C" fn(*mut pthread_rwlock_t, clockid_t, *const timespec) -> c_int;

/// libc's two ways to take a lock that don't wait.
const READ: Lock = libc::pthread_rwlock_tryrdlock;
const WRITE: Lock = libc::pthread_rwlock_trywrlock;

/// # Safety
/// As pthread_rwlock_clockrdlock(3).
#[inline(always)]
unsafe fn lock(
    hook: &'static Hook,
    attempt: Lock,
    lock: *mut pthread_rwlock_t,
    until: Until<'_>,
    native: impl Fn() -> c_int,
) -> c_int {
    if !is_open(hook.parts) {
        return native();
    }
    // SAFETY: the caller's.
    match unsafe { attempt(lock) } {
        // SAFETY: the caller's.
        EBUSY => unsafe { lock_taken(hook, attempt, lock, until, native) },
        done => done,
    }
}

/// # Safety
/// As [`lock`].
#[cold]
unsafe fn lock_taken(
    hook: &'static Hook,
    attempt: Lock,
    lock: *mut pthread_rwlock_t,
    until: Until<'_>,
    native: impl Fn() -> c_int,
) -> c_int {
    let green = |green: &Green<'_>| {
        // SAFETY: the caller's.
        let attempt = || unsafe { attempt(lock) };
        let (why, address) = ("a pthread read-write lock", lock as usize);
        Some(acquire(green, why, address, Wakes::All, until, attempt) as isize)
    };
    run(hook, green, || native() as isize) as c_int
}

/// # Safety
/// As [`lock`].
unsafe fn lock_until(
    hook: &'static Hook,
    attempt: Lock,
    at: *mut pthread_rwlock_t,
    (clock, moment): (clockid_t, *const timespec),
    native: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's.
    let until = unsafe { moment.as_ref() }.map(|moment| (clock, moment));
    if !until.is_some_and(is_sensible) {
        return native();
    }
    // SAFETY: the caller's.
    unsafe { lock(hook, attempt, at, until, native) }
}

macro_rules! plain {
    ($name:ident $symbol:literal $attempt:ident) => {
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(at: *mut pthread_rwlock_t) -> c_int {
            let native = || match next!($symbol as Lock) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real(at) },
                None => libc::ENOSYS,
            };
            // SAFETY: the caller's.
            unsafe { lock(&hooks::$name, $attempt, at, None, native) }
        }
    };
}

macro_rules! timed {
    ($name:ident $symbol:literal $attempt:ident) => {
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(
            at: *mut pthread_rwlock_t,
            moment: *const timespec,
        ) -> c_int {
            let native = || match next!($symbol as TimedLock) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real(at, moment) },
                None => libc::ENOSYS,
            };
            let until = (libc::CLOCK_REALTIME, moment);
            // SAFETY: the caller's.
            unsafe { lock_until(&hooks::$name, $attempt, at, until, native) }
        }
    };
}

macro_rules! clocked {
    ($name:ident $symbol:literal $attempt:ident) => {
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(
            at: *mut pthread_rwlock_t,
            clock: clockid_t,
            moment: *const timespec,
        ) -> c_int {
            let native = || match next!($symbol as ClockLock) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real(at, clock, moment) },
                None => libc::ENOSYS,
            };
            // SAFETY: the caller's.
            unsafe { lock_until(&hooks::$name, $attempt, at, (clock, moment), native) }
        }
    };
}

plain!(pthread_rwlock_rdlock c"pthread_rwlock_rdlock" READ);
plain!(pthread_rwlock_wrlock c"pthread_rwlock_wrlock" WRITE);
timed!(pthread_rwlock_timedrdlock c"pthread_rwlock_timedrdlock" READ);
timed!(pthread_rwlock_timedwrlock c"pthread_rwlock_timedwrlock" WRITE);
clocked!(pthread_rwlock_clockrdlock c"pthread_rwlock_clockrdlock" READ);
clocked!(pthread_rwlock_clockwrlock c"pthread_rwlock_clockwrlock" WRITE);

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_rwlock_unlock(at: *mut pthread_rwlock_t) -> c_int {
    let result = match next!(c"pthread_rwlock_unlock" as Lock) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(at) },
        None => libc::ENOSYS,
    };
    FOR_LOCKS.wake(at as usize, usize::MAX);
    result
}
