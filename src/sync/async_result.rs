//! A value that is to come.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use super::waiting::{self, Home, Subscribed};
use super::waitlist::{Key, Notice, WaitList, tell_all};
use crate::cancel;
use crate::greenlet::{Greenlet, JoinError, Ready, Subscribe, Subscription, Waitable};
use crate::sys::lock::lock;

/// A value that is to come, for any number who wait for it.
///
/// gevent's `AsyncResult`. What may fail has a `Result` for its value: [`set`](AsyncResult::set)
/// it to `Ok` or, as gevent's `set_exception`, to `Err`. It is handed out as a clone by
/// [`get`](AsyncResult::get), or shared by [`wait`](AsyncResult::wait). It can be waited for among
/// other things: see [`wait`](crate::wait). One that holds what a greenlet has returned is made
/// by [`of`](AsyncResult::of).
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, AsyncResult};
/// let answer = Arc::new(AsyncResult::<Result<u32, String>>::new());
/// let theirs = Arc::clone(&answer);
/// let asker = greenroom::spawn(move || theirs.get());
/// answer.set(Ok(42));
/// assert_eq!(asker.join().unwrap(), Ok(42));
/// assert_eq!(answer.try_get(), Some(Ok(42)));
/// ```
#[doc(alias("promise", "future", "oneshot"))]
pub struct AsyncResult<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Option<Arc<T>>,
    /// While there is a value nobody in there waits.
    waiters: WaitList,
}

impl<T> AsyncResult<T> {
    /// Without a value yet.
    ///
    /// # Examples
    /// See [`AsyncResult`].
    #[must_use]
    pub const fn new() -> AsyncResult<T> {
        AsyncResult {
            state: Mutex::new(State {
                value: None,
                waiters: WaitList::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Sets the value and wakes all who wait for it, in the order of their arrival. If there is a
    /// value already it is replaced, for those who come from now on.
    ///
    /// # Examples
    /// See [`AsyncResult`].
    ///
    /// # Parks
    /// Never.
    pub fn set(&self, value: T) {
        let value = Arc::new(value);
        let mut state = self.lock();
        let former = state.value.replace(value);
        let notices = state.waiters.grant_all();
        drop(state);
        tell_all(notices);
        drop(former);
    }

    /// Whether there is a value.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn is_set(&self) -> bool {
        self.look().is_some()
    }

    /// The value, if there is one; a loop that asks for it is to let others run.
    fn look(&self) -> Option<Arc<T>> {
        let value = self.lock().value.clone();
        if value.is_none() {
            cancel::let_others_run();
        }
        value
    }

    /// Waits for the value, and shares it.
    ///
    /// # Examples
    /// ```
    /// let result = greenroom::sync::AsyncResult::from("done");
    /// assert_eq!(*result.wait(), "done");
    /// ```
    ///
    /// # Panics
    /// In the root, when nothing is left that could set it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until there is a value. A kill or a timeout unwinds.
    pub fn wait(&self) -> Arc<T> {
        let value = self.wait_until(None);
        value.expect("without a deadline there is only one way to end")
    }

    /// As [`wait`](AsyncResult::wait), at most for `limit`; `None` if there is no value by then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let result = greenroom::sync::AsyncResult::<u8>::new();
    /// assert!(result.wait_timeout(Duration::from_millis(1)).is_none());
    /// ```
    ///
    /// # Panics
    /// As [`wait`](AsyncResult::wait), when `limit` is so long that it lies beyond the end of the
    /// clock.
    ///
    /// # Parks
    /// As [`wait`](AsyncResult::wait), and no longer than `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Option<Arc<T>> {
        self.wait_until(cancel::deadline_in(limit))
    }

    fn wait_until(&self, deadline: Option<u64>) -> Option<Arc<T>> {
        let mut state = self.lock();
        if state.value.is_none() {
            let key = state.waiters.push((), Notice::to_me());
            drop(state);
            waiting::wait(self, key, "a result", deadline).ok()?;
            state = self.lock();
        }
        state.value.clone()
    }
}

impl<T: Clone> AsyncResult<T> {
    /// Waits for the value, and clones it.
    ///
    /// # Examples
    /// See [`AsyncResult`].
    ///
    /// # Panics
    /// As [`wait`](AsyncResult::wait), and when the clone does.
    ///
    /// # Parks
    /// As [`wait`](AsyncResult::wait).
    pub fn get(&self) -> T {
        T::clone(&self.wait())
    }

    /// As [`get`](AsyncResult::get), at most for `limit`; `None` if there is no value by then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let result = greenroom::sync::AsyncResult::from(1);
    /// assert_eq!(result.get_timeout(Duration::ZERO), Some(1));
    /// ```
    ///
    /// # Panics
    /// As [`wait_timeout`](AsyncResult::wait_timeout), and when the clone does.
    ///
    /// # Parks
    /// As [`wait_timeout`](AsyncResult::wait_timeout).
    pub fn get_timeout(&self, limit: Duration) -> Option<T> {
        self.wait_timeout(limit).map(|value| T::clone(&value))
    }

    /// A clone of the value, if there is one.
    ///
    /// # Examples
    /// See [`AsyncResult`].
    ///
    /// # Panics
    /// When the clone does.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_get(&self) -> Option<T> {
        self.look().map(|value| T::clone(&value))
    }
}

impl<T, E> AsyncResult<Result<T, E>> {
    /// Whether there is a value, and no error. gevent's `successful`.
    ///
    /// # Examples
    /// ```
    /// let result = greenroom::sync::AsyncResult::<Result<u8, &str>>::new();
    /// assert!(!result.is_ok());
    /// result.set(Err("no"));
    /// assert!(result.is_set() && !result.is_ok());
    /// ```
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn is_ok(&self) -> bool {
        self.look().is_some_and(|value| value.is_ok())
    }
}

impl<T: Send + Sync + 'static> AsyncResult<Result<T, JoinError>> {
    /// Has what `greenlet` returns, or why it did not, set here when it has ended. gevent's
    /// `greenlet.link(result)`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, AsyncResult};
    /// let result = Arc::new(AsyncResult::new());
    /// result.follow(greenroom::spawn(|| 6 * 7));
    /// assert!(matches!(*result.wait(), Ok(42)));
    /// ```
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn follow(self: &Arc<Self>, greenlet: Greenlet<T>) {
        let (result, followed) = (Arc::clone(self), greenlet.thread().uncounted());
        followed.link(move |_| result.set(greenlet.join()));
    }

    /// A result that [follows](AsyncResult::follow) `greenlet`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::AsyncResult;
    /// let result = AsyncResult::of(greenroom::spawn(|| panic!("oh")));
    /// let outcome: &Result<(), _> = &result.wait();
    /// assert!(outcome.as_ref().unwrap_err().is_panic());
    /// ```
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn of(greenlet: Greenlet<T>) -> Arc<Self> {
        let result = Arc::new(AsyncResult::new());
        result.follow(greenlet);
        result
    }
}

/// Its value, shared, as a future: `(&result).await`.
impl<'a, T> IntoFuture for &'a AsyncResult<T> {
    type Output = Arc<T>;
    type IntoFuture = ResultFuture<'a, T>;

    fn into_future(self) -> ResultFuture<'a, T> {
        ResultFuture {
            result: self,
            key: None,
        }
    }
}

/// The value of an [`AsyncResult`] that is to come, to be awaited: by `.await` on a reference to
/// that, on whatever executor, on whatever thread.
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, AsyncResult};
/// let answer = Arc::new(AsyncResult::new());
/// let theirs = Arc::clone(&answer);
/// greenroom::spawn(move || theirs.set(42));
/// assert_eq!(greenroom::block_on(async { *(&*answer).await }), 42);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ResultFuture<'a, T> {
    result: &'a AsyncResult<T>,
    /// Its place among those who wait.
    key: Option<Key>,
}

impl<T> Future for ResultFuture<'_, T> {
    type Output = Arc<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Arc<T>> {
        let notice = Notice::Poll(Box::new(context.waker().clone()));
        let mut state = self.result.lock();
        // The waker may be another one now. Its place among those who wait does not matter, since
        // all are told at once.
        let former = self.key.take().map(|key| state.waiters.take(key));
        let polled = match &state.value {
            Some(value) => Poll::Ready(Arc::clone(value)),
            None => {
                self.key = Some(state.waiters.push((), notice));
                Poll::Pending
            }
        };
        drop(state);
        drop(former);
        polled
    }
}

impl<T> Drop for ResultFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let left = self.result.lock().waiters.take(key);
            drop(left);
        }
    }
}

impl<T> fmt::Debug for ResultFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultFuture").finish_non_exhaustive()
    }
}

impl<T> Home for AsyncResult<T> {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.lock().waiters)
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}

impl<T> Subscribe for AsyncResult<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        let mut state = self.lock();
        if state.value.is_some() {
            drop(state);
            ready.call();
            return None;
        }
        let subscribed = Subscribed::new(self, &mut state.waiters, (), ready);
        Some(Box::new(subscribed))
    }
}

/// Ready when it is set.
impl<T> Waitable for AsyncResult<T> {}

impl<T> Default for AsyncResult<T> {
    fn default() -> AsyncResult<T> {
        AsyncResult::new()
    }
}

/// Set from the beginning.
impl<T> From<T> for AsyncResult<T> {
    fn from(value: T) -> AsyncResult<T> {
        let result = AsyncResult::new();
        result.set(value);
        result
    }
}

impl<T: fmt::Debug> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.lock().value.clone();
        let mut f = f.debug_tuple("AsyncResult");
        match value {
            Some(value) => f.field(&value),
            None => f.field(&format_args!("<not set>")),
        };
        f.finish()
    }
}
