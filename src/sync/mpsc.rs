//! Channels with the names of `std::sync::mpsc`, which park a greenlet where those block.
//!
//! Code moves over by search and replace, and the errors are std's own. What differs: a
//! [`Receiver`] may be shared (it is `Sync`), receivers and senders can be on any hub or on plain
//! OS threads, and a receiver can be [waited for](crate::wait_any) among other things.
//!
//! # Examples
//! ```
//! use greenroom::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! for n in 0..3 {
//!     let sender = sender.clone();
//!     greenroom::spawn(move || sender.send(n).unwrap());
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), 3);
//! ```

use std::fmt;
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use super::queue::{Access, Channel, Getter, Patience, Putter, Queue, Refusal};
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};

/// A channel without a bound: sending never waits.
///
/// # Examples
/// ```
/// let (sender, receiver) = greenroom::sync::mpsc::channel();
/// sender.send("hello").unwrap();
/// assert_eq!(receiver.recv(), Ok("hello"));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (putter, getter) = Queue::new().into_ends();
    (Sender(putter), Receiver(Source::Queue(getter)))
}

/// A channel with room for `bound` items: sending waits for room. With a bound of 0 each item
/// goes from hand to hand: sending waits until it is received.
///
/// # Examples
/// ```
/// let (sender, receiver) = greenroom::sync::mpsc::sync_channel(0);
/// greenroom::spawn(move || sender.send("from hand to hand").unwrap());
/// assert_eq!(receiver.recv(), Ok("from hand to hand"));
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    if bound == 0 {
        let (putter, getter) = Channel::new().into_ends();
        return (
            SyncSender(Sink::Channel(putter)),
            Receiver(Source::Channel(getter)),
        );
    }
    let (putter, getter) = Queue::bounded(bound).into_ends();
    (
        SyncSender(Sink::Queue(putter)),
        Receiver(Source::Queue(getter)),
    )
}

/// The sending end of a [`channel`]; can be cloned. When the last is dropped, the receiver takes
/// what is left and is told then that there will be no more.
pub struct Sender<T>(Putter<Queue<T>>);

impl<T> Sender<T> {
    /// Sends an item.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::mpsc::{SendError, channel};
    /// let (sender, receiver) = channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(1), Err(SendError(1)));
    /// ```
    ///
    /// # Errors
    /// When the receiver is gone: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        let sent = self.0.queue().put_in(item, Patience::None);
        sent.map_err(|(_, item)| SendError(item))
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

/// The sending end of a [`sync_channel`]; can be cloned. When the last is dropped, the receiver
/// takes what is left and is told then that there will be no more.
pub struct SyncSender<T>(pub(super) Sink<T>);

pub(super) enum Sink<T> {
    Queue(Putter<Queue<T>>),
    Channel(Putter<Channel<T>>),
}

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Sink<T> {
        match self {
            Sink::Queue(putter) => Sink::Queue(putter.clone()),
            Sink::Channel(putter) => Sink::Channel(putter.clone()),
        }
    }
}

impl<T> SyncSender<T> {
    /// Sends an item, when there is room for it; in a channel with a bound of 0, when it is
    /// received.
    ///
    /// # Errors
    /// When the receiver is gone, also meanwhile: the item comes back.
    ///
    /// # Panics
    /// In the root, when nothing is left that could receive ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until there is room, or it is received; who came earlier is served first. Also when there
    /// is, it lets others run now and then. A kill or a timeout unwinds, and the item is dropped.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        let sent = self.put(item, Patience::Endless);
        sent.map_err(|(_, item)| SendError(item))
    }

    /// Sends an item if there is room for it now; in a channel with a bound of 0, if somebody
    /// waits to receive it.
    ///
    /// # Errors
    /// When there is not, or the receiver is gone: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let sent = self.put(item, Patience::None);
        sent.map_err(|(refusal, item)| match refusal {
            Refusal::NotNow => TrySendError::Full(item),
            Refusal::Closed => TrySendError::Disconnected(item),
        })
    }

    /// As [`send`](SyncSender::send), for at most `limit`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::mpsc::{SendTimeoutError, sync_channel};
    /// use std::time::Duration;
    /// let (sender, _receiver) = sync_channel(1);
    /// sender.send(1).unwrap();
    /// let late = sender.send_timeout(2, Duration::from_millis(5));
    /// assert_eq!(late, Err(SendTimeoutError::Timeout(2)));
    /// ```
    ///
    /// # Errors
    /// When there was no room in time, or the receiver is gone: the item comes back.
    ///
    /// # Panics
    /// As [`send`](SyncSender::send), when `limit` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`send`](SyncSender::send), and no longer than `limit`.
    pub fn send_timeout(&self, item: T, limit: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_within(item, Patience::of(limit))
    }

    pub(super) fn send_within(
        &self,
        item: T,
        patience: Patience,
    ) -> Result<(), SendTimeoutError<T>> {
        let sent = self.put(item, patience);
        sent.map_err(|(refusal, item)| match refusal {
            Refusal::NotNow => SendTimeoutError::Timeout(item),
            Refusal::Closed => SendTimeoutError::Disconnected(item),
        })
    }

    fn put(&self, item: T, patience: Patience) -> Result<(), (Refusal, T)> {
        match &self.0 {
            Sink::Queue(putter) => putter.queue().put_in(item, patience),
            Sink::Channel(putter) => putter.queue().put_in(item, patience),
        }
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        SyncSender(self.0.clone())
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

/// An item that was not sent in time, or to nobody, comes back: the error of
/// [`SyncSender::send_timeout`]. As std's, which is not stable.
///
/// # Examples
/// See [`SyncSender::send_timeout`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room in time; in a channel with a bound of 0, nobody received it in time.
    Timeout(T),
    /// The receiver is gone.
    Disconnected(T),
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendTimeoutError(..)")
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendTimeoutError::Timeout(_) => f.write_str("timed out waiting on send operation"),
            SendTimeoutError::Disconnected(_) => f.write_str("sending on a disconnected channel"),
        }
    }
}

impl<T> std::error::Error for SendTimeoutError<T> {}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(item): SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(item)
    }
}

/// The receiving end of a [`channel`] or [`sync_channel`]. When it is dropped, what is left is
/// dropped with it, and senders get their items back.
///
/// Can be [waited for](crate::wait_any): it is ready when there is an item, or no sender any more.
///
/// # Examples
/// ```
/// use greenroom::{Deadline, sync::mpsc::channel, wait_any};
/// use std::time::Duration;
/// let (_sender, receiver) = channel::<u8>();
/// let late = Deadline::after(Duration::from_millis(5));
/// assert_eq!(wait_any(&[&receiver, &late]), 1);
/// ```
pub struct Receiver<T>(pub(super) Source<T>);

pub(super) enum Source<T> {
    Queue(Getter<Queue<T>>),
    Channel(Getter<Channel<T>>),
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Source<T> {
        match self {
            Source::Queue(getter) => Source::Queue(getter.clone()),
            Source::Channel(getter) => Source::Channel(getter.clone()),
        }
    }
}

impl<T> Receiver<T> {
    fn get(&self, patience: Patience) -> Result<T, Refusal> {
        match &self.0 {
            Source::Queue(getter) => getter.queue().get_out(patience),
            Source::Channel(getter) => getter.queue().get_out(patience),
        }
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
        self.get(Patience::Endless).map_err(|_| RecvError)
    }

    /// Takes the next item, if there is one.
    ///
    /// # Errors
    /// When there is none; whether all senders are gone is told by the error.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.get(Patience::None).map_err(|refusal| match refusal {
            Refusal::NotNow => TryRecvError::Empty,
            Refusal::Closed => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Receiver::recv), for at most `limit`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::mpsc::{RecvTimeoutError, channel};
    /// use std::time::Duration;
    /// let (_sender, receiver) = channel::<u8>();
    /// let late = receiver.recv_timeout(Duration::from_millis(5));
    /// assert_eq!(late, Err(RecvTimeoutError::Timeout));
    /// ```
    ///
    /// # Errors
    /// When there was nothing in time, or there is none and all senders are gone.
    ///
    /// # Panics
    /// As [`recv`](Receiver::recv), when `limit` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`recv`](Receiver::recv), and no longer than `limit`.
    pub fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_within(Patience::of(limit))
    }

    pub(super) fn recv_within(&self, patience: Patience) -> Result<T, RecvTimeoutError> {
        self.get(patience).map_err(|refusal| match refusal {
            Refusal::NotNow => RecvTimeoutError::Timeout,
            Refusal::Closed => RecvTimeoutError::Disconnected,
        })
    }

    /// Takes one item after the other, until all senders are gone.
    ///
    /// # Parks
    /// The iteration does, as [`recv`](Receiver::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Takes one item after the other, until there is none.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

impl<T> Subscribe for Receiver<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        match &self.0 {
            Source::Queue(getter) => getter.subscribe(ready),
            Source::Channel(getter) => getter.subscribe(ready),
        }
    }
}

impl<T> Waitable for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Iterator made by [`Receiver::iter`].
#[derive(Debug)]
#[must_use = "nothing is received until the iterator is used"]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// Iterator made by [`Receiver::try_iter`].
#[derive(Debug)]
#[must_use = "nothing is received until the iterator is used"]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// Iterator over an owned [`Receiver`].
#[derive(Debug)]
#[must_use = "nothing is received until the iterator is used"]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
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
        IntoIter(self)
    }
}
