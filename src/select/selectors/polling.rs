//! Selectors that ask about all that is registered, at each call.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Events, Kind, Selector, Telling, closed, sealed};
use crate::select::selected;
use crate::select::wait::{self, List, Look};
use crate::sys::event_fd::EventFd;
use crate::sys::poll::PollFd;

/// The kind of a [`PollSelector`](super::PollSelector).
#[derive(Debug)]
pub struct Polling(Changes);

/// The kind of a [`SelectSelector`](super::SelectSelector).
#[derive(Debug)]
pub struct Selecting(Changes);

/// Tells those who wait that they should look again.
#[derive(Debug, Default)]
pub(super) struct Changes {
    version: u64,
    /// While somebody waits.
    bell: Option<Arc<EventFd>>,
}

impl Changes {
    fn tell(&mut self) {
        self.version += 1;
        // Who waits has a clone of it.
        self.bell = self.bell.take().filter(|bell| Arc::strong_count(bell) > 1);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    fn bell(&mut self) -> io::Result<Arc<EventFd>> {
        let bell = match self.bell.take() {
            Some(bell) => bell,
            None => Arc::new(EventFd::new()?),
        };
        Ok(Arc::clone(self.bell.insert(bell)))
    }
}

/// How the two differ.
pub(super) trait Manner: sealed::Kind {
    fn changes(&mut self) -> &mut Changes;

    /// What is told of a descriptor that was asked about in this way.
    fn tell(asked: Events, fd: &PollFd) -> io::Result<Events>;
}

impl Manner for Polling {
    fn changes(&mut self) -> &mut Changes {
        &mut self.0
    }

    fn tell(asked: Events, fd: &PollFd) -> io::Result<Events> {
        Ok(asked.answer(Events::from_bits(fd.found())))
    }
}

impl Manner for Selecting {
    fn changes(&mut self) -> &mut Changes {
        &mut self.0
    }

    fn tell(asked: Events, fd: &PollFd) -> io::Result<Events> {
        selected(fd).map(|found| found & asked)
    }
}

impl<T, K: Manner> Look for &Selector<T, K>
where
    K: Kind,
{
    type Found = Telling<T>;

    fn list(&self) -> List {
        let mut state = self.lock();
        let version = state.kind.changes().version;
        let keys = state.keys.iter().flat_map(|keys| keys.iter());
        let asked: BTreeMap<RawFd, Events> = keys.map(|(key, _)| (key.fd, key.events)).collect();
        drop(state);
        List {
            version,
            ..List::of(&asked)
        }
    }

    fn judge(&self, fds: &[PollFd]) -> io::Result<Option<Telling<T>>> {
        let state = self.lock();
        let keys = state.keys.as_ref().ok_or_else(closed)?;
        let mut telling = Telling::new();
        for fd in fds {
            // What is gone by now is not told of.
            let Some((key, _)) = keys.get(fd.fd()) else {
                continue;
            };
            let events = K::tell(key.events, fd)?;
            if !events.is_empty() {
                telling.push((key.clone(), events));
            }
        }
        Ok(Some(telling).filter(|telling| !telling.is_empty()))
    }

    fn changes(&self) -> io::Result<Option<Arc<EventFd>>> {
        self.lock().kind.changes().bell().map(Some)
    }
}

macro_rules! kind {
    ($kind:ident, $name:literal) => {
        impl Kind for $kind {}

        impl sealed::Kind for $kind {
            const NAME: &'static str = $name;

            fn new() -> io::Result<$kind> {
                Ok($kind(Changes::default()))
            }

            fn check(events: Events) -> io::Result<()> {
                events.check_level()
            }

            fn add(&mut self, _: RawFd, _: Events, _: u64, is_known: bool) -> io::Result<()> {
                if is_known {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.0.tell();
                Ok(())
            }

            fn change(&mut self, _: RawFd, _: Events, _: u64) -> io::Result<()> {
                self.0.tell();
                Ok(())
            }

            fn remove(&mut self, _: RawFd) {
                self.0.tell();
            }

            fn close(&mut self) {
                self.0.tell();
            }

            fn wait<T>(
                selector: &Selector<T, $kind>,
                limit: Option<Duration>,
            ) -> io::Result<Telling<T>> {
                Ok(wait::wait(&selector, limit)?.unwrap_or_default())
            }
        }
    };
}

kind!(Polling, "PollSelector");
kind!(Selecting, "SelectSelector");
