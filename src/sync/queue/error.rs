//! What putting and getting say when they can't. Whoever could not put gets the item back.

use std::fmt;

use super::store::Refusal;

/// The queue is closed: `put` gives the item back.
///
/// # Examples
/// ```
/// use greenroom::sync::{PutError, Queue};
/// let queue = Queue::new();
/// queue.close();
/// assert_eq!(queue.put(7), Err(PutError(7)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PutError<T>(pub T);

/// Why `try_put` gives the item back.
///
/// # Examples
/// ```
/// use greenroom::sync::{Queue, TryPutError};
/// let queue = Queue::bounded(1);
/// queue.try_put("first").unwrap();
/// assert_eq!(queue.try_put("second"), Err(TryPutError::Full("second")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room that is not promised to others; in a channel, nobody waits for an item.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

/// Why `put_timeout` gives the item back.
///
/// # Examples
/// ```
/// use greenroom::sync::{PutTimeoutError, Queue};
/// use std::time::Duration;
/// let queue = Queue::bounded(0);
/// let late = queue.put_timeout("item", Duration::from_millis(1));
/// assert_eq!(late, Err(PutTimeoutError::Timeout("item")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// The queue is closed.
    Closed(T),
}

/// The queue is closed and empty: there will never be an item again.
///
/// # Examples
/// ```
/// use greenroom::sync::{GetError, Queue};
/// let queue = Queue::from_iter([1]);
/// queue.close();
/// assert_eq!(queue.get(), Ok(1));
/// assert_eq!(queue.get(), Err(GetError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetError;

/// Why `try_get` has no item.
///
/// # Examples
/// ```
/// use greenroom::sync::{Queue, TryGetError};
/// let queue = Queue::<u8>::new();
/// assert_eq!(queue.try_get(), Err(TryGetError::Empty));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// There is nothing that is not promised to others.
    Empty,
    /// The queue is closed and empty.
    Closed,
}

/// Why `get_timeout` has no item.
///
/// # Examples
/// ```
/// use greenroom::sync::{GetTimeoutError, Queue};
/// use std::time::Duration;
/// let queue = Queue::<u8>::new();
/// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(GetTimeoutError::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetTimeoutError {
    /// There was nothing in time.
    Timeout,
    /// The queue is closed and empty.
    Closed,
}

const CLOSED: &str = "the queue is closed";
const EMPTY: &str = "the queue is empty";
const OVER: &str = "the queue is closed and empty";
const FULL: &str = "the queue is full";
const LATE: &str = "timed out waiting on the queue";

impl<T> PutError<T> {
    /// The item that was not put.
    pub fn into_inner(self) -> T {
        self.0
    }

    pub(in crate::sync) fn new((_, item): (Refusal, T)) -> PutError<T> {
        PutError(item)
    }
}

impl<T> TryPutError<T> {
    /// The item that was not put.
    pub fn into_inner(self) -> T {
        let (TryPutError::Full(item) | TryPutError::Closed(item)) = self;
        item
    }

    pub(in crate::sync) fn new((refusal, item): (Refusal, T)) -> TryPutError<T> {
        match refusal {
            Refusal::NotNow => TryPutError::Full(item),
            Refusal::Closed => TryPutError::Closed(item),
        }
    }
}

impl<T> PutTimeoutError<T> {
    /// The item that was not put.
    pub fn into_inner(self) -> T {
        let (PutTimeoutError::Timeout(item) | PutTimeoutError::Closed(item)) = self;
        item
    }

    pub(in crate::sync) fn new((refusal, item): (Refusal, T)) -> PutTimeoutError<T> {
        match refusal {
            Refusal::NotNow => PutTimeoutError::Timeout(item),
            Refusal::Closed => PutTimeoutError::Closed(item),
        }
    }
}

impl GetError {
    pub(in crate::sync) fn new(_: Refusal) -> GetError {
        GetError
    }
}

impl TryGetError {
    pub(in crate::sync) fn new(refusal: Refusal) -> TryGetError {
        match refusal {
            Refusal::NotNow => TryGetError::Empty,
            Refusal::Closed => TryGetError::Closed,
        }
    }
}

impl GetTimeoutError {
    pub(in crate::sync) fn new(refusal: Refusal) -> GetTimeoutError {
        match refusal {
            Refusal::NotNow => GetTimeoutError::Timeout,
            Refusal::Closed => GetTimeoutError::Closed,
        }
    }
}

// As std's: so that an error can be unwrapped whatever the item is.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Debug for PutTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutTimeoutError::Timeout(_) => "Timeout(..)",
            PutTimeoutError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLOSED)
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => FULL,
            TryPutError::Closed(_) => CLOSED,
        })
    }
}

impl<T> fmt::Display for PutTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutTimeoutError::Timeout(_) => LATE,
            PutTimeoutError::Closed(_) => CLOSED,
        })
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OVER)
    }
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryGetError::Empty => EMPTY,
            TryGetError::Closed => OVER,
        })
    }
}

impl fmt::Display for GetTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GetTimeoutError::Timeout => LATE,
            GetTimeoutError::Closed => OVER,
        })
    }
}

impl<T> std::error::Error for PutError<T> {}
impl<T> std::error::Error for TryPutError<T> {}
impl<T> std::error::Error for PutTimeoutError<T> {}
impl std::error::Error for GetError {}
impl std::error::Error for TryGetError {}
impl std::error::Error for GetTimeoutError {}
