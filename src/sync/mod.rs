//! Locks and events for greenlets on any hub and for plain OS threads.

pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};

mod event;
pub(crate) mod waiting;
pub(crate) mod waitlist;

pub use event::Event;
