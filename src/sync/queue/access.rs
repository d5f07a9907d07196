//! What all queues have in common, for the code that is written once: ends, iterators, waits.

use super::store::{Patience, Refusal};
use crate::greenlet::{Ready, Subscription};

/// Any of the queues: [`Queue`](super::Queue), [`LifoQueue`](super::LifoQueue),
/// [`PriorityQueue`](super::PriorityQueue), [`JoinableQueue`](super::JoinableQueue) and
/// [`Channel`](super::Channel). Only this crate implements it.
///
/// # Examples
/// ```
/// use greenroom::sync::{AnyQueue, Getter, LifoQueue, Queue};
///
/// fn rest<Q: AnyQueue>(getter: Getter<Q>) -> Vec<Q::Item> {
///     getter.try_iter().collect()
/// }
/// assert_eq!(rest(Queue::from_iter([1, 2]).into_ends().1), [1, 2]);
/// assert_eq!(rest(LifoQueue::from_iter([1, 2]).into_ends().1), [2, 1]);
/// ```
pub trait AnyQueue: sealed::Access {}

/// The two sides of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An item can be had.
    Items,
    /// There is room for one.
    Room,
}

pub(crate) mod sealed {
    use super::{Patience, Ready, Refusal, Side, Subscription};

    /// What an end, an iterator or a wait does with its queue.
    pub trait Access {
        /// What is put and got.
        type Item;

        fn put_in(&self, item: Self::Item, patience: Patience)
        -> Result<(), (Refusal, Self::Item)>;

        fn get_out(&self, patience: Patience) -> Result<Self::Item, Refusal>;

        fn end(&self);

        /// Closes, and gives back what there was.
        fn end_now(&self) -> Vec<Self::Item>;

        fn watch<'a>(&'a self, side: Side, ready: Ready) -> Option<Box<dyn Subscription + 'a>>;
    }
}
