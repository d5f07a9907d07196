//! "This operation would block forever": when to say it, and what to say.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::task::{Known, State, Task, Why};
use super::{Hub, ended, helpers, with_hub};
use crate::sys::report::Level;
use crate::sys::sleeper::Sleeper;
use crate::sys::{self, clock};

/// For how long other OS threads are believed in once they were seen. To look costs several
/// times as much as a wake that one of them sends. While nothing else happens, the time doubles
/// from look to look: a thread that ends without a wake is noticed as well.
const COMPANY_BELIEVED_NS: u64 = 50_000_000;
const COMPANY_BELIEVED_MAX_NS: u64 = 5_000_000_000;

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
        self.outlook() == Outlook::Stuck
    }

    pub(super) fn outlook(&self) -> Outlook {
        if self.root_unwinds.get() || self.helped.get() > 0 {
            return Outlook::Open;
        }
        let waiting = self.poller.borrow().waiting();
        if let Some(sim) = self.world.sim() {
            // Nothing outside can reach simulated sockets, and other threads take no part.
            let stuck = waiting <= sim.on_sockets() && !self.shared.has_mail();
            return if stuck { Outlook::Stuck } else { Outlook::Open };
        }
        if waiting > 0 {
            return Outlook::Open;
        }
        let unknown =
            self.perhaps_helped.get() == 0 && self.shared.handles.load(Ordering::Acquire) == 0;
        if !unknown && let Some(again_in) = self.believes_in_company_for() {
            return Outlook::Company { again_in };
        }
        // Mail last: who has let go of a handle, or has ended, may have left a message before.
        match self.shared.has_mail() {
            true => Outlook::Open,
            false => Outlook::Stuck,
        }
    }

    /// `None` if this is the only OS thread of the process but for idle helpers. Otherwise after
    /// how long to look again: those that were seen not long ago are taken to be there still.
    fn believes_in_company_for(&self) -> Option<u64> {
        let (lookout, activity) = (&self.lookout, self.activity());
        if lookout.activity.replace(activity) != activity {
            let first = lookout.believed_ns.get().min(COMPANY_BELIEVED_NS);
            lookout.believed_ns.set(first);
        }
        let (believed, now) = (lookout.believed_ns.get(), self.now());
        let since = now.saturating_sub(lookout.seen_at.get());
        if since < believed {
            return Some(believed - since);
        }
        let believed = match look_for_company() {
            Company::None => 0,
            // One that works now will soon be idle.
            Company::Helpers => COMPANY_BELIEVED_NS,
            Company::Others => (believed * 2).clamp(COMPANY_BELIEVED_NS, COMPANY_BELIEVED_MAX_NS),
        };
        lookout.believed_ns.set(believed);
        lookout.seen_at.set(now);
        (believed > 0).then_some(believed)
    }

    /// Logs the report, once for each time that all come to wait.
    pub(super) fn tell_that_all_is_stuck(&self) {
        let activity = self.activity();
        if self.lookout.told.replace(activity) != activity {
            sys::stderr::report_or_print(Level::Error, &self.stuck_report());
        }
    }

    /// Changes whenever a greenlet has run, or the root has.
    fn activity(&self) -> (u64, u64) {
        (self.counters.switches.get(), self.root.local().since.get())
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
        let place = task.origin();
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

/// What is to be expected of a hub on which all greenlets wait and no timer is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// A wake may come from elsewhere.
    Open,
    /// Only from another OS thread, if it is still there after that time.
    Company {
        again_in: u64,
    },
    Stuck,
}

/// What a hub remembers of its looks for other OS threads.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// When it last saw one, and for how long it is to believe in that.
    seen_at: Cell<u64>,
    believed_ns: Cell<u64>,
    /// What had happened on this hub by then.
    activity: Cell<(u64, u64)>,
    /// What had happened when it last logged that all are stuck.
    told: Cell<(u64, u64)>,
}

/// The OS threads of this process other than the one that asks.
enum Company {
    None,
    /// Threads of our own, one of which works.
    Helpers,
    Others,
}

fn look_for_company() -> Company {
    let before = helpers::count();
    let threads = sys::fd::threads_of_process().unwrap_or(usize::MAX);
    // They come and go meanwhile: to count too few of them errs on the side of waiting.
    let helpers = before.min(helpers::count());
    if threads <= 1 + helpers.idle {
        Company::None
    } else if threads <= 1 + helpers.threads {
        Company::Helpers
    } else {
        Company::Others
    }
}

/// How long an OS thread without a hub waits before it looks who could wake it.
const NATIVE_WAIT_NS: u64 = COMPANY_BELIEVED_NS;

thread_local! {
    /// How long the next native wait is to be. Longer than the first one: the last was in vain.
    static NATIVE_NEXT: Cell<u64> = const { Cell::new(NATIVE_WAIT_NS) };
}

/// Blocks an OS thread that has no hub until it is woken, or for some time: the caller looks again
/// at what it waits for.
///
/// # Panics
/// When no other OS thread is left that could wake this one.
pub(crate) fn park_without_hub(what: Why) {
    let (me, limit) = (Sleeper::current(), NATIVE_NEXT.replace(NATIVE_WAIT_NS));
    // The caller has looked since the last wait. If this thread is alone now, what others did
    // before they ended is either seen by that look or has left a token.
    let in_vain = limit > NATIVE_WAIT_NS && !thread::panicking();
    if in_vain && matches!(look_for_company(), Company::None) {
        if !me.sleep(0) {
            let thread = thread::current();
            let name = thread.name().unwrap_or("without a name");
            panic!(
                "this operation would block forever\n  \
                 the OS thread '{name}', which has no greenlets, waits for {what}\n\
                 no other OS thread is left that could wake it"
            );
        }
        return;
    }
    let begin = clock::now_ns();
    if !me.sleep(limit) && clock::now_ns().saturating_sub(begin) >= limit {
        NATIVE_NEXT.set(limit.saturating_mul(2).min(COMPANY_BELIEVED_MAX_NS));
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
