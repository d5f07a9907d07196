//! open(2) of a named pipe waits until somebody opens its other end.
//!
//! The kernel has no event for that, so it is asked ever more rarely. Each end is opened without
//! blocking: for writing this fails until there is a reader; for reading it works at once, and
//! tee(2), which takes nothing out, says whether there is a writer.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use libc::mode_t;

use super::gate::{Green, run};
use super::hooks;
use super::raw::{fail, finish, raw};
use super::turn::events_of;

/// A call of openat(2).
#[derive(Clone, Copy)]
struct Open {
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
}

impl Open {
    /// # Safety
    /// As openat(2).
    unsafe fn with(self, more: c_int) -> isize {
        let Open { folder, path, .. } = self;
        // SAFETY: the caller's.
        unsafe { raw!(SYS_openat, folder, path, self.flags | more, self.mode) }
    }

    /// Would the call wait if it were for a named pipe?
    fn may_wait(self) -> bool {
        self.flags & (libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY) == 0
            && matches!(
                self.flags & libc::O_ACCMODE,
                libc::O_RDONLY | libc::O_WRONLY
            )
    }

    /// # Safety
    /// As openat(2).
    unsafe fn is_for_fifo(self) -> bool {
        let mut about = MaybeUninit::<libc::stat>::zeroed();
        let follow = match self.flags & libc::O_NOFOLLOW {
            0 => 0,
            _ => libc::AT_SYMLINK_NOFOLLOW,
        };
        // SAFETY: the caller's path, and room for what is said of it.
        unsafe {
            let known = libc::fstatat(self.folder, self.path, about.as_mut_ptr(), follow) == 0;
            known && about.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO
        }
    }

    /// # Safety
    /// As openat(2).
    unsafe fn for_writing(self, green: &Green<'_>) -> isize {
        let attempt = || {
            // SAFETY: the caller's.
            let result = unsafe { self.with(libc::O_NONBLOCK) };
            (result != fail(libc::ENXIO)).then_some(result)
        };
        match green.ask_again("a reader of a named pipe", None, attempt) {
            Ok(opened) => opened.unwrap_or(fail(libc::ENXIO)),
            Err(interrupted) => interrupted,
        }
    }

    /// # Safety
    /// As openat(2).
    unsafe fn for_reading(self, green: &Green<'_>) -> isize {
        // SAFETY: the caller's.
        let opened = unsafe { self.with(libc::O_NONBLOCK) };
        if opened < 0 {
            return opened;
        }
        let mut scratch = [-1 as c_int; 2];
        // SAFETY: there is room for two descriptors, which are closed below.
        let made = unsafe { raw!(SYS_pipe2, scratch.as_mut_ptr(), libc::O_CLOEXEC) };
        let waited = match made {
            0 => {
                let attempt = || has_writer(opened as c_int, scratch[1]).then_some(0);
                green.ask_again("a writer of a named pipe", None, attempt)
            }
            failed => Err(failed),
        };
        let unwanted = waited.is_err().then_some(opened as c_int);
        for fd in scratch.into_iter().chain(unwanted).filter(|fd| *fd >= 0) {
            // SAFETY: opened here, and nothing else knows it.
            unsafe { raw!(SYS_close, fd) };
        }
        waited.map_or_else(|failed| failed, |_| opened)
    }
}

/// Has the pipe a writer, or had it one since it was opened?
fn has_writer(pipe: c_int, scratch: c_int) -> bool {
    // SAFETY: no pointers.
    let looked = || unsafe { raw!(SYS_tee, pipe, scratch, 1usize, libc::SPLICE_F_NONBLOCK) };
    events_of(pipe, libc::POLLIN) != 0 || looked() != 0
}

/// As the caller asked for it: blocking from now on.
fn without_nonblocking(opened: isize) -> isize {
    if opened >= 0 {
        // SAFETY: F_GETFL takes no pointer, F_SETFL an integer.
        unsafe {
            let flags = raw!(SYS_fcntl, opened, libc::F_GETFL);
            raw!(
                SYS_fcntl,
                opened,
                libc::F_SETFL,
                flags & !(libc::O_NONBLOCK as isize)
            );
        }
    }
    opened
}

/// # Safety
/// As openat(2).
unsafe fn open_on(hook: &'static hooks::Hook, call: Open) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { call.with(0) };
    if !call.may_wait() {
        return finish(native()) as c_int;
    }
    let green = |green: &Green<'_>| {
        // SAFETY: the caller's.
        unsafe {
            if !call.is_for_fifo() {
                return Some(native());
            }
            let opened = match call.flags & libc::O_ACCMODE {
                libc::O_WRONLY => call.for_writing(green),
                _ => call.for_reading(green),
            };
            Some(without_nonblocking(opened))
        }
    };
    finish(run(hook, green, native)) as c_int
}

/// The functions are variadic in C; a mode that was not passed is not looked at by the kernel
/// either.
macro_rules! opens {
    ($($name:ident($($folder:ident)?);)*) => {$(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name(
            $($folder: c_int,)?
            path: *const c_char,
            flags: c_int,
            mode: mode_t,
        ) -> c_int {
            #[allow(unused_mut, unused_assignments, reason = "two of them have no folder")]
            let mut at = libc::AT_FDCWD;
            $(at = $folder;)?
            // SAFETY: the caller's.
            unsafe { open_on(&hooks::$name, Open { folder: at, path, flags, mode }) }
        }
    )*};
}

opens! {
    open();
    open64();
    openat(folder);
    openat64(folder);
}
