//! A queue of tasks that knows when all of them are done.

use std::fmt;
use std::time::Duration;

use super::access::{AnyQueue, Side, sealed::Access};
use super::ends::{Getter, Putter, ends};
use super::error::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError,
};
use super::iter::{QueueIter, QueueTryIter};
use super::order::{Fifo, Order};
use super::store::{Patience, Refusal, Store, UNBOUNDED};
use super::surface::queue_surface;
use super::watch::Room;
use crate::cancel;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
use crate::sync::waiting::{self, Home};
use crate::sync::waitlist::{Notice, WaitList};

/// A [`Queue`](super::Queue) of tasks: [`join`](JoinableQueue::join) waits until each item that
/// was put has been got and [said to be done](JoinableQueue::task_done).
///
/// # Examples
/// ```
/// use greenroom::sync::JoinableQueue;
/// use std::sync::Arc;
///
/// let tasks = Arc::new(JoinableQueue::from_iter(0..10));
/// let theirs = Arc::clone(&tasks);
/// let worker = greenroom::spawn(move || {
///     for _task in &*theirs {
///         theirs.task_done().unwrap();
///     }
/// });
/// tasks.join();
/// tasks.close();
/// worker.join().unwrap();
/// ```
pub struct JoinableQueue<T> {
    store: Store<Fifo<T>>,
}

queue_surface!(JoinableQueue<T>, "JoinableQueue", Fifo);

impl<T> JoinableQueue<T> {
    /// Says that one item that was got is done with. When it was the last, those who
    /// [join](JoinableQueue::join) go on.
    ///
    /// # Errors
    /// When this has been said of all items already.
    ///
    /// # Parks
    /// Never.
    #[doc(alias("done", "acknowledge"))]
    pub fn task_done(&self) -> Result<(), NoUnfinishedTask> {
        let mut state = self.store.lock();
        let left = state.unfinished.checked_sub(1).ok_or(NoUnfinishedTask)?;
        state.unfinished = left;
        self.store.settle(state);
        Ok(())
    }

    /// Items that were put and have not been said to be done.
    pub fn unfinished_tasks(&self) -> usize {
        self.store.lock().unfinished
    }

    /// Waits until all items that were put are done. Those that a
    /// [`shutdown`](JoinableQueue::shutdown) takes out count as done.
    ///
    /// # Examples
    /// See [`JoinableQueue`].
    ///
    /// # Panics
    /// In the root, when nothing is left that could finish them ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until then; at once if there are none. A kill or a timeout unwinds.
    pub fn join(&self) {
        let joined = self.join_until(None);
        debug_assert!(joined, "without a deadline there is only one way to end");
    }

    /// As [`join`](JoinableQueue::join), for at most `limit`; returns whether all are done.
    ///
    /// # Panics
    /// As [`join`](JoinableQueue::join), when `limit` is so long that it lies beyond the end of
    /// the clock.
    ///
    /// # Parks
    /// As [`join`](JoinableQueue::join), and no longer than `limit`.
    #[must_use = "not all may be done"]
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.join_until(cancel::deadline_in(limit))
    }

    fn join_until(&self, deadline: Option<u64>) -> bool {
        let mut state = self.store.lock();
        if state.unfinished == 0 {
            return true;
        }
        let key = state.lists.joiners.push((), Notice::to_me());
        drop(state);
        let what = "the tasks of a queue to be done";
        waiting::wait(&Joiners(&self.store), key, what, deadline).is_ok()
    }
}

struct Joiners<'a, O: Order>(&'a Store<O>);

impl<O: Order> Home for Joiners<'_, O> {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.0.lock().lists.joiners)
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}

/// [`JoinableQueue::task_done`] was called more often than items were put.
///
/// # Examples
/// ```
/// use greenroom::sync::{JoinableQueue, NoUnfinishedTask};
/// assert_eq!(JoinableQueue::<u8>::new().task_done(), Err(NoUnfinishedTask));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoUnfinishedTask;

impl fmt::Display for NoUnfinishedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done was called more often than items were put")
    }
}

impl std::error::Error for NoUnfinishedTask {}
