//! Spawning.

use std::io;
use std::panic::Location;
use std::time::Duration;

use super::launch::{self, Plan};
use super::{Greenlet, Scope, ScopedGreenlet, TryScope, TryScopedGreenlet};
use crate::hub::HubHandle;

/// Spawns a greenlet on this OS thread's hub. It first runs when the caller parks, after those
/// spawned before it.
///
/// The bounds are those of [`std::thread::spawn`]; what is not `Send` goes to [`spawn_local`].
/// Where there is no stack left for it, the greenlet is born finished and its
/// [`join`](Greenlet::join) says why; [`Builder::spawn`] says so at once.
///
/// # Examples
/// ```
/// let greenlets: Vec<_> = (0..1000).map(|n| greenroom::spawn(move || n)).collect();
/// let sum: i32 = greenroom::joinall(greenlets).into_iter().flatten().sum();
/// assert_eq!(sum, 499_500);
/// ```
///
/// # Parks
/// Never.
#[doc(alias("go", "start", "async", "green thread", "coroutine"))]
#[track_caller]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_planned(Plan::new(), f)
}

/// As [`spawn`], for what is not `Send`: the greenlet never leaves this OS thread.
///
/// # Examples
/// ```
/// use std::{cell::Cell, rc::Rc};
/// let count = Rc::new(Cell::new(0));
/// let theirs = Rc::clone(&count);
/// greenroom::spawn_local(move || theirs.set(7)).join().unwrap();
/// assert_eq!(count.get(), 7);
/// ```
///
/// # Parks
/// Never.
#[doc(alias("LocalSet", "Rc"))]
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    spawn_planned(Plan::sharing(), f)
}

/// As [`spawn`], but first runs after `delay`. Killed before that, it never runs.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// let before = Instant::now();
/// greenroom::spawn_later(Duration::from_millis(5), || ()).join().unwrap();
/// assert!(before.elapsed() >= Duration::from_millis(5));
/// ```
///
/// # Parks
/// Never.
#[doc(alias("delay", "schedule", "call_later", "timer"))]
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_planned(
        Plan {
            delay: Some(delay),
            ..Plan::new()
        },
        f,
    )
}

/// As [`spawn`], for those who spawn on behalf of somebody else, who stands at `spawned_at`.
pub(crate) fn spawn_at<F, T>(spawned_at: &'static Location<'static>, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_planned(
        Plan {
            spawned_at,
            ..Plan::new()
        },
        f,
    )
}

/// As [`spawn_local`], for those who spawn on behalf of somebody else, who stands at `spawned_at`.
pub(crate) fn spawn_local_at<F, T>(spawned_at: &'static Location<'static>, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    spawn_planned(
        Plan {
            spawned_at,
            ..Plan::sharing()
        },
        f,
    )
}

pub(super) fn spawn_planned<F, T>(plan: Plan, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let (name, spawned_at) = (plan.name.clone(), plan.spawned_at);
    launch::launch_static(plan, f).unwrap_or_else(|error| {
        launch::stillborn(
            Plan {
                name,
                stack_size: None,
                spawned_at,
                ..Plan::new()
            },
            error,
        )
    })
}

/// How a greenlet is to be made: its name and the size of its stack.
///
/// # Examples
/// ```
/// let greenlet = greenroom::Builder::new()
///     .name("worker".into())
///     .stack_size(128 * 1024)
///     .spawn(|| greenroom::current().name().map(String::from))?;
/// assert_eq!(greenlet.join().unwrap().as_deref(), Some("worker"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until something is spawned with it"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// A builder for an unnamed greenlet with a stack of the default size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the greenlet, for panic messages, dumps and the message of a stack overflow.
    ///
    /// As in std, the spawn panics if the name contains a null byte.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Sets the size of the stack in bytes, all of them usable: the guard comes on top, and the
    /// size is rounded up to one that stacks are kept in. Memory is used only as the stack grows.
    ///
    /// A handler of a signal that comes while the greenlet runs uses this stack as well, a
    /// profiler's that takes backtraces for one, unless it is installed with SA_ONSTACK.
    ///
    /// Without it a stack has the [default size](crate::default_stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// As [`spawn`](crate::spawn()).
    ///
    /// # Errors
    /// `InvalidInput` for a stack size out of range; otherwise the lack of memory, address
    /// space, maps or descriptors, naming the limit. Nothing has been spawned then, and the
    /// process is as healthy as before.
    ///
    /// # Panics
    /// When a name was set that contains a null byte.
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        launch::launch_static(self.plan(), f)
    }

    /// As [`spawn_local`].
    ///
    /// # Errors
    /// # Panics
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        launch::launch_static(self.plan().shared(), f)
    }

    /// As [`Scope::spawn`].
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// let length = greenroom::scope(|s| {
    ///     let builder = greenroom::Builder::new().name("counter".into());
    ///     builder.spawn_scoped(s, || text.len()).map(|counter| counter.join().unwrap())
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
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        scope.launch(self.plan().shared(), f)
    }

    /// As [`TryScope::spawn`](crate::TryScope::spawn). The scope does not fail for want of a stack.
    ///
    /// # Examples
    /// ```
    /// let length = greenroom::try_scope(|s| {
    ///     let builder = greenroom::Builder::new().name("reader".into());
    ///     let text = builder.spawn_try_scoped(s, || std::fs::read_to_string("Cargo.toml"))?;
    ///     std::io::Result::Ok(text.join().unwrap().len())
    /// })?;
    /// assert!(length > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn_try_scoped<'scope, 'env, F, T, E>(
        self,
        scope: &'scope TryScope<'scope, 'env, E>,
        f: F,
    ) -> io::Result<TryScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> Result<T, E> + 'scope,
        T: 'scope,
        E: std::fmt::Debug + 'env,
    {
        scope.launch(self.plan().shared(), f)
    }

    /// As [`HubHandle::spawn`]: what is not to be had over there is told by
    /// [`join`](Greenlet::join), not here.
    ///
    /// # Examples
    /// ```
    /// let here = greenroom::hub::current();
    /// let greenlet = greenroom::Builder::new().name("sent".into()).spawn_on(&here, || 42);
    /// assert_eq!(greenlet.join().unwrap(), 42);
    /// ```
    ///
    /// # Panics
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn_on<F, T>(self, hub: &HubHandle, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        launch::launch_there(hub, self.plan(), f)
    }

    #[track_caller]
    pub(super) fn plan(self) -> Plan {
        let name = self.name.map(String::into_boxed_str);
        if name.as_ref().is_some_and(|name| name.contains('\0')) {
            panic!("thread name may not contain interior null bytes: {name:?}");
        }
        Plan {
            name,
            stack_size: self.stack_size,
            ..Plan::new()
        }
    }
}
