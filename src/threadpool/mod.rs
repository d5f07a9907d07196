//! Run on OS threads what blocks and has no readiness, or computes for long; the greenlet parks.
//!
//! A read of a disk, a call into a C library, a hash over a gigabyte: whatever does not park stops
//! all greenlets of the OS thread. Here such work is a *job*, done by a worker of a [`ThreadPool`].
//! [`call`] and [`spawn`] use the default pool of the process, as [`fs`](crate::fs) does; a pool of
//! one's own keeps jobs that take long out of their way.
//!
//! * Threads are made on demand, as many as the pool's size, and end when they have been without
//!   a job for a while (5 s, if nothing else is said).
//! * A pool has room for so many jobs; when it is full, [`ThreadPool::spawn`] parks.
//! * A job can't be stopped. Who waits for it can, by a kill or a timeout: the job runs on, and its
//!   result is dropped.
//! * A panic of a job is carried to who waits for it.
//! * A job may wait for other jobs of its own pool: it does them itself if nobody else does.
//! * Works from every thread; a plain OS thread blocks. A forked child starts without workers:
//!   its pools are as new, and the jobs of its parent are not its own.
//!
//! # Examples
//! ```
//! use greenroom::threadpool;
//!
//! let digest = threadpool::call(|| (0..1_000_000u64).fold(0, |sum, n| sum ^ n.wrapping_mul(31)))?;
//! assert_eq!(digest, (0..1_000_000u64).fold(0, |sum, n| sum ^ n.wrapping_mul(31)));
//! # Ok::<(), std::io::Error>(())
//! ```

mod backlog;
mod crew;
mod job;
mod latch;
mod map;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use job::Job;
pub use map::{Map, MapUnordered};

use crate::cancel;
use crate::hub::with_hub;
use crate::sys::fork::{self, PerProcess};
use crew::{Crew, Terms};

/// Threads of the default pool. gevent has 10; its jobs wait rather than work.
const DEFAULT_SIZE: usize = 32;
/// Names that are looked up at a time, each on a thread. One that no server answers for holds its
/// thread, and a socket of the 1,024 descriptors that a process commonly has, for 10 s and more.
/// Beyond that lookups wait for a thread, first come, first served.
const LOOKUPS_MAX: usize = 512;
/// Jobs that may wait for a thread, if nothing else is said.
const BACKLOG_MAX: usize = 100_000;
/// A worker without a job ends after this time, if nothing else is said. gevent's.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The most threads that a pool may have.
const SIZE_MAX: usize = 10_000;

/// OS threads that take jobs off greenlets.
///
/// Dropping it lets the jobs that it has taken run to their ends, and the threads then end; see
/// [`join`](ThreadPool::join) and [`clear`](ThreadPool::clear). It may be shared by reference with
/// every thread.
///
/// # Examples
/// ```
/// use greenroom::threadpool::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let (one, two) = (pool.spawn(|| 1), pool.spawn(|| 2));
/// assert_eq!(one.join().unwrap() + two.join().unwrap(), 3);
///
/// let squares: Result<Vec<u32>, _> = pool.map(1..=3, |n| n * n).collect();
/// assert_eq!(squares.unwrap(), [1, 4, 9]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias("spawn_blocking", "executor", "workers"))]
pub struct ThreadPool {
    terms: Terms,
    size: AtomicUsize,
    /// A forked child has none of its parent's threads, and makes its own.
    crew: PerProcess<Arc<Crew>>,
}

/// A [`ThreadPool`] to be: name, size, limits.
///
/// # Examples
/// ```
/// use greenroom::threadpool;
/// use std::time::Duration;
///
/// let pool = threadpool::Builder::new()
///     .name("hasher".into())
///     .size(4)
///     .backlog(100)
///     .idle_timeout(Duration::from_secs(60))
///     .build()?;
/// let name = pool.spawn(|| std::thread::current().name().map(String::from));
/// assert_eq!(name.join().unwrap().as_deref(), Some("hasher"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    terms: Terms,
    size: usize,
}

impl Builder {
    /// As many threads as the machine has processors; a backlog of 100,000 jobs; workers that end
    /// after 5 s without a job; stacks as std makes them.
    pub fn new() -> Builder {
        let processors = std::thread::available_parallelism();
        Builder {
            terms: DEFAULT_TERMS,
            size: processors.map_or(1, usize::from),
        }
    }

    /// At most so many threads, from 1 to 10,000.
    pub fn size(mut self, size: usize) -> Builder {
        self.size = size;
        self
    }

    /// The name of the threads.
    pub fn name(mut self, name: String) -> Builder {
        self.terms.name = Some(name);
        self
    }

    /// The size of the threads' stacks, in bytes.
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.terms.stack_size = Some(size);
        self
    }

    /// So many jobs may wait for a thread; beyond that [`ThreadPool::spawn`] parks. With 0 it
    /// parks until a thread is free.
    pub fn backlog(mut self, jobs: usize) -> Builder {
        self.terms.backlog_max = jobs;
        self
    }

    /// For how long a thread waits for a job before it ends.
    pub fn idle_timeout(mut self, limit: Duration) -> Builder {
        self.terms.idle_max = limit;
        self
    }

    /// The pool. Its threads are made when there is something to do.
    ///
    /// # Errors
    /// InvalidInput for a size that is not from 1 to 10,000, or a name with a zero byte.
    pub fn build(self) -> io::Result<ThreadPool> {
        if self.size == 0 {
            let why = "a thread pool of 0 threads would never run a job";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if self
            .terms
            .name
            .as_ref()
            .is_some_and(|name| name.contains('\0'))
        {
            let why = "the name of a thread can't hold a zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        check_size(self.size)?;
        Ok(ThreadPool::on_terms(self.terms, self.size))
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

const DEFAULT_TERMS: Terms = Terms {
    name: None,
    stack_size: None,
    idle_max: IDLE_MAX,
    backlog_max: BACKLOG_MAX,
};

fn check_size(size: usize) -> io::Result<()> {
    if size <= SIZE_MAX {
        return Ok(());
    }
    let why = format!("{size} threads for a pool: {SIZE_MAX} is the limit");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

static DEFAULT: ThreadPool = ThreadPool::on_terms(DEFAULT_TERMS, DEFAULT_SIZE);

/// For names only, so that nothing else waits behind a name server that does not answer.
static NAMES: ThreadPool = ThreadPool::on_terms(DEFAULT_TERMS, LOOKUPS_MAX);

/// The pool of the process, of 32 threads: for [`call`], [`spawn`] and [`fs`](crate::fs). It may be
/// [resized](ThreadPool::resize).
///
/// The lookup of names has threads of its own, up to 512.
///
/// # Examples
/// ```
/// use greenroom::threadpool;
/// threadpool::default_pool().resize(64)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn default_pool() -> &'static ThreadPool {
    &DEFAULT
}

/// Runs `f` on a thread of the [default pool](default_pool) and returns what it returns.
///
/// # Examples
/// ```
/// let here = std::thread::current().id();
/// let there = greenroom::threadpool::call(|| std::thread::current().id())?;
/// assert_ne!(here, there);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`ThreadPool::call`].
///
/// # Panics
/// When `f` panics, with its payload.
///
/// # Parks
/// As [`ThreadPool::call`].
#[doc(alias(
    "spawn_blocking",
    "run_in_executor",
    "to_thread",
    "offload",
    "block_in_place"
))]
pub fn call<T, F>(f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    DEFAULT.call(f)
}

/// Gives `f` to the [default pool](default_pool); the handle has its result.
///
/// # Examples
/// See [`Job`].
///
/// # Parks
/// As [`ThreadPool::spawn`].
pub fn spawn<T, F>(f: F) -> Job<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    DEFAULT.spawn(f)
}

/// Runs `f`, which may block, where that stops no greenlet: on the default pool, or right here on
/// a thread that has none. Dumps say that its caller waits for `what`.
pub(crate) fn offload<T, F>(what: &'static str, f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if !is_green() {
        return Ok(f());
    }
    DEFAULT.call_named(what, f)
}

/// As [`offload`], for the lookup of a name, on a thread of its own. One that is given up before
/// it has a thread never runs.
pub(crate) fn look_up<T, F>(f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    struct Wanted<T: Send + 'static>(Job<T>);
    impl<T: Send + 'static> Drop for Wanted<T> {
        fn drop(&mut self) {
            self.0.withdraw();
        }
    }
    if !is_green() {
        return Ok(f());
    }
    Wanted(NAMES.spawn(f)).0.receive("a name lookup")
}

/// Whether there is somebody here whom a call that blocks could stop.
pub(crate) fn is_green() -> bool {
    with_hub(|hub| hub.is_some_and(|hub| hub.running().is_some()))
}

impl ThreadPool {
    /// A pool of at most `size` threads; a [`Builder`] can say more.
    ///
    /// # Errors
    /// InvalidInput for a size that is not from 1 to 10,000.
    pub fn new(size: usize) -> io::Result<ThreadPool> {
        Builder::new().size(size).build()
    }

    const fn on_terms(terms: Terms, size: usize) -> ThreadPool {
        ThreadPool {
            terms,
            size: AtomicUsize::new(size),
            crew: PerProcess::new(),
        }
    }

    fn crew(&self) -> &Arc<Crew> {
        self.crew.get(|| {
            fork::count();
            Arc::new(Crew::new(self.terms.clone(), self.size()))
        })
    }

    /// Gives `f` to a thread of the pool; the handle has its result, as that of a greenlet has.
    ///
    /// If no thread can be had for it, [`Job::join`] says so.
    ///
    /// # Parks
    /// While the pool is full, those who came first go first; otherwise never. A kill or a
    /// timeout unwinds and drops `f`. A worker of this pool never parks here.
    pub fn spawn<T, F>(&self, f: F) -> Job<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let crew = self.crew();
        let job = Job::new(crew, f);
        crew.submit(job.shared());
        job
    }

    /// As [`spawn`](ThreadPool::spawn), without waiting for room.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool::Builder;
    /// let pool = Builder::new().size(1).backlog(0).build()?;
    /// let (sender, receiver) = std::sync::mpsc::channel::<()>();
    /// let busy = pool.try_spawn(move || receiver.recv()).unwrap();
    /// assert!(pool.try_spawn(|| ()).is_err());
    /// drop(sender);
    /// assert!(busy.join().unwrap().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// WouldBlock when the pool is full; `f` is dropped.
    ///
    /// # Parks
    /// Never.
    pub fn try_spawn<T, F>(&self, f: F) -> io::Result<Job<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let crew = self.crew();
        let job = Job::new(crew, f);
        if crew.try_submit(&job.shared()) {
            return Ok(job);
        }
        let (size, backlog) = (self.size(), self.terms.backlog_max);
        let why = format!("the thread pool is full: {size} threads, {backlog} jobs wait for them");
        Err(io::Error::new(io::ErrorKind::WouldBlock, why))
    }

    /// Runs `f` on a thread of the pool and returns what it returns. Called by a job of this
    /// pool, it runs `f` right here.
    ///
    /// # Examples
    /// See [`call`](call()).
    ///
    /// # Errors
    /// When no thread can be had for it; when the job was [taken back](ThreadPool::clear).
    /// ECANCELED or ETIMEDOUT where a kill or a timeout can't unwind.
    ///
    /// # Panics
    /// When `f` panics, with its payload.
    ///
    /// # Parks
    /// Until it is done, and before that while the pool is full. A kill or a timeout unwinds and
    /// leaves `f` behind: it runs to its end, and its result is dropped.
    pub fn call<T, F>(&self, f: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.call_named("a call on a thread pool", f)
    }

    fn call_named<T, F>(&self, what: &'static str, f: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.crew().is_mine() {
            return Ok(f());
        }
        self.spawn(f).receive(what)
    }

    /// `f` of each item, in the order of the items; as many are under way at a time as the pool
    /// has threads, or as [`Map::ahead`] says. An item that fails leaves the others alone.
    ///
    /// It is lazy: items are taken and begun as results are asked for.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool::ThreadPool;
    /// let pool = ThreadPool::new(2)?;
    /// let mut tens = pool.map(["10", "x", "30"], |text| text.parse::<u8>().unwrap());
    /// assert_eq!(tens.next().unwrap().unwrap(), 10);
    /// assert!(tens.next().unwrap().unwrap_err().is_panic());
    /// assert_eq!(tens.next().unwrap().unwrap(), 30);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Parks
    /// The iteration does, until the next result is there. A kill or a timeout unwinds.
    pub fn map<I, F, T>(&self, items: I, f: F) -> Map<'_, I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        Map::new(self, items.into_iter(), f)
    }

    /// As [`map`](ThreadPool::map), in the order in which the results come.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool::ThreadPool;
    /// let pool = ThreadPool::new(4)?;
    /// let sum: u32 = pool.map_unordered(1..=100, |n| n * n).map(Result::unwrap).sum();
    /// assert_eq!(sum, 338_350);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Parks
    /// As `map`.
    pub fn map_unordered<I, F, T>(&self, items: I, f: F) -> MapUnordered<'_, I::IntoIter, F, T>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        MapUnordered::new(self, items.into_iter(), f)
    }

    /// The most threads that it may have.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Changes the size. With a greater one those who wait in [`spawn`](ThreadPool::spawn) go on;
    /// with a smaller one threads end after the jobs that they run. With 0 no further job begins,
    /// until it is changed again.
    ///
    /// # Errors
    /// InvalidInput for more than 10,000.
    ///
    /// # Parks
    /// Never.
    pub fn resize(&self, size: usize) -> io::Result<()> {
        check_size(size)?;
        self.size.store(size, Ordering::Relaxed);
        self.crew().resize(size);
        Ok(())
    }

    /// Jobs that have not ended: those that run, and those that wait for a thread.
    pub fn len(&self) -> usize {
        self.crew().counts().unfinished
    }

    /// Whether all jobs have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Jobs that wait for a thread.
    pub fn queued(&self) -> usize {
        self.crew().counts().queued
    }

    /// Threads that there are now, with or without a job.
    pub fn threads(&self) -> usize {
        self.crew().counts().threads
    }

    /// Takes back the jobs that wait for a thread, and returns how many there were. Their joins
    /// fail with an error that [`is_killed`](crate::JoinError::is_killed); those that run, run on.
    ///
    /// # Parks
    /// Never.
    pub fn clear(&self) -> usize {
        self.crew().clear()
    }

    /// Waits until all jobs have ended, at most for `limit`; whether they have. Those that are
    /// given to the pool meanwhile are waited for as well.
    ///
    /// # Examples
    /// ```
    /// use greenroom::threadpool::ThreadPool;
    /// let pool = ThreadPool::new(2)?;
    /// for _ in 0..10 {
    ///     pool.spawn(|| std::thread::yield_now());
    /// }
    /// assert!(pool.join(None));
    /// assert!(pool.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Parks
    /// Until then. A kill or a timeout unwinds.
    pub fn join(&self, limit: Option<Duration>) -> bool {
        let deadline = limit.and_then(cancel::deadline_in);
        self.crew().outwait(deadline)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if let Some(crew) = self.crew.get_mut() {
            crew.close();
        }
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.crew().counts();
        f.debug_struct("ThreadPool")
            .field("size", &self.size())
            .field("threads", &counts.threads)
            .field("idle", &counts.idle)
            .field("queued", &counts.queued)
            .finish_non_exhaustive()
    }
}
