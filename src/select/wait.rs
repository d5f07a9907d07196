//! How poll(2) waits without blocking the OS thread: it asks without waiting, and parks on an
//! epoll set in which the same descriptors are.
//!
//! ```text
//!   glance: poll(2), timeout 0 --found something--> done
//!      | nothing
//!   a set of all of them, edge-triggered, itself watched by the hub
//!      |
//!      +--> empty the set, glance --found something, or time is up--> done
//!      |       | nothing                        (the set is closed)
//!      +----- park until the set is readable
//! ```
//!
//! The set only says when to look again; what is told is always poll(2)'s own answer. The order
//! matters: what happens after the set was emptied fills it again. It is edge-triggered so that
//! what nobody asked about (a hang-up where only urgent data is awaited) wakes once, and is not
//! spun on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::cancel;
use crate::hub::{Why, with_hub};
use crate::io::Source;
use crate::poller::Interest;
use crate::sys::clock;
use crate::sys::event_fd::EventFd;
use crate::sys::poll::{self, PollFd, Told, bits};

/// What is waited for.
pub(super) trait Look {
    type Found;

    /// The descriptors, and what is asked about each; no number twice.
    fn list(&self) -> List;

    /// Makes something of what was found, if it is worth while.
    fn judge(&self, fds: &[PollFd]) -> io::Result<Option<Self::Found>>;

    /// Rung when the list has changed, if it can.
    fn changes(&self) -> io::Result<Option<Arc<EventFd>>> {
        Ok(None)
    }
}

pub(super) struct List {
    /// Another one after each change.
    pub(super) version: u64,
    pub(super) fds: Vec<PollFd>,
}

/// Waits until there is something to be found, at most for `limit`.
pub(super) fn wait<L: Look>(look: &L, limit: Option<Duration>) -> io::Result<Option<L::Found>> {
    let deadline = limit.map(|limit| clock::saturating_add(cancel::fresh_now(), limit));
    begin_operation()?;
    let (mut found, mut list) = glance(look)?;
    if found.is_some() {
        count_operation();
        return Ok(found);
    }
    if limit == Some(Duration::ZERO) {
        let_others_run()?;
        return Ok(glance(look)?.0);
    }
    while found.is_none() {
        let bell = look.changes()?;
        if list.fds.is_empty() && bell.is_none() {
            return wait_for_nothing(deadline).map(|()| None);
        }
        let set = set_of(&list.fds, bell.as_deref())?;
        let left = deadline.map(|end| end.saturating_sub(cancel::fresh_now()));
        let outcome = set.retry_within(left.map(Duration::from_nanos), Interest::Read, |set| {
            Told::by(set, list.fds.len() + 1)?;
            let (found, now) = glance(look)?;
            match (&found, now.version == list.version) {
                (None, true) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok((found, now)),
            }
        });
        (found, list) = match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            outcome => outcome?,
        };
    }
    Ok(found)
}

/// Asks without waiting.
fn glance<L: Look>(look: &L) -> io::Result<(Option<L::Found>, List)> {
    let mut list = look.list();
    poll::look(&mut list.fds)?;
    Ok((look.judge(&list.fds)?, list))
}

/// A set that is readable when something happens at one of `fds`.
fn set_of(fds: &[PollFd], bell: Option<&EventFd>) -> io::Result<Source> {
    let set = Source::new(poll::new_set()?);
    for fd in fds {
        match poll::add(set.as_fd(), fd.fd(), fd.asked() | bits::EDGE, 0) {
            // A regular file, of which everything that ever happens has been found already.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            // Closed since the glance: the next one finds it.
            Err(error) if error.raw_os_error() == Some(crate::sys::errno::EBADF) => {}
            added => added?,
        }
    }
    if let Some(bell) = bell {
        let fd = bell.as_fd().as_raw_fd();
        poll::add(set.as_fd(), fd, bits::READ | bits::EDGE, 0)?;
    }
    Ok(set)
}

/// Without a single descriptor it is a sleep; one without an end is a deadlock, and told as one.
fn wait_for_nothing(deadline: Option<u64>) -> io::Result<()> {
    while deadline.is_none_or(|deadline| cancel::now() < deadline) {
        cancel::park(Why::Helper("none of no descriptors"), deadline)?;
    }
    Ok(())
}

/// What is always ready parks for a turn now and then, as reads and writes do.
pub(super) fn begin_operation() -> io::Result<()> {
    with_hub(|hub| match (hub, hub.and_then(|hub| hub.running())) {
        (Some(hub), Some(task)) if hub.is_budget_spent() => {
            hub.yield_now();
            cancel::check(hub, task)
        }
        _ => Ok(()),
    })
}

/// To be called when one has succeeded without parking.
pub(super) fn count_operation() {
    with_hub(|hub| hub.map(|hub| hub.count_operation()));
}

/// A wait of no time that has found nothing: a loop of them is not to keep others from running.
pub(super) fn let_others_run() -> io::Result<()> {
    with_hub(|hub| match (hub, hub.and_then(|hub| hub.running())) {
        (Some(hub), Some(task)) => {
            cancel::check(hub, task)?;
            hub.yield_now();
            cancel::check(hub, task)
        }
        _ => Ok(()),
    })
}
