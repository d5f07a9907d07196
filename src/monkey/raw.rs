//! The kernel, without libc in between, and libc behind our own functions.
//!
//! A hook that passes a call on does it by an instruction of its own: that works before `main`,
//! in a forked child and inside the loader, and can't come back to a hook. Results are those of
//! the kernel: a negative errno for a failure.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The largest errno.
const ERRNO_MAX: isize = 4095;

/// # Safety
/// As the system call `number` demands of its arguments.
#[inline]
pub(super) unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the call; the kernel changes rax, rcx and r11 only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the call; the kernel changes x0 only.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// A system call by its name in `libc`, with up to six arguments of any plain type.
macro_rules! raw {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        $crate::monkey::raw::syscall(libc::$name as usize, {
            let given = [$($arg as usize),*];
            let mut args = [0usize; 6];
            let mut at = 0;
            while at < given.len() {
                args[at] = given[at];
                at += 1;
            }
            args
        })
    };
}
pub(super) use raw;

/// An errno as the kernel returns it.
pub(super) const fn fail(errno: c_int) -> isize {
    -(errno as isize)
}

/// What a C function returns for the kernel's result: -1 and errno for a failure.
#[inline]
pub(super) fn finish(result: isize) -> isize {
    if (-ERRNO_MAX..0).contains(&result) {
        set_errno(-result as c_int);
        return -1;
    }
    result
}

pub(super) fn errno() -> c_int {
    // SAFETY: libc returns the address of this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

pub(super) fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value }
}

/// Orders everything before it, plain stores too, before everything after it. Cheaper on x86
/// than the instruction that a SeqCst fence becomes.
#[inline]
pub(super) fn full_barrier() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: adds nothing to a word below the stack pointer's own, in the red zone or not: the
    // word at the stack pointer is ours, and keeps its value.
    unsafe {
        std::arch::asm!("lock or dword ptr [rsp], 0");
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// A function of the next object after this one in the order of symbols: libc's own.
#[derive(Debug)]
pub(super) struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub(super) const fn new(name: &'static CStr) -> Next {
        Next {
            name,
            found: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Its address; null where libc has no such function.
    #[inline]
    pub(super) fn get(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if found.is_null() { self.look() } else { found }
    }

    #[cold]
    fn look(&self) -> *mut c_void {
        // SAFETY: the name ends with NUL; dlsym may be called at any time after the loader.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        #[cfg(feature = "sanitizer")]
        let found = sanitizer::interceptor(self.name).unwrap_or(found);
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// AddressSanitizer learns of threads by functions of its own. They are weak, so the hooks of the
/// same names win over them, and they are not in the next object either.
#[cfg(feature = "sanitizer")]
mod sanitizer {
    use std::ffi::{CStr, c_void};

    macro_rules! interceptors {
        ($($interceptor:ident = $name:literal;)*) => {
            unsafe extern "C" {
                $(safe static $interceptor: c_void;)*
            }

            /// The interceptor of the function of that name.
            pub(super) fn interceptor(name: &CStr) -> Option<*mut c_void> {
                $(if name == $name {
                    return Some((&raw const $interceptor).cast_mut());
                })*
                None
            }
        };
    }

    interceptors! {
        __interceptor_pthread_create = c"pthread_create";
        __interceptor_pthread_join = c"pthread_join";
        __interceptor_pthread_tryjoin_np = c"pthread_tryjoin_np";
        __interceptor_pthread_timedjoin_np = c"pthread_timedjoin_np";
        __interceptor_pthread_detach = c"pthread_detach";
        __interceptor_pthread_exit = c"pthread_exit";
    }
}

/// The function behind a hook, of the type given; `None` where libc has none.
macro_rules! next {
    ($name:literal as $type:ty) => {{
        static NEXT: $crate::monkey::raw::Next = $crate::monkey::raw::Next::new($name);
        // SAFETY: `Option` of a function pointer is null or the address of a function, and libc's
        // function of this name has this type.
        unsafe { std::mem::transmute::<*mut std::ffi::c_void, Option<$type>>(NEXT.get()) }
    }};
}
pub(super) use next;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn results_and_failures_are_told_apart() {
        let _bound = bounded();
        // SAFETY: getppid takes nothing; closing -1 fails.
        let (parent, failed) = unsafe { (raw!(SYS_getppid), raw!(SYS_close, -1i32)) };
        assert!(parent > 0);
        assert_eq!(failed, fail(libc::EBADF));
        assert_eq!(finish(failed), -1);
        assert_eq!(errno(), libc::EBADF);
        assert_eq!(finish(-ERRNO_MAX - 1), -ERRNO_MAX - 1, "an address");
    }
}
