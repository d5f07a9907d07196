//! Does it let the others run?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::events::{Event, subscribe};
use super::{Hub, current_hub};
use crate::sys::lock::lock;

/// Runs `f` and panics if it has kept its OS thread for longer than `max_blocking` without a
/// switch: for tests that something parks instead of blocking.
///
/// Looked at is the caller's greenlet only, in real time, also in a simulation.
///
/// # Examples
/// ```
/// use greenroom::hub::assert_switches;
/// use std::time::Duration;
/// let brief = Duration::from_millis(500);
/// assert_switches(brief, || greenroom::sleep(Duration::from_millis(2)));
///
/// let blocking = || std::thread::sleep(Duration::from_millis(3));
/// let caught = std::panic::catch_unwind(|| {
///     assert_switches(Duration::from_millis(1), blocking);
/// });
/// assert!(caught.is_err());
/// ```
///
/// # Panics
/// Then, with how long it was; and when `f` does. When the thread has no hub yet and none can be
/// made for want of descriptors.
///
/// # Parks
/// As `f` does.
#[track_caller]
pub fn assert_switches<T>(max_blocking: Duration, f: impl FnOnce() -> T) -> T {
    let me = current_hub(running_id).expect("a hub needs two descriptors");
    // The longest stretch so far, and when the present one began.
    let stretches = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
    let noted = Arc::clone(&stretches);
    let subscription = subscribe(move |event| {
        let Event::Switched { from, to, .. } = event else {
            return;
        };
        let mut noted = lock(&noted);
        if from.number() == me {
            noted.0 = noted.0.max(noted.1.elapsed());
        }
        if to.number() == me {
            noted.1 = Instant::now();
        }
    });
    let value = f();
    let (longest, since) = *lock(&stretches);
    let longest = longest.max(since.elapsed());
    drop(subscription);
    assert!(
        longest <= max_blocking,
        "the hub was blocked for {longest:?} without a switch; at most {max_blocking:?} is allowed"
    );
    value
}

fn running_id(hub: &Hub) -> u64 {
    hub.running().map_or(hub.root.id, |task| task.get().id)
}
