//! The jobs that no worker has begun with, first come first; one of them can be taken back.
//!
//! ```text
//!   tickets   3    4    5    6    7          ascending, so that a job is found by halving
//!   jobs     [x]  [ ]  [x]  [ ]  [x]         taken back: 4 and 6
//! ```
//!
//! The first and the last place are never empty, and at most so many are as there are jobs, and
//! [`EMPTY_MAX`] more: so to take one back costs little, and what is left by it stays small.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::Run;
use crate::hub::helpers::Work;

/// Empty places that are not worth closing the ranks for.
const EMPTY_MAX: usize = 32;

/// A job that has been given to the pool: work, until this is dropped.
pub(super) struct Given {
    pub(super) job: Arc<dyn Run>,
    pub(super) work: Work,
}

struct Place {
    ticket: u64,
    given: Option<Given>,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Backlog {
    places: VecDeque<Place>,
    jobs: usize,
    tickets: u64,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.jobs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    pub(super) fn push(&mut self, job: Arc<dyn Run>) {
        self.tickets += 1;
        job.ticket().store(self.tickets, Ordering::Relaxed);
        let work = Work::new();
        self.jobs += 1;
        self.places.push_back(Place {
            ticket: self.tickets,
            given: Some(Given { job, work }),
        });
    }

    pub(super) fn pop(&mut self) -> Option<Given> {
        let first = self.places.pop_front()?.given;
        self.jobs -= 1;
        self.trim();
        first
    }

    /// Takes a job back, if it is still here.
    pub(super) fn remove(&mut self, job: &dyn Run) -> Option<Given> {
        let ticket = job.ticket().load(Ordering::Relaxed);
        let found = self
            .places
            .binary_search_by_key(&ticket, |place| place.ticket);
        let given = self.places[found.ok()?].given.take()?;
        self.jobs -= 1;
        self.trim();
        if self.places.len() > 2 * self.jobs + EMPTY_MAX {
            self.places.retain(|place| place.given.is_some());
        }
        Some(given)
    }

    /// Takes all. Their tickets are not given out again.
    pub(super) fn clear(&mut self) -> Vec<Given> {
        self.jobs = 0;
        let places = self.places.drain(..);
        places.filter_map(|place| place.given).collect()
    }

    fn trim(&mut self) {
        let is_empty = |place: Option<&Place>| place.is_some_and(|place| place.given.is_none());
        while is_empty(self.places.front()) {
            self.places.pop_front();
        }
        while is_empty(self.places.back()) {
            self.places.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::greenlet::JoinError;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    #[derive(Default)]
    struct Nothing(AtomicU64);

    impl Run for Nothing {
        fn run(&self) {}
        fn fail(&self, _why: JoinError) {}
        fn ticket(&self) -> &AtomicU64 {
            &self.0
        }
    }

    fn is_same(given: &Given, job: &Arc<Nothing>) -> bool {
        Arc::as_ptr(&given.job).addr() == Arc::as_ptr(job).addr()
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec(0..200usize, 1..400)) {
            let _bound = bounded();
            let mut backlog = Backlog::default();
            let mut plain: VecDeque<Arc<Nothing>> = VecDeque::new();
            for step in steps {
                match step {
                    0..=99 => {
                        let job = Arc::<Nothing>::default();
                        backlog.push(Arc::clone(&job) as Arc<dyn Run>);
                        plain.push_back(job);
                    }
                    100 => {
                        plain.clear();
                        backlog.clear();
                    }
                    101..=119 => {
                        let (first, plain) = (backlog.pop(), plain.pop_front());
                        prop_assert_eq!(first.is_some(), plain.is_some());
                        prop_assert!(first.zip(plain).is_none_or(|(a, b)| is_same(&a, &b)));
                    }
                    _ if plain.is_empty() => (),
                    chosen => {
                        let job = plain.remove(chosen % plain.len()).unwrap();
                        prop_assert!(backlog.remove(&*job).is_some_and(|a| is_same(&a, &job)));
                        prop_assert!(backlog.remove(&*job).is_none());
                    }
                }
                prop_assert_eq!(backlog.len(), plain.len());
                prop_assert_eq!(backlog.is_empty(), plain.is_empty());
                prop_assert!(backlog.places.len() <= 2 * plain.len() + EMPTY_MAX);
            }
            let left = backlog.clear();
            prop_assert!(left.iter().zip(&plain).all(|(a, b)| is_same(a, b)));
            prop_assert_eq!(left.len(), plain.len());
        }
    }
}
