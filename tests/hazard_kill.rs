//! Kill and timeout at every park point. Rows 8 to 11 of the register of hazards.
mod hazard_support;

use greenroom::{foreign, is_cancellation, shield, sleep, spawn_local, with_timeout, yield_now};
use hazard_support::{Count, HOUR, IN_C, OnDrop, PARKS, bounded, endless, leak_free, ms, settle};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::{Duration, Instant};

// Rows 7, 8: the kill protocol at each park point.
#[test]
fn a_kill_ends_every_park_and_runs_each_destructor_once() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let guard = drops.guard();
            let victim = spawn_local(move || {
                let _guard = guard;
                park();
            });
            settle();
            assert!(!victim.is_finished(), "{name} does not park");
            victim.kill();
            let error = victim.join().expect_err(name);
            assert!(error.is_killed(), "{name}: {error}");
            assert_eq!(drops.get(), 1, "{name}");
        });
    }
}

// Row 8: whatever the moment, also before the first step.
#[test]
fn a_kill_after_any_number_of_steps_ends_every_park() {
    let _bound = bounded();
    for (name, park) in PARKS {
        for steps in 0..4 {
            leak_free(name, || {
                let drops = Count::default();
                let guard = drops.guard();
                let victim = spawn_local(move || {
                    let _guard = guard;
                    park();
                });
                (0..steps).for_each(|_| yield_now());
                victim.kill();
                assert!(victim.join().expect_err(name).is_killed(), "{name}");
                assert_eq!(drops.get(), 1, "{name} after {steps} steps");
            });
        }
    }
}

// Row 11.
#[test]
fn a_timeout_ends_every_park_and_runs_each_destructor_once() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let guard = drops.guard();
            let late = spawn_local(move || {
                let late = with_timeout(ms(2), || {
                    let _guard = guard;
                    park();
                });
                sleep(ms(1));
                late
            });
            let late = late.join().unwrap();
            assert_eq!(late.expect_err(name).limit(), ms(2), "{name}");
            assert_eq!(drops.get(), 1, "{name}");
        });
    }
}

#[test]
fn a_timeout_in_the_root_ends_every_park() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let late = with_timeout(ms(2), || {
                let _guard = drops.guard();
                park();
            });
            assert!(late.is_err(), "{name}");
            assert_eq!(drops.get(), 1, "{name}");
        });
    }
}

#[test]
fn a_shield_holds_a_kill_off_every_park_while_its_own_timeout_works() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let (inner, outer) = (drops.guard(), drops.guard());
            let elapsed = Rc::new(Cell::new(false));
            let theirs = Rc::clone(&elapsed);
            let victim = spawn_local(move || {
                let _outer = outer;
                let late = shield(|| {
                    with_timeout(ms(6), || {
                        let _inner = inner;
                        park();
                    })
                });
                theirs.set(late.is_err());
                loop {
                    sleep(HOUR);
                }
            });
            settle();
            victim.kill();
            assert!(victim.join().expect_err(name).is_killed(), "{name}");
            assert!(elapsed.get(), "{name}: the shield let the kill through");
            assert_eq!(drops.get(), 2, "{name}");
        });
    }
}

// Rows 9, 11: a destructor may park anywhere, and bound that.
#[test]
fn a_destructor_parks_anywhere_while_its_greenlet_is_killed() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let guard = drops.guard();
            let count = drops.clone();
            let victim = spawn_local(move || {
                let _first = guard;
                let _second = OnDrop(|| {
                    if with_timeout(ms(2), park).is_err() {
                        count.add();
                    }
                });
                sleep(HOUR);
            });
            settle();
            victim.kill();
            assert!(victim.join().expect_err(name).is_killed(), "{name}");
            assert_eq!(drops.get(), 2, "{name}");
        });
    }
}

#[test]
fn a_destructor_parks_anywhere_while_its_greenlet_panics() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let count = drops.clone();
            let victim = spawn_local(move || {
                let _drop = OnDrop(|| {
                    if with_timeout(ms(2), park).is_err() {
                        count.add();
                    }
                });
                panic::resume_unwind(Box::new("oh"));
            });
            let error = victim.join().expect_err(name);
            assert_eq!(error.downcast_ref::<&str>(), Some(&"oh"), "{name}");
            assert_eq!(drops.get(), 1, "{name}");
            assert!(!std::thread::panicking());
        });
    }
}

// Row 10: no unwinding below C; the next park of our own delivers.
#[test]
fn a_kill_below_c_comes_as_an_early_end_and_unwinds_at_the_next_park() {
    let _bound = bounded();
    for (name, park) in PARKS.iter().filter(|(name, _)| IN_C.contains(name)) {
        leak_free(name, || {
            let returned = Rc::new(Cell::new(false));
            let theirs = Rc::clone(&returned);
            let victim = spawn_local(move || {
                foreign(park);
                theirs.set(true);
                sleep(HOUR);
            });
            settle();
            assert!(!returned.get(), "{name} does not park");
            victim.kill();
            assert!(victim.join().expect_err(name).is_killed(), "{name}");
            assert!(returned.get(), "{name} was unwound through C");
        });
    }
}

#[test]
fn a_timeout_below_c_comes_as_an_early_end() {
    let _bound = bounded();
    for (name, park) in PARKS.iter().filter(|(name, _)| IN_C.contains(name)) {
        leak_free(name, || {
            let returned = Cell::new(false);
            let late = with_timeout(ms(2), || {
                foreign(park);
                returned.set(true);
                sleep(HOUR);
            });
            assert!(late.is_err(), "{name}");
            assert!(returned.get(), "{name} was unwound through C");
        });
    }
}

// Rows 7, 8: code that swallows the unwind meets it again, and starves nobody meanwhile.
#[test]
fn a_loop_that_swallows_its_kill_does_not_keep_the_others_from_running() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let (stop, met) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u32)));
            let (stopped, count) = (Rc::clone(&stop), Rc::clone(&met));
            let swallower = spawn_local(move || {
                while !stopped.get() {
                    let unwound = panic::catch_unwind(AssertUnwindSafe(park));
                    if unwound.is_err_and(|payload| is_cancellation(&*payload)) {
                        count.set(count.get() + 1);
                    }
                }
            });
            settle();
            let survivors = greenroom::killall([&swallower], Some(ms(5)));
            assert_eq!(survivors, 1, "{name}");
            // A busy machine may have used up the limit within the first.
            while met.get() < 2 {
                yield_now();
            }
            stop.set(true);
            swallower.join().unwrap();
        });
    }
}

#[test]
fn a_loop_that_swallows_its_timeout_does_not_keep_the_others_from_running() {
    let _bound = bounded();
    leak_free("a loop", || {
        let stop = Rc::new(Cell::new(false));
        let theirs = Rc::clone(&stop);
        let swallower = spawn_local(move || {
            with_timeout(ms(1), || {
                while !theirs.get() {
                    let _ = panic::catch_unwind(|| sleep(HOUR));
                }
            })
        });
        sleep(ms(10));
        stop.set(true);
        assert_eq!(swallower.join().unwrap(), Ok(()));
    });
}

// Row 10: where a kill can't unwind, a loop around the park must not starve the others either.
#[test]
fn a_killed_loop_below_c_does_not_keep_the_others_from_running() {
    let _bound = bounded();
    let parks: [(&str, fn()); 5] = [
        ("sleep", || sleep(HOUR)),
        ("yield_now", yield_now),
        ("idle", greenroom::idle),
        ("park", greenroom::thread::park),
        ("park_timeout", || greenroom::thread::park_timeout(HOUR)),
    ];
    for (name, park) in parks {
        leak_free(name, || {
            let stop = Rc::new(Cell::new(false));
            let theirs = Rc::clone(&stop);
            let victim = spawn_local(move || {
                foreign(|| {
                    while !theirs.get() {
                        park();
                    }
                });
                sleep(HOUR);
            });
            settle();
            victim.kill();
            settle();
            stop.set(true);
            assert!(victim.join().unwrap_err().is_killed(), "{name}");
        });
    }
}

#[test]
fn a_kill_is_met_again_at_each_further_park_until_the_end() {
    let _bound = bounded();
    leak_free("sticky", || {
        let victim = spawn_local(|| {
            let kills = PARKS.iter().filter(|(_, park)| {
                let unwound = panic::catch_unwind(park);
                unwound.is_err_and(|payload| is_cancellation(&*payload))
            });
            kills.count()
        });
        yield_now();
        victim.kill();
        assert_eq!(victim.join().unwrap(), PARKS.len());
    });
}

#[test]
fn a_greenlet_that_does_not_park_any_more_outruns_its_kill() {
    let _bound = bounded();
    leak_free("outrun", || {
        let victim = spawn_local(|| {
            let _ = panic::catch_unwind(|| sleep(HOUR));
            "done"
        });
        yield_now();
        victim.kill();
        assert_eq!(victim.join().unwrap(), "done");
    });
}

#[test]
fn a_kill_of_what_has_finished_is_nothing() {
    let _bound = bounded();
    leak_free("finished", || {
        let done = spawn_local(|| 7);
        yield_now();
        done.kill();
        assert_eq!(greenroom::killall([&done], None), 0);
        assert_eq!(done.join().unwrap(), 7);
    });
}

#[test]
fn a_greenlet_killed_before_its_start_drops_its_closure_and_never_runs() {
    let _bound = bounded();
    leak_free("before the start", || {
        let drops = Count::default();
        let guard = drops.guard();
        let never = spawn_local(move || {
            let _guard = guard;
            unreachable!("it was killed before");
        });
        never.kill();
        assert!(never.join().unwrap_err().is_killed());
        assert_eq!(drops.get(), 1);
        let later = greenroom::spawn_later(HOUR, || unreachable!("it was killed before"));
        yield_now();
        later.kill();
        assert!(later.join().unwrap_err().is_killed());
    });
}

#[test]
fn a_kill_comes_from_another_thread_as_well() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let guard = drops.guard();
            let victim = greenroom::spawn_local(move || {
                let _guard = guard;
                park();
            });
            settle();
            std::thread::scope(|s| {
                let victim = &victim;
                s.spawn(move || victim.kill());
            });
            assert!(victim.join().expect_err(name).is_killed(), "{name}");
            assert_eq!(drops.get(), 1, "{name}");
        });
    }
}

#[test]
fn one_that_kills_itself_ends_at_its_next_park() {
    let _bound = bounded();
    leak_free("itself", || {
        let own = Rc::new(Cell::new(None::<greenroom::Greenlet<()>>));
        let theirs = Rc::clone(&own);
        let steps = Count::default();
        let count = steps.clone();
        let victim = spawn_local(move || {
            let me = theirs.take().unwrap();
            me.kill();
            count.add();
            yield_now();
            count.add();
        });
        own.set(Some(victim));
        hazard_support::settle();
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn a_killed_scope_returns_only_after_its_children() {
    let _bound = bounded();
    for (name, park) in PARKS {
        leak_free(name, || {
            let drops = Count::default();
            let count = drops.clone();
            let victim = spawn_local(move || {
                let _after = OnDrop(|| assert_eq!(count.get(), 2, "{name}: before its children"));
                greenroom::scope(|s| {
                    for _ in 0..2 {
                        s.spawn(|| {
                            let _slow = OnDrop(|| {
                                sleep(ms(2));
                                count.add();
                            });
                            park();
                        });
                    }
                    sleep(HOUR);
                });
            });
            settle();
            victim.kill();
            assert!(victim.join().expect_err(name).is_killed(), "{name}");
            assert_eq!(drops.get(), 2, "{name}");
        });
    }
}

// Row 11: by identity.
#[test]
fn the_outer_of_two_timeouts_passes_through_the_inner() {
    let _bound = bounded();
    leak_free("outer first", || {
        let inner = Cell::new(false);
        let outer = with_timeout(ms(2), || {
            inner.set(with_timeout(HOUR, || sleep(HOUR)).is_err());
        });
        assert_eq!(outer.unwrap_err().limit(), ms(2));
        assert!(!inner.get(), "the inner one caught the outer's");
        let inner_first = with_timeout(HOUR, || with_timeout(ms(2), || sleep(HOUR)));
        assert_eq!(inner_first.unwrap().unwrap_err().limit(), ms(2));
    });
}

#[test]
fn of_two_timeouts_that_are_both_due_the_earlier_is_delivered() {
    let _bound = bounded();
    leak_free("both due", || {
        let begin = Instant::now();
        let outer = with_timeout(ms(1), || {
            with_timeout(ms(2), || {
                while begin.elapsed() < ms(4) {}
                sleep(HOUR);
            })
        });
        assert_eq!(outer.unwrap_err().limit(), ms(1));
    });
}

#[test]
fn a_timeout_waits_for_the_end_of_a_shield() {
    let _bound = bounded();
    greenroom::sim::run(7, || {
        let begin = greenroom::now();
        let late = with_timeout(ms(5), || {
            shield(|| sleep(ms(50)));
            sleep(HOUR);
        });
        assert!(late.is_err());
        assert_eq!(greenroom::now() - begin, ms(50));
    });
}

#[test]
fn a_kill_passes_through_any_number_of_timeouts_that_are_not_due() {
    let _bound = bounded();
    leak_free("kill through timeouts", || {
        fn nested(depth: usize) {
            if depth == 0 {
                sleep(HOUR);
            } else {
                with_timeout(HOUR, || nested(depth - 1)).unwrap();
            }
        }
        let victim = spawn_local(|| nested(50));
        yield_now();
        victim.kill();
        assert!(victim.join().unwrap_err().is_killed());
    });
}

#[test]
fn a_timeout_does_not_reach_into_what_its_greenlet_has_spawned() {
    let _bound = bounded();
    leak_free("spawned inside", || {
        let slow = with_timeout(ms(1), || {
            let slow = spawn_local(|| {
                sleep(ms(5));
                "finished"
            });
            std::thread::sleep(ms(2));
            slow
        });
        assert_eq!(slow.unwrap().join().unwrap(), "finished");
    });
}

#[test]
fn killall_counts_those_who_withstand() {
    let _bound = bounded();
    leak_free("killall", || {
        let ((stubborn, end), meek) = (endless(), spawn_local(|| sleep(HOUR)));
        settle();
        let begin = Instant::now();
        assert_eq!(greenroom::killall([&stubborn, &meek], Some(ms(5))), 1);
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(end);
        stubborn.join().unwrap();
    });
}
