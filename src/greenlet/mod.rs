//! Greenlets as their users see them.

mod builder;
mod future;
#[allow(unsafe_code, reason = "thread-locals are ended as glibc ends them")]
pub(crate) mod identity;
#[allow(unsafe_code, reason = "a panic payload is not Sync by itself")]
mod join_error;
#[allow(unsafe_code, reason = "closures move to other stacks")]
mod launch;
#[allow(unsafe_code, reason = "a result moves between threads")]
mod packet;
#[allow(unsafe_code, reason = "borrows outlive what the compiler sees")]
mod scope;
mod sleep;
mod try_scope;
mod wait;
mod wait_any;
mod watch;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use crate::hub::task::GreenletId;
pub use builder::{Builder, spawn, spawn_later, spawn_local};
pub use future::JoinFuture;
pub use join_error::JoinError;
pub use scope::{Scope, ScopedGreenlet, scope};
pub use sleep::{idle, now, park, park_timeout, run, sleep, sleep_until, yield_now};
pub use try_scope::{TryScope, TryScopedGreenlet, try_scope};
pub use wait::{IWait, IWaitIndexed, Wait, Waitable, iwait, joinall, killall, wait};
pub use wait_any::{Deadline, wait_any, wait_any_timeout};

pub(crate) use builder::{spawn_at, spawn_local_at};
pub(crate) use sleep::{run_in, try_run};
pub(crate) use wait::sealed::{Subscribe, Subscription};
pub(crate) use wait::{Ready, sealed};

pub(crate) use watch::watch;

use crate::cancel;
use crate::hub::waker::{Waker, wake_task};
use crate::hub::{Exit, Help, Hub, HubHandle, Task, TaskPtr, TaskRef, Why, current_hub, with_hub};
use launch::Plan;
use packet::Packet;

/// A running greenlet, and the right to its result.
///
/// Made by [`spawn`](crate::spawn()) and its relatives. Dropping it detaches the greenlet, which
/// runs on; see [`join`](Greenlet::join) and [`kill`](Greenlet::kill).
///
/// # Examples
/// ```
/// let greenlet = greenroom::Builder::new().name("adder".into()).spawn(|| 40 + 2)?;
/// assert_eq!(greenlet.name(), Some("adder"));
/// assert!(!greenlet.is_finished(), "it first runs when we park");
/// assert_eq!(greenlet.join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias(
    "JoinHandle",
    "green thread",
    "fiber",
    "task",
    "goroutine",
    "coroutine"
))]
pub struct Greenlet<T> {
    /// Before the next, which counts the task for it.
    packet: Packet<T>,
    thread: GreenletRef,
}

impl<T> Greenlet<T> {
    fn new(thread: GreenletRef, packet: Packet<T>) -> Greenlet<T> {
        Greenlet { packet, thread }
    }

    /// Waits for the greenlet to finish and returns what it returned.
    ///
    /// # Examples
    /// ```
    /// let greenlet = greenroom::spawn(|| 6 * 7);
    /// assert_eq!(greenlet.join().unwrap(), 42);
    /// ```
    ///
    /// # Errors
    /// When the greenlet panicked, was killed, or could not be started. It was killed, too, if it
    /// returned a value after a wait that could not be unwound had met the kill: see
    /// [`kill`](Greenlet::kill). The value is dropped; [`join_late`](Greenlet::join_late) returns
    /// it.
    ///
    /// # Panics
    /// In the root, when the greenlet can never finish because nothing is left that could wake
    /// anyone ("this operation would block forever", with a list of all parked greenlets).
    ///
    /// # Parks
    /// Until the greenlet has finished, wherever it runs; at once if it has. A kill or a timeout
    /// of the caller unwinds from here and detaches the greenlet.
    pub fn join(self) -> Result<T, JoinError> {
        wait_for_end(&self.thread.task, None);
        self.take()
    }

    /// As [`join`](Greenlet::join), but what the greenlet returned in spite of its kill is not
    /// dropped.
    ///
    /// For code that recovers by itself where nothing can unwind: it takes ECANCELED for an answer
    /// and returns what it has got so far.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let killed = greenroom::spawn(|| {
    ///     // Stands for a C function that calls `sleep` back: below it nothing can unwind.
    ///     greenroom::foreign(|| greenroom::sleep(Duration::from_secs(60)));
    ///     "so far"
    /// });
    /// greenroom::yield_now();
    /// killed.kill();
    /// let (error, late) = killed.join_late().unwrap_err();
    /// assert!(error.is_killed());
    /// assert_eq!(late, Some("so far"));
    /// ```
    ///
    /// # Errors
    /// Those of `join`, and what the greenlet returned if it was killed and not unwound.
    ///
    /// # Panics
    /// As `join`.
    ///
    /// # Parks
    /// As `join`.
    pub fn join_late(self) -> Result<T, (JoinError, Option<T>)> {
        wait_for_end(&self.thread.task, None);
        self.take_late()
    }

    /// As [`join`](Greenlet::join), for at most `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let slow = greenroom::spawn(|| greenroom::sleep(Duration::from_secs(60)));
    /// let slow = slow.join_timeout(Duration::from_millis(5)).unwrap_err();
    /// slow.kill();
    /// ```
    ///
    /// # Errors
    /// The greenlet itself, still running, when the time was up first. Inside of what was in time,
    /// the errors of `join`.
    ///
    /// # Panics
    /// As `join`, when `limit` is so long that it lies beyond the end of the clock.
    ///
    /// # Parks
    /// As `join`, and no longer than `limit`. A kill or a timeout of the caller unwinds from here.
    #[doc(alias("timeout", "join with a limit"))]
    pub fn join_timeout(self, limit: Duration) -> Result<Result<T, JoinError>, Greenlet<T>> {
        if wait_for_end(&self.thread.task, cancel::deadline_in(limit)) {
            Ok(self.take())
        } else {
            Err(self)
        }
    }

    fn take(self) -> Result<T, JoinError> {
        self.take_late().map_err(|(error, _late)| error)
    }

    fn take_late(self) -> Result<T, (JoinError, Option<T>)> {
        let Greenlet {
            packet,
            thread: _thread,
        } = self;
        let is_late = packet.is_late();
        match packet.take() {
            Some(Ok(value)) if is_late => Err((JoinError::killed(), Some(value))),
            Some(result) => result.map_err(|error| (error, None)),
            None => Err((JoinError::abandoned(), None)),
        }
    }

    /// Whether the greenlet has finished: a [`join`](Greenlet::join) would not park.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn is_finished(&self) -> bool {
        let ended = self.has_ended();
        if !ended {
            cancel::let_others_run();
        }
        ended
    }

    fn has_ended(&self) -> bool {
        self.thread.task.is_ended()
    }

    /// Asks the greenlet to end, and returns at once.
    ///
    /// If it has not started yet it never runs; its closure is dropped. Otherwise the park that
    /// it is in, and every one that it comes to, unwinds its stack: destructors run, and may
    /// park. Only a [`shield`](crate::shield) holds it off for a while. What is left when its
    /// closure is over (the destructors of an unwanted result and of `green_local!` values, and
    /// links) is not cut off. What has finished is left alone. [`killall`] waits as well.
    ///
    /// # Where nothing can unwind
    /// In code that waits through the monkey patch (feature `monkey`), below a
    /// [`foreign`](crate::foreign) call, and under `panic = "abort"`, a wait is not unwound. I/O
    /// fails with ECANCELED and a sleep ends early. A lock, a join or a channel cannot fail: the
    /// wait goes on. The greenlet ends at its next park that can unwind, or returns by itself.
    /// [`join`](Greenlet::join) then says `is_killed` if a wait met the kill, whatever was
    /// returned; [`join_late`](Greenlet::join_late) returns the value. A kill that no wait has met
    /// changes nothing. If the code panics because of the error, `join` says `is_panic`.
    ///
    /// Do not use a connection again whose protocol the kill has left in the middle, a database
    /// client for example. Drop it.
    ///
    /// # Examples
    /// ```
    /// let endless = greenroom::spawn(|| loop { greenroom::yield_now() });
    /// greenroom::yield_now();
    /// endless.kill();
    /// assert!(endless.join().unwrap_err().is_killed());
    /// ```
    ///
    /// # Parks
    /// Never.
    #[doc(alias("cancel", "abort", "interrupt", "stop"))]
    pub fn kill(&self) {
        cancel::kill(&self.thread.task);
    }

    /// The greenlet's name for others, without the right to its result.
    pub fn thread(&self) -> &GreenletRef {
        &self.thread
    }

    /// The greenlet's id: no other of this process has or had it.
    pub fn id(&self) -> GreenletId {
        self.thread.id()
    }

    /// The name given to [`Builder::name`].
    pub fn name(&self) -> Option<&str> {
        self.thread.name()
    }

    /// Has `call` run in a greenlet of its own when this one has finished, however it did; if it
    /// has already, that greenlet is spawned at once. Several run in the order of linking.
    ///
    /// It runs on the hub on which this greenlet has finished. A panic of `call` is told by the
    /// panic hook and ends there.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc;
    /// let (sender, ended) = mpsc::channel();
    /// let greenlet = greenroom::spawn(|| ());
    /// greenlet.link(move |who| sender.send(who.id()).unwrap());
    /// let id = greenlet.id();
    /// greenlet.join().unwrap();
    /// greenroom::yield_now();
    /// assert_eq!(ended.try_recv(), Ok(id));
    /// ```
    ///
    /// # Parks
    /// Never.
    #[doc(alias("callback", "on_finish", "add_done_callback"))]
    #[track_caller]
    pub fn link(&self, call: impl FnOnce(&GreenletRef) + Send + 'static) -> Link {
        self.thread.link(call)
    }
}

impl<T> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greenlet")
            .field("thread", &self.thread)
            .field("is_finished", &self.has_ended())
            .finish_non_exhaustive()
    }
}

/// Waits for the end of a task; false when the deadline came first.
fn wait_for_end(task: &TaskRef, deadline: Option<u64>) -> bool {
    if task.is_ended() {
        return true;
    }
    let waited = with_hub(|hub| {
        let (hub, me) = (hub?, hub?.running()?);
        let first = hub.owns(task) && task.local().joiner.get().is_none();
        first.then(|| wait_here(task, me, deadline))
    });
    waited.unwrap_or_else(|| wait_anywhere(task, deadline))
}

/// As [`wait_for_end`], for the first who waits on the task's own hub: no lock, no allocation.
fn wait_here(task: &Task, me: TaskPtr, deadline: Option<u64>) -> bool {
    struct Leave<'a>(&'a Task);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.local().joiner.set(None);
        }
    }
    task.local().joiner.set(Some(me));
    let _leave = Leave(task);
    wait_until_ended(task, deadline)
}

fn wait_until_ended(task: &Task, deadline: Option<u64>) -> bool {
    while !task.is_ended() {
        if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
            cancel::let_others_run();
            return false;
        }
        cancel::park_on(Why::Join(task.id), deadline);
    }
    true
}

/// As [`wait_for_end`], from any hub or none, for any number of waiters.
fn wait_anywhere(task: &TaskRef, deadline: Option<u64>) -> bool {
    struct Revoke<'a>(&'a Task, u64);
    impl Drop for Revoke<'_> {
        fn drop(&mut self) {
            self.0.revoke_exit(self.1);
        }
    }
    let Ok(noted) = task.at_exit(Exit::Wake(Waker::current())) else {
        return true;
    };
    let revoke = Revoke(task, noted);
    let _help = Help::expect_from(task);
    let ended = wait_until_ended(task, deadline);
    if ended {
        std::mem::forget(revoke);
    }
    ended
}

/// What [`Greenlet::link`] has arranged. Dropping it changes nothing.
#[derive(Debug)]
pub struct Link {
    due: Arc<AtomicBool>,
}

impl Link {
    /// Takes the arrangement back; false when it runs already, or has run.
    ///
    /// # Examples
    /// ```
    /// let greenlet = greenroom::spawn(|| ());
    /// let link = greenlet.link(|_| unreachable!());
    /// assert!(link.unlink());
    /// greenlet.join().unwrap();
    /// greenroom::yield_now();
    /// ```
    pub fn unlink(self) -> bool {
        self.due.swap(false, Ordering::AcqRel)
    }
}

/// Names a greenlet: its id, its name, and the right to [`unpark`](GreenletRef::unpark) it.
/// Under the name `Thread` in [`greenroom::thread`](crate::thread).
///
/// Made by [`current`] and [`Greenlet::thread`]. May go to any thread. A clone, and what `current`
/// gives, counts as somebody who could still wake the greenlet: see *Panics* of
/// [`Greenlet::join`].
///
/// # Examples
/// ```
/// let greenlet = greenroom::spawn(|| greenroom::current().id());
/// let name = greenlet.thread().clone();
/// assert_eq!(greenlet.join().unwrap(), name.id());
/// ```
pub struct GreenletRef {
    task: TaskRef,
    /// Given out to users, so perhaps on another thread: see `Shared::handles`.
    counted: bool,
}

impl GreenletRef {
    fn of_handle(task: TaskRef) -> GreenletRef {
        GreenletRef {
            task,
            counted: false,
        }
    }

    fn for_user(task: TaskRef) -> GreenletRef {
        task.hub.handles.fetch_add(1, Ordering::AcqRel);
        GreenletRef {
            task,
            counted: true,
        }
    }

    /// Another that does not count as somebody who could wake the greenlet.
    pub(crate) fn uncounted(&self) -> GreenletRef {
        GreenletRef::of_handle(self.task.clone())
    }

    /// As [`Greenlet::kill`].
    pub(crate) fn kill(&self) {
        cancel::kill(&self.task);
    }

    /// As [`Greenlet::link`].
    #[track_caller]
    pub(crate) fn link(&self, call: impl FnOnce(&GreenletRef) + Send + 'static) -> Link {
        let due = Arc::new(AtomicBool::new(true));
        let link = Link {
            due: Arc::clone(&due),
        };
        let who = self.uncounted();
        // Reports name the place of the link, which tells more than this one.
        let plan = Plan::new();
        let fire = move || {
            let run = move || {
                if due.swap(false, Ordering::AcqRel) {
                    call(&who);
                }
            };
            drop(builder::spawn_planned(plan, run));
        };
        self.at_end(fire);
        link
    }

    /// Has `call` called when the greenlet has ended, at its very end, or now if that is over.
    pub(crate) fn at_end(&self, call: impl FnOnce() + Send + 'static) {
        if let Err(Exit::Call(call)) = self.task.at_exit(Exit::Call(Box::new(call))) {
            call();
        }
    }

    /// The greenlet's id: no other of this process has or had it.
    pub fn id(&self) -> GreenletId {
        self.task.greenlet_id()
    }

    /// A small number that no other living greenlet of the same hub has: an index for tables,
    /// a label for people. It is free again when the greenlet has ended.
    ///
    /// The root has 0. `None` for a greenlet that has yet to arrive on another thread's hub, or
    /// that could not be started.
    ///
    /// # Examples
    /// ```
    /// let short = greenroom::spawn(|| ());
    /// let freed = short.thread().minimal_id();
    /// assert_eq!(freed, Some(1));
    /// short.join().unwrap();
    /// assert_eq!(greenroom::spawn(|| ()).thread().minimal_id(), freed);
    /// ```
    pub fn minimal_id(&self) -> Option<u32> {
        self.task.minimal_id()
    }

    /// Its name: the one given to [`Builder::name`], or for a root that of its OS thread.
    pub fn name(&self) -> Option<&str> {
        self.task.name.as_deref()
    }

    /// Lets the greenlet's present or next [`thread::park`](crate::thread::park) return. From
    /// any thread.
    ///
    /// # Examples
    /// ```
    /// use greenroom::thread;
    /// let parked = greenroom::spawn(|| thread::park());
    /// parked.thread().unpark();
    /// parked.join().unwrap();
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn unpark(&self) {
        self.task.token.store(true, Ordering::Release);
        wake_task(&self.task);
    }
}

// A panic leaves nothing half done there: it counts, wakes, and tells its name.
impl UnwindSafe for GreenletRef {}
impl RefUnwindSafe for GreenletRef {}

impl Clone for GreenletRef {
    fn clone(&self) -> GreenletRef {
        GreenletRef::for_user(self.task.clone())
    }
}

impl Drop for GreenletRef {
    fn drop(&mut self) {
        if self.counted {
            self.task.hub.handles.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for GreenletRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GreenletRef")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// "greenlet #7" or "greenlet #7 'name'".
impl fmt::Display for GreenletRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.task, f)
    }
}

/// The greenlet that runs now; on the native stack of an OS thread, the thread's root, whose
/// name is that of the thread.
///
/// # Examples
/// ```
/// let outer = greenroom::current().id();
/// let inner = greenroom::spawn(|| greenroom::current().id()).join().unwrap();
/// assert_ne!(outer, inner);
/// ```
///
/// # Panics
/// When the thread has no hub yet and none can be made for want of descriptors.
#[doc(alias("getcurrent", "this_thread", "self"))]
pub fn current() -> GreenletRef {
    let running = |hub: &Hub| {
        hub.running()
            .map_or_else(|| hub.root().clone(), |task| task.counted())
    };
    let task = current_hub(running).expect("a hub needs two descriptors (epoll and eventfd)");
    GreenletRef::for_user(task)
}

impl HubHandle {
    /// Spawns a greenlet on this handle's hub, from any OS thread. It runs when that hub's
    /// thread next parks.
    ///
    /// If that hub is gone, or has no stack for it, the greenlet is born finished: its
    /// [`join`](Greenlet::join) says why.
    ///
    /// # Examples
    /// See [`hub::current`](crate::hub::current).
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        launch::launch_there(self, Plan::new(), f)
    }
}
