//! The guard below each stack: which kind this kernel has, and how to set many.
//!
//! | kind | since | costs | fault |
//! |---|---|---|---|
//! | `Install` | Linux 6.13 | 215 ns in a batch, no map | SIGSEGV |
//! | `Poison` | Linux 6.6, userfaultfd allowed | 350 to 450 ns, no map | SIGBUS |
//! | `Mprotect` | always | 1,200 ns and **two maps** per stack | SIGSEGV |
//!
//! The kind is probed once per process. With the last one the kernel's table of maps is the limit
//! (`vm.max_map_count`), and running it dry would take malloc and thread creation down too: so
//! only half of it is used, less a reserve, and beyond that the answer is an error.

use super::advise::{self, Advice};
use super::{poison, size};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How stacks are guarded in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardKind {
    /// MADV_GUARD_INSTALL.
    Install,
    /// UFFDIO_POISON.
    Poison,
    /// mprotect(PROT_NONE).
    Mprotect,
}

impl GuardKind {
    /// The system call behind it, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            GuardKind::Install => "madvise",
            GuardKind::Poison => "userfaultfd",
            GuardKind::Mprotect => "mprotect",
        }
    }
}

/// Maps a guard by mprotect adds: itself, and the stack that it cuts off from its neighbour.
const MAPS_PER_GUARD: usize = 2;

/// Stacks' worth of maps left alone, beside the half that is.
const MAP_RESERVE: usize = 2_000;

/// What `vm.max_map_count` is if it cannot be read (linux/mm.h: DEFAULT_MAX_MAP_COUNT).
const MAP_COUNT_DEFAULT: usize = 65_530;

/// Guards set by mprotect in this process, by all pools together.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// The mapping that guards are set in.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) start: usize,
    pub(super) bytes: usize,
    /// The process that registered it for poison; 0 for none.
    pub(super) registered_by: u32,
}

/// The kind of guard of this process, probed on first use.
pub(super) fn kind() -> GuardKind {
    static KIND: OnceLock<GuardKind> = OnceLock::new();
    *KIND.get_or_init(|| {
        if cfg!(greenroom_guard_mprotect) {
            return GuardKind::Mprotect;
        }
        if !cfg!(greenroom_guard_poison) && works(GuardKind::Install) {
            return GuardKind::Install;
        }
        if works(GuardKind::Poison) {
            GuardKind::Poison
        } else {
            GuardKind::Mprotect
        }
    })
}

/// Sets the guards, in order, until one fails: how many were set, and why it stopped.
///
/// # Safety
///
/// The ranges lie in `ground`, are page aligned, and nobody uses them.
pub(super) unsafe fn set(
    ground: &mut Ground,
    ranges: &[libc::iovec],
) -> (usize, Option<io::Error>) {
    // SAFETY: the caller vouches for the ranges.
    let (done, why) = unsafe { set_as(kind(), ground, ranges) };
    if why.is_none() || kind() == GuardKind::Mprotect {
        return (done, why);
    }
    // Under mlockall(MCL_FUTURE) the slab is locked and full of pages: MADV_GUARD_INSTALL then
    // says EINVAL, UFFDIO_POISON EEXIST. A stack has no use for being locked, nor these pages.
    // SAFETY: unlocks the slab, which changes no content; the guards' pages are unused.
    unsafe {
        libc::munlock(ground.start as *const libc::c_void, ground.bytes);
        advise::all(&ranges[done..], Advice::Forget);
        let (more, why) = set_as(kind(), ground, &ranges[done..]);
        (done + more, why)
    }
}

/// Says that a mapping with this many guards in it is gone.
pub(super) fn gone(guards: usize) {
    if kind() == GuardKind::Mprotect {
        PROTECTED.fetch_sub(guards, Ordering::Relaxed);
    }
}

/// # Safety
///
/// As for [`set`].
unsafe fn set_as(
    kind: GuardKind,
    ground: &mut Ground,
    ranges: &[libc::iovec],
) -> (usize, Option<io::Error>) {
    match kind {
        // SAFETY: the caller vouches for the ranges.
        GuardKind::Install => unsafe { advise::all(ranges, Advice::Guard) },
        GuardKind::Poison => {
            if let Err(why) =
                poison::register(&mut ground.registered_by, ground.start, ground.bytes)
            {
                return (0, Some(why));
            }
            until_one_fails(ranges, poison::poison)
        }
        GuardKind::Mprotect => until_one_fails(ranges, |range| {
            // SAFETY: the caller vouches for the ranges.
            unsafe { protect(range) }
        }),
    }
}

fn until_one_fails(
    ranges: &[libc::iovec],
    set: impl Fn(&libc::iovec) -> io::Result<()>,
) -> (usize, Option<io::Error>) {
    for (done, range) in ranges.iter().enumerate() {
        if let Err(why) = set(range) {
            return (done, Some(why));
        }
    }
    (ranges.len(), None)
}

/// # Safety
///
/// The range is page aligned, in a mapping of ours, and nobody uses it.
unsafe fn protect(range: &libc::iovec) -> io::Result<()> {
    let max = protected_max();
    if PROTECTED.fetch_add(1, Ordering::Relaxed) >= max {
        PROTECTED.fetch_sub(1, Ordering::Relaxed);
        return Err(out_of_maps(max));
    }
    // SAFETY: the caller vouches for the range.
    if unsafe { libc::mprotect(range.iov_base, range.iov_len, libc::PROT_NONE) } == 0 {
        return Ok(());
    }
    let why = io::Error::last_os_error();
    PROTECTED.fetch_sub(1, Ordering::Relaxed);
    if why.raw_os_error() == Some(libc::ENOMEM) {
        Err(out_of_maps(max))
    } else {
        Err(why)
    }
}

fn out_of_maps(max: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "no map left to guard another stack: this kernel needs {MAPS_PER_GUARD} per stack, \
             and vm.max_map_count ({}) allows {max} stacks (raise it with sysctl, \
             or run on Linux 6.13 or later, where guards need none)",
            max_map_count()
        ),
    )
}

/// How many stacks may be guarded by mprotect: half of the maps there are, less the reserve.
fn protected_max() -> usize {
    (max_map_count() / MAPS_PER_GUARD).saturating_sub(MAP_RESERVE)
}

fn max_map_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(MAP_COUNT_DEFAULT)
    })
}

/// Tries the kind on a page of its own. That the call succeeds proves nothing: qemu's user mode
/// takes any advice and does nothing, and stacks without guards would be the end of soundness.
fn works(kind: GuardKind) -> bool {
    let bytes = size::page_bytes();
    // SAFETY: a fresh anonymous mapping, placed by the kernel, overlaps nothing.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return false;
    }
    let mut ground = Ground {
        start: page as usize,
        bytes,
        registered_by: 0,
    };
    // SAFETY: the page was mapped above and is known to nobody else; so it is when unmapped.
    unsafe {
        // Under mlockall(MCL_FUTURE) it is locked and in memory, which neither kind can do with:
        // that says nothing about the kernel (see `set`).
        libc::munlock(page, bytes);
        libc::madvise(page, bytes, libc::MADV_DONTNEED);
        let (_, why) = set_as(kind, &mut ground, &[advise::range(page as usize, bytes)]);
        let works = why.is_none() && keeps_out(page);
        libc::munmap(page, bytes);
        works
    }
}

/// Does the kernel, asked to write there, meet a fault? Unlike a write of ours, it survives one.
fn keeps_out(page: *mut libc::c_void) -> bool {
    // SAFETY: the page is the caller's own; the kernel writes a `timespec` to its begin, or fails.
    // By its number, since the vDSO's function would write by itself.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, page) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn a_guard_is_one_that_the_kernel_itself_runs_into() {
        let _bound = bounded();
        let bytes = size::page_bytes();
        // SAFETY: a page of this test's own, unmapped at its end.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED);
            assert!(!keeps_out(page));
            assert_eq!(libc::mprotect(page, bytes, libc::PROT_NONE), 0);
            assert!(keeps_out(page));
            libc::munmap(page, bytes);
        }
    }
}
