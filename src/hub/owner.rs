//! Who owns what its owner may take again (`RLock`): each owner has a number of its own.
//!
//! | code | its number |
//! |---|---|
//! | of a greenlet, its generators and fibers | the greenlet's |
//! | of a thread's own stack, with a hub or not | the OS thread's |
//! | of the root of an inner hub (`run`) | that of the code which has called `run` |
//! | that the hub itself calls, as a subscriber to its events | the hub's: the others are parked |
//!
//! Not the id of a greenlet: it leaves 24 bits to the number of its hub, and two greenlets of
//! different OS threads must never be taken for one.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::with_hub;

/// The number of no owner.
pub(crate) const NOBODY: u64 = 0;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(NOBODY) };
}

/// The number of the code that calls this.
pub(crate) fn current() -> u64 {
    with_hub(|hub| {
        let Some(hub) = hub else {
            return THREAD.with(numbered);
        };
        match hub.running() {
            None => numbered(&hub.owner_number),
            Some(task) if hub.is_root(task) && !hub.shared.is_inner() => THREAD.with(numbered),
            // The root of an inner hub has got its number when the hub was made.
            Some(task) => numbered(&task.get().local().owner_number),
        }
    })
}

/// The number that is noted in `place`; one that nobody has had if there is none.
fn numbered(place: &Cell<u64>) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(NOBODY);
    if place.get() == NOBODY {
        place.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    place.get()
}
