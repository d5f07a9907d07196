//! A function over many items, with the threads of a pool.

use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Job, ThreadPool};
use crate::cancel;
use crate::greenlet::JoinError;
use crate::hub::waker::Waker;
use crate::hub::{Help, Why};
use crate::sys::lock::lock;

/// Iterator over results in the order of their items, made by [`ThreadPool::map`].
#[must_use = "nothing is computed until the iterator is used"]
pub struct Map<'a, I: Iterator, F, T> {
    pool: &'a ThreadPool,
    items: Fuse<I>,
    function: Arc<F>,
    begun: VecDeque<Job<T>>,
    ahead_max: Option<usize>,
}

impl<'a, I: Iterator, F, T> Map<'a, I, F, T> {
    pub(super) fn new(pool: &'a ThreadPool, items: I, function: F) -> Map<'a, I, F, T> {
        Map {
            pool,
            items: items.fuse(),
            function: Arc::new(function),
            begun: VecDeque::new(),
            ahead_max: None,
        }
    }

    /// Has at most `count` items begun at a time, finished ones that were not taken yet
    /// included; otherwise it is as many as the pool has threads. Zero counts as one.
    pub fn ahead(self, count: usize) -> Self {
        Map {
            ahead_max: Some(count.max(1)),
            ..self
        }
    }
}

impl<I, F, T> Iterator for Map<'_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = Result<T, JoinError>;

    fn next(&mut self) -> Option<Result<T, JoinError>> {
        let ahead_max = self.ahead_max.unwrap_or_else(|| self.pool.size().max(1));
        while self.begun.len() < ahead_max
            && let Some(item) = self.items.next()
        {
            let function = Arc::clone(&self.function);
            self.begun
                .push_back(self.pool.spawn(move || function(item)));
        }
        self.begun.pop_front().map(Job::join)
    }
}

impl<I: Iterator, F, T> fmt::Debug for Map<'_, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}

/// Iterator over results as they come, made by [`ThreadPool::map_unordered`].
#[must_use = "nothing is computed until the iterator is used"]
pub struct MapUnordered<'a, I: Iterator, F, T> {
    pool: &'a ThreadPool,
    items: Fuse<I>,
    function: Arc<F>,
    arrivals: Arc<Arrivals<T>>,
    begun: usize,
    ahead_max: Option<usize>,
}

impl<'a, I: Iterator, F, T> MapUnordered<'a, I, F, T> {
    pub(super) fn new(pool: &'a ThreadPool, items: I, function: F) -> MapUnordered<'a, I, F, T> {
        MapUnordered {
            pool,
            items: items.fuse(),
            function: Arc::new(function),
            arrivals: Arc::new(Arrivals(Mutex::new((VecDeque::new(), None)))),
            begun: 0,
            ahead_max: None,
        }
    }

    /// As [`Map::ahead`].
    pub fn ahead(self, count: usize) -> Self {
        MapUnordered {
            ahead_max: Some(count.max(1)),
            ..self
        }
    }

    fn begin(&mut self, item: I::Item)
    where
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let function = Arc::clone(&self.function);
        let report = Report(Some(Arc::clone(&self.arrivals)));
        self.begun += 1;
        let job = self.pool.spawn(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(|| function(item)));
            report.send(result.map_err(JoinError::of_payload));
        });
        drop(job);
    }
}

impl<I, F, T> Iterator for MapUnordered<'_, I, F, T>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = Result<T, JoinError>;

    fn next(&mut self) -> Option<Result<T, JoinError>> {
        let ahead_max = self.ahead_max.unwrap_or_else(|| self.pool.size().max(1));
        while self.begun < ahead_max
            && let Some(item) = self.items.next()
        {
            self.begin(item);
        }
        if self.begun == 0 {
            return None;
        }
        let _help = Help::expect();
        loop {
            if let Some(result) = self.arrivals.next() {
                self.begun -= 1;
                return Some(result);
            }
            cancel::park_on(Why::Helper("a job of a thread pool"), None);
        }
    }
}

impl<I: Iterator, F, T> fmt::Debug for MapUnordered<'_, I, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

type Arrived<T> = (VecDeque<Result<T, JoinError>>, Option<Waker>);

/// Results in the order of their coming, and who waits for the next.
struct Arrivals<T>(Mutex<Arrived<T>>);

impl<T> Arrivals<T> {
    fn next(&self) -> Option<Result<T, JoinError>> {
        let mut state = self.lock();
        let next = state.0.pop_front();
        if next.is_none() {
            state.1 = Some(Waker::current());
        }
        next
    }

    fn add(&self, result: Result<T, JoinError>) {
        let mut state = self.lock();
        state.0.push_back(result);
        let waiter = state.1.take();
        drop(state);
        waiter.inspect(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Arrived<T>> {
        lock(&self.0)
    }
}

/// The duty to report: a job that never runs reports when it is dropped.
struct Report<T>(Option<Arc<Arrivals<T>>>);

impl<T> Report<T> {
    fn send(mut self, result: Result<T, JoinError>) {
        self.0.take().inspect(|arrivals| arrivals.add(result));
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        let never_ran = self.0.take();
        never_ran.inspect(|arrivals| arrivals.add(Err(JoinError::cancelled())));
    }
}
