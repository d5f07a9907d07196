//! x86-64: the FS register says where the thread-locals are, and `struct pthread` begins there.

use std::arch::asm;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The head of `struct pthread` that compilers and the ABI know about (`tcbhead_t`): the block's
/// own address, the table of modules, once more the block's address, whether there are several
/// threads, the entry to the kernel, the stack protector's and the pointer guard's secrets...
pub(super) const HEADER_BYTES: usize = 128;
const TABLE_OF_MODULES_AT: usize = 8;
const SELF_AT: usize = 16;
const SEVERAL_THREADS_AT: usize = 24;
/// From here to the end of the header all threads agree.
const SHARED_AT: usize = 32;

const UNKNOWN: u8 = 0;
const BY_INSTRUCTION: u8 = 1;
const BY_SYSTEM_CALL: u8 = 2;

/// How FS is set here: by `wrfsbase` in a nanosecond or two, where processor and kernel allow it.
static WAY: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Bit 1 of AT_HWCAP2: the kernel lets programs use the instructions (linux/Documentation/
/// arch/x86/x86_64/fsgs.rst).
const HWCAP2_FSGSBASE: u64 = 1 << 1;
/// arch_prctl(2).
const ARCH_SET_FS: usize = 0x1002;

/// The address of the running thread's block: its first word points to itself.
#[inline]
pub(super) fn current() -> *mut u8 {
    let base: *mut u8;
    // SAFETY: the x86-64 ABI for thread-locals has the address of the block at FS:0.
    unsafe { asm!("mov {0}, fs:[0]", out(reg) base, options(nostack, preserves_flags, readonly)) };
    base
}

/// Finds out how [`set`] is to work; to be called before it.
pub(super) fn choose_way() {
    // SAFETY: getauxval takes a plain number.
    let allowed = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
    // valgrind passes the bit on and knows the instruction not.
    let valgrind = std::env::var_os("LD_PRELOAD")
        .is_some_and(|list| list.to_string_lossy().contains("vgpreload"));
    let way = if allowed && !valgrind {
        BY_INSTRUCTION
    } else {
        BY_SYSTEM_CALL
    };
    WAY.store(way, Ordering::Relaxed);
}

/// Makes `block` the thread-locals of whatever runs from here on.
///
/// # Safety
/// `block` is a complete block of thread-locals that nobody else runs with. No address of a
/// thread-local that was computed before may be used after: so the caller must not be inlined
/// into code that has thread-locals.
#[inline(always)]
pub(super) unsafe fn set(block: *mut u8) {
    if WAY.load(Ordering::Relaxed) == BY_INSTRUCTION {
        // SAFETY: the kernel allows it (`choose_way`); the caller vouches for the rest.
        unsafe { asm!("wrfsbase {0}", in(reg) block, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: as above. A raw call: libc's own would note errno in a thread-local.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") libc::SYS_arch_prctl => _,
                in("rdi") ARCH_SET_FS,
                in("rsi") block,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
    }
}

/// Fills the head of the `struct pthread` at `thread`, which belongs to `block`, as the one at
/// `here`, the running thread's, is filled.
///
/// # Safety
/// `_dl_allocate_tls` has made `block`, and nobody runs with it.
pub(super) unsafe fn begin(block: *mut u8, thread: *mut u8, here: *const u8) {
    // SAFETY: the header is within the `struct pthread` of both, as the ABI says.
    unsafe {
        thread.cast::<*mut u8>().write(block);
        debug_assert!(
            !thread
                .add(TABLE_OF_MODULES_AT)
                .cast::<*mut u8>()
                .read()
                .is_null()
        );
        thread.add(SELF_AT).cast::<*mut u8>().write(thread);
        // Always: another hub's thread may come at any time.
        thread.add(SEVERAL_THREADS_AT).cast::<u64>().write(1);
        let shared = HEADER_BYTES - SHARED_AT;
        ptr::copy_nonoverlapping(here.add(SHARED_AT), thread.add(SHARED_AT), shared);
    }
}
