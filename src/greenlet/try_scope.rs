//! A scope that its first failure ends.
//!
//! ```text
//!   body      ---------------- Ok     waits                    returns what B failed with
//!   child A   ------ Ok                                        ^
//!   child B   ------------------------- Err or panic           | all have ended
//!   child C   ----------------------------| killed ------------+
//! ```
//!
//! If the body still runs when a child fails, it is recalled: its next park unwinds to here.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};

use super::launch::Plan;
use super::{GreenletRef, JoinError, Scope, ScopedGreenlet};
use crate::cancel::{self, Recall};
use crate::hub::{Known, with_hub};
use crate::sys::report::{self, report};

/// Spawns greenlets that may borrow and that may fail; see [`try_scope`], which hands it out.
pub struct TryScope<'scope, 'env: 'scope, E: 'env> {
    scope: Scope<'scope, 'env>,
    /// What the scope returns or panics with.
    first: RefCell<Option<Failure<E>>>,
    body: RefCell<Option<Recall>>,
}

enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// Runs `f` with a [`TryScope`] on which greenlets can be spawned that borrow what outlives the
/// call and return a `Result`; returns when all of them have ended.
///
/// This is a [`scope`](crate::scope()) that fails as a whole: a *nursery*, a task group. The first
/// failure, which is an `Err` of `f`, an `Err` of a greenlet or a panic of a greenlet, cancels the
/// scope. The other greenlets are killed, and `f` itself, if it has not returned, unwinds from the
/// park that it is in. When all have ended, the error is returned, or the panic resumed. Failures
/// that come later are logged as warnings.
///
/// A greenlet that is killed with [`TryScopedGreenlet::kill`] has not failed.
///
/// # Examples
/// The first error ends the others:
/// ```
/// use greenroom::{sleep, try_scope};
/// use std::time::Duration;
///
/// let outcome: Result<(), &str> = try_scope(|s| {
///     s.spawn(|| {
///         sleep(Duration::from_secs(60));
///         Ok(())
///     });
///     s.spawn(|| Err::<(), _>("no route to host"));
///     Ok(())
/// });
/// assert_eq!(outcome, Err("no route to host"));
/// ```
///
/// Results are joined for, and `?` works in greenlets as in the body:
/// ```
/// use std::num::ParseIntError;
///
/// fn sum(words: &[&str]) -> Result<i32, ParseIntError> {
///     greenroom::try_scope(|s| {
///         let parse = |word| s.spawn(move || str::parse::<i32>(word));
///         let numbers: Vec<_> = words.iter().map(|word| parse(word)).collect();
///         Ok(numbers.into_iter().map(|number| number.join().unwrap()).sum())
///     })
/// }
/// assert_eq!(sum(&["1", "2", "3"]), Ok(6));
/// assert!(sum(&["1", "two", "3"]).is_err());
/// ```
///
/// # Errors
/// The first error.
///
/// # Panics
/// When `f` or a greenlet panics and nothing has failed before. When there is no stack for a
/// greenlet, unless it is spawned with
/// [`Builder::spawn_try_scoped`](crate::Builder::spawn_try_scoped).
///
/// # Parks
/// Until the last of its greenlets has ended. A kill or a timeout of the caller cancels the scope
/// and unwinds once its greenlets have ended, unless it had failed before: then the failure is
/// told, and the next park meets the kill or the timeout.
#[doc(alias = "nursery")]
#[doc(alias = "TaskGroup")]
#[doc(alias = "JoinSet")]
#[doc(alias = "errgroup")]
#[doc(alias = "structured concurrency")]
pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    // With 'env the compiler finds one bound of 'scope, and not two, where closures borrow.
    E: fmt::Debug + 'env,
{
    let scope = TryScope {
        scope: Scope::new(),
        first: RefCell::new(None),
        body: RefCell::new(None),
    };
    let body = || {
        let returned = cancel::recallable(|recall| {
            scope.body.replace(recall);
            f(&scope)
        });
        match returned? {
            Ok(value) => Some(value),
            Err(error) => {
                scope.fail(Failure::Error(error));
                None
            }
        }
    };
    let ended = scope.scope.children.enclose(body);
    let Some(first) = scope.first.take() else {
        return match ended {
            Ok(value) => Ok(value.expect("without a value something has failed")),
            Err(payload) => panic::resume_unwind(payload),
        };
    };
    if let Err(payload) = ended
        && !cancel::is_cancellation(&*payload)
    {
        Failure::<E>::Panic(payload).log();
    }
    match first {
        Failure::Error(error) => Err(error),
        Failure::Panic(payload) => panic::resume_unwind(payload),
    }
}

impl<E: fmt::Debug> Failure<E> {
    /// For one that comes too late to be the outcome.
    fn log(self) {
        let of = with_hub(|hub| Some(Known(hub?.running()?.get()).to_string()));
        let of = of.unwrap_or_default();
        match self {
            Failure::Error(error) => report!(
                Warn,
                "greenroom: after its scope had been cancelled, {of} returned {error:?}"
            ),
            Failure::Panic(payload) => {
                let message = JoinError::panic_message(&*payload);
                report!(
                    Warn,
                    "greenroom: after its scope had been cancelled, {of} panicked: {message}"
                );
                report::discard(payload);
            }
        }
    }
}

impl<'scope, 'env, E: fmt::Debug + 'env> TryScope<'scope, 'env, E> {
    /// Spawns a greenlet that may borrow what outlives the scope. Its `Err` or its panic cancels
    /// the scope, unless that has happened already.
    ///
    /// # Examples
    /// See [`try_scope`].
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> TryScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> Result<T, E> + 'scope,
        T: 'scope,
    {
        let spawned_at = Location::caller();
        let plan = Plan {
            spawned_at,
            ..Plan::sharing()
        };
        self.launch(plan, f).unwrap_or_else(|error| {
            let what = format!("a scoped greenlet could not be started: {error}");
            self.fail(Failure::Panic(Box::new(what)));
            TryScopedGreenlet(self.scope.stillborn(spawned_at, error))
        })
    }

    pub(super) fn launch<F, T>(
        &'scope self,
        plan: Plan,
        f: F,
    ) -> io::Result<TryScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> Result<T, E> + 'scope,
        T: 'scope,
    {
        let watched = move || {
            let failure = match panic::catch_unwind(AssertUnwindSafe(f)) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => Failure::Error(error),
                Err(payload) if cancel::is_cancellation(&*payload) => panic::resume_unwind(payload),
                Err(payload) => Failure::Panic(payload),
            };
            self.fail(failure);
            None
        };
        self.scope.launch(plan, watched).map(TryScopedGreenlet)
    }

    /// The first failure cancels the scope and becomes its outcome; later ones are logged.
    fn fail(&self, failure: Failure<E>) {
        let children = &self.scope.children;
        if children.are_cancelled() {
            return failure.log();
        }
        self.first.replace(Some(failure));
        children.cancel();
        if let Some(body) = &*self.body.borrow() {
            body.now();
        }
    }
}

impl<'env, E: 'env> fmt::Debug for TryScope<'_, 'env, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope")
            .field("scope", &self.scope)
            .field("has_failed", &self.first.borrow().is_some())
            .finish_non_exhaustive()
    }
}

/// A greenlet of a [`try_scope`], and the right to its result. Dropping it changes nothing: the
/// scope waits for the greenlet all the same.
///
/// # Examples
/// ```
/// let length = greenroom::try_scope(|s| {
///     let text = s.spawn(|| std::fs::read_to_string("Cargo.toml"));
///     std::io::Result::Ok(text.join().unwrap().len())
/// });
/// assert!(length.unwrap() > 0);
/// ```
pub struct TryScopedGreenlet<'scope, T>(ScopedGreenlet<'scope, Option<T>>);

impl<T> TryScopedGreenlet<'_, T> {
    /// Waits for the greenlet and returns its value.
    ///
    /// If the greenlet fails, the scope is cancelled and so is the caller: this call then unwinds
    /// and does not return. So `join().unwrap()` is right for a greenlet that nothing kills.
    ///
    /// # Errors
    /// When the greenlet was killed with [`kill`](TryScopedGreenlet::kill). When it failed or
    /// could not be started and the caller can't be unwound: in a [`shield`](crate::shield), below
    /// a [`foreign`](crate::foreign) call, or with `panic = "abort"`.
    ///
    /// # Panics
    /// As [`Greenlet::join`](crate::Greenlet::join).
    ///
    /// # Parks
    /// Until the greenlet has finished. A kill or a timeout of the caller, and the end of its
    /// scope by a failure, unwind from here.
    pub fn join(self) -> Result<T, JoinError> {
        let error = match self.0.join() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => JoinError::of_scope(),
            Err(error) => error,
        };
        // Of a scope that has failed, both the body and the other greenlets are to unwind.
        cancel::checkpoint();
        Err(error)
    }

    /// As [`Greenlet::kill`](crate::Greenlet::kill). The scope does not fail for it.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// As [`Greenlet::is_finished`](crate::Greenlet::is_finished).
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// As [`Greenlet::thread`](crate::Greenlet::thread).
    pub fn thread(&self) -> &GreenletRef {
        self.0.thread()
    }
}

impl<T> fmt::Debug for TryScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
