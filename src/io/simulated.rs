//! Sources of a simulation: what the seed does to their operations.
//!
//! ```text
//!   delay (park)  -->  operate: try --> reset? EMFILE? "would block"?  --> the real attempt,
//!                        ^  park         the fate of this operation          cut to `most`
//!                        +-----------------------------------------------------------+
//! ```
//!
//! Registering, queueing and parking are those of the real world; only what the kernel answers
//! is now and then another. Here is the only place where that is decided for reads, writes and
//! accepts.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use crate::cancel;
use crate::hub::sim::{Fate, Socket, simulation};
use crate::hub::{Why, with_hub};
use crate::poller::Interest;
use crate::sys::{clock, errno};

impl Source {
    /// Of a simulated socket.
    pub(crate) fn simulate((fd, socket): (OwnedFd, Arc<Socket>)) -> Source {
        let mut source = Source::new(fd);
        source.simulated = Some(socket);
        source
    }

    /// The simulated socket that this is, if it is one.
    #[inline]
    pub(crate) fn simulated(&self) -> Option<&Arc<Socket>> {
        self.simulated.as_ref()
    }

    /// Sets an option, which a simulated socket only remembers.
    pub(crate) fn set_option(
        &self,
        name: &'static str,
        value: impl Into<u32>,
        really: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match self.simulated() {
            None => really(),
            Some(socket) => {
                socket.set_option(name, value.into());
                Ok(())
            }
        }
    }

    /// An option, which a simulated socket may remember.
    pub(crate) fn option(
        &self,
        name: &'static str,
        default: u32,
        really: impl FnOnce() -> io::Result<u32>,
    ) -> io::Result<u32> {
        match self.simulated() {
            None => really(),
            Some(socket) => Ok(socket.option(name, default)),
        }
    }

    /// As [`option`](Source::option), for options that are on or off.
    pub(crate) fn flag(
        &self,
        name: &'static str,
        default: bool,
        really: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<bool> {
        let value = self.option(name, default.into(), || really().map(u32::from))?;
        Ok(value != 0)
    }

    #[cold]
    pub(super) fn retry_in_sim<R>(
        &self,
        socket: &Socket,
        interest: Interest,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let fate = self.meet(socket, interest, 0)?;
        let blocked = Cell::new(fate.blocked);
        let attempt = |fd: BorrowedFd<'_>| {
            self.intervene(socket, interest, &fate, &blocked)?;
            op(fd)
        };
        let done = self.operate(interest, || self.timeout(interest), attempt, |_| false);
        simulation(|sim| sim.note_result(done.as_ref().map(|_| 0)));
        done
    }

    #[cold]
    pub(super) fn transfer_in_sim(
        &self,
        socket: &Socket,
        interest: Interest,
        want: usize,
        mut op: impl FnMut(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let fate = self.meet(socket, interest, want)?;
        let blocked = Cell::new(fate.blocked);
        let attempt = |fd: BorrowedFd<'_>| {
            self.intervene(socket, interest, &fate, &blocked)?;
            op(fd, fate.most)
        };
        // Moving all that it was allowed to shows nothing: there may be more.
        let exhausts = |moved: &usize| *moved < fate.most;
        let done = self.operate(interest, || self.timeout(interest), attempt, exhausts);
        simulation(|sim| sim.note_result(done.as_ref().map(|moved| *moved)));
        done
    }

    /// Draws the fate of one operation, and sits the delay out if there is one.
    fn meet(&self, socket: &Socket, interest: Interest, want: usize) -> io::Result<Fate> {
        let drawn = simulation(|sim| sim.fate(socket, interest, want));
        // Elsewhere than in its simulation a socket works, and nothing goes wrong.
        let calm = Fate {
            most: want,
            ..Fate::default()
        };
        let fate = drawn.unwrap_or(calm);
        if !self.is_nonblocking() {
            sit_out(fate.delay)?;
        }
        Ok(fate)
    }

    /// What happens instead of an attempt.
    fn intervene(
        &self,
        socket: &Socket,
        interest: Interest,
        fate: &Fate,
        blocked: &Cell<bool>,
    ) -> io::Result<()> {
        socket.check(interest)?;
        if fate.exhausted {
            return Err(io::Error::from_raw_os_error(errno::EMFILE));
        }
        if fate.reset {
            socket.reset(self.as_fd());
            return socket.check(interest);
        }
        if blocked.take() {
            self.repeat_events()?;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// After a "would block" that was none: the next event would not come by itself. A source
    /// that is not registered yet will be, and is told then.
    fn repeat_events(&self) -> io::Result<()> {
        with_hub(|hub| {
            let Some(hub) = hub else { return Ok(()) };
            match self.registrations.on(hub) {
                Some(key) => hub.poller.borrow().repeat(key, self.as_fd()),
                None => Ok(()),
            }
        })
    }
}

/// Parks for a delay of the simulated network.
///
/// # Errors
/// As [`cancel::park`].
pub(crate) fn sit_out(delay: Duration) -> io::Result<()> {
    if delay.is_zero() {
        return Ok(());
    }
    let end = clock::saturating_add(cancel::fresh_now(), delay);
    while cancel::now() < end {
        cancel::park(Why::Helper("the simulated network"), Some(end))?;
    }
    Ok(())
}
