//! OS threads that fight over every kind of lock: with a hub each, without one, and mixed; what
//! is guarded is counted without atomics, so that a lock that lets two in loses counts.
mod gevent_support;

use gevent_support::{bounded, ms};
use greenroom::sync::{
    AsyncResult, Barrier, BoundedSemaphore, Condvar, Event, LazyLock, Mutex, Once, OnceLock, RLock,
    RwLock, Semaphore,
};
use greenroom::{scope, spawn, yield_now};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const ROUNDS: usize = 1000;

/// How the two sides of a duel run.
#[derive(Clone, Copy, Debug)]
enum Side {
    Plain,
    /// Three greenlets, which are switched between.
    Hub,
}

/// Runs `fight`, `ROUNDS` times in all on each of two OS threads, in every combination.
fn duel<S: Send + Sync + 'static>(make: impl Fn() -> S, fight: fn(&S), check: impl Fn(&S, usize)) {
    let _bound = bounded();
    for sides in [[Side::Plain; 2], [Side::Plain, Side::Hub], [Side::Hub; 2]] {
        let shared = Arc::new(make());
        let threads = sides.map(|side| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match side {
                Side::Plain => (0..ROUNDS).for_each(|_| fight(&shared)),
                Side::Hub => scope(|s| {
                    for part in [ROUNDS / 2, ROUNDS / 4, ROUNDS / 4] {
                        let shared = &shared;
                        s.spawn(move || {
                            for round in 0..part {
                                fight(shared);
                                if round % 7 == 0 {
                                    yield_now();
                                }
                            }
                        });
                    }
                }),
            })
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        check(&shared, 2 * ROUNDS);
    }
}

#[test]
fn no_count_under_a_mutex_is_lost() {
    let _bound = bounded();
    duel(
        || Mutex::new(0),
        |mutex| *mutex.lock().unwrap() += 1,
        |mutex, rounds| assert_eq!(*mutex.lock().unwrap(), rounds),
    );
}

#[test]
fn no_count_under_a_mutex_that_is_held_across_a_yield_is_lost() {
    let _bound = bounded();
    duel(
        || Mutex::new(0),
        |mutex| {
            let mut count = mutex.lock().unwrap();
            let seen = *count;
            yield_now();
            *count = seen + 1;
        },
        |mutex, rounds| assert_eq!(*mutex.lock().unwrap(), rounds),
    );
}

#[test]
fn no_count_under_a_mutex_with_limits_is_lost() {
    let _bound = bounded();
    duel(
        || (Mutex::new(0), AtomicUsize::new(0)),
        |(mutex, missed)| match mutex.try_lock_for(ms(1)) {
            Ok(mut count) => *count += 1,
            Err(_) => drop(missed.fetch_add(1, Ordering::Relaxed)),
        },
        |(mutex, missed), rounds| {
            let missed = missed.load(Ordering::Relaxed);
            assert_eq!(*mutex.lock().unwrap() + missed, rounds);
        },
    );
}

#[test]
fn no_count_under_a_reentrant_lock_is_lost() {
    let _bound = bounded();
    duel(
        || RLock::new(Cell::new(0)),
        |lock| {
            let (outer, inner) = (lock.lock(), lock.lock());
            outer.set(outer.get() + 1);
            inner.set(inner.get() + 1);
        },
        |lock, rounds| assert_eq!(lock.lock().get(), 2 * rounds),
    );
}

#[test]
fn readers_see_no_half_of_what_a_writer_does() {
    let _bound = bounded();
    duel(
        || RwLock::new((0, 0)),
        |lock| {
            let seen = *lock.read().unwrap();
            assert_eq!(seen.0, seen.1);
            let mut both = lock.write().unwrap();
            both.0 += 1;
            both.1 += 1;
        },
        |lock, rounds| assert_eq!(*lock.read().unwrap(), (rounds, rounds)),
    );
}

#[test]
fn a_bounded_semaphore_lets_in_as_many_as_it_has_permits() {
    let _bound = bounded();
    duel(
        || (BoundedSemaphore::new(2), AtomicUsize::new(0)),
        |(semaphore, inside)| {
            let permit = semaphore.acquire();
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
            yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        },
        |(semaphore, _), _| assert_eq!(semaphore.permits(), 2),
    );
}

#[test]
fn a_condvar_passes_goods_from_all_to_all() {
    let _bound = bounded();
    duel(
        || (Mutex::new(0), Condvar::new()),
        |(goods, filled)| {
            *goods.lock().unwrap() += 1;
            filled.notify_one();
            let guard = goods.lock().unwrap();
            *filled.wait_while(guard, |goods| *goods == 0).unwrap() -= 1;
        },
        |(goods, _), _| assert_eq!(*goods.lock().unwrap(), 0),
    );
}

#[test]
fn permits_go_there_and_back_between_two_threads() {
    let _bound = bounded();
    for hub in [false, true] {
        let pair = Arc::new((Semaphore::new(0), Semaphore::new(0)));
        let theirs = Arc::clone(&pair);
        let echo = move || {
            for _ in 0..ROUNDS {
                theirs.0.acquire().forget();
                theirs.1.release();
            }
        };
        let other = thread::spawn(move || match hub {
            true => spawn(echo).join().unwrap(),
            false => echo(),
        });
        for _ in 0..ROUNDS {
            pair.0.release();
            pair.1.acquire().forget();
        }
        other.join().unwrap();
        assert_eq!((pair.0.permits(), pair.1.permits()), (0, 0));
    }
}

#[test]
fn events_go_there_and_back_between_two_threads() {
    let _bound = bounded();
    for hub in [false, true] {
        let pair = Arc::new((Event::new(), Event::new()));
        let theirs = Arc::clone(&pair);
        let echo = move || {
            for _ in 0..ROUNDS {
                theirs.0.wait();
                theirs.0.clear();
                theirs.1.set();
            }
        };
        let other = thread::spawn(move || match hub {
            true => spawn(echo).join().unwrap(),
            false => echo(),
        });
        for _ in 0..ROUNDS {
            pair.0.set();
            pair.1.wait();
            pair.1.clear();
        }
        other.join().unwrap();
    }
}

#[test]
fn at_a_barrier_two_threads_and_their_greenlets_meet() {
    let _bound = bounded();
    duel(
        // One plain thread, or three greenlets of a hub, of which some have more to do.
        || (Barrier::new(2), AtomicUsize::new(0)),
        |(barrier, leaders)| {
            if let Some(result) = barrier.wait_timeout(ms(1)) {
                leaders.fetch_add(usize::from(result.is_leader()), Ordering::Relaxed);
            }
        },
        |(_, leaders), rounds| {
            let leaders = leaders.load(Ordering::Relaxed);
            assert!((1..=rounds / 2).contains(&leaders), "{leaders}");
        },
    );
}

#[test]
fn what_is_made_once_is_made_by_one_of_many_threads() {
    let _bound = bounded();
    struct Made {
        count: AtomicUsize,
        once: Once,
        cell: OnceLock<usize>,
        lazy: LazyLock<Vec<u8>>,
        result: AsyncResult<usize>,
        ready: Event,
    }
    for _ in 0..50 {
        duel_once(&Arc::new(Made {
            count: AtomicUsize::new(0),
            once: Once::new(),
            cell: OnceLock::new(),
            lazy: LazyLock::new(|| vec![7; 7]),
            result: AsyncResult::new(),
            ready: Event::new(),
        }));
    }
    fn duel_once(made: &Arc<Made>) {
        let meet = |hub: bool| {
            let made = Arc::clone(made);
            let make = move || {
                made.ready.wait();
                made.once.call_once(|| {
                    yield_now();
                    made.count.fetch_add(1, Ordering::Relaxed);
                });
                let value = *made
                    .cell
                    .get_or_init(|| made.count.fetch_add(1, Ordering::Relaxed));
                made.result.set(value);
                (value, made.lazy.len(), made.result.get())
            };
            thread::spawn(move || match hub {
                true => spawn(make).join().unwrap(),
                false => make(),
            })
        };
        let threads = [meet(true), meet(false), meet(true), meet(false)];
        made.ready.set();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (1, 7, 1));
        }
        assert_eq!(made.count.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn kills_from_outside_lose_no_permit_between_threads() {
    let _bound = bounded();
    let semaphore = Arc::new(Semaphore::new(1));
    let theirs = Arc::clone(&semaphore);
    let other = thread::spawn(move || {
        for _ in 0..ROUNDS {
            drop(theirs.acquire());
        }
    });
    for round in 0..ROUNDS {
        let ours = Arc::clone(&semaphore);
        let victim = spawn(move || drop(ours.acquire()));
        yield_now();
        if round % 2 == 0 {
            victim.kill();
        }
        drop(victim.join());
    }
    other.join().unwrap();
    assert_eq!(semaphore.permits(), 1);
}
