//! The order of a queue in somebody's hand: for the time that foreign code runs on it.
//!
//! ```text
//!   Promise --take_order--> Hand    look, or compare and take    --drop--> put back, settled
//!              waits while another has it                  (also by a panic or a kill)
//! ```
//!
//! No lock is held meanwhile: puts go to `incoming` and are added when the order comes back; who
//! wants an item waits in `returns`. Who asks for one from within would wait for himself, and
//! panics.

use super::brief::Held;
use super::order::Order;
use super::store::{Patience, Refusal, State, Store};
use crate::hub::owner;
use crate::sync::waiting::{self, Home};
use crate::sync::waitlist::{Notice, WaitList};
use crate::sys::report;

/// The order is not in its queue.
pub(super) struct InHand<T> {
    /// Whose code looks: see `hub::owner`.
    by: u64,
    /// Items in it.
    pub(super) out: usize,
    /// What was put meanwhile.
    pub(super) incoming: Vec<T>,
    /// What was taken before and has come back unused meanwhile.
    pub(super) returned: Vec<T>,
}

impl<T> InHand<T> {
    pub(super) fn len(&self) -> usize {
        self.out + self.incoming.len() + self.returned.len()
    }

    /// Whether the caller is the code that looks: to wait for the return is to wait for itself.
    pub(super) fn is_mine(&self) -> bool {
        self.by == owner::current()
    }
}

/// To be called without the lock: the panic hook is foreign code.
#[cold]
pub(super) fn asked_from_within() -> ! {
    panic!("a queue was asked for an item from within its own `peek` or `Ord`");
}

/// The right to one item.
pub(super) struct Promise<'a, O: Order>(pub(super) &'a Store<O>);

impl<'a, O: Order> Promise<'a, O> {
    /// Takes the item that was promised, comparing if need be.
    pub(super) fn get(self, patience: Patience) -> Result<O::Item, Refusal> {
        let store = self.0;
        let item = if O::COMPARES {
            let mut hand = self.take_order(patience)?;
            hand.order.pop()
        } else {
            let mut state = self.redeem(patience)?;
            let item = state.order.pop();
            store.settle(state);
            item
        };
        item.ok_or(Refusal::Closed)
    }

    /// Waits until nobody has the order in hand, and gives the promise up for what is returned.
    fn redeem(self, patience: Patience) -> Result<Held<'a, State<O>>, Refusal> {
        let store = self.0;
        loop {
            let mut state = store.lock();
            let Some(hand) = &state.hand else {
                if state.drained {
                    drop(state);
                    return Err(Refusal::Closed);
                }
                state.promised -= 1;
                std::mem::forget(self);
                return Ok(state);
            };
            if hand.is_mine() {
                drop(state);
                asked_from_within();
            }
            let key = state.lists.returns.push((), Notice::to_me());
            drop(state);
            let what = "another look into a queue to end";
            let home = Returns(store);
            if waiting::wait(&home, key, what, patience.deadline()).is_err() {
                return Err(Refusal::NotNow);
            }
        }
    }

    /// Takes the whole order, to run foreign code on it without a lock.
    pub(super) fn take_order(self, patience: Patience) -> Result<Hand<'a, O>, Refusal> {
        let store = self.0;
        let mut state = self.redeem(patience)?;
        state.promised += 1;
        state.hand = Some(InHand {
            by: owner::current(),
            out: state.order.len(),
            incoming: Vec::new(),
            returned: Vec::new(),
        });
        let order = std::mem::take(&mut state.order);
        Ok(Hand { store, order })
    }
}

impl<O: Order> Drop for Promise<'_, O> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.give_promise_back();
        self.0.settle(state);
    }
}

/// The order of a queue, taken out, with the promise of one item; put back when dropped.
pub(super) struct Hand<'a, O: Order> {
    store: &'a Store<O>,
    pub(super) order: O,
}

impl<O: Order> Drop for Hand<'_, O> {
    fn drop(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        let mut state = self.store.lock();
        state.give_promise_back();
        let hand = state.hand.take();
        if state.drained {
            state.unfinished -= order.len().min(state.unfinished);
            self.store.settle(state);
            let returned = hand.into_iter();
            let returned = returned.flat_map(|hand| hand.returned.into_iter().chain(hand.incoming));
            return report::drop_foreign("an item", order.drain().into_iter().chain(returned));
        }
        if let Some(hand) = hand {
            hand.returned.into_iter().for_each(|item| order.unpop(item));
            hand.incoming.into_iter().for_each(|item| order.push(item));
        }
        state.order = order;
        self.store.settle(state);
    }
}

struct Returns<'a, O: Order>(&'a Store<O>);

impl<O: Order> Home for Returns<'_, O> {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.0.lock().lists.returns)
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}
