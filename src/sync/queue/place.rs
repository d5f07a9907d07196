//! A place in the line for an item or for room, and the wait in it.
//!
//! As `sync::waiting`, but whoever is handed an item does not come for it again, and whoever is
//! promised something takes his place out of the line and what he was promised out of the queue
//! in one go. A lock is a tenth of what it costs to hand an item to another greenlet.

use super::brief::Held;
use super::order::Order;
use super::slot::{Look, Slot};
use super::store::{Patience, Refusal, State, Store, Wish};
use crate::cancel;
use crate::hub::Why;
use crate::sync::waitlist::{Key, Notice};

const AN_ITEM: Why = Why::Shared("an item from a queue");
const ROOM: Why = Why::Shared("room in a queue");

impl<O: Order> Store<O> {
    /// Gets into the line for an item, of which there is none to spare, and parks until one has
    /// been handed over. To be called with the lock held.
    #[inline(always)]
    pub(super) fn wait_for_item(
        &self,
        mut state: Held<'_, State<O>>,
        patience: Patience,
    ) -> Result<O::Item, Refusal> {
        let slot = Slot::new();
        // SAFETY: `awaiting` keeps the slot where it is: it is dropped first, and by then the
        // address has been used, or it takes it out of the line.
        let wish = Wish::slot(unsafe { slot.address() });
        let key = state.lists.getters.push(wish, Notice::to_me());
        let mut awaiting = Awaiting {
            store: self,
            slot: &slot,
            key: Some(key),
        };
        drop(state);
        let deadline = patience.deadline();
        let is_late = || deadline.is_some_and(|deadline| deadline <= cancel::now());
        // What comes between the lock and this park wakes it at once.
        while !is_late() {
            cancel::park_on_here(AN_ITEM, deadline);
            if let Some(outcome) = awaiting.look() {
                return outcome;
            }
        }
        awaiting.give_up()
    }

    /// Parks whoever runs, whose notice stands under `key` in the line that `line` shows, until he
    /// is promised what he waits for; the lock is held then, and the promise is still counted.
    pub(super) fn wait(
        &self,
        line: Line,
        key: Key,
        patience: Patience,
    ) -> Result<Held<'_, State<O>>, Refusal> {
        let mut place = Place {
            store: self,
            line,
            key: Some(key),
        };
        let deadline = patience.deadline();
        let is_late = || deadline.is_some_and(|deadline| deadline <= cancel::now());
        let mut late = is_late();
        loop {
            if !late {
                cancel::park_on(line.why(), deadline);
                late = is_late();
            }
            let mut state = self.lock();
            let granted = |key: &mut Key| late || line.is_granted(&state, key);
            if let Some(key) = place.key.take_if(granted) {
                return match line.leave(&mut state, key) {
                    Left::Promised => Ok(state),
                    Left::InVain => Err(Refusal::Closed),
                    Left::Early => Err(Refusal::NotNow),
                };
            }
        }
    }
}

/// One who waits to be handed an item. Given up when the wait is unwound.
struct Awaiting<'a, O: Order> {
    store: &'a Store<O>,
    slot: &'a Slot<O::Item>,
    /// Its place in the line, as far as it knows.
    key: Option<Key>,
}

impl<O: Order> Awaiting<'_, O> {
    /// What has become of the wait, if that is known.
    #[inline(always)]
    fn look(&mut self) -> Option<Result<O::Item, Refusal>> {
        let outcome = match self.slot.look() {
            Look::Nothing => return None,
            Look::Item(item) => Ok(item),
            Look::Shut => Err(Refusal::Closed),
        };
        self.key = None;
        Some(outcome)
    }

    /// Leaves the line, or finds that the wait is over.
    #[cold]
    fn give_up(&mut self) -> Result<O::Item, Refusal> {
        let mut state = self.store.lock();
        if let Some(outcome) = self.look() {
            return outcome;
        }
        if let Some(key) = self.key.take() {
            drop(state.lists.getters.take(key));
        }
        Err(Refusal::NotNow)
    }

    /// As [`Awaiting::give_up`], by one who can't use what he was handed any more.
    #[cold]
    fn unwind(&mut self) {
        let Ok(item) = self.give_up() else { return };
        let mut state = self.store.lock();
        let unwanted = state.take_back(item);
        self.store.settle(state);
        drop(unwanted);
    }
}

impl<O: Order> Drop for Awaiting<'_, O> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.key.is_some() {
            self.unwind();
        }
    }
}

/// What somebody waits to be promised.
#[derive(Clone, Copy)]
pub(super) enum Line {
    Getters,
    Putters,
}

/// How somebody has left a line.
enum Left {
    Promised,
    /// He was told that there will be nothing.
    InVain,
    /// He was told nothing.
    Early,
}

impl Line {
    fn why(self) -> Why {
        match self {
            Line::Getters => AN_ITEM,
            Line::Putters => ROOM,
        }
    }

    fn is_granted<O: Order>(self, state: &State<O>, key: &Key) -> bool {
        match self {
            Line::Getters => state.lists.getters.is_granted(key),
            Line::Putters => state.lists.putters.is_granted(key),
        }
    }

    fn leave<O: Order>(self, state: &mut State<O>, key: Key) -> Left {
        let (granted, promised) = match self {
            Line::Getters => {
                let left = state.lists.getters.remove(key);
                (left.granted, left.payload.promised)
            }
            Line::Putters => {
                let left = state.lists.putters.remove(key);
                (left.granted, left.payload)
            }
        };
        match (granted, promised) {
            (true, true) => Left::Promised,
            (true, false) => Left::InVain,
            (false, _) => Left::Early,
        }
    }
}

/// Given up when the wait is unwound: what was promised goes to the next.
struct Place<'a, O: Order> {
    store: &'a Store<O>,
    line: Line,
    key: Option<Key>,
}

impl<O: Order> Drop for Place<'_, O> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut state = self.store.lock();
        if let Left::Promised = self.line.leave(&mut state, key) {
            match self.line {
                Line::Getters => state.give_promise_back(),
                Line::Putters => state.allotted -= 1,
            }
            self.store.settle(state);
        }
    }
}
