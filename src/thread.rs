//! Write threads as with `std::thread`, and get greenlets: to move code over, replace
//! `std::thread` by `greenroom::thread`.
//!
//! # What differs from std
//! * The error of a join is a [`JoinError`](crate::JoinError), because a greenlet can also be
//!   killed. It has `is`, `downcast` and `downcast_ref`, as std's `Box<dyn Any>`;
//!   [`into_panic`](crate::JoinError::into_panic) gives the payload to
//!   [`resume_unwind`](std::panic::resume_unwind).
//! * [`spawn`] does not panic if a resource is lacking: the join returns the error.
//! * A greenlet runs on the OS thread that spawned it, and first when that one parks. A loop that
//!   computes, or spins on an atomic, keeps the others from running; std's threads go on.
//! * Greenlets of one OS thread share its id and its name in the operating system (gettid(2),
//!   pthread_self(3), pthread_getname_np(3)). [`Thread::id`] and [`Thread::name`] are their own.
//! * Greenlets of a [`scope`] share their OS thread, so what they borrow need not be `Sync`, and
//!   [`Scope`] and [`ScopedJoinHandle`] stay on that thread.
//! * `thread_local!` is one value for all greenlets of an OS thread. Each greenlet has its own
//!   with [`green_local!`](crate::green_local).
//!
//! [`sync`](crate::sync#what-differs-from-std) and [`io`](crate::io#what-differs-from-std) say what
//! differs there.
//!
//! # Examples
//! ```
//! use greenroom::thread;
//! use std::time::Duration;
//!
//! let worker = thread::Builder::new().name("worker".into()).spawn(|| {
//!     thread::sleep(Duration::from_millis(1));
//!     thread::current().name().map(String::from)
//! })?;
//! assert_eq!(worker.join().unwrap().as_deref(), Some("worker"));
//! # Ok::<(), std::io::Error>(())
//! ```

pub use crate::greenlet::{
    Builder, Greenlet as JoinHandle, GreenletId as ThreadId, GreenletRef as Thread, Scope,
    ScopedGreenlet as ScopedJoinHandle, current, park, park_timeout, scope, sleep, sleep_until,
    spawn, yield_now,
};
use std::time::Duration;

pub use std::thread::{available_parallelism, panicking};

pub use crate::local::{AccessError, LocalKey};

/// As [`sleep`], for so many milliseconds.
#[deprecated(note = "replaced by `greenroom::thread::sleep`")]
pub fn sleep_ms(ms: u32) {
    sleep(Duration::from_millis(ms.into()));
}

/// As [`park_timeout`], for so many milliseconds.
#[deprecated(note = "replaced by `greenroom::thread::park_timeout`")]
pub fn park_timeout_ms(ms: u32) {
    park_timeout(Duration::from_millis(ms.into()));
}

/// What a join gives: as [`std::thread::Result`], with an error that tells a kill from a panic.
///
/// # Examples
/// ```
/// use greenroom::thread;
/// let result: thread::Result<u8> = thread::spawn(|| 7).join();
/// assert_eq!(result.unwrap(), 7);
/// ```
pub type Result<T> = std::result::Result<T, crate::greenlet::JoinError>;
