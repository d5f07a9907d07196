//! Queues among the things that one waits for together: nothing is taken, nobody is in the way.

use std::fmt;

use super::access::{AnyQueue, Side};
use super::order::Order;
use super::store::{State, Store};
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
use crate::hub::Help;
use crate::sync::waitlist::{Key, Notice, WaitList};

/// The room in a queue, to be waited for: ready when a put would not have to wait, or the queue
/// is closed. Made by the `room` of each queue; waiting takes none of it.
///
/// # Examples
/// ```
/// use greenroom::sync::{Event, Queue};
/// let (queue, stop) = (Queue::bounded(1), Event::new());
/// queue.put("one").unwrap();
/// stop.set();
/// assert_eq!(greenroom::wait_any(&[&queue.room(), &stop]), 1);
/// queue.get().unwrap();
/// assert_eq!(greenroom::wait_any(&[&queue.room(), &stop]), 0);
/// ```
pub struct Room<'a, Q> {
    queue: &'a Q,
}

impl<'a, Q: AnyQueue> Room<'a, Q> {
    pub(in crate::sync) fn new(queue: &'a Q) -> Room<'a, Q> {
        Room { queue }
    }
}

impl<Q: AnyQueue> Subscribe for Room<'_, Q> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.queue.watch(Side::Room, ready)
    }
}

impl<Q: AnyQueue> Waitable for Room<'_, Q> {}

impl<Q: fmt::Debug> fmt::Debug for Room<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("queue", self.queue).finish()
    }
}

impl<O: Order> State<O> {
    fn is_ready(&self, side: Side) -> bool {
        match side {
            Side::Items => self.is_readable(),
            Side::Room => self.is_writable(),
        }
    }

    fn watchers(&mut self, side: Side) -> &mut WaitList {
        match side {
            Side::Items => &mut self.lists.readable,
            Side::Room => &mut self.lists.writable,
        }
    }
}

impl<O: Order> Store<O> {
    pub(in crate::sync) fn watch<'a>(
        &'a self,
        side: Side,
        ready: Ready,
    ) -> Option<Box<dyn Subscription + 'a>> {
        let mut state = self.lock();
        if state.is_ready(side) {
            drop(state);
            ready.call();
            return None;
        }
        let key = state
            .watchers(side)
            .push((), Notice::Ready(Box::new(ready)));
        drop(state);
        Some(Box::new(Watch {
            store: self,
            side,
            key: Some(key),
            _help: Help::is_possible(),
        }))
    }
}

/// Somebody looks on; no longer when this is dropped.
struct Watch<'a, O: Order> {
    store: &'a Store<O>,
    side: Side,
    key: Option<Key>,
    _help: Help,
}

impl<O: Order> Subscription for Watch<'_, O> {}

impl<O: Order> Drop for Watch<'_, O> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.store.lock().watchers(self.side).remove(key);
        }
    }
}
