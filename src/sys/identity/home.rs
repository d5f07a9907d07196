//! The thread-locals of the OS thread itself, for what libc does on behalf of a thread.

use super::base;
use super::glibc::{Glibc, glibc};

/// Runs `run` with the thread-locals of the OS thread that runs, whosever are in place.
///
/// # Safety
/// `run` leaves as it entered, and parks nowhere. It is not inlined into what has thread-locals of
/// its own, nor is anything with thread-locals inlined into it.
#[inline(never)]
pub(crate) unsafe fn at_home<R>(run: impl FnOnce() -> R) -> R {
    let former = base::current();
    let home = glibc().ok().and_then(block).unwrap_or(former);
    // SAFETY: the OS thread's own block, which lives as long as the thread, and with which nobody
    // runs while one of its greenlets does.
    unsafe { base::set(home) };
    let result = run();
    // SAFETY: what was in place before.
    unsafe { base::set(former) };
    result
}

/// Whether the thread-locals that are in place are those of the OS thread.
pub(crate) fn is_at_home() -> bool {
    let home = glibc().ok().and_then(block);
    home.is_none_or(|home| home == base::current())
}

/// Where it is: the kernel knows a list that lies within it.
fn block(glibc: &Glibc) -> Option<*mut u8> {
    let (mut head, mut bytes) = (std::ptr::null_mut::<u8>(), 0usize);
    // SAFETY: the call writes two words.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    (result == 0 && !head.is_null()).then(|| glibc.block_of(head.wrapping_sub(glibc.robust_at)))
}
