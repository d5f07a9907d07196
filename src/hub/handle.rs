//! The hub as its users see it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, Stats, current_hub, with_hub};
use crate::sys::clock;
use crate::sys::report::report;

/// Names a hub, on any thread: to spawn greenlets on it from outside. Made by [`current`].
///
/// As long as a handle exists, its hub waits for work from other threads instead of declaring
/// that an operation would block forever.
///
/// # Examples
/// ```
/// let hub = std::thread::spawn(greenroom::hub::current).join().unwrap();
/// assert!(hub.is_closed(), "its OS thread has ended");
/// let lost = hub.spawn(|| ()).join().unwrap_err();
/// assert!(lost.not_started_because().is_some());
/// ```
#[doc(alias("Handle", "Runtime", "scheduler", "event loop"))]
pub struct HubHandle {
    pub(crate) shared: Arc<Shared>,
}

impl HubHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> HubHandle {
        shared.handles.fetch_add(1, Ordering::AcqRel);
        HubHandle {
            shared: Arc::clone(shared),
        }
    }

    /// A number that no other hub of this process has or had.
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// Whether the hub's OS thread (or its [`run`](crate::run)) has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

impl Clone for HubHandle {
    fn clone(&self) -> HubHandle {
        HubHandle::new(&self.shared)
    }
}

impl Drop for HubHandle {
    fn drop(&mut self) {
        self.shared.handles.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle")
            .field("number", &self.number())
            .finish_non_exhaustive()
    }
}

/// The hub of this OS thread, made now if there is none.
///
/// # Examples
/// ```
/// let hub = greenroom::hub::current();
/// let outside = std::thread::spawn(move || hub.spawn(|| 6 * 7));
/// // The greenlet runs here, while the root waits for it.
/// let answer = greenroom::spawn(move || outside.join().unwrap().join());
/// assert_eq!(answer.join().unwrap().unwrap(), 42);
/// ```
///
/// # Panics
/// When the hub can't be made because the process is out of descriptors (it needs two); see
/// [`try_current`].
pub fn current() -> HubHandle {
    try_current().expect("a hub needs two descriptors (epoll and eventfd)")
}

/// As [`current`], with the lack of descriptors as an error.
///
/// # Errors
/// Those of epoll_create1(2) and eventfd(2): EMFILE, ENFILE, ENOMEM.
pub fn try_current() -> io::Result<HubHandle> {
    current_hub(|hub| HubHandle::new(&hub.shared))
}

/// What this thread's hub has and has done; all zero on a thread without one.
///
/// Good for a leak check: two calls, before and after, should agree in what the hub *has*.
///
/// # Examples
/// ```
/// let before = greenroom::hub::stats().spawned;
/// greenroom::spawn(|| ()).join().unwrap();
/// assert_eq!(greenroom::hub::stats().spawned, before + 1);
/// ```
#[doc(alias("metrics", "counters"))]
pub fn stats() -> Stats {
    with_hub(|hub| hub.map(|hub| hub.stats()).unwrap_or_default())
}

/// Has this thread's hub look, whenever a greenlet ends, how deep it has used its stack: the
/// deepest is [`Stats::stack_high_water`]. Helps to choose a
/// [stack size](crate::Builder::stack_size). Costs a system call per greenlet, so it is off
/// until asked for. A stack that is used again shows the depth of all its uses.
///
/// Does nothing on a thread that has no hub yet: to be called after the first spawn.
///
/// # Examples
/// ```
/// use greenroom::hub;
/// let greenlet = greenroom::spawn(|| std::hint::black_box([1u8; 20_000]).len());
/// hub::stack_census(true);
/// greenlet.join().unwrap();
/// hub::stack_census(false);
/// assert!(hub::stats().stack_high_water >= 20_000);
/// ```
#[doc(alias("stack size", "stack overflow", "high-water mark"))]
pub fn stack_census(on: bool) {
    if let Err(error) = current_hub(|hub| hub.counters.census.set(on)) {
        report!(
            Error,
            "greenroom: no hub, so no census of its stacks: {error}"
        );
    }
}

/// One line for each greenlet of this thread's hub: its id, its name, what it waits for and for
/// how long, and where it was spawned. Empty on a thread without a hub.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let sleeper = greenroom::spawn(|| greenroom::sleep(Duration::from_secs(60)));
/// greenroom::yield_now();
/// assert!(greenroom::hub::dump().contains("waits for the end of a sleep"));
/// sleeper.kill();
/// ```
#[doc(alias(
    "deadlock",
    "hang",
    "stuck",
    "block forever",
    "print_run_info",
    "thread dump"
))]
pub fn dump() -> String {
    with_hub(|hub| hub.map(|hub| hub.dump()).unwrap_or_default())
}

/// Waits until all greenlets of this hub but the caller have finished: true; false when `limit`
/// came first, or when those that are left can never be woken.
///
/// To be called from the root. A greenlet that calls it without a limit is not woken. Another OS
/// thread is counted on to wake or kill somebody here as long as it holds a [`HubHandle`] or a
/// [`GreenletRef`](crate::GreenletRef) of its own; a [`Greenlet`](crate::Greenlet) that went there
/// is not enough.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// greenroom::spawn(|| greenroom::sleep(Duration::from_millis(5)));
/// assert!(!greenroom::hub::wait_idle(Some(Duration::ZERO)));
/// assert!(greenroom::hub::wait_idle(None));
/// ```
///
/// # Parks
/// Until then. A kill or a timeout ends the wait as the limit does, and unwinds from the next
/// park.
pub fn wait_idle(limit: Option<Duration>) -> bool {
    with_hub(|hub| {
        let Some(hub) = hub else { return true };
        let deadline = limit.map(|limit| clock::saturating_add(hub.fresh_now(), limit));
        hub.wait_for_others(deadline, true)
    })
}
