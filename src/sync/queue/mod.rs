//! Queues: first in first out, last in first out, the smallest first, and from hand to hand.
//!
//! Which file first: `store` (the picture, and why no wake is lost), `order` (who comes out),
//! `surface` (the methods), then the rest.

mod access;
#[allow(unsafe_code, reason = "a lock of one locked instruction")]
mod brief;
mod channel;
mod ends;
mod error;
mod hand;
mod iter;
mod joinable;
mod order;
#[allow(unsafe_code, reason = "who waits lends a place in his frame")]
mod place;
#[allow(unsafe_code, reason = "an item is written to who waits for it")]
mod slot;
mod store;
mod surface;
mod watch;

#[cfg(test)]
#[allow(unsafe_code, reason = "as in `place`")]
mod tests;

use std::fmt;
use std::time::Duration;

pub(in crate::sync) use access::sealed::Access;
pub(in crate::sync) use store::{Patience, Refusal};

pub use access::AnyQueue;
pub use channel::Channel;
pub use ends::{Getter, Putter};
pub use error::{GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError};
pub use iter::{QueueIter, QueueTryIter};
pub use joinable::{JoinableQueue, NoUnfinishedTask};
pub use watch::Room;

use crate::cancel;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
pub(in crate::sync) use access::Side;
pub(in crate::sync) use ends::ends;
use order::{Fifo, Heap, Lifo};
use store::{Store, UNBOUNDED};
use surface::queue_surface;

/// A queue: what was put first comes out first.
///
/// For greenlets on any hub and for plain OS threads, who share it by reference, in an `Arc`, or
/// by its [two ends](Queue::into_ends). Those who wait are served in the order of their arrival,
/// and what somebody was woken for is kept for him, if he is not killed meanwhile. It can be
/// waited for among other things: see [`wait_any`](crate::wait_any).
///
/// # Examples
/// A bounded queue slows a producer down to the pace of its consumer:
/// ```
/// use greenroom::sync::Queue;
/// use std::sync::Arc;
///
/// let queue = Arc::new(Queue::bounded(2));
/// let theirs = Arc::clone(&queue);
/// greenroom::spawn(move || {
///     for n in 0..10 {
///         theirs.put(n).unwrap();
///     }
///     theirs.close();
/// });
/// assert_eq!(queue.iter().sum::<i32>(), 45);
/// ```
#[doc(alias("mpmc", "channel", "bounded", "back-pressure"))]
pub struct Queue<T> {
    store: Store<Fifo<T>>,
}

queue_surface!(Queue<T>, "Queue", Fifo);

/// A queue out of which comes first what was put last; otherwise as [`Queue`].
///
/// # Examples
/// ```
/// let stack = greenroom::sync::LifoQueue::from_iter([1, 2, 3]);
/// assert_eq!(stack.try_iter().collect::<Vec<_>>(), [3, 2, 1]);
/// ```
pub struct LifoQueue<T> {
    store: Store<Lifo<T>>,
}

queue_surface!(LifoQueue<T>, "LifoQueue", Lifo);

/// A queue out of which the smallest item comes first, and of equal ones that which was put
/// first; otherwise as [`Queue`]. For the largest first, put [`Reverse`](std::cmp::Reverse).
///
/// Items are compared by whoever takes one, never by a put, and with no lock held. So an `Ord`
/// may do what it likes: if it parks, those who want an item park as well until it is over; if it
/// panics, the panic is that of whoever wanted an item, who gets none, and all items are still in
/// the queue. Only to take an item from the very queue, from within its `Ord`, is a panic.
///
/// # Examples
/// ```
/// use greenroom::sync::PriorityQueue;
/// let queue = PriorityQueue::from_iter([(2, "low"), (1, "high")]);
/// assert_eq!(queue.get(), Ok((1, "high")));
/// ```
pub struct PriorityQueue<T: Ord> {
    store: Store<Heap<T>>,
}

queue_surface!(PriorityQueue<T: Ord>, "PriorityQueue", Heap);
