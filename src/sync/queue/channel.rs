//! From hand to hand: a put is over when somebody has taken the item.
//!
//! ```text
//!   put:  offer the item under a ticket, park until
//!           - it is gone: taken
//!           - it was refused: the channel is closed, the item comes back
//!           - the time is up or a kill comes: withdraw it, if no getter is on his way for it;
//!             else let it be, which is as good as taken
//! ```
//!
//! The getters' side is that of every queue (see `store`): a getter who waits is promised an
//! offer and woken. A put that does not wait leaves an offer nobody stands by, which it does only
//! when a getter waits who can be promised it. Should he be killed on his way, the offer stays
//! for the next.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::access::{AnyQueue, Side, sealed::Access};
use super::ends::{Getter, Putter, ends};
use super::error::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use super::iter::{QueueIter, QueueTryIter};
use super::order::Order;
use super::store::{Patience, Refusal, Store, UNBOUNDED};
use super::watch::Room;
use crate::cancel;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
use crate::hub::Why;
use crate::sync::waitlist::Notice;

/// A channel without room: an item goes from hand to hand. [`put`](Channel::put) returns when
/// the item has been taken, [`get`](Channel::get) when one is offered.
///
/// For greenlets on any hub and for plain OS threads. Putters and getters are served in the order
/// of their arrival.
///
/// # Examples
/// ```
/// use greenroom::sync::Channel;
/// use std::sync::Arc;
///
/// let channel = Arc::new(Channel::new());
/// let theirs = Arc::clone(&channel);
/// let putter = greenroom::spawn(move || theirs.put("from hand to hand"));
/// greenroom::yield_now();
/// assert!(!putter.is_finished());
/// assert_eq!(channel.get(), Ok("from hand to hand"));
/// putter.join().unwrap().unwrap();
/// ```
#[doc(alias("rendezvous", "unbuffered", "handshake"))]
pub struct Channel<T> {
    store: Store<Offers<T>>,
}

/// What is offered, by ticket: the oldest first.
struct Offers<T> {
    offers: BTreeMap<u64, Offer<T>>,
    /// Offers that the close came upon, for those who made them to take back.
    refused: BTreeMap<u64, T>,
    tickets: u64,
}

struct Offer<T> {
    item: T,
    /// Who stands by it.
    putter: Option<Notice>,
}

impl<T> Default for Offers<T> {
    fn default() -> Offers<T> {
        Offers {
            offers: BTreeMap::new(),
            refused: BTreeMap::new(),
            tickets: 0,
        }
    }
}

impl<T> Order for Offers<T> {
    type Item = Offer<T>;

    const RENDEZVOUS: bool = true;

    fn push(&mut self, offer: Offer<T>) {
        self.offers.insert(self.tickets, offer);
        self.tickets += 1;
    }

    fn pop(&mut self) -> Option<Offer<T>> {
        self.offers.pop_first().map(|(_, offer)| offer)
    }

    fn front(&mut self) -> Option<&Offer<T>> {
        self.offers.first_key_value().map(|(_, offer)| offer)
    }

    fn len(&self) -> usize {
        self.offers.len()
    }

    fn drain(&mut self) -> Vec<Offer<T>> {
        std::mem::take(&mut self.offers).into_values().collect()
    }

    fn refuse(&mut self, count: usize) -> Vec<Notice> {
        // The latest: what was promised are the earliest.
        let stood_by = self.offers.iter().rev();
        let stood_by = stood_by.filter(|(_, offer)| offer.putter.is_some());
        let mut tickets: Vec<u64> = stood_by.map(|(ticket, _)| *ticket).take(count).collect();
        tickets.reverse();
        let refused = tickets.into_iter().filter_map(|ticket| {
            let offer = self.offers.remove(&ticket)?;
            self.refused.insert(ticket, offer.item);
            offer.putter
        });
        refused.collect()
    }
}

impl<T> Channel<T> {
    /// A channel.
    pub fn new() -> Channel<T> {
        Channel {
            store: Store::new(UNBOUNDED),
        }
    }

    /// Offers an item until somebody takes it.
    ///
    /// # Errors
    /// When the channel is closed, also meanwhile: the item comes back.
    ///
    /// # Panics
    /// In the root, when nothing is left that could take it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until the item is taken. A kill or a timeout unwinds, and the item is withdrawn and
    /// dropped; but not if a getter has been woken for it already, who gets it then.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_in(item, Patience::Endless).map_err(PutError::new)
    }

    /// Hands an item over if somebody waits for one.
    ///
    /// Should he be killed before he runs, the next one gets it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Channel, TryPutError};
    /// use std::sync::Arc;
    /// let channel = Arc::new(Channel::new());
    /// assert_eq!(channel.try_put(1), Err(TryPutError::Full(1)));
    /// let theirs = Arc::clone(&channel);
    /// let getter = greenroom::spawn(move || theirs.get());
    /// greenroom::yield_now();
    /// assert_eq!(channel.try_put(2), Ok(()));
    /// assert_eq!(getter.join().unwrap(), Ok(2));
    /// ```
    ///
    /// # Errors
    /// When nobody waits, or the channel is closed: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        self.put_in(item, Patience::None).map_err(TryPutError::new)
    }

    /// As [`put`](Channel::put), for at most `limit`.
    ///
    /// # Errors
    /// When nobody took the item in time, or the channel is closed: the item comes back.
    ///
    /// # Panics
    /// As [`put`](Channel::put), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`put`](Channel::put), and no longer than `limit`.
    pub fn put_timeout(&self, item: T, limit: Duration) -> Result<(), PutTimeoutError<T>> {
        self.put_in(item, Patience::of(limit))
            .map_err(PutTimeoutError::new)
    }

    /// Takes the item that has been offered for longest, or waits for one.
    ///
    /// # Errors
    /// When the channel is closed, also meanwhile.
    ///
    /// # Panics
    /// In the root, when nothing is left that could offer one.
    ///
    /// # Parks
    /// Until an item is offered. A kill or a timeout unwinds and takes nothing.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_out(Patience::Endless).map_err(GetError::new)
    }

    /// Takes the item that has been offered for longest, if there is one.
    ///
    /// # Errors
    /// When nothing is offered that is not kept for another; whether there may be something later
    /// is told by the error.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_get(&self) -> Result<T, TryGetError> {
        self.get_out(Patience::None).map_err(TryGetError::new)
    }

    /// As [`get`](Channel::get), for at most `limit`.
    ///
    /// # Errors
    /// When nothing was offered in time, or the channel is closed.
    ///
    /// # Panics
    /// As [`get`](Channel::get), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`get`](Channel::get), and no longer than `limit`.
    pub fn get_timeout(&self, limit: Duration) -> Result<T, GetTimeoutError> {
        self.get_out(Patience::of(limit))
            .map_err(GetTimeoutError::new)
    }

    /// Takes one item after the other, until the channel is closed.
    ///
    /// # Parks
    /// The iteration does, as [`get`](Channel::get).
    pub fn iter(&self) -> QueueIter<'_, Channel<T>> {
        QueueIter::new(self)
    }

    /// Takes one item after the other, until none is offered.
    pub fn try_iter(&self) -> QueueTryIter<'_, Channel<T>> {
        QueueTryIter::new(self)
    }

    /// How many more wait to put than to get; negative when it is the other way round.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(greenroom::sync::Channel::<u8>::new().balance(), 0);
    /// ```
    pub fn balance(&self) -> isize {
        let state = self.store.lock();
        let (putters, getters) = (state.order.len(), state.lists.getters.len());
        putters as isize - getters as isize
    }

    /// Always 0: nothing is ever in between. What is offered is told by
    /// [`balance`](Channel::balance).
    pub fn len(&self) -> usize {
        0
    }

    /// Always true.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Always true.
    pub fn is_full(&self) -> bool {
        true
    }

    /// Always 0.
    pub fn capacity(&self) -> Option<usize> {
        Some(0)
    }

    /// Closes the channel: those who wait to put get their items back, and those who wait to get
    /// are told that there is none.
    ///
    /// # Parks
    /// Never.
    pub fn close(&self) {
        self.store.close();
    }

    /// Closes the channel; if `immediate`, also returns what was handed over to getters that have
    /// not run yet, who then get none.
    ///
    /// # Parks
    /// Never.
    pub fn shutdown(&self, immediate: bool) -> Vec<T> {
        if immediate {
            return self.end_now();
        }
        self.close();
        Vec::new()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.store.is_closed()
    }

    /// Ready when somebody waits for an item, to be [waited for](crate::wait_any) among other
    /// things. The channel itself is ready when an item is offered.
    pub fn room(&self) -> Room<'_, Channel<T>> {
        Room::new(self)
    }

    /// Two ends of this channel, each of which can be cloned: it is closed when the last of
    /// either is dropped.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Channel, PutError};
    /// let (putter, getter) = Channel::new().into_ends();
    /// drop(getter);
    /// assert_eq!(putter.put(1), Err(PutError(1)));
    /// ```
    pub fn into_ends(self) -> (Putter<Channel<T>>, Getter<Channel<T>>) {
        ends(self)
    }

    fn offer(&self, item: T, patience: Patience) -> Result<(), (Refusal, T)> {
        let mut state = self.store.lock();
        if state.closed {
            return Err((Refusal::Closed, item));
        }
        let ticket = state.order.tickets;
        let waits = patience != Patience::None;
        if !waits && state.lists.getters.first_mut().is_none() {
            return Err((Refusal::NotNow, item));
        }
        let putter = waits.then(Notice::to_me);
        state.push(Offer { item, putter });
        self.store.settle(state);
        if !waits {
            return Ok(());
        }
        let offering = Offering {
            channel: self,
            ticket,
        };
        offering.stand_by(patience.deadline())
    }

    /// Takes an offer back, if nobody is on his way for it.
    fn withdraw(&self, ticket: u64) -> Withdrawn<T> {
        let mut state = self.store.lock();
        if let Some(item) = state.order.refused.remove(&ticket) {
            return Withdrawn::Refused(item);
        }
        if state.spare() == 0 {
            if let Some(offer) = state.order.offers.get_mut(&ticket) {
                offer.putter = None;
            }
            return Withdrawn::Taken;
        }
        match state.order.offers.remove(&ticket) {
            Some(offer) => Withdrawn::Back(offer.item),
            None => Withdrawn::Taken,
        }
    }

    fn stands(&self, ticket: u64) -> bool {
        self.store.lock().order.offers.contains_key(&ticket)
    }
}

enum Withdrawn<T> {
    Back(T),
    Refused(T),
    /// Or as good as taken.
    Taken,
}

/// An offer, withdrawn when the wait for somebody to take it is unwound.
struct Offering<'a, T> {
    channel: &'a Channel<T>,
    ticket: u64,
}

impl<T> Offering<'_, T> {
    fn stand_by(self, deadline: Option<u64>) -> Result<(), (Refusal, T)> {
        let mut late = false;
        while !late && self.channel.stands(self.ticket) {
            cancel::park_on(Why::Shared("somebody to take an item"), deadline);
            late = deadline.is_some_and(|deadline| deadline <= cancel::now());
        }
        let (channel, ticket) = (self.channel, self.ticket);
        std::mem::forget(self);
        match channel.withdraw(ticket) {
            Withdrawn::Taken => Ok(()),
            Withdrawn::Back(item) => Err((Refusal::NotNow, item)),
            Withdrawn::Refused(item) => Err((Refusal::Closed, item)),
        }
    }
}

impl<T> Drop for Offering<'_, T> {
    fn drop(&mut self) {
        drop(self.channel.withdraw(self.ticket));
    }
}

impl<T> Access for Channel<T> {
    type Item = T;

    fn put_in(&self, item: T, patience: Patience) -> Result<(), (Refusal, T)> {
        cancel::let_others_run();
        self.offer(item, patience)
    }

    fn get_out(&self, patience: Patience) -> Result<T, Refusal> {
        cancel::let_others_run();
        let offer = self.store.get(patience)?;
        offer.putter.into_iter().for_each(Notice::tell);
        Ok(offer.item)
    }

    fn end(&self) {
        self.store.close();
    }

    fn end_now(&self) -> Vec<T> {
        let left = self.store.drain();
        left.into_iter().map(|offer| offer.item).collect()
    }

    fn watch<'a>(&'a self, side: Side, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.store.watch(side, ready)
    }
}

impl<T> AnyQueue for Channel<T> {}

impl<T> Subscribe for Channel<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.store.watch(Side::Items, ready)
    }
}

/// Ready when an item is offered; nothing is taken.
impl<T> Waitable for Channel<T> {}

impl<T> Default for Channel<T> {
    fn default() -> Channel<T> {
        Channel::new()
    }
}

impl<'a, T> IntoIterator for &'a Channel<T> {
    type Item = T;
    type IntoIter = QueueIter<'a, Channel<T>>;

    fn into_iter(self) -> QueueIter<'a, Channel<T>> {
        self.iter()
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("balance", &self.balance())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
