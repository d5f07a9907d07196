//! A place in the line for an item or for room, and the wait in it.
//!
//! As `sync::waiting`, but with the lock handed on: who is woken takes his place out of the line
//! and what he was promised out of the queue in one go. Who is handed an item needs no lock at
//! all. A lock is a tenth of what it costs to hand an item to another greenlet.

use super::brief::Held;
use super::order::Order;
use super::slot::{Slot, Wish};
use super::store::{Patience, Refusal, State, Store};
use crate::cancel;
use crate::hub::{Why, ended};
use crate::sync::waitlist::{Buried, Key, Notice, WaitList};
use crate::sys::report;

const AN_ITEM: Why = Why::Shared("an item from a queue");
const ROOM: Why = Why::Shared("room in a queue");

/// What somebody waits for.
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

    /// Takes back what somebody in this line was promised.
    fn take_back<O: Order>(self, state: &mut State<O>) {
        match self {
            Line::Getters => state.give_promise_back(),
            Line::Putters => state.allotted -= 1,
        }
    }

    /// Takes those out who never run again, and takes back what they were promised; false if there
    /// were none. Whoever has just come looks only if there is a promise that was not used yet.
    fn bury<O: Order>(self, state: &mut State<O>, woken: bool) -> bool {
        fn bury<P>(list: &mut WaitList<P>, woken: bool) -> Option<Buried<P>> {
            (woken || list.is_any_granted()).then(|| list.bury())
        }
        let (promised, any) = match self {
            Line::Getters => match bury(&mut state.lists.getters, woken) {
                None => return false,
                Some(Buried { granted, ungranted }) => (
                    granted.iter().filter(|wish| wish.promised).count(),
                    ungranted || !granted.is_empty(),
                ),
            },
            Line::Putters => match bury(&mut state.lists.putters, woken) {
                None => return false,
                Some(Buried { granted, ungranted }) => (
                    granted.iter().filter(|allotted| **allotted).count(),
                    ungranted || !granted.is_empty(),
                ),
            },
        };
        (0..promised).for_each(|_| self.take_back(state));
        any
    }
}

impl<O: Order> Store<O> {
    /// Gets into the line for an item, of which there is none to spare, and parks until one has
    /// been handed over or promised. To be called with the lock held, on a hub.
    #[inline(always)]
    pub(super) fn wait_for_item(
        &self,
        mut state: Held<'_, State<O>>,
        patience: Patience,
    ) -> Result<O::Item, Refusal> {
        let slot = Slot::new();
        // SAFETY: `place` keeps the slot where it is: it is dropped first, and by then the address
        // has been used, or it takes it out of the line.
        let wish = Wish::slot(unsafe { slot.address() });
        let key = state.lists.getters.push(wish, Notice::to_me());
        let mut place = Place {
            store: self,
            line: Line::Getters,
            slot: Some(&slot),
            key: Some(key),
        };
        drop(state);
        let deadline = patience.deadline();
        let is_late = || deadline.is_some_and(|deadline| deadline <= cancel::now());
        let (mut late, mut woken) = (is_late(), false);
        loop {
            // What comes between the lock and this park wakes it at once.
            if !late {
                if !(ended::is_any() && self.take_over(Line::Getters, woken)) {
                    cancel::park_on_here(AN_ITEM, deadline);
                }
                (late, woken) = (is_late(), true);
            }
            if let Some(item) = slot.take() {
                place.key = None;
                return Ok(item);
            }
            if let Some(outcome) = place.come_for_item(late, patience) {
                return outcome;
            }
        }
    }

    /// Parks whoever runs, whose notice stands under `key`, until he is promised what he waits
    /// for; the lock is held then, and the promise is still counted.
    pub(super) fn wait(
        &self,
        line: Line,
        key: Key,
        patience: Patience,
    ) -> Result<Held<'_, State<O>>, Refusal> {
        let mut place = Place {
            store: self,
            line,
            slot: None,
            key: Some(key),
        };
        let _enlisted = ended::Enlisted::if_without_a_hub();
        let why = match line {
            Line::Getters => AN_ITEM,
            Line::Putters => ROOM,
        };
        let deadline = patience.deadline();
        let is_late = || deadline.is_some_and(|deadline| deadline <= cancel::now());
        let (mut late, mut woken) = (is_late(), false);
        loop {
            // As above.
            if !late {
                if !(ended::is_any() && self.take_over(line, woken)) {
                    cancel::park_on(why, deadline);
                }
                (late, woken) = (is_late(), true);
            }
            if let Some(outcome) = place.leave_if_granted_or(late) {
                return outcome;
            }
        }
    }

    /// For who does not wait: what those were promised who never run again is free first.
    #[inline]
    pub(super) fn without_the_dead<'a>(
        &'a self,
        state: Held<'a, State<O>>,
        line: Line,
        patience: Patience,
    ) -> Held<'a, State<O>> {
        if patience != Patience::None || !ended::is_any() {
            return state;
        }
        drop(state);
        self.take_over(line, false);
        self.lock()
    }

    /// As `waiting::take_over`.
    #[cold]
    fn take_over(&self, line: Line, woken: bool) -> bool {
        let mut state = self.lock();
        let any = line.bury(&mut state, woken);
        if any {
            self.settle(state);
        }
        any
    }
}

/// Given up when the wait is unwound: what was promised or handed over goes to the next.
struct Place<'a, O: Order> {
    store: &'a Store<O>,
    line: Line,
    /// Where an item may be handed over.
    slot: Option<&'a Slot<O::Item>>,
    /// `None` when it has been left; not to be used when the slot has been filled.
    key: Option<Key>,
}

impl<'a, O: Order> Place<'a, O> {
    /// Leaves the line, with the lock, if the wait is over.
    fn leave_if_granted_or(&mut self, late: bool) -> Option<Result<Held<'a, State<O>>, Refusal>> {
        let (store, line) = (self.store, self.line);
        let mut state = store.lock();
        let granted = |key: &mut Key| late || line.is_granted(&state, key);
        let key = self.key.take_if(granted)?;
        Some(match line.leave(&mut state, key) {
            Left::Promised => Ok(state),
            Left::InVain => Err(Refusal::Closed),
            Left::Early => Err(Refusal::NotNow),
        })
    }

    /// Takes the item that was promised, if the wait is over.
    #[inline(never)]
    fn come_for_item(
        &mut self,
        late: bool,
        patience: Patience,
    ) -> Option<Result<O::Item, Refusal>> {
        let outcome = self.leave_if_granted_or(late)?;
        Some(outcome.and_then(|state| self.store.take_promised(state, patience)))
    }

    #[cold]
    fn give_up(&self, key: Key) {
        let handed_over = self.slot.and_then(Slot::take);
        let mut state = self.store.lock();
        let unwanted = match handed_over {
            Some(item) => state.take_back(item).err(),
            None => {
                if let Left::Promised = self.line.leave(&mut state, key) {
                    self.line.take_back(&mut state);
                }
                None
            }
        };
        self.store.settle(state);
        report::drop_foreign("an item", unwanted);
    }
}

impl<O: Order> Drop for Place<'_, O> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.give_up(key);
        }
    }
}
