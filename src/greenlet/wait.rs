//! Waiting for several things: all, the first few, or one after the other as they come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Greenlet, GreenletRef, JoinError, ScopedGreenlet, TryScopedGreenlet};
use crate::cancel;
use crate::hub::waker::Waker;
use crate::hub::{Exit, Help, TaskRef, Why};
use crate::sys::lock::lock;

/// Joins all, in the order given.
///
/// # Examples
/// ```
/// let greenlets = [greenroom::spawn(|| 1), greenroom::spawn(|| 2)];
/// let results: Vec<i32> = greenroom::joinall(greenlets).into_iter().flatten().collect();
/// assert_eq!(results, [1, 2]);
/// ```
///
/// All of `greenlets` is taken first, so an iterator that spawns as it goes spawns all before the
/// first is waited for.
///
/// # Panics
/// As [`Greenlet::join`].
///
/// # Parks
/// Until the last has finished. A kill or a timeout unwinds and detaches the rest.
#[doc(alias("gather", "join_all", "wait_all"))]
pub fn joinall<T>(greenlets: impl IntoIterator<Item = Greenlet<T>>) -> Vec<Result<T, JoinError>> {
    // All first: an iterator that spawns as it goes must not wait for one before the next.
    let greenlets: Vec<_> = greenlets.into_iter().collect();
    greenlets.into_iter().map(Greenlet::join).collect()
}

/// Kills all, waits for them to end, at most for `limit`, and returns how many are still alive.
/// Without a limit it waits for as long as it takes.
///
/// # Examples
/// ```
/// let forever = || greenroom::spawn(|| greenroom::thread::park());
/// let greenlets = [forever(), forever()];
/// assert_eq!(greenroom::killall(&greenlets, None), 0);
/// ```
///
/// # Panics
/// As [`Greenlet::join`].
///
/// # Parks
/// Until all have ended or the time is up. A kill or a timeout of the caller unwinds.
#[doc(alias("cancel_all", "abort_all"))]
pub fn killall<'a, T: 'a>(
    greenlets: impl IntoIterator<Item = &'a Greenlet<T>>,
    limit: Option<Duration>,
) -> usize {
    let deadline = limit.and_then(cancel::deadline_in);
    let tasks: Vec<&TaskRef> = greenlets.into_iter().map(|one| &one.thread.task).collect();
    tasks.iter().for_each(|task| cancel::kill(task));
    for task in &tasks {
        if !super::wait_for_end(task, deadline) {
            break;
        }
    }
    tasks.iter().filter(|task| !task.is_ended()).count()
}

/// Something that [`wait`], [`iwait`] and [`wait_any`](crate::wait_any) can wait for.
///
/// | object | it is ready when |
/// |---|---|
/// | [`Greenlet`], [`ScopedGreenlet`], [`TryScopedGreenlet`], [`GreenletRef`] | it has finished |
/// | [`Event`], [`AsyncResult`] | it is set |
/// | [`Semaphore`], [`BoundedSemaphore`] | a permit is free |
/// | [`Queue`] and its kin, [`Getter`], [`Channel`], [`Receiver`] | it has an item, or is closed |
/// | [`Room`] of a queue | the queue has room for an item, or is closed |
/// | [`Readable`], [`Writable`] | the descriptor is |
/// | [`Child`], [`Job`] | the process or the job has ended |
/// | [`Signals`] | a signal has come |
/// | [`Deadline`] | its time has come |
///
/// [`Event`]: crate::sync::Event
/// [`AsyncResult`]: crate::sync::AsyncResult
/// [`Semaphore`]: crate::sync::Semaphore
/// [`BoundedSemaphore`]: crate::sync::BoundedSemaphore
/// [`Queue`]: crate::sync::Queue
/// [`Getter`]: crate::sync::Getter
/// [`Channel`]: crate::sync::Channel
/// [`Receiver`]: crate::sync::mpsc::Receiver
/// [`Room`]: crate::sync::Room
/// [`Readable`]: crate::io::Readable
/// [`Writable`]: crate::io::Writable
/// [`Child`]: crate::process::Child
/// [`Job`]: crate::threadpool::Job
/// [`Signals`]: crate::signal::Signals
/// [`Deadline`]: crate::Deadline
///
/// A reference to one and an `Arc` of one will do as well. Waiting takes nothing: no permit, no
/// item, no signal. Take it afterwards, without waiting, and wait again if another was faster.
/// Only this crate implements the trait.
///
/// # Examples
/// ```
/// use greenroom::{Waitable, spawn, wait};
/// use std::time::Duration;
///
/// fn in_time<W: Waitable>(objects: &[W]) -> bool {
///     wait(objects).timeout(Duration::from_secs(5)).ready().len() == objects.len()
/// }
/// assert!(in_time(&[spawn(|| ()), spawn(|| ())]));
/// ```
pub trait Waitable: sealed::Subscribe {}

pub(crate) mod sealed {
    use super::Ready;

    /// What is taken back when it is dropped.
    pub trait Subscription {
        /// Whether it has to be asked: it does not call, but wakes who has asked last.
        fn is_asked(&self) -> bool {
            false
        }

        /// Is it ready? If not, whoever runs now is woken when it may be.
        fn ask(&mut self) -> bool {
            false
        }
    }

    /// Tells when something is ready.
    pub trait Subscribe {
        /// When this becomes ready by itself, on the clock of this thread's hub.
        fn deadline(&self) -> Option<u64> {
            None
        }

        /// Has `ready` called, once, when this is ready; at once if it is. What is returned
        /// takes that back when dropped.
        fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn Subscription + 'a>>;
    }
}

/// To be called when one of the things waited for is ready.
pub struct Ready {
    index: usize,
    arrivals: Arc<Arrivals>,
}

impl Ready {
    pub(crate) fn call(self) {
        let mut state = self.arrivals.lock();
        state.queue.push_back(self.index);
        let waiter = state.waiter.take();
        drop(state);
        waiter.inspect(Waker::wake);
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// What the one who iterates and those who call share.
#[derive(Default)]
struct Arrivals(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    /// Indices of what has become ready, in that order.
    queue: VecDeque<usize>,
    /// Who waits for more: not always the same, for an iterator may be handed on.
    waiter: Option<Waker>,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        lock(&self.0)
    }

    /// What has arrived first; if nothing has, the caller is told when something does.
    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            state.waiter = Some(Waker::current());
        }
        next
    }
}

/// Takes a subscription at a task back.
struct AtExit {
    task: TaskRef,
    id: u64,
    _help: Option<Help>,
}

impl sealed::Subscription for AtExit {}

impl Drop for AtExit {
    fn drop(&mut self) {
        self.task.revoke_exit(self.id);
    }
}

fn subscribe_to_end(
    task: &TaskRef,
    ready: Ready,
) -> Option<Box<dyn sealed::Subscription + 'static>> {
    match task.at_exit(Exit::Call(Box::new(|| ready.call()))) {
        Ok(id) => {
            let _help = Help::expect_from(task);
            Some(Box::new(AtExit {
                task: task.clone(),
                id,
                _help,
            }))
        }
        Err(Exit::Call(call)) => {
            call();
            None
        }
        Err(Exit::Wake(_)) => unreachable!("a call was noted, so a call comes back"),
    }
}

impl<T> sealed::Subscribe for Greenlet<T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        subscribe_to_end(&self.thread.task, ready)
    }
}

impl<T> Waitable for Greenlet<T> {}

impl<T> sealed::Subscribe for ScopedGreenlet<'_, T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        subscribe_to_end(&self.thread().task, ready)
    }
}

impl<T> Waitable for ScopedGreenlet<'_, T> {}

impl<T> sealed::Subscribe for TryScopedGreenlet<'_, T> {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        subscribe_to_end(&self.thread().task, ready)
    }
}

impl<T> Waitable for TryScopedGreenlet<'_, T> {}

impl sealed::Subscribe for GreenletRef {
    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        subscribe_to_end(&self.task, ready)
    }
}

impl Waitable for GreenletRef {}

impl<W: Waitable + ?Sized> sealed::Subscribe for &W {
    fn deadline(&self) -> Option<u64> {
        (**self).deadline()
    }

    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        (**self).subscribe(ready)
    }
}

impl<W: Waitable + ?Sized> Waitable for &W {}

impl<W: Waitable + ?Sized> sealed::Subscribe for Arc<W> {
    fn deadline(&self) -> Option<u64> {
        (**self).deadline()
    }

    fn subscribe<'a>(&'a self, ready: Ready) -> Option<Box<dyn sealed::Subscription + 'a>> {
        (**self).subscribe(ready)
    }
}

impl<W: Waitable + ?Sized> Waitable for Arc<W> {}

/// Iterates over `objects` in the order in which they become ready.
///
/// Each position comes once, an object given twice so twice. Leaving early leaves the rest
/// untouched.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let after = |ms| greenroom::spawn(move || greenroom::sleep(Duration::from_millis(ms)));
/// let (slow, fast) = (after(20), after(1));
/// let order: Vec<_> = greenroom::iwait([&slow, &fast]).map(|g| g.id()).collect();
/// assert_eq!(order, [fast.id(), slow.id()]);
/// ```
///
/// # Panics
/// The iteration, in the root, when nothing is left that could make any of the rest ready.
///
/// # Parks
/// The iteration does, until the next object is ready. A kill or a timeout unwinds.
#[doc(alias("as_completed", "FuturesUnordered"))]
pub fn iwait<'a, W: Waitable + ?Sized>(objects: impl IntoIterator<Item = &'a W>) -> IWait<'a, W> {
    let objects: Vec<&'a W> = objects.into_iter().collect();
    let left = objects.len();
    IWait {
        objects,
        left,
        limit: None,
        deadline: None,
        begun: None,
    }
}

/// Iterator made by [`iwait`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let after = |ms| greenroom::spawn(move || greenroom::sleep(Duration::from_millis(ms)));
/// let greenlets = [after(1), after(2), after(60_000)];
/// let in_time = greenroom::iwait(&greenlets).timeout(Duration::from_millis(500)).count(2);
/// assert_eq!(in_time.collect::<Vec<_>>().len(), 2);
/// greenlets[2].kill();
/// ```
#[must_use = "nothing is waited for until the iterator is used"]
pub struct IWait<'a, W: ?Sized> {
    objects: Vec<&'a W>,
    left: usize,
    limit: Option<Duration>,
    deadline: Option<u64>,
    begun: Option<Begun<'a>>,
}

struct Begun<'a> {
    arrivals: Arc<Arrivals>,
    subscriptions: Vec<Option<Box<dyn sealed::Subscription + 'a>>>,
    /// Those that have to be asked, by index.
    asked: Vec<usize>,
    /// When which is due by itself, the earliest last.
    alarms: Vec<(u64, usize)>,
}

impl Begun<'_> {
    /// Asks those that have to be asked, and notes which of them are ready.
    fn ask(&mut self) {
        let (subscriptions, arrivals) = (&mut self.subscriptions, &self.arrivals);
        self.asked.retain(|index| {
            let ready = subscriptions[*index].as_mut().is_none_or(|one| one.ask());
            if ready {
                subscriptions[*index] = None;
                arrivals.lock().queue.push_back(*index);
            }
            !ready
        });
    }

    fn next_alarm(&self) -> Option<u64> {
        self.alarms.last().map(|(deadline, _)| *deadline)
    }

    /// The earliest that is due by itself.
    fn due(&mut self) -> Option<usize> {
        let now = cancel::now();
        let due = self.alarms.pop_if(|(deadline, _)| *deadline <= now);
        due.map(|(_, index)| index)
    }
}

impl<'a, W: Waitable + ?Sized> IWait<'a, W> {
    /// Ends the iteration `limit` after its first step, also when not all are ready.
    pub fn timeout(self, limit: Duration) -> Self {
        IWait {
            limit: Some(limit),
            ..self
        }
    }

    /// Ends the iteration after `count` objects.
    pub fn count(self, count: usize) -> Self {
        IWait {
            left: self.left.min(count),
            ..self
        }
    }

    /// Yields the position of each object with it.
    ///
    /// # Examples
    /// ```
    /// let finished = [greenroom::spawn(|| ()), greenroom::spawn(|| ())];
    /// let order = greenroom::iwait(&finished).indexed().map(|(index, _)| index);
    /// assert_eq!(order.collect::<Vec<_>>(), [0, 1]);
    /// ```
    pub fn indexed(self) -> IWaitIndexed<'a, W> {
        IWaitIndexed(self)
    }

    fn begin(&mut self) -> &mut Begun<'a> {
        let (limit, objects) = (self.limit, &self.objects);
        self.begun.get_or_insert_with(|| {
            self.deadline = limit.and_then(cancel::deadline_in);
            begin(objects)
        })
    }

    /// The position of the next that is ready.
    fn next_index(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        loop {
            let begun = self.begin();
            begun.ask();
            if let Some(index) = begun.arrivals.next().or_else(|| begun.due()) {
                self.left -= 1;
                return Some(index);
            }
            let alarm = begun.next_alarm();
            if self
                .deadline
                .is_some_and(|deadline| deadline <= cancel::now())
            {
                self.left = 0;
                // A wait of no time that is begun again and again does not park.
                cancel::let_others_run();
                return None;
            }
            let first = self.deadline.into_iter().chain(alarm).min();
            cancel::park_on(Why::Wait(self.left), first);
        }
    }
}

fn begin<'a, W: Waitable + ?Sized>(objects: &[&'a W]) -> Begun<'a> {
    let arrivals = Arc::<Arrivals>::default();
    let ready = |index| Ready {
        index,
        arrivals: Arc::clone(&arrivals),
    };
    let indexed = || objects.iter().enumerate();
    let subscriptions: Vec<_> = indexed()
        .map(|(index, object)| object.subscribe(ready(index)))
        .collect();
    let is_asked = |index: &usize| {
        let subscription = subscriptions[*index].as_ref();
        subscription.is_some_and(|one| one.is_asked())
    };
    let asked = (0..objects.len()).filter(is_asked).collect();
    let mut alarms: Vec<_> = indexed()
        .filter_map(|(index, object)| Some((object.deadline()?, index)))
        .collect();
    alarms.sort_unstable_by(|one, other| other.cmp(one));
    Begun {
        arrivals,
        subscriptions,
        asked,
        alarms,
    }
}

impl<'a, W: Waitable + ?Sized> Iterator for IWait<'a, W> {
    type Item = &'a W;

    fn next(&mut self) -> Option<&'a W> {
        self.next_index().map(|index| self.objects[index])
    }
}

/// As [`IWait`], with positions; made by [`IWait::indexed`], where an example is.
#[must_use = "nothing is waited for until the iterator is used"]
#[derive(Debug)]
pub struct IWaitIndexed<'a, W: ?Sized>(IWait<'a, W>);

impl<'a, W: Waitable + ?Sized> Iterator for IWaitIndexed<'a, W> {
    type Item = (usize, &'a W);

    fn next(&mut self) -> Option<(usize, &'a W)> {
        self.0
            .next_index()
            .map(|index| (index, self.0.objects[index]))
    }
}

impl<W: ?Sized> fmt::Debug for IWait<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IWait")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Waits for all of `objects`, or for the first few: see [`Wait`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let after = |ms| greenroom::spawn(move || greenroom::sleep(Duration::from_millis(ms)));
/// let racers = [after(60_000), after(1)];
/// let first = greenroom::wait(&racers).count(1).ready();
/// assert_eq!(first[0].id(), racers[1].id());
/// racers[0].kill();
/// ```
#[doc(alias("wait_all", "first_completed", "gather"))]
pub fn wait<'a, W: Waitable + ?Sized>(objects: impl IntoIterator<Item = &'a W>) -> Wait<'a, W> {
    Wait(iwait(objects))
}

/// A wait to be begun with [`ready`](Wait::ready); made by [`wait`], where an example is.
#[must_use = "nothing is waited for until `ready` is called"]
#[derive(Debug)]
pub struct Wait<'a, W: ?Sized>(IWait<'a, W>);

impl<'a, W: Waitable + ?Sized> Wait<'a, W> {
    /// Waits no longer than `limit`.
    pub fn timeout(self, limit: Duration) -> Self {
        Wait(self.0.timeout(limit))
    }

    /// Waits for no more than `count` of the objects.
    pub fn count(self, count: usize) -> Self {
        Wait(self.0.count(count))
    }

    /// Waits, and returns those that are ready, in the order in which they became so.
    ///
    /// # Panics
    /// As [`iwait`].
    ///
    /// # Parks
    /// Until all, or `count`, are ready, or the time is up. A kill or a timeout unwinds.
    pub fn ready(self) -> Vec<&'a W> {
        self.0.collect()
    }
}
