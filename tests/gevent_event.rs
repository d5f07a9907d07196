//! What gevent's own tests ask of its events, its results and of waiting for several: behaviours
//! 55 to 60 and 66 of our list, and 36 for what they wait for; re-written in our words after the
//! test that each names, not copied.
mod gevent_support;

use gevent_support::{LONG, Notes, bounded, is_alone, ms, on_the_only_thread, passes_alone};
use greenroom::sync::{Arc, AsyncResult, Event};
use greenroom::{JoinError, Waitable, hub, iwait, sim, spawn, wait, with_timeout, yield_now};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Instant;

fn event() -> Arc<Event> {
    Arc::new(Event::new())
}

/// So many greenlets that wait for `event`, each of which then notes its number.
fn waiters(event: &Arc<Event>, count: usize, notes: &Notes<usize>) {
    for number in 0..count {
        let (event, pen) = (Arc::clone(event), notes.pen());
        spawn(move || {
            event.wait();
            pen(number);
        });
    }
    yield_now();
}

// 55: test__event.py TestEvent_SetThenClear, 1, 100 and 1000 waiters
#[test]
fn a_set_that_is_cleared_at_once_wakes_all_who_waited_in_their_order() {
    let _bound = bounded();
    for count in [1, 100, 1000] {
        let (event, notes) = (event(), Notes::new());
        waiters(&event, count, &notes);
        event.set();
        event.clear();
        assert!(!event.is_set());
        yield_now();
        let mut order = notes.read();
        if cfg!(greenroom_spurious_wakes) {
            // Some had been woken for no reason before, and were on their way.
            order.sort_unstable();
        }
        assert_eq!(order, (0..count).collect::<Vec<_>>());
    }
}

// 55, with a limit: the waiters return that it was set
#[test]
fn whoever_waited_when_it_was_set_is_told_so_although_it_was_cleared() {
    let _bound = bounded();
    let event = event();
    let theirs = Arc::clone(&event);
    let waiter = spawn(move || theirs.wait_timeout(LONG));
    yield_now();
    event.set();
    event.clear();
    assert!(waiter.join().unwrap());
}

// 56: test__event.py test_wait_while_notifying
#[test]
fn who_finds_it_set_while_others_are_being_woken_runs_after_them() {
    let _bound = bounded();
    let (event, notes) = (event(), Notes::new());
    waiters(&event, 2, &notes);
    event.set();
    event.wait();
    notes.pen()(2);
    assert_eq!(notes.read(), [0, 1, 2]);
}

// 56, its other half: nobody waits for those who have run already
#[test]
fn who_finds_it_set_with_nobody_being_woken_goes_on_at_once() {
    let _bound = bounded();
    let (event, notes) = (event(), Notes::new());
    waiters(&event, 2, &notes);
    event.set();
    yield_now();
    notes.read();
    let pen = notes.pen();
    spawn(move || pen(7));
    event.wait();
    assert_eq!(notes.read(), [], "no switch has happened");
    yield_now();
    assert_eq!(notes.read(), [7]);
}

// 57: test__event.py test_set_during_wait
#[test]
fn who_waits_again_after_a_clear_needs_another_set() {
    let _bound = bounded();
    let event = event();
    let theirs = Arc::clone(&event);
    let waiter = spawn(move || {
        let ours = Arc::clone(&theirs);
        spawn(move || ours.set());
        theirs.wait();
        theirs.clear();
        let again = wait([&*theirs]).timeout(ms(5)).ready().len();
        (again, theirs.wait_timeout(ms(5)))
    });
    assert_eq!(waiter.join().unwrap(), (0, false));
}

// 58: test__event.py test_gevent_wait_twice_when_already_set
#[test]
fn waiting_for_an_event_that_is_set_works_again_and_again() {
    let _bound = bounded();
    let event = Event::new();
    event.set();
    for _ in 0..2 {
        assert_eq!(wait([&event]).ready().len(), 1);
    }
}

/// Events and results: `ready` of each, in no order, that become so, and one that never does.
fn mixed(ready: usize, test: impl FnOnce(&[&dyn Waitable])) {
    let events: Vec<_> = (0..=ready).map(|_| event()).collect();
    let results: Vec<_> = (0..=ready).map(|_| Arc::new(AsyncResult::new())).collect();
    for (event, result) in events.iter().zip(&results).take(ready) {
        let (event, result) = (Arc::clone(event), Arc::clone(result));
        spawn(move || {
            greenroom::sleep(ms(1));
            result.set(());
            event.set();
        });
    }
    let events = events.iter().map(|event| &**event as &dyn Waitable);
    let results = results.iter().map(|result| &**result as &dyn Waitable);
    test(&events.chain(results).collect::<Vec<_>>());
}

// 59: test__event.py TestWait, TestWait_count1, TestWait_count2, TestWait_notimeout
#[test]
fn as_many_of_a_mixture_are_waited_for_as_were_asked_for() {
    let _bound = bounded();
    sim::run(59, || {
        for count in [1, 2] {
            mixed(3, |objects| {
                let objects = objects.iter().copied();
                assert_eq!(wait(objects).count(count).ready().len(), count);
            });
        }
        mixed(3, |objects| {
            let begin = greenroom::now();
            let ready = wait(objects.iter().copied()).timeout(ms(100)).ready();
            assert_eq!(ready.len(), 6);
            assert_eq!(greenroom::now() - begin, ms(100));
        });
        mixed(0, |objects| {
            assert_eq!(
                wait(objects.iter().copied()).timeout(ms(10)).ready().len(),
                0
            );
        });
    });
}

// 59, 66: test__event.py TestWait, test__iwait.py: losers are left as they were
#[test]
fn an_object_that_was_waited_for_in_vain_has_no_waiters_left() {
    let _bound = bounded();
    let (never, now) = (Event::new(), Event::new());
    now.set();
    let mut first = iwait([&never, &now]);
    assert!(std::ptr::eq(first.next().unwrap(), &now));
    assert!(format!("{never:?}").contains("waiters: 1"));
    drop(first);
    assert!(format!("{never:?}").contains("waiters: 0"));
}

// 66: test__iwait.py: in the order of readiness, whatever the consumer does in between
#[test]
fn objects_come_in_the_order_in_which_they_became_ready() {
    let _bound = bounded();
    sim::run(66, || {
        let events = [(); 3].map(|()| event());
        for (delay, index) in [(1, 2), (2, 0), (3, 1)] {
            let event = Arc::clone(&events[index]);
            drop(greenroom::spawn_later(ms(delay), move || event.set()));
        }
        let mut order = Vec::new();
        for event in iwait(events.iter().map(|event| &**event)) {
            greenroom::sleep(ms(10));
            order.extend(
                events
                    .iter()
                    .position(|other| std::ptr::eq(&**other, event)),
            );
        }
        assert_eq!(order, [2, 0, 1]);
    });
}

// 60: test__event.py TestAsyncResultCrossThread: with a hub on the other side
#[test]
fn a_value_set_here_wakes_a_greenlet_of_another_thread() {
    let _bound = bounded();
    for limit in [None, Some(LONG)] {
        let result = Arc::new(AsyncResult::new());
        let theirs = Arc::clone(&result);
        let (said, begun) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            let waiter = spawn(move || {
                said.send(()).unwrap();
                match limit {
                    None => Some(theirs.get()),
                    Some(limit) => theirs.get_timeout(limit),
                }
            });
            waiter.join().unwrap()
        });
        begun.recv().unwrap();
        thread::sleep(ms(2));
        result.set(7);
        assert_eq!(other.join().unwrap(), Some(7));
    }
}

// 60: test__event.py TestAsyncResultCrossThread: without a hub on either side
#[test]
fn a_value_set_by_a_plain_thread_wakes_a_plain_thread() {
    let _bound = bounded();
    let result = Arc::new(AsyncResult::new());
    let theirs = Arc::clone(&result);
    let other = thread::spawn(move || theirs.get());
    thread::sleep(ms(2));
    let ours = Arc::clone(&result);
    thread::spawn(move || ours.set("x")).join().unwrap();
    assert_eq!(other.join().unwrap(), "x");
}

// 60: "dead threads tolerated": who waited has ended, with its hub
#[test]
fn a_value_is_set_although_the_thread_of_a_waiter_has_ended() {
    let _bound = bounded();
    let result = Arc::new(AsyncResult::new());
    let theirs = Arc::clone(&result);
    let ended = thread::spawn(move || {
        let left = spawn(move || theirs.get());
        yield_now();
        assert!(!left.is_finished());
    });
    ended.join().unwrap();
    result.set(1);
    assert_eq!(result.get(), 1);
}

// 55 to 60, their common ground: a value is there for all, again and again
#[test]
fn every_getter_gets_the_value_and_so_do_those_who_come_later() {
    let _bound = bounded();
    let result = Arc::new(AsyncResult::new());
    let getters: Vec<_> = (0..10)
        .map(|_| {
            let result = Arc::clone(&result);
            spawn(move || result.get())
        })
        .collect();
    yield_now();
    assert_eq!(result.try_get(), None);
    result.set(String::from("value"));
    for getter in getters {
        assert_eq!(getter.join().unwrap(), "value");
    }
    assert_eq!(result.get(), "value");
}

// 1.6 of the list: a second set overwrites
#[test]
fn a_second_value_replaces_the_first() {
    let _bound = bounded();
    let result = AsyncResult::from(1);
    result.set(2);
    assert_eq!(result.get(), 2);
}

// 1.6 of the list: `set_exception`
#[test]
fn a_result_that_failed_is_set_but_not_in_order() {
    let _bound = bounded();
    let result = Arc::new(AsyncResult::<Result<u8, &str>>::new());
    let theirs = Arc::clone(&result);
    let getter = spawn(move || theirs.get());
    yield_now();
    result.set(Err("failed"));
    assert_eq!(getter.join().unwrap(), Err("failed"));
    assert!(result.is_set() && !result.is_ok());
}

// 1.6 of the list: as the target of a link
#[test]
fn a_result_follows_a_greenlet_that_returns_panics_or_is_killed() {
    let _bound = bounded();
    let outcome = |greenlet| AsyncResult::of(greenlet).wait();
    assert!(matches!(*outcome(spawn(|| 42)), Ok(42)));
    let failed = |result: &Result<i32, JoinError>| result.as_ref().err().map(JoinError::is_panic);
    assert_eq!(failed(&outcome(spawn(|| panic!("on purpose")))), Some(true));
    let endless = spawn(|| {
        greenroom::thread::park();
        0
    });
    endless.kill();
    assert_eq!(failed(&outcome(endless)), Some(false));
}

// 54, for events and results: a limit is kept, and no value is made up
#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    let _bound = bounded();
    sim::run(54, || {
        let (event, result) = (Event::new(), AsyncResult::<u8>::new());
        for limit in [ms(0), ms(1), ms(10_000)] {
            let begin = greenroom::now();
            assert!(!event.wait_timeout(limit));
            assert_eq!(greenroom::now() - begin, limit);
            assert_eq!(result.get_timeout(limit), None);
            assert_eq!(greenroom::now() - begin, limit * 2);
        }
        assert!(with_timeout(ms(5), || event.wait()).is_err());
        assert!(with_timeout(ms(5), || result.get()).is_err());
    });
}

#[test]
fn a_limit_beyond_the_end_of_the_clock_is_none() {
    let _bound = bounded();
    let event = event();
    let theirs = Arc::clone(&event);
    spawn(move || theirs.set());
    assert!(event.wait_timeout(std::time::Duration::MAX));
}

// 36: test__hub.py, LoopExit: an event that nobody can set
#[test]
fn a_wait_for_an_event_that_nobody_can_set_is_a_panic_that_lists_all() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_wait_for_an_event_that_nobody_can_set_is_a_panic_that_lists_all");
        return;
    }
    on_the_only_thread(|| {
        let event = event();
        let theirs = Arc::clone(&event);
        drop(spawn(move || theirs.wait()));
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| event.wait()));
        let message = *stuck.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("would block forever"), "{message}");
        assert!(message.contains("the root waits for an event"), "{message}");
        assert!(message.contains("1: waits for an event"), "{message}");
    });
}

/// Threads of a pool that wait for work are nobody who could set it.
#[test]
fn a_wait_for_an_event_that_nobody_can_set_is_found_out_after_a_pool_was_used() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_wait_for_an_event_that_nobody_can_set_is_found_out_after_a_pool_was_used");
        return;
    }
    on_the_only_thread(|| {
        spawn(|| ()).join().unwrap();
        let jobs: Vec<_> = (0..4)
            .map(|n| greenroom::threadpool::spawn(move || n))
            .collect();
        let sum: i32 = jobs.into_iter().map(|job| job.join().unwrap()).sum();
        assert_eq!(sum, 6);
        let event = event();
        let stuck = panic::catch_unwind(AssertUnwindSafe(|| event.wait()));
        let message = *stuck.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("would block forever"), "{message}");

        // One that works is somebody.
        let theirs = Arc::clone(&event);
        drop(greenroom::threadpool::spawn(move || {
            thread::sleep(ms(120));
            theirs.set();
        }));
        event.wait();
        // As in a child of a fork, which has none of the workers of its parent.
        on_the_only_thread(|| {
            event.clear();
            spawn(|| ()).join().unwrap();
            let theirs = Arc::clone(&event);
            let other = thread::spawn(move || {
                thread::sleep(ms(120));
                theirs.set();
            });
            event.wait();
            other.join().unwrap();
        });
    });
}

// 36, its other side: another thread could set it, so the hub goes on waiting
#[test]
fn a_wait_for_an_event_that_another_thread_sets_is_no_deadlock() {
    let _bound = bounded();
    let event = event();
    let theirs = Arc::clone(&event);
    let begin = Instant::now();
    let setter = thread::spawn(move || {
        thread::sleep(ms(120));
        theirs.set();
    });
    yield_now();
    assert!(hub::current().spawn(|| ()).join().is_ok());
    event.wait();
    assert!(begin.elapsed() >= ms(120));
    setter.join().unwrap();
}
