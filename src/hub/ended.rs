//! Hubs that have ended with greenlets parked on them, and who is told of it.
//!
//! Such greenlets never run again. One of them may have been granted something just before, a
//! lock, a permit or an item, for which others wait. Only these can take it over: on the ending
//! thread it may be gone already, if it was a thread-local of that thread.
//!
//! ```text
//!   the ending thread                        who waits, on any other
//!   close the hub: from now on nothing is    enlist, if it has no hub
//!     granted to greenlets of it             look: was I granted it?
//!   note its number                          has any hub ended so? then see whether one of
//!   have all look again                        its greenlets was granted it, and take it over
//!                                            park
//! ```
//!
//! Either the look comes after the note, or the call to look again after the look.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pulse::hubs;
use super::{Hub, Message, Shared, Why, with_hub};
use crate::sys::fork::{self, PerProcess};
use crate::sys::lock::lock;
use crate::sys::sleeper::Sleeper;

/// The numbers of hubs that have ended so, and whether there is one.
static NUMBERS: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
static ANY: AtomicBool = AtomicBool::new(false);
/// OS threads without a hub that wait.
static PLAIN_THREADS: PerProcess<Mutex<Vec<Sleeper>>> = PerProcess::new();

fn plain_threads() -> &'static Mutex<Vec<Sleeper>> {
    PLAIN_THREADS.get(|| {
        fork::count();
        Mutex::default()
    })
}

/// Notes the end of `hub`, which is closed, and has everybody who waits look again.
pub(super) fn tell(hub: &Shared) {
    lock(&NUMBERS).insert(hub.number);
    ANY.store(true, Ordering::Release);
    for other in hubs() {
        other.send(Message::Run(Box::new(Hub::have_all_look_again)));
    }
    let threads = lock(plain_threads()).clone();
    threads.iter().for_each(Sleeper::wake);
}

/// Whether any hub has ended with greenlets parked on it.
#[inline]
pub(crate) fn is_any() -> bool {
    ANY.load(Ordering::Acquire)
}

/// Whether the hub of this number has.
pub(crate) fn is(hub: u64) -> bool {
    lock(&NUMBERS).contains(&hub)
}

impl Hub {
    /// Wakes all who wait for something that others may have.
    fn have_all_look_again(&self) {
        let tasks = self.tasks.borrow();
        let all = tasks.iter().map(|task| task.get()).chain([&**self.root()]);
        all.filter(|task| matches!(task.local().why.get(), Why::Helper(_) | Why::Shared(_)))
            .for_each(|task| self.wake(task));
    }
}

/// While it lives, this OS thread, which has no hub, is told of hubs that end.
pub(crate) struct Enlisted(());

impl Enlisted {
    #[inline]
    pub(crate) fn if_without_a_hub() -> Option<Enlisted> {
        with_hub(|hub| hub.is_none()).then(Enlisted::new)
    }

    #[cold]
    pub(super) fn new() -> Enlisted {
        lock(plain_threads()).push(Sleeper::current());
        Enlisted(())
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let me = Sleeper::current();
        let mut threads = lock(plain_threads());
        let mine = threads.iter().position(|thread| thread.is(&me));
        let mine = mine.map(|mine| threads.swap_remove(mine));
        drop(threads);
        drop(mine);
    }
}
