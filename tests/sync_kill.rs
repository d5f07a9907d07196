//! What a kill and a timeout do to those who wait for a lock, step by step: what they had been
//! given and had not seen goes to the next.
mod gevent_support;

use gevent_support::{bounded, ms};
use greenroom::sync::{Arc, Condvar, Event, Mutex, RwLock, Semaphore};
use greenroom::{Greenlet, foreign, hub, sim, spawn, thread, with_timeout, yield_now};
use std::panic;

/// A greenlet that has swallowed its kill, and then does `wait`. The kill comes again with the
/// park of that, and lets the others run just before it does.
fn stubborn(wait: impl FnOnce() + Send + 'static) -> Greenlet<()> {
    let stubborn = spawn(move || {
        panic::catch_unwind(thread::park).unwrap_err();
        wait();
    });
    yield_now();
    stubborn.kill();
    stubborn
}

#[test]
fn a_mutex_that_was_handed_to_one_who_dies_goes_to_the_next() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock().unwrap();
    let theirs = Arc::clone(&mutex);
    let victim = stubborn(move || drop(theirs.lock()));
    yield_now();
    // It stands in the line, and is about to be unwound.
    drop(guard);
    assert!(mutex.try_lock().is_err(), "it has been handed over");
    assert!(victim.join().unwrap_err().is_killed());
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_permit_that_was_handed_to_one_who_dies_goes_to_the_next() {
    let _bound = bounded();
    let semaphore = Arc::new(Semaphore::new(0));
    let (first, second) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
    let victim = stubborn(move || first.acquire().forget());
    yield_now();
    let next = spawn(move || second.acquire().forget());
    semaphore.release();
    assert!(victim.join().unwrap_err().is_killed());
    next.join().unwrap();
}

#[test]
fn a_writer_that_dies_with_its_turn_lets_the_readers_in() {
    let _bound = bounded();
    let lock = Arc::new(RwLock::new(()));
    let guard = lock.read().unwrap();
    let (first, second) = (Arc::clone(&lock), Arc::clone(&lock));
    let victim = stubborn(move || drop(first.write()));
    yield_now();
    let reader = spawn(move || second.read().is_ok());
    drop(guard);
    assert!(victim.join().unwrap_err().is_killed());
    assert!(reader.join().unwrap());
}

#[test]
fn a_notification_of_one_who_dies_goes_to_the_next() {
    let _bound = bounded();
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let wait = || {
        let pair = Arc::clone(&pair);
        spawn(move || drop(pair.1.wait(pair.0.lock().unwrap())))
    };
    let (victim, next) = (wait(), wait());
    yield_now();
    let guard = pair.0.lock().unwrap();
    pair.1.notify_one();
    yield_now();
    // The first has been notified, and waits for the mutex.
    victim.kill();
    yield_now();
    drop(guard);
    assert!(victim.join().unwrap_err().is_killed());
    next.join().unwrap();
}

#[test]
fn who_is_killed_in_the_middle_of_a_line_leaves_it_and_the_rest_keep_their_order() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let guard = mutex.lock().unwrap();
    let wait = |number| {
        let mutex = Arc::clone(&mutex);
        spawn(move || mutex.lock().unwrap().push(number))
    };
    let waiters: Vec<_> = (0..5).map(wait).collect();
    yield_now();
    waiters[0].kill();
    waiters[2].kill();
    yield_now();
    drop(guard);
    greenroom::joinall(waiters);
    assert_eq!(*mutex.lock().unwrap(), [1, 3, 4]);
}

#[test]
fn what_was_handed_over_before_the_kill_is_had() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let theirs = Arc::clone(&mutex);
    let waiter = spawn(move || *theirs.lock().unwrap() = 1);
    yield_now();
    drop(guard);
    waiter.kill();
    assert!(waiter.join().is_ok(), "it has not parked again");
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn what_was_handed_over_in_the_moment_of_the_limit_is_had() {
    let _bound = bounded();
    for seed in 0..50 {
        sim::run(seed, || {
            let event = Arc::new(Event::new());
            let theirs = Arc::clone(&event);
            let waiter = spawn(move || theirs.wait_timeout(ms(5)));
            let ours = Arc::clone(&event);
            drop(greenroom::spawn_later(ms(5), move || ours.set()));
            let in_time = waiter.join().unwrap();
            assert!(event.is_set() || !in_time);
            greenroom::sleep(ms(1));
            assert!(event.wait_timeout(ms(0)));
        });
    }
}

#[test]
fn below_a_foreign_call_a_lock_is_waited_for_although_a_kill_is_due() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let theirs = Arc::clone(&mutex);
    let caller = spawn(move || {
        foreign(|| *theirs.lock().unwrap() = 1);
        yield_now();
    });
    yield_now();
    caller.kill();
    yield_now();
    assert!(!caller.is_finished());
    drop(guard);
    assert!(caller.join().unwrap_err().is_killed());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

// The kill is due before the wait begins: what lets the others run then must not lose their wake.
#[test]
fn below_a_foreign_call_a_wake_that_comes_with_the_kill_is_not_lost() {
    let _bound = bounded();
    let event = Arc::new(Event::new());
    let theirs = Arc::clone(&event);
    let caller = spawn(move || {
        thread::park();
        foreign(|| theirs.wait());
    });
    yield_now();
    caller.thread().unpark();
    caller.kill();
    let setter = spawn(move || event.set());
    setter.join().unwrap();
    drop(caller.join());
}

#[test]
fn a_crowd_that_gives_up_together_leaves_nothing() {
    let _bound = bounded();
    sim::run(7, || {
        let event = Arc::new(Event::new());
        let before = hub::stats().greenlets;
        for _ in 0..20_000 {
            let event = Arc::clone(&event);
            drop(spawn(move || event.wait_timeout(ms(10))));
        }
        greenroom::sleep(ms(20));
        assert_eq!(hub::stats().greenlets, before);
        assert_eq!(format!("{event:?}"), "Event { is_set: false, waiters: 0 }");
    });
}

#[test]
fn timeouts_from_outside_and_inside_leave_a_lock_as_it_was() {
    let _bound = bounded();
    sim::run(8, || {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let theirs = Arc::clone(&mutex);
        let late = spawn(move || {
            let outer = with_timeout(ms(5), || theirs.lock().is_ok());
            (outer.is_err(), theirs.try_lock_for(ms(5)).is_err())
        });
        assert_eq!(late.join().unwrap(), (true, true));
        drop(guard);
        assert!(mutex.try_lock().is_ok());
    });
}
