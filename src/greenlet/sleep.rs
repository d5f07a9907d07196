//! Giving the turn away: for a time, until woken, or just once.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::cancel;
use crate::hub::sim::World;
use crate::hub::{Hub, TaskRef, Why, current_hub, run_on_fresh_hub, with_hub};
use crate::sys::clock;
use crate::sys::report;

/// How long a hub that is taken down waits for killed greenlets that don't end.
const TEARDOWN_MAX: Duration = Duration::from_secs(5);
/// How long until it looks for greenlets that were spawned after the others were killed.
const TEARDOWN_STEP: Duration = Duration::from_millis(10);

/// Sleeps for `duration`, measured from now; others run meanwhile.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let before = Instant::now();
/// let naps = (0..100).map(|_| greenroom::spawn(|| greenroom::sleep(Duration::from_millis(10))));
/// greenroom::joinall(naps.collect::<Vec<_>>());
/// assert!(before.elapsed() < Duration::from_millis(900));
/// ```
///
/// # Parks
/// Until the time is up; a sleep of zero is a [`yield_now`]. A kill or a timeout unwinds, or,
/// where nothing can unwind, ends the sleep early.
#[doc(alias("delay", "wait"))]
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    sleep_to(clock::saturating_add(cancel::fresh_now(), duration));
}

/// Sleeps until `deadline`; not at all if that has passed.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// greenroom::sleep_until(Instant::now() + Duration::from_millis(1));
/// ```
///
/// # Parks
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) {
    sleep_to(clock::ns_of(deadline));
}

fn sleep_to(deadline: u64) {
    while cancel::now() < deadline {
        if cancel::park(Why::Sleep, Some(deadline)).is_err() {
            return;
        }
    }
}

/// The time by which sleeps and timeouts go: that of the simulation inside
/// [`sim::run`](crate::sim::run), `Instant::now()` elsewhere.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// greenroom::sim::run(1, || {
///     let before = greenroom::now();
///     greenroom::sleep(Duration::from_secs(3600));
///     assert_eq!(greenroom::now() - before, Duration::from_secs(3600));
/// });
/// ```
pub fn now() -> Instant {
    clock::instant_of(cancel::fresh_now())
}

/// Lets all others that are runnable run once.
///
/// # Examples
/// ```
/// let other = greenroom::spawn(|| ());
/// greenroom::yield_now();
/// assert!(other.is_finished());
/// ```
///
/// # Parks
/// Goes to the end of the run queue. A kill or a timeout unwinds.
#[doc(alias("sched_yield", "reschedule"))]
pub fn yield_now() {
    with_hub(|hub| {
        let Some(hub) = hub else {
            return std::thread::yield_now();
        };
        let Some(task) = hub.running() else { return };
        if cancel::check(hub, task).is_ok() {
            hub.yield_now();
            // What can't be delivered by unwinding waits for the next operation that can fail.
            let _ = cancel::check(hub, task);
        }
    });
}

/// Waits until nothing else is runnable and no descriptor is ready.
///
/// # Examples
/// ```
/// let other = greenroom::spawn(|| (0..10).for_each(|_| greenroom::yield_now()));
/// greenroom::idle();
/// assert!(other.is_finished());
/// ```
///
/// # Parks
/// Until the hub would sleep; at once on a thread without a hub. A kill or a timeout unwinds.
pub fn idle() {
    with_hub(|hub| {
        let (Some(hub), Some(task)) = (hub, hub.and_then(Hub::running)) else {
            return;
        };
        if cancel::check(hub, task).is_ok() {
            hub.idle();
            let _ = cancel::check(hub, task);
        }
    });
}

/// Parks until somebody calls [`unpark`](crate::GreenletRef::unpark), which may have been
/// before.
///
/// # Examples
/// ```
/// use greenroom::thread;
/// let me = thread::current();
/// greenroom::spawn(move || me.unpark());
/// thread::park();
/// ```
///
/// # Parks
/// Until the greenlet is unparked, never for no reason. A kill or a timeout unwinds, or, where
/// nothing can unwind, has it return early.
pub fn park() {
    park_to(None);
}

/// As [`park`], for at most `limit`.
///
/// # Examples
/// ```
/// greenroom::thread::park_timeout(std::time::Duration::from_millis(1));
/// ```
///
/// # Parks
/// As [`park`].
pub fn park_timeout(limit: Duration) {
    park_to(cancel::deadline_in(limit));
}

fn park_to(deadline: Option<u64>) {
    let running = |hub: &Hub| hub.running().map(|task| task.counted());
    let Ok(Some(task)) = current_hub(running) else {
        // Without a hub there is nobody who could be named, so nobody who could unpark.
        return cancel::park_on(Why::Unpark, deadline);
    };
    while !task.token.swap(false, Ordering::AcqRel) {
        if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
            return cancel::let_others_run();
        }
        if cancel::park(Why::Unpark, deadline).is_err() {
            return;
        }
    }
}

/// Runs `f` as the root of a hub of its own, and takes that down tidily: greenlets that are
/// left when `f` returns or panics are killed and waited for.
///
/// The hub that the thread has otherwise stands still meanwhile: a wait in `f` for one of its
/// greenlets would never end, and is told as one ("this operation would block forever").
/// A greenlet that withstands its kill for five seconds is leaked, with a line in the log.
///
/// # Examples
/// ```
/// let answer = greenroom::run(|| {
///     greenroom::spawn(|| loop { greenroom::yield_now() });
///     42
/// });
/// assert_eq!(answer, 42);
/// ```
///
/// # Panics
/// When `f` does, when the logger panics at that line, and when the hub can't be made because the
/// process is out of descriptors.
///
/// # Parks
/// Not the greenlet that calls it: it blocks the caller's hub.
pub fn run<T>(f: impl FnOnce() -> T) -> T {
    run_in(World::Real, |_| f())
}

pub(crate) fn run_in<T>(world: World, f: impl FnOnce(&Hub) -> T) -> T {
    let result = try_run(world, f);
    result.unwrap_or_else(|error| panic!("no descriptors for a hub (it needs two): {error}"))
}

/// As [`run`], with the lack of descriptors as an error.
pub(crate) fn try_run<T>(world: World, f: impl FnOnce(&Hub) -> T) -> io::Result<T> {
    let mut withstood = None;
    let outcome = run_on_fresh_hub(world, f, |hub| withstood = take_down(hub))?;
    // Only now: the logger is foreign code, and has the former hub.
    let told = withstood.map_or(Ok(()), |greenlets| {
        let what =
            format_args!("greenroom: greenlets withstood the end of their hub:\n{greenlets}");
        report::tell(report::Level::Error, module_path!(), what)
    });
    match (outcome, told) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(payload)) => panic::resume_unwind(payload),
        (Err(payload), told) => {
            told.unwrap_or_else(report::discard);
            panic::resume_unwind(payload)
        }
    }
}

/// Kills what is left on a hub and waits for it to end. Returns what has withstood that.
fn take_down(hub: &Hub) -> Option<String> {
    let ended = panic::catch_unwind(AssertUnwindSafe(|| kill_and_wait(hub)));
    let all_ended = ended.unwrap_or_else(|payload| {
        report::discard(payload);
        false
    });
    (!all_ended).then(|| hub.dump())
}

fn kill_and_wait(hub: &Hub) -> bool {
    let limit = cancel::deadline_in(TEARDOWN_MAX);
    let mut killed: Vec<TaskRef> = Vec::new();
    loop {
        killed.retain(|task| !task.is_ended());
        if killed.is_empty() {
            // All at first; later those that their destructors have spawned, which these
            // may have been waiting for.
            hub.each_task(|task| killed.push(task.clone()));
            killed.iter().for_each(cancel::kill);
        }
        let step = cancel::deadline_in(TEARDOWN_STEP);
        if hub.wait_for_others(step.min(limit), false) {
            return true;
        }
        if limit.is_none_or(|limit| limit <= cancel::now()) {
            return false;
        }
    }
}
