//! Scopes in simulations: a scope that is cancelled cancels its greenlets, waits for them, and
//! goes on with what cancelled it; `try_scope` is cancelled by its first failure.
mod sim_support;

use greenroom::{
    Builder, Greenlet, foreign, is_cancellation, killall, scope, shield, sleep, spawn_local,
    thread, with_timeout,
};
use sim_support::{assert_nothing_is_left, ms};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `program` in a simulation that must leave nothing behind.
fn simulated(program: impl FnOnce()) {
    greenroom::sim::run(1, || {
        program();
        assert_nothing_is_left();
    });
}

/// Asserts that `work` takes exactly so long.
#[track_caller]
fn takes<T>(time: Duration, work: impl FnOnce() -> T) -> T {
    let begin = greenroom::now();
    let result = work();
    assert_eq!(greenroom::now() - begin, time);
    result
}

/// Counts how often it is dropped, each time after a wait.
struct Slow<'a>(&'a Cell<usize>);

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        sleep(ms(3));
        self.0.set(self.0.get() + 1);
    }
}

fn killed<T>(greenlet: Greenlet<T>) -> bool {
    greenlet.join().is_err_and(|error| error.is_killed())
}

#[test]
fn a_timeout_ends_the_greenlets_that_a_scope_waits_for_at_its_end() {
    simulated(|| {
        let ended = Cell::new(0);
        let outcome = takes(ms(53), || {
            with_timeout(ms(50), || {
                scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| {
                            let _slow = Slow(&ended);
                            sleep(HOUR);
                        });
                    }
                });
            })
        });
        assert!(outcome.is_err());
        assert_eq!(ended.get(), 3);
    });
}

#[test]
fn a_kill_ends_them_as_well_and_goes_on() {
    simulated(|| {
        let (ended, after) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (theirs, reached) = (ended.clone(), after.clone());
        let victim = spawn_local(move || {
            thread::scope(|s| {
                s.spawn(|| {
                    let _slow = Slow(&theirs);
                    sleep(HOUR);
                });
            });
            reached.set(true);
        });
        sleep(ms(1));
        assert_eq!(takes(ms(3), || killall([&victim], None)), 0);
        assert!(killed(victim));
        assert_eq!((ended.get(), after.get()), (1, false));
    });
}

#[test]
fn the_cancellation_goes_through_scopes_in_scopes() {
    simulated(|| {
        let ended = Cell::new(0);
        let outcome = takes(ms(13), || {
            with_timeout(ms(10), || {
                scope(|outer| {
                    outer.spawn(|| {
                        scope(|inner| {
                            inner.spawn(|| {
                                let _slow = Slow(&ended);
                                sleep(HOUR);
                            });
                        });
                        ended.set(100);
                    });
                });
                ended.set(200);
            })
        });
        assert!(outcome.is_err());
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn of_two_timeouts_the_one_that_expired_first_is_told() {
    simulated(|| {
        // The outer one expires while the scope waits for what the inner one has killed.
        let outer = takes(ms(20), || {
            with_timeout(ms(15), || {
                let inner = with_timeout(ms(10), || {
                    scope(|s| {
                        s.spawn(|| shield(|| sleep(ms(20))));
                    });
                });
                assert!(inner.is_err());
                sleep(HOUR);
            })
        });
        assert!(outer.is_err());
        let outer = takes(ms(10), || {
            with_timeout(ms(10), || {
                let inner = with_timeout(ms(15), || {
                    scope(|s| {
                        s.spawn(|| sleep(HOUR));
                    });
                });
                unreachable!("{inner:?}");
            })
        });
        assert!(outer.is_err());
    });
}

#[test]
fn a_shield_around_a_scope_holds_the_cancellation_off() {
    simulated(|| {
        let outcome = takes(ms(20), || {
            with_timeout(ms(5), || {
                shield(|| scope(|s| _ = s.spawn(|| sleep(ms(20)))));
                sleep(HOUR);
            })
        });
        assert!(outcome.is_err());
    });
}

#[test]
fn what_is_spawned_on_a_cancelled_scope_never_begins() {
    struct Heir<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Heir<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    simulated(|| {
        let begun = Cell::new(false);
        let outcome = takes(ms(5), || {
            with_timeout(ms(5), || {
                scope(|s| {
                    s.spawn(|| {
                        let _heir = Heir(|| {
                            s.spawn(|| begun.set(true));
                        });
                        sleep(HOUR);
                    });
                });
            })
        });
        assert!(outcome.is_err());
        assert!(!begun.get());
    });
}

#[test]
fn a_limit_of_zero_is_kept_by_a_scope() {
    simulated(|| {
        let begun = Cell::new(false);
        let outcome = takes(Duration::ZERO, || {
            with_timeout(Duration::ZERO, || {
                scope(|s| _ = s.spawn(|| begun.set(true)))
            })
        });
        assert!(outcome.is_err());
        assert!(!begun.get());
    });
}

#[test]
fn what_ends_in_time_is_not_cancelled() {
    simulated(|| {
        let outcome = takes(ms(4), || {
            with_timeout(ms(5), || scope(|s| _ = s.spawn(|| sleep(ms(4)))))
        });
        assert!(outcome.is_ok());
    });
}

#[test]
fn a_panic_of_the_body_counts_for_more_than_a_timeout_that_comes_later() {
    simulated(|| {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            with_timeout(ms(5), || {
                scope(|s| {
                    s.spawn(|| shield(|| sleep(ms(10))));
                    sleep(ms(1));
                    panic::resume_unwind(Box::new("of the body"));
                })
            })
        }));
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"of the body"));
        assert!(!is_cancellation(&*payload));
    });
}

#[test]
fn where_nothing_may_unwind_a_cancelled_scope_ends_early_and_returns() {
    simulated(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let theirs = order.clone();
        let victim = spawn_local(move || {
            foreign(|| {
                scope(|s| {
                    s.spawn(|| sleep(HOUR));
                });
                theirs.borrow_mut().push("the scope has returned");
            });
            sleep(HOUR);
            theirs.borrow_mut().push("the kill was lost");
        });
        sleep(ms(1));
        assert_eq!(takes(Duration::ZERO, || killall([&victim], Some(ms(9)))), 0);
        assert!(killed(victim));
        assert_eq!(*order.borrow(), ["the scope has returned"]);
    });
}

/// Keeps what is logged on this OS thread.
struct Keeps;

thread_local! {
    static LOGGED: RefCell<Vec<String>> = RefCell::default();
}

impl log::Log for Keeps {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| logged.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// How many lines have been logged that contain all of `words`.
fn logged(words: &[&str]) -> usize {
    let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
    LOGGED.with_borrow(|logged| logged.iter().filter(has_all).count())
}

fn keep_log() {
    // Another test may have been first.
    let _ = log::set_logger(&Keeps);
    log::set_max_level(log::LevelFilter::Warn);
}

#[test]
fn a_greenlet_that_withstands_its_kill_keeps_its_scope_waiting_and_is_named() {
    keep_log();
    simulated(|| {
        let borrowed = [7; 64];
        let outcome = takes(HOUR, || {
            with_timeout(ms(5), || {
                scope(|s| {
                    let builder = Builder::new().name("stubborn".into());
                    let stubborn = builder.spawn_scoped(s, || {
                        shield(|| sleep(HOUR));
                        assert_eq!(borrowed, [7; 64]);
                    });
                    drop(stubborn.unwrap());
                });
            })
        });
        assert!(outcome.is_err());
        assert_eq!(
            logged(&["their scope still waits for", "'stubborn'", "sleep"]),
            1
        );
    });
}
