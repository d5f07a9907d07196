//! Items one after the other.

use std::fmt;

use super::access::AnyQueue;
use super::store::Patience;

/// Takes items until the queue is closed and empty; made by the `iter` of each queue.
///
/// # Examples
/// ```
/// let queue = greenroom::sync::Queue::from_iter([1, 2]);
/// queue.close();
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
#[must_use = "nothing is taken until the iterator is used"]
pub struct QueueIter<'a, Q> {
    queue: &'a Q,
}

impl<'a, Q: AnyQueue> QueueIter<'a, Q> {
    pub(in crate::sync) fn new(queue: &'a Q) -> QueueIter<'a, Q> {
        QueueIter { queue }
    }
}

impl<Q: AnyQueue> Iterator for QueueIter<'_, Q> {
    type Item = Q::Item;

    fn next(&mut self) -> Option<Q::Item> {
        self.queue.get_out(Patience::Endless).ok()
    }
}

impl<Q: fmt::Debug> fmt::Debug for QueueIter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueIter").field(self.queue).finish()
    }
}

/// Takes items until there is none; made by the `try_iter` of each queue.
///
/// # Examples
/// ```
/// let queue = greenroom::sync::Queue::from_iter([1, 2]);
/// assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2]);
/// ```
#[must_use = "nothing is taken until the iterator is used"]
pub struct QueueTryIter<'a, Q> {
    queue: &'a Q,
}

impl<'a, Q: AnyQueue> QueueTryIter<'a, Q> {
    pub(in crate::sync) fn new(queue: &'a Q) -> QueueTryIter<'a, Q> {
        QueueTryIter { queue }
    }
}

impl<Q: AnyQueue> Iterator for QueueTryIter<'_, Q> {
    type Item = Q::Item;

    fn next(&mut self) -> Option<Q::Item> {
        self.queue.get_out(Patience::None).ok()
    }
}

impl<Q: fmt::Debug> fmt::Debug for QueueTryIter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueTryIter").field(self.queue).finish()
    }
}
