//! Locks, events, results and queues for greenlets on any hub and for plain OS threads: write what
//! you would write with `std::sync`, and who waits lets others run.
//!
//! To move code over, replace `std::sync` by `greenroom::sync`: std's names are all here, over
//! types that park, or are std's own where nothing waits ([`Arc`], [`Weak`], [`atomic`]).
//!
//! | for | there is | of |
//! |---|---|---|
//! | one at a time | [`Mutex`], [`RwLock`], [`Condvar`] | std |
//! | one at a time, again and again by its owner | [`RLock`] | gevent |
//! | so many at a time | [`Semaphore`], [`BoundedSemaphore`] | gevent |
//! | a flag to wait for | [`Event`] | gevent |
//! | a value to wait for | [`AsyncResult`] | gevent |
//! | items from one to the other | [`Queue`] and its like, [`Channel`] | gevent |
//! | tasks to be done | [`JoinableQueue`] | gevent |
//! | messages from senders to a receiver | [`mpsc`] | std |
//! | messages to several receivers, to each its own | [`mpmc`] | std's nightly |
//! | one message | [`oneshot`] | std's nightly |
//! | so many that wait for each other | [`Barrier`] | std |
//! | what is done or made once | [`Once`], [`OnceLock`], [`LazyLock`] | std |
//!
//! All are for greenlets of one hub, of several, and for OS threads without one, which block. All
//! serve those who wait in the order of their arrival: a lock or a permit is handed over to the
//! first of them, and who comes later does not overtake. Without contention they cost about as
//! much as std's, and neither allocate nor call the kernel.
//!
//! # Kill and timeout
//! Who is killed or times out while it waits leaves the queue, and what it had already been
//! given, but had not seen, goes to the next. What is ready wins over what is due: a lock that was
//! handed over in time is had, and the kill comes with the next park.
//!
//! # Poisoning
//! As in std, a panic poisons the [`Mutex`] or [`RwLock`] whose guard it drops, the [`Once`] that
//! it interrupts and the [`LazyLock`] whose value it was making. **A kill or a timeout does
//! not**, although it unwinds as well: it is no sign of a mistake but a matter of routine, and one
//! request that takes too long must not fail all those that come after it. It can only come where
//! the greenlet parks. So who parks between two changes that belong together takes care as they
//! would with gevent's locks: by a destructor that puts things right, or by a
//! [`shield`](crate::shield()).
//!
//! # What differs from std
//! * Those who wait are served in the order of their arrival. So a reader that comes after a writer
//!   that waits does not overtake it, and a reader that takes a [`RwLock`] again may wait for ever.
//! * A kill or a timeout unwinds from a wait, and does not [poison](#poisoning).
//! * A [`Receiver`](mpsc::Receiver) is `Sync`.
//! * Of what std has on nightly only there are, without a feature to turn on, the mapped guards,
//!   `get_cloned`, `set` and `replace` of the locks, [`ReentrantLock`],
//!   [`send_timeout`](mpsc::SyncSender::send_timeout), [`mpmc`] and [`oneshot`]. There are no
//!   `nonpoison` locks.
//!
//! # Polling
//! A loop that asks again and again (`try_recv`, `try_lock`, `is_set`, `is_finished`, a wait with a
//! limit of zero) never parks, and neither does one that only sends into a channel without a
//! bound. So that such a loop does not keep the other greenlets of its OS thread from running,
//! these operations count: after 128 in a row without a park, the next one first lets the others
//! run, as [`yield_now`](crate::yield_now) does. A kill or a timeout is delivered there, with
//! nothing sent and nothing taken. Since std's threads can be preempted at any time, code that was
//! written for them does not mind.
//!
//! What counts says so under *Parks*. Lengths and other figures, and [`Mutex::lock`] of a lock that
//! is free, do not count. Where a switch is out of the question nothing is switched: on an OS
//! thread without a hub, in a destructor during an unwind, in the panic hook, in what a
//! [hub calls](crate::hub::subscribe).
//!
//! # Deadlocks
//! When nothing is left that could wake anyone, the root panics with a list of who waits for
//! what. Another OS thread could always share what one waits for; so this happens only in a
//! process, or a [simulation](crate::sim), that has no other.
//!
//! # Examples
//! ```
//! use greenroom::sync::{Arc, Condvar, Mutex};
//! use greenroom::thread;
//!
//! let pair = Arc::new((Mutex::new(false), Condvar::new()));
//! let theirs = Arc::clone(&pair);
//! thread::spawn(move || {
//!     let (lock, condvar) = &*theirs;
//!     *lock.lock().unwrap() = true;
//!     condvar.notify_one();
//! });
//! let (lock, condvar) = &*pair;
//! let started = condvar.wait_while(lock.lock().unwrap(), |started| !*started).unwrap();
//! assert!(*started);
//! ```
//!
//! # Inside
//! `waitlist` is who waits, `waiting` is the loop in which they do. Then `raw_mutex`, which all
//! other locks resemble.

mod async_result;
mod barrier;
mod condvar;
mod event;
#[cfg(test)]
#[cfg(not(loom))]
mod exploration;
mod lazy_lock;
#[allow(
    unsafe_code,
    reason = "a part of what is locked is reached by a pointer"
)]
mod mapped;
pub mod mpmc;
pub mod mpsc;
#[allow(
    unsafe_code,
    reason = "what is locked is changed through a shared reference"
)]
mod mutex;
mod once;
mod once_lock;
pub mod oneshot;
#[cfg(all(test, loom))]
mod orders;
mod poison;
mod queue;
mod raw_mutex;
mod raw_rwlock;
mod raw_semaphore;
#[allow(unsafe_code, reason = "what is locked need not be Sync")]
mod rlock;
#[allow(
    unsafe_code,
    reason = "what is locked is changed through a shared reference"
)]
mod rwlock;
mod semaphore;
mod steps;
pub(crate) mod waiting;
pub(crate) mod waitlist;

pub use async_result::{AsyncResult, ResultFuture};
pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use lazy_lock::LazyLock;
pub use mapped::{MappedMutexGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use queue::{
    AnyQueue, Channel, GetError, GetTimeoutError, Getter, JoinableQueue, LifoQueue,
    NoUnfinishedTask, PriorityQueue, PutError, PutTimeoutError, Putter, Queue, QueueIter,
    QueueTryIter, Room, TryGetError, TryPutError,
};
pub use rlock::{RLock, RLock as ReentrantLock, RLockGuard, RLockGuard as ReentrantLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, OverReleased, Permit, Semaphore};
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
