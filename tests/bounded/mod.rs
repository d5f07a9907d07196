//! A bound in time for every test: a test that hangs names itself and ends its process.
//!
//! ```text
//!  bounded() --> timer_create ---- 60 s pass ----> signal handler
//!      |                                             writes the test's name to descriptor 2
//!      '- dropped: timer_delete                      ends the process
//! ```
//!
//! It is a timer of the kernel's and a signal handler, not a thread: a second OS thread would
//! count as one that could still wake the others, and a test of "this operation would block
//! forever" would wait instead. The handler writes by itself, since libtest keeps what a test
//! prints until the test ends, and this one does not end.
#![allow(
    dead_code,
    unsafe_code,
    reason = "each test program uses its part; timers and signals of the kernel's own"
)]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::sync::Once;

/// Seconds that a test may take: far more than any needs, on a busy machine too.
const BOUND_S: u64 = 60;

/// While it lives, the test is bounded. The message is at the address that the timer carries.
#[must_use = "a bound ends when it is dropped"]
#[derive(Debug)]
pub(crate) struct Bound {
    timer: libc::timer_t,
    message: *mut String,
}

/// Bounds the test by [`BOUND_S`].
#[track_caller]
pub(crate) fn bounded() -> Bound {
    bounded_by(BOUND_S)
}

/// Bounds a test that takes longer, because it builds programs for instance.
///
/// `GREENROOM_BOUND_S` in the environment is a lower bound for all, for a machine that is slower
/// than any: an emulated one, or one where a debugger stops the test.
#[track_caller]
pub(crate) fn bounded_by(seconds: u64) -> Bound {
    let least = std::env::var("GREENROOM_BOUND_S").ok();
    let least = least.map_or(0, |text| text.parse().expect("GREENROOM_BOUND_S: seconds"));
    let seconds = seconds.max(least);
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    let place = Location::caller();
    let message = format!(
        "\n{name} (bounded at {place}) still runs after {seconds} s: its process ends here\n"
    );
    let message = Box::into_raw(Box::new(message));
    handle();
    Bound {
        timer: timer_after(seconds, message),
        message,
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: the timer is ours. A signal that has been sent already is harmless: the message
        // is leaked below, not freed, since its handler may run at this moment.
        unsafe { libc::timer_delete(self.timer) };
        let _leaked = self.message;
    }
}

fn signal() -> c_int {
    libc::SIGRTMAX() - 1
}

/// Installs the handler, once.
fn handle() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: zeros are a valid sigaction; the handler makes system calls only, and runs on
        // the alternate stack where there is one.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = over as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            let made = libc::sigaction(signal(), &action, std::ptr::null_mut());
            assert_eq!(made, 0, "sigaction");
        }
    });
}

/// A timer that sends the signal once, with the message's address.
fn timer_after(seconds: u64, message: *mut String) -> libc::timer_t {
    // SAFETY: zeros are a valid sigevent and itimerspec; all pointers are to locals. The message
    // lives until the process ends.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal();
        event.sigev_value.sival_ptr = message.cast();
        let mut timer = MaybeUninit::uninit();
        let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr());
        assert_eq!(made, 0, "timer_create");
        let timer = timer.assume_init();
        let mut when: libc::itimerspec = MaybeUninit::zeroed().assume_init();
        when.it_value.tv_sec = seconds.try_into().expect("seconds");
        let set = libc::timer_settime(timer, 0, &when, std::ptr::null_mut());
        assert_eq!(set, 0, "timer_settime");
        timer
    }
}

/// Says which test hangs, and ends the process. By system calls alone: libc's functions may be
/// patched, and this may run between any two instructions.
extern "C" fn over(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the signal comes from a timer of ours, which carries the address of a message that
    // is never freed. write and kill take plain numbers and that message's bytes.
    unsafe {
        let message = &*(*info).si_value().sival_ptr.cast::<String>();
        libc::syscall(libc::SYS_write, 2, message.as_ptr(), message.len());
        libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL);
        libc::syscall(libc::SYS_exit_group, 101);
    }
}
