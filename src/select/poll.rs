//! The polling object: descriptors, and what to ask about each.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::Events;
use super::descriptor::{Descriptor, number_of};
use super::wait::{self, List, Look};
use crate::sys::poll::PollFd;

/// Descriptors to be asked about together, as often as one likes: poll(2) with a memory, as
/// Python's `select.poll()`.
///
/// It remembers numbers. What is closed is told as [`Events::INVALID`] by the next call, until it
/// is unregistered, or until its number is given to something else, which is then watched. A call
/// that waits already does not notice, unless something else happens.
///
/// # Examples
/// ```
/// use greenroom::select::{Events, Poll};
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
///
/// let (reader, mut writer) = greenroom::io::pipe()?;
/// let mut poll = Poll::new();
/// poll.register(&reader, Events::READ)?;
/// greenroom::spawn(move || writer.write_all(b"x").map(|()| writer));
/// assert_eq!(poll.poll(None)?[0].0, reader.as_raw_fd());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Poll {
    asked: BTreeMap<RawFd, Events>,
}

impl Poll {
    /// One that watches nothing yet.
    pub fn new() -> Poll {
        Poll::default()
    }

    /// Watches `fd` for `events` from now on. If it is watched already, for these instead.
    ///
    /// With [`Events::empty`] only what is told unasked is told. Whether the descriptor is open
    /// is found by the next [`poll`](Poll::poll).
    ///
    /// # Errors
    /// InvalidInput for a negative number, and for [`Events::EDGE`] and [`Events::ONESHOT`].
    pub fn register(&mut self, fd: impl Descriptor, events: Events) -> io::Result<()> {
        let fd = number_of(&fd)?;
        events.check_level()?;
        self.asked.insert(fd, events);
        Ok(())
    }

    /// Watches `fd`, which is registered, for other events.
    ///
    /// # Errors
    /// NotFound when it is not registered; otherwise as [`register`](Poll::register).
    pub fn modify(&mut self, fd: impl Descriptor, events: Events) -> io::Result<()> {
        events.check_level()?;
        let fd = fd.number();
        let asked = self.asked.get_mut(&fd).ok_or_else(|| unknown(fd))?;
        *asked = events;
        Ok(())
    }

    /// Stops watching `fd`, closed or not.
    ///
    /// # Errors
    /// NotFound when it is not registered.
    pub fn unregister(&mut self, fd: impl Descriptor) -> io::Result<()> {
        let fd = fd.number();
        self.asked.remove(&fd).map(drop).ok_or_else(|| unknown(fd))
    }

    /// Waits until there is something to tell, and tells it, by descriptor in ascending order.
    /// Nothing after `timeout`; with one of zero it only looks.
    ///
    /// # Examples
    /// ```
    /// use greenroom::select::{Events, Poll};
    /// use std::os::fd::AsRawFd;
    /// use std::time::Duration;
    ///
    /// let (reader, writer) = greenroom::io::pipe()?;
    /// let mut poll = Poll::new();
    /// poll.register(&reader, Events::READ)?;
    /// assert_eq!(poll.poll(Some(Duration::from_millis(1)))?, []);
    /// drop(writer);
    /// assert_eq!(poll.poll(None)?, [(reader.as_raw_fd(), Events::HANGUP)]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: a wait needs a descriptor of its own. ECANCELED or ETIMEDOUT where
    /// a kill or a timeout can't unwind.
    ///
    /// # Panics
    /// In the root, without descriptors and without a timeout, when nothing is left to run.
    ///
    /// # Parks
    /// As [`select`](super::select()).
    pub fn poll(&self, timeout: Option<Duration>) -> io::Result<Vec<(RawFd, Events)>> {
        Ok(wait::wait(self, timeout)?.unwrap_or_default())
    }
}

impl Look for Poll {
    type Found = Vec<(RawFd, Events)>;

    fn list(&self) -> List {
        List::of(&self.asked)
    }

    fn judge(&self, fds: &[PollFd]) -> io::Result<Option<Self::Found>> {
        let found = fds.iter().filter(|fd| fd.found() != 0);
        let found: Vec<_> = found
            .map(|fd| (fd.fd(), Events::from_bits(fd.found())))
            .collect();
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

/// The error for what is not registered.
pub(super) fn unknown(fd: RawFd) -> io::Error {
    let what = format!("descriptor {fd} is not registered");
    io::Error::new(io::ErrorKind::NotFound, what)
}
