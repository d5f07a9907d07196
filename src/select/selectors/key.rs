//! What is registered, and under which token the kernel knows it.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::Events;

/// A descriptor with what it is watched for and the data that it was registered with.
///
/// A clone shares the data.
#[non_exhaustive]
pub struct SelectorKey<T> {
    /// The descriptor's number.
    pub fd: RawFd,
    /// What it is watched for.
    pub events: Events,
    /// What was given to [`register`](super::Selector::register).
    pub data: Arc<T>,
}

impl<T> SelectorKey<T> {
    pub(super) fn new(fd: RawFd, events: Events, data: T) -> SelectorKey<T> {
        SelectorKey {
            fd,
            events,
            data: Arc::new(data),
        }
    }
}

impl<T> Clone for SelectorKey<T> {
    fn clone(&self) -> SelectorKey<T> {
        SelectorKey {
            data: Arc::clone(&self.data),
            ..*self
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for SelectorKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectorKey")
            .field("fd", &self.fd)
            .field("events", &self.events)
            .field("data", &self.data)
            .finish()
    }
}

/// The keys of a selector. A token is the descriptor's number with a count above it, which tells
/// a descriptor from others that had its number before.
pub(super) struct Keys<T> {
    by_fd: HashMap<RawFd, (SelectorKey<T>, u64)>,
    count: u32,
}

impl<T> Keys<T> {
    pub(super) fn new() -> Keys<T> {
        Keys {
            by_fd: HashMap::new(),
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_fd.len()
    }

    /// A token that no key has, nor one of the last four billion.
    pub(super) fn next_token(&mut self, fd: RawFd) -> u64 {
        self.count = self.count.wrapping_add(1);
        u64::from(self.count) << 32 | u64::from(fd as u32)
    }

    /// Gives back the key that was there.
    pub(super) fn insert(&mut self, token: u64, key: SelectorKey<T>) -> Option<SelectorKey<T>> {
        let old = self.by_fd.insert(key.fd, (key, token));
        old.map(|(key, _)| key)
    }

    pub(super) fn remove(&mut self, fd: RawFd) -> Option<SelectorKey<T>> {
        self.by_fd.remove(&fd).map(|(key, _)| key)
    }

    pub(super) fn get(&self, fd: RawFd) -> Option<(&SelectorKey<T>, u64)> {
        self.by_fd.get(&fd).map(|(key, token)| (key, *token))
    }

    /// The key of a token; `None` if what it named is no longer registered.
    pub(super) fn named(&self, token: u64) -> Option<&SelectorKey<T>> {
        let (key, its) = self.get(token as u32 as RawFd)?;
        (its == token).then_some(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SelectorKey<T>, u64)> {
        self.by_fd.values().map(|(key, token)| (key, *token))
    }
}
