//! What libc knows of a thread, or asks the kernel: for one that is a greenlet, its name and stack
//! are its own, and all else is that of its OS thread.
//!
//! The kernel does not know greenlets, so libc's own functions fail for them, and some C libraries
//! take that for the end of the world. What is set for one thread is not to hold for all greenlets
//! of its OS thread: so it is accepted, and nothing is done.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use libc::{clockid_t, cpu_set_t, pid_t, pthread_attr_t, pthread_t, sched_param};

use super::gate::{Green, run};
use super::raw::{next, raw};
use super::threads::{Join, is_of, is_running, os_thread, with_known};
use super::{clocks, hooks};
use crate::hub::{Why, with_hub};
use crate::stack::stack_around;

/// A name, with the NUL at its end (TASK_COMM_LEN in the kernel).
pub(super) const NAME_BYTES_MAX: usize = 16;

/// The kernel's id of the OS thread on which a thread runs that is a greenlet; that of none for a
/// thread that has ended.
fn os_thread_of(thread: pthread_t) -> Option<Option<pid_t>> {
    let known = with_known(thread, |green| {
        (!green.has_ended()).then_some(green.os_thread)
    });
    known.or_else(|| is_running(thread).then(|| Some(os_thread())))
}

/// An errno for the kernel's result, as these functions return it.
fn told(result: isize) -> c_int {
    if result < 0 { -result as c_int } else { 0 }
}

macro_rules! of_thread {
    ($(
        $name:ident $symbol:literal ($($arg:ident: $kind:ty),*) $green:expr, ended: $ended:expr;
    )*) => {$(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(thread: pthread_t $(, $arg: $kind)*) -> c_int {
            let green: fn(pid_t $(, $kind)*) -> c_int = $green;
            match os_thread_of(thread) {
                Some(Some(os_thread)) => return green(os_thread $(, $arg)*),
                Some(None) => return $ended,
                None => {}
            }
            match next!($symbol as unsafe extern "C" fn(pthread_t $(, $kind)*) -> c_int) {
                // SAFETY: the caller's.
                Some(libc) => unsafe { libc(thread $(, $arg)*) },
                None => libc::ENOSYS,
            }
        }
    )*};
}

of_thread! {
    pthread_getschedparam c"pthread_getschedparam"
        (policy: *mut c_int, param: *mut sched_param) read_scheduling, ended: libc::ESRCH;
    pthread_setschedparam c"pthread_setschedparam"
        (policy: c_int, param: *const sched_param) |_, _, _| 0, ended: libc::ESRCH;
    pthread_setschedprio c"pthread_setschedprio" (priority: c_int) |_, _| 0,
        ended: libc::ESRCH;
    pthread_getaffinity_np c"pthread_getaffinity_np"
        (bytes: usize, processors: *mut cpu_set_t) read_affinity, ended: libc::ESRCH;
    pthread_setaffinity_np c"pthread_setaffinity_np"
        (bytes: usize, processors: *const cpu_set_t) |_, _, _| 0, ended: libc::ESRCH;
    pthread_getcpuclockid c"pthread_getcpuclockid" (clock: *mut clockid_t) read_clock,
        ended: libc::ESRCH;
    pthread_kill c"pthread_kill" (signal: c_int) send_signal, ended: 0;
}

fn read_scheduling(os_thread: pid_t, policy: *mut c_int, param: *mut sched_param) -> c_int {
    // SAFETY: the caller of pthread_getschedparam has a place for either.
    unsafe {
        let found = raw!(SYS_sched_getscheduler, os_thread);
        if found < 0 {
            return told(found);
        }
        policy.write(found as c_int);
        told(raw!(SYS_sched_getparam, os_thread, param))
    }
}

fn read_affinity(os_thread: pid_t, bytes: usize, processors: *mut cpu_set_t) -> c_int {
    // SAFETY: the caller of pthread_getaffinity_np has that many bytes; the kernel tells how many
    // it has written, and the rest are zeros.
    unsafe {
        let written = raw!(SYS_sched_getaffinity, os_thread, bytes, processors);
        if let Ok(written) = usize::try_from(written) {
            let rest = processors.cast::<u8>().add(written);
            rest.write_bytes(0, bytes.saturating_sub(written));
        }
        told(written)
    }
}

/// The kernel's numbers for such clocks (clock_getres(2), CLOCK_THREAD_CPUTIME_ID of another).
fn read_clock(os_thread: pid_t, clock: *mut clockid_t) -> c_int {
    const PER_THREAD_SCHEDULED: clockid_t = 6;
    // SAFETY: the caller of pthread_getcpuclockid has a place for it.
    unsafe { clock.write((!os_thread << 3) | PER_THREAD_SCHEDULED) };
    0
}

fn send_signal(os_thread: pid_t, signal: c_int) -> c_int {
    // SAFETY: plain numbers.
    unsafe {
        let process = raw!(SYS_getpid);
        told(raw!(SYS_tgkill, process, os_thread, signal))
    }
}

/// What the running thread is called, and so those that it makes.
pub(super) fn own_name() -> [u8; NAME_BYTES_MAX] {
    // SAFETY: takes nothing.
    let here = unsafe { libc::pthread_self() };
    name_of(here).unwrap_or_else(|| {
        let mut name = [0; NAME_BYTES_MAX];
        // SAFETY: as many bytes as the kernel writes.
        unsafe { raw!(SYS_prctl, libc::PR_GET_NAME, name.as_mut_ptr()) };
        name
    })
}

/// What a greenlet is called, or has called itself.
fn name_of(thread: pthread_t) -> Option<[u8; NAME_BYTES_MAX]> {
    let known = with_known(thread, |green| green.name);
    let label = || {
        with_hub(|hub| {
            let task = hub?.running()?;
            let label = task.get().local().label.get();
            (is_of(task.get(), thread) && label[0] != 0).then_some(label)
        })
    };
    known.or_else(label)
}

type SetName = unsafe extern "C" fn(pthread_t, *const c_char) -> c_int;

/// The kernel's name is that of the OS thread: a greenlet leaves it alone. What it calls itself
/// is told in dumps, and when it panics or overflows its stack.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_setname_np(
    thread: pthread_t,
    name: *const c_char,
) -> c_int {
    let ended = os_thread_of(thread).map(|os_thread| os_thread.is_none());
    let Some(ended) = ended else {
        return match next!(c"pthread_setname_np" as SetName) {
            // SAFETY: the caller's.
            Some(real) => unsafe { real(thread, name) },
            None => libc::ENOSYS,
        };
    };
    if name.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: the caller's: it ends with a zero byte.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    let mut name = [0; NAME_BYTES_MAX];
    let Some(place) = name.get_mut(..bytes.len() + 1) else {
        return libc::ERANGE;
    };
    if ended {
        // As the file in /proc that libc writes to.
        return libc::ENOENT;
    }
    place[..bytes.len()].copy_from_slice(bytes);
    with_known(thread, |green| green.name = name);
    with_hub(|hub| {
        let task = hub.and_then(|hub| hub.running());
        // Only it itself may touch that.
        if let Some(task) = task.filter(|task| is_of(task.get(), thread)) {
            task.get().local().label.set(name);
        }
    });
    0
}

type GetName = unsafe extern "C" fn(pthread_t, *mut c_char, usize) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_getname_np(
    thread: pthread_t,
    name: *mut c_char,
    bytes: usize,
) -> c_int {
    let own = match os_thread_of(thread) {
        None => {
            return match next!(c"pthread_getname_np" as GetName) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real(thread, name, bytes) },
                None => libc::ENOSYS,
            };
        }
        _ if bytes < NAME_BYTES_MAX => return libc::ERANGE,
        Some(None) => return libc::ENOENT,
        Some(Some(_)) => name_of(thread).unwrap_or_else(own_name),
    };
    let end = own.iter().position(|byte| *byte == 0).unwrap_or(0);
    // SAFETY: the caller has room for that many bytes, and they end with a zero byte.
    unsafe { name.copy_from(own.as_ptr().cast(), end + 1) };
    0
}

// In glibc, not in the crate libc.
unsafe extern "C" {
    fn pthread_attr_setstack(
        attributes: *mut pthread_attr_t,
        lowest: *mut c_void,
        bytes: usize,
    ) -> c_int;
}

/// So often a thread is asked that has not started, once in a millisecond.
const LOOKS_MAX: u32 = 1000;

type Stack = (usize, usize, usize);

/// Where the stack of a greenlet is, and whether that is detached; EAGAIN for a thread that does
/// not come to start.
fn stack_of(thread: pthread_t) -> Option<Result<(Stack, bool), c_int>> {
    let known = with_known(thread, |green| {
        let detached = matches!(green.state, Join::Detached);
        (Arc::clone(&green.course), detached)
    });
    let Some((course, detached)) = known else {
        let here = 0u8;
        let own = is_running(thread).then(|| stack_around(&raw const here));
        return own.flatten().map(|stack| Ok((stack, false)));
    };
    for _ in 0..LOOKS_MAX {
        if let Some(stack) = course.stack.get() {
            return Some(Ok((*stack, detached)));
        }
        let green = |green: &Green<'_>| {
            green.park_on(Why::Sleep, green.deadline_in(clocks::MILLISECOND));
            Some(0)
        };
        let pause = clocks::timespec_of(clocks::MILLISECOND);
        // SAFETY: a valid time.
        let native = || unsafe { raw!(SYS_nanosleep, &raw const pause, 0) };
        run(&hooks::pthread_getattr_np, green, native);
    }
    Some(Err(libc::EAGAIN))
}

type GetAttributes = unsafe extern "C" fn(pthread_t, *mut pthread_attr_t) -> c_int;

/// Where the stack of a greenlet is, which libc does not know.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_getattr_np(
    thread: pthread_t,
    attributes: *mut pthread_attr_t,
) -> c_int {
    let ((lowest, bytes, guard), detached) = match stack_of(thread) {
        Some(Ok(found)) => found,
        Some(Err(errno)) => return errno,
        None => {
            return match next!(c"pthread_getattr_np" as GetAttributes) {
                // SAFETY: the caller's.
                Some(real) => unsafe { real(thread, attributes) },
                None => libc::ENOSYS,
            };
        }
    };
    // SAFETY: the caller has a place for them.
    unsafe {
        let made = libc::pthread_attr_init(attributes);
        if made == 0 {
            pthread_attr_setstack(attributes, lowest as *mut c_void, bytes);
            libc::pthread_attr_setguardsize(attributes, guard);
            if detached {
                libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
            }
        }
        made
    }
}
