//! What gevent's own tests ask of its semaphores and locks: behaviours 61 to 65 of our list, 36
//! and 54 for what waits for them; re-written in our words after the test that each names, not
//! copied.
mod gevent_support;

use gevent_support::{Notes, bounded, is_alone, ms, on_the_only_thread, passes_alone};
use greenroom::sync::{Arc, BoundedSemaphore, RLock, Semaphore};
use greenroom::{Greenlet, sim, spawn, wait, with_timeout, yield_now};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

// 61: test__semaphore.py test_acquire_returns_false_after_timeout
#[test]
fn a_permit_that_does_not_come_in_time_is_not_had() {
    let _bound = bounded();
    sim::run(61, || {
        let semaphore = Semaphore::new(0);
        let begin = greenroom::now();
        assert!(semaphore.acquire_timeout(ms(10)).is_none());
        assert_eq!(greenroom::now() - begin, ms(10));
        assert!(semaphore.try_acquire().is_none());
        assert_eq!(semaphore.permits(), 0);
        semaphore.release();
        assert!(semaphore.acquire_timeout(ms(0)).is_some());
    });
}

// 61: test__semaphore.py TestLock and BoundedSemaphore: ValueError
#[test]
fn a_bounded_semaphore_takes_back_no_more_than_it_gave() {
    let _bound = bounded();
    let semaphore = BoundedSemaphore::new(2);
    assert!(semaphore.release().is_err());
    semaphore.acquire().forget();
    assert_eq!(semaphore.release(), Ok(()));
    assert!(semaphore.release().is_err());
    assert_eq!(semaphore.permits(), 2);
    assert!(BoundedSemaphore::new(0).release().is_err());
}

// 61: test__semaphore.py: an unbounded one grows
#[test]
fn a_semaphore_that_is_released_has_one_more_permit() {
    let _bound = bounded();
    let semaphore = Semaphore::new(0);
    (0..3).for_each(|_| semaphore.release());
    assert_eq!(semaphore.permits(), 3);
    let absurd = Semaphore::new(usize::MAX);
    absurd.release();
    assert_eq!(absurd.permits(), Semaphore::PERMITS_MAX);
}

/// Greenlets that take a permit one after the other, each noting its number when it has it.
fn takers(semaphore: &Arc<Semaphore>, count: usize, notes: &Notes<usize>) -> Vec<Greenlet<()>> {
    let taker = |number| {
        let (semaphore, pen) = (Arc::clone(semaphore), notes.pen());
        spawn(move || {
            semaphore.acquire().forget();
            pen(number);
        })
    };
    let takers = (0..count).map(taker).collect();
    yield_now();
    takers
}

// 61: test__semaphore.py test_semaphore_weakref and the like rely on it: FIFO
#[test]
fn permits_go_to_those_who_wait_in_the_order_of_their_arrival() {
    let _bound = bounded();
    let (semaphore, notes) = (Arc::new(Semaphore::new(0)), Notes::new());
    let takers = takers(&semaphore, 5, &notes);
    for number in 0..5 {
        semaphore.release();
        yield_now();
        assert_eq!(notes.read(), [number]);
    }
    greenroom::joinall(takers);
}

// 61: released by one hand, several at a time
#[test]
fn several_permits_given_at_once_wake_as_many_in_order() {
    let _bound = bounded();
    let (semaphore, notes) = (Arc::new(Semaphore::new(0)), Notes::new());
    let takers = takers(&semaphore, 5, &notes);
    (0..7).for_each(|_| semaphore.release());
    greenroom::joinall(takers);
    let mut order = notes.read();
    if cfg!(greenroom_spurious_wakes) {
        // Some had been woken for no reason before, and were on their way.
        order.sort_unstable();
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
    assert_eq!(semaphore.permits(), 2);
}

// 62: test__semaphore.py TestSemaphoreFair (#1487)
#[test]
fn two_that_pass_a_permit_to_each_other_do_not_starve_a_third() {
    let _bound = bounded();
    let semaphore = Arc::new(Semaphore::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let spin = || {
        let (semaphore, stop) = (Arc::clone(&semaphore), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _permit = semaphore.acquire();
                yield_now();
            }
        })
    };
    let spinners = [spin(), spin()];
    (0..3).for_each(|_| yield_now());
    let third = spawn({
        let (semaphore, stop) = (Arc::clone(&semaphore), Arc::clone(&stop));
        move || {
            let _permit = semaphore.acquire();
            stop.store(true, Ordering::Relaxed);
        }
    });
    third.join().unwrap();
    greenroom::joinall(spinners);
}

// 62, where we are stricter than gevent, whose `release(); acquire(False)` wins
#[test]
fn who_releases_does_not_overtake_those_who_wait() {
    let _bound = bounded();
    let (semaphore, notes) = (Arc::new(Semaphore::new(0)), Notes::new());
    let takers = takers(&semaphore, 1, &notes);
    semaphore.release();
    assert!(semaphore.try_acquire().is_none());
    greenroom::joinall(takers);
}

/// Has two OS threads take the one permit again and again, with `take` and `give`.
fn duel(takes: usize, hub: bool, take: fn(&Semaphore) -> bool) {
    let shared = Arc::new((Semaphore::new(1), AtomicUsize::new(0), AtomicUsize::new(0)));
    let fight = |shared: Arc<(Semaphore, AtomicUsize, AtomicUsize)>| {
        move || {
            let (semaphore, inside, taken) = &*shared;
            for _ in 0..takes {
                if take(semaphore) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                    taken.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    semaphore.release();
                }
            }
        }
    };
    let threads = [(); 2].map(|()| {
        let fight = fight(Arc::clone(&shared));
        thread::spawn(move || match hub {
            true => spawn(fight).join().unwrap(),
            false => fight(),
        })
    });
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(shared.2.load(Ordering::SeqCst) >= takes, "hardly ever had");
    assert_eq!(shared.0.permits(), 1);
}

// 63: test__semaphore.py TestSemaphoreMultiThread test_dueling_threads, ..._with_hub
#[test]
fn two_threads_that_duel_over_a_permit_both_get_through() {
    let _bound = bounded();
    for hub in [false, true] {
        duel(2000, hub, |semaphore| {
            semaphore.acquire().forget();
            true
        });
    }
}

// 63: test__semaphore.py TestSemaphoreMultiThread test_dueling_threads_timeout, ..._with_hub
#[test]
fn two_threads_that_duel_with_limits_lose_no_permit() {
    let _bound = bounded();
    for hub in [false, true] {
        duel(1000, hub, |semaphore| {
            let permit = semaphore.acquire_timeout(ms(5));
            permit.map(greenroom::sync::Permit::forget).is_some()
        });
    }
}

// 64: test__semaphore.py test_rawlink_on_unacquired_runs_notifiers
#[test]
fn a_semaphore_with_a_permit_is_ready_and_keeps_it() {
    let _bound = bounded();
    let semaphore = Semaphore::new(1);
    for _ in 0..2 {
        assert_eq!(wait([&semaphore]).ready().len(), 1);
        assert!(semaphore.wait_timeout(ms(0)));
    }
    assert_eq!(semaphore.permits(), 1);
}

// 64: test__semaphore.py test_wait_returns_count..., test_acquire_in_one_then_another
#[test]
fn who_only_looks_is_told_of_a_permit_that_goes_to_another() {
    let _bound = bounded();
    let semaphore = Arc::new(Semaphore::new(0));
    let look = || {
        let semaphore = Arc::clone(&semaphore);
        spawn(move || semaphore.wait())
    };
    let (first, notes) = (look(), Notes::new());
    let taker = takers(&semaphore, 1, &notes);
    let last = look();
    yield_now();
    semaphore.release();
    greenroom::joinall(taker);
    yield_now();
    assert!(first.is_finished(), "it came before the taker");
    assert!(
        !last.is_finished(),
        "it came after, and there was no second permit"
    );
    semaphore.release();
    last.join().unwrap();
    assert_eq!(semaphore.permits(), 1);
}

// 65: test__lock.py, lock_tests.py RLockTests: reentrancy
#[test]
fn the_owner_of_a_reentrant_lock_takes_it_again_and_others_wait_for_its_last_guard() {
    let _bound = bounded();
    let lock = Arc::new(RLock::new(Cell::new(0)));
    let (outer, inner) = (lock.lock(), lock.lock());
    inner.set(1);
    let theirs = Arc::clone(&lock);
    let other = spawn(move || theirs.lock().replace(2));
    yield_now();
    drop(outer);
    yield_now();
    assert!(!other.is_finished() && lock.is_locked());
    assert!(lock.try_lock().is_some());
    drop(inner);
    assert_eq!(other.join().unwrap(), 1);
    assert_eq!(lock.lock().get(), 2);
}

// 65: lock_tests.py: another greenlet does not get it
#[test]
fn a_reentrant_lock_is_for_its_greenlet_alone_also_among_those_of_one_thread() {
    let _bound = bounded();
    let lock = Arc::new(RLock::new(()));
    let _mine = lock.lock();
    let theirs = Arc::clone(&lock);
    let other = spawn(move || {
        (
            theirs.try_lock().is_none(),
            theirs.try_lock_for(ms(1)).is_none(),
        )
    });
    assert_eq!(other.join().unwrap(), (true, true));
}

// 65: lock_tests.py: on one OS thread with and then without a greenlet
#[test]
fn a_thread_that_gets_a_hub_meanwhile_is_still_the_owner() {
    let _bound = bounded();
    let owner = thread::spawn(|| {
        let lock = RLock::new(());
        let _before = lock.lock();
        yield_now();
        spawn(|| ()).join().unwrap();
        lock.try_lock().is_some()
    });
    assert!(owner.join().unwrap());
}

// 65: what one takes by another's hand can't be released: the guard is the right to
#[test]
fn what_a_killed_owner_had_locked_is_free() {
    let _bound = bounded();
    let lock = Arc::new(RLock::new(()));
    let theirs = Arc::clone(&lock);
    let owner = spawn(move || {
        let _guards = (theirs.lock(), theirs.lock());
        greenroom::thread::park();
    });
    yield_now();
    assert!(lock.is_locked());
    owner.kill();
    assert!(owner.join().unwrap_err().is_killed());
    assert!(lock.try_lock().is_some());
}

// 36: test__semaphore.py: two that wait for each other's permit
#[test]
fn a_cycle_of_semaphores_is_a_panic_that_lists_all() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_cycle_of_semaphores_is_a_panic_that_lists_all");
        return;
    }
    on_the_only_thread(|| {
        let pair = Arc::new((Semaphore::new(0), Semaphore::new(0)));
        let theirs = Arc::clone(&pair);
        drop(spawn(move || {
            theirs.0.acquire().forget();
            theirs.1.release();
        }));
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| pair.1.acquire().forget()));
        let message = *stuck.unwrap_err().downcast::<String>().unwrap();
        assert!(
            message.contains("the root waits for a semaphore"),
            "{message}"
        );
        assert!(message.contains("1: waits for a semaphore"), "{message}");
    });
}

// 54, for semaphores: a limit from outside takes nothing
#[test]
fn a_timeout_from_outside_takes_no_permit() {
    let _bound = bounded();
    sim::run(54, || {
        let semaphore = Semaphore::new(0);
        assert!(with_timeout(ms(5), || semaphore.acquire()).is_err());
        semaphore.release();
        assert_eq!(semaphore.permits(), 1);
    });
}
