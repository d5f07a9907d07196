//! The switch on x86-64: three registers, and a jump where others call and return.
//!
//! ```text
//!   a stack that has been left              a stack that has not run yet
//!   |        ...         |                  +--------------------+ <- top
//!   | frames of the body |                  | Start: parent,body | <- what a Suspender points to
//!   +--------------------+                  +--------------------+
//!   | where to go on     |                  | enter::<F>         |
//!   | rbp                |                  | begin              |
//!   | rbx                | <- sp            | 0                  |
//!   +--------------------+                  | address of Start   | <- sp
//!                                           +--------------------+
//! ```
//!
//! The side that leaves a stack writes these three words onto it; the compiler has saved all else
//! that it needs, since to it the switch destroys every register but rbx, rbp and rsp. The side
//! that resumes notes its own such place in `parent`, where the body will go back to.
//!
//! **Why jumps.** A processor predicts where a `ret` goes by the calls that came before it. A
//! switch that is made of `call` and `ret` is predicted only if nothing lies between the two; but a
//! body parks some calls deep in this library, so its `ret` to the hub and then every return on
//! its way back up are mispredicted. With jumps the predictor keeps what the last greenlet left
//! there, which has mostly parked by the same way. On an AMD EPYC (2 vCPUs, Linux 6.18, rustc 1.95,
//! 2026-11-21) a yield took 31 ns with corosensei's switch and 18 with this one; see
//! `cargo bench --bench hand_over`, also with `RUSTFLAGS='--cfg greenroom_portable_switch'`.
//!
//! **Backtraces hold at every instruction**, for a profiler's signal may come at any. The compiler
//! knows neither of a push within `asm!` nor of a change of stack, so what is inlined moves neither
//! rsp nor rbp: it puts the place to go on into rax and jumps to a naked function, which describes
//! each of its own instructions. Both stacks look alike there, so one description holds before
//! and after rsp has changed.
//!
//! **Where a backtrace ends.** `begin` says that nobody called it, in the terms of unwinders (no
//! return address) and of those who follow frame pointers (rbp is 0). So neither goes on into the
//! hub, whose frames are not the body's callers.

use std::arch::{asm, naked_asm};
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

use super::fits;
use crate::stack::{STACK_ALIGNMENT, Stack};

/// A suspended stack: the lowest of its three words. Null for one that has nothing left to run.
type StackPointer = *mut u64;

/// Lies at the top of a coroutine's stack for all its life.
#[repr(C)]
struct Start<F> {
    /// Where the body goes back to: whoever resumed it last.
    parent: StackPointer,
    body: ManuallyDrop<F>,
}

/// The way back from a greenlet's stack to its hub: the address of `parent`.
#[derive(Clone, Copy)]
pub(crate) struct Suspender(NonNull<StackPointer>);

impl Suspender {
    /// Leaves the greenlet's stack; returns when the coroutine is resumed.
    ///
    /// # Safety
    /// To be called on the stack of the very coroutine that handed this out, while it runs, or on
    /// the stack of another that it has resumed: that one is then left with it.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self) {
        // SAFETY: `parent` is where `Coroutine::resume` stands, which waits for its three words to
        // be taken off again. It gets this place, with the same three words; the compiler saves
        // what it has in other registers, since they are declared to be lost. The caller vouches
        // that it is this coroutine's turn to be left.
        unsafe {
            asm!(
                "lea rax, [rip + 2f]",
                "jmp {switch}",
                "2:",
                switch = sym switch_out,
                inlateout("rdi") self.0.as_ptr() => _,
                lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
                clobber_abi("sysv64"),
            );
        }
    }
}

/// A body on a stack of its own: not yet started, suspended, or finished.
///
/// Dropping one that has not finished leaks its stack with everything on it (fact 1).
pub(crate) struct Coroutine {
    sp: StackPointer,
    suspender: Suspender,
    stack: Stack,
}

impl Coroutine {
    /// Writes `body` onto `stack`; nothing runs yet. The body must not unwind.
    ///
    /// # Safety
    /// All that `body` borrows must outlive its run, and if it is never run to its end, live
    /// for ever.
    pub(crate) unsafe fn new<F: FnOnce(Suspender)>(stack: Stack, body: F) -> Coroutine {
        if const { !fits::<F>() } {
            let boxed: Box<dyn FnOnce(Suspender) + '_> = Box::new(body);
            // SAFETY: the caller vouches for it.
            return unsafe { Coroutine::new(stack, boxed) };
        }
        let align = align_of::<Start<F>>().max(STACK_ALIGNMENT);
        let start = (stack.top() - size_of::<Start<F>>()) & !(align - 1);
        let start = NonNull::new(ptr::with_exposed_provenance_mut::<Start<F>>(start));
        let start = start.expect("a stack is never at address 0");
        // When the last of the four is taken off, the pointer has the alignment that calls want.
        let sp = start.as_ptr().cast::<u64>().wrapping_sub(4);
        // SAFETY: `stack` is ours and nobody runs on it (it is owned). These addresses lie in it:
        // below `top`, which is 16-aligned, and above its guard, for a body that `fits` takes far
        // less than the smallest stack has (fact 3).
        unsafe {
            start.write(Start {
                parent: ptr::null_mut(),
                body: ManuallyDrop::new(body),
            });
            sp.write(start.as_ptr().expose_provenance() as u64);
            sp.add(1).write(0);
            // Behind its first byte, the `nop`: an unwinder looks up what lies before an address
            // to return to.
            sp.add(2).write(begin as *const () as u64 + 1);
            sp.add(3).write(enter::<F> as *const () as u64);
        }
        Coroutine {
            sp,
            suspender: Suspender(start.cast()),
            stack,
        }
    }

    /// Runs the body until it suspends (false) or returns (true).
    ///
    /// # Panics
    /// When it has returned before.
    #[inline(always)]
    pub(crate) fn resume(&mut self) -> bool {
        // Null while it runs: a body can't resume itself.
        let sp = mem::replace(&mut self.sp, ptr::null_mut());
        assert!(!sp.is_null(), "only what is suspended can be resumed");
        let left_at: StackPointer;
        // SAFETY: `sp` is where a suspended coroutine stands, with the words that are taken off
        // there: it is written by `new` and by every switch back, and is null at all other
        // times. `suspender` points into its stack, which is ours until it has ended. The compiler
        // saves what it has in registers, as in `suspend`.
        unsafe {
            asm!(
                "lea rax, [rip + 2f]",
                "jmp {switch}",
                "2:",
                switch = sym switch_in,
                inlateout("rdi") sp => _,
                inlateout("rdx") self.suspender.0.as_ptr() => _,
                lateout("rax") left_at,
                lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
                clobber_abi("sysv64"),
            );
        }
        self.sp = left_at;
        left_at.is_null()
    }

    /// The stack of a body that has returned, for reuse.
    ///
    /// # Panics
    /// When it has not.
    pub(crate) fn into_stack(self) -> Stack {
        assert!(self.sp.is_null(), "a stack that is in use can't be reused");
        self.stack
    }
}

/// A switch: jumped to with the place to go on in rax, and all that the compiler wants to keep but
/// rbx and rbp saved. `$change` notes rsp and sets it.
///
/// To an unwinder it is a function that was called, first with its return address in rax, then
/// with it on the stack, below it the two registers, and at last with it in rcx. That is so on
/// both stacks; so it may look at any time.
macro_rules! switch {
    ($($change:literal),*) => {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_def_cfa_offset 0",
            ".cfi_register rip, rax",
            "push rax",
            ".cfi_def_cfa_offset 8",
            ".cfi_offset rip, -8",
            "push rbp",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset rbp, -16",
            "push rbx",
            ".cfi_def_cfa_offset 24",
            ".cfi_offset rbx, -24",
            $($change,)*
            "pop rbx",
            ".cfi_def_cfa_offset 16",
            ".cfi_restore rbx",
            "pop rbp",
            ".cfi_def_cfa_offset 8",
            ".cfi_restore rbp",
            "pop rcx",
            ".cfi_def_cfa_offset 0",
            ".cfi_register rip, rcx",
            "jmp rcx",
            ".cfi_endproc",
        )
    };
}

/// From a body to where rdi points to. The resumer finds in rax where the body stands.
#[unsafe(naked)]
unsafe extern "sysv64" fn switch_out() {
    switch!("mov rax, rsp", "mov rsp, [rdi]")
}

/// From the resumer, which notes its own place where rdx points to, to the body that stands at rdi.
#[unsafe(naked)]
unsafe extern "sysv64" fn switch_in() {
    switch!("mov [rdx], rsp", "mov rsp, rdi")
}

/// As [`switch_out`], for a body that has returned: it is left for good, and rax is null.
#[unsafe(naked)]
unsafe extern "sysv64" fn switch_last() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa_offset 0",
        ".cfi_register rip, rax",
        "mov rsp, [rdi]",
        ".cfi_def_cfa_offset 24",
        ".cfi_offset rip, -8",
        ".cfi_offset rbp, -16",
        ".cfi_offset rbx, -24",
        "xor eax, eax",
        "pop rbx",
        ".cfi_def_cfa_offset 16",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_def_cfa_offset 8",
        ".cfi_restore rbp",
        "pop rcx",
        ".cfi_def_cfa_offset 0",
        ".cfi_register rip, rcx",
        "jmp rcx",
        ".cfi_endproc",
    )
}

/// The outermost frame: takes `enter` off the stack, and calls it with the address of `Start`.
#[unsafe(naked)]
unsafe extern "sysv64" fn begin() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "nop",
        "pop rax",
        ".cfi_def_cfa_offset 0",
        "mov rdi, rbx",
        // As a call that the return predictor does not see: nobody returns from it.
        "lea rcx, [rip + 2f]",
        "push rcx",
        ".cfi_def_cfa_offset 8",
        "jmp rax",
        // Never reached: the return address by which an unwinder finds this function.
        "ud2",
        "2:",
        "ud2",
        ".cfi_endproc",
    )
}

/// Runs the body, and goes back to whoever resumed it, for the last time.
///
/// # Safety
/// To be called once, by `begin`, with what `Coroutine::new` has written.
unsafe extern "sysv64" fn enter<F: FnOnce(Suspender)>(mut start: NonNull<Start<F>>) -> ! {
    let suspender = Suspender(start.cast());
    // SAFETY: it is written by `new`, and taken once.
    let body = unsafe { ManuallyDrop::take(&mut start.as_mut().body) };
    // An unwind stops here and aborts: no frame of ours has a way to hand it on.
    body(suspender);
    // SAFETY: as in `suspend`, except that nothing ever comes back: null says that there is no
    // place to come back to. Nothing on this stack is left to be dropped.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "jmp {switch}",
            "2:",
            "ud2",
            switch = sym switch_last,
            in("rdi") suspender.0.as_ptr(),
            options(noreturn),
        )
    }
}
