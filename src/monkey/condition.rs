//! Condition variables of pthreads and C11.
//!
//! Those of OS threads wait in libc, greenlets here, by the address of the variable. Who signals
//! tells both: so one greenlet and one OS thread may be woken by one signal, as POSIX allows
//! ("at least one"). A greenlet is in the queue before it unlocks its mutex, so it hears of
//! whatever is told after that.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use libc::{ETIMEDOUT, clockid_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t, timespec};

use super::clocks::Deadline;
use super::gate::{Green, run};
use super::hooks::{self, Hook};
use super::locks::{FOR_CONDITIONS, Until, is_sensible};
use super::mutex::{lock_again, pthread_mutex_unlock};
use super::queue::{Ended, Ticks, Wait};
use super::raw::next;

type Told = unsafe extern "C" fn(*mut pthread_cond_t) -> c_int;
type WaitFn = unsafe extern "C" fn(*mut pthread_cond_t, *mut pthread_mutex_t) -> c_int;
type TimedWait =
    unsafe extern "C" fn(*mut pthread_cond_t, *mut pthread_mutex_t, *const timespec) -> c_int;
type ClockWait = unsafe extern "C" fn(
    *mut pthread_cond_t,
    *mut pthread_mutex_t,
    clockid_t,
    *const timespec,
) -> c_int;

/// A bit of a variable that libc sets for an attribute.
#[derive(Clone, Copy, Debug)]
struct Flag {
    at: usize,
    mask: u8,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    monotonic: Flag,
    shared: Flag,
}

impl Flag {
    /// Finds it: the one bit in which a variable with the attribute differs.
    fn find(set: impl FnOnce(*mut pthread_condattr_t)) -> Option<Flag> {
        let (plain, other) = (bytes_with(|_| ()), bytes_with(set));
        let differ = |at: &usize| plain[*at] != other[*at];
        let mut places = (0..plain.len()).filter(differ);
        let at = places.next()?;
        let mask = plain[at] ^ other[at];
        (places.next().is_none() && mask.count_ones() == 1).then_some(Flag { at, mask })
    }

    /// # Safety
    /// A valid variable.
    unsafe fn is_set(self, condition: *mut pthread_cond_t) -> bool {
        // SAFETY: within the variable; others write to it by atomic instructions.
        let byte = unsafe { &*condition.byte_add(self.at).cast::<AtomicU8>() };
        byte.load(Ordering::Relaxed) & self.mask != 0
    }
}

/// What a new variable holds.
fn bytes_with(set: impl FnOnce(*mut pthread_condattr_t)) -> [u8; size_of::<pthread_cond_t>()] {
    let mut attributes = MaybeUninit::uninit();
    let mut condition = MaybeUninit::<pthread_cond_t>::zeroed();
    // SAFETY: each is initialised before it is used, and ended afterwards; its bytes were zeros.
    unsafe {
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        set(attributes.as_mut_ptr());
        libc::pthread_cond_init(condition.as_mut_ptr(), attributes.as_ptr());
        let bytes = condition
            .as_ptr()
            .cast::<[u8; size_of::<pthread_cond_t>()]>()
            .read();
        libc::pthread_cond_destroy(condition.as_mut_ptr());
        libc::pthread_condattr_destroy(attributes.as_mut_ptr());
        bytes
    }
}

fn layout() -> Option<Layout> {
    static FOUND: OnceLock<Option<Layout>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: initialised attributes.
        let monotonic = Flag::find(|attributes| unsafe {
            libc::pthread_condattr_setclock(attributes, libc::CLOCK_MONOTONIC);
        })?;
        // SAFETY: as above.
        let shared = Flag::find(|attributes| unsafe {
            libc::pthread_condattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED);
        })?;
        Some(Layout { monotonic, shared })
    })
}

/// Is it known how libc marks a variable?
pub(super) fn is_understood() -> bool {
    layout().is_some()
}

/// # Safety
/// As pthread_cond_clockwait(3).
unsafe fn wait(
    hook: &'static Hook,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: Until<'_>,
    native: impl FnOnce() -> c_int,
) -> c_int {
    let green = |green: &Green<'_>| {
        let layout = layout()?;
        // SAFETY: the caller's.
        let shared = unsafe { layout.shared.is_set(condition) };
        let wait = Wait {
            deadline: Deadline::until(until),
            // Who is told by another process can't be told by us: he is woken for no reason.
            ticks: if shared { Ticks::Each } else { Ticks::Nobody },
            ..Wait::at("a pthread condition", condition as usize)
        };
        // SAFETY: the caller's.
        Some(unsafe { wait_green(green, wait, mutex) } as isize)
    };
    run(hook, green, || native() as isize) as c_int
}

/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_green(green: &Green<'_>, wait: Wait, mutex: *mut pthread_mutex_t) -> c_int {
    let mut unlocked = 0;
    let begin = green.hub.fresh_now();
    let ended = {
        let _waiting = FOR_CONDITIONS.enter();
        let queued = || {
            // SAFETY: the caller's.
            unlocked = unsafe { pthread_mutex_unlock(mutex) };
            unlocked == 0
        };
        // A tick is no cause to wait on, once the wait has begun.
        let cause = || green.hub.now() <= begin || wait.ticks == Ticks::Nobody;
        green.wait_after(wait, cause, queued)
    };
    if unlocked != 0 {
        return unlocked;
    }
    if ended == Ended::TimedOut && green.hub.now() <= begin {
        // Over before it began: the others must come to their turn all the same.
        green.hub.yield_now();
    }
    // SAFETY: the caller's; it is unlocked.
    let locked = unsafe { lock_again(green, mutex) };
    match ended {
        _ if locked != 0 => locked,
        Ended::TimedOut => ETIMEDOUT,
        Ended::Woken | Ended::Changed => 0,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_cond_wait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
) -> c_int {
    let native = || match next!(c"pthread_cond_wait" as WaitFn) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(condition, mutex) },
        None => libc::ENOSYS,
    };
    // SAFETY: the caller's.
    unsafe { wait(&hooks::pthread_cond_wait, condition, mutex, None, native) }
}

/// # Safety
/// As pthread_cond_clockwait(3).
unsafe fn wait_until(
    hook: &'static Hook,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    (clock, moment): (clockid_t, *const timespec),
    native: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's.
    let until = unsafe { moment.as_ref() }.map(|moment| (clock, moment));
    if !until.is_some_and(is_sensible) {
        return native();
    }
    // SAFETY: the caller's.
    unsafe { wait(hook, condition, mutex, until, native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    moment: *const timespec,
) -> c_int {
    let native = || match next!(c"pthread_cond_timedwait" as TimedWait) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(condition, mutex, moment) },
        None => libc::ENOSYS,
    };
    let hook = &hooks::pthread_cond_timedwait;
    if !super::gate::is_open(hook.parts) {
        return native();
    }
    // SAFETY: the caller's.
    let monotonic = layout().is_some_and(|layout| unsafe { layout.monotonic.is_set(condition) });
    let clock = if monotonic {
        libc::CLOCK_MONOTONIC
    } else {
        libc::CLOCK_REALTIME
    };
    // SAFETY: the caller's.
    unsafe { wait_until(hook, condition, mutex, (clock, moment), native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_cond_clockwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    moment: *const timespec,
) -> c_int {
    let native = || match next!(c"pthread_cond_clockwait" as ClockWait) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(condition, mutex, clock, moment) },
        None => libc::ENOSYS,
    };
    let hook = &hooks::pthread_cond_clockwait;
    // SAFETY: the caller's.
    unsafe { wait_until(hook, condition, mutex, (clock, moment), native) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int {
    let result = match next!(c"pthread_cond_signal" as Told) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(condition) },
        None => libc::ENOSYS,
    };
    FOR_CONDITIONS.wake(condition as usize, 1);
    result
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int {
    let result = match next!(c"pthread_cond_broadcast" as Told) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(condition) },
        None => libc::ENOSYS,
    };
    FOR_CONDITIONS.wake(condition as usize, usize::MAX);
    result
}

/// What a function of C11 returns for an errno (threads.h).
pub(super) fn thrd_of(errno: c_int) -> c_int {
    const SUCCESS: c_int = 0;
    const BUSY: c_int = 1;
    const ERROR: c_int = 2;
    const NOMEM: c_int = 3;
    const TIMEDOUT: c_int = 4;
    match errno {
        0 => SUCCESS,
        libc::EBUSY => BUSY,
        libc::ENOMEM => NOMEM,
        ETIMEDOUT => TIMEDOUT,
        _ => ERROR,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cnd_wait(condition: *mut c_void, mutex: *mut c_void) -> c_int {
    // SAFETY: the caller's; they are a pthread condition and a pthread mutex.
    thrd_of(unsafe { pthread_cond_wait(condition.cast(), mutex.cast()) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cnd_timedwait(
    condition: *mut c_void,
    mutex: *mut c_void,
    moment: *const timespec,
) -> c_int {
    // SAFETY: as in `cnd_wait`.
    thrd_of(unsafe { pthread_cond_timedwait(condition.cast(), mutex.cast(), moment) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cnd_signal(condition: *mut c_void) -> c_int {
    // SAFETY: as in `cnd_wait`.
    thrd_of(unsafe { pthread_cond_signal(condition.cast()) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cnd_broadcast(condition: *mut c_void) -> c_int {
    // SAFETY: as in `cnd_wait`.
    thrd_of(unsafe { pthread_cond_broadcast(condition.cast()) })
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn attributes_of_a_variable_are_read_where_libc_keeps_them() {
        let _bound = bounded();
        let layout = layout().unwrap();
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
            // SAFETY: initialised attributes.
            let mut bytes = bytes_with(|attributes| unsafe {
                libc::pthread_condattr_setclock(attributes, clock);
            });
            let variable = bytes.as_mut_ptr().cast::<pthread_cond_t>();
            // SAFETY: what a variable holds.
            let seen = unsafe {
                (
                    layout.monotonic.is_set(variable),
                    layout.shared.is_set(variable),
                )
            };
            assert_eq!(seen, (clock == libc::CLOCK_MONOTONIC, false));
        }
    }

    /// There are two of this name, and the former one has another kind of variable.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_functions_behind_are_those_of_today() {
        let _bound = bounded();
        let (name, version) = (c"pthread_cond_wait", c"GLIBC_2.3.2");
        // SAFETY: C strings.
        let today = unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), version.as_ptr()) };
        let found = next!(c"pthread_cond_wait" as WaitFn).unwrap();
        assert_eq!(found as *const c_void, today.cast_const());
    }
}
