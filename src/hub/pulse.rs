//! All hubs of the process, and how one sees from outside whether they are alive.
//!
//! ```text
//!   hub's thread, while it is watched           a watchdog's thread
//!   each switch:  beat(who runs now)            looks now and then: the same beat as before,
//!   going to sleep:  rest()                     and no rest? then nobody has switched
//! ```
//!
//! A hub that nobody watches beats not: the look at the flag that it takes for those who listen
//! to its events is all that it costs.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::cell::TaskRef;
use super::remote::{Message, Shared};
use super::task::TaskPtr;
use super::with_hub;
use crate::sys::fork;
use crate::sys::lock::lock;

/// Hubs that have been made, in this order; those that are gone are taken out now and then.
static HUBS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
/// Watchdogs there are.
static WATCHDOGS: AtomicUsize = AtomicUsize::new(0);

/// What other threads see of a hub's switches.
pub(crate) struct Pulse {
    count: AtomicU64,
    runner: Mutex<Option<Runner>>,
}

/// Who runs.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) task: TaskRef,
    /// How many greenlets its hub has.
    pub(crate) greenlets: usize,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse {
            count: AtomicU64::new(0),
            runner: Mutex::new(None),
        }
    }

    /// `task` runs from now on.
    pub(super) fn beat(&self, task: TaskPtr, greenlets: usize) {
        let task = task.counted();
        self.replace(Some(Runner { task, greenlets }));
    }

    /// So many greenlets does the hub have by now.
    pub(super) fn count_greenlets(&self, greenlets: usize) {
        let mut place = lock(&self.runner);
        if let Some(runner) = &mut *place {
            runner.greenlets = greenlets;
        }
    }

    /// Nobody runs.
    pub(super) fn rest(&self) {
        self.replace(None);
    }

    fn replace(&self, runner: Option<Runner>) {
        let mut place = lock(&self.runner);
        let former = std::mem::replace(&mut *place, runner);
        drop(place);
        drop(former);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of the present beat, and who has run since.
    pub(crate) fn feel(&self) -> (u64, Option<Runner>) {
        let place = lock(&self.runner);
        (self.count.load(Ordering::Relaxed), place.clone())
    }
}

impl Shared {
    /// See [`Pulse::feel`].
    pub(crate) fn feel_pulse(&self) -> (u64, Option<Runner>) {
        self.pulse.feel()
    }
}

/// Puts a new hub on the list.
pub(super) fn enlist(hub: &Arc<Shared>) {
    let mut hubs = lock(&HUBS);
    if hubs.len() == hubs.capacity() {
        hubs.retain(|hub| hub.strong_count() > 0);
    }
    hubs.push(Arc::downgrade(hub));
}

/// The hubs of this process that are not closed, in the order of their making.
pub(crate) fn hubs() -> Vec<Arc<Shared>> {
    let hubs = lock(&HUBS);
    let all = hubs.iter().filter_map(Weak::upgrade);
    all.filter(|hub| !hub.is_closed() && hub.forks == fork::generation())
        .collect()
}

/// Whether a new hub is to show its switches.
pub(super) fn are_wanted() -> bool {
    WATCHDOGS.load(Ordering::Relaxed) > 0
}

/// While it lives, all hubs show their switches; those that run now do so soon.
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn begin() -> Watch {
        WATCHDOGS.fetch_add(1, Ordering::Relaxed);
        tell_hubs();
        Watch(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHDOGS.fetch_sub(1, Ordering::Relaxed);
        tell_hubs();
    }
}

fn tell_hubs() {
    // This thread's at once: it may not have another turn before somebody blocks it.
    let own = with_hub(|hub| {
        let hub = hub?;
        hub.be_watched(are_wanted());
        Some(hub.shared.number)
    });
    for hub in hubs().iter().filter(|hub| Some(hub.number) != own) {
        hub.send(Message::Run(Box::new(|hub| hub.be_watched(are_wanted()))));
    }
}
