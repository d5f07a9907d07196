//! Times as C has them, in nanoseconds of the hub's clock.

use libc::{clockid_t, timespec, timeval};

use super::gate::Green;
use super::raw::raw;

const SECOND: u64 = 1_000_000_000;

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
    // SAFETY: `now` is there for the kernel to fill.
    let read = unsafe { raw!(SYS_clock_gettime, clock, &raw mut now) };
    (read == 0).then(|| ns_of(&now))
}

impl Green<'_> {
    /// The deadline that is a moment of another clock.
    pub(super) fn deadline_at(&self, clock: clockid_t, moment: &timespec) -> Option<u64> {
        let left = ns_of(moment).saturating_sub(read(clock)?);
        self.deadline_in(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_the_clock_are_its_end() {
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
