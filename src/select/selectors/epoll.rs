//! The selector that asks about nothing: the kernel keeps the list of what is ready.
//!
//! ```text
//!   fd, fd, fd --level-triggered--> the selector's epoll set --edge-triggered--> the hub's
//!                                            |                                      |
//!   select: take what is ready, without waiting; if nothing is, park until the set is readable
//! ```
//!
//! The set is a descriptor like any other, and waiting for it is like waiting for a pipe: look
//! first, park only when there was nothing. So it does not matter that the hub is told of edges
//! only, and a call costs as much as what it tells, however many descriptors are in the set.
//!
//! Two things that epoll can't do by itself:
//! * *Regular files* are refused, being always ready. An eventfd that is always ready stands in
//!   for each.
//! * *A descriptor that was closed while a duplicate of it lives* goes on reporting, and can't be
//!   taken out any more, for it has no number. A report under a token that names nothing shows
//!   it; then the set is made anew, from what is registered.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Events, Kind, Selector, State, Telling, closed, sealed};
use crate::hub::watch_forks;
use crate::io::{Source, cancel_waits};
use crate::poller::Interest;
use crate::select::wait;
use crate::sys::event_fd::EventFd;
use crate::sys::poll::{self, Told, bits};
use crate::sys::{errno, fork};

/// Told in one call; the kernel begins the next one with the rest.
const TOLD_MAX: usize = 1024;

/// The token of a bell: no descriptor has this number.
const BELL: u64 = u64::MAX;

/// The kind of an [`EpollSelector`](super::EpollSelector).
#[derive(Debug)]
pub struct Epoll {
    set: Arc<Set>,
    stand_ins: HashMap<RawFd, EventFd>,
    /// A forked child shares its parent's set, and must not change it.
    forks: u32,
}

/// An epoll set, which lives on while somebody looks at it.
#[derive(Debug)]
struct Set {
    source: Source,
    /// Wakes all when the set is given up.
    bell: OnceLock<EventFd>,
}

impl Set {
    fn new() -> io::Result<Arc<Set>> {
        let source = Source::new(poll::new_set()?);
        Ok(Arc::new(Set {
            source,
            bell: OnceLock::new(),
        }))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Has all who wait for it look again, on whatever hub they are.
    fn give_up(&self) {
        let rung = always_ready().and_then(|bell| {
            poll::add(self.fd(), bell.as_fd().as_raw_fd(), bits::READ, BELL)?;
            Ok(self.bell.set(bell))
        });
        if rung.is_err() {
            // Out of descriptors: those of this hub can be reached without.
            cancel_waits(&self.fd());
        }
    }
}

/// An eventfd with something in it, and room for more.
fn always_ready() -> io::Result<EventFd> {
    let fd = EventFd::new()?;
    fd.ring();
    Ok(fd)
}

impl Kind for Epoll {}

impl sealed::Kind for Epoll {
    const NAME: &'static str = "EpollSelector";

    fn new() -> io::Result<Epoll> {
        // Also where there is no hub yet.
        watch_forks();
        Ok(Epoll {
            set: Set::new()?,
            stand_ins: HashMap::new(),
            forks: fork::generation(),
        })
    }

    fn check(_: Events) -> io::Result<()> {
        Ok(())
    }

    fn add(&mut self, fd: RawFd, events: Events, token: u64, is_known: bool) -> io::Result<()> {
        if self.stand_ins.contains_key(&fd) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (set, asked) = (self.set.fd(), events.question());
        match poll::add(set, fd, asked, token) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let stand_in = always_ready()?;
                poll::add(set, stand_in.as_fd().as_raw_fd(), asked, token)?;
                self.stand_ins.insert(fd, stand_in);
                Ok(())
            }
            // Closed under its number without a word, unregistered, and there again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_known => {
                poll::change(set, fd, asked, token)
            }
            added => added,
        }
    }

    fn change(&mut self, fd: RawFd, events: Events, token: u64) -> io::Result<()> {
        let stand_in = self.stand_ins.get(&fd);
        let fd = stand_in.map_or(fd, |stand_in| stand_in.as_fd().as_raw_fd());
        poll::change(self.set.fd(), fd, events.question(), token).map_err(|error| {
            match error.raw_os_error() {
                Some(errno::EBADF) => io::ErrorKind::NotFound.into(),
                _ => error,
            }
        })
    }

    fn remove(&mut self, fd: RawFd) {
        let stand_in = self.stand_ins.remove(&fd);
        let fd = stand_in
            .as_ref()
            .map_or(fd, |stand_in| stand_in.as_fd().as_raw_fd());
        // An error says that it has left by itself, or has left a ghost, which will be noticed.
        let _ = poll::remove(self.set.fd(), fd);
    }

    fn close(&mut self) {
        self.stand_ins.clear();
        self.set.give_up();
    }

    fn wait<T>(selector: &Selector<T, Epoll>, limit: Option<Duration>) -> io::Result<Telling<T>> {
        match limit {
            Some(Duration::ZERO) => glance(selector),
            _ => park(selector, limit),
        }
    }
}

/// Looks without waiting; if there is nothing, once more after the others have had their turn.
fn glance<T>(selector: &Selector<T, Epoll>) -> io::Result<Telling<T>> {
    wait::begin_operation()?;
    let look = || {
        let (set, room) = selector.set()?;
        match selector.take(&set, set.fd(), room) {
            Ok(Taken::Keys(keys)) => Ok(keys),
            Ok(Taken::SetAnew) => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    };
    let mut keys = look()?;
    if keys.is_empty() {
        wait::let_others_run()?;
        keys = look()?;
    } else {
        wait::count_operation();
    }
    Ok(keys)
}

fn park<T>(selector: &Selector<T, Epoll>, limit: Option<Duration>) -> io::Result<Telling<T>> {
    let mut left = limit;
    let deadline = limit.and_then(crate::cancel::deadline_in);
    loop {
        let (set, room) = selector.set()?;
        let taken = set
            .source
            .retry_within(left, Interest::Read, |fd| selector.take(&set, fd, room));
        match taken {
            Ok(Taken::Keys(keys)) => return Ok(keys),
            Ok(Taken::SetAnew) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let now = crate::cancel::fresh_now();
        left = deadline.map(|end| Duration::from_nanos(end.saturating_sub(now)));
    }
}

/// What a look at a set has given.
enum Taken<T> {
    /// At least one.
    Keys(Telling<T>),
    /// There is another set now.
    SetAnew,
}

impl<T> Selector<T, Epoll> {
    /// The present set, and how much is to be told at a time.
    fn set(&self) -> io::Result<(Arc<Set>, usize)> {
        let mut state = self.lock();
        let count = state.keys.as_ref().ok_or_else(closed)?.len();
        if state.kind.forks != fork::generation() {
            state.make_set_anew()?;
        }
        let room = count.clamp(1, TOLD_MAX);
        Ok((Arc::clone(&state.kind.set), room))
    }

    /// # Errors
    /// WouldBlock when nothing is ready.
    fn take(&self, set: &Arc<Set>, fd: BorrowedFd<'_>, room: usize) -> io::Result<Taken<T>> {
        let told = Told::by(fd, room)?;
        if told.len() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut state = self.lock();
        let keys = state.keys.as_ref().ok_or_else(closed)?;
        if !Arc::ptr_eq(&state.kind.set, set) {
            return Ok(Taken::SetAnew);
        }
        let mut ghosts = false;
        let mut telling = Telling::with_capacity(told.len());
        for (token, found) in told.iter() {
            match keys.named(token) {
                Some(key) => {
                    let found = key.events.answer(Events::from_bits(found));
                    telling.push((key.clone(), found));
                }
                None => ghosts = true,
            }
        }
        if ghosts {
            state.make_set_anew()?;
        }
        Ok(match telling.is_empty() {
            true => Taken::SetAnew,
            false => Taken::Keys(telling),
        })
    }
}

impl<T> State<T, Epoll> {
    /// See the head of this file.
    fn make_set_anew(&mut self) -> io::Result<()> {
        let new = Epoll {
            set: Set::new()?,
            stand_ins: HashMap::new(),
            forks: fork::generation(),
        };
        let old = std::mem::replace(&mut self.kind, new);
        let mut all: Vec<_> = self.keys.iter().flat_map(|keys| keys.iter()).collect();
        // In an order of its own, so that a simulation repeats.
        all.sort_unstable_by_key(|(key, _)| key.fd);
        for (key, token) in all {
            match sealed::Kind::add(&mut self.kind, key.fd, key.events, token, false) {
                // Closed without having been unregistered.
                Err(error) if error.raw_os_error() == Some(errno::EBADF) => {}
                Err(error) => {
                    self.kind = old;
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        if old.forks == self.kind.forks {
            old.set.give_up();
        }
        Ok(())
    }
}

/// The number of its epoll set: what a program that lists its descriptors meets. It is readable
/// while something that is watched is ready. Another one, after the set had to be made anew.
impl<T> AsRawFd for Selector<T, Epoll> {
    fn as_raw_fd(&self) -> RawFd {
        self.lock().kind.set.fd().as_raw_fd()
    }
}
