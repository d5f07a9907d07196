//! Which hub is this OS thread's: made when first needed, gone with the thread.
//!
//! ```text
//!   CURRENT (a plain pointer, fast)  ---->  Hub  <---- OWNER (counts it, drops it at the end)
//! ```
//!
//! * A thread that only sleeps, reads or joins gets no hub: it blocks natively.
//! * A forked child forgets the pointer: it begins without a hub and never touches its parent's
//!   epoll set. If a greenlet that forked returns in the child, the child ends there, as one
//!   does whose forking thread returns.
//! * When a thread ends with parked greenlets, they and their stacks are leaked, and who joins them
//!   from elsewhere is told. To unwind their stacks there, or to let them run on, in the middle
//!   of the destruction of thread-locals, would be a use after free reachable from safe code. So
//!   the hub goes before the first of these, where that can be seen (`sys::ending`). The rest of
//!   the hub is freed, its descriptors above all: nothing that runs again knows its address.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::rc::Rc;
use std::thread;

use super::sim::World;
use super::{Exit, Hub, Task, ended, owner};
use crate::sys;
use crate::sys::report::{self, report};

thread_local! {
    static CURRENT: Cell<*const Hub> = const { Cell::new(ptr::null()) };
    static OWNER: Owner = const { Owner(RefCell::new(None)) };
}

/// Keeps the implicit hub of a thread until the thread ends.
struct Owner(RefCell<Option<Rc<Hub>>>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(hub) = self.0.take() {
            CURRENT.set(ptr::null());
            retire(hub);
        }
    }
}

/// The thread begins to end: what its destructors do, they do without a hub.
fn end_with_thread() {
    CURRENT.set(ptr::null());
    let hub = OWNER.try_with(|owner| owner.0.take());
    hub.ok().flatten().into_iter().for_each(retire);
}

/// Ends a hub. Greenlets that are left on it are leaked, with their stacks.
fn retire(hub: Rc<Hub>) {
    if hub.forks != sys::fork::generation() {
        // In a forked child: it is the parent's.
        return std::mem::forget(hub);
    }
    hub.shared.close();
    let left = hub.alive();
    if left > 0 {
        hub.each_task(|task| abandon(task));
        ended::tell(&hub.shared);
        // Of the stacks only those are kept that somebody has left something on.
        if let Ok(mut stacks) = hub.stacks.try_borrow_mut() {
            while stacks.trim_all() > 0 {}
        }
    }
    drop(hub);
    if left > 0 {
        // When all else is done: the logger is foreign code.
        report!(
            Info,
            "greenroom: an OS thread ends; its {left} parked greenlets are leaked"
        );
    }
}

/// Tells those who wait for a greenlet that will never run again. It leaves no result.
fn abandon(task: &Task) {
    task.end(|exit| {
        let told = panic::catch_unwind(AssertUnwindSafe(|| match exit {
            Exit::Wake(waker) => waker.wake(),
            Exit::Call(call) => call(),
        }));
        told.unwrap_or_else(report::discard);
    });
}

extern "C" fn forget_in_forked_child() {
    CURRENT.set(ptr::null());
}

/// Names the hub that resumes whoever calls this: for thread-locals that are a greenlet's own.
///
/// # Safety
/// `hub` outlives the use of these thread-locals by greenlets.
#[cfg(feature = "monkey")]
#[inline]
pub(super) unsafe fn adopt(hub: *const Hub) {
    CURRENT.set(hub);
}

/// To be called in a forked child by who forked with thread-locals of its own: the handler has
/// seen those of the OS thread only.
#[cfg(feature = "monkey")]
pub(crate) fn forget_hub() {
    forget_in_forked_child();
}

pub(crate) fn watch_forks() {
    sys::fork::watch(forget_in_forked_child);
}

/// Calls `f` with this thread's hub, if it has one.
#[inline(always)]
pub(crate) fn with_hub<R>(f: impl FnOnce(Option<&Hub>) -> R) -> R {
    let hub = CURRENT.get();
    // SAFETY: the pointer is set only by this file, to a hub that its owner (OWNER, or the frame
    // of `run_on_fresh_hub`, in which nothing unwinds) keeps until it has reset the pointer. `f`
    // may park: the hub then stays, because its owner can't go on while a greenlet of it runs or
    // is to be resumed. When the owner drops it with greenlets left, at the end of the thread or
    // in the middle of `exit`, none of them is ever resumed, nor does `exit` return: so no such
    // `f` goes on.
    f(unsafe { hub.as_ref() })
}

/// Calls `f` with this thread's hub, making one if there is none.
///
/// # Errors
/// When the kernel has no more descriptors to give (a hub needs two), or the thread is ending.
pub(crate) fn current_hub<R>(f: impl FnOnce(&Hub) -> R) -> io::Result<R> {
    if CURRENT.get().is_null() {
        make_hub()?;
    }
    Ok(with_hub(|hub| f(hub.expect("it has just been made"))))
}

#[cold]
fn make_hub() -> io::Result<()> {
    let ending = || io::Error::other("this OS thread is ending: it can have no greenlets");
    if sys::ending::has_begun() {
        return Err(ending());
    }
    let hub = Hub::new(World::Real)?;
    let at = Rc::as_ptr(&hub);
    let kept = OWNER.try_with(|owner| {
        // After a fork the parent's hub is still there: leaked, as it belongs to the parent.
        std::mem::forget(owner.0.replace(Some(hub)));
    });
    kept.map_err(|_| ending())?;
    CURRENT.set(at);
    sys::ending::watch(end_with_thread);
    Ok(())
}

/// Runs `f` as the root of a new hub. `tear_down`, which does not unwind, is called with the hub
/// when `f` is over, also when it has unwound; afterwards the thread has its former hub back.
///
/// # Errors
/// When the kernel has no more descriptors to give. What `f` has unwound with is in the value.
pub(crate) fn run_on_fresh_hub<R>(
    world: World,
    f: impl FnOnce(&Hub) -> R,
    tear_down: impl FnOnce(&Hub),
) -> io::Result<thread::Result<R>> {
    let hub = Hub::new(world)?;
    if hub.shared.is_inner() {
        hub.root.local().owner_number.set(owner::current());
    }
    let former = CURRENT.replace(Rc::as_ptr(&hub));
    if former.is_null() {
        sys::ending::watch(end_with_thread);
    }
    let forks = sys::fork::generation();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| f(&hub)));
    if forks != sys::fork::generation() {
        // In a forked child both hubs belong to the parent.
        CURRENT.set(ptr::null());
        std::mem::forget(hub);
    } else {
        tear_down(&hub);
        CURRENT.set(former);
        retire(hub);
    }
    Ok(outcome)
}
