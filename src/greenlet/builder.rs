//! Spawning.

use std::io;
use std::time::Duration;

use super::launch::{self, Plan};
use super::{Greenlet, Scope, ScopedGreenlet};
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
#[track_caller]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_local(f)
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
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    spawn_planned(Plan::new(), f)
}

/// As [`spawn`], but first runs after `delay`. It can be killed before that.
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
                delay: None,
                spawned_at,
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

    /// Names the greenlet, for panic messages and dumps.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Sets the size of the stack in bytes, guard included; it is rounded up to a size that
    /// stacks are kept in. Memory is used only as the stack grows. The default is 256 KiB, or
    /// 1 MiB in builds with debug assertions; see
    /// [`set_default_stack_size`](crate::set_default_stack_size).
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
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_local(f)
    }

    /// As [`spawn_local`].
    ///
    /// # Errors
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
        launch::launch_static(self.plan(), f)
    }

    /// As [`Scope::spawn`].
    ///
    /// # Errors
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
        scope.launch(self.plan(), f)
    }

    /// As [`HubHandle::spawn`].
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
    fn plan(self) -> Plan {
        let name = self.name.map(String::into_boxed_str);
        Plan {
            name,
            stack_size: self.stack_size,
            ..Plan::new()
        }
    }
}
