//! Kill and timeouts: how a greenlet is stopped from outside.
//!
//! ```text
//!   kill(task)            flag := true, wake
//!   with_timeout(d, f)    a Frame on the stack; the next park's timer is no later than it
//!
//!   at a park point, before parking:       check()
//!      killed, or a frame expired?  no --> park
//!            | yes
//!            +-- unwinding already, or shielded ----------> park (delivered later, or never)
//!            +-- foreign frames on the stack, in the panic
//!            |   hook, panic=abort -----------------------> Err(ECANCELED | ETIMEDOUT), or the
//!            |                                              wait goes on; noted as met
//!            +-- otherwise -------------------------------> one quiet unwind, to the frame's
//!                                                           with_timeout or the greenlet's root
//! ```
//!
//! What a wait has met without being unwound is noted, in the frame or the task: `with_timeout`
//! then returns `Elapsed`, and `join` says `is_killed`, although the closure has returned. What no
//! wait has met changes nothing.
//!
//! An operation tries first and parks only if it would block, so what is ready wins over what
//! is due. A kill is sticky: every further park unwinds again until the greenlet has ended, and
//! lets the others run first, so that a loop that swallows its kill keeps nobody from running.

#[allow(unsafe_code, reason = "the list of frames runs through stacks")]
mod frames;
mod recall;
mod standing;

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

#[cfg(feature = "monkey")]
use crate::hub::owed::Owed;
use crate::hub::task::Frame;
use crate::hub::waker::wake_task;
use crate::hub::{
    Hub, State, Task, TaskPtr, TaskRef, Why, current_hub, park_without_hub, with_hub,
};
use crate::sys::report::report;
use crate::sys::sleeper::Sleeper;
use crate::sys::{clock, errno, panics};
use frames::Entered;
pub(crate) use recall::{Recall, recallable};
pub(crate) use standing::{Standing, add_foreign};

/// The payload of the unwind that ends a killed greenlet.
struct Killed {
    _under_way: Option<UnderWay>,
}

/// The payload of the unwind that ends one `with_timeout`, named by its frame.
struct Expired {
    frame: u64,
    _under_way: UnderWay,
}

/// Part of a payload: counts as long as the payload has not been caught and dropped.
struct UnderWay(TaskRef);

impl UnderWay {
    fn new(task: &Task) -> UnderWay {
        task.cancellations.fetch_add(1, Ordering::Relaxed);
        UnderWay(TaskPtr::new(task).counted())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.cancellations.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For a destructor that runs in an unwind: is it that of a kill or a timeout, and no panic?
#[cold]
pub(crate) fn is_under_way() -> bool {
    running().is_some_and(|task| task.get().cancellations.load(Ordering::Relaxed) > 0)
}

/// Whether a panic payload is a kill or a timeout on its way, and not a panic.
///
/// Code that catches panics (`catch_unwind`) around something that parks should hand such a
/// payload on with `resume_unwind`. If it does not, the greenlet meets it again at its next
/// park.
///
/// # Examples
/// ```
/// use std::panic;
/// let guard = greenroom::spawn(|| {
///     let caught = panic::catch_unwind(|| greenroom::thread::park());
///     match caught {
///         Err(payload) if greenroom::is_cancellation(&*payload) => panic::resume_unwind(payload),
///         other => drop(other),
///     }
/// });
/// greenroom::yield_now();
/// guard.kill();
/// assert!(guard.join().unwrap_err().is_killed());
/// ```
pub fn is_cancellation(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Killed>() || payload.is::<Expired>()
}

pub(crate) fn is_kill(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Killed>()
}

/// The time of a [`with_timeout`] was up before its work was done.
///
/// # Examples
/// ```
/// use std::{io, time::Duration};
///
/// fn nap() -> io::Result<()> {
///     greenroom::with_timeout(Duration::from_millis(5), || {
///         greenroom::sleep(Duration::from_secs(60));
///     })?;
///     Ok(())
/// }
/// assert_eq!(nap().unwrap_err().kind(), io::ErrorKind::TimedOut);
/// ```
#[doc(alias("Timeout", "TimeoutError"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    limit: Duration,
}

impl Elapsed {
    /// The limit that was given.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.limit)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs `f`, but no longer than `limit`.
///
/// When the time is up, the park that `f` is in, or else the next one that it comes to, unwinds
/// to here; destructors run on the way. What never parks is never interrupted: if `f` ends
/// without parking, its value is returned, however long it took. What is ready at the moment
/// of expiry wins; but I/O that is always ready parks for a turn now and then, before an
/// operation. A limit beyond the end of the clock is no limit.
///
/// Timeouts nest: one that expires further out passes through those further in.
///
/// # Where nothing can unwind
/// In code that waits through the monkey patch (feature `monkey`), below a [`foreign`] call, and
/// under `panic = "abort"`, a wait is not unwound. I/O fails with ETIMEDOUT and a sleep ends early.
/// A lock, a join or a channel cannot fail: the wait goes on. Then `f` returns by itself. The
/// result is [`Elapsed`] all the same if a wait of `f` met the limit: if it failed, ended early or
/// went on beyond it. The value came too late and is dropped; [`with_timeout_late`] returns it. If
/// `f` panics because of the error, the panic goes on.
///
/// A limit that no wait has met changes nothing: `f` succeeds if it only computes, or if its last
/// wait ended in time.
///
/// Do not use a connection again whose protocol the limit has left in the middle, a database
/// client for example. Drop it.
///
/// # Examples
/// ```
/// use greenroom::{sleep, with_timeout};
/// use std::time::Duration;
///
/// let late = with_timeout(Duration::from_millis(10), || sleep(Duration::from_secs(60)));
/// assert!(late.is_err());
/// assert_eq!(with_timeout(Duration::from_secs(60), || 42), Ok(42));
/// ```
///
/// # Errors
/// [`Elapsed`] when the time was up first; it converts to an `io::Error` of kind `TimedOut`.
///
/// # Panics
/// When `f` panics.
///
/// # Parks
/// As `f` does. A kill passes through.
#[doc(alias("timeout", "deadline", "time limit", "wait_for"))]
pub fn with_timeout<T>(limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    with_timeout_late(limit, f).map_err(|(elapsed, _late)| elapsed)
}

/// Runs `f` no longer than `limit`, as [`with_timeout`] does, but keeps a value that is late.
///
/// For code that recovers by itself where nothing can unwind: it takes ETIMEDOUT for an answer and
/// returns what it has got so far.
///
/// # Examples
/// ```
/// use greenroom::{foreign, sleep, with_timeout_late};
/// use std::time::Duration;
///
/// // Stands for a C function that calls `sleep` back: below it nothing can unwind.
/// let nap = || foreign(|| sleep(Duration::from_secs(60)));
/// let (elapsed, late) = with_timeout_late(Duration::from_millis(5), || {
///     nap();
///     "so far"
/// })
/// .unwrap_err();
/// assert_eq!(elapsed.limit(), Duration::from_millis(5));
/// assert_eq!(late, Some("so far"));
/// ```
///
/// # Errors
/// When the time was up first: [`Elapsed`] and, unless `f` was unwound, what it returned.
///
/// # Panics
/// When `f` panics.
///
/// # Parks
/// As `f` does. A kill passes through.
pub fn with_timeout_late<T>(
    limit: Duration,
    f: impl FnOnce() -> T,
) -> Result<T, (Elapsed, Option<T>)> {
    let mut f = Some(f);
    let bounded = current_hub(|hub| {
        let task = hub.running()?;
        f.take().map(|f| within(hub, task, limit, f))
    });
    match (bounded, f) {
        (Ok(Some(outcome)), _) => outcome,
        (_, Some(f)) => {
            // No hub to be had, or inside the hub itself: nothing green runs, so nothing parks.
            report!(
                Error,
                "greenroom: with_timeout without a hub: the limit is not enforced"
            );
            Ok(f())
        }
        (_, None) => unreachable!("f is taken only to be run"),
    }
}

fn within<T>(
    hub: &Hub,
    task: TaskPtr,
    limit: Duration,
    f: impl FnOnce() -> T,
) -> Result<T, (Elapsed, Option<T>)> {
    let frame = Frame {
        id: hub.next_frame_id(),
        deadline: Cell::new(clock::saturating_add(hub.fresh_now(), limit)),
        unwinding: thread::panicking(),
        met: Cell::new(false),
        outer: task.get().local().frames.get(),
    };
    let entered = Entered::new(task, &frame);
    let outcome = panic::catch_unwind(AssertUnwindSafe(f));
    drop(entered);
    match outcome {
        Ok(value) if frame.met.get() => Err((Elapsed { limit }, Some(value))),
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast_ref::<Expired>() {
            Some(expired) if expired.frame == frame.id => Err((Elapsed { limit }, None)),
            _ => panic::resume_unwind(payload),
        },
    }
}

/// Runs `f` with no kill and no timeout delivered inside; they wait until it is over.
///
/// A [`with_timeout`] that `f` itself begins does work. Outside of greenlets there is nothing to
/// hold off but timeouts.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let careful = greenroom::spawn(|| {
///     greenroom::shield(|| greenroom::sleep(Duration::from_millis(5)));
///     // Here the kill is delivered.
///     greenroom::sleep(Duration::from_secs(60));
/// });
/// greenroom::yield_now();
/// careful.kill();
/// assert!(careful.join().unwrap_err().is_killed());
/// ```
///
/// # Panics
/// When `f` panics.
///
/// # Parks
/// As `f` does.
#[doc(alias("uncancellable", "mask", "critical section"))]
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    let task = running();
    let _shield = task.map(frames::Shield::new);
    f()
}

/// Runs `f`, which calls back into Rust through frames that must not be unwound: C libraries,
/// `extern "C"` functions.
///
/// Inside, a kill or a timeout does not unwind: I/O fails with ECANCELED or ETIMEDOUT, a sleep
/// and a [`park`](crate::thread::park) end early, all other waits go on. It is delivered at the
/// first park after `f`. If there is none, [`join`](crate::Greenlet::join) says `is_killed` and
/// [`with_timeout`] returns [`Elapsed`] in spite of the value; `join_late` and
/// [`with_timeout_late`] return it. In builds with `panic = "abort"` all code is such code.
///
/// So `f` should take such an error for the end of its work. If it goes on and tries again, the
/// error comes again, after eight times with a pause before it, of 64 ms at most.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let caller = greenroom::spawn(|| {
///     // Stands for a C function that calls `sleep` back.
///     greenroom::foreign(|| greenroom::sleep(Duration::from_secs(60)));
///     "the C function returned"
/// });
/// greenroom::yield_now();
/// caller.kill();
/// let (error, late) = caller.join_late().unwrap_err();
/// assert!(error.is_killed());
/// assert_eq!(late, Some("the C function returned"));
/// ```
///
/// # Panics
/// When `f` panics.
///
/// # Parks
/// As `f` does.
pub fn foreign<T>(f: impl FnOnce() -> T) -> T {
    let task = running();
    let _foreign = task.map(frames::Foreign::new);
    f()
}

fn running() -> Option<TaskPtr> {
    with_hub(|hub| hub.and_then(Hub::running))
}

/// Whether whoever runs may be unwound where it stands.
pub(crate) fn caller_may_unwind() -> bool {
    let outside = cfg!(panic = "unwind") && !panics::hook_runs();
    running().map_or(outside, |task| may_unwind(task.get()))
}

/// Unwinds as a kill does: for what is to end without its greenlet being killed.
pub(crate) fn unwind() -> ! {
    unwind_as_killed(running().map(TaskPtr::get))
}

fn unwind_as_killed(task: Option<&Task>) -> ! {
    let _under_way = task.map(UnderWay::new);
    panic::resume_unwind(Box::new(Killed { _under_way }))
}

/// Stops the delivery of kills to `task`, the running greenlet: only the destructors at its end are
/// still to run.
#[inline]
pub(crate) fn shield_to_the_end(task: &Task) {
    let shields = &task.local().shields;
    shields.set(shields.get() + 1);
    #[cfg(feature = "monkey")]
    if Owed::any() {
        task.local().owed.set(None);
    }
}

/// Asks a greenlet, on any hub, to end; returns at once.
pub(crate) fn kill(task: &TaskRef) {
    task.killed.store(true, Ordering::Release);
    wake_task(task);
}

/// A park point: delivers a kill or a timeout that is due, by unwinding or as an error.
#[inline]
pub(crate) fn check(hub: &Hub, task: TaskPtr) -> io::Result<()> {
    if is_due(hub, task) {
        deliver(hub, task.get())?;
    }
    Ok(())
}

/// A park point at which nothing is waited for. Where nothing can unwind, the next one tells.
pub(crate) fn checkpoint() {
    with_hub(|hub| {
        if let Some((hub, task)) = hub.and_then(|hub| Some((hub, hub.running()?))) {
            let _ = check(hub, task);
        }
    });
}

/// Whether there is something to deliver, or to hold off. Looks at what a park touches anyway.
#[inline]
fn is_due(hub: &Hub, task: TaskPtr) -> bool {
    let task = task.get();
    if !task.local().frames.get().is_null() {
        frames::set_alarm(task.local(), thread::panicking());
    }
    hub.now() >= task.local().alarm.get() || task.killed.load(Ordering::Relaxed)
}

/// Stands for the kill where a frame is named otherwise: frames are counted from 1.
const KILL: u64 = 0;

#[cold]
fn deliver(hub: &Hub, task: &Task) -> io::Result<()> {
    let Some(due) = due(hub, task) else {
        return Ok(());
    };
    let local = task.local();
    if !may_unwind(task) {
        note_met(hub, task);
        // It may be ignored, and come again at once, in a loop that never parks any more.
        match pause_ns(task, due) {
            0 => hub.yield_now(),
            pause => {
                let _shield = frames::Shield::new(TaskPtr::new(task));
                let end = hub.fresh_now().saturating_add(pause);
                while hub.fresh_now() < end {
                    hub.park(Why::Sleep, Some(end));
                }
            }
        }
        return Err(io::Error::from_raw_os_error(errno_of(due)));
    }
    // It may have been caught, as above.
    if local.met.replace(due) == due {
        hub.yield_now();
    }
    match due {
        KILL => unwind_as_killed(Some(task)),
        frame => panic::resume_unwind(Box::new(Expired {
            frame,
            _under_way: UnderWay::new(task),
        })),
    }
}

/// What a wait that is not unwound has met.
#[cfg(feature = "monkey")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    /// The kill or the frame, by number.
    pub(crate) due: u64,
    pub(crate) errno: i32,
}

/// Notes the kill or limit that is due now, so that it is reported: for waits that never unwind.
#[cfg(feature = "monkey")]
#[inline]
pub(crate) fn meet(hub: &Hub, task: TaskPtr) -> Option<Met> {
    if !is_due(hub, task) {
        return None;
    }
    let due = due(hub, task.get())?;
    note_met(hub, task.get());
    let errno = errno_of(due);
    Some(Met { due, errno })
}

/// For how long what was met is to be held back before it wakes the greenlet.
#[cfg(feature = "monkey")]
pub(crate) fn pause_before(task: TaskPtr, met: Met) -> u64 {
    pause_ns(task.get(), met.due)
}

/// The kill or the frame that is to be delivered now, by number.
fn due(hub: &Hub, task: &Task) -> Option<u64> {
    let (local, unwinding) = (task.local(), thread::panicking());
    let killed = task.killed.load(Ordering::Acquire) && local.shields.get() == 0 && !unwinding;
    let expired = || frames::first_expired(local, hub.now(), unwinding);
    killed.then_some(KILL).or_else(expired)
}

/// A wait has met all that is due, and is not unwound: `join` and `with_timeout` will say so.
fn note_met(hub: &Hub, task: &Task) {
    let (local, unwinding) = (task.local(), thread::panicking());
    if due(hub, task) == Some(KILL) {
        task.kill_met.store(true, Ordering::Relaxed);
    }
    frames::note_met(local, hub.now(), unwinding);
}

/// Whether a wait of the greenlet that runs has met a kill, or a timeout that it is still inside
/// of, without being unwound: what it was in the middle of may be left there.
pub(crate) fn has_met() -> bool {
    running().is_some_and(|task| {
        let task = task.get();
        task.kill_met.load(Ordering::Relaxed) || frames::has_met(task.local())
    })
}

fn errno_of(due: u64) -> i32 {
    match due {
        KILL => errno::ECANCELED,
        _ => errno::ETIMEDOUT,
    }
}

/// Errors for one kill or limit come without a pause so often; the pauses then double.
const ERRORS_AT_ONCE: u32 = 8;
const PAUSE_FIRST_NS: u64 = 1_000_000;
const PAUSE_DOUBLINGS: u32 = 6;

/// For how long the next error about the same thing is to be held back.
fn pause_ns(task: &Task, due: u64) -> u64 {
    let local = task.local();
    if local.met.replace(due) != due {
        local.met_again.set(0);
    }
    let again = local.met_again.get();
    local.met_again.set(again.saturating_add(1));
    match again.checked_sub(ERRORS_AT_ONCE) {
        None => 0,
        Some(more) => PAUSE_FIRST_NS << more.min(PAUSE_DOUBLINGS),
    }
}

fn may_unwind(task: &Task) -> bool {
    cfg!(panic = "unwind") && task.local().foreign.get() == 0 && !panics::hook_runs()
}

/// Parks for something that can fail: a kill or a timeout comes as an error where it can't
/// unwind. Without a hub the OS thread parks. May return early for no reason.
#[inline(always)]
pub(crate) fn park(why: Why, deadline: Option<u64>) -> io::Result<()> {
    // Here, not further down: to hand a `Why` on is to read as a whole what has just been written
    // in parts, for which the processor waits longer than for all the rest of a park.
    note_why(why);
    park_noted(deadline)
}

#[inline(never)]
fn park_noted(deadline: Option<u64>) -> io::Result<()> {
    with_hub(|hub| {
        let Some(hub) = hub else {
            park_natively(deadline);
            return Ok(());
        };
        if let Some(task) = hub.running() {
            check(hub, task)?;
        }
        hub.park_noted(deadline);
        Ok(())
    })
}

/// As [`park`], for what can't fail: where a kill can't unwind, it waits on.
#[inline(always)]
pub(crate) fn park_on(why: Why, deadline: Option<u64>) {
    // As in `park`.
    note_why(why);
    park_on_noted(deadline);
}

/// As [`park_on`], with all of it written out at the caller: for what switches most.
#[inline(always)]
pub(crate) fn park_on_here(why: Why, deadline: Option<u64>) {
    note_why(why);
    park_on_noted_here(deadline);
}

#[inline(never)]
fn park_on_noted(deadline: Option<u64>) {
    park_on_noted_here(deadline);
}

#[inline(always)]
fn park_on_noted_here(deadline: Option<u64>) {
    with_hub(|hub| {
        let Some(hub) = hub else {
            return park_natively(deadline);
        };
        match hub.running() {
            Some(task) if is_due(hub, task) => park_with_something_due(hub, task, deadline),
            _ => hub.park_noted(deadline),
        }
    });
}

#[cold]
fn park_with_something_due(hub: &Hub, task: TaskPtr, deadline: Option<u64>) {
    if may_unwind(task.get()) {
        let held_off = deliver(hub, task.get());
        debug_assert!(held_off.is_ok(), "what can unwind is no error");
        return hub.park_noted(deadline);
    }
    // Without `deliver`, which lets others run: their wake would come before the park, and the
    // caller has looked already.
    note_met(hub, task.get());
    let _shield = frames::Shield::new(task);
    hub.park_noted(deadline);
}

thread_local! {
    /// What an OS thread without a hub waits for.
    static NATIVE_WHY: Cell<Why> = const { Cell::new(Why::Others) };
}

/// Notes what the next park waits for.
#[inline(always)]
fn note_why(why: Why) {
    with_hub(|hub| match hub {
        Some(hub) => hub.note_why(why),
        None => note_native_why(why),
    });
}

#[cold]
fn note_native_why(why: Why) {
    NATIVE_WHY.set(why);
}

#[inline(never)]
fn park_natively(deadline: Option<u64>) {
    match deadline {
        None => park_without_hub(NATIVE_WHY.get()),
        Some(deadline) => {
            Sleeper::current().sleep(deadline.saturating_sub(clock::now_ns()));
        }
    }
}

/// Counts an operation that never waits, and after many of them in a row lets the others run
/// first, as sockets do: a loop that asks again and again would starve them, and withstand every
/// kill. Not where a switch is out of the question: in a destructor that unwinds, in the panic
/// hook, in what the hub itself calls.
#[inline]
pub(crate) fn let_others_run() {
    with_hub(|hub| {
        let Some(hub) = hub else { return };
        if hub.is_budget_spent() {
            let_others_run_now(hub);
        }
        hub.count_operation();
    });
}

#[cold]
fn let_others_run_now(hub: &Hub) {
    let Some(task) = hub.running() else { return };
    let switches = !thread::panicking() && !panics::hook_runs() && hub.is_at_ease();
    if switches && task.get().local().state.get() == State::Running {
        hub.yield_now();
        // What can't be delivered by unwinding waits for an operation that can fail.
        let _ = check(hub, task);
    }
}

/// The clock that deadlines on this thread are compared with.
pub(crate) fn now() -> u64 {
    with_hub(|hub| hub.map_or_else(clock::now_ns, Hub::now))
}

/// The clock that deadlines on this thread are made from.
pub(crate) fn fresh_now() -> u64 {
    with_hub(|hub| hub.map_or_else(clock::now_ns, Hub::fresh_now))
}

/// `limit` from now; `None` for no limit or one beyond the end of the clock.
pub(crate) fn deadline_in(limit: Duration) -> Option<u64> {
    let deadline = clock::saturating_add(fresh_now(), limit);
    (deadline != u64::MAX).then_some(deadline)
}
