//! Descriptors among the things that one waits for together.
//!
//! As [`wait_readable`](super::wait_readable), with a duplicate that has an entry of its own in
//! the epoll set. The poller wakes tasks and calls nobody, so whoever waits asks after each wake.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::Source;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};
use crate::hub::{Hub, Message, TaskPtr, TaskRef, current_hub, with_hub};
use crate::poller::{Interest, Key};
use crate::sys;

/// A descriptor to be waited for among other things, ready when a read would not block. Made by
/// [`readable`].
pub struct Readable<'fd>(BorrowedFd<'fd>);

/// A descriptor to be waited for among other things, ready when a write would not block. Made by
/// [`writable`].
pub struct Writable<'fd>(BorrowedFd<'fd>);

/// `fd`, to be waited for until it can be read: for [`wait_any`](crate::wait_any) and its like.
/// Nothing is read.
///
/// A descriptor that can't be watched counts as ready: a regular file, one whose waits were
/// [cancelled](super::cancel_waits), any when there are no more descriptors to be had. The
/// operation itself then says what is the matter.
///
/// # Examples
/// ```
/// use greenroom::io::{self, Read, Write, readable};
/// use greenroom::{sync::Event, wait_any};
///
/// let (mut reader, mut writer) = io::pipe()?;
/// let stop = Event::new();
/// let echo = greenroom::spawn(move || writer.write_all(b"x"));
/// assert_eq!(wait_any(&[&stop, &readable(&reader)]), 1);
/// reader.read_exact(&mut [0])?;
/// # echo.join().unwrap()?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn readable<Fd: AsFd + ?Sized>(fd: &Fd) -> Readable<'_> {
    Readable(fd.as_fd())
}

/// `fd`, to be waited for until it can be written; otherwise as [`readable`].
///
/// # Examples
/// ```
/// use greenroom::io::{pipe, writable};
/// let (_reader, writer) = pipe()?;
/// assert_eq!(greenroom::wait_any(&[&writable(&writer)]), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn writable<Fd: AsFd + ?Sized>(fd: &Fd) -> Writable<'_> {
    Writable(fd.as_fd())
}

impl Subscribe for Readable<'_> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        watch(self.0, Interest::Read, ready)
    }
}

impl Waitable for Readable<'_> {}

impl Subscribe for Writable<'_> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        watch(self.0, Interest::Write, ready)
    }
}

impl Waitable for Writable<'_> {}

impl fmt::Debug for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readable").field(&self.0).finish()
    }
}

impl fmt::Debug for Writable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writable").field(&self.0).finish()
    }
}

fn watch(
    fd: BorrowedFd<'_>,
    interest: Interest,
    ready: Ready,
) -> Option<Box<dyn Subscription + 'static>> {
    let watch = (!is_ready(fd, interest))
        .then(|| Watch::new(fd, interest))
        .flatten();
    match watch {
        Some(watch) => Some(Box::new(watch)),
        None => {
            ready.call();
            None
        }
    }
}

/// Also when that can't be told.
fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> bool {
    let read = interest == Interest::Read;
    sys::fd::poll(Some(fd), read, !read, Some(0)).unwrap_or(true)
}

/// A duplicate of a descriptor, in the epoll set of each hub on which it was asked about.
struct Watch {
    source: Source,
    interest: Interest,
    /// Who has ever asked: the poller knows the last of each hub by address, so they stay as
    /// long as this does.
    askers: Askers,
}

/// Counted for as long as a hub may wake them: on another hub than theirs, the end of a source
/// is a message to it, so what lets go of them is one as well, behind that.
struct Askers(Vec<TaskRef>);

impl Drop for Askers {
    fn drop(&mut self) {
        for task in self.0.drain(..) {
            if !with_hub(|hub| hub.is_some_and(|hub| hub.owns(&task))) {
                let home = Arc::clone(&task.hub);
                home.send(Message::Return(task));
            }
        }
    }
}

impl Watch {
    fn new(fd: BorrowedFd<'_>, interest: Interest) -> Option<Watch> {
        let watch = Watch {
            source: Source::stand_in(fd).ok()?,
            interest,
            askers: Askers(Vec::new()),
        };
        let registered = current_hub(|hub| watch.key(hub).is_some());
        registered.unwrap_or(false).then_some(watch)
    }

    fn key(&self, hub: &Hub) -> Option<Key> {
        self.source.registrations.on(hub).or_else(|| {
            let key = self.source.register_on(hub).ok()?;
            // What is ready by now is told all the same: so it is when a descriptor is added.
            let mut poller = hub.poller.borrow_mut();
            poller.registry().exhausted(key, self.interest);
            Some(key)
        })
    }

    /// Has `task` woken, and nobody else, when there is an event. `None` when nothing can wake it.
    fn is_eventful(&mut self, hub: &Hub, task: TaskPtr) -> Option<bool> {
        let key = self.key(hub)?;
        let mut poller = hub.poller.borrow_mut();
        let registry = poller.registry();
        let askers = self.askers.0.iter().map(|asker| TaskPtr::new(asker));
        for former in askers.filter(|asker| *asker != task) {
            registry.leave(key, self.interest, former);
        }
        registry.enqueue(key, self.interest, task);
        let eventful = registry.may_try(key, self.interest, task);
        drop(poller);
        if !self
            .askers
            .0
            .iter()
            .any(|asker| TaskPtr::new(asker) == task)
        {
            self.askers.0.push(task.counted());
        }
        eventful
    }
}

impl Subscription for Watch {
    fn is_asked(&self) -> bool {
        true
    }

    fn ask(&mut self) -> bool {
        let interest = self.interest;
        with_hub(|hub| {
            let Some((hub, task)) = hub.and_then(|hub| Some((hub, hub.running()?))) else {
                // Inside the hub nobody parks for long.
                return is_ready(self.source.as_fd(), interest);
            };
            match self.is_eventful(hub, task) {
                None => true,
                Some(false) => false,
                Some(true) if is_ready(self.source.as_fd(), interest) => true,
                Some(true) => {
                    if let Some(key) = self.source.registrations.on(hub) {
                        let mut poller = hub.poller.borrow_mut();
                        poller.registry().exhausted(key, interest);
                    }
                    false
                }
            }
        })
    }
}
