//! The stack that the overflow handler runs on, for threads that have none.
//!
//! std gives one to its own threads and to a Rust `main`. A thread made by pthread_create has
//! none, and dies silently of an overflow: the kernel finds no place for the signal frame.

use super::size;
use std::marker::PhantomData;
use std::ptr;

/// What the handler itself, its message and a chained handler may use.
const HANDLER_ROOM: usize = 16 << 10;

/// A signal stack that [`ensure_alt_stack`] made: goes away with the value, which is bound to
/// its thread.
#[derive(Debug)]
pub(crate) struct AltStack {
    start: usize,
    bytes: usize,
    _thread: PhantomData<*mut ()>,
}

/// Sees to it that this thread has a signal stack. Gives the one it had to make, to be kept as
/// long as the thread runs greenlets; `None` if there is one already, or none can be had.
pub(crate) fn ensure_alt_stack() -> Option<AltStack> {
    if current()?.ss_flags & libc::SS_DISABLE == 0 {
        return None;
    }
    let page = size::page_bytes();
    let usable = size::signal_frame_bytes().max(libc::SIGSTKSZ) + HANDLER_ROOM;
    let bytes = size::round_up(usable, page) + page;
    // SAFETY: a fresh anonymous mapping, placed by the kernel, overlaps nothing.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    // From here on dropping it unmaps.
    let stack = AltStack {
        start: start as usize,
        bytes,
        _thread: PhantomData,
    };
    let floor = stack.start + page;
    let new = libc::stack_t {
        ss_sp: floor as *mut libc::c_void,
        ss_flags: 0,
        ss_size: bytes - page,
    };
    // SAFETY: all but the lowest page of the mapping just made becomes usable; then it is this
    // thread's signal stack until the drop below takes it away again, before unmapping it.
    let done = unsafe {
        libc::mprotect(new.ss_sp, new.ss_size, libc::PROT_READ | libc::PROT_WRITE) == 0
            && libc::sigaltstack(&new, ptr::null_mut()) == 0
    };
    done.then_some(stack)
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let installed =
            current().is_none_or(|now| (now.ss_sp as usize).wrapping_sub(self.start) < self.bytes);
        let off = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: libc::SIGSTKSZ,
        };
        // SAFETY: a signal stack of ours is taken out of use first. The kernel refuses (EPERM)
        // while this thread runs on it: then it stays mapped.
        unsafe {
            if installed && libc::sigaltstack(&off, ptr::null_mut()) != 0 {
                return;
            }
            libc::munmap(self.start as *mut libc::c_void, self.bytes);
        }
    }
}

/// This thread's signal stack, as the kernel has it.
fn current() -> Option<libc::stack_t> {
    let mut now = libc::stack_t {
        ss_sp: ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: with a null first argument sigaltstack only writes the second.
    (unsafe { libc::sigaltstack(ptr::null(), &mut now) } == 0).then_some(now)
}
