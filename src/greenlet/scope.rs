//! Greenlets that borrow: `scope` does not return before all of them have ended.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::launch::{self, Plan};
use super::{Greenlet, GreenletRef, JoinError};
use crate::cancel;
use crate::coroutine;
use crate::hub::slots::Slots;
use crate::hub::waker::Waker;
use crate::hub::{Hub, TaskPtr, TaskRef, Why, with_hub};
use crate::sys::report::report;

/// Spawns greenlets that may borrow from the scope's surroundings; see [`scope`], which hands it
/// out.
pub struct Scope<'scope, 'env: 'scope> {
    pub(super) children: Rc<Children>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// For how long greenlets that were killed may take to end before a line in the log names them.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many of them that line names.
const NAMED_MAX: usize = 10;

/// What a scope knows of its greenlets.
#[derive(Default)]
pub(super) struct Children {
    alive: RefCell<Slots<TaskRef>>,
    /// Children that panicked or could not start, and have not been joined.
    failed: Cell<usize>,
    /// They have been killed. Those that are still spawned are killed before they begin.
    cancelled: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Children {
    fn count(&self) -> usize {
        self.alive.borrow().len()
    }

    fn enter(&self, task: TaskRef) -> usize {
        if self.cancelled.get() {
            cancel::kill(&task);
        }
        self.alive.borrow_mut().insert(task)
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

    pub(super) fn are_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Kills all children but the one that calls this, if one does.
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        let caller = with_hub(|hub| hub.and_then(Hub::running));
        let tasks: Vec<TaskRef> = self.alive.borrow().iter().cloned().collect();
        let others = tasks
            .iter()
            .filter(|task| Some(TaskPtr::new(task)) != caller);
        others.for_each(cancel::kill);
    }

    /// Calls `body`, and returns when it and all children have ended, whatever happens meanwhile.
    /// An unwind of the body or of the wait is returned as an error; it cancels the children.
    pub(super) fn enclose<T>(&self, body: impl FnOnce() -> T) -> thread::Result<T> {
        // Nothing may unwind past `wait`: the children borrow from the caller of the scope.
        let result = panic::catch_unwind(AssertUnwindSafe(body));
        if result.is_err() {
            self.cancel();
        }
        match self.wait() {
            Some(payload) => result.and(Err(payload)),
            None => result,
        }
    }

    /// Waits for the last child. The first unwind of the wait is kept for later, and cancels the
    /// children: that is a kill, a timeout, or the panic of a root whose children are stuck.
    fn wait(&self) -> Option<Box<dyn Any + Send>> {
        let mut kept = None;
        while self.count() > 0 {
            *self.waiter.borrow_mut() = Some(Waker::current());
            let step = || match self.cancelled.get() {
                false => self.wait_for_end_or_cancellation(),
                true => self.wait_for_end(),
            };
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(step)) {
                if kept.is_some() {
                    stand_still(self);
                }
                kept = Some(payload);
                self.cancel();
            }
        }
        kept
    }

    fn wait_for_end_or_cancellation(&self) {
        // Where nothing can unwind it is an error. The next park after the scope meets it again.
        if cancel::park(Why::Scope(self.count()), None).is_err() {
            self.cancel();
        }
    }

    fn wait_for_end(&self) {
        let limit = cancel::deadline_in(PATIENCE);
        let wait = |limit: Option<u64>| {
            while self.count() > 0 && limit.is_none_or(|limit| cancel::now() < limit) {
                cancel::park_on(Why::Scope(self.count()), limit);
            }
        };
        cancel::shield(|| {
            wait(limit);
            if self.count() > 0 {
                self.tell_who_withstands();
                wait(None);
            }
        });
    }

    #[cold]
    fn tell_who_withstands(&self) {
        let tasks: Vec<TaskRef> = self.alive.borrow().iter().cloned().collect();
        let describe = |task: &TaskRef| with_hub(|hub| hub.map(|hub| hub.describe(task)));
        let named = tasks.iter().filter_map(describe).take(NAMED_MAX);
        let mut lines: String = named.map(|line| format!("\n  {line}")).collect();
        if tasks.len() > NAMED_MAX {
            lines += &format!("\n  ... and {} more", tasks.len() - NAMED_MAX);
        }
        report!(
            Warn,
            "greenroom: killed {PATIENCE:?} ago, their scope still waits for:{lines}"
        );
    }
}

/// Runs `f` with a [`Scope`] on which greenlets can be spawned that borrow what outlives the
/// call; returns when all of them have ended.
///
/// As [`std::thread::scope`], but nothing needs to be `Send`: the greenlets share this OS
/// thread. A greenlet that panics does not end the others; with [`try_scope`](crate::try_scope)
/// the first failure does.
///
/// # Cancellation
/// When `f` panics, or when the caller is killed or a timeout around the call expires, the scope
/// is cancelled, whether `f` still runs or the scope waits at its end: its greenlets are killed,
/// the scope waits until they have ended, and then the unwind goes on. A greenlet spawned on a
/// cancelled scope is killed before it begins. If some have not ended five seconds after their
/// kill, a line in the log names them; the scope goes on waiting.
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
/// A limit around it holds for its greenlets as well:
/// ```
/// use greenroom::{scope, sleep, with_timeout};
/// use std::time::Duration;
///
/// let outcome = with_timeout(Duration::from_millis(5), || {
///     scope(|s| {
///         s.spawn(|| sleep(Duration::from_secs(60)));
///     });
/// });
/// assert!(outcome.is_err());
/// ```
///
/// # Panics
/// When `f` panics; and when a greenlet panicked whose handle was not joined, as std's does.
///
/// # Parks
/// Until the last of its greenlets has ended. A kill or a timeout of the caller cancels the scope
/// and unwinds once its greenlets have ended. Below a [`foreign`](crate::foreign) call and with
/// `panic = "abort"` the scope is cancelled as well, but returns, and the next park meets the
/// kill.
#[doc(alias("structured concurrency", "borrow"))]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::new();
    match scope.children.enclose(|| f(&scope)) {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.children.failed.get() > 0 => panic!("a scoped greenlet panicked"),
        Ok(value) => value,
    }
}

/// The children of this scope will never end, and what they borrow is on our stack: neither
/// going on nor unwinding would be sound. Other threads are not concerned.
#[cold]
fn stand_still(children: &Children) -> ! {
    let dump = with_hub(|hub| hub.map(|hub| hub.dump()).unwrap_or_default());
    report!(
        Error,
        "greenroom: the {} greenlets of a scope withstand their kill and can never be woken; \
         this OS thread stands still for good:\n{dump}",
        children.count()
    );
    loop {
        thread::park();
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    pub(super) fn new() -> Scope<'scope, 'env> {
        Scope {
            children: Rc::default(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

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
        self.launch(plan, f)
            .unwrap_or_else(|error| self.stillborn(spawned_at, error))
    }

    /// For what could not be launched.
    pub(super) fn stillborn<T>(
        &self,
        spawned_at: &'static Location<'static>,
        error: io::Error,
    ) -> ScopedGreenlet<'scope, T> {
        let plan = Plan {
            spawned_at,
            ..Plan::new()
        };
        self.children.failed.set(self.children.failed.get() + 1);
        ScopedGreenlet::new(launch::stillborn(plan, error), &self.children)
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
        if const { !coroutine::fits::<F>() } {
            let boxed: Box<dyn FnOnce() -> T + 'scope> = Box::new(f);
            return self.launch(plan, boxed);
        }
        let slot = Rc::new(Cell::new(usize::MAX));
        let note = |task: &TaskRef| slot.set(self.children.enter(task.clone()));
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
        let greenlet = unsafe { launch::launch_here(plan, watched, note, leave)? };
        Ok(ScopedGreenlet::new(greenlet, &self.children))
    }
}

// As std's: what it counts is changed by single steps.
impl RefUnwindSafe for Scope<'_, '_> {}

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
        self.join_late().map_err(|(error, _late)| error)
    }

    /// As [`Greenlet::join_late`].
    ///
    /// # Errors
    /// Those of [`join`](ScopedGreenlet::join), and what the greenlet returned if it was killed
    /// and not unwound.
    ///
    /// # Panics
    /// As [`Greenlet::join`].
    ///
    /// # Parks
    /// As `join`.
    pub fn join_late(self) -> Result<T, (JoinError, Option<T>)> {
        let result = self.greenlet.join_late();
        if matches!(&result, Err((error, _)) if !error.is_killed()) {
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
