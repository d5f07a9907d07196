//! One job: a closure on its way to a worker, and its result on its way back.
//!
//! ```text
//!   queued --a worker takes it--> running --returns or panics--> done: the latch opens
//!      |
//!      +--taken back, or no thread can be had------------------> failed: the latch opens
//! ```
//!
//! Whoever takes a job out of the queue owns its run: so it runs once, or never.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::crew::Crew;
use super::latch::Latch;
use crate::cancel;
use crate::greenlet::sealed::{Subscribe, Subscription};
use crate::greenlet::{JoinError, Ready, Waitable};
use crate::sys::fork;
use crate::sys::lock::lock;

/// What dumps say of who waits for a job.
const WHY: &str = "a job of a thread pool";

/// A job, as the queue and the workers see it.
pub(super) trait Run: Send + Sync {
    /// Runs it. Must be called once, by who took it out of the queue.
    fn run(&self);

    /// Ends it without having run it.
    fn fail(&self, why: JoinError);

    /// What the queue finds it by.
    fn ticket(&self) -> &AtomicU64;
}

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// A job, as it is shared between its handle and its worker.
pub(super) struct Cell<T> {
    work: Mutex<Option<Work<T>>>,
    result: Mutex<Option<Result<T, JoinError>>>,
    latch: Latch,
    ticket: AtomicU64,
}

impl<T: Send> Run for Cell<T> {
    fn run(&self) {
        let Some(work) = take(&self.work) else { return };
        let result = panic::catch_unwind(AssertUnwindSafe(work)).map_err(JoinError::of_payload);
        self.conclude(result);
    }

    fn fail(&self, why: JoinError) {
        let work = take(&self.work);
        self.conclude(Err(why));
        // After the end is told: it is code of others, and may panic.
        drop(work);
    }

    fn ticket(&self) -> &AtomicU64 {
        &self.ticket
    }
}

impl<T> Cell<T> {
    fn conclude(&self, result: Result<T, JoinError>) {
        let former = lock(&self.result).replace(result);
        debug_assert!(former.is_none(), "a job ends once");
        self.latch.open();
    }
}

/// The guard is gone before what was taken is looked at.
fn take<V>(place: &Mutex<Option<V>>) -> Option<V> {
    lock(place).take()
}

/// A job that a [`ThreadPool`](super::ThreadPool) has taken, and the right to its result.
///
/// Made by [`ThreadPool::spawn`](super::ThreadPool::spawn). Dropping it lets the job run on, its
/// result is dropped on the thread that ran it. It can be waited for with
/// [`wait`](crate::wait) and [`iwait`](crate::iwait), together with others.
///
/// # Examples
/// ```
/// use greenroom::threadpool;
/// let sum = threadpool::spawn(|| (1..=1000).sum::<u32>());
/// assert_eq!(sum.join().unwrap(), 500_500);
/// ```
pub struct Job<T> {
    pub(super) cell: Arc<Cell<T>>,
    crew: Arc<Crew>,
    /// The fork generation of the process in which it runs.
    forks: u32,
}

impl<T: Send + 'static> Job<T> {
    /// A job that no queue has yet.
    pub(super) fn new(crew: &Arc<Crew>, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let cell = Cell {
            work: Mutex::new(Some(Box::new(work))),
            result: Mutex::new(None),
            latch: Latch::default(),
            ticket: AtomicU64::new(0),
        };
        Job {
            cell: Arc::new(cell),
            crew: Arc::clone(crew),
            forks: fork::generation(),
        }
    }

    pub(super) fn shared(&self) -> Arc<dyn Run> {
        Arc::clone(&self.cell) as Arc<dyn Run>
    }

    /// Takes the job back if no worker has begun with it: it then never runs, and its closure is
    /// dropped here. False when it runs already, or has run; nothing stops it then.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool::ThreadPool;
    /// let pool = ThreadPool::new(1)?;
    /// pool.resize(0)?;
    /// assert!(pool.spawn(|| unreachable!()).cancel());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn cancel(self) -> bool {
        self.withdraw()
    }

    pub(super) fn withdraw(&self) -> bool {
        if self.is_finished() {
            return false;
        }
        let withdrawn = self.crew.withdraw(&*self.cell);
        if withdrawn {
            self.cell.fail(JoinError::cancelled());
        }
        withdrawn
    }

    /// A worker that waits for a job of its own pool does that job itself, if nobody has begun:
    /// so a pool of one thread can't lock itself up.
    fn lend_a_hand(&self) {
        if self.crew.is_mine() && self.crew.withdraw(&*self.cell) {
            self.cell.run();
        }
    }
}

impl<T> Job<T> {
    /// Waits for the job to end and returns what it returned.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool;
    /// let error = threadpool::spawn(|| panic!("oh")).join().unwrap_err();
    /// assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"oh"));
    /// ```
    ///
    /// # Errors
    /// When the job panicked ([`is_panic`](JoinError::is_panic)), was
    /// [taken back](super::ThreadPool::clear) ([`is_killed`](JoinError::is_killed)), when no
    /// thread could be had for it
    /// ([`not_started_because`](JoinError::not_started_because)), or in a forked child, where
    /// its worker does not exist ([`is_abandoned`](JoinError::is_abandoned)).
    ///
    /// # Parks
    /// Until the job has ended. A kill or a timeout unwinds and leaves the job behind: it runs to
    /// its end, and its result is dropped.
    pub fn join(self) -> Result<T, JoinError>
    where
        T: Send + 'static,
    {
        if !self.is_from_here() {
            return Err(JoinError::abandoned());
        }
        self.lend_a_hand();
        self.cell.latch.wait_on(WHY, None);
        self.take()
    }

    /// As [`join`](Job::join), for at most `limit`.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool;
    /// use std::time::Duration;
    /// let slow = threadpool::spawn(|| std::thread::sleep(Duration::from_millis(100)));
    /// let slow = slow.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(slow.join().is_ok());
    /// ```
    ///
    /// # Errors
    /// The job itself, when the time was up first. Inside of what was in time, those of `join`.
    ///
    /// # Parks
    /// As `join`, and no longer than `limit`.
    pub fn join_timeout(self, limit: Duration) -> Result<Result<T, JoinError>, Job<T>>
    where
        T: Send + 'static,
    {
        if !self.is_from_here() {
            return Ok(Err(JoinError::abandoned()));
        }
        self.lend_a_hand();
        let deadline = cancel::deadline_in(limit);
        if self.cell.latch.wait_on(WHY, deadline) {
            Ok(self.take())
        } else {
            Err(self)
        }
    }

    /// Whether the job has ended: a [`join`](Job::join) would not park.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn is_finished(&self) -> bool {
        let ended = self.has_ended();
        if !ended {
            cancel::let_others_run();
        }
        ended
    }

    fn has_ended(&self) -> bool {
        !self.is_from_here() || self.cell.latch.is_open()
    }

    /// As [`join`](Job::join), for whoever can return an error; panics are passed on.
    pub(super) fn receive(&self, what: &'static str) -> io::Result<T> {
        self.cell.latch.wait(what, None)?;
        self.take().map_err(|error| {
            if error.is_panic() {
                panic::resume_unwind(error.into_panic());
            }
            let because = error.not_started_because();
            let kind = because.map_or(io::ErrorKind::Other, io::Error::kind);
            io::Error::new(kind, error)
        })
    }

    fn take(&self) -> Result<T, JoinError> {
        let result = take(&self.cell.result);
        result.expect("it is stored before the latch opens, and there is one handle")
    }

    /// In a forked child neither the job's thread nor any of its locks can be relied on.
    fn is_from_here(&self) -> bool {
        self.forks == fork::generation()
    }
}

impl<T> Subscribe for Job<T> {
    fn subscribe(&self, ready: Ready) -> Option<Box<dyn Subscription + '_>> {
        if self.is_from_here() {
            return self.cell.latch.subscribe(ready);
        }
        ready.call();
        None
    }
}

impl<T> Waitable for Job<T> {}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("is_finished", &self.has_ended())
            .finish_non_exhaustive()
    }
}
