//! Readiness of descriptors: an edge-triggered epoll set and who waits for what.
//!
//! ```text
//!   fd --ADD once, ET, both directions--> epoll --token--> Registry[slot]   (generation checked)
//!                                                            read:  ready?  waiters (FIFO)
//!                                                            write: ready?  waiters (FIFO)
//! ```
//!
//! A descriptor is added once for its life and never re-armed. The registry remembers what the
//! kernel said last; an operation that would find nothing is then not even tried. What waits is
//! a type parameter: this room knows nothing of tasks.

#[cfg(feature = "monkey")]
mod numbers;
mod registry;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;

#[cfg(feature = "monkey")]
pub(crate) use numbers::{Known, Mode, Numbers};
pub(crate) use registry::{Interest, Key, Registry};

use crate::sys::epoll::{Epoll, Events};
use crate::sys::event_fd::EventFd;

/// Events taken per wait; more are left for the next one, so that a turn stays short.
const EVENTS_MAX: usize = 128;

/// The token of the doorbell: no slot has it, since a slot's generation never is `u32::MAX`.
const DOORBELL: u64 = u64::MAX;

/// An epoll instance with its registry.
#[derive(Debug)]
pub(crate) struct Poller<W> {
    epoll: Arc<Epoll>,
    events: Events,
    registry: Registry<W>,
    /// Events are served in the order of registration: for runs that must repeat.
    ordered: bool,
    /// Those that were made for who knows a number only.
    #[cfg(feature = "monkey")]
    pub(crate) numbers: Numbers,
}

impl<W: Copy + PartialEq> Poller<W> {
    pub(crate) fn new(doorbell: &EventFd, ordered: bool) -> io::Result<Poller<W>> {
        let epoll = Arc::new(Epoll::new()?);
        epoll.add(doorbell.as_fd(), DOORBELL)?;
        let events = Events::with_capacity(EVENTS_MAX);
        Ok(Poller {
            epoll,
            events,
            registry: Registry::new(),
            ordered,
            #[cfg(feature = "monkey")]
            numbers: Numbers::default(),
        })
    }

    pub(crate) fn registry(&mut self) -> &mut Registry<W> {
        &mut self.registry
    }

    /// Number of descriptors watched.
    pub(crate) fn len(&self) -> usize {
        self.registry.len()
    }

    /// Number of those who wait for a descriptor.
    pub(crate) fn waiting(&self) -> usize {
        self.registry.waiting()
    }

    /// Begins to watch `fd`, which people know by the number `known_as`.
    ///
    /// # Errors
    /// EPERM for what epoll can't watch (regular files, which are always ready), ENOSPC and
    /// ENOMEM at the kernel's limits.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, known_as: RawFd) -> io::Result<Key> {
        let key = self.registry.insert(known_as);
        let mut added = self.epoll.add(fd, key.token());
        if matches!(&added, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            // The number was closed behind our back and came back for the same open file.
            let _ = self.epoll.delete(fd);
            added = self.epoll.add(fd, key.token());
        }
        if let Err(error) = added {
            self.registry.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    /// As [`register`](Poller::register), but leaves a registration that there is already alone.
    ///
    /// # Errors
    /// EEXIST then; otherwise as `register`.
    #[cfg(feature = "monkey")]
    pub(crate) fn watch(&mut self, fd: BorrowedFd<'_>, known_as: RawFd) -> io::Result<Key> {
        let key = self.registry.insert(known_as);
        self.epoll
            .add(fd, key.token())
            .map(|()| key)
            .inspect_err(|_| {
                self.registry.remove(key);
            })
    }

    /// Stops watching `fd`; gives back who still waited, for them to be told.
    pub(crate) fn deregister(&mut self, key: Key, fd: BorrowedFd<'_>) -> Vec<W> {
        // Also for a key that is stale: the duplicate that somebody waited with is to leave the
        // set, even if the wait was cancelled by its original. An error says that it has left by
        // itself. To log it here would call into a logger that may wait for descriptors itself.
        let _ = self.epoll.delete(fd);
        self.registry.remove(key)
    }

    /// Has what is ready now at `fd` reported once more.
    pub(crate) fn repeat(&self, key: Key, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.repeat(fd, key.token())
    }

    /// Waits for events and hands everyone to be woken to `wake`. Returns the number of events.
    pub(crate) fn poll(
        &mut self,
        timeout_ns: Option<u64>,
        mut wake: impl FnMut(W),
    ) -> io::Result<usize> {
        self.epoll.wait(&mut self.events, timeout_ns)?;
        if self.ordered {
            self.events.sort();
        }
        let mut seen = 0;
        for (token, readiness) in self.events.iter() {
            seen += 1;
            if token != DOORBELL {
                self.registry
                    .fire(Key::of_token(token), readiness, &mut wake);
            }
        }
        Ok(seen)
    }

    /// The epoll instance, for other threads that close what is registered here.
    pub(crate) fn epoll(&self) -> Arc<Epoll> {
        Arc::clone(&self.epoll)
    }
}
