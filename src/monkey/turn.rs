//! A blocking call on a descriptor of which nothing but the number is known.
//!
//! ```text
//!            +--> not our turn, or known to be empty? --yes-----------+
//!            |          | no                                          v
//!            |         try --EAGAIN--> what is its mode? --> non-blocking: EAGAIN
//!            |          |                     | blocking
//!            |          |                    register, once per life of the number
//!            |          |                     |
//!            |          |                    queue, park (at most until the user's timeout)
//!            +----------|---------------------+
//!                       v
//!                    result; wake the next in the queue
//! ```
//!
//! This is `io/source.rs` for descriptors that aren't ours: they keep their blocking mode, every
//! try says by itself that it must not wait. What was asked of the kernel is believed until
//! somebody in this process changes the mode of any descriptor. Who does so, or closes, without
//! our seeing it (by a system call of his own) is found out when a park has lasted for
//! [`DOUBT_NS`]: then the kernel is asked once more.
//!
//! As in the kernel, a call decides once whether it may wait and until when ([`Terms`]): a mode or
//! a timeout that changes later is for the next call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::datagram::Destination;
use super::gate::Green;
use super::raw::{fail, raw};
use super::{clocks, closing, lives, owed, unflagged};
use crate::hub::Why;
use crate::poller::{Interest, Key, Known, Mode};
use crate::sys::epoll::Readiness;

/// Parks longer than this make sure that the descriptor is still the one they are to wait for.
const DOUBT_NS: u64 = 100_000_000;

/// A write that goes on waiting is tried again ever more rarely, at last this often.
const DOUBT_MAX_NS: u64 = 1_600_000_000;

const EAGAIN: isize = fail(libc::EAGAIN);
const EINTR: isize = fail(libc::EINTR);
const EBADF: isize = fail(libc::EBADF);

/// How often the mode of some descriptor was changed: by fcntl, ioctl or setsockopt.
static MODE_CHANGES: AtomicU64 = AtomicU64::new(1);

/// Somebody has changed the mode of a descriptor, and so of all its duplicates.
pub(super) fn note_mode_change() {
    MODE_CHANGES.fetch_add(1, Ordering::Release);
}

/// What a call decides once, however often it has to try.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// May it wait? As the mode was when it first had to.
    blocks: Option<bool>,
    /// When it gives up, if ever.
    deadline: Option<Option<u64>>,
    /// Where its datagram goes, if not to the peer.
    to: Option<Destination>,
}

impl Terms {
    pub(super) fn sending(to: Option<Destination>) -> Terms {
        Terms {
            to,
            ..Terms::default()
        }
    }

    pub(super) fn may_wait(&mut self, fd: i32) -> bool {
        let asked = || {
            // SAFETY: F_GETFL takes no pointer.
            let flags = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) };
            flags >= 0 && flags as i32 & libc::O_NONBLOCK == 0
        };
        *self.blocks.get_or_insert_with(asked)
    }

    /// The next wait has the whole of the timeout again.
    pub(super) fn renew_deadline(&mut self) {
        self.deadline = None;
    }

    /// Has the call given up, as far as it had a deadline?
    pub(super) fn is_over(&self, green: &Green<'_>) -> bool {
        green.is_over(self.deadline.flatten())
    }
}

/// How a wait ended that did not end well.
pub(super) enum Stop {
    /// With this result.
    With(isize),
    /// The kernel can't tell us when the descriptor is ready.
    Unwatchable,
}

impl Stop {
    fn into_result(self) -> Option<isize> {
        match self {
            Stop::With(result) => Some(result),
            Stop::Unwatchable => None,
        }
    }
}

impl Green<'_> {
    /// Makes a call by `op`, which must not block, as often as it takes. `None`: it can't be
    /// waited for, so the caller may just as well block.
    pub(super) fn retry(
        &self,
        fd: i32,
        interest: Interest,
        op: impl FnMut() -> isize,
        exhausts: impl Fn(isize) -> bool,
    ) -> Option<isize> {
        self.retry_on(&mut Terms::default(), fd, interest, op, exhausts)
    }

    /// As [`retry`](Green::retry), for one of several transfers that a call consists of.
    pub(super) fn retry_on(
        &self,
        terms: &mut Terms,
        fd: i32,
        interest: Interest,
        mut op: impl FnMut() -> isize,
        exhausts: impl Fn(isize) -> bool,
    ) -> Option<isize> {
        if let Err(result) = self.take_turns()
            && !owed::never_fails(self, fd)
        {
            return Some(result);
        }
        let mut turn = Turn::new(self, fd, interest);
        if turn.owed != 0 {
            return Some(turn.collect());
        }
        match turn.operate(terms, &mut op) {
            Ok(result) => {
                turn.conclude(result, exhausts);
                Some(result)
            }
            Err(stop) => stop.into_result(),
        }
    }

    /// The call that moves a part now has taken the error of its socket, which the kernel would
    /// have left to the next call: so that one fails with it.
    #[cold]
    pub(super) fn owe(&self, fd: i32, error: isize) {
        let mut turn = Turn::new(self, fd, Interest::Read);
        if turn.key.is_some() || turn.register().is_ok() {
            let mut poller = self.hub.poller.borrow_mut();
            if let Some(known) = poller.numbers.get(fd) {
                known.owed = error as i32;
            }
        }
    }

    /// Parks until `fd` seems ready after all; for what can only be asked and not tried.
    pub(super) fn retry_when_ready(
        &self,
        terms: &mut Terms,
        fd: i32,
        interest: Interest,
        op: impl Fn() -> isize,
    ) -> Option<isize> {
        let attempt = || if is_ready(fd, interest) { op() } else { EAGAIN };
        self.retry_on(terms, fd, interest, attempt, |_| false)
    }
}

/// A wait for several descriptors at once, which itself takes nothing from any of them.
pub(super) struct Watch {
    doubts: bool,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch { doubts: true }
    }

    /// Parks until one of `wants` may have become ready, at the latest at `deadline`. To be
    /// called when the kernel has just said that none is.
    ///
    /// # Errors
    /// The result to return instead; `None` when one of them can't be watched.
    pub(super) fn wait(
        &mut self,
        green: &Green<'_>,
        wants: &[(i32, Interest)],
        deadline: Option<u64>,
    ) -> Result<(), Option<isize>> {
        let mut turns = Vec::with_capacity(wants.len());
        for (fd, interest) in wants {
            let mut turn = Turn::new(green, *fd, *interest);
            let joined = turn.may_try().and_then(|_| turn.enqueue());
            joined.map_err(Stop::into_result)?;
            turn.exhausted();
            turns.push(turn);
        }
        let why = match wants {
            [] => Why::Sleep,
            [(fd, Interest::Read)] => Why::Readable(*fd),
            [(fd, Interest::Write)] => Why::Writable(*fd),
            _ => Why::Helper("one of several descriptors"),
        };
        let doubt_at = green.hub.now().saturating_add(DOUBT_NS);
        let sure = !self.doubts || wants.is_empty();
        let until = match deadline {
            deadline if sure => deadline,
            deadline => Some(doubt_at.min(deadline.unwrap_or(u64::MAX))),
        };
        green.park_on(why, until);
        if !sure && doubt_at <= green.hub.now() {
            self.doubts = false;
            for turn in &mut turns {
                // Whatever is wrong with it, the kernel says so when it is asked again.
                turn.key.map(|key| turn.make_sure(key));
            }
        }
        Ok(())
    }
}

/// poll(2) without waiting.
pub(super) fn is_ready(fd: i32, interest: Interest) -> bool {
    match interest {
        Interest::Read => events_of(fd, libc::POLLIN) != 0,
        Interest::Write => events_of(fd, libc::POLLOUT) != 0,
    }
}

/// Has the other side closed, or the connection failed?
pub(super) fn has_hung_up(fd: i32) -> bool {
    events_of(fd, libc::POLLRDHUP) != 0
}

pub(super) fn events_of(fd: i32, events: i16) -> i16 {
    let mut one = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // Not a constant: the call writes to it, and qemu's user mode minds if it can't.
    let mut no_time = clocks::timespec_of(0);
    // SAFETY: one pollfd and a time are passed, and live here.
    unsafe { raw!(SYS_ppoll, &raw mut one, 1, &raw mut no_time, 0, 0) };
    one.revents
}

/// One call's place in the queue of its descriptor; left when dropped.
pub(super) struct Turn<'a> {
    green: &'a Green<'a>,
    fd: i32,
    interest: Interest,
    key: Option<Key>,
    mode: Option<Mode>,
    queued: bool,
    /// The error that an earlier call owes to this one, or 0.
    owed: i32,
    /// Watched in its place, since the descriptor itself is watched for somebody else.
    duplicate: Option<OwnedFd>,
    /// When to ask the kernel once more; `u64::MAX` for not again.
    doubt_at: u64,
    /// How long the wait until then is; 0 before the first.
    doubt_ns: u64,
}

impl<'a> Turn<'a> {
    pub(super) fn new(green: &'a Green<'a>, fd: i32, interest: Interest) -> Turn<'a> {
        let mut turn = Turn {
            green,
            fd,
            interest,
            key: None,
            mode: None,
            queued: false,
            owed: 0,
            duplicate: None,
            doubt_at: 0,
            doubt_ns: 0,
        };
        let known = green.hub.poller.borrow_mut().numbers.get(fd).copied();
        let Some(known) = known else { return turn };
        if known.life != lives::of(fd) {
            closing::forget_life(green.hub, fd, None);
            return turn;
        }
        turn.key = Some(known.key);
        turn.owed = known.owed;
        let current = known.mode.asked_at == MODE_CHANGES.load(Ordering::Acquire);
        turn.mode = current.then_some(known.mode);
        turn
    }

    fn operate(
        &mut self,
        terms: &mut Terms,
        op: &mut impl FnMut() -> isize,
    ) -> Result<isize, Stop> {
        loop {
            let tried = self.may_try()?;
            if tried {
                match op() {
                    EINTR => continue,
                    EAGAIN => {}
                    result => return Ok(result),
                }
            }
            let mode = self.mode()?;
            if !*terms.blocks.get_or_insert(!mode.nonblocking) {
                return Ok(if tried { EAGAIN } else { op() });
            }
            let deadline = *terms.deadline.get_or_insert_with(|| match self.interest {
                Interest::Read => self.after(mode.read_timeout),
                Interest::Write => self.after(mode.write_timeout),
            });
            if self.green.is_over(deadline) {
                return Err(Stop::With(EAGAIN));
            }
            if tried && self.queued && self.interest == Interest::Read && has_hung_up(self.fd) {
                // Its reading side is shut down. A call that may wait does not wait here: it
                // returns what the kernel has for no other, 0 or EINVAL.
                return Err(Stop::Unwatchable);
            }
            if let Some(to) = terms.to.as_mut().filter(|_| tried)
                && to.is_full(self.fd)
            {
                // Meanwhile others may send elsewhere.
                self.leave();
                to.wait(self.green, deadline)?;
                continue;
            }
            if tried {
                self.exhausted();
            }
            self.wait(deadline)?;
        }
    }

    /// The error that an earlier call has left to this one.
    #[cold]
    fn collect(&mut self) -> isize {
        let mut poller = self.green.hub.poller.borrow_mut();
        if let Some(known) = poller.numbers.get(self.fd) {
            known.owed = 0;
        }
        std::mem::take(&mut self.owed) as isize
    }

    fn after(&self, timeout_ns: u64) -> Option<u64> {
        (timeout_ns > 0).then(|| self.green.deadline_in(timeout_ns))?
    }

    /// Is it our turn, with a chance? What is not registered is simply tried.
    fn may_try(&mut self) -> Result<bool, Stop> {
        let Some(key) = self.key else { return Ok(true) };
        let mut poller = self.green.hub.poller.borrow_mut();
        let may = poller
            .registry()
            .may_try(key, self.interest, self.green.task);
        match may {
            Some(may) => Ok(may),
            // Gone while we waited: somebody has closed it.
            None if self.queued => Err(Stop::With(EBADF)),
            None => {
                poller.numbers.remove(self.fd);
                self.key = None;
                Ok(true)
            }
        }
    }

    fn exhausted(&mut self) {
        if let Some(key) = self.key {
            let mut poller = self.green.hub.poller.borrow_mut();
            poller.registry().exhausted(key, self.interest);
        }
    }

    /// The descriptor's mode, asked for if that is needed.
    fn mode(&mut self) -> Result<Mode, Stop> {
        if let Some(mode) = self.mode {
            return Ok(mode);
        }
        let mode = ask_mode(self.fd).map_err(Stop::With)?;
        self.mode = Some(mode);
        if self.key.is_some() {
            self.remember(mode);
        }
        Ok(mode)
    }

    fn remember(&self, mode: Mode) {
        let mut poller = self.green.hub.poller.borrow_mut();
        if let Some(known) = poller.numbers.get(self.fd) {
            known.mode = mode;
        }
    }

    /// Waits for the first event from now on.
    pub(super) fn wait(&mut self, deadline: Option<u64>) -> Result<(), Stop> {
        let key = self.enqueue()?;
        if self.doubt_ns == 0 {
            self.doubt_in(DOUBT_NS);
        }
        let until = deadline.unwrap_or(u64::MAX).min(self.doubt_at);
        let why = match self.interest {
            Interest::Read => Why::Readable(self.fd),
            Interest::Write => Why::Writable(self.fd),
        };
        let until = (until != u64::MAX).then_some(until);
        self.park(why, until)?;
        if self.doubt_at <= self.green.hub.now() {
            self.doubt(key)?;
        }
        Ok(())
    }

    fn doubt_in(&mut self, ns: u64) {
        self.doubt_ns = ns;
        self.doubt_at = self.green.hub.now().saturating_add(ns);
    }

    /// Of a Unix socket whose peer will read no more, the kernel tells those only who wait in a
    /// write. So a write that has waited for long is tried again.
    #[cold]
    fn doubt(&mut self, key: Key) -> Result<(), Stop> {
        if self.doubt_ns == DOUBT_NS {
            self.make_sure(key)?;
        }
        if self.interest == Interest::Write && self.key.is_some() {
            self.doubt_in((self.doubt_ns * 2).min(DOUBT_MAX_NS));
            let writable = Readiness {
                readable: false,
                writable: true,
                closing: false,
            };
            let mut poller = self.green.hub.poller.borrow_mut();
            poller.registry().fire(key, writable, &mut |_| ());
        }
        Ok(())
    }

    /// Parks; fails for a kill or a limit, if calls on this descriptor may.
    fn park(&self, why: Why, until: Option<u64>) -> Result<(), Stop> {
        match self.green.park(why, until) {
            Err(_) if owed::never_fails(self.green, self.fd) => self.green.park_on(why, until),
            parked => parked.map_err(Stop::With)?,
        }
        Ok(())
    }

    /// After a long wait: is what the kernel watches still what we wait for? An event that was
    /// missed is told by this as well.
    fn make_sure(&mut self, key: Key) -> Result<(), Stop> {
        self.doubt_at = u64::MAX;
        let mode = ask_mode(self.fd);
        if self.duplicate.is_some() {
            return mode.map(drop).map_err(Stop::With);
        }
        // For later calls: this one has decided whether it waits.
        mode.into_iter().for_each(|mode| self.remember(mode));
        let poller = self.green.hub.poller.borrow_mut();
        // SAFETY: an open descriptor, or else the kernel says so.
        let fd = unsafe { borrow(self.fd) };
        let watched = poller.repeat(key, fd);
        drop(poller);
        if watched.is_err() {
            // It was closed where we don't see it, and perhaps opened again: as another one.
            closing::forget_life(self.green.hub, self.fd, None);
            self.queued = false;
            self.key = None;
        }
        Ok(())
    }

    fn enqueue(&mut self) -> Result<Key, Stop> {
        let key = match self.key {
            Some(key) => key,
            None => self.register()?,
        };
        if !self.queued {
            let mut poller = self.green.hub.poller.borrow_mut();
            poller
                .registry()
                .enqueue(key, self.interest, self.green.task);
            self.queued = true;
        }
        Ok(key)
    }

    /// Has the descriptor watched, for as long as it lives.
    #[cold]
    fn register(&mut self) -> Result<Key, Stop> {
        let hub = self.green.hub;
        let number = hub.shared.number as u32;
        let life = lives::claim(self.fd, number).ok_or(Stop::Unwatchable)?;
        closing::announce(hub);
        // SAFETY: an open descriptor, or else the kernel says so.
        let fd = unsafe { borrow(self.fd) };
        let mut poller = hub.poller.borrow_mut();
        let key = match poller.watch(fd, self.fd) {
            Ok(key) => {
                let mode = self.mode.unwrap_or_default();
                let fd = self.fd;
                let owed = 0;
                poller.numbers.set(
                    fd,
                    Known {
                        key,
                        life,
                        mode,
                        owed,
                    },
                );
                key
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EBADF) => return Err(Stop::With(EBADF)),
                Some(libc::EEXIST) => {
                    let duplicate = fd.try_clone_to_owned().map_err(|_| Stop::Unwatchable)?;
                    let watched = poller.watch(duplicate.as_fd(), self.fd);
                    let key = watched.map_err(|_| Stop::Unwatchable)?;
                    self.duplicate = Some(duplicate);
                    key
                }
                _ => return Err(Stop::Unwatchable),
            },
        };
        // What was seen before is seen; from now on only what the kernel tells counts.
        poller.registry().exhausted(key, self.interest);
        self.key = Some(key);
        Ok(key)
    }

    /// The call has succeeded: from here on nothing parks.
    fn conclude(&mut self, result: isize, exhausts: impl Fn(isize) -> bool) {
        if let Some(key) = self.key
            && self.mode.is_some_and(|mode| mode.tells_all)
            && exhausts(result)
        {
            let mut poller = self.green.hub.poller.borrow_mut();
            poller.registry().short_transfer(key, self.interest);
        }
        self.green.hub.count_operation();
    }
}

impl Turn<'_> {
    /// Leaves the queue, and wakes the next in it if there may be something for it.
    fn leave(&mut self) {
        let queued = std::mem::take(&mut self.queued);
        let Some(key) = self.key.filter(|_| queued) else {
            return;
        };
        let hub = self.green.hub;
        let mut poller = hub.poller.borrow_mut();
        let next = poller.registry().leave(key, self.interest, self.green.task);
        drop(poller);
        next.into_iter().for_each(|next| hub.wake(next.get()));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.leave();
        let hub = self.green.hub;
        if let (Some(duplicate), Some(key)) = (&self.duplicate, self.key) {
            hub.deregister(key, duplicate.as_fd());
        }
    }
}

/// # Safety
/// To be used for one call to the kernel, which says if there is no such descriptor.
pub(super) unsafe fn borrow<'a>(fd: i32) -> BorrowedFd<'a> {
    // SAFETY: the caller's; only -1 is no number at all, and is never asked for.
    unsafe { BorrowedFd::borrow_raw(fd.max(0)) }
}

/// What the kernel says of a descriptor.
#[cold]
pub(super) fn ask_mode(fd: i32) -> Result<Mode, isize> {
    let asked_at = MODE_CHANGES.load(Ordering::Acquire);
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(flags);
    }
    let mut mode = Mode {
        asked_at,
        nonblocking: flags as i32 & libc::O_NONBLOCK != 0,
        ..Mode::default()
    };
    let Some(kind) = option::<i32>(fd, libc::SO_TYPE) else {
        mode.read_timeout = unflagged::patience_ns(fd);
        if mode.read_timeout > 0 {
            // Its settings may change out of sight.
            mode.asked_at = 0;
        }
        return Ok(mode);
    };
    let protocol = option::<i32>(fd, libc::SO_PROTOCOL);
    mode.tells_all = kind == libc::SOCK_STREAM && protocol == Some(libc::IPPROTO_TCP);
    mode.read_timeout = timeout(fd, libc::SO_RCVTIMEO);
    mode.write_timeout = timeout(fd, libc::SO_SNDTIMEO);
    Ok(mode)
}

fn timeout(fd: i32, name: i32) -> u64 {
    let Some(limit) = option::<libc::timeval>(fd, name) else {
        return 0;
    };
    let seconds = u64::try_from(limit.tv_sec).unwrap_or(0);
    let micros = u64::try_from(limit.tv_usec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(micros.saturating_mul(1000))
}

/// An option of a socket; `None` for what is no socket.
pub(super) fn option<T: Copy>(fd: i32, name: i32) -> Option<T> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: there is room for `length` bytes; every option asked for here is plain integers.
    unsafe {
        let asked = raw!(
            SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr(),
            &raw mut length
        );
        (asked == 0).then(|| value.assume_init())
    }
}
