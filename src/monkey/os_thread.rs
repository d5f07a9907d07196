//! Calls that libc makes for the thread that it takes the caller for: fork(2), and who we are.
//!
//! ```text
//!   greenlet --fork--> FS := the OS thread's --> libc's fork --> FS := the greenlet's --> parent
//!                                                      `-------> FS := the greenlet's --> child
//! ```
//! In the child libc keeps the stack of that thread, and tells the kernel of it anew. setuid(2)
//! and its kin have every other thread of libc's list do the same, by a signal. A greenlet's block
//! is in none of these lists, and its OS thread is: so it is the OS thread that calls. Handlers of
//! pthread_atfork run as that thread, and block. vfork(2) and posix_spawn need none of this.

use std::ffi::{c_char, c_int, c_void};

use libc::{gid_t, pid_t, uid_t};

use super::gate::is_open;
use super::hooks;
use super::raw::{errno, fail, finish, next, set_errno};
use crate::hub::forget_hub;
use crate::sys::identity::at_home;
use crate::sys::lock::natively;

/// What `call` returns, which says -1 and errno for a failure.
fn by_os_thread(call: impl FnOnce() -> c_int) -> c_int {
    if !is_open(hooks::fork.parts) {
        return call();
    }
    // SAFETY: `apart` is never inlined, and nothing in it parks.
    let (result, failure) = unsafe { at_home(|| apart(call)) };
    if result < 0 {
        set_errno(failure);
    }
    result
}

/// As [`by_os_thread`], for what returns 0 in a child.
fn forked_by_os_thread(call: impl FnOnce() -> c_int) -> c_int {
    let result = by_os_thread(call);
    if result == 0 {
        forget_hub();
    }
    result
}

#[inline(never)]
fn apart(call: impl FnOnce() -> c_int) -> (c_int, c_int) {
    let result = natively(call);
    (result, errno())
}

fn missing() -> c_int {
    finish(fail(libc::ENOSYS)) as c_int
}

type Fork = unsafe extern "C" fn() -> pid_t;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fork() -> pid_t {
    match next!(c"fork" as Fork) {
        // SAFETY: the caller's: what he does in the child is his affair.
        Some(real) => forked_by_os_thread(|| unsafe { real() }),
        None => missing(),
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn _Fork() -> pid_t {
    match next!(c"_Fork" as Fork) {
        // SAFETY: the caller's.
        Some(real) => forked_by_os_thread(|| unsafe { real() }),
        None => missing(),
    }
}

type Daemon = unsafe extern "C" fn(c_int, c_int) -> c_int;

/// Returns in the child only.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn daemon(keep_folder: c_int, keep_output: c_int) -> c_int {
    match next!(c"daemon" as Daemon) {
        // SAFETY: the caller's.
        Some(real) => forked_by_os_thread(|| unsafe { real(keep_folder, keep_output) }),
        None => missing(),
    }
}

type ForkPty = unsafe extern "C" fn(*mut c_int, *mut c_char, *const c_void, *const c_void) -> pid_t;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn forkpty(
    terminal: *mut c_int,
    name: *mut c_char,
    settings: *const c_void,
    size: *const c_void,
) -> pid_t {
    match next!(c"forkpty" as ForkPty) {
        // SAFETY: the caller's.
        Some(real) => forked_by_os_thread(|| unsafe { real(terminal, name, settings, size) }),
        None => missing(),
    }
}

macro_rules! ids {
    ($($name:ident $symbol:literal ($($arg:ident: $kind:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name($($arg: $kind),*) -> c_int {
            match next!($symbol as unsafe extern "C" fn($($kind),*) -> c_int) {
                // SAFETY: the caller's.
                Some(libc) => by_os_thread(|| unsafe { libc($($arg),*) }),
                None => missing(),
            }
        }
    )*};
}

ids! {
    setuid c"setuid" (user: uid_t);
    setgid c"setgid" (group: gid_t);
    seteuid c"seteuid" (user: uid_t);
    setegid c"setegid" (group: gid_t);
    setreuid c"setreuid" (real: uid_t, effective: uid_t);
    setregid c"setregid" (real: gid_t, effective: gid_t);
    setresuid c"setresuid" (real: uid_t, effective: uid_t, saved: uid_t);
    setresgid c"setresgid" (real: gid_t, effective: gid_t, saved: gid_t);
    setgroups c"setgroups" (count: usize, groups: *const gid_t);
    initgroups c"initgroups" (user: *const c_char, group: gid_t);
}
