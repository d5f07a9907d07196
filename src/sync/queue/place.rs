//! A place in the line for an item or for room, and the wait in it.
//!
//! As `sync::waiting`, but with the lock handed on: who is woken takes his place out of the line
//! and what he was promised out of the queue in one go. A lock is a tenth of what it costs to hand
//! an item to another greenlet.

use super::brief::Held;
use super::order::Order;
use super::store::{Patience, Refusal, State, Store};
use crate::cancel;
use crate::hub::{Help, Why, ended};
use crate::sync::waitlist::{Buried, Key, WaitList};

/// What somebody waits for.
#[derive(Clone, Copy)]
pub(super) enum Line {
    Getters,
    Putters,
}

impl Line {
    fn of<O: Order>(self, state: &mut State<O>) -> &mut WaitList<bool> {
        match self {
            Line::Getters => &mut state.lists.getters,
            Line::Putters => &mut state.lists.putters,
        }
    }

    /// Takes back what somebody in this line was promised.
    fn take_back<O: Order>(self, state: &mut State<O>) {
        match self {
            Line::Getters => state.give_promise_back(),
            Line::Putters => state.allotted -= 1,
        }
    }

    fn why(self) -> Why {
        Why::Helper(match self {
            Line::Getters => "an item from a queue",
            Line::Putters => "room in a queue",
        })
    }
}

impl<O: Order> Store<O> {
    /// Parks whoever runs, whose notice stands under `key`, until he is promised what he waits
    /// for; the lock is held then, and the promise is still counted.
    #[inline(always)]
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
        let _help = Help::is_possible();
        let deadline = patience.deadline();
        let is_late = || deadline.is_some_and(|deadline| deadline <= cancel::now());
        let mut late = is_late();
        let mut woken = false;
        loop {
            // What comes between the lock and this park wakes it at once.
            if !late {
                if !(ended::is_any() && self.take_over(line, woken)) {
                    cancel::park_on(line.why(), deadline);
                }
                (late, woken) = (is_late(), true);
            }
            let mut state = self.lock();
            let list = line.of(&mut state);
            if let Some(key) = place.key.take_if(|key| late || list.is_granted(key)) {
                let left = list.remove(key);
                return match (left.granted, left.payload) {
                    (true, true) => Ok(state),
                    (true, false) => Err(Refusal::Closed),
                    (false, _) => Err(Refusal::NotNow),
                };
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
        let list = line.of(&mut state);
        if !woken && !list.is_any_granted() {
            return false;
        }
        let Buried { granted, ungranted } = list.bury();
        let promised = granted.iter().filter(|promised| **promised);
        promised.for_each(|_| line.take_back(&mut state));
        self.settle(state);
        ungranted || !granted.is_empty()
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
        let left = self.line.of(&mut state).remove(key);
        if left.granted && left.payload {
            self.line.take_back(&mut state);
            self.store.settle(state);
        }
    }
}
