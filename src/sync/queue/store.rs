//! What all queues are made of: items in an order, and those who wait for them or for room.
//!
//! ```text
//!              +-------------------- State, under one Brief lock ---------------------+
//!    put ----> | order: the items          getters: wait for an item                  | ---> get
//!              | promised: of the items    putters: wait for room                     |
//!              | allotted: of the room     readable, writable: look on, take nothing  |
//!              +----------------------------------------------------------------------+
//! ```
//!
//! **Promises.** Items leave the order into the hands of who takes them. Whoever has waited longest
//! is *promised* one of them (or allotted room for his own) and woken; until he has come for it,
//! or has been killed and his promise was passed on, it is kept for him, and `spare` and `room`
//! are what is left for others. So between two holds of the lock:
//!
//! ```text
//!     somebody waits for an item  =>  every item is promised
//!     somebody waits for room     =>  all room is allotted
//! ```
//!
//! `settle` makes it so after each change. It is the reason why no wake is lost or stolen, and
//! why getters and putters are served in the order of their arrival. As both the items and the
//! lists change under the same lock, there is no race between "put, then look who waits" and
//! "come to wait, then look what there is", and no fence is needed; `tests.rs` goes through all
//! sequences of such steps.
//!
//! **Handing over.** An item that is put while a greenlet of the same hub waits for one, and that
//! needs no comparing, goes past the order and into its hands: see `slot`. It takes up no room.
//!
//! **Foreign code** (`Ord`, what a peek calls, `Drop`) never runs under the lock. For the first
//! two the whole order is *in hand*: taken out, and put back when they are done, have panicked
//! or been killed. Puts meanwhile go to `incoming`; who wants an item waits for the return.

use std::time::{Duration, Instant};

use super::brief::{Brief, Held};
use super::hand::{InHand, Promise, asked_from_within};
use super::order::Order;
use super::place::Line;
use super::slot::{Wish, hand_over};
use crate::cancel;
use crate::hub::with_hub;
use crate::sync::waitlist::{Notice, WaitList};
use crate::sys::clock;

/// The bound of what has none.
pub(in crate::sync) const UNBOUNDED: usize = usize::MAX;

/// How long somebody is willing to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    None,
    Until(u64),
    Endless,
}

impl Patience {
    pub(in crate::sync) fn of(limit: Duration) -> Patience {
        cancel::deadline_in(limit).map_or(Patience::Endless, Patience::Until)
    }

    pub(in crate::sync) fn until(deadline: Instant) -> Patience {
        Patience::Until(clock::ns_of(deadline))
    }

    pub(in crate::sync) fn deadline(self) -> Option<u64> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Endless => None,
        }
    }
}

/// Why there is nothing to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not within the patience.
    NotNow,
    Closed,
}

/// See the head of this file.
pub(in crate::sync) struct Store<O: Order> {
    state: Brief<State<O>>,
}

pub(super) struct State<O: Order> {
    pub(super) order: O,
    pub(super) hand: Option<InHand<O::Item>>,
    pub(super) bound: usize,
    pub(super) closed: bool,
    /// Closed at once: what was promised is gone as well.
    pub(super) drained: bool,
    /// Items that were put and of which nobody has said that they are done.
    pub(super) unfinished: usize,
    pub(super) promised: usize,
    pub(super) allotted: usize,
    pub(super) lists: Lists<O::Item>,
}

/// Who waits; where it says `bool`, whether they were allotted the room they wait for.
pub(super) struct Lists<T> {
    pub(super) getters: WaitList<Wish<T>>,
    pub(super) putters: WaitList<bool>,
    /// They wait for the order to be put back.
    pub(super) returns: WaitList,
    pub(super) joiners: WaitList,
    pub(super) readable: WaitList,
    pub(super) writable: WaitList,
}

impl<T> Default for Lists<T> {
    fn default() -> Lists<T> {
        Lists {
            getters: WaitList::new(),
            putters: WaitList::new(),
            returns: WaitList::new(),
            joiners: WaitList::new(),
            readable: WaitList::new(),
            writable: WaitList::new(),
        }
    }
}

impl<T> Lists<T> {
    #[inline]
    fn nobody_wants_items(&self) -> bool {
        self.getters.is_empty() && self.readable.is_empty()
    }

    #[inline]
    fn nobody_wants_room(&self) -> bool {
        self.putters.is_empty() && self.writable.is_empty()
    }
}

/// Those to be told when the lock is released: nearly always one, and then nothing is allocated.
#[derive(Default)]
pub(super) struct Notices {
    first: Option<Notice>,
    more: Vec<Notice>,
}

impl Notices {
    fn add(&mut self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            match self.first {
                None => self.first = Some(notice),
                Some(_) => self.more.push(notice),
            }
        }
    }

    pub(super) fn tell(self) {
        self.first.into_iter().for_each(Notice::tell);
        self.more.into_iter().for_each(Notice::tell);
    }
}

impl<O: Order> State<O> {
    pub(super) fn new(bound: usize) -> State<O> {
        State {
            order: O::default(),
            hand: None,
            bound,
            closed: false,
            drained: false,
            unfinished: 0,
            promised: 0,
            allotted: 0,
            lists: Lists::default(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.hand {
            None => self.order.len(),
            Some(hand) => hand.len(),
        }
    }

    /// Items that nobody was promised.
    #[inline]
    pub(super) fn spare(&self) -> usize {
        self.len().saturating_sub(self.promised)
    }

    #[inline]
    pub(super) fn room(&self) -> usize {
        self.bound
            .saturating_sub(self.len())
            .saturating_sub(self.allotted)
    }

    /// Will there never be anything again?
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.len() == 0
    }

    #[inline]
    pub(super) fn push(&mut self, item: O::Item) {
        self.unfinished += 1;
        match &mut self.hand {
            None => self.order.push(item),
            Some(hand) => hand.incoming.push(item),
        }
    }

    pub(super) fn give_promise_back(&mut self) {
        if !self.drained {
            self.promised -= 1;
        }
    }

    /// Gives everybody who waits what there is for him now; the head of this file says why.
    pub(super) fn serve(&mut self) -> Notices {
        let mut notices = Notices::default();
        self.serve_getters(&mut notices);
        self.serve_putters(&mut notices);
        if self.hand.is_none() {
            notices.add(self.lists.returns.grant_all());
        }
        if self.unfinished == 0 {
            notices.add(self.lists.joiners.grant_all());
        }
        notices
    }

    /// Takes an item in: hands it to who has waited longest, who is to be told, or adds it to the
    /// others, for which `serve_getters` is to follow.
    #[inline(always)]
    pub(super) fn accept(&mut self, item: O::Item) -> Option<Notice> {
        let mut item = item;
        if O::HANDS_OVER && !self.lists.getters.is_empty() && self.may_hand_over() {
            match hand_over(&mut self.lists.getters, item) {
                Ok(notice) => {
                    self.unfinished += 1;
                    return Some(notice);
                }
                Err(back) => item = back,
            }
        }
        self.push(item);
        None
    }

    /// Not while somebody has been promised an item, or has them in hand: he came earlier.
    #[inline(always)]
    fn may_hand_over(&self) -> bool {
        self.promised == 0 && self.hand.is_none()
    }

    /// Takes back an item that was handed over and not used; `Err` if it is to be dropped.
    pub(super) fn take_back(&mut self, item: O::Item) -> Result<(), O::Item> {
        if self.drained {
            self.unfinished = self.unfinished.saturating_sub(1);
            return Err(item);
        }
        match &mut self.hand {
            Some(hand) => hand.returned.push(item),
            None => self.order.unpop(item),
        }
        Ok(())
    }

    fn serve_getters(&mut self, notices: &mut Notices) {
        while self.spare() > 0 && self.hand.is_none() {
            let getter = self
                .lists
                .getters
                .grant_first_with(|wish| wish.promised = true);
            let Some(notice) = getter else { break };
            self.promised += 1;
            notices.add([notice]);
        }
        if self.is_over() {
            notices.add(self.lists.getters.grant_all());
        }
        if self.is_readable() && !self.lists.readable.is_empty() {
            notices.add(self.lists.readable.grant_all());
        }
    }

    fn serve_putters(&mut self, notices: &mut Notices) {
        if self.closed {
            let spare = self.spare();
            notices.add(self.order.refuse(spare));
            notices.add(self.lists.putters.grant_all());
        }
        while self.room() > 0 {
            let putter = self
                .lists
                .putters
                .grant_first_with(|allotted| *allotted = true);
            let Some(notice) = putter else { break };
            self.allotted += 1;
            notices.add([notice]);
        }
        if self.is_writable() && !self.lists.writable.is_empty() {
            notices.add(self.lists.writable.grant_all());
        }
    }

    /// Would a get return at once?
    pub(super) fn is_readable(&self) -> bool {
        self.spare() > 0 && self.hand.is_none() || self.is_over()
    }

    /// Would a put return at once, or as soon as the one who waits for it has come?
    pub(super) fn is_writable(&self) -> bool {
        let wanted = !O::RENDEZVOUS || !self.lists.getters.is_empty();
        self.closed || wanted && self.room() > 0
    }
}

impl<O: Order> Store<O> {
    pub(in crate::sync) fn new(bound: usize) -> Store<O> {
        Store {
            state: Brief::new(State::new(bound)),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> Held<'_, State<O>> {
        self.state.lock()
    }

    /// Releases the lock after a change, and tells those for whom it makes a difference.
    pub(super) fn settle(&self, mut state: Held<'_, State<O>>) {
        let notices = state.serve();
        drop(state);
        notices.tell();
    }

    /// Takes an item in, releases the lock, and tells those for whom it makes a difference.
    #[inline]
    fn accept(&self, mut state: Held<'_, State<O>>, item: O::Item) {
        match state.accept(item) {
            Some(notice) => self.settle_handed_over(state, notice),
            None if state.lists.nobody_wants_items() => {}
            None => self.settle(state),
        }
    }

    #[inline]
    fn settle_handed_over(&self, state: Held<'_, State<O>>, notice: Notice) {
        if state.lists.nobody_wants_room() {
            drop(state);
        } else {
            // It has gone past the room that was allotted for it.
            self.settle(state);
        }
        notice.tell();
    }

    /// As [`Store::settle`], when all that has changed is that there is one item less.
    #[inline]
    fn settle_get(&self, state: Held<'_, State<O>>) {
        if !state.lists.nobody_wants_room() || state.closed {
            self.settle(state);
        }
    }

    #[inline]
    pub(in crate::sync) fn put(
        &self,
        item: O::Item,
        patience: Patience,
    ) -> Result<(), (Refusal, O::Item)> {
        let state = self.lock();
        if state.room() > 0 && !state.closed {
            self.accept(state, item);
            return Ok(());
        }
        self.put_slowly(state, item, patience)
    }

    #[inline(never)]
    fn put_slowly(
        &self,
        state: Held<'_, State<O>>,
        item: O::Item,
        patience: Patience,
    ) -> Result<(), (Refusal, O::Item)> {
        let mut state = self.without_the_dead(state, Line::Putters, patience);
        if state.room() > 0 && !state.closed {
            self.accept(state, item);
            return Ok(());
        }
        if state.closed {
            return Err((Refusal::Closed, item));
        }
        if patience == Patience::None {
            return Err((Refusal::NotNow, item));
        }
        let key = state.lists.putters.push(false, Notice::to_me());
        drop(state);
        let mut state = match self.wait(Line::Putters, key, patience) {
            Ok(state) => state,
            Err(refusal) => return Err((refusal, item)),
        };
        state.allotted -= 1;
        if state.closed {
            return Err((Refusal::Closed, item));
        }
        self.accept(state, item);
        Ok(())
    }

    #[inline]
    pub(in crate::sync) fn get(&self, patience: Patience) -> Result<O::Item, Refusal> {
        let mut state = self.lock();
        if !O::COMPARES
            && state.hand.is_none()
            && state.spare() > 0
            && let Some(item) = state.order.pop()
        {
            self.settle_get(state);
            return Ok(item);
        }
        self.get_slowly(state, patience)
    }

    #[inline(never)]
    fn get_slowly<'a>(
        &'a self,
        state: Held<'a, State<O>>,
        patience: Patience,
    ) -> Result<O::Item, Refusal> {
        let waits = state.spare() == 0 && !state.is_over() && patience != Patience::None;
        if waits && state.hand.as_ref().is_some_and(InHand::is_mine) {
            drop(state);
            asked_from_within();
        }
        if O::HANDS_OVER && waits && with_hub(|hub| hub.is_some()) {
            return self.wait_for_item(state, patience);
        }
        let state = self.without_the_dead(state, Line::Getters, patience);
        let state = self.promise(state, patience)?;
        self.take_promised(state, patience)
    }

    /// Takes an item that was promised to the caller.
    pub(super) fn take_promised<'a>(
        &'a self,
        mut state: Held<'a, State<O>>,
        patience: Patience,
    ) -> Result<O::Item, Refusal> {
        if O::COMPARES || state.hand.is_some() || state.drained {
            drop(state);
            return Promise(self).get(patience);
        }
        state.promised -= 1;
        let item = state.order.pop();
        if state.lists.nobody_wants_items() {
            self.settle_get(state);
        } else {
            // Nothing could be handed over while there was a promise.
            self.settle(state);
        }
        item.ok_or(Refusal::Closed)
    }

    /// Calls `look` with the item that would be the next to come out.
    pub(in crate::sync) fn peek<R>(
        &self,
        patience: Patience,
        look: impl FnOnce(&O::Item) -> R,
    ) -> Result<R, Refusal> {
        let state = self.without_the_dead(self.lock(), Line::Getters, patience);
        drop(self.promise(state, patience)?);
        let mut hand = Promise(self).take_order(patience)?;
        hand.order.front().map(look).ok_or(Refusal::Closed)
    }

    /// Waits for an item to be promised to the caller, who is to keep count of it.
    #[inline(always)]
    fn promise<'a>(
        &'a self,
        mut state: Held<'a, State<O>>,
        patience: Patience,
    ) -> Result<Held<'a, State<O>>, Refusal> {
        if state.spare() > 0 {
            state.promised += 1;
            return Ok(state);
        }
        if state.is_over() {
            return Err(Refusal::Closed);
        }
        if patience == Patience::None {
            return Err(Refusal::NotNow);
        }
        if state.hand.as_ref().is_some_and(InHand::is_mine) {
            drop(state);
            asked_from_within();
        }
        let key = state.lists.getters.push(Wish::promise(), Notice::to_me());
        if O::RENDEZVOUS {
            self.settle(state);
        } else {
            drop(state);
        }
        self.wait(Line::Getters, key, patience)
    }

    pub(in crate::sync) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.settle(state);
    }

    /// Closes, and takes out what there is, to be dropped by the caller.
    pub(in crate::sync) fn drain(&self) -> Vec<O::Item> {
        let mut state = self.lock();
        state.closed = true;
        state.drained = true;
        state.promised = 0;
        let refused = state.order.refuse(usize::MAX);
        let mut items = state.order.drain();
        if let Some(hand) = &mut state.hand {
            // The rest goes when it is put back.
            items.append(&mut hand.returned);
            items.append(&mut hand.incoming);
        }
        state.unfinished -= items.len().min(state.unfinished);
        self.settle(state);
        refused.into_iter().for_each(Notice::tell);
        items
    }

    pub(in crate::sync) fn resize(&self, bound: usize) {
        let mut state = self.lock();
        state.bound = bound;
        self.settle(state);
    }

    pub(in crate::sync) fn bound(&self) -> usize {
        self.lock().bound
    }

    pub(in crate::sync) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(in crate::sync) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(in crate::sync) fn is_full(&self) -> bool {
        self.lock().room() == 0
    }

    /// Those who wait for an item and those who wait for room.
    pub(in crate::sync) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.lists.getters.len(), state.lists.putters.len())
    }
}
