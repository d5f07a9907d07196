//! pthread mutexes, and those of C11, which are the same: see [`locks`](super::locks).
//!
//! Owners of recursive and error-checking ones are told apart by libc, by thread ids: so between
//! greenlets that have thread-locals of their own they exclude as between threads. Robust ones
//! and those with priorities are libc's and the kernel's alone: who waits for one blocks.

use std::ffi::{c_int, c_void};
use std::hint::spin_loop;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{EBUSY, clockid_t, pthread_mutex_t, timespec};

use super::gate::{Green, is_open, run};
use super::hooks::{self, Bypass, Hook};
use super::locks::{FOR_LOCKS, Until, Wakes, acquire, is_sensible};
use super::raw::{next, raw};
use super::{allocator, condition};
use crate::greenlet::identity;
use crate::hub::TaskPtr;
use crate::sys::identity::THREAD_ID_FIRST;

type Lock = unsafe extern "C" fn(*mut pthread_mutex_t) -> c_int;
type ClockLock = unsafe extern "C" fn(*mut pthread_mutex_t, clockid_t, *const timespec) -> c_int;

/// Where libc keeps what it knows of a mutex. The same since there are such mutexes: programs are
/// compiled with it (PTHREAD_MUTEX_INITIALIZER).
const OWNER_AT: usize = 8;
const KIND_AT: usize = 16;
const TYPE_MASK: i32 = 3;
const ROBUST_OR_PRIORITY: i32 = 0x70;

/// # Safety
/// A valid mutex.
unsafe fn word(mutex: *mut pthread_mutex_t, at: usize) -> i32 {
    // SAFETY: within the mutex (`is_understood`); others write to it by atomic instructions.
    unsafe { (*mutex.byte_add(at).cast::<AtomicI32>()).load(Ordering::Relaxed) }
}

/// Is a mutex laid out as is said above? Tried out once.
pub(super) fn is_understood() -> bool {
    static UNDERSTOOD: OnceLock<bool> = OnceLock::new();
    // SAFETY: takes and returns plain data.
    *UNDERSTOOD.get_or_init(|| cfg!(target_env = "gnu") && unsafe { try_out() })
}

/// # Safety
/// None; it calls libc.
unsafe fn try_out() -> bool {
    let kinds = [
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ERRORCHECK,
    ];
    kinds.into_iter().all(|kind| {
        [libc::PTHREAD_MUTEX_STALLED, libc::PTHREAD_MUTEX_ROBUST].map(|robust| {
            let mut attributes = MaybeUninit::uninit();
            let mut mutex = MaybeUninit::<pthread_mutex_t>::zeroed();
            let mutex = mutex.as_mut_ptr();
            // SAFETY: each is initialised before it is used, and ended afterwards; libc's own
            // doors are called.
            unsafe {
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), kind);
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), robust);
                let made = libc::pthread_mutex_init(mutex, attributes.as_ptr());
                let free = word(mutex, OWNER_AT);
                let locked = libc::pthread_mutex_trylock(mutex);
                let owner = word(mutex, OWNER_AT);
                let seen = word(mutex, KIND_AT);
                real_unlock(mutex);
                libc::pthread_mutex_destroy(mutex);
                libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
                let is_robust = seen & ROBUST_OR_PRIORITY != 0;
                made == 0
                    && locked == 0
                    && free == 0
                    && owner > 0
                    && seen & TYPE_MASK == kind
                    && is_robust == (robust == libc::PTHREAD_MUTEX_ROBUST)
            }
        }) == [true; 2]
    })
}

/// # Safety
/// A valid mutex.
unsafe fn real_lock(mutex: *mut pthread_mutex_t) -> c_int {
    match next!(c"pthread_mutex_lock" as Lock) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(mutex) },
        None => libc::ENOSYS,
    }
}

/// # Safety
/// A valid mutex.
unsafe fn real_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    match next!(c"pthread_mutex_unlock" as Lock) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(mutex) },
        None => libc::ENOSYS,
    }
}

/// # Safety
/// A valid mutex, and a valid moment.
unsafe fn real_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    match next!(c"pthread_mutex_clocklock" as ClockLock) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(mutex, clock, moment) },
        None => libc::ENOSYS,
    }
}

/// How a greenlet waits for a mutex that is taken.
enum Plan {
    Park,
    /// As libc says at once.
    Told(c_int),
    Block,
}

/// # Safety
/// A valid mutex.
unsafe fn plan(green: &Green<'_>, mutex: *mut pthread_mutex_t) -> Plan {
    // SAFETY: the caller's.
    let (kind, owner) = unsafe { (word(mutex, KIND_AT), word(mutex, OWNER_AT)) };
    if kind & ROBUST_OR_PRIORITY != 0 {
        return Plan::Block;
    }
    if kind & TYPE_MASK == libc::PTHREAD_MUTEX_ERRORCHECK && owns_its_id(green.task) {
        // libc knows whether it is our own; of no other is it asked to wait.
        static LONG_AGO: timespec = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the caller's.
        let told = unsafe { real_clocklock(mutex, libc::CLOCK_REALTIME, &LONG_AGO) };
        if matches!(told, 0 | libc::EDEADLK) {
            return Plan::Told(told);
        }
    }
    let parks = allocator::is_libcs() || is_ours(green, owner);
    if parks { Plan::Park } else { Plan::Block }
}

/// Has it a thread id that no other greenlet has?
fn owns_its_id(task: TaskPtr) -> bool {
    identity::of(task.get()).is_some_and(|identity| identity.has_one_user())
}

/// Is `owner` a greenlet of this hub, or its root? Then it is parked, since we run.
fn is_ours(green: &Green<'_>, owner: i32) -> bool {
    owner > 0 && (owner == os_thread_id() || green.hub.has_thread_id(owner as u32))
}

fn os_thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { raw!(SYS_gettid) as i32 }
}

/// Waits a moment for an OS thread that runs, and so may unlock at once.
///
/// # Safety
/// A valid mutex.
unsafe fn spin(mutex: *mut pthread_mutex_t) -> bool {
    const ROUNDS: u32 = 40;
    // SAFETY: the caller's.
    let owner = unsafe { word(mutex, OWNER_AT) };
    if owner >= THREAD_ID_FIRST as i32 || owner == os_thread_id() {
        return false;
    }
    (0..ROUNDS).any(|_| {
        spin_loop();
        // SAFETY: the caller's.
        unsafe { word(mutex, OWNER_AT) == 0 && libc::pthread_mutex_trylock(mutex) == 0 }
    })
}

/// # Safety
/// As pthread_mutex_clocklock(3): a valid mutex, which is not ours.
#[cold]
unsafe fn lock_taken(
    hook: &'static Hook,
    mutex: *mut pthread_mutex_t,
    until: Until<'_>,
    native: impl Fn() -> c_int,
) -> c_int {
    let native = || native() as isize;
    let green = |green: &Green<'_>| {
        // SAFETY: the caller's.
        let result = match unsafe { plan(green, mutex) } {
            Plan::Told(result) => result,
            Plan::Block => return Some(hook.bypass(Bypass::Lock, native)),
            // SAFETY: the caller's.
            Plan::Park => unsafe { wait(green, mutex, until) },
        };
        Some(result as isize)
    };
    run(hook, green, native) as c_int
}

/// # Safety
/// A valid mutex, which is not ours.
unsafe fn wait(green: &Green<'_>, mutex: *mut pthread_mutex_t, until: Until<'_>) -> c_int {
    // SAFETY: the caller's.
    if unsafe { spin(mutex) } {
        return 0;
    }
    // SAFETY: the caller's.
    let attempt = || unsafe { libc::pthread_mutex_trylock(mutex) };
    let (why, address) = ("a pthread mutex", mutex as usize);
    acquire(green, why, address, Wakes::First, until, attempt)
}

/// Has a greenlet that waited for a condition take its mutex again.
///
/// # Safety
/// A valid mutex, which the greenlet has unlocked.
pub(super) unsafe fn lock_again(green: &Green<'_>, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        match libc::pthread_mutex_trylock(mutex) {
            EBUSY if word(mutex, KIND_AT) & ROBUST_OR_PRIORITY != 0 => real_lock(mutex),
            EBUSY => wait(green, mutex, None),
            done => done,
        }
    }
}

/// # Safety
/// As pthread_mutex_lock(3).
#[inline(always)]
unsafe fn lock(hook: &'static Hook, mutex: *mut pthread_mutex_t) -> c_int {
    if !is_open(hook.parts) {
        // SAFETY: the caller's.
        return unsafe { real_lock(mutex) };
    }
    // SAFETY: the caller's.
    unsafe {
        match libc::pthread_mutex_trylock(mutex) {
            EBUSY => lock_taken(hook, mutex, None, || real_lock(mutex)),
            done => done,
        }
    }
}

/// # Safety
/// As pthread_mutex_clocklock(3).
unsafe fn lock_until(
    hook: &'static Hook,
    mutex: *mut pthread_mutex_t,
    (clock, moment): (clockid_t, *const timespec),
    native: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's.
    let until = unsafe { moment.as_ref() }.map(|moment| (clock, moment));
    if !is_open(hook.parts) || !until.is_some_and(is_sensible) {
        return native();
    }
    // SAFETY: the caller's.
    unsafe {
        match libc::pthread_mutex_trylock(mutex) {
            EBUSY => lock_taken(hook, mutex, until, native),
            done => done,
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { lock(&hooks::pthread_mutex_lock, mutex) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_timedlock(
    mutex: *mut pthread_mutex_t,
    moment: *const timespec,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut pthread_mutex_t, *const timespec) -> c_int;
    let native = || match next!(c"pthread_mutex_timedlock" as Real) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(mutex, moment) },
        None => libc::ENOSYS,
    };
    let until = (libc::CLOCK_REALTIME, moment);
    // SAFETY: the caller's.
    unsafe { lock_until(&hooks::pthread_mutex_timedlock, mutex, until, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { real_clocklock(mutex, clock, moment) };
    let hook = &hooks::pthread_mutex_clocklock;
    // SAFETY: the caller's.
    unsafe { lock_until(hook, mutex, (clock, moment), native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's.
    let result = unsafe { real_unlock(mutex) };
    // By its address only: whoever has it now may be done with it, and have freed it.
    FOR_LOCKS.wake(mutex as usize, 1);
    result
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mtx_lock(mutex: *mut c_void) -> c_int {
    // SAFETY: the caller's; it is a pthread mutex.
    condition::thrd_of(unsafe { lock(&hooks::mtx_lock, mutex.cast()) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mtx_timedlock(
    mutex: *mut c_void,
    moment: *const timespec,
) -> c_int {
    // SAFETY: as in `mtx_lock`.
    condition::thrd_of(unsafe { pthread_mutex_timedlock(mutex.cast(), moment) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mtx_unlock(mutex: *mut c_void) -> c_int {
    // SAFETY: as in `mtx_lock`.
    condition::thrd_of(unsafe { pthread_mutex_unlock(mutex.cast()) })
}
