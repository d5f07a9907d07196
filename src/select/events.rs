//! What one can wait for at a descriptor, and what one is told of it.

use std::fmt;
use std::io;
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Sub, SubAssign};

use crate::sys::poll::bits;

/// A set of things that can happen at a descriptor; the bits are those of poll(2).
///
/// * asked for, and told: [`READ`](Events::READ), [`WRITE`](Events::WRITE),
///   [`PRIORITY`](Events::PRIORITY), [`READ_CLOSED`](Events::READ_CLOSED);
/// * told unasked: [`ERROR`](Events::ERROR), [`HANGUP`](Events::HANGUP),
///   [`INVALID`](Events::INVALID);
/// * asked for only, of an [`EpollSelector`](crate::selectors::EpollSelector):
///   [`EDGE`](Events::EDGE), [`ONESHOT`](Events::ONESHOT).
///
/// To ask for what is told unasked changes nothing.
///
/// # Examples
/// ```
/// use greenroom::select::Events;
///
/// let both = Events::READ | Events::WRITE;
/// assert!(both.contains(Events::READ));
/// assert!(!Events::READ.contains(both));
/// assert_eq!(both - Events::READ, Events::WRITE);
/// assert_eq!(format!("{both:?}"), "READ | WRITE");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Events(u32);

impl Events {
    /// A read won't wait: there is data, the end, or a connection to be accepted. POLLIN.
    pub const READ: Events = Events(bits::READ);
    /// A write won't wait. POLLOUT.
    pub const WRITE: Events = Events(bits::WRITE);
    /// There is urgent data, or whatever else the descriptor calls exceptional. POLLPRI.
    pub const PRIORITY: Events = Events(bits::PRIORITY);
    /// The peer has shut down its writing half. POLLRDHUP.
    pub const READ_CLOSED: Events = Events(bits::READ_CLOSED);
    /// There is an error to be had, or nobody is left to read what is written. POLLERR.
    pub const ERROR: Events = Events(bits::ERROR);
    /// The peer has gone. POLLHUP.
    pub const HANGUP: Events = Events(bits::HANGUP);
    /// No open descriptor has that number. POLLNVAL.
    pub const INVALID: Events = Events(bits::INVALID);
    /// Tell a readiness once, when it begins, and not as long as it lasts. EPOLLET; for an
    /// [`EpollSelector`](crate::selectors::EpollSelector) only.
    pub const EDGE: Events = Events(bits::EDGE);
    /// Tell something once, and then nothing until the next `modify`. EPOLLONESHOT; for an
    /// [`EpollSelector`](crate::selectors::EpollSelector) only.
    pub const ONESHOT: Events = Events(bits::ONESHOT);

    /// All that can be asked for and then told.
    const ASKABLE: Events = Events(bits::READ | bits::WRITE | bits::PRIORITY | bits::READ_CLOSED);
    /// How it is to be told; only epoll can.
    const MANNERS: Events = Events(bits::EDGE | bits::ONESHOT);
    /// What is told unasked.
    const BROKEN: Events = Events(bits::ERROR | bits::HANGUP | bits::INVALID);

    const NAMES: [(Events, &str); 9] = [
        (Events::READ, "READ"),
        (Events::WRITE, "WRITE"),
        (Events::PRIORITY, "PRIORITY"),
        (Events::READ_CLOSED, "READ_CLOSED"),
        (Events::ERROR, "ERROR"),
        (Events::HANGUP, "HANGUP"),
        (Events::INVALID, "INVALID"),
        (Events::EDGE, "EDGE"),
        (Events::ONESHOT, "ONESHOT"),
    ];

    /// Nothing.
    pub const fn empty() -> Events {
        Events(0)
    }

    /// Is nothing in it?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is all of `other` in it?
    pub const fn contains(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is anything of `other` in it?
    pub const fn intersects(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    /// Is a read worth a try, be it to learn of the end or of an error?
    pub const fn is_readable(self) -> bool {
        self.intersects(Events(
            Events::READ.0 | Events::READ_CLOSED.0 | Events::BROKEN.0,
        ))
    }

    /// Is a write worth a try, be it to learn of an error?
    pub const fn is_writable(self) -> bool {
        self.intersects(Events(Events::WRITE.0 | Events::BROKEN.0))
    }

    pub(super) const fn from_bits(bits: u32) -> Events {
        Events(bits)
    }

    /// What the kernel is to be asked for.
    pub(super) fn question(self) -> u32 {
        (self & (Events::ASKABLE | Events::MANNERS)).0
    }

    /// What is told of a descriptor asked about in this way, of which `found` was found. What is
    /// broken can be read and written without waiting: so it is told as what was asked for, too.
    pub(super) fn answer(self, found: Events) -> Events {
        let mut told = found & (self | Events::BROKEN);
        if found.intersects(Events::BROKEN) {
            told |= self & (Events::READ | Events::WRITE);
        }
        told
    }

    /// # Errors
    /// InvalidInput when one would wait for nothing.
    pub(super) fn check_not_empty(self) -> io::Result<()> {
        if self.intersects(Events::ASKABLE) {
            return Ok(());
        }
        let what = format!("nothing to wait for in {self:?}: give READ, WRITE or both");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// # Errors
    /// InvalidInput for what only epoll can do.
    pub(super) fn check_level(self) -> io::Result<()> {
        if !self.intersects(Events::MANNERS) {
            return Ok(());
        }
        let what = format!("only an EpollSelector can do {:?}", self & Events::MANNERS);
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }
}

impl BitOr for Events {
    type Output = Events;
    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

impl BitAnd for Events {
    type Output = Events;
    fn bitand(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }
}

impl BitAndAssign for Events {
    fn bitand_assign(&mut self, other: Events) {
        self.0 &= other.0;
    }
}

impl Sub for Events {
    type Output = Events;
    fn sub(self, other: Events) -> Events {
        Events(self.0 & !other.0)
    }
}

impl SubAssign for Events {
    fn sub_assign(&mut self, other: Events) {
        self.0 &= !other.0;
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Events::NAMES.iter().filter(|(one, _)| self.contains(*one));
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        if names.is_empty() {
            return f.write_str("(nothing)");
        }
        f.write_str(&names.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::Events;
    use crate::bounded::bounded;

    #[test]
    fn what_is_broken_is_told_as_what_was_asked_for() {
        let _bound = bounded();
        let told = Events::READ.answer(Events::HANGUP);
        assert_eq!(told, Events::READ | Events::HANGUP);
        let told = Events::WRITE.answer(Events::READ | Events::ERROR);
        assert_eq!(told, Events::WRITE | Events::ERROR);
        assert_eq!(Events::READ.answer(Events::WRITE), Events::empty());
    }

    #[test]
    fn the_question_leaves_out_what_is_told_unasked() {
        let _bound = bounded();
        let asked = Events::READ | Events::ERROR | Events::EDGE;
        assert_eq!(asked.question(), (Events::READ | Events::EDGE).0);
    }
}
