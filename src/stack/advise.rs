//! madvise over many ranges: one process_madvise where the kernel takes it, else one call each.
//!
//! What it buys, per stack in batches of 256: a guard 215 ns instead of 320, a DONTNEED of three
//! pages 370 to 395 ns instead of 1,640 and more (fewer TLB flushes).

use super::size::page_bytes;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Ranges per process_madvise: the gain is used up by then; the kernel's own limit is 1024
/// (UIO_MAXIOV, linux/uio.h).
pub(super) const RANGES_MAX: usize = 256;

/// Bytes per process_madvise: it stops silently at MAX_RW_COUNT, 2 GiB less a page (linux/fs.h).
const BATCH_BYTES_MAX: usize = 1 << 30;

/// `PIDFD_SELF_THREAD` (linux/pidfd.h): stands for the caller, no descriptor needed. Taken by
/// process_madvise since Linux 6.15.
const PIDFD_SELF: libc::c_int = -10_000;

/// How to name ourselves to process_madvise.
static SELF_IS_NAMED: AtomicBool = AtomicBool::new(true);

/// Advice that process_madvise was seen to refuse, one bit each: the lower kernels take none for
/// oneself but WILLNEED, COLD and PAGEOUT (before Linux 6.13).
static REFUSED: AtomicU8 = AtomicU8::new(0);

/// What is asked of the ranges.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Advice {
    /// MADV_DONTNEED: give the pages back, read zeroes from now on. Keeps guards.
    Forget = 1,
    /// MADV_GUARD_INSTALL (Linux 6.13; asm-generic/mman-common.h): any access faults.
    Guard = 2,
}

impl Advice {
    fn number(self) -> libc::c_int {
        match self {
            Advice::Forget => libc::MADV_DONTNEED,
            Advice::Guard => 102,
        }
    }
}

/// A range as the kernel takes it.
pub(super) fn range(start: usize, bytes: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start as *mut libc::c_void,
        iov_len: bytes,
    }
}

/// Gives the advice for one range.
///
/// # Safety
///
/// The range lies in a mapping of ours in which nobody needs what the advice takes away.
pub(super) unsafe fn one(range: &libc::iovec, advice: Advice) -> io::Result<()> {
    // SAFETY: the caller vouches for the range.
    match unsafe { libc::madvise(range.iov_base, range.iov_len, advice.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the advice for each range in order, until one fails. Returns how many were done, and why
/// it stopped if not all were.
///
/// # Safety
///
/// As for [`one`], for every range.
pub(super) unsafe fn all(ranges: &[libc::iovec], advice: Advice) -> (usize, Option<io::Error>) {
    let mut done = 0;
    while done < ranges.len() {
        // SAFETY: the caller vouches for the ranges.
        let batch = unsafe { some(&ranges[done..], advice) };
        done += batch;
        if batch == 0 {
            // SAFETY: as above.
            if let Err(why) = unsafe { one(&ranges[done], advice) } {
                return (done, Some(why));
            }
            done += 1;
        }
    }
    (done, None)
}

/// One process_madvise over the first ranges; how many of them it did.
///
/// # Safety
///
/// As for [`one`], for every range.
unsafe fn some(ranges: &[libc::iovec], advice: Advice) -> usize {
    let bit = advice as u8;
    let mut bytes = 0;
    let fits = |r: &&libc::iovec| {
        bytes += r.iov_len;
        bytes <= BATCH_BYTES_MAX
    };
    let count = ranges.iter().take(RANGES_MAX).take_while(fits).count();
    if count < 2 || REFUSED.load(Ordering::Relaxed) & bit != 0 {
        return 0;
    }
    // SAFETY: the caller vouches for the ranges.
    match unsafe { process_madvise(&ranges[..count], advice) } {
        Ok(mut advised) => {
            let whole = |r: &&libc::iovec| {
                let fits = advised >= r.iov_len;
                advised = advised.saturating_sub(r.iov_len);
                fits
            };
            ranges[..count].iter().take_while(whole).count()
        }
        Err(why) => {
            // A range of its own may be at fault (locked memory, say): then batches end early
            // here and now and are slower afterwards, nothing worse.
            if matches!(
                why.raw_os_error(),
                Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::EBADF)
            ) {
                REFUSED.fetch_or(bit, Ordering::Relaxed);
            }
            0
        }
    }
}

/// # Safety
///
/// As for [`one`], for every range.
unsafe fn process_madvise(ranges: &[libc::iovec], advice: Advice) -> io::Result<usize> {
    if SELF_IS_NAMED.load(Ordering::Relaxed) {
        // SAFETY: the caller vouches for the ranges; PIDFD_SELF can be nobody else.
        match unsafe { process_madvise_by(PIDFD_SELF, ranges, advice) } {
            Err(why) if why.raw_os_error() == Some(libc::EBADF) => {
                SELF_IS_NAMED.store(false, Ordering::Relaxed);
            }
            answer => return answer,
        }
    }
    // Opened for each batch and not kept: after a fork a kept one would still name the parent.
    // SAFETY: both take integers and touch no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = fd as libc::c_int;
    // SAFETY: the caller vouches for the ranges, and fd names this very process.
    let answer = unsafe { process_madvise_by(fd, ranges, advice) };
    // SAFETY: fd was opened above and is known to nobody else.
    unsafe { libc::close(fd) };
    answer
}

/// # Safety
///
/// As for [`one`], for every range; `fd` names this process.
unsafe fn process_madvise_by(
    fd: libc::c_int,
    ranges: &[libc::iovec],
    advice: Advice,
) -> io::Result<usize> {
    // SAFETY: the iovecs are live and as many as said; the caller vouches for what they name.
    let advised = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            fd,
            ranges.as_ptr(),
            ranges.len(),
            advice.number(),
            0,
        )
    };
    usize::try_from(advised).map_err(|_| io::Error::last_os_error())
}

/// The lowest page of `[start, end)` that is in memory.
pub(super) fn lowest_resident(start: usize, end: usize) -> Option<usize> {
    let page = page_bytes();
    let mut pages = [0_u8; 256];
    let mut at = start;
    while at < end {
        let bytes = (end - at).min(pages.len() * page);
        // SAFETY: mincore writes one byte for each page of the range, and `pages` has as many;
        // it only looks at the range itself, and says ENOMEM if it is not mapped.
        if unsafe { libc::mincore(at as *mut libc::c_void, bytes, pages.as_mut_ptr()) } != 0 {
            return None;
        }
        if let Some(first) = pages[..bytes.div_ceil(page)]
            .iter()
            .position(|p| p & 1 != 0)
        {
            return Some(at + first * page);
        }
        at += bytes;
    }
    None
}
