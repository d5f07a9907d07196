//! Waiting for whichever comes first, of things of any kind.

use std::time::{Duration, Instant};

use super::wait::sealed::{Subscribe, Subscription};
use super::wait::{Ready, Waitable, iwait};
use crate::cancel;
use crate::sys::clock;

/// Waits until one of `objects` is ready, and returns its position; of several that are ready
/// already, the first.
///
/// Nothing is taken from it, nor from the others: what it was waited for is still to be done,
/// and somebody else may have been faster. The objects may be of any kinds: greenlets, events,
/// semaphores, queues and their [`Room`](crate::sync::Room), descriptors
/// ([`io::readable`](crate::io::readable)), a [`Deadline`].
///
/// # Examples
/// ```
/// use greenroom::{Deadline, sync::Queue, wait_any};
/// use std::time::Duration;
///
/// let (orders, returns) = (Queue::<u32>::new(), Queue::<u32>::new());
/// returns.put(7).unwrap();
/// let served = match wait_any(&[&orders, &returns, &Deadline::after(Duration::from_secs(1))]) {
///     0 => orders.try_get(),
///     1 => returns.try_get(),
///     _ => panic!("nobody came"),
/// };
/// assert_eq!(served, Ok(7));
/// ```
///
/// # Panics
/// When `objects` is empty. In the root, when nothing is left that could make one ready ("this
/// operation would block forever").
///
/// # Parks
/// Until then. A kill or a timeout unwinds.
#[doc(alias("select", "select!", "race", "first_completed", "any"))]
pub fn wait_any(objects: &[&dyn Waitable]) -> usize {
    assert!(
        !objects.is_empty(),
        "wait_any: there are no objects to wait for"
    );
    let first = iwait(objects.iter().copied()).indexed().next();
    first
        .expect("without a limit the first wait ends with an object")
        .0
}

/// As [`wait_any`], for at most `limit`: `None` when nothing was ready in time.
///
/// # Examples
/// ```
/// use greenroom::{sync::Event, wait_any_timeout};
/// use std::time::Duration;
/// let never = Event::new();
/// assert_eq!(wait_any_timeout(&[&never], Duration::from_millis(5)), None);
/// assert_eq!(wait_any_timeout(&[], Duration::MAX), None);
/// ```
///
/// # Panics
/// In the root, as [`wait_any`], when `limit` is so long that it lies beyond the end of the clock.
///
/// # Parks
/// As [`wait_any`], and no longer than `limit`; not at all for nothing.
pub fn wait_any_timeout(objects: &[&dyn Waitable], limit: Duration) -> Option<usize> {
    let mut first = iwait(objects.iter().copied()).timeout(limit).indexed();
    first.next().map(|(index, _)| index)
}

/// A moment to wait for among other things: ready when it has come. What else is ready then wins.
///
/// # Examples
/// ```
/// use greenroom::{Deadline, spawn, wait_any};
/// use std::time::Duration;
///
/// let slow = spawn(|| greenroom::sleep(Duration::from_secs(60)));
/// assert_eq!(wait_any(&[&slow, &Deadline::after(Duration::from_millis(5))]), 1);
/// slow.kill();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// On the clock of the hub; `u64::MAX` for one that never comes.
    at: u64,
}

impl Deadline {
    /// That moment, by the clock of [`now`](crate::now).
    pub fn at(moment: Instant) -> Deadline {
        Deadline {
            at: clock::ns_of(moment),
        }
    }

    /// The moment `delay` from now. One beyond the end of the clock never comes.
    pub fn after(delay: Duration) -> Deadline {
        Deadline {
            at: clock::saturating_add(cancel::fresh_now(), delay),
        }
    }

    /// Whether it has come.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn has_passed(&self) -> bool {
        let passed = self.at <= cancel::fresh_now();
        if !passed {
            cancel::let_others_run();
        }
        passed
    }
}

impl Subscribe for Deadline {
    fn deadline(&self) -> Option<u64> {
        (self.at != u64::MAX).then_some(self.at)
    }

    /// Whoever waits looks at the clock himself.
    fn subscribe<'a>(&'a self, _ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        None
    }
}

impl Waitable for Deadline {}
