//! Does the process allocate by libc's own malloc?
//!
//! That one locks within libc, unseen. Another one, as jemalloc, may call pthread_mutex_lock in
//! the middle of a change to what belongs to its OS thread, and must not be left there for
//! another greenlet. Where the allocator is not libc's, a greenlet parks only for a mutex that is
//! held by a greenlet of its own OS thread: that one has parked itself, and nobody parks in an
//! allocator. For all others it blocks, as without the patch.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::locks::FOR_LOCKS;
use crate::sys::lock::natively;

static IS_LIBCS: AtomicBool = AtomicBool::new(false);

pub(super) fn is_libcs() -> bool {
    IS_LIBCS.load(Ordering::Relaxed)
}

/// The OS thread that tries the allocator out now.
static TRYING: AtomicUsize = AtomicUsize::new(0);
/// Whether it has unlocked anything.
static LOCKS: AtomicBool = AtomicBool::new(false);

fn here() -> usize {
    // SAFETY: takes nothing.
    unsafe { libc::pthread_self() as usize }
}

/// Called with each unlock while somebody waits, or while the allocator is tried out.
pub(super) fn note_unlock() {
    let trying = TRYING.load(Ordering::Relaxed);
    if trying != 0 && trying == here() {
        LOCKS.store(true, Ordering::Relaxed);
    }
}

/// More than any threshold above which malloc maps memory by itself (32 MiB), and never touched.
const LARGE: usize = 64 << 20;

/// Bytes that libc's malloc has given out, as far as it tells; it counts round.
#[cfg(target_env = "gnu")]
fn given_out() -> usize {
    // SAFETY: takes nothing.
    let info = unsafe { libc::mallinfo() };
    (info.hblkhd as u32).wrapping_add(info.uordblks as u32) as usize
}

#[cfg(not(target_env = "gnu"))]
fn given_out() -> usize {
    0
}

/// Does libc count what `take` takes, and what `give` gives back?
fn counts<T>(take: impl FnOnce() -> T, give: impl FnOnce(T)) -> bool {
    let before = given_out() as u32;
    let taken = take();
    let during = given_out() as u32;
    give(taken);
    let after = given_out() as u32;
    let grown = |from: u32, to: u32| to.wrapping_sub(from) as i32 > LARGE as i32 / 2;
    grown(before, during) && grown(after, during)
}

/// Tries it out, on an OS thread of its own, whose caches are empty.
pub(super) fn look() {
    // Unlocks are looked at as long as somebody waits: we do.
    let _waiting = FOR_LOCKS.enter();
    let tried = natively(|| {
        let thread = std::thread::Builder::new().spawn(try_out).ok()?;
        thread.join().ok()
    });
    IS_LIBCS.store(tried == Some(true), Ordering::Relaxed);
}

fn try_out() -> bool {
    let layout = Layout::new::<[u8; LARGE]>();
    // SAFETY: not of size 0; what is allocated is not used, and freed once, if it is any.
    let rust = counts(
        || unsafe { black_box(alloc(layout)) },
        |taken| unsafe {
            if !taken.is_null() {
                dealloc(taken, layout);
            }
        },
    );
    // SAFETY: as above.
    let c = counts(
        || unsafe { black_box(libc::malloc(LARGE)) },
        |taken| unsafe { libc::free(taken) },
    );
    TRYING.store(here(), Ordering::Relaxed);
    exercise();
    TRYING.store(0, Ordering::Relaxed);
    rust && c && !LOCKS.load(Ordering::Relaxed)
}

/// Allocates and frees in many sizes: the first of each comes from what threads share.
fn exercise() {
    const EACH: usize = 20;
    for power in 3..16 {
        let layouts = [1 << power, 2 << power].map(|size| Layout::from_size_align(size, 8));
        let [Ok(layout), Ok(larger)] = layouts else {
            continue;
        };
        let mut taken = [std::ptr::null_mut(); EACH];
        for (index, place) in taken.iter_mut().enumerate() {
            // SAFETY: not of size 0.
            *place = unsafe {
                match index % 2 {
                    0 => alloc(layout),
                    _ => alloc_zeroed(layout),
                }
            };
        }
        for place in taken.into_iter().filter(|place| !place.is_null()) {
            // SAFETY: allocated above with this layout, and freed once.
            unsafe {
                let grown = realloc(place, layout, larger.size());
                if grown.is_null() {
                    dealloc(place, layout);
                } else {
                    dealloc(grown, larger);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    #[cfg_attr(feature = "sanitizer", ignore = "it brings an allocator")]
    fn that_of_libc_is_known() {
        let _bound = bounded();
        look();
        assert!(is_libcs());
    }
}
