//! A greenlet's result, for async code.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::{Greenlet, JoinError};
use crate::hub::Exit;
use crate::sys::lock::lock;

/// The end of a [`Greenlet`], to be awaited; made by its `into_future`, and so by `.await`.
///
/// On whatever executor, on whatever thread. Dropping it detaches the greenlet, as dropping the
/// greenlet's handle does; [`handle`](JoinFuture::handle) is for killing it.
///
/// # Examples
/// ```
/// let hub = std::thread::spawn(greenroom::hub::current);
/// let greenlet = greenroom::spawn(|| 6 * 7);
/// assert_eq!(greenroom::block_on(greenlet).unwrap(), 42);
/// # drop(hub);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct JoinFuture<T> {
    /// Until it is ready.
    greenlet: Option<Greenlet<T>>,
    waker: Arc<Slot>,
    /// What the task is to do at its end, by number.
    noted: Option<u64>,
}

/// The waker of the latest poll.
#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut place = lock(&self.0);
        std::mem::replace(&mut *place, waker)
    }
}

impl<T> JoinFuture<T> {
    /// The greenlet, unless its result has been taken.
    pub fn handle(&self) -> Option<&Greenlet<T>> {
        self.greenlet.as_ref()
    }

    /// Has the task wake the latest waker at its end. False if it has ended already.
    fn note(&mut self) -> bool {
        let Some(greenlet) = &self.greenlet else {
            return false;
        };
        if self.noted.is_none() {
            let waker = Arc::clone(&self.waker);
            let call = move || {
                let waker = waker.replace(None);
                waker.into_iter().for_each(Waker::wake);
            };
            let task = &greenlet.thread.task;
            self.noted = task.at_exit(Exit::Call(Box::new(call))).ok();
        }
        self.noted.is_some()
    }
}

impl<T> Future for JoinFuture<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// When it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let greenlet = this.greenlet.as_ref();
        let ended = greenlet
            .expect("it is not polled after it was ready")
            .has_ended();
        if !ended {
            // First the waker, then another look: whoever ends comes after one of the two.
            drop(this.waker.replace(Some(context.waker().clone())));
            let noted = this.note();
            let greenlet = this.greenlet.as_ref();
            if noted && !greenlet.is_some_and(Greenlet::has_ended) {
                return Poll::Pending;
            }
        }
        let greenlet = this.greenlet.take().expect("it was there before");
        Poll::Ready(greenlet.take())
    }
}

impl<T> Drop for JoinFuture<T> {
    fn drop(&mut self) {
        if let (Some(greenlet), Some(noted)) = (&self.greenlet, self.noted) {
            greenlet.thread.task.revoke_exit(noted);
        }
    }
}

impl<T> fmt::Debug for JoinFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinFuture")
            .field("greenlet", &self.greenlet)
            .finish_non_exhaustive()
    }
}

/// What it returns, or why it does not, as a future.
impl<T> IntoFuture for Greenlet<T> {
    type Output = Result<T, JoinError>;
    type IntoFuture = JoinFuture<T>;

    fn into_future(self) -> JoinFuture<T> {
        JoinFuture {
            greenlet: Some(self),
            waker: Arc::default(),
            noted: None,
        }
    }
}

/// It pins nothing.
impl<T> Unpin for JoinFuture<T> {}
