//! OS threads for what blocks and has no readiness: name lookups, for now.
//!
//! ```text
//!   greenlet --job--> queue --> worker threads (made on demand, at most THREADS_MAX)
//!      parks  <------ wake -----------+
//! ```
//!
//! A greenlet that gives up (killed, timed out) leaves its job behind: it runs to its end and
//! its result is dropped.

use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::cancel;
use crate::hub::waker::Waker;
use crate::hub::{Help, Why};
use crate::sys::fork::PerProcess;
use crate::sys::lock::lock;

/// Lookups that may block at the same time. gevent has 10; getaddrinfo waits rather than works.
const THREADS_MAX: usize = 16;
/// Jobs that may wait for a thread; more are refused.
const JOBS_MAX: usize = 100_000;
/// A worker without a job ends after this time.
const IDLE_MAX: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// The pool of a process; a forked child makes its own, since it has no workers.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: PerProcess<Pool> = PerProcess::new();

fn pool() -> &'static Pool {
    POOL.get(Pool::default)
}

/// Runs `f` on a worker thread; the greenlet parks until it is done.
///
/// # Errors
/// When no thread can be had, or too many jobs wait already. ECANCELED or ETIMEDOUT where a kill
/// or a timeout can't unwind.
pub(crate) fn call<T, F>(what: &'static str, f: F) -> io::Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let answer: Arc<Mutex<Option<thread::Result<T>>>> = Arc::default();
    let waker = Waker::current();
    let theirs = Arc::clone(&answer);
    submit(Box::new(move || {
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        *lock(&theirs) = Some(result);
        waker.wake();
    }))?;
    let _help = Help::expect();
    loop {
        if let Some(result) = lock(&answer).take() {
            return result.map_err(|payload| panic::resume_unwind(payload));
        }
        cancel::park(Why::Helper(what), None)?;
    }
}

/// Queues a job, with one more thread for it if none is idle.
fn submit(job: Job) -> io::Result<()> {
    let pool = pool();
    let mut state = lock(&pool.state);
    if state.jobs.len() >= JOBS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            format!("{JOBS_MAX} jobs wait for {THREADS_MAX} threads already"),
        ));
    }
    state.jobs.push_back(job);
    if state.idle < state.jobs.len() && state.threads < THREADS_MAX {
        let made = thread::Builder::new()
            .name("greenroom-helper".into())
            .spawn(work);
        match made {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.jobs.pop_back();
                return Err(error);
            }
            // The threads that there are will come to it.
            Err(_) => {}
        }
    }
    pool.work.notify_one();
    Ok(())
}

fn work() {
    let pool = pool();
    let mut state = lock(&pool.state);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            job();
            state = lock(&pool.state);
            continue;
        }
        state.idle += 1;
        let (woken, waited) = pool
            .work
            .wait_timeout(state, IDLE_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        if waited.timed_out() && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}
