//! From a closure to a running greenlet, and what happens at its end.
//!
//! ```text
//!   on the greenlet's own stack, from first to last:
//!     killed already?  shield, drop the closure  :  run it, catching its unwind, and shield
//!     put the result into its place, or drop it if nobody wants it
//!     destroy the green_local! values and our share of the tree_local! ones, and the
//!       thread-locals where they are its own, until none is left
//!     leave the scope, if there is one      (nothing borrowed is touched from here on)
//!     declare the task ended: wake who joins, call the links
//!     destroy what those have made, and close the storage
//! ```
//!
//! All user code runs here, destructors included, so all of it may park. What runs after the
//! greenlet's own code is shielded: a kill would cut destructors off at their first park.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::identity;
use super::packet::{self, Promise};
use super::{Builder, Greenlet, GreenletRef, JoinError};
use crate::cancel;
use crate::coroutine;
use crate::hub::{Exit, Hub, HubHandle, Message, Shared, Task, TaskRef};
use crate::hub::{current_hub, new_task, with_hub};
use crate::sys::clock;
use crate::sys::report::{self, report};

/// How a greenlet is to be made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: Option<Box<str>>,
    pub(super) stack_size: Option<usize>,
    pub(super) delay: Option<Duration>,
    /// With the thread-locals of whoever spawns it, and not with its own.
    pub(super) shares_thread_locals: bool,
    pub(super) spawned_at: &'static Location<'static>,
}

impl Plan {
    #[track_caller]
    pub(super) fn new() -> Plan {
        Plan {
            name: None,
            stack_size: None,
            delay: None,
            shares_thread_locals: false,
            spawned_at: Location::caller(),
        }
    }

    /// For one that runs with the thread-locals of whoever spawns it.
    #[track_caller]
    pub(super) fn sharing() -> Plan {
        Plan::new().shared()
    }

    pub(super) fn shared(self) -> Plan {
        Plan {
            shares_thread_locals: true,
            ..self
        }
    }
}

/// Launches `f`, which borrows nothing, on this thread's hub.
pub(super) fn launch_static<F, T>(plan: Plan, f: F) -> io::Result<Greenlet<T>>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    if plan.shares_thread_locals && identity::ends() {
        let why = "these thread-locals are ending: nobody can share them any more";
        return Err(io::Error::other(why));
    }
    // SAFETY: nothing is borrowed.
    unsafe { launch_here(plan, f, |_| (), || ()) }
}

impl Builder {
    /// As [`spawn`](Builder::spawn), for a closure that may borrow. As
    /// [`std::thread::Builder::spawn_unchecked`]; [`scope`](crate::scope()) needs no `unsafe`.
    ///
    /// # Safety
    /// The greenlet must not outlive what `f` or its result borrows: either the handle is
    /// [joined](Greenlet::join) before any of that ends, or `F` and `T` are `'static`.
    ///
    /// A kill or a timeout of the caller can unwind from the `join`, with the greenlet still
    /// running. A caller that borrows holds both off with a [`shield`](crate::shield()).
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// let measure = || text.len();
    /// // SAFETY: the greenlet is joined before `text` is dropped, whatever happens to us.
    /// let length = greenroom::shield(|| unsafe {
    ///     let greenlet = greenroom::Builder::new().spawn_unchecked(measure)?;
    ///     Ok::<_, std::io::Error>(greenlet.join().unwrap())
    /// })?;
    /// assert_eq!(length, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// # Panics
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: the caller vouches for what `f` and `T` borrow; `leave` borrows nothing.
        unsafe { launch_here(self.plan(), f, |_| (), || ()) }
    }
}

/// Launches `f` on this thread's hub. `note` is called with the task before any foreign code can
/// know of it, `leave` when nothing that `f` or its result borrows is touched any more.
///
/// # Safety
/// What `f`, `leave` and `T` borrow must live until `leave` has been called, or for ever.
pub(super) unsafe fn launch_here<F, T>(
    plan: Plan,
    f: F,
    note: impl FnOnce(&TaskRef),
    leave: impl FnOnce(),
) -> io::Result<Greenlet<T>>
where
    F: FnOnce() -> T,
{
    if const { !coroutine::fits::<F>() } {
        let boxed: Box<dyn FnOnce() -> T + '_> = Box::new(f);
        // SAFETY: the caller vouches for it.
        return unsafe { launch_here(plan, boxed, note, leave) };
    }
    current_hub(|hub| {
        let Plan {
            name,
            stack_size,
            delay,
            shares_thread_locals,
            spawned_at,
        } = plan;
        let identity = identity::for_new(hub, shares_thread_locals)?;
        let stack = hub.take_stack(stack_size)?;
        let id = hub.next_greenlet_id();
        let (task, slot) = new_task(&hub.shared, Some(hub), id, name, spawned_at);
        identity::give(&task, identity);
        let (promise, packet) = packet::ends(slot);
        let start_at = delay.map(|delay| clock::saturating_add(hub.fresh_now(), delay));
        let body = body(f, promise, leave);
        // SAFETY: it is housed; `body` does not unwind; the caller vouches for lifetimes.
        unsafe { hub.launch(&task, stack, start_at, body) };
        if let Some(spawner) = hub.running_greenlet() {
            let tree = spawner.get().local().storage.tree();
            task.local().storage.inherit(tree);
        }
        note(&task);
        hub.tell_launched(&task);
        Ok(Greenlet::new(GreenletRef::of_handle(task), packet))
    })?
}

/// Has `f` launched on another hub. Where that one has no stack for it, or is gone, the
/// greenlet is born finished, with an error.
pub(super) fn launch_there<F, T>(handle: &HubHandle, plan: Plan, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if const { !coroutine::fits::<F>() } {
        let boxed: Box<dyn FnOnce() -> T + Send> = Box::new(f);
        return launch_there(handle, plan, boxed);
    }
    let Plan {
        name,
        stack_size,
        delay,
        shares_thread_locals: _,
        spawned_at,
    } = plan;
    let id = handle.shared.next_id();
    let (task, slot) = new_task(&handle.shared, None, id, name, spawned_at);
    with_hub(|hub| hub.map(|hub| hub.note_spawner(&task)));
    let (promise, packet) = packet::ends(slot);
    let greenlet = Greenlet::new(GreenletRef::of_handle(task.clone()), packet);
    let parcel = Parcel(Some((task, promise)));
    let job = move |hub: &Hub| {
        let (task, promise) = parcel.open();
        let ready = identity::for_new(hub, false)
            .and_then(|identity| Ok((identity, hub.take_stack(stack_size)?)));
        match ready {
            Ok((identity, stack)) => {
                identity::give(&task, identity);
                let start_at = delay.map(|delay| clock::saturating_add(hub.fresh_now(), delay));
                let body = body(f, promise, || ());
                // SAFETY: `body` does not unwind, and all in it is 'static. The parcel's count
                // becomes the hub's.
                unsafe { hub.launch(&task, stack, start_at, body) };
                hub.tell_launched(&task);
                std::mem::forget(task);
            }
            Err(error) => {
                conclude(&task, promise, Err(JoinError::not_started(error)));
                drop_in_a_greenlet(f);
            }
        }
    };
    handle.shared.send(Message::Run(Box::new(job)));
    greenlet
}

/// Drops a closure where its destructor may park, which it may not in the hub.
fn drop_in_a_greenlet<F: 'static>(f: F) {
    let what = "the destructor of a closure";
    let f = Rc::new(Cell::new(Some(f)));
    let theirs = Rc::clone(&f);
    if launch_static(Plan::new(), move || contain(what, || drop(theirs.take()))).is_err() {
        // There is no stack of the common size either: what parks blocks the OS thread.
        contain(what, || drop(f.take()));
    }
}

/// A greenlet on its way to another hub. Lost on the way, it ends with an error.
struct Parcel<T>(Option<(TaskRef, Promise<T>)>);

impl<T> Parcel<T> {
    fn open(mut self) -> (TaskRef, Promise<T>) {
        self.0.take().expect("a parcel is opened once")
    }
}

impl<T> Drop for Parcel<T> {
    fn drop(&mut self) {
        if let Some((task, promise)) = self.0.take() {
            let error = io::Error::other("the OS thread of the greenlet's hub has ended");
            conclude(&task, promise, Err(JoinError::not_started(error)));
        }
    }
}

/// A greenlet that could not even begin.
pub(super) fn stillborn<T>(plan: Plan, error: io::Error) -> Greenlet<T> {
    report!(
        Error,
        "greenroom: no greenlet for the spawn at {}: {error}",
        plan.spawned_at
    );
    let nowhere = Shared::nowhere();
    let id = nowhere.next_id();
    let (task, slot) = new_task(&nowhere, None, id, plan.name, plan.spawned_at);
    let (promise, packet) = packet::ends(slot);
    conclude(&task, promise, Err(JoinError::not_started(error)));
    Greenlet::new(GreenletRef::of_handle(task), packet)
}

/// All that a greenlet does; see the head of this file.
fn body<F, T>(f: F, promise: Promise<T>, leave: impl FnOnce()) -> impl FnOnce()
where
    F: FnOnce() -> T,
{
    move || {
        let task = with_hub(|hub| hub.and_then(Hub::running)).expect("a greenlet runs on a hub");
        let task = task.get();
        let result = run(task, f);
        // SAFETY: this is the greenlet itself, and its task has not ended.
        unsafe { promise.put(result) };
        // SAFETY: as above.
        drop_result(unsafe { promise.take_unwanted() });
        destroy_locals(task);
        // That may have parked, and the handle be gone; and what a scoped greenlet leaves behind
        // must be dropped before its scope is left.
        // SAFETY: as above.
        drop_result(unsafe { promise.take_unwanted() });
        leave();
        if end(task) {
            // SAFETY: the end said so. That was another OS thread, not the one of a scope.
            drop_result(unsafe { promise.take_back() });
        }
        // What has run since then, a link or a logger, may have made new ones. Closed for good:
        // values left here would be dropped with the task, perhaps on another OS thread.
        destroy_locals(task);
        task.local().storage.close();
        identity::end(task);
    }
}

fn drop_result<T>(unwanted: Option<Result<T, JoinError>>) {
    if unwanted.is_some() {
        contain("the destructor of a result", || drop(unwanted));
    }
}

/// Destroys all that the greenlet has of its own. Each kind of destructor may make new values of
/// the other kind.
#[inline]
fn destroy_locals(task: &Task) {
    let storage = &task.local().storage;
    let mut next = storage.destroy_one();
    loop {
        while let Some(value) = next {
            contain("the destructor of a local value", || drop(value));
            next = storage.destroy_one();
        }
        identity::end(task);
        next = storage.destroy_one();
        if next.is_none() {
            return;
        }
    }
}

fn run<F: FnOnce() -> T, T>(task: &Task, f: F) -> Result<T, JoinError> {
    let killed = task.killed.load(Ordering::Acquire);
    if killed {
        cancel::shield_to_the_end(task);
        contain("the destructor of a closure", || drop(f));
        return Err(JoinError::killed());
    }
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    cancel::shield_to_the_end(task);
    result.map_err(JoinError::of_payload)
}

/// Runs user code that has nobody left to report a panic to but the panic hook.
fn contain(what: &str, f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f))
        && !cancel::is_cancellation(&*payload)
    {
        report!(Error, "greenroom: {what} panicked");
        report::discard(payload);
    }
}

/// Ends a task that never had a stack.
fn conclude<T>(task: &Task, promise: Promise<T>, result: Result<T, JoinError>) {
    // SAFETY: there is no greenlet to put a result, and the task has not ended. This is its hub's
    // OS thread, or that hub has been closed.
    unsafe {
        promise.put(result);
        drop_result(promise.take_unwanted());
        if end(task) {
            drop_result(promise.take_back());
        }
    }
}

/// Returns whether the owner of the handle, on another thread, dropped it just before.
#[inline]
fn end(task: &Task) -> bool {
    let joiner = || task.local().joiner.take();
    with_hub(|hub| {
        // Only the task's own hub may look; from elsewhere nobody there can be waiting any more.
        let hub = hub.filter(|hub| hub.owns(task));
        let waiting = hub.and_then(|hub| joiner().map(|joiner| (hub, joiner)));
        waiting.map(|(hub, joiner)| hub.wake(joiner.get()))
    });
    task.end(|exit| match exit {
        Exit::Wake(waker) => waker.wake(),
        Exit::Call(call) => contain("a link", call),
    })
}
