//! A queue in two ends, for those who put and those who get: it closes with the last of either.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::access::{AnyQueue, Side};
use super::error::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use super::iter::{QueueIter, QueueTryIter};
use super::store::Patience;
use super::watch::Room;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
use crate::sys::report;

struct Shared<Q> {
    queue: Q,
    putters: AtomicUsize,
    getters: AtomicUsize,
}

pub(in crate::sync) fn ends<Q: AnyQueue>(queue: Q) -> (Putter<Q>, Getter<Q>) {
    let shared = Arc::new(Shared {
        queue,
        putters: AtomicUsize::new(1),
        getters: AtomicUsize::new(1),
    });
    let putter = Putter(Arc::clone(&shared));
    (putter, Getter(shared))
}

/// The end of a queue at which items are put. When the last clone of it is dropped, the queue is
/// closed: getters take what is left, and are told then that there will be no more.
///
/// Made by the `into_ends` of each queue.
///
/// # Examples
/// ```
/// use greenroom::sync::Queue;
/// let (putter, getter) = Queue::bounded(2).into_ends();
/// for name in ["one", "two", "three"] {
///     let putter = putter.clone();
///     greenroom::spawn(move || putter.put(name));
/// }
/// drop(putter);
/// assert_eq!(getter.iter().collect::<Vec<_>>(), ["one", "two", "three"]);
/// ```
pub struct Putter<Q: AnyQueue>(Arc<Shared<Q>>);

impl<Q: AnyQueue> Putter<Q> {
    /// Puts an item, when there is room for it.
    ///
    /// # Errors
    /// When the queue is closed or all getters are gone, also meanwhile: the item comes back.
    ///
    /// # Panics
    /// # Parks
    /// As the queue's own `put`.
    pub fn put(&self, item: Q::Item) -> Result<(), PutError<Q::Item>> {
        let put = self.0.queue.put_in(item, Patience::Endless);
        put.map_err(PutError::new)
    }

    /// Puts an item if there is room for it now.
    ///
    /// # Errors
    /// When there is not, the queue is closed, or all getters are gone: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_put(&self, item: Q::Item) -> Result<(), TryPutError<Q::Item>> {
        let put = self.0.queue.put_in(item, Patience::None);
        put.map_err(TryPutError::new)
    }

    /// As [`put`](Putter::put), for at most `limit`.
    ///
    /// # Errors
    /// As [`put`](Putter::put), and when there was no room in time.
    ///
    /// # Panics
    /// # Parks
    /// As the queue's own `put_timeout`.
    pub fn put_timeout(
        &self,
        item: Q::Item,
        limit: Duration,
    ) -> Result<(), PutTimeoutError<Q::Item>> {
        let put = self.0.queue.put_in(item, Patience::of(limit));
        put.map_err(PutTimeoutError::new)
    }

    /// The room in the queue, to be [waited for](crate::wait_any) among other things.
    pub fn room(&self) -> Room<'_, Q> {
        Room::new(&self.0.queue)
    }

    /// The queue itself: to ask for its length, to resize or to close it.
    pub fn queue(&self) -> &Q {
        &self.0.queue
    }
}

impl<Q: AnyQueue> Clone for Putter<Q> {
    fn clone(&self) -> Putter<Q> {
        self.0.putters.fetch_add(1, Ordering::Relaxed);
        Putter(Arc::clone(&self.0))
    }
}

impl<Q: AnyQueue> Drop for Putter<Q> {
    fn drop(&mut self) {
        if self.0.putters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.queue.end();
        }
    }
}

impl<Q: AnyQueue + fmt::Debug> fmt::Debug for Putter<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Putter").field(&self.0.queue).finish()
    }
}

/// The end of a queue at which items are got. When the last clone of it is dropped, the queue is
/// closed and what is left is dropped: putters get their items back.
///
/// Made by the `into_ends` of each queue. Can be [waited for](crate::wait_any): it is ready when
/// a get would not have to wait.
///
/// # Examples
/// ```
/// use greenroom::sync::{PutError, Queue};
/// let (putter, getter) = Queue::new().into_ends();
/// putter.put(1).unwrap();
/// assert_eq!(getter.get(), Ok(1));
/// drop(getter);
/// assert_eq!(putter.put(2), Err(PutError(2)));
/// ```
pub struct Getter<Q: AnyQueue>(Arc<Shared<Q>>);

impl<Q: AnyQueue> Getter<Q> {
    /// Takes the next item, when there is one.
    ///
    /// # Errors
    /// When there is none, and the queue is closed or all putters are gone, also meanwhile.
    ///
    /// # Panics
    /// # Parks
    /// As the queue's own `get`.
    pub fn get(&self) -> Result<Q::Item, GetError> {
        self.0
            .queue
            .get_out(Patience::Endless)
            .map_err(GetError::new)
    }

    /// Takes the next item, if there is one now that is not kept for somebody who waited.
    ///
    /// # Errors
    /// When there is none; whether there may be one later is told by the error.
    ///
    /// # Parks
    /// As the queue's own `try_get`.
    pub fn try_get(&self) -> Result<Q::Item, TryGetError> {
        self.0
            .queue
            .get_out(Patience::None)
            .map_err(TryGetError::new)
    }

    /// As [`get`](Getter::get), for at most `limit`.
    ///
    /// # Errors
    /// As [`get`](Getter::get), and when there was nothing in time.
    ///
    /// # Panics
    /// # Parks
    /// As the queue's own `get_timeout`.
    pub fn get_timeout(&self, limit: Duration) -> Result<Q::Item, GetTimeoutError> {
        let got = self.0.queue.get_out(Patience::of(limit));
        got.map_err(GetTimeoutError::new)
    }

    /// Takes one item after the other, until the queue is closed and empty.
    ///
    /// # Parks
    /// The iteration does, as [`get`](Getter::get).
    pub fn iter(&self) -> QueueIter<'_, Q> {
        QueueIter::new(&self.0.queue)
    }

    /// Takes one item after the other, until there is none.
    ///
    /// # Parks
    /// The iteration does, as [`try_get`](Getter::try_get).
    pub fn try_iter(&self) -> QueueTryIter<'_, Q> {
        QueueTryIter::new(&self.0.queue)
    }

    /// The queue itself: to ask for its length, to peek, to say that a task is done.
    pub fn queue(&self) -> &Q {
        &self.0.queue
    }
}

impl<Q: AnyQueue> Clone for Getter<Q> {
    fn clone(&self) -> Getter<Q> {
        self.0.getters.fetch_add(1, Ordering::Relaxed);
        Getter(Arc::clone(&self.0))
    }
}

impl<Q: AnyQueue> Drop for Getter<Q> {
    fn drop(&mut self) {
        if self.0.getters.fetch_sub(1, Ordering::AcqRel) == 1 {
            report::drop_foreign("an item", self.0.queue.end_now());
        }
    }
}

impl<'a, Q: AnyQueue> IntoIterator for &'a Getter<Q> {
    type Item = Q::Item;
    type IntoIter = QueueIter<'a, Q>;

    fn into_iter(self) -> QueueIter<'a, Q> {
        self.iter()
    }
}

impl<Q: AnyQueue> Subscribe for Getter<Q> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.0.queue.watch(Side::Items, ready)
    }
}

impl<Q: AnyQueue> Waitable for Getter<Q> {}

impl<Q: AnyQueue + fmt::Debug> fmt::Debug for Getter<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Getter").field(&self.0.queue).finish()
    }
}
