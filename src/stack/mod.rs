//! The stacks greenlets run on: mapping, guards, pool, overflow.
//!
//! ```text
//!  slab: one MAP_NORESERVE mapping, one line in /proc/self/maps
//!  +--------+--------+--------+--------+ - - - - - - - - - - - - -+
//!  | slot 0 | slot 1 | slot 2 | slot 3 |  guarded, not yet handed  |
//!  +--------+--------+--------+--------+ - - out, then untouched - +
//!           |        |
//!           |        +------------------------------------.
//!           '.                                             |
//!  limit()   v                                             v  end
//!  +---------+---------------------------------+-----------+
//!  |  guard  |  usable, lazily committed  <--- | k * 64 B  |   k = slot number mod 16
//!  | 16 pages|  stack grows down               | colouring |
//!  +---------+---------------------------------+-----------+
//!            |<------------ usable() --------------------->|
//!                                              ^ top()
//! ```
//!
//! Invariants:
//!
//! 1. A slot belongs to exactly one place: a [`Stack`] somebody owns, its class's free list, or
//!    the part of its slab that was never handed out. `Stack` is not `Clone`, so the move into
//!    [`Pool::give`] is the proof that nobody runs on it.
//! 2. No slot is handed out before its guard is in place.
//! 3. A slab is unmapped only when the pool is dropped and every slot ever handed out is back.
//!    A stack that is still out may hold values that others point to, so its slab is leaked.
//! 4. Nothing in here panics or aborts for want of memory, of maps or of file descriptors.
//!
//! Which file does what, bottom first: `size` (what a size means, the default), `advise` (batched
//! madvise), `poison` and `guard` (the three kinds of guard), `table` (what the signal handler
//! reads), `slab` (one mapping), `pool` (free lists, trim), `altstack` and `overflow` (the
//! handler).

mod advise;
mod altstack;
mod guard;
pub(crate) mod overflow;
mod poison;
mod pool;
mod size;
mod slab;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_overflow;

pub(crate) use pool::Pool;
pub(crate) use size::SIZE_MIN;
pub use size::{default_stack_size, set_default_stack_size};

/// What the switch needs its stack pointer aligned to, on x86_64 and aarch64 (both psABIs: 16).
pub(crate) const STACK_ALIGNMENT: usize = 16;

/// Distance between two colours: one cache line, on everything this crate runs on.
const COLOUR_BYTES: usize = 64;

/// How many colours there are. Without them all stack tops share one set of the first-level cache:
/// a switch among 1,000 greenlets took 15 ns, with 16 colours 5.9.
const COLOURS: usize = 16;

/// An owned slot of a slab: a stack to run on, its guard below it.
///
/// [`Pool::give`] is the only way back. Dropping a `Stack` frees nothing and reuses nothing: the
/// slot stays mapped, is never handed out again, and keeps its slab alive for the life of the
/// process. That is what is wanted of a greenlet that did not run to its end: something may still
/// point to the values on its stack.
#[derive(Debug)]
pub(crate) struct Stack {
    base: usize,
    end: usize,
    slab: u32,
    class: u16,
    colour: u16,
}

impl Stack {
    /// The address the first frame starts at: 16-aligned, shifted down by the slot's colour.
    #[inline]
    pub(crate) fn top(&self) -> usize {
        self.end - usize::from(self.colour) * COLOUR_BYTES
    }

    /// The lowest address of the slot, its guard included; page aligned.
    #[cfg_attr(not(test), allow(dead_code, reason = "not every way to switch asks"))]
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.base
    }

    /// Bytes between the guard and the uncoloured top.
    #[inline]
    pub(crate) fn usable(&self) -> usize {
        self.end - self.floor()
    }

    /// Bytes of it that were ever touched, rounded up to pages: the distance from the top down to
    /// the lowest page in memory. Counts from the last trim on, and does not see swapped pages.
    pub(crate) fn high_water(&self) -> usize {
        advise::lowest_resident(self.floor(), self.end).map_or(0, |page| self.end - page)
    }

    /// The lowest usable address: the end of the guard.
    #[inline]
    fn floor(&self) -> usize {
        self.base + size::guard_bytes()
    }

    /// The usable range, as madvise takes it.
    fn usable_range(&self) -> libc::iovec {
        advise::range(self.floor(), self.usable())
    }
}

/// The lowest usable address of the stack that an address lies in, its bytes from there to the
/// top, and those of its guard; `None` for what is no stack of ours.
#[cfg(feature = "monkey")]
pub(crate) fn stack_around(address: *const u8) -> Option<(usize, usize, usize)> {
    let place = table::find(address.addr())?;
    let lowest = place.base + place.layout.guard;
    Some((lowest, place.end() - lowest, place.layout.guard))
}

// The free lists hold `Stack`s by value: a fourth word would be 8 MB at a million stacks.
const _: () = assert!(size_of::<Stack>() == 24);
const _: () = assert!(COLOUR_BYTES.is_multiple_of(STACK_ALIGNMENT));
