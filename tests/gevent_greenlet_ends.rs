//! What gevent's own tests ask of the ends of greenlets (waiting for the first, links, scopes):
//! behaviours 15 to 21 of our list, re-written in our words after the test that each names, not
//! copied.
mod gevent_support;

use gevent_support::bounded;
use gevent_support::{LONG, Notes, ms};
use greenroom::{Greenlet, sim};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

/// Panics with its own delay, after it.
fn failing_after(delay: u64) -> Greenlet<()> {
    greenroom::spawn(move || {
        greenroom::sleep(ms(delay));
        panic::resume_unwind(Box::new(delay))
    })
}

fn ending_after(delay: u64) -> Greenlet<()> {
    greenroom::spawn(move || greenroom::sleep(ms(delay)))
}

// 15: test__greenlet.py test_joinall_exception_order. `joinall(raise_error=True)` is a loop over
// `iwait` here: by readiness, not by position.
#[test]
fn the_first_error_in_time_comes_first_whatever_its_position() {
    let _bound = bounded();
    sim::run(15, || {
        let greenlets = [failing_after(30), ending_after(5), failing_after(10)];
        let order: Vec<_> = greenroom::iwait(&greenlets).map(Greenlet::id).collect();
        let ids = greenlets.each_ref().map(Greenlet::id);
        assert_eq!(order, [ids[1], ids[2], ids[0]]);
        let ends = greenroom::joinall(greenlets);
        let delays = ends
            .iter()
            .map(|end| end.as_ref().err()?.downcast_ref().copied());
        assert_eq!(
            delays.collect::<Vec<_>>(),
            [Some(30_u64), None, Some(10)],
            "joinall itself answers in the order of its arguments"
        );
    });
}

// 16: test__greenlet.py test_joinall_count_raise_error
#[test]
fn a_wait_for_one_returns_with_the_failing_one_and_leaves_the_sleeper_alone() {
    let _bound = bounded();
    sim::run(16, || {
        let greenlets = [ending_after(60_000), failing_after(10)];
        let before = greenroom::now();
        let first = greenroom::wait(&greenlets).count(1).ready();
        assert_eq!(greenroom::now() - before, ms(10));
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].id(), greenlets[1].id());
        assert!(!greenlets[0].is_finished());
        let [sleeper, failed] = greenlets;
        assert!(failed.join().unwrap_err().is_panic());
        sleeper.join().unwrap();
        assert_eq!(greenroom::now() - before, ms(60_000));
    });
}

// 16: test__greenlet.py, `joinall(timeout=..)`
#[test]
fn a_wait_returns_those_that_are_ready_when_its_time_is_up() {
    let _bound = bounded();
    sim::run(16, || {
        let greenlets = [ending_after(60_000), ending_after(20), ending_after(10)];
        let before = greenroom::now();
        let ready = greenroom::wait(&greenlets).timeout(ms(100)).ready();
        assert_eq!(greenroom::now() - before, ms(100));
        let ready: Vec<_> = ready.into_iter().map(Greenlet::id).collect();
        assert_eq!(ready, [greenlets[2].id(), greenlets[1].id()]);
    });
}

// 17: test__joinall.py
#[test]
fn a_greenlet_given_twice_is_waited_for_once_and_comes_twice() {
    let _bound = bounded();
    sim::run(17, || {
        let (slow, fast) = (ending_after(20), ending_after(10));
        let order = greenroom::wait([&slow, &fast, &slow]).ready();
        let order: Vec<_> = order.into_iter().map(Greenlet::id).collect();
        assert_eq!(order, [fast.id(), slow.id(), slow.id()]);
        // Also when all have finished already.
        assert_eq!(greenroom::wait([&slow, &slow]).ready().len(), 2);
        assert_eq!(greenroom::killall([&slow, &slow], None), 0);
    });
}

// 18: test__order.py TestM
#[test]
fn a_thousand_links_run_in_the_order_of_linking() {
    let _bound = bounded();
    let notes = Notes::new();
    let greenlet = greenroom::spawn(|| ());
    for number in 0..1000 {
        let pen = notes.pen();
        greenlet.link(move |_| pen(number));
    }
    greenlet.join().unwrap();
    greenroom::idle();
    assert_eq!(notes.read(), (0..1000).collect::<Vec<_>>());
}

// 19: test__greenlet.py TestReturn_link*, TestRaise_link*. gevent's link_value and link_exception
// choose by the outcome; here the outcome belongs to the owner of the handle, and a link is told
// of every end.
#[test]
fn a_link_fires_once_for_a_value_a_panic_and_a_kill() {
    let _bound = bounded();
    sim::run(19, || {
        let greenlets = [ending_after(1), failing_after(1), ending_after(60_000)];
        let notes = Notes::new();
        for greenlet in &greenlets {
            let pen = notes.pen();
            greenlet.link(move |who| pen(who.id()));
        }
        greenroom::sleep(ms(2));
        greenlets[2].kill();
        greenroom::sleep(ms(2));
        let mut ended = notes.read();
        ended.sort();
        let mut ids = greenlets.each_ref().map(Greenlet::id);
        ids.sort();
        assert_eq!(ended, ids);
    });
}

// 19: test__greenlet.py test_link_to_current and relatives: after completion
#[test]
fn a_link_made_after_the_end_fires_still_and_never_at_once() {
    let _bound = bounded();
    sim::run(19, || {
        let notes = Notes::new();
        let greenlet = ending_after(0);
        greenroom::sleep(ms(1));
        assert!(greenlet.is_finished());
        let pen = notes.pen();
        greenlet.link(move |who| pen(who.id()));
        assert_eq!(notes.read(), [], "it has a greenlet of its own");
        greenroom::sleep(ms(1));
        assert_eq!(notes.read(), [greenlet.id()]);
    });
}

// 20: test__greenlet.py test_multiple_listeners_error
#[test]
fn a_panic_in_a_link_does_not_stop_the_others() {
    let _bound = bounded();
    let notes = Notes::new();
    let greenlet = greenroom::spawn(|| ());
    let pen = notes.pen();
    greenlet.link(move |_| pen(1));
    greenlet.link(|_| panic!("in a link"));
    let pen = notes.pen();
    greenlet.link(move |_| pen(3));
    greenlet.join().unwrap();
    greenroom::idle();
    assert_eq!(notes.read(), [1, 3]);
}

// 20: test__greenlet.py test_multiple_listeners_error_unlink
#[test]
fn a_link_that_unlinks_a_later_one_prevents_it() {
    let _bound = bounded();
    let notes = Notes::new();
    let greenlet = greenroom::spawn(|| ());
    let (give, take) = std::sync::mpsc::channel::<greenroom::Link>();
    let pen = notes.pen();
    greenlet.link(move |_| pen(take.recv().unwrap().unlink()));
    let later = greenlet.link(|_| unreachable!("it has been unlinked"));
    give.send(later).unwrap();
    greenlet.join().unwrap();
    greenroom::idle();
    assert_eq!(notes.read(), [true]);
}

// 20: test__greenlet.py, `unlink`
#[test]
fn unlink_is_in_time_until_the_link_has_run() {
    let _bound = bounded();
    sim::run(20, || {
        let greenlet = ending_after(10);
        assert!(greenlet.link(|_| unreachable!()).unlink());
        let late = greenlet.link(|_| ());
        greenroom::sleep(ms(20));
        assert!(!late.unlink());
    });
}

// 21: test__greenlet.py TestContextManager
#[test]
fn leaving_a_scope_joins_its_greenlets() {
    let _bound = bounded();
    sim::run(21, || {
        let ended = Cell::new(0);
        let before = greenroom::now();
        greenroom::scope(|scope| {
            for delay in [10, 30, 20] {
                let ended = &ended;
                scope.spawn(move || {
                    greenroom::sleep(ms(delay));
                    ended.set(ended.get() + 1);
                });
            }
        });
        assert_eq!(ended.get(), 3);
        assert_eq!(greenroom::now() - before, ms(30));
    });
}

// 21: test__greenlet.py TestContextManager, the body raises
#[test]
fn a_panic_in_the_body_of_a_scope_kills_its_greenlets_and_goes_on() {
    let _bound = bounded();
    sim::run(21, || {
        let finished = Cell::new(false);
        let before = greenroom::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            greenroom::scope(|scope| {
                scope.spawn(|| {
                    greenroom::sleep(LONG);
                    finished.set(true);
                });
                greenroom::sleep(ms(1));
                panic::resume_unwind(Box::new("the body's own"));
            })
        }));
        let payload: Box<dyn std::any::Any + Send> = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the body's own"));
        assert!(!finished.get());
        assert_eq!(greenroom::now() - before, ms(1));
    });
}
