//! What happens on a hub, told to whoever wants to know: tracers, profilers, tests.
//!
//! ```text
//!   launch ---> Spawned      on the spawner's stack; on the hub's own for what was sent to it
//!   turn -----> Switched     on the hub's own, before `to` runs
//!   bury -----> Finished     on the hub's own, after the stack has been given back
//!   by hand --> Transferred  on the stack that was switched to: a generator, a fiber, or back
//! ```
//!
//! While a callback runs nobody does, as far as the hub is concerned: so it can't park, and what
//! would park blocks the OS thread. Without a listener an event costs the look at one flag.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;

use super::nested::CoroutineId;
use super::task::{GreenletId, Task, TaskPtr};
use super::{Hub, current_hub};
use crate::sys::report::{self, report};

/// Something that has happened on a hub; see [`subscribe`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A greenlet has been queued for its first run, or has a timer for it.
    #[non_exhaustive]
    Spawned {
        /// The new greenlet.
        id: GreenletId,
        /// The name given to [`Builder::name`](crate::Builder::name).
        name: Option<&'a str>,
        /// Where in the source it was spawned.
        location: &'static Location<'static>,
    },
    /// One greenlet has parked, yielded or ended, and another runs next.
    #[non_exhaustive]
    Switched {
        /// Who ran last.
        from: GreenletId,
        /// Who runs now; the same as `from` if nobody else could run.
        to: GreenletId,
    },
    /// One greenlet has gone from one of its stacks to another: into a generator or a fiber, out
    /// of one, or between two.
    #[non_exhaustive]
    Transferred {
        /// Whose stacks they are.
        greenlet: GreenletId,
        /// Which coroutine was left; `None` for the greenlet's own stack.
        from: Option<CoroutineId>,
        /// Which one runs now; `None` for the greenlet's own stack.
        to: Option<CoroutineId>,
        /// Not to go on there, but to end, or to hear of a panic.
        thrown: bool,
    },
    /// A greenlet has ended, and its stack is free.
    #[non_exhaustive]
    Finished {
        /// The greenlet that was.
        id: GreenletId,
    },
}

type Call = Box<dyn FnMut(&Event<'_>) + Send>;

/// One callback. Taken out while it runs, and for good when its subscription ends.
struct Listener {
    call: Cell<Option<Call>>,
    ended: Cell<bool>,
}

/// A hub's listeners.
pub(super) struct Events {
    heard: Cell<bool>,
    telling: Cell<bool>,
    /// A watchdog wants to see each switch.
    watched: Cell<bool>,
    listeners: RefCell<Vec<Rc<Listener>>>,
    /// Who ran last; kept only while somebody listens.
    last: Cell<u64>,
}

impl Events {
    /// Is nobody in the middle of a change?
    pub(super) fn are_at_ease(&self) -> bool {
        self.listeners.try_borrow_mut().is_ok()
    }

    pub(super) fn new(watched: bool) -> Events {
        Events {
            heard: Cell::new(watched),
            telling: Cell::new(false),
            watched: Cell::new(watched),
            listeners: RefCell::default(),
            last: Cell::new(0),
        }
    }

    /// Whether anybody listens. Not while a callback runs: what it does is not told.
    #[inline]
    pub(super) fn are_heard(&self) -> bool {
        self.heard.get()
    }

    /// Calls all listeners. Never unwinds, and never switches to another stack: the caller may be
    /// in the middle of a switch.
    fn tell(&self, event: &Event<'_>) {
        self.heard.set(false);
        self.telling.set(true);
        let listeners = self.listeners.borrow().clone();
        listeners.iter().for_each(|listener| listener.hear(event));
        drop(listeners);
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|listener| !listener.ended.get());
        self.heard.set(!listeners.is_empty() || self.watched.get());
        self.telling.set(false);
    }

    /// Whether somebody other than a watchdog listens.
    fn have_listeners(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }

    fn add(&self, listener: &Rc<Listener>, running: u64) {
        if !self.telling.get() && !self.have_listeners() {
            self.heard.set(true);
            self.last.set(running);
        }
        self.listeners.borrow_mut().push(Rc::clone(listener));
    }
}

impl Listener {
    fn hear(&self, event: &Event<'_>) {
        let Some(mut call) = self.call.take() else {
            return;
        };
        let heard = panic::catch_unwind(AssertUnwindSafe(|| call(event)));
        if let Err(payload) = heard {
            report!(
                Error,
                "greenroom: a subscriber to a hub's events panicked; it hears no more"
            );
            self.ended.set(true);
            report::discard(payload);
        }
        if self.ended.get() {
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(call)));
            dropped.unwrap_or_else(report::discard);
        } else {
            self.call.set(Some(call));
        }
    }
}

impl Hub {
    #[cold]
    pub(super) fn tell_spawned(&self, task: &Task) {
        if self.events.watched.get() {
            self.shared.pulse.count_greenlets(self.alive());
        }
        self.tell(&Event::Spawned {
            id: task.greenlet_id(),
            name: task.name.as_deref(),
            location: task.spawned_at,
        });
    }

    /// Begins or ceases to show each switch to watchdogs.
    pub(super) fn be_watched(&self, watched: bool) {
        self.events.watched.set(watched);
        let heard = watched || self.events.have_listeners();
        self.events.heard.set(heard && !self.events.telling.get());
        if !watched {
            self.shared.pulse.rest();
        }
    }

    #[cold]
    pub(super) fn tell_switched(&self, to: TaskPtr) {
        if self.events.watched.get() {
            self.shared.pulse.beat(to, self.alive());
            if !self.events.have_listeners() {
                return;
            }
        }
        let to = to.get().greenlet_id();
        let from = GreenletId::new(self.events.last.replace(to.number()));
        self.tell(&Event::Switched { from, to });
    }

    #[cold]
    pub(super) fn tell_finished(&self, id: GreenletId) {
        self.tell(&Event::Finished { id });
    }

    /// With nobody running meanwhile, so that a callback that would park blocks instead.
    pub(super) fn tell(&self, event: &Event<'_>) {
        let running = self.running.replace(None);
        self.events.tell(event);
        self.running.set(running);
    }
}

/// Has `call` called with everything that happens on this OS thread's hub from now on, until the
/// subscription is dropped.
///
/// `call` runs on this OS thread, but on behalf of any greenlet. In a patched program a greenlet
/// may have thread-locals of its own, so `call` must be `Send`.
///
/// Several are called in the order of subscribing. One that panics is not called again; the
/// panic is logged and goes no further. What a callback itself causes (it may spawn, or kill) is
/// not told to anyone.
///
/// # Examples
/// ```
/// use greenroom::hub::{self, Event};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static SPAWNED: AtomicU32 = AtomicU32::new(0);
/// let subscription = hub::subscribe(|event| {
///     if let Event::Spawned { .. } = event {
///         SPAWNED.fetch_add(1, Ordering::Relaxed);
///     }
/// });
/// greenroom::spawn(|| ());
/// greenroom::spawn(|| ());
/// drop(subscription);
/// greenroom::spawn(|| ());
/// assert_eq!(SPAWNED.load(Ordering::Relaxed), 2);
/// ```
///
/// # Panics
/// When the thread has no hub yet and none can be made for want of descriptors.
///
/// # Parks
/// Never. Nor may `call`: what would park in it blocks the OS thread, and for ever if it waits
/// for a greenlet of the same hub. No timeout and no kill is delivered there.
pub fn subscribe(call: impl FnMut(&Event<'_>) + Send + 'static) -> Subscription {
    let listener = Rc::new(Listener {
        call: Cell::new(Some(Box::new(call))),
        ended: Cell::new(false),
    });
    let subscribed = current_hub(|hub| {
        let running = hub.running().map_or(hub.root.id, |task| task.get().id);
        hub.events.add(&listener, running);
    });
    subscribed.expect("a hub needs two descriptors (epoll and eventfd)");
    Subscription { listener }
}

/// The right to hear of a hub's events, made by [`subscribe`]. Dropping it ends that, and drops
/// the callback.
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription {
    listener: Rc<Listener>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.listener.ended.set(true);
        // Its place in the list goes with the next event; what it captured goes now.
        drop(self.listener.call.take());
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("ended", &self.listener.ended.get())
            .finish_non_exhaustive()
    }
}
