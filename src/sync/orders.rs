//! Models of the locks among OS threads without a hub, on memory that is as weak as it may be.
//!
//! They run the real locks, their lists, their notices and the tokens on which the threads sleep.
//! `exploration` tries more orders of more scenarios, on memory that hides nothing.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::raw_mutex::RawMutex;
use super::raw_rwlock::{Access, RawRwLock};
use super::raw_semaphore::RawSemaphore;
use super::{Event, Once};
use crate::bounded::bounded;
use crate::sys::atomic::modelled::{Watched, explore};
use crate::sys::atomic::pause;

/// What a lock guards: the lock is used wrongly if loom sees a race here.
struct Guarded<L> {
    lock: L,
    value: Watched,
}

impl<L> Guarded<L> {
    /// `touch` uses each atomic of the lock: made by this thread, they are there for all.
    fn new(lock: L, touch: impl FnOnce(&L)) -> Arc<Guarded<L>> {
        touch(&lock);
        let value = Watched::new();
        Arc::new(Guarded { lock, value })
    }
}

fn never() -> Option<u64> {
    None
}

fn at_once() -> Option<u64> {
    Some(0)
}

fn spawn<L: Send + Sync + 'static>(
    shared: &Arc<Guarded<L>>,
    body: impl FnOnce(&Guarded<L>) + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

fn join<const N: usize>(threads: [JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}

fn mutex() -> Arc<Guarded<RawMutex>> {
    Guarded::new(RawMutex::new(), |lock| {
        assert!(lock.try_lock());
        lock.unlock();
    })
}

fn use_mutex(shared: &Guarded<RawMutex>, deadline: fn() -> Option<u64>) {
    if shared.lock.lock("", deadline) {
        shared.value.add();
        shared.lock.unlock();
    }
}

#[test]
fn a_mutex_hands_on_what_it_guards() {
    let _bound = bounded();
    explore("a_mutex_hands_on_what_it_guards", 2, || {
        let shared = mutex();
        let threads = [(); 2].map(|()| spawn(&shared, |shared| use_mutex(shared, never)));
        use_mutex(&shared, never);
        join(threads);
        assert_eq!(shared.value.read(), 3);
    });
}

#[test]
fn a_mutex_outlives_a_thread_that_gives_up() {
    let _bound = bounded();
    explore("a_mutex_outlives_a_thread_that_gives_up", 2, || {
        let shared = mutex();
        let patient = spawn(&shared, |shared| use_mutex(shared, never));
        let hasty = spawn(&shared, |shared| use_mutex(shared, at_once));
        use_mutex(&shared, never);
        join([patient, hasty]);
        assert!(shared.lock.try_lock());
    });
}

fn use_semaphore(shared: &Guarded<RawSemaphore>, deadline: fn() -> Option<u64>) {
    if shared.lock.take(deadline) {
        shared.value.add();
        assert!(shared.lock.give());
    }
}

#[test]
fn a_permit_hands_on_what_it_stands_for() {
    let _bound = bounded();
    for deadline in [never, at_once] {
        explore("a_permit_hands_on_what_it_stands_for", 2, move || {
            let shared = Guarded::new(RawSemaphore::new(1, 1), |lock| {
                lock.permits();
            });
            let patient = spawn(&shared, |shared| use_semaphore(shared, never));
            let other = spawn(&shared, move |shared| use_semaphore(shared, deadline));
            use_semaphore(&shared, never);
            join([patient, other]);
            assert_eq!(shared.lock.permits(), 1);
        });
    }
}

#[test]
fn a_permit_that_is_seen_shows_what_was_done_before_it_was_given() {
    let _bound = bounded();
    explore(
        "a_permit_that_is_seen_shows_what_was_done_before_it_was_given",
        3,
        || {
            let shared = Guarded::new(RawSemaphore::new(0, 1), |lock| {
                lock.permits();
            });
            let giver = spawn(&shared, |shared| {
                shared.value.add();
                assert!(shared.lock.give());
            });
            while shared.lock.permits() == 0 {
                pause(0);
            }
            assert_eq!(shared.value.read(), 1);
            join([giver]);
        },
    );
}

fn use_rwlock(shared: &Guarded<RawRwLock>, access: Access, deadline: fn() -> Option<u64>) {
    if shared.lock.lock(access, deadline) {
        match access {
            Access::Read => _ = shared.value.read(),
            Access::Write => shared.value.add(),
        }
        shared.lock.unlock(access);
    }
}

fn rwlock() -> Arc<Guarded<RawRwLock>> {
    Guarded::new(RawRwLock::new(), |lock| {
        assert!(lock.try_lock(Access::Read));
        lock.unlock(Access::Read);
    })
}

#[test]
fn a_rwlock_hands_on_what_it_guards() {
    let _bound = bounded();
    for other in [Access::Read, Access::Write] {
        for deadline in [never, at_once] {
            explore("a_rwlock_hands_on_what_it_guards", 2, move || {
                let shared = rwlock();
                let reader = spawn(&shared, |shared| use_rwlock(shared, Access::Read, never));
                let other = spawn(&shared, move |shared| use_rwlock(shared, other, deadline));
                use_rwlock(&shared, Access::Write, never);
                join([reader, other]);
                assert!(shared.lock.try_lock(Access::Write));
            });
        }
    }
}

#[test]
fn a_writer_that_becomes_a_reader_hands_on_what_it_wrote() {
    let _bound = bounded();
    explore(
        "a_writer_that_becomes_a_reader_hands_on_what_it_wrote",
        2,
        || {
            let shared = rwlock();
            let reader = spawn(&shared, |shared| use_rwlock(shared, Access::Read, never));
            let writer = spawn(&shared, |shared| use_rwlock(shared, Access::Write, never));
            assert!(shared.lock.lock(Access::Write, never));
            shared.value.add();
            shared.lock.downgrade();
            shared.value.read();
            shared.lock.unlock(Access::Read);
            join([reader, writer]);
            assert!(shared.lock.try_lock(Access::Write));
        },
    );
}

#[test]
fn an_event_shows_what_was_done_before_it_was_set() {
    let _bound = bounded();
    explore("an_event_shows_what_was_done_before_it_was_set", 3, || {
        let shared = Guarded::new(Event::new(), |event| {
            event.is_set();
        });
        let setter = spawn(&shared, |shared| {
            shared.value.add();
            shared.lock.set();
        });
        let waiter = spawn(&shared, |shared| {
            shared.lock.wait();
            assert_eq!(shared.value.read(), 1);
        });
        if shared.lock.is_set() {
            assert_eq!(shared.value.read(), 1);
        }
        join([setter, waiter]);
    });
}

#[test]
fn an_event_shows_what_was_done_before_it_was_cleared() {
    let _bound = bounded();
    explore(
        "an_event_shows_what_was_done_before_it_was_cleared",
        3,
        || {
            let shared = Guarded::new(Event::new(), Event::set);
            let clearer = spawn(&shared, |shared| {
                shared.value.add();
                shared.lock.clear();
            });
            while shared.lock.is_set() {
                pause(0);
            }
            assert_eq!(shared.value.read(), 1);
            join([clearer]);
        },
    );
}

#[test]
fn what_is_done_once_is_seen_by_all() {
    let _bound = bounded();
    explore("what_is_done_once_is_seen_by_all", 2, || {
        let shared = Guarded::new(Once::new(), |once| {
            once.is_completed();
        });
        let call = |shared: &Guarded<Once>| {
            shared.lock.call_once(|| shared.value.add());
            assert_eq!(shared.value.read(), 1);
        };
        let threads = [(); 2].map(|()| spawn(&shared, call));
        call(&shared);
        join(threads);
    });
}
