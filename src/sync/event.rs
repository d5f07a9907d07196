//! A flag that one waits for.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::steps::{AtomicBool, Mutex, MutexGuard, lock};
use super::waiting::{self, Home, Subscribed};
use super::waitlist::{Notice, WaitList, tell_all};
use crate::cancel;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable, yield_now};

/// A flag that is set or not, and that greenlets and OS threads wait for.
///
/// As gevent's and Python's `Event`: [`set`](Event::set) wakes all who wait, in the order of
/// their arrival, also if the flag is [cleared](Event::clear) before they run; as long as it is
/// set, nobody waits. It can be waited for among other things: see [`wait`](crate::wait).
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, Event};
/// let ready = Arc::new(Event::new());
/// let theirs = Arc::clone(&ready);
/// let waiter = greenroom::spawn(move || {
///     theirs.wait();
///     "go"
/// });
/// ready.set();
/// assert_eq!(waiter.join().unwrap(), "go");
/// ```
#[doc(alias("Notify", "ManualResetEvent", "signal", "flag"))]
#[derive(Default)]
pub struct Event {
    /// Changed only with `waiters` locked; while it is set nobody in there waits.
    flag: AtomicBool,
    waiters: Mutex<WaitList>,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Examples
    /// ```
    /// static STARTED: greenroom::sync::Event = greenroom::sync::Event::new();
    /// assert!(!STARTED.is_set());
    /// ```
    pub const fn new() -> Event {
        Event {
            flag: AtomicBool::new(false),
            waiters: Mutex::new(WaitList::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitList> {
        lock(&self.waiters)
    }

    /// Whether the event is set.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn is_set(&self) -> bool {
        let set = self.flag_is_set();
        if !set {
            cancel::let_others_run();
        }
        set
    }

    fn flag_is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Sets the event and wakes all who wait for it, in the order of their arrival.
    ///
    /// # Examples
    /// ```
    /// let event = greenroom::sync::Event::new();
    /// event.set();
    /// event.wait();
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn set(&self) {
        let mut waiters = self.lock();
        self.flag.store(true, Ordering::Release);
        if waiters.is_empty() {
            return;
        }
        let notices = waiters.grant_all();
        drop(waiters);
        tell_all(notices);
    }

    /// Takes the flag back: from now on one waits for the next [`set`](Event::set). Who has been
    /// woken by an earlier one is not concerned.
    ///
    /// # Examples
    /// ```
    /// let event = greenroom::sync::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn clear(&self) {
        let _waiters = self.lock();
        self.flag.store(false, Ordering::Release);
    }

    /// Waits until the event is set.
    ///
    /// # Examples
    /// See [`Event`].
    ///
    /// # Panics
    /// In the root, when nothing is left that could set it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until the event is set. If it is set already, but earlier waiters have yet to run, it lets
    /// them run first. A kill or a timeout unwinds.
    pub fn wait(&self) {
        let set = self.wait_until(None);
        debug_assert!(set, "without a deadline there is only one way to end");
    }

    /// Waits until the event is set, at most for `limit`; returns whether it was.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let event = greenroom::sync::Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// ```
    ///
    /// # Panics
    /// As [`wait`](Event::wait), when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As [`wait`](Event::wait), and no longer than `limit`.
    #[must_use = "it may not have been set in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(cancel::deadline_in(limit))
    }

    fn wait_until(&self, deadline: Option<u64>) -> bool {
        let mut waiters = self.lock();
        if self.flag_is_set() {
            let behind_others = waiters.woken() > 0;
            drop(waiters);
            if behind_others {
                yield_now();
            }
            return true;
        }
        let key = waiters.push((), Notice::to_me());
        drop(waiters);
        waiting::wait(self, key, "an event", deadline).is_ok()
    }
}

impl Home for Event {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.lock())
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}

impl Subscribe for Event {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        let mut waiters = self.lock();
        if self.flag_is_set() {
            drop(waiters);
            ready.call();
            return None;
        }
        Some(Box::new(Subscribed::new(self, &mut waiters, (), ready)))
    }
}

/// Ready when it is set.
impl Waitable for Event {}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.flag_is_set())
            .field("waiters", &self.lock().len())
            .finish()
    }
}
