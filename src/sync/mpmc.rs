//! Channels with the names of std's `sync::mpmc`, which is not stable: those of
//! [`mpsc`](mod@super::mpsc), whose receivers can be cloned too.
//!
//! Each item is received once, by one of the receivers; those who wait are served in the order of
//! their arrival. The errors are std's own. This module follows std's nightly: when std changes its
//! names, it does so too.
//!
//! # Examples
//! ```
//! use greenroom::sync::mpmc;
//!
//! let (sender, receiver) = mpmc::channel();
//! let workers: Vec<_> = (0..3)
//!     .map(|_| {
//!         let receiver = receiver.clone();
//!         greenroom::spawn(move || receiver.iter().sum::<i32>())
//!     })
//!     .collect();
//! (1..=10).for_each(|n| sender.send(n).unwrap());
//! drop(sender);
//! let sums = greenroom::joinall(workers).into_iter().map(Result::unwrap);
//! assert_eq!(sums.sum::<i32>(), 55);
//! ```

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::time::{Duration, Instant};

pub use super::mpsc::{
    IntoIter, Iter, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryIter,
    TryRecvError, TrySendError,
};

use super::mpsc::{self, Sink, Source, SyncSender};
use super::queue::{Patience, Queue};
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};

/// A channel without a bound: sending never waits.
///
/// # Examples
/// ```
/// let (sender, receiver) = greenroom::sync::mpmc::channel();
/// let other = receiver.clone();
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// assert_eq!((receiver.recv(), other.recv()), (Ok(1), Ok(2)));
/// ```
#[doc(alias("crossbeam_channel", "flume", "async_channel", "multi-consumer"))]
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (putter, getter) = Queue::new().into_ends();
    let receiver = mpsc::Receiver(Source::Queue(getter));
    (Sender(SyncSender(Sink::Queue(putter))), Receiver(receiver))
}

/// A channel with room for `cap` items: sending waits for room. With room for none each item goes
/// from hand to hand: sending waits until it is received.
///
/// # Examples
/// ```
/// let (sender, receiver) = greenroom::sync::mpmc::sync_channel(1);
/// sender.send(1).unwrap();
/// assert!(sender.is_full() && sender.try_send(2).is_err());
/// assert_eq!(receiver.recv(), Ok(1));
/// ```
#[must_use]
pub fn sync_channel<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::sync_channel(cap);
    (Sender(sender), Receiver(receiver))
}

/// The sending end of a [`channel`] or [`sync_channel`]; can be cloned. When the last is dropped,
/// the receivers take what is left and are told then that there will be no more.
pub struct Sender<T>(SyncSender<T>);

impl<T> Sender<T> {
    /// Sends an item if there is room for it now; in a channel with room for none, if somebody
    /// waits to receive it.
    ///
    /// # Errors
    /// When there is not, or all receivers are gone: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_send(&self, msg: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(msg)
    }

    /// Sends an item, when there is room for it; in a channel with room for none, when it is
    /// received.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::mpmc::{SendError, channel};
    /// let (sender, receiver) = channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(1), Err(SendError(1)));
    /// ```
    ///
    /// # Errors
    /// When all receivers are gone, also meanwhile: the item comes back.
    ///
    /// # Panics
    /// In the root, when nothing is left that could receive ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until there is room, or it is received; who came earlier is served first. Also when there
    /// is, it lets others run now and then. A kill or a timeout unwinds, and the item is dropped.
    pub fn send(&self, msg: T) -> Result<(), SendError<T>> {
        self.0.send(msg)
    }

    /// As [`send`](Sender::send), for at most `timeout`.
    ///
    /// # Errors
    /// When there was no room in time, or all receivers are gone: the item comes back.
    ///
    /// # Panics
    /// As [`send`](Sender::send), when `timeout` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`send`](Sender::send), and no longer than `timeout`.
    pub fn send_timeout(&self, msg: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.0.send_timeout(msg, timeout)
    }

    /// As [`send`](Sender::send), until `deadline` at the latest.
    ///
    /// # Errors
    /// # Parks
    /// As [`send_timeout`](Sender::send_timeout).
    pub fn send_deadline(&self, msg: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.0.send_within(msg, Patience::until(deadline))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

/// The receiving end of a [`channel`] or [`sync_channel`]; can be cloned. When the last is dropped,
/// what is left is dropped with it, and senders get their items back.
///
/// Can be [waited for](crate::wait_any): it is ready when there is an item, or no sender any more.
pub struct Receiver<T>(mpsc::Receiver<T>);

impl<T> Receiver<T> {
    /// Takes the next item, if there is one.
    ///
    /// # Errors
    /// When there is none; whether all senders are gone is told by the error.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Takes the next item, or waits for one.
    ///
    /// # Errors
    /// When there is none and all senders are gone, also meanwhile.
    ///
    /// # Panics
    /// In the root, when nothing is left that could send ("this operation would block forever").
    ///
    /// # Parks
    /// Until there is an item. It lets others run now and then also if there always is one. A
    /// kill or a timeout unwinds and takes nothing.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// As [`recv`](Receiver::recv), for at most `timeout`.
    ///
    /// # Errors
    /// When there was nothing in time, or there is none and all senders are gone.
    ///
    /// # Panics
    /// As [`recv`](Receiver::recv), when `timeout` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`recv`](Receiver::recv), and no longer than `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// As [`recv`](Receiver::recv), until `deadline` at the latest.
    ///
    /// # Errors
    /// # Parks
    /// As [`recv_timeout`](Receiver::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.recv_within(Patience::until(deadline))
    }

    /// Takes one item after the other, until there is none.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        self.0.try_iter()
    }

    /// Takes one item after the other, until all senders are gone.
    ///
    /// # Parks
    /// The iteration does, as [`recv`](Receiver::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        self.0.iter()
    }
}

/// What both ends tell of their channel.
macro_rules! figures {
    ($end:ident, $inner:ident) => {
        impl<T> $end<T> {
            /// Whether the channel is empty; one with room for none always is.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether the channel is full; one with room for none always is.
            pub fn is_full(&self) -> bool {
                self.capacity()
                    .is_some_and(|capacity| self.len() >= capacity)
            }

            /// The number of items in the channel.
            pub fn len(&self) -> usize {
                match &self.0.0 {
                    $inner::Queue(end) => end.queue().len(),
                    $inner::Channel(end) => end.queue().len(),
                }
            }

            /// How many items the channel has room for; `None` without a bound.
            pub fn capacity(&self) -> Option<usize> {
                match &self.0.0 {
                    $inner::Queue(end) => end.queue().capacity(),
                    $inner::Channel(end) => end.queue().capacity(),
                }
            }

            /// Whether both belong to the same channel.
            pub fn same_channel(&self, other: &$end<T>) -> bool {
                match (&self.0.0, &other.0.0) {
                    ($inner::Queue(one), $inner::Queue(other)) => {
                        ptr::eq(one.queue(), other.queue())
                    }
                    ($inner::Channel(one), $inner::Channel(other)) => {
                        ptr::eq(one.queue(), other.queue())
                    }
                    _ => false,
                }
            }

            /// Whether all senders or all receivers are gone.
            pub fn is_disconnected(&self) -> bool {
                match &self.0.0 {
                    $inner::Queue(end) => end.queue().is_closed(),
                    $inner::Channel(end) => end.queue().is_closed(),
                }
            }
        }
    };
}

figures!(Sender, Sink);
figures!(Receiver, Source);

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver(mpsc::Receiver(self.0.0.clone()))
    }
}

impl<T> Subscribe for Receiver<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.0.subscribe(ready)
    }
}

impl<T> Waitable for Receiver<T> {}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        self.0.into_iter()
    }
}
