//! Why a join gives no result.

use std::any::Any;
use std::fmt;
use std::io;

use crate::cancel;

/// Why there is no result of a greenlet: it panicked, was killed, or could not be started.
///
/// # Examples
/// ```
/// let panicked = greenroom::spawn(|| panic!("oh")).join().unwrap_err();
/// assert!(panicked.is_panic());
/// assert_eq!(panicked.downcast_ref::<&str>(), Some(&"oh"));
///
/// let greenlet = greenroom::spawn(|| ());
/// greenlet.kill();
/// let killed = greenlet.join().unwrap_err();
/// assert!(killed.is_killed());
/// assert_eq!(killed.to_string(), "the greenlet was killed");
/// ```
pub struct JoinError(Failure);

enum Failure {
    Killed,
    Panic(Box<dyn Any + Send + 'static>),
    NotStarted(io::Error),
    Abandoned,
    Cancelled,
    /// It has returned an error, or panicked, and its scope has the error or the payload.
    OfScope,
}

// SAFETY: by reference the payload is reached only as a type that is `Sync` (`downcast_ref`'s
// bound, and the strings that `Display` looks for), and `is` asks for no more than its type; as
// anything else it is reached only by value.
unsafe impl Sync for JoinError {}

impl JoinError {
    pub(super) fn killed() -> JoinError {
        JoinError(Failure::Killed)
    }

    pub(crate) fn abandoned() -> JoinError {
        JoinError(Failure::Abandoned)
    }

    pub(super) fn of_scope() -> JoinError {
        JoinError(Failure::OfScope)
    }

    pub(crate) fn cancelled() -> JoinError {
        JoinError(Failure::Cancelled)
    }

    pub(crate) fn not_started(error: io::Error) -> JoinError {
        JoinError(Failure::NotStarted(error))
    }

    pub(crate) fn of_payload(payload: Box<dyn Any + Send>) -> JoinError {
        if cancel::is_kill(&*payload) {
            JoinError::killed()
        } else {
            JoinError(Failure::Panic(payload))
        }
    }

    /// The greenlet was killed; the job of a [thread pool](crate::threadpool) was taken back before
    /// it began.
    pub fn is_killed(&self) -> bool {
        matches!(self.0, Failure::Killed | Failure::Cancelled)
    }

    /// The greenlet panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Failure::Panic(_))
    }

    /// What the greenlet panicked with, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Examples
    /// ```
    /// let error = greenroom::spawn(|| panic!("oh")).join().unwrap_err();
    /// assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"oh"));
    /// ```
    ///
    /// # Panics
    /// When the greenlet did not panic: see [`is_panic`](JoinError::is_panic).
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.0 {
            Failure::Panic(payload) => payload,
            other => panic!(
                "into_panic of a greenlet that did not panic: {}",
                JoinError(other)
            ),
        }
    }

    /// Whether the greenlet panicked with a `T`, as `Box<dyn Any>::is` says for std's threads.
    pub fn is<T: Any>(&self) -> bool {
        match &self.0 {
            Failure::Panic(payload) => payload.is::<T>(),
            _ => false,
        }
    }

    /// The `T` that the greenlet panicked with, as `Box<dyn Any>::downcast` gives for std's
    /// threads.
    ///
    /// # Examples
    /// ```
    /// let error = greenroom::spawn(|| std::panic::panic_any(7_u8)).join().unwrap_err();
    /// assert!(error.is::<u8>());
    /// let error = error.downcast::<&str>().unwrap_err();
    /// assert_eq!(*error.downcast::<u8>().unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// The error itself, when the greenlet panicked with something else, or did not panic.
    pub fn downcast<T: Any>(self) -> Result<Box<T>, JoinError> {
        match self.0 {
            Failure::Panic(payload) => payload
                .downcast()
                .map_err(|payload| JoinError(Failure::Panic(payload))),
            other => Err(JoinError(other)),
        }
    }

    /// Looks into the panic payload, as `Box<dyn Any>::downcast_ref` does for std's threads.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        match &self.0 {
            Failure::Panic(payload) => payload.downcast_ref(),
            _ => None,
        }
    }

    /// The greenlet was still parked when its OS thread ended (or when the [`run`](crate::run)
    /// that it belonged to gave it up), and has been leaked.
    ///
    /// # Examples
    /// ```
    /// let parked = || greenroom::spawn(greenroom::thread::park);
    /// let orphan = std::thread::spawn(parked).join().unwrap();
    /// assert!(orphan.join().unwrap_err().is_abandoned());
    /// ```
    pub fn is_abandoned(&self) -> bool {
        matches!(self.0, Failure::Abandoned)
    }

    /// Which lack of a resource kept the greenlet from starting, if that is what happened.
    pub fn not_started_because(&self) -> Option<&io::Error> {
        match &self.0 {
            Failure::NotStarted(error) => Some(error),
            _ => None,
        }
    }

    pub(super) fn panic_message(payload: &(dyn Any + Send)) -> &str {
        if let Some(text) = payload.downcast_ref::<&str>() {
            text
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text
        } else {
            "a value that is not text"
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Failure::Killed => write!(f, "the greenlet was killed"),
            Failure::Panic(payload) => {
                write!(
                    f,
                    "the greenlet panicked: {}",
                    JoinError::panic_message(&**payload)
                )
            }
            Failure::NotStarted(error) => write!(f, "the greenlet could not be started: {error}"),
            Failure::Cancelled => write!(f, "the job was taken back before it began"),
            Failure::OfScope => write!(f, "the greenlet failed, and its scope ends with that"),
            Failure::Abandoned => write!(f, "the greenlet's OS thread has ended without it"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.not_started_because().map(|error| error as _)
    }
}
