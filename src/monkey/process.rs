//! Waiting for the end of children.
//!
//! A child that is named is waited for by a descriptor of its own (pidfd). For "any child" and for
//! one that is to stop or to go on the kernel has no event: they are asked for ever more rarely.

use std::ffi::c_int;

use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

use super::gate::{Green, run};
use super::raw::{fail, finish, raw};
use super::{closing, hooks};
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);

/// Asks by `attempt`, which says EAGAIN while there is nothing, whenever the process ends.
fn await_end(green: &Green<'_>, pid: Option<pid_t>, attempt: impl Fn() -> isize) -> isize {
    let found = attempt();
    if found != EAGAIN {
        return found;
    }
    // SAFETY: pidfd_open takes no pointers.
    let open = |pid| unsafe { raw!(SYS_pidfd_open, pid, 0) };
    let watched = pid.map_or(-1, open);
    if let Some(fd) = Some(watched as c_int).filter(|_| watched >= 0) {
        let ended = green.retry(fd, Interest::Read, &attempt, |_| false);
        closing::forget(fd);
        // SAFETY: made here, and nobody else's.
        unsafe { raw!(SYS_close, fd) };
        if let Some(ended) = ended {
            return with_grace(green, ended, attempt);
        }
    }
    let asked = || Some(attempt()).filter(|result| *result != EAGAIN);
    match green.ask_again("the end of a process", None, asked) {
        Ok(found) => found.unwrap_or(EAGAIN),
        Err(interrupted) => with_grace(green, interrupted, attempt),
    }
}

/// For how long a wait that a kill or a limit has met is held on for a child that is about to end.
const GRACE_NS: u64 = 200_000_000;

/// Gives a child that is about to end the time for it. std waits for one that could not start its
/// program, and panics if that fails.
fn with_grace(green: &Green<'_>, result: isize, attempt: impl Fn() -> isize) -> isize {
    if ![fail(libc::ECANCELED), fail(libc::ETIMEDOUT)].contains(&result) {
        return result;
    }
    let asked = || Some(attempt()).filter(|result| *result != EAGAIN);
    let ask = || green.ask_again("the end of a process", green.deadline_in(GRACE_NS), asked);
    green.hold_off(ask).ok().flatten().unwrap_or(result)
}

/// # Safety
/// As wait4(2).
unsafe fn wait_for(
    hook: &'static hooks::Hook,
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    // SAFETY: the caller's.
    let call = |options: c_int| unsafe { raw!(SYS_wait4, pid, status, options, usage) };
    let native = || call(options);
    if options & libc::WNOHANG != 0 {
        return finish(native()) as pid_t;
    }
    let attempt = || match call(options | libc::WNOHANG) {
        0 => EAGAIN,
        result => result,
    };
    let ends_only = options & (libc::WUNTRACED | libc::WCONTINUED) == 0;
    let named = (pid > 0 && ends_only).then_some(pid);
    let green = |green: &Green<'_>| Some(await_end(green, named, attempt));
    finish(run(hook, green, native)) as pid_t
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait_for(&hooks::wait, -1, status, 0, std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait_for(&hooks::waitpid, pid, status, options, std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn wait3(
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait_for(&hooks::wait3, -1, status, options, usage) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn wait4(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    // SAFETY: the caller's.
    unsafe { wait_for(&hooks::wait4, pid, status, options, usage) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn waitid(
    kind: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> c_int {
    // SAFETY: a siginfo of zeros is one that says nothing.
    let mut own: siginfo_t = unsafe { std::mem::zeroed() };
    let info = if info.is_null() { &raw mut own } else { info };
    // SAFETY: the caller's, or our own.
    let call = |options: c_int| unsafe { raw!(SYS_waitid, kind, id, info, options, 0) };
    let native = || call(options);
    if options & libc::WNOHANG != 0 {
        return finish(native()) as c_int;
    }
    let attempt = || {
        // SAFETY: as above; the kernel leaves it alone, or says 0, when there is nothing.
        unsafe { (*info).si_signo = 0 };
        let result = call(options | libc::WNOHANG);
        // SAFETY: as above.
        let nothing = unsafe { (*info).si_signo } == 0;
        if result == 0 && nothing {
            EAGAIN
        } else {
            result
        }
    };
    let ends_only = options & (libc::WSTOPPED | libc::WCONTINUED) == 0;
    let green = |green: &Green<'_>| {
        if kind == libc::P_PIDFD && ends_only {
            let ended = green.retry(id as c_int, Interest::Read, attempt, |_| false);
            return ended.map(|ended| with_grace(green, ended, attempt));
        }
        let named = (kind == libc::P_PID && ends_only).then_some(id as pid_t);
        Some(await_end(green, named, attempt))
    };
    finish(run(&hooks::waitid, green, native)) as c_int
}
