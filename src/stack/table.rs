//! The table of slabs that the signal handler reads: atomics only, no lock, no allocation.
//!
//! An entry's life, all of it in `base`:
//!
//! ```text
//!   0 (free) --claim, by CAS--> 1 (being written) --publish--> the slab's address --remove--> 0
//! ```
//!
//! A reader takes `base`, then the rest, then `base` again: what changed meanwhile is no entry.
//! Removal comes before the unmapping, so a fault in a published range is a fault in a live slab.

use super::size::Layout;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// Slabs that can be known at a time: a million stacks take less than 64, so this is enough for
/// dozens of hubs of a million. Slabs beyond it work as well, but their overflow is a plain
/// SIGSEGV without a message.
const ENTRIES_MAX: usize = 4_096;

/// `base` of an entry that is being written. No address: nothing is ever mapped there.
const CLAIMED: usize = 1;

struct Entry {
    base: AtomicUsize,
    end: AtomicUsize,
    slot: AtomicUsize,
    guard: AtomicUsize,
    nominal: AtomicUsize,
}

static TABLE: [Entry; ENTRIES_MAX] = [const {
    Entry {
        base: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        slot: AtomicUsize::new(0),
        guard: AtomicUsize::new(0),
        nominal: AtomicUsize::new(0),
    }
}; ENTRIES_MAX];

/// One above the highest entry ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// The slot an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The slot's lowest address.
    pub(super) base: usize,
    /// How the slot is laid out.
    pub(super) layout: Layout,
}

impl Place {
    /// Is the address in this slot's guard?
    pub(super) fn guards(&self, address: usize) -> bool {
        (self.base..self.base + self.layout.guard).contains(&address)
    }

    /// The slot's highest address, where its stack begins.
    pub(super) fn end(&self) -> usize {
        self.base + self.layout.slot
    }
}

/// Enters a slab. `None` if the table is full.
pub(super) fn enter(base: usize, end: usize, layout: &Layout) -> Option<usize> {
    let claim = |entry: &Entry| {
        entry.base.load(Ordering::Relaxed) == 0
            && entry
                .base
                .compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    };
    let index = TABLE.iter().position(claim)?;
    let entry = &TABLE[index];
    entry.end.store(end, Ordering::Relaxed);
    entry.slot.store(layout.slot, Ordering::Relaxed);
    entry.guard.store(layout.guard, Ordering::Relaxed);
    entry.nominal.store(layout.nominal, Ordering::Relaxed);
    entry.base.store(base, Ordering::Release);
    USED.fetch_max(index + 1, Ordering::Release);
    Some(index)
}

/// Takes a slab out; its index is free for another one from now on.
pub(super) fn remove(index: usize) {
    let old = TABLE[index].base.swap(0, Ordering::AcqRel);
    debug_assert!(old > CLAIMED, "a slab removed twice");
}

/// The slot an address lies in. Async-signal-safe.
pub(super) fn find(address: usize) -> Option<Place> {
    let used = USED.load(Ordering::Acquire).min(ENTRIES_MAX);
    TABLE[..used].iter().find_map(|entry| entry.find(address))
}

impl Entry {
    fn find(&self, address: usize) -> Option<Place> {
        let base = self.base.load(Ordering::Acquire);
        if base <= CLAIMED || address < base {
            return None;
        }
        let end = self.end.load(Ordering::Relaxed);
        let layout = Layout {
            nominal: self.nominal.load(Ordering::Relaxed),
            slot: self.slot.load(Ordering::Relaxed),
            guard: self.guard.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let torn = self.base.load(Ordering::Relaxed) != base || layout.slot == 0;
        if torn || address >= end {
            return None;
        }
        Some(Place {
            base: address - (address - base) % layout.slot,
            layout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    const LAYOUT: Layout = Layout {
        nominal: 8192,
        slot: 12_288,
        guard: 4096,
    };

    // Addresses no slab of another test can have: below vm.mmap_min_addr.
    #[test]
    fn finds_the_slot_and_its_guard_until_removed() {
        let _bound = bounded();
        let index = enter(0x1000, 0x1000 + 3 * LAYOUT.slot, &LAYOUT).unwrap();
        let place = find(0x1000 + LAYOUT.slot + 5).unwrap();
        assert_eq!(
            place,
            Place {
                base: 0x1000 + LAYOUT.slot,
                layout: LAYOUT
            }
        );
        assert!(place.guards(place.base) && place.guards(place.base + 4095));
        assert!(!place.guards(place.base + 4096));
        assert_eq!(place.end(), 0x1000 + 2 * LAYOUT.slot);
        assert_eq!(find(0xfff), None);
        assert_eq!(find(0x1000 + 3 * LAYOUT.slot), None);
        remove(index);
        assert_eq!(find(0x1000 + LAYOUT.slot + 5), None);
    }
}
