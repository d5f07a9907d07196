//! aarch64: TPIDR_EL0 says where the thread-locals are, and `struct pthread` ends there.
//!
//! Programs may always write this register, and the kernel keeps it for each OS thread. The
//! secrets of the stack protector and of pointer guards are global here, and have not to be
//! copied.

use std::arch::asm;

/// What no field that is looked for may lie in: `header` of nptl/descr.h.
pub(super) const HEADER_BYTES: usize = 8;

/// The address of the running thread's block: its first word is the table of modules.
#[inline]
pub(super) fn current() -> *mut u8 {
    let base: *mut u8;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {0}, tpidr_el0", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// There is but one way.
pub(super) fn choose_way() {}

/// Makes `block` the thread-locals of whatever runs from here on.
///
/// # Safety
/// `block` is a complete block of thread-locals that nobody else runs with. No address of a
/// thread-local that was computed before may be used after, nor the register's value: so the
/// caller must not be inlined into code that has thread-locals.
#[inline(always)]
pub(super) unsafe fn set(block: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { asm!("msr tpidr_el0, {0}", in(reg) block, options(nostack, preserves_flags)) };
}

/// Fills the head of the `struct pthread` at `thread`, which belongs to `block`.
///
/// # Safety
/// `_dl_allocate_tls` has made `block`, and nobody runs with it.
pub(super) unsafe fn begin(block: *mut u8, thread: *mut u8, _here: *const u8) {
    // SAFETY: so it is made (sysdeps/aarch64/nptl/tls.h): the table of modules is in place, and
    // a whole `struct pthread` before it. Its first word, `multiple_threads`, says always: another
    // hub's thread may come at any time.
    unsafe {
        debug_assert!(!block.cast::<*mut u8>().read().is_null());
        thread.cast::<u32>().write(1);
    }
}
