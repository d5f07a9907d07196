//! Permits that are taken and given back, as gevent's semaphores.

use std::fmt;
use std::mem;
use std::time::Duration;

use super::raw_semaphore::{PERMITS_MAX, RawSemaphore};
use crate::cancel;
use crate::greenlet::{Ready, Subscribe, Subscription, Waitable};

/// A number of permits: who takes one when there is none waits until one is given.
///
/// Those who wait get one in the order of their arrival, and who comes later does not overtake
/// them, whoever gives it: a greenlet, on any hub, or a plain OS thread.
///
/// A [`Permit`] is given back when it is dropped. With [`Permit::forget`] and
/// [`release`](Semaphore::release) permits are counted by hand, as gevent's `acquire` and
/// `release` do. It can be waited for among other things, without taking: see
/// [`wait`](crate::wait).
///
/// # Examples
/// ```
/// use greenroom::sync::{Arc, Semaphore};
/// use std::time::Duration;
///
/// let seats = Arc::new(Semaphore::new(2));
/// let guests = (0..4).map(|_| {
///     let seats = Arc::clone(&seats);
///     greenroom::spawn(move || {
///         let _seat = seats.acquire();
///         greenroom::sleep(Duration::from_millis(1));
///     })
/// });
/// let guests: Vec<_> = guests.collect();
/// greenroom::yield_now();
/// assert_eq!(seats.permits(), 0);
/// greenroom::joinall(guests);
/// assert_eq!(seats.permits(), 2);
/// ```
#[doc(alias("limit", "permits", "rate limit"))]
pub struct Semaphore(RawSemaphore);

const fn at_most_max(permits: usize) -> usize {
    if permits < PERMITS_MAX {
        permits
    } else {
        PERMITS_MAX
    }
}

impl Semaphore {
    /// More permits than this are as good as without end, and are not counted.
    pub const PERMITS_MAX: usize = PERMITS_MAX;

    /// A semaphore with so many permits, at most [`PERMITS_MAX`](Semaphore::PERMITS_MAX).
    ///
    /// # Examples
    /// ```
    /// static SIGNAL: greenroom::sync::Semaphore = greenroom::sync::Semaphore::new(0);
    /// SIGNAL.release();
    /// SIGNAL.acquire().forget();
    /// ```
    #[must_use]
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore(RawSemaphore::new(at_most_max(permits), PERMITS_MAX))
    }

    /// How many permits there are to take now.
    pub fn permits(&self) -> usize {
        self.0.permits()
    }

    /// Takes a permit, waiting until there is one.
    ///
    /// # Examples
    /// See [`Semaphore`].
    ///
    /// # Panics
    /// In the root, when nothing is left that could give one ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// While there is none, or others have waited longer. A kill or a timeout unwinds, and then
    /// none has been taken.
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.0.take(|| None);
        Permit(&self.0)
    }

    /// Takes a permit, if there is one.
    ///
    /// # Examples
    /// ```
    /// let semaphore = greenroom::sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some());
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        cancel::let_others_run();
        self.0.try_take().then(|| Permit(&self.0))
    }

    /// Takes a permit, waiting for one at most for `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let semaphore = greenroom::sync::Semaphore::new(0);
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    ///
    /// # Panics
    /// As [`acquire`](Semaphore::acquire), when `limit` is so long that it lies beyond the end of
    /// the clock.
    ///
    /// # Parks
    /// As [`acquire`](Semaphore::acquire), and no longer than `limit`.
    pub fn acquire_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
        let taken = self.0.take(|| cancel::deadline_in(limit));
        taken.then(|| Permit(&self.0))
    }

    /// Gives a permit: one that was [forgotten](Permit::forget), or one more.
    ///
    /// # Examples
    /// See [`Semaphore::new`].
    ///
    /// # Parks
    /// Never.
    pub fn release(&self) {
        // Beyond the maximum it makes no difference.
        self.0.give();
    }

    /// Waits until there is a permit, and leaves it there: somebody else may be faster to take
    /// it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, Semaphore};
    /// let semaphore = Arc::new(Semaphore::new(0));
    /// let theirs = Arc::clone(&semaphore);
    /// greenroom::spawn(move || theirs.release());
    /// semaphore.wait();
    /// assert_eq!(semaphore.permits(), 1);
    /// ```
    ///
    /// # Panics
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Parks
    /// Until one is given that nobody who came before has taken. A kill or a timeout unwinds.
    pub fn wait(&self) {
        self.0.look(|| None);
    }

    /// As [`wait`](Semaphore::wait), at most for `limit`; returns whether there was one.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// assert!(greenroom::sync::Semaphore::new(1).wait_timeout(Duration::ZERO));
    /// ```
    ///
    /// # Panics
    /// As [`acquire_timeout`](Semaphore::acquire_timeout).
    ///
    /// # Parks
    /// As [`wait`](Semaphore::wait), and no longer than `limit`.
    #[must_use = "there may have been none in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.0.look(|| cancel::deadline_in(limit))
    }
}

/// With one permit.
impl Default for Semaphore {
    fn default() -> Semaphore {
        Semaphore::new(1)
    }
}

/// A [`Semaphore`] that never has more permits than in the beginning: to give back what was not
/// taken is an error, and shows a mistake.
///
/// # Examples
/// ```
/// use greenroom::sync::BoundedSemaphore;
/// let connections = BoundedSemaphore::new(1);
/// connections.acquire().forget();
/// assert!(connections.release().is_ok());
/// assert!(connections.release().is_err());
/// ```
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// A semaphore with so many permits, at most
    /// [`Semaphore::PERMITS_MAX`], and never more.
    ///
    /// # Examples
    /// See [`BoundedSemaphore`].
    #[must_use]
    pub const fn new(permits: usize) -> BoundedSemaphore {
        let permits = at_most_max(permits);
        BoundedSemaphore(Semaphore(RawSemaphore::new(permits, permits)))
    }

    /// How many permits there are to take now.
    pub fn permits(&self) -> usize {
        self.0.permits()
    }

    /// How many permits there are in all, those that are taken included.
    pub fn permits_max(&self) -> usize {
        self.0.0.permits_max()
    }

    /// As [`Semaphore::acquire`].
    ///
    /// # Panics
    /// As [`Semaphore::acquire`].
    ///
    /// # Parks
    /// As [`Semaphore::acquire`].
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.0.acquire()
    }

    /// As [`Semaphore::try_acquire`].
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.0.try_acquire()
    }

    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Panics
    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Parks
    /// As [`Semaphore::acquire_timeout`].
    pub fn acquire_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
        self.0.acquire_timeout(limit)
    }

    /// Gives back a permit that was [forgotten](Permit::forget).
    ///
    /// # Examples
    /// See [`BoundedSemaphore`].
    ///
    /// # Errors
    /// When all permits are there already; then nothing is changed.
    ///
    /// # Parks
    /// Never.
    pub fn release(&self) -> Result<(), OverReleased> {
        let permits_max = self.permits_max();
        let given = self.0.0.give();
        given.then_some(()).ok_or(OverReleased { permits_max })
    }

    /// As [`Semaphore::wait`].
    ///
    /// # Panics
    /// As [`Semaphore::wait`].
    ///
    /// # Parks
    /// As [`Semaphore::wait`].
    pub fn wait(&self) {
        self.0.wait();
    }

    /// As [`Semaphore::wait_timeout`].
    ///
    /// # Panics
    /// As [`Semaphore::wait_timeout`].
    ///
    /// # Parks
    /// As [`Semaphore::wait_timeout`].
    #[must_use = "there may have been none in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.0.wait_timeout(limit)
    }
}

/// With one permit.
impl Default for BoundedSemaphore {
    fn default() -> BoundedSemaphore {
        BoundedSemaphore::new(1)
    }
}

/// A permit of a [`Semaphore`] or a [`BoundedSemaphore`], given back when it is dropped.
///
/// # Examples
/// See [`Semaphore`].
#[must_use = "if unused the permit is given back at once"]
pub struct Permit<'a>(&'a RawSemaphore);

impl Permit<'_> {
    /// Keeps the permit from being given back: see [`Semaphore::release`].
    ///
    /// # Examples
    /// ```
    /// let semaphore = greenroom::sync::Semaphore::new(1);
    /// semaphore.acquire().forget();
    /// assert_eq!(semaphore.permits(), 0);
    /// ```
    pub fn forget(self) {
        mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // A bounded semaphore that was released by hand too often has them all already.
        self.0.give();
    }
}

/// A [`BoundedSemaphore`] was released more often than it was acquired.
///
/// # Examples
/// ```
/// let error = greenroom::sync::BoundedSemaphore::new(2).release().unwrap_err();
/// assert_eq!(error.to_string(), "released more often than acquired: all 2 permits are there");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverReleased {
    permits_max: usize,
}

impl fmt::Display for OverReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.permits_max;
        write!(
            f,
            "released more often than acquired: all {all} permits are there"
        )
    }
}

impl std::error::Error for OverReleased {}

impl Subscribe for Semaphore {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.0.subscribe(ready)
    }
}

/// Ready when there is a permit, which is left there.
impl Waitable for Semaphore {}

impl Subscribe for BoundedSemaphore {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>> {
        self.0.subscribe(ready)
    }
}

/// Ready when there is a permit, which is left there.
impl Waitable for BoundedSemaphore {}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .field("waiting", &self.0.waiting())
            .finish()
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("permits", &self.permits())
            .field("permits_max", &self.permits_max())
            .field("waiting", &self.0.0.waiting())
            .finish()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
