//! The names of `std::thread` over greenlets: to move code over, replace `std::thread` by
//! `greenroom::thread`.
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
pub use std::thread::{AccessError, available_parallelism, panicking};

pub use crate::local::LocalKey;

/// What a join gives: as `std::thread::Result`, with an error that tells a kill from a panic.
pub type Result<T> = std::result::Result<T, crate::greenlet::JoinError>;
