//! A channel for a single item, with the names of std's `sync::oneshot`, which is not stable.
//!
//! Each end is given away when it is used, so a second item can't be sent, nor asked for. For a
//! value that several can wait for, and ask for again, see [`AsyncResult`](super::AsyncResult).
//! This module follows std's nightly: when std changes its names, it does so too.
//!
//! # Examples
//! ```
//! use greenroom::sync::oneshot;
//!
//! let (sender, receiver) = oneshot::channel();
//! greenroom::spawn(move || sender.send("done").unwrap());
//! assert_eq!(receiver.recv(), Ok("done"));
//! ```

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use super::mpmc::{self, RecvError, SendError};
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};

/// Makes the two ends of a channel for a single item.
///
/// # Examples
/// See [the module](self).
#[doc(alias("promise", "one-shot", "single value"))]
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpmc::sync_channel(1);
    (Sender(sender), Receiver(receiver))
}

/// The sending end of a [`channel`].
pub struct Sender<T>(mpmc::Sender<T>);

impl<T> Sender<T> {
    /// Sends the item.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::mpsc::SendError;
    /// let (sender, receiver) = greenroom::sync::oneshot::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(1), Err(SendError(1)));
    /// ```
    ///
    /// # Errors
    /// When the receiver is gone: the item comes back.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn send(self, t: T) -> Result<(), SendError<T>> {
        self.0.send(t)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// The receiving end of a [`channel`].
///
/// Can be [waited for](crate::wait_any): it is ready when there is an item, or no sender any more.
pub struct Receiver<T>(mpmc::Receiver<T>);

impl<T> Receiver<T> {
    /// Waits for the item.
    ///
    /// # Errors
    /// When the sender is dropped without sending.
    ///
    /// # Panics
    /// In the root, when nothing is left that could send ("this operation would block forever").
    ///
    /// # Parks
    /// Until the item is sent. A kill or a timeout unwinds, and the receiver is dropped.
    pub fn recv(self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// Takes the item, if it has been sent.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::oneshot::{self, TryRecvError};
    /// let (sender, receiver) = oneshot::channel();
    /// let Err(TryRecvError::Empty(receiver)) = receiver.try_recv() else {
    ///     panic!("nothing has been sent yet");
    /// };
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_recv().unwrap(), 1);
    /// ```
    ///
    /// # Errors
    /// When it has not, in which case the receiver comes back, or when the sender is gone.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_recv(self) -> Result<T, TryRecvError<T>> {
        self.0.try_recv().map_err(|error| match error {
            mpmc::TryRecvError::Empty => TryRecvError::Empty(self),
            mpmc::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Receiver::recv), for at most `timeout`.
    ///
    /// # Errors
    /// When the item was not sent in time, in which case the receiver comes back, or when the
    /// sender is gone.
    ///
    /// # Panics
    /// As [`recv`](Receiver::recv), when `timeout` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`recv`](Receiver::recv), and no longer than `timeout`.
    pub fn recv_timeout(self, timeout: Duration) -> Result<T, RecvTimeoutError<T>> {
        let received = self.0.recv_timeout(timeout);
        received.map_err(|error| self.late(error))
    }

    /// As [`recv`](Receiver::recv), until `deadline` at the latest.
    ///
    /// # Errors
    /// # Parks
    /// As [`recv_timeout`](Receiver::recv_timeout).
    pub fn recv_deadline(self, deadline: Instant) -> Result<T, RecvTimeoutError<T>> {
        let received = self.0.recv_deadline(deadline);
        received.map_err(|error| self.late(error))
    }

    fn late(self, error: mpmc::RecvTimeoutError) -> RecvTimeoutError<T> {
        match error {
            mpmc::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout(self),
            mpmc::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
        }
    }
}

impl<T> Subscribe for Receiver<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.0.subscribe(ready)
    }
}

impl<T> Waitable for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Why [`Receiver::try_recv`] has no item.
pub enum TryRecvError<T> {
    /// Nothing has been sent yet. Here is the receiver.
    Empty(Receiver<T>),
    /// The sender was dropped without sending.
    Disconnected,
}

/// Why [`Receiver::recv_timeout`] or [`Receiver::recv_deadline`] has no item.
pub enum RecvTimeoutError<T> {
    /// Nothing was sent in time. Here is the receiver.
    Timeout(Receiver<T>),
    /// The sender was dropped without sending.
    Disconnected,
}

macro_rules! error {
    ($error:ident, $variant:ident, $text:literal) => {
        impl<T> fmt::Debug for $error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($error)).finish_non_exhaustive()
            }
        }

        impl<T> fmt::Display for $error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $error::$variant(_) => $text,
                    $error::Disconnected => "receiving on a closed oneshot channel",
                })
            }
        }

        impl<T> Error for $error<T> {}

        impl<T> From<RecvError> for $error<T> {
            fn from(RecvError: RecvError) -> $error<T> {
                $error::Disconnected
            }
        }
    };
}

error!(TryRecvError, Empty, "receiving on an empty oneshot channel");
error!(
    RecvTimeoutError,
    Timeout, "timed out waiting on oneshot channel"
);
