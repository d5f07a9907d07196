//! Where one who waits for an item is handed it: in his own memory.
//!
//! ```text
//!   getter: Slot::new, its address into the line, unlock, park
//!   putter:                                          lock, take the address out of the line,
//!                                                    fill, unlock, wake
//!   getter: look  ->  the item, and no lock
//! ```
//!
//! So an item that somebody waits for costs two locks, not three. Whoever has the address has
//! taken it out of the line, and touches the slot once, to fill or to shut it: from then on it is
//! the getter's alone. A getter that leaves early looks under the lock: either its address is
//! still in the line, and is taken out, or the slot has been filled or shut.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const SHUT: u8 = 2;
const TAKEN: u8 = 3;

/// See the head of this file.
pub(super) struct Slot<T> {
    phase: AtomicU8,
    /// Written before the phase becomes FULL, read after.
    item: UnsafeCell<MaybeUninit<T>>,
}

/// What there is in a slot.
pub(super) enum Look<T> {
    Nothing,
    Item(T),
    /// There will be nothing.
    Shut,
}

impl<T> Slot<T> {
    #[inline]
    pub(super) fn new() -> Slot<T> {
        Slot {
            phase: AtomicU8::new(EMPTY),
            item: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// For one who is to fill it, or to shut it.
    ///
    /// # Safety
    /// There must be one at a time, and until it has been used or dropped, the slot must stay
    /// where it is.
    #[inline]
    pub(super) unsafe fn address(&self) -> Address<T> {
        Address(NonNull::from(self))
    }

    /// Takes out what there is.
    #[inline]
    pub(super) fn look(&self) -> Look<T> {
        match self.phase.load(Ordering::Acquire) {
            EMPTY => Look::Nothing,
            FULL => {
                self.phase.store(TAKEN, Ordering::Relaxed);
                // SAFETY: FULL says that the item has been written, and that who wrote it does not
                // come again. A slot is not `Sync`, so nobody else looks, and TAKEN says to later
                // looks that it is gone.
                Look::Item(unsafe { (*self.item.get()).assume_init_read() })
            }
            _ => Look::Shut,
        }
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.phase.load(Ordering::Acquire) == FULL
    }
}

impl<T> Drop for Slot<T> {
    #[inline]
    fn drop(&mut self) {
        if *self.phase.get_mut() == FULL {
            // SAFETY: FULL says that there is an item; it is not looked at again.
            unsafe { self.item.get_mut().assume_init_drop() }
        }
    }
}

/// Of a slot that nobody has filled yet.
pub(super) struct Address<T>(NonNull<Slot<T>>);

// SAFETY: it is good for handing a `T` to the thread that has the slot, for which `T: Send` is
// enough.
unsafe impl<T: Send> Send for Address<T> {}

impl<T> Address<T> {
    /// Hands an item over. Its owner may be gone as soon as this has begun to return.
    #[inline]
    pub(super) fn fill(self, item: T) {
        // SAFETY: the slot is there and nobody else writes to it: the word of who made the address.
        // Its owner does not read the item before the phase says so.
        unsafe {
            let slot = self.0.as_ref();
            (*slot.item.get()).write(item);
            slot.phase.store(FULL, Ordering::Release);
        }
    }

    /// Says that there will be nothing.
    pub(super) fn shut(self) {
        // SAFETY: as in `fill`.
        unsafe { self.0.as_ref().phase.store(SHUT, Ordering::Release) }
    }
}
