//! Scopes in simulations: a scope that is cancelled cancels its greenlets, waits for them, and
//! goes on with what cancelled it; `try_scope` is cancelled by its first failure.
mod sim_support;

use greenroom::{
    Builder, Greenlet, foreign, is_cancellation, killall, scope, shield, sleep, spawn_local,
    thread, try_scope, with_timeout,
};
use sim_support::bounded;
use sim_support::{assert_nothing_is_left, ms};
use std::cell::{Cell, RefCell};
use std::num::ParseIntError;
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
    simulated(|| {
        let outcome = takes(ms(4), || {
            with_timeout(ms(5), || scope(|s| _ = s.spawn(|| sleep(ms(4)))))
        });
        assert!(outcome.is_ok());
    });
}

#[test]
fn a_panic_of_the_body_counts_for_more_than_a_timeout_that_comes_later() {
    let _bound = bounded();
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
    let _bound = bounded();
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
    let _bound = bounded();
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

// From here on: `try_scope`.

fn lives_for_an_hour<E>() -> Result<(), E> {
    sleep(HOUR);
    Ok(())
}

#[test]
fn a_try_scope_in_which_nothing_fails_returns_the_value_of_its_body() {
    let _bound = bounded();
    simulated(|| {
        let words = ["1", "2", "3"];
        let sum = takes(ms(7), || {
            try_scope(|s| {
                s.spawn(|| {
                    sleep(ms(7));
                    Ok::<(), ParseIntError>(())
                });
                let numbers = words.map(|word| s.spawn(move || word.parse::<i32>()));
                Ok(numbers
                    .map(|number| number.join().unwrap())
                    .iter()
                    .sum::<i32>())
            })
        });
        assert_eq!(sum, Ok(6));
    });
}

#[test]
fn its_first_error_kills_the_others_and_is_returned_once_they_have_ended() {
    let _bound = bounded();
    simulated(|| {
        let ended = Cell::new(0);
        let outcome = takes(ms(8), || {
            try_scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        let _slow = Slow(&ended);
                        lives_for_an_hour()
                    });
                }
                s.spawn(|| {
                    sleep(ms(5));
                    Err::<(), _>("the first")
                });
                s.spawn(|| {
                    sleep(ms(6));
                    Err::<(), _>("never returned")
                });
                Ok(())
            })
        });
        assert_eq!(outcome, Err("the first"));
        assert_eq!(ended.get(), 3);
    });
}

#[test]
fn its_body_is_ended_by_the_error_of_a_greenlet() {
    let _bound = bounded();
    let ways: [(&str, &dyn Fn()); 3] = [
        ("a wait", &|| sleep(HOUR)),
        ("a limit", &|| _ = with_timeout(HOUR, || sleep(HOUR))),
        ("a scope", &|| scope(|s| _ = s.spawn(|| sleep(HOUR)))),
    ];
    for (name, way) in ways {
        simulated(|| {
            let dropped = Cell::new(0);
            let outcome: Result<(), &str> = takes(ms(8), || {
                try_scope(|s| {
                    s.spawn(|| {
                        sleep(ms(5));
                        Err::<(), _>("of a greenlet")
                    });
                    let _slow = Slow(&dropped);
                    way();
                    unreachable!("{name}");
                })
            });
            assert_eq!(outcome, Err("of a greenlet"), "{name}");
            assert_eq!(dropped.get(), 1, "{name}");
        });
    }
}

#[test]
fn a_join_of_what_fails_does_not_return() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = takes(ms(5), || {
            try_scope(|s| {
                let endless = s.spawn(lives_for_an_hour);
                let fails = s.spawn(|| {
                    sleep(ms(5));
                    Err::<(), _>("of a greenlet")
                });
                let joins = s.spawn(|| -> Result<(), &str> {
                    fails.join().unwrap();
                    unreachable!("a sibling joined it");
                });
                _ = (joins.join(), endless);
                unreachable!("the body joined it");
            })
        });
        assert_eq!(outcome, Err("of a greenlet"));
    });
}

#[test]
fn an_error_of_its_body_kills_the_greenlets() {
    let _bound = bounded();
    simulated(|| {
        let ended = Cell::new(0);
        let outcome: Result<(), &str> = takes(ms(4), || {
            try_scope(|s| {
                s.spawn(|| {
                    let _slow = Slow(&ended);
                    lives_for_an_hour()
                });
                sleep(ms(1));
                Err("of the body")
            })
        });
        assert_eq!(outcome, Err("of the body"));
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn the_first_panic_of_a_greenlet_is_resumed_once_the_others_have_ended() {
    let _bound = bounded();
    simulated(|| {
        let ended = Cell::new(0);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            try_scope(|s| {
                s.spawn(|| {
                    let _slow = Slow(&ended);
                    lives_for_an_hour::<&str>()
                });
                s.spawn(|| -> Result<(), &str> {
                    sleep(ms(1));
                    panic::resume_unwind(Box::new("of a greenlet"))
                });
                lives_for_an_hour()
            })
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"of a greenlet"));
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn later_failures_are_logged() {
    let _bound = bounded();
    keep_log();
    simulated(|| {
        let late = |what: &'static str| {
            move || {
                shield(|| sleep(ms(5)));
                Err::<(), _>(what)
            }
        };
        let outcome: Result<(), &str> = try_scope(|s| {
            s.spawn(late("an error of a greenlet"));
            s.spawn(|| -> Result<(), &str> {
                shield(|| sleep(ms(5)));
                panic::resume_unwind(Box::new("a panic of a greenlet"))
            });
            s.spawn(|| {
                sleep(ms(1));
                Err::<(), _>("the first")
            });
            late("an error of the body")()
        });
        assert_eq!(outcome, Err("the first"));
    });
    for late in [
        "an error of a greenlet",
        "a panic of a greenlet",
        "an error of the body",
    ] {
        assert_eq!(
            logged(&["after its scope had been cancelled", late]),
            1,
            "{late}"
        );
    }
    assert_eq!(logged(&["the first"]), 0);
}

#[test]
fn a_greenlet_that_is_killed_by_hand_is_no_failure() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<u8, &str> = takes(ms(1), || {
            try_scope(|s| {
                let endless = s.spawn(lives_for_an_hour);
                sleep(ms(1));
                endless.kill();
                assert!(endless.join().unwrap_err().is_killed());
                Ok(7)
            })
        });
        assert_eq!(outcome, Ok(7));
    });
}

fn one_child_for_an_hour(ended: &Cell<usize>) -> Result<(), &'static str> {
    try_scope(|s| {
        s.spawn(|| {
            let _slow = Slow(ended);
            lives_for_an_hour()
        });
        Ok(())
    })
}

#[test]
fn a_timeout_and_a_kill_end_a_try_scope_and_go_on() {
    let _bound = bounded();
    simulated(|| {
        let ended = Rc::new(Cell::new(0));
        let outcome = takes(ms(13), || {
            with_timeout(ms(10), || one_child_for_an_hour(&ended))
        });
        assert!(outcome.is_err());
        let theirs = ended.clone();
        let victim = spawn_local(move || one_child_for_an_hour(&theirs));
        sleep(ms(1));
        assert_eq!(takes(ms(3), || killall([&victim], None)), 0);
        assert!(killed(victim));
        assert_eq!(ended.get(), 2);
    });
}

#[test]
fn a_failure_that_came_before_a_timeout_is_what_is_told() {
    let _bound = bounded();
    simulated(|| {
        let outcome = with_timeout(ms(10), || {
            let inner: Result<(), &str> = takes(ms(20), || {
                try_scope(|s| {
                    s.spawn(|| {
                        shield(|| sleep(ms(20)));
                        Ok(())
                    });
                    s.spawn(|| {
                        sleep(ms(1));
                        Err::<(), _>("of a greenlet")
                    });
                    lives_for_an_hour()
                })
            });
            assert_eq!(inner, Err("of a greenlet"));
            sleep(HOUR);
        });
        assert!(outcome.is_err());
    });
}

#[test]
fn an_error_passes_through_try_scopes_in_try_scopes() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = takes(ms(2), || {
            try_scope(|outer| {
                outer.spawn(|| {
                    try_scope(|inner| {
                        inner.spawn(|| {
                            sleep(ms(2));
                            Err::<(), _>("from within")
                        });
                        lives_for_an_hour()
                    })
                });
                outer.spawn(lives_for_an_hour);
                lives_for_an_hour()
            })
        });
        assert_eq!(outcome, Err("from within"));
    });
}

#[test]
fn where_its_body_may_not_unwind_a_join_says_that_the_scope_ends() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = takes(ms(1), || {
            try_scope(|s| {
                let fails = s.spawn(|| {
                    sleep(ms(1));
                    Err::<(), _>("of a greenlet")
                });
                let error = shield(|| fails.join()).unwrap_err();
                assert!(!error.is_killed() && !error.is_panic(), "{error}");
                assert!(
                    error.to_string().contains("its scope ends with that"),
                    "{error}"
                );
                Ok(())
            })
        });
        assert_eq!(outcome, Err("of a greenlet"));
    });
}

#[test]
fn a_body_that_is_recalled_while_it_is_in_c_goes_on_until_it_may_unwind() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = takes(ms(1), || {
            try_scope(|s| {
                s.spawn(|| {
                    sleep(ms(1));
                    Err::<(), _>("of a greenlet")
                });
                foreign(|| sleep(HOUR));
                lives_for_an_hour()
            })
        });
        assert_eq!(outcome, Err("of a greenlet"));
    });
}

#[test]
fn what_is_spawned_after_a_failure_never_begins() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = try_scope(|s| {
            s.spawn(|| Err::<(), _>("of a greenlet"));
            shield(|| sleep(ms(1)));
            s.spawn(|| -> Result<(), &str> { unreachable!() });
            Ok(())
        });
        assert_eq!(outcome, Err("of a greenlet"));
    });
}

#[test]
fn greenlets_of_a_try_scope_can_be_waited_for() {
    let _bound = bounded();
    simulated(|| {
        let outcome: Result<(), &str> = try_scope(|s| {
            let quick = s.spawn(|| Ok(()));
            let slow = s.spawn(lives_for_an_hour);
            assert_eq!(greenroom::wait([&slow, &quick]).count(1).ready().len(), 1);
            assert!(quick.is_finished() && !slow.is_finished());
            slow.kill();
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    });
}

#[test]
fn a_builder_returns_the_lack_of_a_stack_and_the_scope_need_not_fail() {
    let _bound = bounded();
    simulated(|| {
        let huge = || Builder::new().stack_size(1 << 50);
        let outcome: std::io::Result<()> = try_scope(|s| {
            huge().spawn_try_scoped(s, || Ok(()))?;
            unreachable!("it was spawned");
        });
        assert!(outcome.is_err());
    });
}
