//! One mapping with many slots, handed out first to last, guarded just ahead of that.
//!
//! ```text
//!   | handed out        | guarded            | mapped only                          |
//!   0 ---------- fresh --^--------- guarded --^-------------------------- slots ----^
//! ```
//!
//! `fresh <= guarded <= slots`. A page of a slot is first touched by the greenlet that runs there.

use super::guard::{self, Ground};
use super::size::Layout;
use super::{COLOURS, Stack, advise, table};
use crate::sys::report::report;
use std::io;

/// Address space that must still be free once a slab is mapped, for malloc and for thread stacks.
/// A limit that is used up to the last page is not survived: the next allocation aborts.
const SPARE_BYTES: usize = 64 << 20;

/// Slots guarded ahead for the first stack of a slab; doubles from there.
const GUARDS_FIRST: usize = 8;

/// A mapping of ours.
#[derive(Debug)]
pub(super) struct Slab {
    ground: Ground,
    layout: Layout,
    slots: usize,
    fresh: usize,
    guarded: usize,
    entry: Option<usize>,
}

impl Slab {
    /// Maps a slab of as many slots as can be had, at most `slots`.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, naming the limits, if not even one can be mapped.
    pub(super) fn map(layout: Layout, slots: usize) -> io::Result<Slab> {
        let mut slots = slots;
        let start = loop {
            match map(slots * layout.slot) {
                Ok(start) => break start,
                Err(why) if slots == 1 => return Err(out_of_memory(&layout, &why)),
                Err(_) => slots /= 2,
            }
        };
        let bytes = slots * layout.slot;
        let entry = table::enter(start, start + bytes, &layout);
        if entry.is_none() {
            report!(
                Warn,
                "more slabs of stacks than are known by name: their overflow is a SIGSEGV"
            );
        }
        let ground = Ground {
            start,
            bytes,
            registered_by: 0,
        };
        Ok(Slab {
            ground,
            layout,
            slots,
            fresh: 0,
            guarded: 0,
            entry,
        })
    }

    /// How many slots it has.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// How many of them were ever handed out.
    pub(super) fn fresh(&self) -> usize {
        self.fresh
    }

    /// Length of the mapping.
    pub(super) fn bytes(&self) -> usize {
        self.ground.bytes
    }

    /// Is this stack one of its slots?
    #[inline]
    pub(super) fn owns(&self, stack: &Stack) -> bool {
        stack.base.wrapping_sub(self.ground.start) < self.ground.bytes
    }

    /// The next slot that was never handed out, its guard in place; `None` if there is none left.
    ///
    /// # Errors
    ///
    /// When the guard cannot be set. The slot is then not lost: the next call tries again.
    pub(super) fn next(
        &mut self,
        (index, class): (u32, u16),
        scratch: &mut Vec<libc::iovec>,
    ) -> io::Result<Option<Stack>> {
        if self.fresh == self.slots {
            return Ok(None);
        }
        if self.fresh == self.guarded {
            self.guard_more(scratch)?;
        }
        let base = self.ground.start + self.fresh * self.layout.slot;
        let colour = (self.fresh % COLOURS) as u16;
        self.fresh += 1;
        Ok(Some(Stack {
            base,
            end: base + self.layout.slot,
            slab: index,
            class,
            colour,
        }))
    }

    /// Unmaps the slab.
    ///
    /// # Safety
    ///
    /// Nobody runs on any of its slots, nor will, nor points into one.
    pub(super) unsafe fn unmap(self) {
        if let Some(entry) = self.entry {
            table::remove(entry);
        }
        // SAFETY: the mapping is ours alone, and by the caller's word out of use.
        unsafe { libc::munmap(self.ground.start as *mut libc::c_void, self.ground.bytes) };
        guard::gone(self.guarded);
    }

    /// Guards the next few slots, at least one.
    fn guard_more(&mut self, scratch: &mut Vec<libc::iovec>) -> io::Result<()> {
        let wanted = self.guarded.clamp(GUARDS_FIRST, advise::RANGES_MAX);
        let wanted = wanted.min(self.slots - self.guarded);
        scratch.clear();
        scratch.try_reserve(wanted)?;
        let guards = (self.guarded..self.guarded + wanted)
            .map(|i| advise::range(self.ground.start + i * self.layout.slot, self.layout.guard));
        scratch.extend(guards);
        // SAFETY: the guards of slots that were never handed out, at the low end of each.
        let (done, why) = unsafe { guard::set(&mut self.ground, scratch) };
        self.guarded += done;
        match why {
            Some(why) if done == 0 => Err(why),
            _ => Ok(()),
        }
    }
}

/// Maps so many bytes, if that leaves some to spare.
fn map(bytes: usize) -> io::Result<usize> {
    let start = reserve(bytes, libc::PROT_READ | libc::PROT_WRITE)?;
    let spare = reserve(SPARE_BYTES, libc::PROT_NONE);
    // SAFETY: both were mapped here and now and nobody has touched them yet.
    unsafe {
        match spare {
            Ok(spare) => {
                libc::munmap(spare as *mut libc::c_void, SPARE_BYTES);
            }
            Err(why) => {
                libc::munmap(start as *mut libc::c_void, bytes);
                return Err(why);
            }
        }
        // One huge page under each stack would be 2 MiB for every one of them. It may fail on a
        // kernel built without huge pages, which is as good.
        libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_NOHUGEPAGE);
    }
    Ok(start)
}

fn reserve(bytes: usize, prot: libc::c_int) -> io::Result<usize> {
    // Without NORESERVE a mapping of 40 GiB is refused under vm.overcommit_memory=0.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a fresh anonymous mapping, placed by the kernel, overlaps nothing.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(start as usize)
    }
}

fn out_of_memory(layout: &Layout, why: &io::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "cannot map another stack of {} bytes and leave {SPARE_BYTES} to spare: {why} (the \
             limits are RLIMIT_AS, that is ulimit -v, vm.max_map_count and vm.overcommit_memory)",
            layout.nominal
        ),
    )
}
