//! Locks and events for greenlets on any hub and for plain OS threads.

pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};

mod event;
pub mod mpsc;
mod queue;
pub(crate) mod waiting;
pub(crate) mod waitlist;

pub use event::Event;
pub use queue::{
    AnyQueue, Channel, GetError, GetTimeoutError, Getter, JoinableQueue, LifoQueue,
    NoUnfinishedTask, PriorityQueue, PutError, PutTimeoutError, Putter, Queue, QueueIter,
    QueueTryIter, Room, TryGetError, TryPutError,
};
