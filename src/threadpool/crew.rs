//! The workers of a pool, and the queue that they work off.
//!
//! ```text
//!                 +-- line --+    +------ jobs ------+    +-- workers --+
//!   spawn ------> | parked   | -> | wait for a       | -> | run one job |  made on demand, at
//!    (full: park) | spawners |    | worker           |    | each        |  most `size`; without
//!                 +----------+    +------------------+    +-------------+  a job they end soon
//!                                 \_____ unfinished: at most size + backlog ____/
//! ```
//!
//! The lock is held for a few instructions: jobs, destructors and wakers run without it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::backlog::{Backlog, Given};
use super::job::Run;
use super::latch::Latch;
use crate::cancel;
use crate::greenlet::JoinError;
use crate::hub::waker::Waker;
use crate::hub::{Help, Why, helpers};
use crate::sys::lock::lock;
use crate::sys::lock::natively;
use crate::sys::report::{self, report};

thread_local! {
    /// The crew that this thread is a worker of.
    static CREW: Cell<*const Crew> = const { Cell::new(ptr::null()) };
}

/// What does not change in the life of a pool.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) name: Option<String>,
    pub(super) stack_size: Option<usize>,
    /// A worker without a job ends after this time.
    pub(super) idle_max: Duration,
    /// Jobs that may wait for a worker.
    pub(super) backlog_max: usize,
}

/// See the head of this file.
pub(super) struct Crew {
    terms: Terms,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Backlog,
    /// Who waits to put a job into the queue, first come first.
    line: VecDeque<Arc<Waker>>,
    /// Who waits until all jobs are done.
    outwaiters: Vec<Arc<Latch>>,
    size: usize,
    /// Threads that there are, or that are being made.
    threads: usize,
    /// Of these, those that have not come to the queue yet.
    starting: usize,
    idle: usize,
    running: usize,
    closed: bool,
}

impl State {
    fn unfinished(&self) -> usize {
        self.jobs.len() + self.running
    }

    fn has_room(&self, terms: &Terms) -> bool {
        self.unfinished() < self.size.saturating_add(terms.backlog_max)
    }

    /// Takes those out of the line, in front, whose OS thread has ended without them: nobody
    /// behind them would ever be the first.
    fn pass_over_the_dead(&mut self) {
        while self.line.front().is_some_and(|first| first.is_dead()) {
            self.line.pop_front();
        }
    }

    fn is_short_of_threads(&self) -> bool {
        self.idle + self.starting < self.jobs.len() && self.threads < self.size
    }
}

/// How a crew is doing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) unfinished: usize,
    pub(super) queued: usize,
    pub(super) threads: usize,
    pub(super) idle: usize,
}

impl Crew {
    pub(super) fn new(terms: Terms, size: usize) -> Crew {
        let state = State {
            size,
            ..State::default()
        };
        Crew {
            terms,
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }

    /// Is the calling thread one of its workers?
    pub(super) fn is_mine(&self) -> bool {
        ptr::eq(CREW.get(), self)
    }

    /// Queues a job, parking while there is no room. A worker finds room always: held up by its
    /// own pool it might wait for itself.
    pub(super) fn submit(self: &Arc<Crew>, job: Arc<dyn Run>) {
        let pushed = if self.is_mine() {
            let mut state = self.lock();
            state.jobs.push(job);
            state
        } else {
            self.push_if_room(&job)
                .unwrap_or_else(|| self.push_in_turn(job))
        };
        self.hire(pushed);
    }

    /// As [`submit`](Crew::submit), without waiting: false when there is no room.
    pub(super) fn try_submit(self: &Arc<Crew>, job: &Arc<dyn Run>) -> bool {
        let pushed = self.push_if_room(job);
        pushed.map(|pushed| self.hire(pushed)).is_some()
    }

    fn push_if_room(&self, job: &Arc<dyn Run>) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.pass_over_the_dead();
        let room = state.line.is_empty() && state.has_room(&self.terms);
        room.then(|| {
            state.jobs.push(Arc::clone(job));
            state
        })
    }

    fn push_in_turn(&self, job: Arc<dyn Run>) -> MutexGuard<'_, State> {
        let place = Place::join_line(self);
        let _help = Help::expect();
        loop {
            let mut state = self.lock();
            state.pass_over_the_dead();
            if place.is_first(&state) && state.has_room(&self.terms) {
                state.jobs.push(job);
                drop(state);
                // Which takes the lock to leave the line.
                drop(place);
                return self.lock();
            }
            drop(state);
            cancel::park_on(Why::Helper("room in a thread pool"), None);
        }
    }

    /// Has the queued jobs worked off: by who is idle, and as many more as are needed and allowed.
    fn hire<'a>(self: &'a Arc<Crew>, mut state: MutexGuard<'a, State>) {
        loop {
            let wakes = state.idle > 0 && !state.jobs.is_empty();
            let more = usize::from(state.is_short_of_threads());
            state.threads += more;
            state.starting += more;
            drop(state);
            if wakes {
                // Who is woken needs the lock, and so would find it taken a moment earlier.
                self.work.notify_one();
            }
            if more == 0 {
                return;
            }
            if let Err(error) = self.hire_one() {
                return self.go_short(&error);
            }
            state = self.lock();
        }
    }

    fn hire_one(self: &Arc<Crew>) -> io::Result<()> {
        let name = self.terms.name.as_deref().unwrap_or("greenroom-pool");
        let mut builder = thread::Builder::new().name(name.to_owned());
        if let Some(size) = self.terms.stack_size {
            builder = builder.stack_size(size);
        }
        let (crew, helper) = (Arc::clone(self), helpers::Thread::new());
        let work = move || {
            crew.work_off();
            drop(helper);
        };
        natively(|| builder.spawn(work)).map(drop)
    }

    /// A thread could not be had. If there are others, they will come to the jobs; if there is
    /// none, the jobs fail.
    fn go_short(&self, error: &io::Error) {
        let mut state = self.lock();
        state.threads -= 1;
        state.starting -= 1;
        if state.threads > 0 {
            drop(state);
            return report!(Debug, "greenroom: a thread pool could not grow: {error}");
        }
        let stranded = state.jobs.clear();
        drop(state);
        self.fail_all(stranded, || {
            let why = format!("no thread for the job: {error}");
            JoinError::not_started(io::Error::new(error.kind(), why))
        });
    }

    /// Fails jobs that were taken back, and tells those whom that concerns. A destructor of one
    /// that panics keeps none of the others from it; the first such panic goes on afterwards.
    fn fail_all(&self, jobs: Vec<Given>, why: impl Fn() -> JoinError) {
        let mut panicked = None;
        for Given { job, .. } in jobs {
            let failed = panic::catch_unwind(AssertUnwindSafe(|| {
                job.fail(why());
                drop(job);
            }));
            if let Err(payload) = failed {
                match &panicked {
                    None => panicked = Some(payload),
                    Some(_) => report::discard(payload),
                }
            }
        }
        self.tell();
        if let Some(payload) = panicked {
            panic::resume_unwind(payload);
        }
    }

    /// What a worker does all its life.
    fn work_off(self: Arc<Crew>) {
        CREW.set(Arc::as_ptr(&self));
        let mut state = self.lock();
        state.starting -= 1;
        while let Some(Given { job, work }) = self.next_job(state) {
            // The job catches its own panics. Its result may be nobody's any more, and is then
            // dropped here: nothing of that may unwind, or the worker would be counted for ever.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                job.run();
                drop(job);
            }));
            if let Err(payload) = ended {
                report!(
                    Error,
                    "greenroom: the destructor of a job's result panicked"
                );
                report::discard(payload);
            }
            drop(work);
            state = self.lock();
            state.running -= 1;
            state = self.tell_from(state);
        }
    }

    /// The next job; `None` when the thread is to end, and is no longer counted.
    fn next_job(&self, mut state: MutexGuard<'_, State>) -> Option<Given> {
        loop {
            if state.threads <= state.size
                && let Some(job) = state.jobs.pop()
            {
                state.running += 1;
                return Some(job);
            }
            if state.threads > state.size || state.closed {
                break;
            }
            state.idle += 1;
            let idle = helpers::Idle::new();
            let (woken, waited) = self
                .work
                .wait_timeout(state, self.terms.idle_max)
                .unwrap_or_else(PoisonError::into_inner);
            drop(idle);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }

    /// Tells those whom the present state concerns: there is room, or nothing is left to do.
    fn tell(&self) {
        drop(self.tell_from(self.lock()));
    }

    fn tell_from<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.pass_over_the_dead();
        let room = state.has_room(&self.terms);
        let first = state.line.front().filter(|_| room).cloned();
        let done = state.unfinished() == 0 && !state.outwaiters.is_empty();
        if first.is_none() && !done {
            return state;
        }
        let outwaiters = done.then(|| mem::take(&mut state.outwaiters));
        drop(state);
        first.inspect(|first| first.wake());
        let outwaiters = outwaiters.into_iter().flatten();
        outwaiters.for_each(|latch| latch.open());
        self.lock()
    }

    /// Takes a job out of the queue: false when a worker has it already.
    pub(super) fn withdraw(&self, job: &dyn Run) -> bool {
        let withdrawn = self.lock().jobs.remove(job);
        self.tell();
        withdrawn.is_some()
    }

    /// Takes all jobs back that no worker has begun with; their number.
    pub(super) fn clear(&self) -> usize {
        let jobs = self.lock().jobs.clear();
        let count = jobs.len();
        self.fail_all(jobs, JoinError::cancelled);
        count
    }

    pub(super) fn resize(self: &Arc<Crew>, size: usize) {
        let mut state = self.lock();
        state.size = size;
        self.work.notify_all();
        self.hire(state);
        self.tell();
    }

    /// Workers end when they have done what is queued. With none allowed that is never.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let orphaned = state.size == 0;
        drop(state);
        self.work.notify_all();
        if orphaned {
            self.clear();
        }
    }

    /// Parks until all jobs are done; false when the deadline came first.
    pub(super) fn outwait(&self, deadline: Option<u64>) -> bool {
        struct Leave<'a>(&'a Crew, Arc<Latch>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                state
                    .outwaiters
                    .retain(|other| !Arc::ptr_eq(other, &self.1));
            }
        }
        let mut state = self.lock();
        if state.unfinished() == 0 {
            return true;
        }
        let latch = Arc::<Latch>::default();
        state.outwaiters.push(Arc::clone(&latch));
        drop(state);
        let leave = Leave(self, latch);
        leave.1.wait_on("the end of all jobs of a pool", deadline)
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts {
            unfinished: state.unfinished(),
            queued: state.jobs.len(),
            threads: state.threads,
            idle: state.idle,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A place in the line of those who wait for room; given up when dropped.
struct Place<'a> {
    crew: &'a Crew,
    waker: Arc<Waker>,
}

impl<'a> Place<'a> {
    fn join_line(crew: &'a Crew) -> Place<'a> {
        let waker = Arc::new(Waker::current());
        crew.lock().line.push_back(Arc::clone(&waker));
        Place { crew, waker }
    }

    fn is_first(&self, state: &State) -> bool {
        let first = state.line.front();
        first.is_some_and(|first| Arc::ptr_eq(first, &self.waker))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.crew.lock();
        state.line.retain(|other| !Arc::ptr_eq(other, &self.waker));
        drop(state);
        // There may be room for the next as well, of whom it was not known yet.
        self.crew.tell();
    }
}
