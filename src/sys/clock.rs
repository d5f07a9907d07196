//! The monotonic clock, in nanoseconds since an arbitrary start.

use std::time::{Duration, Instant};

use once_cell::sync::Lazy;

/// One moment on both scales, to translate between `Instant` and nanoseconds.
static ORIGIN: Lazy<(Instant, u64)> = Lazy::new(|| (Instant::now(), now_ns()));

/// Nanoseconds on CLOCK_MONOTONIC, the clock behind `Instant` on Linux.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec for the call to fill; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Translates an `Instant`; moments before the origin become 0, too distant ones `u64::MAX`.
pub(crate) fn ns_of(instant: Instant) -> u64 {
    let (origin, origin_ns) = *ORIGIN;
    match instant.checked_duration_since(origin) {
        Some(after) => saturating_add(origin_ns, after),
        None => {
            let before = origin.duration_since(instant);
            origin_ns.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX))
        }
    }
}

/// Translates nanoseconds of this clock back to an `Instant`.
pub(crate) fn instant_of(ns: u64) -> Instant {
    let (origin, origin_ns) = *ORIGIN;
    if ns >= origin_ns {
        origin + Duration::from_nanos(ns - origin_ns)
    } else {
        origin
            .checked_sub(Duration::from_nanos(origin_ns - ns))
            .unwrap_or(origin)
    }
}

/// `ns + duration`, where `u64::MAX` stands for never.
pub(crate) fn saturating_add(ns: u64, duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(u64::MAX, |more| ns.saturating_add(more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn instants_survive_the_round_trip() {
        let _bound = bounded();
        let _ = *ORIGIN;
        let now = Instant::now();
        assert_eq!(instant_of(ns_of(now)), now);
        let later = now + Duration::from_secs(3600);
        assert_eq!(ns_of(later) - ns_of(now), 3_600_000_000_000);
    }

    #[test]
    fn a_moment_before_the_origin_is_still_ordered() {
        let _bound = bounded();
        let origin = ORIGIN.0;
        if let Some(before) = origin.checked_sub(Duration::from_millis(1)) {
            assert!(ns_of(before) < ORIGIN.1);
        }
    }

    #[test]
    fn far_future_is_never() {
        let _bound = bounded();
        assert_eq!(saturating_add(1, Duration::MAX), u64::MAX);
    }
}
