//! Times as C has them, in nanoseconds of the hub's clock.

use std::time::Duration;

use libc::{clockid_t, timespec, timeval};

use super::gate::Green;
use super::raw::{errno, set_errno};
use crate::cancel;

const SECOND: u64 = 1_000_000_000;
pub(super) const MILLISECOND: u64 = 1_000_000;
/// A clock that can be set is looked at so often while somebody waits for a moment on it.
const LOOK_NS: u64 = 500 * MILLISECOND;
/// Two clocks can't be read at once: what they differ by changes by less than this for no reason.
const READING_NS_MAX: u64 = MILLISECOND;
const READINGS_MAX: u32 = 5;

pub(super) fn is_valid(time: &timespec) -> bool {
    time.tv_sec >= 0 && is_fraction(time)
}

/// All that libc asks of a moment: those before the beginning of time are past.
pub(super) fn is_fraction(time: &timespec) -> bool {
    (0..SECOND as libc::c_long).contains(&time.tv_nsec)
}

/// A length of time; as far as the clock goes for a longer one, none for a negative one.
pub(super) fn ns_of(time: &timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let ns = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(ns)
}

pub(super) fn ns_of_timeval(time: &timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    let micros = micros.saturating_mul(1000);
    seconds.saturating_mul(SECOND).saturating_add(micros)
}

pub(super) fn timespec_of(ns: u64) -> timespec {
    timespec {
        tv_sec: (ns / SECOND) as libc::time_t,
        tv_nsec: (ns % SECOND) as libc::c_long,
    }
}

/// What a clock says now; `None` if there is no such clock.
pub(super) fn read(clock: clockid_t) -> Option<u64> {
    let mut now = timespec_of(0);
    let before = errno();
    // SAFETY: `now` is there for libc to fill.
    let read = unsafe { libc::clock_gettime(clock, &mut now) };
    set_errno(before);
    (read == 0).then(|| ns_of(&now))
}

/// How far a clock is ahead of the monotonic one, by the reading that took least time.
fn ahead(clock: clockid_t) -> Option<i64> {
    let mut best = None::<(u64, i64)>;
    for _ in 0..READINGS_MAX {
        let begin = read(libc::CLOCK_MONOTONIC)?;
        let ahead = read(clock)?.wrapping_sub(begin) as i64;
        let spent = read(libc::CLOCK_MONOTONIC)?.saturating_sub(begin);
        if best.is_none_or(|(least, _)| spent < least) {
            best = Some((spent, ahead));
        }
        if spent < READING_NS_MAX / 2 {
            break;
        }
    }
    best.map(|(_, ahead)| ahead)
}

/// A moment on the hub's clock, until which something waits.
///
/// One that was given on another clock moves when that is set, or has gone on while the machine was
/// suspended. Nothing tells of that, so those that wait look for themselves every half a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// By what was known at first; `u64::MAX` for never.
    at: u64,
    /// The other clock, and how far it was ahead then.
    follows: Option<(clockid_t, i64)>,
}

impl Deadline {
    pub(super) const NEVER: Deadline = Deadline {
        at: u64::MAX,
        follows: None,
    };

    /// A moment of a clock; of one that does not exist it is past.
    pub(super) fn at(clock: clockid_t, moment: &timespec) -> Deadline {
        let now = read(clock).unwrap_or(u64::MAX);
        let left = Duration::from_nanos(ns_of(moment).saturating_sub(now));
        let moves = clock != libc::CLOCK_MONOTONIC;
        Deadline {
            at: cancel::deadline_in(left).unwrap_or(u64::MAX),
            follows: moves.then(|| Some((clock, ahead(clock)?))).flatten(),
        }
    }

    /// As [`at`](Deadline::at), where there may be no moment.
    pub(super) fn until(moment: Option<(clockid_t, &timespec)>) -> Deadline {
        moment.map_or(Deadline::NEVER, |(clock, moment)| {
            Deadline::at(clock, moment)
        })
    }

    /// The moment on the hub's clock, as the other clock is set now; `u64::MAX` for never.
    pub(super) fn now(&self) -> u64 {
        let moved = self.follows.and_then(|(clock, before)| {
            let moved = before.wrapping_sub(ahead(clock)?);
            (moved.unsigned_abs() >= READING_NS_MAX).then_some(moved)
        });
        moved.map_or(self.at, |moved| self.at.saturating_add_signed(moved))
    }

    pub(super) fn is_over(&self) -> bool {
        self.now() <= cancel::now()
    }

    /// For how long to wait at most before the next look at the clock.
    pub(super) fn look_in(&self) -> u64 {
        let left = self.now().saturating_sub(cancel::fresh_now());
        match self.follows {
            Some(_) => left.min(LOOK_NS),
            None => left,
        }
    }
}

impl From<Option<u64>> for Deadline {
    fn from(at: Option<u64>) -> Deadline {
        Deadline {
            at: at.unwrap_or(u64::MAX),
            follows: None,
        }
    }
}

impl Green<'_> {
    /// When to look whether a deadline has come: at that, or before it if its clock may be set.
    pub(super) fn next_look(&self, deadline: &Deadline) -> Option<u64> {
        let at = deadline.now();
        let look = deadline.follows.and_then(|_| self.deadline_in(LOOK_NS));
        let until = at.min(look.unwrap_or(u64::MAX));
        (until != u64::MAX).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn times_beyond_the_clock_are_its_end() {
        let _bound = bounded();
        let mut time = timespec_of(1_500_000_000);
        assert_eq!((time.tv_sec, time.tv_nsec), (1, 500_000_000));
        assert!(is_valid(&time));
        assert_eq!(ns_of(&time), 1_500_000_000);
        time.tv_sec = libc::time_t::MAX;
        assert_eq!(ns_of(&time), u64::MAX);
        time.tv_nsec = 1_000_000_000;
        assert!(!is_valid(&time));
        time.tv_sec = -1;
        assert!(!is_valid(&time));
    }
}
