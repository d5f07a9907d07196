//! Where one who waits for an item is handed it: in his own frame.
//!
//! ```text
//!   getter: Slot::new, its address into the line, unlock, park
//!   putter, on the same hub:                        lock, take the address out of the line,
//!                                                   fill, unlock, wake
//!   getter: look  ->  the item, and no lock
//! ```
//!
//! So an item that somebody waits for costs two locks, not three. Only greenlets of one hub do it
//! this way, so all of this is seen by one OS thread. What comes from elsewhere is promised: then
//! it stays in the queue until its getter has come, for the getter's OS thread may end before.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::sync::waitlist::{Notice, WaitList};

/// See the head of this file.
pub(super) struct Slot<T>(Cell<Option<T>>);

impl<T> Slot<T> {
    #[inline]
    pub(super) fn new() -> Slot<T> {
        Slot(Cell::new(None))
    }

    /// For one who is to fill it.
    ///
    /// # Safety
    /// Until it has been used or dropped, the slot must stay where it is.
    #[inline]
    pub(super) unsafe fn address(&self) -> Address<T> {
        Address(NonNull::from(self))
    }

    /// Takes out what there is.
    #[inline]
    pub(super) fn take(&self) -> Option<T> {
        self.0.take()
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        let item = self.0.take();
        let full = item.is_some();
        self.0.set(item);
        full
    }
}

/// Of a slot that nobody has filled yet.
pub(super) struct Address<T>(NonNull<Slot<T>>);

// SAFETY: other threads only carry it, and drop it; see `hand_over`.
unsafe impl<T: Send> Send for Address<T> {}

/// How somebody is given his item. In two words, as a [`Notice`] is, and for the same reason.
pub(super) struct Wish<T> {
    /// Where he may be handed it, and is out of the line then.
    pub(super) slot: Option<Address<T>>,
    /// Whether one is kept for him, to come for.
    pub(super) promised: bool,
}

impl<T> Wish<T> {
    /// To be promised one.
    pub(super) fn promise() -> Wish<T> {
        Wish {
            slot: None,
            promised: false,
        }
    }

    #[inline]
    pub(super) fn slot(address: Address<T>) -> Wish<T> {
        Wish {
            slot: Some(address),
            promised: false,
        }
    }
}

/// Hands an item to who waits for one with a slot, is the first in the line, and is a greenlet of
/// this hub; he is to be told.
#[inline(always)]
pub(super) fn hand_over<T>(getters: &mut WaitList<Wish<T>>, item: T) -> Result<Notice, T> {
    let first = getters.first_of_this_hub();
    if first.is_some_and(|wish| wish.slot.is_some())
        && let Some((wish, notice)) = getters.take_first()
        && let Some(Address(slot)) = wish.slot
    {
        // SAFETY: the slot is there: the word of who made the address. It is in the frame of a
        // greenlet of this hub, so on this OS thread, which does nothing else meanwhile.
        unsafe { slot.as_ref().0.set(Some(item)) };
        return Ok(notice);
    }
    Err(item)
}
