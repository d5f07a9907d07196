//! What gevent's own tests ask of greenlets, kill and join: behaviours 1 to 14 of our list,
//! re-written in our words after the test that each names, not copied. 15 to 21 stand in
//! `gevent_greenlet_ends.rs`, 22 to 26 in `gevent_greenlet_events.rs`.
mod gevent_support;

use gevent_support::bounded;
use gevent_support::{LONG, Notes, both, is_alone, ms, passes_alone};
use greenroom::{Greenlet, GreenletRef, sim, with_timeout};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Sleeps for ever, as far as a test is concerned.
fn sleeper() -> Greenlet<()> {
    greenroom::spawn(|| greenroom::sleep(LONG * 1000))
}

/// Has everybody run who can. In a simulation the order is random, and a yield may come to
/// nothing; time passes only when all are parked.
fn settle() {
    greenroom::sleep(ms(1));
}

/// Withstands its kill: a shield is what gevent's "swallows GreenletExit" is here.
fn stubborn() -> Greenlet<()> {
    greenroom::spawn(|| greenroom::shield(|| greenroom::sleep(ms(60_000))))
}

// 1: test__order.py
#[test]
fn spawned_greenlets_run_in_order_once_their_spawner_parks() {
    let _bound = bounded();
    let notes = Notes::new();
    for number in 1..=3 {
        let pen = notes.pen();
        greenroom::spawn(move || pen(number));
    }
    assert_eq!(notes.read(), [] as [i32; 0]);
    greenroom::yield_now();
    assert_eq!(notes.read(), [1, 2, 3]);
}

// 2: test__greenlet.py TestBasic.test_simple_exit
#[test]
fn a_greenlet_is_spawned_then_runs_then_has_finished_with_its_value() {
    let _bound = bounded();
    sim::run(2, || {
        let greenlet = greenroom::spawn(|| {
            greenroom::sleep(ms(10));
            "its value"
        });
        assert!(!greenlet.is_finished());
        assert!(greenroom::hub::dump().contains("is runnable"));
        settle();
        assert!(!greenlet.is_finished());
        assert!(greenroom::hub::dump().contains("waits for the end of a sleep"));
        greenroom::sleep(ms(20));
        assert!(greenlet.is_finished());
        assert_eq!(greenroom::hub::stats().greenlets, 0);
        assert_eq!(greenlet.join().unwrap(), "its value");
    });
}

// 3: test__greenlet.py test_error_exit
#[test]
fn a_panic_ends_its_greenlet_and_nobody_else() {
    let _bound = bounded();
    sim::run(3, || {
        let failing = greenroom::spawn(|| -> u32 { panic!("the error") });
        let other = greenroom::spawn(|| greenroom::sleep(ms(10)));
        greenroom::sleep(ms(1));
        assert!(failing.is_finished());
        let error = failing.join().unwrap_err();
        assert!(error.is_panic() && !error.is_killed());
        assert_eq!(error.downcast_ref::<&str>(), Some(&"the error"));
        other.join().unwrap();
    });
}

// 3: test__greenlet.py test_error_exit, its second half
#[test]
fn a_panic_is_reported_once_with_the_greenlet_that_it_was() {
    let _bound = bounded();
    if is_alone() {
        let named = greenroom::Builder::new().name("unlucky".into());
        let failing = named.spawn(|| panic!("the only error")).unwrap();
        assert!(failing.join().is_err());
        return;
    }
    let output = passes_alone("a_panic_is_reported_once_with_the_greenlet_that_it_was");
    let text = both(&output);
    assert_eq!(text.matches("the only error").count(), 1, "{text}");
    assert_eq!(text.matches("'unlucky', spawned at").count(), 1, "{text}");
}

// 4: test__greenlet.py TestStart. A greenlet can't be started twice by type: its closure is
// `FnOnce`, and spawning starts it. What is left: nothing runs a finished one again.
#[test]
fn a_finished_greenlet_does_not_run_again() {
    let _bound = bounded();
    sim::run(4, || {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let greenlet = greenroom::spawn(move || counted.fetch_add(1, Ordering::Relaxed));
        settle();
        greenlet.thread().unpark();
        greenlet.kill();
        greenroom::sleep(ms(10));
        greenlet.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

// 5: test__greenlet.py TestLink, TestGet. The payload has one owner, who joins; all others who
// wait are told of the end.
#[test]
fn a_panic_payload_arrives_unchanged_and_everybody_who_waits_is_told() {
    let _bound = bounded();
    sim::run(5, || {
        let payload = Arc::new("the same object");
        let theirs = Arc::clone(&payload);
        let failing = greenroom::spawn(move || {
            greenroom::sleep(ms(10));
            panic::panic_any(theirs)
        });
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let name: GreenletRef = failing.thread().clone();
                greenroom::spawn(move || greenroom::wait([&name]).ready().len())
            })
            .collect();
        for told in greenroom::joinall(waiters) {
            assert_eq!(told.unwrap(), 1);
        }
        let error: Result<(), _> = failing.join();
        let came = error.unwrap_err().into_panic();
        let came = came.downcast::<Arc<&str>>().unwrap();
        assert!(Arc::ptr_eq(&came, &payload));
    });
}

// 5: test__greenlet.py TestGet, `get(block=False)`
#[test]
fn join_without_time_gives_an_unfinished_greenlet_back() {
    let _bound = bounded();
    sim::run(5, || {
        let greenlet = sleeper();
        let before = greenroom::now();
        let greenlet = greenlet.join_timeout(ms(0)).unwrap_err();
        assert_eq!(greenroom::now(), before);
        greenlet.kill();
    });
}

// 6: testing/timing.py AbstractGenericWaitTestCase over join
#[test]
fn join_timeout_gives_the_greenlet_back_alive_when_the_time_is_up() {
    let _bound = bounded();
    sim::run(6, || {
        let before = greenroom::now();
        let greenlet = sleeper().join_timeout(ms(10)).unwrap_err();
        assert_eq!(greenroom::now() - before, ms(10));
        assert!(!greenlet.is_finished());
        assert_eq!(greenroom::hub::stats().greenlets, 1);
        greenlet.kill();
    });
}

// 6: testing/timing.py test_outer_timeout_is_not_lost
#[test]
fn an_outer_timeout_passes_through_join_wait_iwait_and_killall() {
    let _bound = bounded();
    sim::run(6, || {
        let within = |wait: &dyn Fn()| {
            let before = greenroom::now();
            assert!(with_timeout(ms(10), wait).is_err());
            assert_eq!(greenroom::now() - before, ms(10));
        };
        let longer = ms(1000);
        within(&|| drop(sleeper().join()));
        within(&|| drop(sleeper().join_timeout(longer)));
        let one = sleeper();
        within(&|| drop(greenroom::wait([&one]).timeout(longer).ready()));
        within(&|| assert!(greenroom::iwait([&one]).timeout(longer).next().is_none()));
        let survivor = stubborn();
        settle();
        within(&|| assert_eq!(greenroom::killall([&survivor], Some(longer)), 1));
    });
}

// 7: test__greenlet.py TestKill, test__issue330.py
#[test]
fn a_greenlet_killed_before_its_start_never_runs_and_its_links_fire() {
    let _bound = bounded();
    type Body = Box<dyn FnOnce() + Send>;
    sim::run(7, || {
        let notes = Notes::new();
        let now: fn(Body) -> Greenlet<()> = |body| greenroom::spawn(body);
        let later: fn(Body) -> Greenlet<()> = |body| greenroom::spawn_later(LONG, body);
        let spawn = [now, later];
        for spawn in spawn {
            let owned = Arc::new(());
            let theirs = Arc::clone(&owned);
            let greenlet = spawn(Box::new(move || unreachable!("{theirs:?}")));
            let pen = notes.pen();
            greenlet.link(move |who| pen(who.id()));
            let before = greenroom::now();
            greenlet.kill();
            let id = greenlet.id();
            assert!(greenlet.join().unwrap_err().is_killed());
            assert_eq!(greenroom::now(), before, "there is nothing to wait for");
            assert_eq!(Arc::strong_count(&owned), 1, "its closure is dropped");
            greenroom::sleep(ms(1));
            assert_eq!(notes.read(), [id]);
        }
        assert_eq!(greenroom::hub::stats().timers, 0);
    });
}

// 7: test__greenlet.py TestKillAfterStartLater, its reverse: only a kill ends that wait early
#[test]
fn an_unpark_does_not_start_a_greenlet_before_its_time() {
    let _bound = bounded();
    sim::run(7, || {
        let before = greenroom::now();
        let late = greenroom::spawn_later(ms(100), greenroom::now);
        late.thread().unpark();
        assert_eq!(late.join().unwrap() - before, ms(100));
    });
}

// 8: test__issue607.py, `kill(ValueError)`. A kill has no type here; what a greenlet ends with
// of its own will is told apart from it, also when the kill came first.
#[test]
fn a_panic_on_the_way_out_of_a_kill_is_a_panic_and_a_kill_is_a_kill() {
    let _bound = bounded();
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            let failed = panic::catch_unwind(|| panic::resume_unwind(Box::new("inner")));
            assert!(failed.is_err(), "what a destructor catches stays there");
        }
    }
    sim::run(8, || {
        let plain = greenroom::spawn(|| {
            let _fails = Fails;
            greenroom::thread::park();
        });
        let translating = greenroom::spawn(|| {
            let killed = panic::catch_unwind(greenroom::thread::park).unwrap_err();
            assert!(greenroom::is_cancellation(&*killed));
            panic::resume_unwind(Box::new("a value error"))
        });
        settle();
        plain.kill();
        translating.kill();
        assert!(plain.join().unwrap_err().is_killed());
        let error: Result<(), _> = translating.join();
        let error = error.unwrap_err();
        assert!(error.is_panic() && !error.is_killed());
        assert_eq!(error.downcast_ref::<&str>(), Some(&"a value error"));
    });
}

// 9: test__greenlet.py TestKill
#[test]
fn a_second_kill_and_a_kill_of_a_finished_greenlet_change_nothing() {
    let _bound = bounded();
    sim::run(9, || {
        let killed = sleeper();
        settle();
        killed.kill();
        killed.kill();
        greenroom::sleep(ms(1));
        assert!(killed.is_finished());
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());

        let finished = greenroom::spawn(|| 42);
        settle();
        finished.kill();
        assert_eq!(greenroom::killall([&finished], None), 0);
        assert_eq!(finished.join().unwrap(), 42);
    });
}

// 10: test__greenlet.py, test__greenletset.py: `kill(block=False)`
#[test]
fn kill_returns_at_once_and_the_greenlet_ends_when_the_killer_parks() {
    let _bound = bounded();
    let greenlet = sleeper();
    greenroom::yield_now();
    greenlet.kill();
    assert!(!greenlet.is_finished());
    greenroom::yield_now();
    assert!(greenlet.is_finished());
}

// 11: gevent, `kill(timeout=..)` of a greenlet that swallows it
#[test]
fn a_limited_kill_of_a_shielded_greenlet_returns_in_time_and_finds_it_alive() {
    let _bound = bounded();
    sim::run(11, || {
        let greenlet = stubborn();
        settle();
        let before = greenroom::now();
        assert_eq!(greenroom::killall([&greenlet], Some(ms(100))), 1);
        assert_eq!(greenroom::now() - before, ms(100));
        assert!(!greenlet.is_finished());
        // The shield has ended of itself, and what is due is delivered at the next park.
        assert_eq!(greenroom::killall([&greenlet], None), 0);
    });
}

// 11, its other half: a kill that is swallowed is met again.
#[test]
fn a_swallowed_kill_comes_again_at_the_next_park() {
    let _bound = bounded();
    sim::run(11, || {
        let swallowed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&swallowed);
        let greenlet = greenroom::spawn(move || {
            for _ in 0..3 {
                let kill = panic::catch_unwind(|| greenroom::sleep(ms(60_000)));
                assert!(greenroom::is_cancellation(&*kill.unwrap_err()));
                count.fetch_add(1, Ordering::Relaxed);
            }
            greenroom::sleep(ms(60_000));
            unreachable!("the fourth is not caught");
        });
        settle();
        assert_eq!(greenroom::killall([&greenlet], Some(ms(100))), 0);
        assert_eq!(swallowed.load(Ordering::Relaxed), 3);
        assert!(greenlet.join().unwrap_err().is_killed());
    });
}

// 12: gevent, `kill` of a greenlet with a `finally` that blocks
#[test]
fn kill_waits_for_destructors_that_park() {
    let _bound = bounded();
    struct Slow(Arc<AtomicBool>);
    impl Drop for Slow {
        fn drop(&mut self) {
            greenroom::sleep(ms(50));
            self.0.store(true, Ordering::Relaxed);
        }
    }
    sim::run(12, || {
        let cleaned = Arc::new(AtomicBool::new(false));
        let slow = Slow(Arc::clone(&cleaned));
        let greenlet = greenroom::spawn(move || {
            let _slow = slow;
            greenroom::thread::park();
        });
        settle();
        let before = greenroom::now();
        assert_eq!(greenroom::killall([&greenlet], None), 0);
        assert!(cleaned.load(Ordering::Relaxed));
        assert_eq!(greenroom::now() - before, ms(50));
    });
}

// 13: test__greenletset.py test_killall_iterable_argument_timeout_not_started
#[test]
fn killall_of_greenlets_that_never_started_takes_no_time() {
    let _bound = bounded();
    sim::run(13, || {
        let greenlets: Vec<_> = (0..10).map(|_| stubborn()).collect();
        let before = greenroom::now();
        assert_eq!(greenroom::killall(&greenlets, Some(ms(500))), 0);
        assert_eq!(greenroom::now(), before);
        for greenlet in greenlets {
            assert!(greenlet.join().unwrap_err().is_killed());
        }
    });
}

// 13: test__greenletset.py test_killall_iterable_argument_timeout_started. gevent raises Timeout;
// here the survivors are counted.
#[test]
fn killall_counts_those_that_withstand_it_until_the_time_is_up() {
    let _bound = bounded();
    sim::run(13, || {
        let greenlets = [stubborn(), sleeper(), stubborn()];
        greenroom::sleep(ms(1));
        let before = greenroom::now();
        assert_eq!(greenroom::killall(&greenlets, Some(ms(500))), 2);
        assert_eq!(greenroom::now() - before, ms(500));
        assert!(greenlets[1].is_finished());
        assert!(!greenlets[0].is_finished() && !greenlets[2].is_finished());
    });
}

// 14: test__greenlet.py TestKillallRawGreenlet, test__greenletset.py. Raw greenlets do not exist
// here; every kind of collection of handles does.
#[test]
fn killall_and_joinall_take_arrays_vectors_options_and_iterators() {
    let _bound = bounded();
    sim::run(14, || {
        let array = [sleeper(), sleeper()];
        let vector = vec![sleeper()];
        let boxed: Box<[Greenlet<()>]> = Box::new([sleeper()]);
        let option = Some(sleeper());
        greenroom::sleep(ms(1));
        assert_eq!(greenroom::killall(&array, None), 0);
        assert_eq!(greenroom::killall(&vector, None), 0);
        assert_eq!(greenroom::killall(&option, None), 0);
        assert_eq!(greenroom::killall(boxed.iter().filter(|_| true), None), 0);
        let none: [&Greenlet<()>; 0] = [];
        assert_eq!(greenroom::killall(none, None), 0);

        let chained = array.into_iter().chain(vector).chain(option);
        let ends = greenroom::joinall(chained);
        assert_eq!(ends.len(), 4);
        assert!(ends.iter().all(|end| end.as_ref().unwrap_err().is_killed()));
        assert!(greenroom::joinall(Vec::<Greenlet<()>>::new()).is_empty());
    });
}

// 14, with the greenlets of a scope, which have handles of another type
#[test]
fn the_greenlets_of_a_scope_can_be_killed_and_waited_for() {
    let _bound = bounded();
    sim::run(14, || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            greenroom::scope(|scope| {
                let one = scope.spawn(|| greenroom::sleep(LONG));
                settle();
                one.kill();
                assert_eq!(greenroom::wait([&one]).ready().len(), 1);
                one.join().unwrap_err().is_killed()
            })
        }));
        assert!(outcome.unwrap());
    });
}
