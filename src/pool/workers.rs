//! So many greenlets at a time.

use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::time::Duration;

use super::crew::{Crew, NoSlot, Slot};
use super::group::{join, kill_one};
use super::imap::{Imap, ImapUnordered};
use crate::cancel;
use crate::greenlet::{
    Greenlet, GreenletId, GreenletRef, JoinError, scope, spawn_at, spawn_local_at,
};

/// Runs at most so many greenlets at a time: who spawns one more parks until there is room, in
/// the order of coming.
///
/// A clone is the same pool, and may go to any thread; a greenlet runs on the hub of whoever
/// spawns it. Dropping it changes nothing for its greenlets. How it is used by its own greenlets:
/// see [nested use](super#nested-use).
///
/// # Examples
/// ```
/// use greenroom::pool::Pool;
/// use std::time::Duration;
/// let pool = Pool::new(2);
/// let greenlets: Vec<_> = (0..6)
///     .map(|n| {
///         // From the third on, each waits for one of those before it.
///         pool.spawn(move || {
///             greenroom::sleep(Duration::from_millis(1));
///             n
///         })
///     })
///     .collect();
/// assert_eq!(pool.len(), 2);
/// let sum: i32 = greenroom::joinall(greenlets).into_iter().flatten().sum();
/// assert_eq!(sum, 15);
/// ```
#[doc(alias(
    "limit",
    "concurrency",
    "worker",
    "ThreadPoolExecutor",
    "buffer_unordered"
))]
#[derive(Clone)]
pub struct Pool {
    crew: Arc<Crew>,
}

impl Pool {
    /// A pool of so many greenlets at a time. One of `usize::MAX` has no limit; one of 0 runs
    /// nobody until it is [resized](Pool::resize).
    pub fn new(size: usize) -> Pool {
        Pool {
            crew: Crew::new(size),
        }
    }

    /// As [`greenroom::spawn`](crate::spawn()), when there is room.
    ///
    /// # Panics
    /// When it is called by a greenlet of this pool while all the others are parked here as well:
    /// none would ever end. In the root, when nothing is left that could make room ("this operation
    /// would block forever").
    ///
    /// # Parks
    /// While the pool is full. A kill or a timeout unwinds, and then nothing was spawned.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = self.slot();
        self.admit(slot, spawn_at(Location::caller(), f))
    }

    /// As [`spawn`](Pool::spawn), for what is not `Send`.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Parks
    /// As there.
    #[track_caller]
    pub fn spawn_local<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let slot = self.slot();
        self.admit(slot, spawn_local_at(Location::caller(), f))
    }

    /// As [`spawn`](Pool::spawn), if there is room now.
    ///
    /// # Examples
    /// ```
    /// let pool = greenroom::pool::Pool::new(1);
    /// assert!(pool.try_spawn(|| ()).is_ok());
    /// assert!(pool.try_spawn(|| ()).is_err());
    /// ```
    ///
    /// # Errors
    /// The closure itself, when the pool is full.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<Greenlet<T>, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.crew.try_slot() {
            Ok(slot) => Ok(self.admit(slot, spawn_at(Location::caller(), f))),
            Err(_) => {
                cancel::let_others_run();
                Err(f)
            }
        }
    }

    /// As [`spawn`](Pool::spawn), waiting for room at most for `limit`.
    ///
    /// # Errors
    /// The closure itself, when the pool was full all the time.
    ///
    /// # Parks
    /// As `spawn`, and no longer than `limit`.
    #[track_caller]
    pub fn spawn_timeout<F, T>(&self, limit: Duration, f: F) -> Result<Greenlet<T>, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.crew.slot(cancel::deadline_in(limit)) {
            Ok(slot) => Ok(self.admit(slot, spawn_at(Location::caller(), f))),
            Err(_) => Err(f),
        }
    }

    /// Puts a greenlet into the pool that runs already, on whatever hub, when there is room.
    ///
    /// # Panics
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Parks
    /// As `spawn`.
    #[track_caller]
    pub fn add(&self, greenlet: &GreenletRef) {
        let slot = self.slot();
        self.crew.enter(slot, greenlet);
    }

    /// As [`add`](Pool::add), if there is room now; whether there was.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn try_add(&self, greenlet: &GreenletRef) -> bool {
        let slot = self.crew.try_slot();
        if slot.is_err() {
            cancel::let_others_run();
        }
        slot.map(|slot| self.crew.enter(slot, greenlet)).is_ok()
    }

    #[track_caller]
    fn slot(&self) -> Slot {
        self.crew.slot(None).unwrap_or_else(|why| {
            debug_assert_eq!(why, NoSlot::Deadlock);
            panic!(
                "a pool of {} is full of greenlets that all wait to spawn another one in it",
                self.size()
            )
        })
    }

    fn admit<T>(&self, slot: Slot, greenlet: Greenlet<T>) -> Greenlet<T> {
        self.crew.enter(slot, greenlet.thread());
        greenlet
    }

    /// Runs `f` in a greenlet of the pool and returns what it returns. It may borrow.
    ///
    /// Called by a greenlet of the pool, it is run by that one.
    ///
    /// # Examples
    /// ```
    /// let pool = greenroom::pool::Pool::new(1);
    /// let text = String::from("borrowed");
    /// assert_eq!(pool.apply(|| text.len()).unwrap(), 8);
    /// let nested = pool.apply(|| pool.apply(|| pool.apply(|| 3)));
    /// assert_eq!(nested.unwrap().unwrap().unwrap(), 3);
    /// ```
    ///
    /// # Errors
    /// When it panicked or was killed.
    ///
    /// # Parks
    /// While the pool is full, then until it is done. A kill or a timeout unwinds, once `f`, which
    /// is killed for that, has ended.
    #[track_caller]
    pub fn apply<F: FnOnce() -> T, T>(&self, f: F) -> Result<T, JoinError> {
        if self.crew.has_caller() {
            return inline(f);
        }
        let spawned_at = Location::caller();
        let slot = self.slot();
        scope(|s| {
            let worker = s.spawn_at(spawned_at, f);
            self.crew.enter(slot, worker.thread());
            worker.join()
        })
    }

    /// Calls `f` with each of `items`, each in a greenlet of the pool, and returns the results in
    /// the order of the items. All of it may borrow.
    ///
    /// `items` is gone on with whenever there is room. Called by a greenlet of the pool, that one
    /// does itself what there is no room for.
    ///
    /// # Examples
    /// See the [module](super).
    ///
    /// # Panics
    /// When `items` does; those that run are killed then.
    ///
    /// # Parks
    /// Until all are done. A kill or a timeout unwinds, once those that run, which are killed for
    /// that, have ended.
    #[track_caller]
    pub fn map<I, F, R>(&self, items: I, f: F) -> Vec<Result<R, JoinError>>
    where
        I: IntoIterator,
        F: Fn(I::Item) -> R,
    {
        let (f, spawned_at) = (&f, Location::caller());
        let nested = self.crew.has_caller();
        scope(|s| {
            let started: Vec<_> = items
                .into_iter()
                .map(|item| {
                    let slot = if nested {
                        self.crew.try_slot().ok()
                    } else {
                        Some(self.slot())
                    };
                    let Some(slot) = slot else {
                        return Err(inline(|| f(item)));
                    };
                    let worker = s.spawn_at(spawned_at, move || f(item));
                    self.crew.enter(slot, worker.thread());
                    Ok(worker)
                })
                .collect();
            let results = started.into_iter();
            results
                .map(|one| one.map_or_else(|done| done, |worker| worker.join()))
                .collect()
        })
    }

    /// As [`map`](Pool::map), one result after the other, when they are asked for.
    ///
    /// Nothing begins before the first is asked for. From then on at most as many items are taken
    /// ahead of the reader as the pool is large, or as [`Imap::ahead`] says. An item that fails is
    /// an `Err` in its place, and those after it go on. Dropped early, it kills what still runs.
    ///
    /// # Examples
    /// ```
    /// use greenroom::pool::Pool;
    /// let pool = Pool::new(3);
    /// let firsts: Vec<u64> = pool.imap(1.., |n: u64| n * n).take(4).flatten().collect();
    /// assert_eq!(firsts, [1, 4, 9, 16]);
    /// ```
    #[track_caller]
    pub fn imap<I, F, R>(&self, items: I, f: F) -> Imap<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
    {
        Imap::new(self, items.into_iter(), f)
    }

    /// As [`imap`](Pool::imap), in the order in which they are done.
    ///
    /// # Examples
    /// ```
    /// use greenroom::pool::Pool;
    /// use std::time::Duration;
    /// let pool = Pool::new(3);
    /// let nap = |ms| {
    ///     greenroom::sleep(Duration::from_millis(ms));
    ///     ms
    /// };
    /// let order: Vec<u64> = pool.imap_unordered([40, 1, 20], nap).flatten().collect();
    /// assert_eq!(order, [1, 20, 40]);
    /// ```
    #[track_caller]
    pub fn imap_unordered<I, F, R>(&self, items: I, f: F) -> ImapUnordered<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
    {
        ImapUnordered::new(self, items.into_iter(), f)
    }

    pub(super) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    #[track_caller]
    pub(super) fn start<F, T>(
        &self,
        may_wait: bool,
        spawned_at: &'static Location<'static>,
        f: F,
    ) -> Result<Greenlet<T>, F>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        match self.crew.try_slot() {
            Ok(slot) => Ok(self.admit(slot, spawn_local_at(spawned_at, f))),
            Err(_) if may_wait => {
                let slot = self.slot();
                Ok(self.admit(slot, spawn_local_at(spawned_at, f)))
            }
            Err(_) => Err(f),
        }
    }

    /// Takes a greenlet out, which runs on; its place is free. False when it was not in there.
    pub fn discard(&self, id: GreenletId) -> bool {
        self.crew.leave(id)
    }

    /// Waits until nobody is in there, and nobody about to come in.
    ///
    /// # Panics
    /// When it is called by one of the pool. In the root, when nothing is left that could wake any
    /// of them ("this operation would block forever").
    ///
    /// # Parks
    /// Until then. A kill or a timeout unwinds.
    pub fn join(&self) {
        join(&self.crew, None);
    }

    /// As [`join`](Pool::join), for at most `limit`; whether the pool was empty by then.
    ///
    /// # Panics
    /// As `join`.
    ///
    /// # Parks
    /// As `join`, and no longer than `limit`.
    pub fn join_timeout(&self, limit: Duration) -> bool {
        join(&self.crew, cancel::deadline_in(limit))
    }

    /// Kills all, also those who come in meanwhile, waits for them to end, at most for `limit`, and
    /// returns how many are left.
    ///
    /// # Parks
    /// Until all have ended or the time is up. A kill or a timeout of the caller unwinds.
    pub fn kill(&self, limit: Option<Duration>) -> usize {
        self.crew.kill(limit.and_then(cancel::deadline_in))
    }

    /// Kills one of the pool, and returns at once. False when it is not in there.
    pub fn kill_one(&self, id: GreenletId) -> bool {
        kill_one(&self.crew, id)
    }

    /// Makes it a pool of so many. If more than that are in there they stay, and nobody comes in
    /// until enough of them have ended.
    ///
    /// # Parks
    /// Never.
    pub fn resize(&self, size: usize) {
        self.crew.resize(size);
    }

    /// How many it is for.
    pub fn size(&self) -> usize {
        self.crew.size()
    }

    /// For how many there is room now.
    pub fn free_count(&self) -> usize {
        self.crew.free()
    }

    /// Whether there is room for nobody.
    pub fn is_full(&self) -> bool {
        self.free_count() == 0
    }

    /// How many wait to get in.
    pub fn waiting(&self) -> usize {
        self.crew.waiting()
    }

    /// Waits until there is room, at most for `limit`; whether there is. Somebody else may be
    /// faster to use it.
    ///
    /// # Parks
    /// While the pool is full. A kill or a timeout unwinds.
    pub fn wait_available(&self, limit: Option<Duration>) -> bool {
        let deadline = limit.and_then(cancel::deadline_in);
        self.crew.slot(deadline).is_ok()
    }

    /// How many are in there.
    pub fn len(&self) -> usize {
        self.crew.len()
    }

    /// Whether nobody is in there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether that one is in there.
    pub fn contains(&self, id: GreenletId) -> bool {
        self.crew.contains(id)
    }

    /// Those who are in there now.
    pub fn greenlets(&self) -> Vec<GreenletRef> {
        self.crew.members()
    }
}

/// As a greenlet would, in whoever runs: a panic is an error, a kill or a timeout goes on.
pub(super) fn inline<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    result.map_err(|payload| {
        if cancel::is_cancellation(&*payload) {
            panic::resume_unwind(payload);
        }
        JoinError::of_payload(payload)
    })
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
