//! A non-blocking descriptor that looks blocking to its greenlet: try, park, try again.
//!
//! ```text
//!            +--> not our turn, or known to be empty? --yes--+
//!            |          | no                                 v
//!            |         try --would block--> register ----> queue, park
//!            |          |  (once per hub)                     |
//!            +----------|-------------------------------------+
//!                       v
//!             moved bytes or failed, never both; wake the next in the queue
//! ```
//!
//! The user's mode (non-blocking, timeouts) is kept here, shared by all clones as the kernel
//! shares it, and given back to the kernel when the descriptor leaves us.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::registrations::Registrations;
use crate::cancel;
use crate::hub::sim::{Sim, Socket};
use crate::hub::{Hub, TaskPtr, Why, with_hub};
use crate::poller::{Interest, Key};
use crate::sys::report::report;
use crate::sys::{self, clock, errno};

/// How the user wants calls on a descriptor to behave.
#[derive(Debug, Default)]
struct Mode {
    nonblocking: AtomicBool,
    /// Nanoseconds; 0 for none, as the kernel has it.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
}

impl Mode {
    fn timeout(&self, interest: Interest) -> &AtomicU64 {
        match interest {
            Interest::Read => &self.read_timeout,
            Interest::Write => &self.write_timeout,
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Taken only when the source is turned back into its descriptor.
    fd: Option<OwnedFd>,
    /// The number that users know it by: that of the original for a duplicate made to wait.
    known_as: RawFd,
    /// Made when it first differs from the default, so that most operations don't look.
    mode: OnceLock<Arc<Mode>>,
    pub(super) registrations: Registrations,
    /// Set for the sockets of a simulation only.
    pub(super) simulated: Option<Arc<Socket>>,
}

impl Source {
    /// Of a descriptor that is non-blocking already.
    pub(crate) fn new(fd: OwnedFd) -> Source {
        Source {
            known_as: fd.as_raw_fd(),
            fd: Some(fd),
            mode: OnceLock::new(),
            registrations: Registrations::default(),
            simulated: None,
        }
    }

    /// Of a duplicate of `fd`, made only to wait for it: its mode is not touched.
    pub(super) fn stand_in(fd: BorrowedFd<'_>) -> io::Result<Source> {
        let mut duplicate = Source::new(fd.try_clone_to_owned()?);
        duplicate.known_as = fd.as_raw_fd();
        Ok(duplicate)
    }

    /// Of a descriptor from elsewhere: what its mode is now becomes the user's mode.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Source> {
        let source = Source::new(fd);
        let fd = source.as_fd();
        if sys::fd::is_nonblocking(fd)? {
            source.set_nonblocking(true)?;
        }
        let (read, write) = sys::socket::timeouts(fd);
        source.set_timeout(Interest::Read, read)?;
        source.set_timeout(Interest::Write, write)?;
        sys::fd::set_nonblocking(fd, true)?;
        Ok(source)
    }

    /// The descriptor, with the user's mode given back to the kernel.
    pub(crate) fn into_owned_fd(mut self) -> OwnedFd {
        let fd = self.fd.take().expect("only this takes the descriptor");
        self.registrations.end(fd.as_fd());
        if let Err(error) = sys::fd::set_nonblocking(fd.as_fd(), self.is_nonblocking()) {
            report!(
                Warn,
                "greenroom: descriptor {} stays non-blocking: {error}",
                fd.as_raw_fd()
            );
        }
        let (read, write) = (self.timeout(Interest::Read), self.timeout(Interest::Write));
        sys::socket::set_timeouts(fd.as_fd(), read, write);
        fd
    }

    /// A duplicate, which shares the mode.
    pub(crate) fn try_clone(&self) -> io::Result<Source> {
        let mut clone = Source::new(self.as_fd().try_clone_to_owned()?);
        clone.mode = OnceLock::from(Arc::clone(self.mode()));
        clone.simulated = self.simulated.clone();
        Ok(clone)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("only into_owned_fd takes the descriptor")
            .as_fd()
    }

    /// Runs `op` until it does not say that it would block, parking in between.
    ///
    /// # Errors
    /// What `op` says. WouldBlock in the user's non-blocking mode and at the user's timeout;
    /// EBADF when the wait was cancelled from outside; ECANCELED and ETIMEDOUT where a kill or a
    /// timeout can't unwind.
    pub(crate) fn retry<R>(
        &self,
        interest: Interest,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if let Some(socket) = &self.simulated {
            return self.retry_in_sim(socket, interest, op);
        }
        self.operate(interest, || self.timeout(interest), op, |_| false)
    }

    /// As [`retry`](Source::retry), for no longer than `limit`, whatever the user's timeout is,
    /// and as if there were no simulation.
    ///
    /// # Errors
    /// WouldBlock at the limit.
    pub(crate) fn retry_within<R>(
        &self,
        limit: Option<Duration>,
        interest: Interest,
        op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.operate(interest, || limit, op, |_| false)
    }

    /// As [`retry`](Source::retry), for byte streams on which a transfer of fewer than `want`
    /// bytes shows that there is no more to have: the next call then parks without trying. So it
    /// is with TCP. A Unix socket's read also ends where passed descriptors begin, a pipe's
    /// where a packet ends, with more behind: these use `retry`.
    /// `op` is told how many bytes it may move, which is `want` but in a simulation.
    pub(crate) fn transfer(
        &self,
        interest: Interest,
        want: usize,
        mut op: impl FnMut(BorrowedFd<'_>, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(socket) = &self.simulated {
            return self.transfer_in_sim(socket, interest, want, op);
        }
        let op = |fd: BorrowedFd<'_>| op(fd, want);
        let limit = || self.timeout(interest);
        self.operate(interest, limit, op, |moved| *moved < want)
    }

    /// Waits until the kernel says that the descriptor has become ready, from now on.
    ///
    /// # Errors
    /// TimedOut after `limit`; otherwise as [`retry`](Source::retry).
    pub(crate) fn wait(&self, interest: Interest, limit: Option<Duration>) -> io::Result<()> {
        let mut tries = 0;
        let op = |_: BorrowedFd<'_>| {
            tries += 1;
            if tries == 1 {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        };
        let waited = self.operate(interest, || limit, op, |_| false);
        waited.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    /// Puts the descriptor into the epoll set of `hub`.
    pub(super) fn register_on(&self, hub: &Hub) -> io::Result<Key> {
        let key = hub.register(self.as_fd(), self.known_as)?;
        self.registrations.note(hub, key);
        Ok(key)
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        if on || self.mode.get().is_some() {
            self.mode().nonblocking.store(on, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        let mode = self.mode.get();
        mode.is_some_and(|mode| mode.nonblocking.load(Ordering::Relaxed))
    }

    /// # Errors
    /// InvalidInput for zero, which the kernel takes for "none".
    pub(crate) fn set_timeout(
        &self,
        interest: Interest,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        if limit.is_some_and(|limit| limit.is_zero()) {
            let reason = "cannot set a 0 duration timeout";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if limit.is_some() || self.mode.get().is_some() {
            let ns = limit.map_or(0, |limit| {
                u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
            });
            self.mode().timeout(interest).store(ns, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn timeout(&self, interest: Interest) -> Option<Duration> {
        let ns = self.mode.get()?.timeout(interest).load(Ordering::Relaxed);
        (ns != 0).then(|| Duration::from_nanos(ns))
    }

    fn mode(&self) -> &Arc<Mode> {
        self.mode.get_or_init(Arc::default)
    }

    #[inline]
    pub(super) fn operate<R>(
        &self,
        interest: Interest,
        limit: impl Fn() -> Option<Duration>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
        exhausts: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        with_hub(|hub| match (hub, hub.and_then(Hub::running)) {
            (Some(hub), Some(task)) => {
                let mut turn = Turn::new(self, hub, task, interest);
                let done = turn.operate(limit, &mut op)?;
                turn.conclude(exhausts(&done));
                Ok(done)
            }
            _ => self.operate_natively(interest, limit(), op),
        })
    }

    fn operate_once<R>(
        &self,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match op(self.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// On a thread without a hub there is nobody to switch to: poll(2).
    fn operate_natively<R>(
        &self,
        interest: Interest,
        limit: Option<Duration>,
        mut op: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let deadline = limit.and_then(cancel::deadline_in);
        let nonblocking = self.is_nonblocking();
        loop {
            let done = self.operate_once(&mut op);
            if !would_block(&done) || nonblocking {
                return done;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(sys::clock::now_ns()));
            let read = interest == Interest::Read;
            if !sys::fd::poll(Some(self.as_fd()), read, !read, left)? {
                return done;
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(fd) = &self.fd {
            self.registrations.end(fd.as_fd());
        }
    }
}

fn would_block<R>(done: &io::Result<R>) -> bool {
    matches!(done, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// One operation's place in the queue of its descriptor; left when dropped, also by an unwind.
struct Turn<'a> {
    source: &'a Source,
    hub: &'a Hub,
    task: TaskPtr,
    interest: Interest,
    key: Option<Key>,
    queued: bool,
}

impl<'a> Turn<'a> {
    #[inline]
    fn new(source: &'a Source, hub: &'a Hub, task: TaskPtr, interest: Interest) -> Turn<'a> {
        let key = source.registrations.on(hub);
        Turn {
            source,
            hub,
            task,
            interest,
            key,
            queued: false,
        }
    }

    #[inline]
    fn operate<R>(
        &mut self,
        limit: impl Fn() -> Option<Duration>,
        op: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut deadline = None;
        // Whether it may wait is decided once, as in the kernel: a mode that changes while it waits
        // is for the next operation.
        let mut nonblocking = None;
        if self.hub.is_budget_spent() {
            // Before the attempt: there a kill or a timeout costs no bytes. Afterwards it would,
            // and never to look for them would let an endless stream withstand both.
            self.hub.yield_now();
            cancel::check(self.hub, self.task)?;
        }
        loop {
            if self.may_try()? {
                let done = op(self.source.as_fd());
                match &done {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => return done,
                }
                if *nonblocking.get_or_insert_with(|| self.source.is_nonblocking()) {
                    // A loop that asks again and again is to let others run as well.
                    self.hub.count_operation();
                    return done;
                }
                self.exhausted()?;
            } else if *nonblocking.get_or_insert_with(|| self.source.is_nonblocking()) {
                self.hub.count_operation();
                return self.source.operate_once(op);
            }
            if !self.queued {
                deadline = limit().map(|limit| clock::saturating_add(self.hub.fresh_now(), limit));
            }
            if deadline.is_some_and(|deadline| deadline <= self.hub.now()) {
                return Err(io::Error::from_raw_os_error(errno::EAGAIN));
            }
            self.park(deadline)?;
        }
    }

    /// Is it our turn, with a chance? An unregistered descriptor is simply tried.
    #[inline]
    fn may_try(&mut self) -> io::Result<bool> {
        let Some(key) = self.key else { return Ok(true) };
        let mut poller = self.hub.poller.borrow_mut();
        match poller.registry().may_try(key, self.interest, self.task) {
            Some(may) => Ok(may),
            // Gone while we waited: somebody cancelled the waits.
            None if self.queued => Err(io::Error::from_raw_os_error(errno::EBADF)),
            None => {
                self.key = None;
                Ok(true)
            }
        }
    }

    fn exhausted(&mut self) -> io::Result<()> {
        let key = match self.key {
            Some(key) => key,
            None => self.register()?,
        };
        self.hub
            .poller
            .borrow_mut()
            .registry()
            .exhausted(key, self.interest);
        Ok(())
    }

    #[cold]
    fn register(&mut self) -> io::Result<Key> {
        let key = self.source.register_on(self.hub)?;
        self.key = Some(key);
        Ok(key)
    }

    #[inline]
    fn park(&mut self, deadline: Option<u64>) -> io::Result<()> {
        let key = self.key.expect("what would block has been registered");
        if !self.queued {
            self.hub
                .poller
                .borrow_mut()
                .registry()
                .enqueue(key, self.interest, self.task);
            self.queued = true;
        }
        let fd = self.source.known_as;
        let why = match self.interest {
            Interest::Read => Why::Readable(fd),
            Interest::Write => Why::Writable(fd),
        };
        cancel::check(self.hub, self.task)?;
        let sim = self.hub.world.sim();
        let sim = sim.filter(|_| self.source.simulated.is_some());
        let _waits = sim.map(Sim::wait_on_socket);
        self.hub.park(why, deadline);
        Ok(())
    }

    /// The operation has succeeded. From here on nothing parks, and nothing unwinds.
    #[inline]
    fn conclude(self, exhausts: bool) {
        if let Some(key) = self.key
            && exhausts
        {
            self.hub
                .poller
                .borrow_mut()
                .registry()
                .short_transfer(key, self.interest);
        }
        let hub = self.hub;
        drop(self);
        hub.count_operation();
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(key) = self.key.filter(|_| self.queued) else {
            return;
        };
        let mut poller = self.hub.poller.borrow_mut();
        let next = poller.registry().leave(key, self.interest, self.task);
        drop(poller);
        if let Some(next) = next {
            self.hub.wake(next.get());
        }
    }
}
