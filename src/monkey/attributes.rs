//! What libc asks the kernel of a thread: for one that is a greenlet, that of its OS thread.
//!
//! The kernel does not know greenlets, so libc's own functions fail for them, and some C libraries
//! take that for the end of the world. What is set for one thread is not to hold for all greenlets
//! of its OS thread: so it is accepted, and nothing is done.

use std::ffi::{c_char, c_int};

use libc::{clockid_t, cpu_set_t, pid_t, pthread_t, sched_param};

use super::raw::{next, raw};
use super::threads::os_thread_of;

/// An errno for the kernel's result, as these functions return it.
fn told(result: isize) -> c_int {
    if result < 0 { -result as c_int } else { 0 }
}

macro_rules! of_thread {
    ($($name:ident $symbol:literal ($($arg:ident: $kind:ty),*) $green:expr;)*) => {$(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(thread: pthread_t $(, $arg: $kind)*) -> c_int {
            let green: fn(pid_t $(, $kind)*) -> c_int = $green;
            if let Some(os_thread) = os_thread_of(thread) {
                return green(os_thread $(, $arg)*);
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
        (policy: *mut c_int, param: *mut sched_param) read_scheduling;
    pthread_setschedparam c"pthread_setschedparam"
        (policy: c_int, param: *const sched_param) |_, _, _| 0;
    pthread_setschedprio c"pthread_setschedprio" (priority: c_int) |_, _| 0;
    pthread_getaffinity_np c"pthread_getaffinity_np"
        (bytes: usize, processors: *mut cpu_set_t) read_affinity;
    pthread_setaffinity_np c"pthread_setaffinity_np"
        (bytes: usize, processors: *const cpu_set_t) |_, _, _| 0;
    pthread_getcpuclockid c"pthread_getcpuclockid" (clock: *mut clockid_t) read_clock;
    pthread_getname_np c"pthread_getname_np" (name: *mut c_char, bytes: usize) read_name;
    pthread_kill c"pthread_kill" (signal: c_int) send_signal;
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

/// The kernel's name of the OS thread that asks: greenlets have none there.
fn read_name(_: pid_t, name: *mut c_char, bytes: usize) -> c_int {
    /// With the NUL at its end.
    const NAME_BYTES_MAX: usize = 16;
    if bytes < NAME_BYTES_MAX {
        return libc::ERANGE;
    }
    // SAFETY: the caller of pthread_getname_np has that many bytes.
    told(unsafe { raw!(SYS_prctl, libc::PR_GET_NAME, name) })
}

fn send_signal(os_thread: pid_t, signal: c_int) -> c_int {
    // SAFETY: plain numbers.
    unsafe {
        let process = raw!(SYS_getpid);
        told(raw!(SYS_tgkill, process, os_thread, signal))
    }
}
