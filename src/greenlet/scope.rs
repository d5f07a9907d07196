//! Greenlets that borrow: `scope` does not return before all of them have ended.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location};
use std::rc::Rc;
use std::thread;

use super::launch::{self, Plan};
use super::{Greenlet, GreenletRef, JoinError};
use crate::cancel;
use crate::hub::slots::Slots;
use crate::hub::waker::Waker;
use crate::hub::{TaskRef, Why, with_hub};
use crate::sys::panics;

/// Spawns greenlets that may borrow from the scope's surroundings; see [`scope`], which hands it
/// out.
pub struct Scope<'scope, 'env: 'scope> {
    children: Rc<Children>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What a scope knows of its greenlets.
#[derive(Default)]
struct Children {
    alive: RefCell<Slots<TaskRef>>,
    /// Children that panicked or could not start, and have not been joined.
    failed: Cell<usize>,
    waiter: RefCell<Option<Waker>>,
}

impl Children {
    fn count(&self) -> usize {
        self.alive.borrow().len()
    }

    fn leave(&self, slot: usize) {
        let mut alive = self.alive.borrow_mut();
        let left = alive.remove(slot);
        debug_assert!(left.is_some(), "a child leaves its scope once");
        if alive.len() == 0
            && let Some(waiter) = &*self.waiter.borrow()
        {
            waiter.wake();
        }
    }

    fn kill_all(&self) {
        let tasks: Vec<TaskRef> = self.alive.borrow().iter().cloned().collect();
        tasks.iter().for_each(cancel::kill);
    }
}

/// Runs `f` with a [`Scope`] on which greenlets can be spawned that borrow what outlives the
/// call; returns when all of them have ended.
///
/// As [`std::thread::scope`], but nothing needs to be `Send`: the greenlets share this OS
/// thread. When `f` panics, is killed or times out, its greenlets are killed, waited for, and
/// the unwind goes on.
///
/// # Examples
/// ```
/// let mut numbers = vec![1, 2, 3];
/// let total = greenroom::scope(|s| {
///     let sum = s.spawn(|| numbers.iter().sum::<i32>());
///     let max = s.spawn(|| numbers.iter().copied().max().unwrap());
///     sum.join().unwrap() + max.join().unwrap()
/// });
/// numbers.push(total);
/// assert_eq!(numbers, [1, 2, 3, 9]);
/// ```
///
/// # Panics
/// When `f` panics; and when a greenlet panicked whose handle was not joined, as std's does.
///
/// # Parks
/// Until the last of its greenlets has ended. That wait can't be broken off: a kill or a timeout
/// of the caller goes on from there, with the greenlets killed if it came while `f` ran.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        children: Rc::default(),
        scope: PhantomData,
        env: PhantomData,
    };
    // From here on nothing may unwind past `wait_for_all`: the children borrow from our caller.
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.is_err() {
        scope.children.kill_all();
    }
    let interrupted = wait_for_all(&scope.children);
    match (result, interrupted) {
        (Err(payload), _) | (_, Some(payload)) => panic::resume_unwind(payload),
        (Ok(_), None) if scope.children.failed.get() > 0 => {
            panic!("a scoped greenlet panicked")
        }
        (Ok(value), None) => value,
    }
}

/// Waits for the last child, whatever happens. If all are stuck for ever, that panic is kept for
/// later and the children are killed, for the borrows must end first.
fn wait_for_all(children: &Children) -> Option<Box<dyn Any + Send>> {
    let mut kept = None;
    while children.count() > 0 {
        *children.waiter.borrow_mut() = Some(Waker::current());
        let waited = panic::catch_unwind(AssertUnwindSafe(|| {
            cancel::shield(|| cancel::park_on(Why::Scope(children.count()), None));
        }));
        if let Err(payload) = waited {
            if kept.is_some() {
                stand_still(children);
            }
            kept = Some(payload);
            children.kill_all();
        }
    }
    kept
}

/// The children of this scope will never end, and what they borrow is on our stack: neither
/// going on nor unwinding would be sound. Other threads are not concerned.
#[cold]
fn stand_still(children: &Children) -> ! {
    let dump = with_hub(|hub| hub.map(|hub| hub.dump()).unwrap_or_default());
    panics::log_quietly(|| {
        log::error!(
            "greenroom: the {} greenlets of a scope withstand their kill and can never be woken; \
             this OS thread stands still for good:\n{dump}",
            children.count()
        );
    });
    loop {
        thread::park();
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a greenlet that may borrow what outlives the scope.
    ///
    /// Where there is no stack left for it, it is born finished, as with
    /// [`spawn`](crate::spawn()); [`Builder::spawn_scoped`](crate::Builder::spawn_scoped) says so
    /// at once.
    ///
    /// # Examples
    /// See [`scope`].
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        self.spawn_at(Location::caller(), f)
    }

    /// As [`Scope::spawn`], for those who spawn on behalf of who stands at `spawned_at`.
    pub(crate) fn spawn_at<F, T>(
        &'scope self,
        spawned_at: &'static Location<'static>,
        f: F,
    ) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let plan = Plan {
            spawned_at,
            ..Plan::sharing()
        };
        self.launch(plan, f).unwrap_or_else(|error| {
            let again = Plan {
                name: None,
                stack_size: None,
                spawned_at,
                ..Plan::new()
            };
            self.children.failed.set(self.children.failed.get() + 1);
            ScopedGreenlet::new(launch::stillborn(again, error), &self.children)
        })
    }

    pub(super) fn launch<F, T>(
        &'scope self,
        plan: Plan,
        f: F,
    ) -> io::Result<ScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let slot = Rc::new(Cell::new(usize::MAX));
        let leave = {
            let (slot, children) = (Rc::clone(&slot), Rc::clone(&self.children));
            move || children.leave(slot.get())
        };
        let noted = Rc::clone(&self.children);
        let watched = move || {
            let result = panic::catch_unwind(AssertUnwindSafe(f));
            result.unwrap_or_else(|payload| {
                if !cancel::is_kill(&*payload) {
                    noted.failed.set(noted.failed.get() + 1);
                }
                panic::resume_unwind(payload)
            })
        };
        // SAFETY: `f` and `T` live for 'scope, and `scope`, from whose caller they borrow, does
        // not return or unwind before `leave` has been called for every child.
        let greenlet = unsafe { launch::launch_here(plan, watched, leave)? };
        let task = greenlet.thread.task.clone();
        slot.set(self.children.alive.borrow_mut().insert(task));
        Ok(ScopedGreenlet::new(greenlet, &self.children))
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("alive", &self.children.count())
            .finish_non_exhaustive()
    }
}

/// A greenlet of a [`scope`], and the right to its result. Dropping it changes nothing: the scope
/// waits for the greenlet all the same.
///
/// # Examples
/// ```
/// let words = ["one", "three"];
/// greenroom::scope(|s| {
///     let counter = s.spawn(|| words.iter().map(|word| word.len()).sum::<usize>());
///     assert!(!counter.is_finished(), "it first runs when we park");
///     assert_eq!(counter.join().unwrap(), 8);
/// });
/// ```
pub struct ScopedGreenlet<'scope, T> {
    greenlet: Greenlet<T>,
    children: Rc<Children>,
    scope: PhantomData<&'scope ()>,
}

impl<'scope, T> ScopedGreenlet<'scope, T> {
    fn new(greenlet: Greenlet<T>, children: &Rc<Children>) -> ScopedGreenlet<'scope, T> {
        ScopedGreenlet {
            greenlet,
            children: Rc::clone(children),
            scope: PhantomData,
        }
    }

    /// As [`Greenlet::join`].
    ///
    /// # Errors
    /// When the greenlet panicked (the scope itself then does not panic for it any more), was
    /// killed, or could not be started.
    ///
    /// # Panics
    /// As [`Greenlet::join`].
    ///
    /// # Parks
    /// Until the greenlet has finished. A kill or a timeout of the caller unwinds from here.
    pub fn join(self) -> Result<T, JoinError> {
        let result = self.greenlet.join();
        if result.as_ref().is_err_and(|error| !error.is_killed()) {
            self.children.failed.set(self.children.failed.get() - 1);
        }
        result
    }

    /// As [`Greenlet::kill`]. The scope does not panic for a greenlet that was killed.
    pub fn kill(&self) {
        self.greenlet.kill();
    }

    /// As [`Greenlet::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.greenlet.is_finished()
    }

    /// As [`Greenlet::thread`].
    pub fn thread(&self) -> &GreenletRef {
        self.greenlet.thread()
    }
}

impl<T> fmt::Debug for ScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.greenlet, f)
    }
}
