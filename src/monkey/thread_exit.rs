//! pthread_exit(3) in a thread that is a greenlet.
//!
//! ```text
//!   call_until_exit --> start(argument) --> ... --> pthread_exit(value)
//!        ^                                               | libc unwinds, and runs the handlers of
//!        `-------------------- jumps --------------------' pthread_cleanup_push and destructors
//! ```
//! libc unwinds to where its own start of a thread has set a mark. Ours sets the same, by the
//! functions by which pthread_cleanup_push does it.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::raw::{next, raw};
use super::threads::Start;
use crate::stack::stack_around;

thread_local! {
    /// The stack that the running thread's start routine is on, and where its value goes.
    static STARTED: Cell<Option<(usize, *const AtomicPtr<c_void>)>> = const { Cell::new(None) };
}

fn lowest_of_stack() -> Option<usize> {
    let here = 0u8;
    stack_around(&raw const here).map(|(lowest, ..)| lowest)
}

/// Runs a thread's start routine until it returns or exits, and notes its value.
pub(super) fn call(start: Start, argument: *mut c_void, value: &AtomicPtr<c_void>) {
    let before = STARTED.replace(lowest_of_stack().map(|stack| (stack, &raw const *value)));
    // SAFETY: pthread_create's caller vouches for the pair. Nothing of ours is unwound.
    let Returned { result, exited } = unsafe { call_until_exit(start, argument) };
    STARTED.set(before);
    if exited == 0 {
        value.store(result, Ordering::Release);
    }
}

type Exit = unsafe extern "C-unwind" fn(*mut c_void) -> !;

/// Must have nothing to drop: it is unwound.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    let exit = prepare(value);
    // SAFETY: the caller's, and the frames between him and `call_until_exit` are his.
    unsafe { exit(value) }
}

#[inline(never)]
fn prepare(value: *mut c_void) -> Exit {
    let Some(exit) = next!(c"pthread_exit" as Exit) else {
        die("this libc has no pthread_exit");
    };
    let Some(stack) = lowest_of_stack() else {
        return exit;
    };
    match STARTED.get() {
        // SAFETY: it lies in the frame of `call`, on this very stack.
        Some((started, place)) if started == stack => unsafe {
            (*place).store(value, Ordering::Release);
        },
        _ => die("pthread_exit in a greenlet that pthread_create has not made"),
    }
    exit
}

/// There is nothing to unwind to, and nobody to return to.
fn die(why: &str) -> ! {
    let text = [b"greenroom: ", why.as_bytes(), b"\n"].concat();
    // SAFETY: as many bytes as are passed.
    unsafe { raw!(SYS_write, libc::STDERR_FILENO, text.as_ptr(), text.len()) };
    std::process::abort()
}

/// In two registers.
#[repr(C)]
struct Returned {
    result: *mut c_void,
    exited: usize,
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
unsafe extern "C" {
    #[link_name = "greenroom_call_until_exit"]
    fn call_until_exit(start: Start, argument: *mut c_void) -> Returned;
}

// 112 bytes at the stack pointer: glibc's __pthread_unwind_buf_t, aligned to 16. A jump comes back
// from __sigsetjmp with 1 and the registers that a call preserves.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
std::arch::global_asm!(
    ".pushsection .text.greenroom_call_until_exit, \"ax\", @progbits",
    ".hidden greenroom_call_until_exit",
    ".globl greenroom_call_until_exit",
    ".type greenroom_call_until_exit, @function",
    "greenroom_call_until_exit:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "sub rsp, 120",
    ".cfi_adjust_cfa_offset 120",
    "mov rbx, rdi",
    "mov r12, rsi",
    "mov rdi, rsp",
    "xor esi, esi",
    "call __sigsetjmp@PLT",
    "test eax, eax",
    "jnz 2f",
    "mov rdi, rsp",
    "call __pthread_register_cancel@PLT",
    "mov rdi, r12",
    "call rbx",
    "mov r12, rax",
    "xor ebx, ebx",
    "jmp 3f",
    "2:",
    "mov ebx, 1",
    "3:",
    "mov rdi, rsp",
    "call __pthread_unregister_cancel@PLT",
    "mov rax, r12",
    "mov rdx, rbx",
    "add rsp, 120",
    ".cfi_adjust_cfa_offset -120",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "ret",
    ".cfi_endproc",
    ".size greenroom_call_until_exit, . - greenroom_call_until_exit",
    ".popsection",
);

/// Where no greenlet is a thread.
///
/// # Safety
/// The pair is one for pthread_create.
#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
unsafe fn call_until_exit(start: Start, argument: *mut c_void) -> Returned {
    Returned {
        result: start(argument),
        exited: 0,
    }
}
