//! Who may park in a hooked call, and who passes through.
//!
//! ```text
//!   hook --> patched? --> has this OS thread a hub? --> does a greenlet run? --> at ease? --> park
//!              | no             | no                     | no: the hub itself      | no
//!              +----------------+------------------------+-------------------------+--> kernel
//! ```
//!
//! The first two questions are two loads; a thread that has no hub is not asked a third. Nothing
//! here allocates or panics, and all of it works on zeroed statics, before `main` too.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::allocator;
use super::hooks::{Bypass, Hook};
use super::owed;
use super::raw::{errno, fail, set_errno};
use crate::cancel::{self, Met};
use crate::greenlet::identity;
use crate::hub::{Hub, State, TaskPtr, Why, with_hub};
use crate::sys::lock::is_native;
use crate::sys::panics;
use crate::sys::signal::blocked;

/// The parts that are patched, a bit for each.
static PATCHED: AtomicU32 = AtomicU32::new(0);

pub(super) fn open(parts: u32) {
    PATCHED.fetch_or(parts, Ordering::Release);
}

#[inline(always)]
pub(super) fn is_open(parts: u32) -> bool {
    PATCHED.load(Ordering::Relaxed) & parts != 0
}

/// The greenlet (or the root) that is inside of a hooked call.
pub(super) struct Green<'a> {
    pub(super) hub: &'a Hub,
    pub(super) task: TaskPtr,
    pub(super) hook: &'static Hook,
}

/// Calls `green` where a greenlet may park, and `native` elsewhere, and where `green` says that
/// it can't help. Results are those of the kernel: negative for an errno.
///
/// errno itself is left as it was by what others do meanwhile.
#[inline(always)]
pub(super) fn run(
    hook: &'static Hook,
    green: impl FnOnce(&Green<'_>) -> Option<isize>,
    native: impl FnOnce() -> isize,
) -> isize {
    if !is_open(hook.parts) {
        return native();
    }
    with_hub(|hub| match hub {
        None => native(),
        Some(hub) => run_on_hub(hub, hook, green, native),
    })
}

/// As [`run`], for a call on a descriptor: those of the standard output and the standard error
/// pass, since their locks belong to the OS thread.
#[inline(always)]
pub(super) fn run_on(
    fd: i32,
    hook: &'static Hook,
    green: impl FnOnce(&Green<'_>) -> Option<isize>,
    native: impl FnOnce() -> isize,
) -> isize {
    let output = matches!(fd, libc::STDOUT_FILENO | libc::STDERR_FILENO);
    if output {
        return native();
    }
    if let Some(failure) = owed::take(fd) {
        return failure;
    }
    run(hook, green, native)
}

fn run_on_hub(
    hub: &Hub,
    hook: &'static Hook,
    green: impl FnOnce(&Green<'_>) -> Option<isize>,
    native: impl FnOnce() -> isize,
) -> isize {
    let Some(task) = hub.running() else {
        return native();
    };
    if let Some(why) = bypass(hub, task) {
        return hook.bypass(why, native);
    }
    hook.count_call();
    let before = errno();
    let Some(result) = green(&Green { hub, task, hook }) else {
        return hook.bypass(Bypass::Unwatchable, native);
    };
    set_errno(before);
    result
}

/// To be called by a greenlet that has just started or woken another: now and then it lets the
/// others run.
///
/// A thread would run at once, on another core. As a greenlet it would wait for ever for a caller
/// that never calls libc again, such as a loop that sends into a channel of std's. An OS thread can
/// be preempted at this place as well. A greenlet that shares thread-locals can't, and neither can
/// an allocator, a handler of signals or a destructor that unwinds: they go on.
pub(super) fn step_aside() {
    with_hub(|hub| {
        let Some((hub, task)) = hub.and_then(|hub| Some((hub, hub.running()?))) else {
            return;
        };
        // Only what is at ease can look at the queue of the hub.
        let may = bypass(hub, task).is_none()
            && hub.steps_aside()
            && allocator::is_libcs()
            && !thread::panicking()
            && task.get().local().shields.get() == 0
            && is_thread(hub, task)
            && !in_handler(hub);
        if may {
            let before = errno();
            hub.yield_now();
            set_errno(before);
        }
    });
}

pub(super) fn bypass(hub: &Hub, task: TaskPtr) -> Option<Bypass> {
    if is_native() {
        Some(Bypass::Native)
    } else if thread::panicking() && !unwinds_alone(hub, task) {
        Some(Bypass::Panicking)
    } else if !hub.is_at_ease() || task.get().local().state.get() != State::Running {
        // Also what a greenlet that has ended leaves to be freed.
        Some(Bypass::Busy)
    } else {
        None
    }
}

/// Is a panic that unwinds no concern of the other greenlets? A destructor that waits for one of
/// them would wait for ever if it blocked the OS thread.
///
/// The root has the thread-locals of its OS thread, but where greenlets own theirs the others have
/// not; whoever does share them runs with a count of its own (`sys::panics`).
#[cold]
fn unwinds_alone(hub: &Hub, task: TaskPtr) -> bool {
    let own = || identity::of(task.get()).is_some();
    (own() || is_os_thread(hub, task)) && !panics::hook_runs()
}

/// Has the root its thread-locals to itself, but for greenlets that were spawned to share them?
fn is_os_thread(hub: &Hub, task: TaskPtr) -> bool {
    hub.is_root(task) && identity::state() == Ok(true)
}

/// Has it thread-locals that it does not share?
fn is_thread(hub: &Hub, task: TaskPtr) -> bool {
    let identity = identity::of(task.get());
    identity.map_or_else(|| is_os_thread(hub, task), |own| own.has_one_user())
}

/// Does a handler of signals run? It has interrupted anything, and may stand on the signal stack,
/// where the next one would write over it.
#[cold]
fn in_handler(hub: &Hub) -> bool {
    blocked() & !hub.signals_blocked != 0
}

impl Green<'_> {
    /// Parks until woken, at the latest at `deadline`; spurious wakes are legal.
    ///
    /// # Errors
    /// A kill or a timeout, which stays pending: the caller's frames can't be unwound.
    pub(super) fn park(&self, why: Why, deadline: Option<u64>) -> Result<(), isize> {
        self.hook.count_park();
        cancel::foreign(|| {
            self.check()?;
            self.hub.park(why, deadline);
            Ok(())
        })
    }

    /// As [`park`](Green::park), for calls that can't fail: they go on, and what was met is
    /// reported at the end.
    pub(super) fn park_on(&self, why: Why, deadline: Option<u64>) {
        self.hook.count_park();
        let parked = || self.hub.park(why, deadline);
        match self.meet() {
            // Woken when something is due; the next park meets it.
            None => cancel::foreign(parked),
            Some(_) => cancel::foreign(|| cancel::shield(parked)),
        }
    }

    /// What is due, for calls that go on or that wake their caller in a way of their own.
    #[inline]
    pub(super) fn meet(&self) -> Option<Met> {
        cancel::meet(self.hub, self.task)
    }

    /// Calls `f`, which can't be broken off.
    pub(super) fn hold_off<T>(&self, f: impl FnOnce() -> T) -> T {
        let result = cancel::foreign(|| cancel::shield(f));
        self.meet();
        result
    }

    /// Lets the others run if this greenlet has had its share of the turn, for calls that can't
    /// fail.
    pub(super) fn let_others_run(&self) {
        if self.hub.is_budget_spent() && !in_handler(self.hub) {
            self.hub.yield_now();
        }
    }

    /// Lets the others run if this greenlet has had its share of the turn.
    pub(super) fn take_turns(&self) -> Result<(), isize> {
        if self.hub.is_budget_spent() && !in_handler(self.hub) {
            return self.yield_now();
        }
        Ok(())
    }

    /// Lets the others run.
    pub(super) fn yield_now(&self) -> Result<(), isize> {
        self.hub.yield_now();
        cancel::foreign(|| self.check())
    }

    fn check(&self) -> Result<(), isize> {
        let checked = cancel::check(self.hub, self.task);
        let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::ECANCELED);
        checked.map_err(|error| fail(errno(error)))
    }

    /// The deadline that is `ns` from now; `None` for one beyond the end of the clock.
    pub(super) fn deadline_in(&self, ns: u64) -> Option<u64> {
        let deadline = self.hub.fresh_now().saturating_add(ns);
        (deadline != u64::MAX).then_some(deadline)
    }

    pub(super) fn is_over(&self, deadline: Option<u64>) -> bool {
        deadline.is_some_and(|deadline| deadline <= self.hub.now())
    }

    /// Asks `attempt` again and again, ever more rarely, until it has an answer: for what the
    /// kernel has no event for.
    pub(super) fn ask_again(
        &self,
        why: &'static str,
        deadline: Option<u64>,
        mut attempt: impl FnMut() -> Option<isize>,
    ) -> Result<Option<isize>, isize> {
        let mut pause_ns = PAUSE_FIRST_NS;
        loop {
            if let Some(answer) = attempt() {
                return Ok(Some(answer));
            }
            if self.is_over(deadline) {
                return Ok(None);
            }
            let next = self.deadline_in(pause_ns).unwrap_or(u64::MAX);
            let until = next.min(deadline.unwrap_or(u64::MAX));
            self.park(Why::Helper(why), Some(until))?;
            pause_ns = (pause_ns * 2).min(PAUSE_LAST_NS);
        }
    }
}

/// Between two questions, at first and at last.
const PAUSE_FIRST_NS: u64 = 100_000;
const PAUSE_LAST_NS: u64 = 20_000_000;
