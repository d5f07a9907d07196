//! "This operation would block forever": when to say it, and what to say.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::task::{Known, State, Task, Why};
use super::{Hub, ended, helpers, with_hub};
use crate::sys;

/// For how long other OS threads are believed in once they were seen. To look costs several
/// times as much as a wake that one of them sends.
const COMPANY_BELIEVED_NS: u64 = 50_000_000;

/// Greenlets told of one by one in a report; of more, the number is told.
const REPORT_MAX: usize = 1000;

impl Hub {
    /// Nothing is runnable and no timer is armed: is there nobody left who could wake anyone?
    ///
    /// Errs on the side of waiting. Who could: the kernel, through a descriptor that somebody
    /// waits for; a thread of our own that works for a parked greenlet; another thread that
    /// holds a handle of this hub or of one of its greenlets, or shares a lock, an event or the
    /// like with them (in a process with one OS thread there is no other).
    pub(super) fn is_stuck(&self) -> bool {
        if self.root_unwinds.get() || self.helped.get() > 0 {
            return false;
        }
        let waiting = self.poller.borrow().waiting();
        if let Some(sim) = self.world.sim() {
            // Nothing outside can reach simulated sockets, and other threads take no part.
            return waiting <= sim.on_sockets() && !self.shared.has_mail();
        }
        let unknown =
            self.perhaps_helped.get() == 0 && self.shared.handles.load(Ordering::Acquire) == 0;
        let alone = unknown || self.is_only_thread();
        // Mail last: who has let go of a handle, or has ended, may have left a message before.
        alone && waiting == 0 && !self.shared.has_mail()
    }

    /// Is there no other OS thread in this process, but for idle helpers? If there was one not long
    /// ago, it is taken to be there still, and [`Hub::doubts_company_in`] says when to look again.
    fn is_only_thread(&self) -> bool {
        if self.doubts_company_in().is_some() {
            return false;
        }
        let before = helpers::count();
        let threads = sys::fd::threads_of_process().unwrap_or(usize::MAX);
        // They come and go meanwhile: to count too few of them errs on the side of waiting.
        let helpers = before.min(helpers::count());
        let alone = threads <= 1 + helpers.idle;
        if !alone {
            self.company_seen_at.set(self.now());
            self.company_helps.set(threads <= 1 + helpers.threads);
        }
        alone
    }

    /// How much longer the present turn believes what an earlier one saw; `None` when this one
    /// has looked for itself, or need not know. Helpers that work now will soon be idle, so that
    /// to see them is no reason to sleep for ever.
    pub(super) fn doubts_company_in(&self) -> Option<u64> {
        let since = self.now().saturating_sub(self.company_seen_at.get());
        let believed = since < COMPANY_BELIEVED_NS && (0 < since || self.company_helps.get());
        believed.then(|| COMPANY_BELIEVED_NS - since)
    }

    /// Every parked greenlet: what it waits for, for how long, and where it was spawned.
    pub(super) fn stuck_report(&self) -> String {
        let mut report = String::from("this operation would block forever\n");
        let root = &self.root;
        let _ = writeln!(report, "  the root waits for {}", root.local().why.get());
        report.push_str(&self.dump());
        report.push_str("nothing else is left that could wake any of them");
        if self.shared.is_inner() {
            report.push_str(
                "\nthe hub outside of this `run` stands still until `run` returns: \
                 what its greenlets are to do can be waited for only after that",
            );
        }
        report
    }

    /// One line for each greenlet that has not ended.
    pub(crate) fn dump(&self) -> String {
        let mut lines = String::new();
        let mut count = 0;
        self.each_task(|task| {
            count += 1;
            if count <= REPORT_MAX {
                let _ = writeln!(lines, "  {}", self.describe(task));
            }
        });
        if count > REPORT_MAX {
            let _ = writeln!(lines, "  ... and {} more", count - REPORT_MAX);
        }
        lines
    }

    /// What a greenlet does, in one line.
    pub(crate) fn describe(&self, task: &Task) -> String {
        let (local, known) = (task.local(), Known(task));
        let age = Duration::from_nanos(self.fresh_now().saturating_sub(local.since.get()));
        let place = task.spawned_at;
        match local.state.get() {
            State::Parked if local.why.get() == Why::Start => {
                format!("{known}: not started yet; spawned at {place}")
            }
            State::Parked => {
                let why = local.why.get();
                format!("{known}: waits for {why}, for {age:.3?} now; spawned at {place}")
            }
            State::Running => format!("{known}: runs; spawned at {place}"),
            _ => format!("{known}: is runnable; spawned at {place}"),
        }
    }
}

/// While it lives, this thread's hub expects to be woken by another thread, and so does not
/// declare that an operation would block forever; or holds that to be possible, and so declares
/// it only if there is no other thread.
///
/// It counts on the hub that it was made on, also when it is dropped inside another one's `run`.
pub(crate) struct Help {
    counter: Option<Rc<Cell<usize>>>,
    /// For an OS thread without a hub.
    _enlisted: Option<ended::Enlisted>,
}

impl Help {
    pub(crate) fn expect() -> Help {
        Help::counted_by(|hub| &hub.helped)
    }

    #[inline]
    fn counted_by(counter: impl Fn(&Hub) -> &Rc<Cell<usize>>) -> Help {
        let counter = with_hub(|hub| hub.map(|hub| Rc::clone(counter(hub))));
        let _enlisted = match &counter {
            Some(counter) => {
                counter.set(counter.get() + 1);
                None
            }
            None => Some(ended::Enlisted::new()),
        };
        Help { counter, _enlisted }
    }

    /// For a wait for what other OS threads can reach, if there are any: a lock, an event.
    #[inline]
    pub(crate) fn is_possible() -> Help {
        Help::counted_by(|hub| &hub.perhaps_helped)
    }

    /// If `task` belongs to another hub, and not to one that stands still meanwhile.
    pub(crate) fn expect_from(task: &Task) -> Option<Help> {
        let elsewhere = with_hub(|hub| {
            hub.is_some_and(|hub| !hub.owns(task) && !hub.shared.holds_up(&task.hub))
        });
        elsewhere.then(Help::expect)
    }
}

impl Drop for Help {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            counter.set(counter.get() - 1);
        }
    }
}
