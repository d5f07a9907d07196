//! An OS thread that looks whether hubs switch, and says who keeps them from it.
//!
//! ```text
//!   at each look, for each hub:  who runs, and which beat is it?
//!     nobody, or another beat than at the look before -----> begin anew
//!     the same, for `max_blocking` and for some looks -----> tell; again after twice as long
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::greenlet::GreenletId;
use crate::hub::helpers;
use crate::hub::pulse::{self, Runner, Watch};
use crate::sys::lock::natively;
use crate::sys::report::{Level, report};
use crate::sys::stderr;

/// How often it looks while `max_blocking` passes.
const LOOKS: u32 = 4;
/// The shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(1);
/// At so many looks in a row it must have been the same: the machine itself may have stood still.
const SAME_MIN: u32 = 3;

/// Tells, from an OS thread of its own, which greenlet has kept its hub from switching for too
/// long: because it computes, or calls something that blocks.
///
/// It looks at all hubs of the process, at those that run already from their next turn on. Not told
/// of is a hub that sleeps, and a root that runs while there are no greenlets which would have to
/// wait for it. While there is one, a switch costs some 50 ns more. Dropped, it stops.
///
/// # Examples
/// ```
/// use greenroom::inspect::Watchdog;
/// use std::{sync::mpsc, thread, time::Duration};
///
/// let (sender, told) = mpsc::channel();
/// let limit = Duration::from_millis(20);
/// let watchdog = Watchdog::with_callback(limit, move |blocked| {
///     sender.send(blocked.name.clone()).unwrap();
/// })?;
/// let builder = greenroom::Builder::new().name("hog".into());
/// let hog = builder.spawn(|| thread::sleep(Duration::from_millis(300)))?;
/// hog.join().unwrap();
/// assert_eq!(told.recv().unwrap().as_deref(), Some("hog"));
/// drop(watchdog);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias("deadlock", "hang", "stuck", "blocked", "MonitorThread"))]
#[must_use = "a watchdog stops when it is dropped"]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A hub that has not switched for too long; see [`Watchdog`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// Which hub, as in [`HubHandle::number`](crate::hub::HubHandle::number).
    pub hub: u64,
    /// Who runs there, and has not parked.
    pub greenlet: GreenletId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Where in the source it was spawned.
    pub spawned_at: String,
    /// For how long at least.
    pub blocked_for: Duration,
    /// How many greenlets there are on that hub, itself included if it is not the root.
    pub greenlets: usize,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hub {} has been blocked ", self.hub)?;
        write!(
            f,
            "for {:.0?} by greenlet #{}",
            self.blocked_for, self.greenlet
        )?;
        if let Some(name) = &self.name {
            write!(f, " '{name}'")?;
        }
        write!(f, ", spawned at {}", self.spawned_at)
    }
}

impl Watchdog {
    /// Logs a warning for each hub that has not switched for `max_blocking`, and again whenever
    /// that has become twice as long. gevent's limit is 100 ms.
    ///
    /// Where there is no logger, or `log::max_level()` lets no warnings pass, they go to the
    /// standard error.
    ///
    /// # Errors
    /// `InvalidInput` for a limit of zero; otherwise the lack of an OS thread.
    ///
    /// # Parks
    /// Never.
    pub fn start(max_blocking: Duration) -> io::Result<Watchdog> {
        Watchdog::watch(max_blocking, |blocked| {
            stderr::report_or_print(Level::Warn, &blocked.to_string());
        })
    }

    /// Logs as [`start`](Watchdog::start), and calls `tell` as well, on the watchdog's own thread.
    /// A panic of it is logged and goes no further. Nothing goes to the standard error.
    ///
    /// # Errors
    /// As `start`.
    ///
    /// # Parks
    /// Never.
    pub fn with_callback(
        max_blocking: Duration,
        mut tell: impl FnMut(&Blocked) + Send + 'static,
    ) -> io::Result<Watchdog> {
        Watchdog::watch(max_blocking, move |blocked| {
            report!(Warn, "greenroom: {blocked}");
            tell(blocked);
        })
    }

    fn watch(
        max_blocking: Duration,
        tell: impl FnMut(&Blocked) + Send + 'static,
    ) -> io::Result<Watchdog> {
        if max_blocking.is_zero() {
            let what = "a watchdog needs a limit above zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let builder = thread::Builder::new().name("greenroom watchdog".into());
        // Here, so that a hub that is made from now on is watched.
        let watch = Watch::begin();
        // It wakes nobody but by what it tells: to the detector of deadlocks it is no company.
        let helper = helpers::Thread::new();
        let work = move || {
            let idle = helpers::Idle::new();
            guard(max_blocking, tell, &stopped);
            drop((watch, idle, helper));
        };
        let thread = natively(|| builder.spawn(work))?;
        Ok(Watchdog {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    /// Waits for the end of its thread, which may be in the callback: that is a few milliseconds
    /// as a rule. Dropped by the callback itself it does not wait.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                report!(Error, "greenroom: a watchdog panicked");
            }
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

/// What was seen of a hub.
struct Seen {
    beat: u64,
    since: Instant,
    looks: u32,
    tell_at: Duration,
}

fn guard(max_blocking: Duration, mut tell: impl FnMut(&Blocked), stopped: &AtomicBool) {
    let pause = (max_blocking / LOOKS).max(LOOK_MIN);
    let mut seen = BTreeMap::new();
    while !stopped.load(Ordering::Acquire) {
        thread::park_timeout(pause);
        // From before the look, so that none who sees it idle is woken by what it tells.
        let _work = helpers::Work::new();
        let mut now = BTreeMap::new();
        for hub in pulse::hubs() {
            let (beat, runner) = hub.feel_pulse();
            let Some(runner) = runner.filter(|runner| runner.greenlets > 0) else {
                continue;
            };
            let former = seen.remove(&hub.number);
            let mut seen = same(former, beat, max_blocking);
            let elapsed = seen.since.elapsed();
            if elapsed >= seen.tell_at && seen.looks >= SAME_MIN {
                seen.tell_at = elapsed.saturating_mul(2);
                bark(&describe(hub.number, &runner, elapsed), &mut tell);
            }
            now.insert(hub.number, seen);
        }
        seen = now;
    }
}

/// What was seen before, if it is the same beat still.
fn same(former: Option<Seen>, beat: u64, max_blocking: Duration) -> Seen {
    match former {
        Some(seen) if seen.beat == beat => Seen {
            looks: seen.looks.saturating_add(1),
            ..seen
        },
        _ => Seen {
            beat,
            since: Instant::now(),
            looks: 1,
            tell_at: max_blocking,
        },
    }
}

fn describe(hub: u64, runner: &Runner, blocked_for: Duration) -> Blocked {
    let task = &runner.task;
    Blocked {
        hub,
        greenlet: task.greenlet_id(),
        name: task.name.as_deref().map(String::from),
        spawned_at: task.origin().to_string(),
        blocked_for,
        greenlets: runner.greenlets,
    }
}

fn bark(blocked: &Blocked, tell: &mut impl FnMut(&Blocked)) {
    let told = panic::catch_unwind(AssertUnwindSafe(|| tell(blocked)));
    if let Err(payload) = told {
        report!(Error, "greenroom: the callback of a watchdog panicked");
        std::mem::forget(payload);
    }
}
