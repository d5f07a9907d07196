//! Locks of files: the kernel has no event for the end of one, so it is asked ever more rarely.

use std::ffi::c_int;

use super::gate::{Green, run};
use super::hooks;
use super::raw::{fail, finish, raw};

/// Asks for a lock by `attempt`, which says EAGAIN, EWOULDBLOCK or EACCES while somebody has it.
pub(super) fn wait_for_lock(green: &Green<'_>, attempt: impl Fn() -> isize) -> isize {
    let taken = |result: isize| [fail(libc::EAGAIN), fail(libc::EACCES)].contains(&result);
    let asked = || Some(attempt()).filter(|result| !taken(*result));
    match green.ask_again("the lock of a file", None, asked) {
        Ok(answer) => answer.unwrap_or(fail(libc::EAGAIN)),
        Err(interrupted) => interrupted,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    // SAFETY: flock takes no pointers.
    let call = |operation: c_int| unsafe { raw!(SYS_flock, fd, operation) };
    let native = || call(operation);
    if operation & (libc::LOCK_NB | libc::LOCK_UN) != 0 {
        return finish(native()) as c_int;
    }
    let attempt = || call(operation | libc::LOCK_NB);
    let green = |green: &Green<'_>| Some(wait_for_lock(green, attempt));
    finish(run(&hooks::flock, green, native)) as c_int
}
