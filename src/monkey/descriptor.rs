//! What ends a descriptor, and what changes how calls on it behave.

use std::ffi::{c_int, c_long, c_uint, c_ulong, c_void};

use libc::socklen_t;

use super::gate::{Green, is_open, run};
use super::lockf::wait_for_lock;
use super::raw::{errno, fail, finish, next, raw, set_errno};
use super::turn::note_mode_change;
use super::{closing, hooks, linger, lives, owed};
use crate::hub::with_hub;

/// Is anything registered by number at all?
#[inline(always)]
fn is_patched() -> bool {
    is_open(hooks::close.parts)
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_patched() {
        closing::forget(fd);
        if linger::lingers(fd) {
            return finish(linger::close(fd)) as c_int;
        }
    }
    // SAFETY: as the caller says, the descriptor is his to close.
    finish(unsafe { raw!(SYS_close, fd) }) as c_int
}

fn forget_range(first: c_uint, last: c_uint) {
    if !is_patched() {
        return;
    }
    for fd in lives::known_within(first, last) {
        closing::forget(fd);
        if linger::lingers(fd) {
            linger::close(fd);
        }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // With either flag no descriptor of ours is closed: it is marked, or the table is copied.
    const CLOSE_ON_EXEC: c_int = 4;
    if flags & CLOSE_ON_EXEC == 0 && first <= last {
        forget_range(first, last);
    }
    // SAFETY: as the caller says.
    finish(unsafe { raw!(SYS_close_range, first, last, flags) }) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn closefrom(first: c_int) {
    forget_range(first.max(0) as c_uint, c_uint::MAX);
    if let Some(real) = next!(c"closefrom" as unsafe extern "C" fn(c_int)) {
        // SAFETY: as the caller says.
        unsafe { real(first) };
    }
}

fn is_number(fd: c_int) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { raw!(SYS_fcntl, fd, libc::F_GETFD) >= 0 }
}

/// Makes `new` a duplicate of `old` by `call`. What `new` was is closed by this, if `old` is
/// anything.
fn replace(old: c_int, new: c_int, call: impl FnOnce() -> isize) -> c_int {
    let mut kept = None;
    if is_patched() && old != new && is_number(old) {
        closing::forget(new);
        kept = linger::keep(new);
    }
    let result = call();
    kept.map(linger::close);
    finish(result) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        // dup3, which is all that newer processors' kernels have, refuses this.
        return if is_number(old) {
            new
        } else {
            finish(fail(libc::EBADF)) as c_int
        };
    }
    // SAFETY: as the caller says.
    replace(old, new, || unsafe { raw!(SYS_dup3, old, new, 0) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    // SAFETY: as the caller says.
    replace(old, new, || unsafe { raw!(SYS_dup3, old, new, flags) })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: no pointers.
    let result = unsafe { raw!(SYS_shutdown, fd, how) };
    if is_patched() && result == 0 {
        with_hub(|hub| hub.map(|hub| suppose_ready(hub, fd)));
    }
    finish(result) as c_int
}

/// Whoever waits for `fd` looks again. Only this hub's: others learn it from the kernel.
fn suppose_ready(hub: &crate::hub::Hub, fd: c_int) {
    let Ok(mut poller) = hub.poller.try_borrow_mut() else {
        return;
    };
    let Some(key) = poller.numbers.get(fd).map(|known| known.key) else {
        return;
    };
    let ready = crate::sys::epoll::Readiness {
        readable: true,
        writable: true,
        closing: true,
    };
    let wake = |task: crate::hub::TaskPtr| hub.wake(task.get());
    poller.registry().fire(key, ready, &mut { wake });
}

/// The stream's own close of its descriptor is out of sight, inside libc.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fclose(stream: *mut libc::FILE) -> c_int {
    let mut kept = None;
    if is_patched() && !stream.is_null() {
        // SAFETY: as the caller says, an open stream.
        let fd = unsafe { libc::fileno(stream) };
        closing::forget(fd);
        kept = linger::keep(fd);
    }
    let Some(real) = next!(c"fclose" as unsafe extern "C" fn(*mut libc::FILE) -> c_int) else {
        set_errno(libc::ENOSYS);
        return libc::EOF;
    };
    // SAFETY: as the caller says.
    let result = unsafe { real(stream) };
    if let Some(kept) = kept {
        let before = errno();
        linger::close(kept);
        set_errno(before);
    }
    result
}

/// # Safety
/// As fcntl(2).
unsafe fn control(hook: &'static hooks::Hook, fd: c_int, command: c_int, arg: c_long) -> c_int {
    // SAFETY: the caller's.
    let call = |command: c_int| unsafe { raw!(SYS_fcntl, fd, command, arg) };
    let native = || call(command);
    let at_once = match command {
        libc::F_SETFL => {
            let result = native();
            note_mode_change();
            return finish(result) as c_int;
        }
        libc::F_GETOWN => return owner(fd),
        libc::F_SETLKW => libc::F_SETLK,
        libc::F_OFD_SETLKW => libc::F_OFD_SETLK,
        _ => return finish(native()) as c_int,
    };
    let green = |green: &Green<'_>| Some(wait_for_lock(green, || call(at_once)));
    finish(run(hook, green, native)) as c_int
}

/// F_GETOWN, of which a negative answer is no failure but a group of processes.
fn owner(fd: c_int) -> c_int {
    const F_GETOWN_EX: c_int = 16;
    const GROUP: c_int = 2;
    let mut owner = [0 as c_int; 2];
    // SAFETY: there is room for the kind and the number that the kernel writes.
    let result = unsafe { raw!(SYS_fcntl, fd, F_GETOWN_EX, owner.as_mut_ptr()) };
    match owner {
        _ if result < 0 => finish(result) as c_int,
        [GROUP, number] => -number,
        [_, number] => number,
    }
}

/// Variadic in C; an argument that was not passed is not looked at by the kernel either.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, arg: c_long) -> c_int {
    // SAFETY: the caller's.
    unsafe { control(&hooks::fcntl, fd, command, arg) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, arg: c_long) -> c_int {
    // SAFETY: the caller's.
    unsafe { control(&hooks::fcntl64, fd, command, arg) }
}

/// Variadic in C, as [`fcntl`] is.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    let result = unsafe { raw!(SYS_ioctl, fd, request, arg) };
    if request == libc::FIONBIO {
        note_mode_change();
    }
    finish(result) as c_int
}

/// The error of a socket is also the one that a kill or a limit owes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    let result = unsafe { raw!(SYS_getsockopt, fd, level, name, value, length) };
    let is_error = result == 0 && level == libc::SOL_SOCKET && name == libc::SO_ERROR;
    if let Some(failure) = is_error.then(|| owed::take(fd)).flatten() {
        // SAFETY: the kernel has written a number there.
        unsafe { value.cast::<c_int>().write_unaligned(-failure as c_int) };
    }
    finish(result) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    let result = unsafe { raw!(SYS_setsockopt, fd, level, name, value, length) };
    match name {
        _ if level != libc::SOL_SOCKET => {}
        libc::SO_RCVTIMEO | libc::SO_SNDTIMEO => note_mode_change(),
        libc::SO_LINGER => linger::note_use(),
        _ => {}
    }
    finish(result) as c_int
}
