//! Panics and unwinding on several stacks. Rows 4 to 6 and 12 of the register of hazards.
mod hazard_support;

use greenroom::net::UdpSocket;
use greenroom::{Builder, scope, sleep, spawn, spawn_local, thread, with_timeout, yield_now};
use hazard_support::{
    Count, HOUR, OnDrop, PARKS, alone, alone_and_well, bounded, leak_free, leak_free_in_sim, ms,
};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::panicking;
use std::time::{Duration, Instant};

fn quiet_panic() -> ! {
    panic::resume_unwind(Box::new("oh"))
}

/// A greenlet that panics, and parks `during` that in a destructor.
fn unwinds(during: impl FnMut() + 'static) -> greenroom::Greenlet<()> {
    spawn_local(move || {
        let _drop = OnDrop(during);
        quiet_panic();
    })
}

// Row 4, both directions.
#[test]
fn a_greenlet_does_not_see_that_another_one_unwinds() {
    let _bound = bounded();
    leak_free("panicking", || {
        for (_, park) in PARKS {
            let seen = Count::default();
            let count = seen.clone();
            let unwinding = unwinds(move || {
                assert!(panicking());
                let _ = with_timeout(ms(2), park);
                assert!(panicking());
                count.add();
            });
            yield_now();
            assert!(!panicking());
            let innocent = spawn(|| (panicking(), panic::catch_unwind(|| quiet_panic()).is_err()));
            assert_eq!(innocent.join().unwrap(), (false, true));
            assert!(unwinding.join().unwrap_err().is_panic());
            assert_eq!(seen.get(), 1);
            assert!(!panicking());
        }
    });
}

#[test]
fn a_mutex_is_poisoned_by_who_panics_and_by_nobody_else() {
    let _bound = bounded();
    leak_free_in_sim("poison", || {
        let (innocent, guilty) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (theirs, sleeps) = (Arc::clone(&guilty), Cell::new(ms(4)));
        let panics = spawn_local(move || {
            let _held = theirs.lock().unwrap();
            let _parks = OnDrop(move || sleep(sleeps.get()));
            quiet_panic();
        });
        sleep(Duration::from_micros(1));
        let theirs = Arc::clone(&innocent);
        let locks = spawn_local(move || {
            let _held = theirs.lock().unwrap();
            sleep(ms(1));
        });
        locks.join().unwrap();
        assert!(!innocent.is_poisoned());
        assert!(
            !guilty.is_poisoned(),
            "its holder is still in an earlier destructor"
        );
        assert!(panics.join().is_err());
        assert!(guilty.is_poisoned());
        assert!(!innocent.is_poisoned());
    });
}

#[test]
fn a_killed_greenlet_poisons_what_it_holds_and_a_shielded_one_does_not() {
    let _bound = bounded();
    leak_free("kill and poison", || {
        let mutex = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&mutex);
        let victim = spawn_local(move || {
            {
                let _held = theirs.lock().unwrap();
                greenroom::shield(|| sleep(ms(2)));
            }
            sleep(HOUR);
        });
        yield_now();
        assert_eq!(greenroom::killall([&victim], None), 0);
        assert!(!mutex.is_poisoned());
        let theirs = Arc::clone(&mutex);
        let victim = spawn_local(move || {
            let _held = theirs.lock().unwrap();
            sleep(HOUR);
        });
        yield_now();
        assert_eq!(greenroom::killall([&victim], None), 0);
        assert!(mutex.is_poisoned());
    });
}

#[test]
fn unwinding_greenlets_may_end_in_any_order() {
    let _bound = bounded();
    for seed in 0..100 {
        greenroom::sim::run(seed, || {
            let greenlets: Vec<_> = (0..8_u64)
                .map(|n| {
                    unwinds(move || {
                        assert!(panicking());
                        sleep(ms(n * 7 % 5));
                        assert!(panicking());
                        (0..n).for_each(|_| yield_now());
                        assert!(panicking());
                    })
                })
                .collect();
            for greenlet in greenlets {
                let error = greenlet.join().unwrap_err();
                assert_eq!(error.downcast_ref::<&str>(), Some(&"oh"));
            }
            assert!(!panicking());
        });
    }
}

// Row 4: a second panic while the first unwinds.
#[test]
fn a_second_panic_that_is_caught_inside_a_destructor_leaves_the_first_one_as_it_was() {
    let _bound = bounded();
    leak_free("second panic", || {
        let seen = Count::default();
        let count = seen.clone();
        let greenlet = unwinds(move || {
            let second = panic::catch_unwind(AssertUnwindSafe(|| {
                let _deeper = OnDrop(|| {
                    sleep(ms(1));
                    let third = panic::catch_unwind(|| {
                        yield_now();
                        quiet_panic();
                    });
                    assert!(third.is_err());
                    count.add();
                });
                sleep(ms(1));
                quiet_panic();
            }));
            assert!(second.is_err());
            assert!(panicking());
            count.add();
        });
        let others: Vec<_> = (0..3).map(|_| unwinds(|| sleep(ms(1)))).collect();
        assert!(greenlet.join().unwrap_err().is_panic());
        assert_eq!(seen.get(), 2);
        greenroom::joinall(others)
            .iter()
            .for_each(|result| assert!(result.is_err()));
        assert!(!panicking());
    });
}

#[test]
fn a_destructor_may_join_and_spawn_and_catch_while_it_unwinds() {
    let _bound = bounded();
    leak_free("destructors", || {
        let seen = Count::default();
        let count = seen.clone();
        let (sibling, own) = (spawn(|| sleep(ms(2))), Cell::new(None));
        own.set(Some(sibling));
        let greenlet = unwinds(move || {
            own.take().unwrap().join().unwrap();
            assert!(!spawn(panicking).join().unwrap());
            let sum: u32 = scope(|s| s.spawn(|| 7).join().unwrap());
            assert_eq!(sum, 7);
            assert!(!greenroom::run(|| spawn(panicking).join().unwrap()));
            count.add();
        });
        assert!(greenlet.join().unwrap_err().is_panic());
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn a_root_that_parks_while_it_unwinds_hides_that_from_its_greenlets() {
    let _bound = bounded();
    leak_free("the root", || {
        let drops = Count::default();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let _drop = OnDrop(|| {
                assert!(panicking());
                let seen = scope(|s| {
                    let slow = s.spawn(|| {
                        sleep(ms(1));
                        panicking()
                    });
                    slow.join().unwrap()
                });
                assert!(!seen);
                assert!(panicking());
                drops.add();
            });
            scope(|s| {
                s.spawn(|| {
                    let _drop = OnDrop(|| drops.add());
                    sleep(HOUR);
                });
                yield_now();
                quiet_panic();
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(drops.get(), 2);
    });
}

// Row 12.
#[test]
fn no_way_out_of_a_scope_leaves_a_child_behind() {
    let _bound = bounded();
    let ways: [(&str, fn()); 4] = [
        ("return", || ()),
        ("panic", || quiet_panic()),
        ("timeout", || sleep(HOUR)),
        ("forgotten handles", || ()),
    ];
    for (name, way) in ways {
        leak_free_in_sim(name, || {
            let mut borrowed = [0_u8; 64];
            let ended = Cell::new(0);
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                with_timeout(ms(3), || {
                    scope(|s| {
                        for byte in &mut borrowed {
                            let child = s.spawn(|| {
                                let _end = OnDrop(|| {
                                    sleep(Duration::from_micros(100));
                                    *byte += 1;
                                    ended.set(ended.get() + 1);
                                });
                                sleep(ms(1));
                            });
                            std::mem::forget(child);
                        }
                        sleep(Duration::from_micros(1));
                        way();
                    })
                })
            }));
            assert_eq!(outcome.is_err(), name == "panic", "{name}");
            assert_eq!(ended.get(), 64, "{name}");
            assert_eq!(borrowed, [1; 64], "{name}");
        });
    }
}

#[test]
fn a_scope_whose_children_can_never_end_does_not_let_go_of_what_they_borrow() {
    let _bound = bounded();
    let test = "a_scope_whose_children_can_never_end_does_not_let_go_of_what_they_borrow";
    alone_and_well(test, || {
        let (sender, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            greenroom::run(|| {
                let borrowed = [7_u8; 64];
                scope(|s| {
                    s.spawn(|| {
                        greenroom::shield(|| {
                            loop {
                                thread::park();
                                std::hint::black_box(&borrowed);
                            }
                        })
                    });
                });
            });
            sender.send("the scope has returned").unwrap();
        });
        let outcome = outcome.recv_timeout(ms(300));
        assert!(outcome.is_err(), "{outcome:?}");
    });
}

#[test]
fn a_handle_or_an_iterator_that_is_forgotten_harms_nobody() {
    let _bound = bounded();
    leak_free("forgotten", || {
        let quick = spawn(|| sleep(ms(1)));
        let mut forgotten = greenroom::iwait([&quick]);
        assert!(with_timeout(Duration::ZERO, || forgotten.next().is_some()).is_err());
        std::mem::forget(forgotten);
        let slow = spawn(|| sleep(ms(1)));
        let waits = spawn_local(move || drop(slow.join()));
        yield_now();
        waits.kill();
        std::mem::forget(waits.thread().clone());
        assert!(waits.join().unwrap_err().is_killed());
        quick.join().unwrap();
    });
}

// Row 6.
#[test]
fn the_message_of_a_panic_names_the_greenlet_and_where_it_was_spawned() {
    let _bound = bounded();
    let test = "the_message_of_a_panic_names_the_greenlet_and_where_it_was_spawned";
    let output = alone(test, || {
        let named = Builder::new().name("worker 7".into());
        let named = named.spawn(|| panic!("the first")).unwrap();
        let id = named.id();
        assert!(named.join().is_err());
        assert!(spawn(|| panic!("the second")).join().is_err());
        assert!(panic::catch_unwind(|| panic!("in the root")).is_err());
        eprintln!("id {id}.");
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    let id = text.split("id ").last().unwrap().split('.').next().unwrap();
    let first = format!("greenlet #{id} 'worker 7', spawned at tests/hazard_panic.rs:");
    assert!(text.contains(&first), "{text}");
    assert!(text.find(&first) < text.find("the first"), "{text}");
    assert_eq!(text.matches("greenlet #").count(), 2, "{text}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_hook_that_replaces_the_one_of_std_gets_nothing_added() {
    let _bound = bounded();
    let test = "a_hook_that_replaces_the_one_of_std_gets_nothing_added";
    let output = alone(test, || {
        panic::set_hook(Box::new(|_| ()));
        assert!(spawn(|| panic!("unseen")).join().is_err());
        eprintln!("done");
    });
    let Some(output) = output else { return };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "done\n");
}

#[test]
fn a_hook_that_calls_the_one_of_std_keeps_the_name_of_the_greenlet() {
    let _bound = bounded();
    let test = "a_hook_that_calls_the_one_of_std_keeps_the_name_of_the_greenlet";
    let output = alone(test, || {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            eprintln!("something to add");
            former(info);
        }));
        assert!(spawn(|| panic!("seen")).join().is_err());
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    for part in [
        "spawned at tests/hazard_panic.rs:",
        "something to add",
        "seen",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{text}");
    }
}

// Row 5: a hook that parks.
fn with_hook_that_parks(after_the_hub: bool) {
    static PARK: AtomicUsize = AtomicUsize::new(0);
    let set = || {
        panic::set_hook(Box::new(|_| {
            let begin = Instant::now();
            HOOK_PARKS[PARK.load(Ordering::Relaxed)]();
            let _ = with_timeout(ms(2), || sleep(HOUR));
            assert!(begin.elapsed() < Duration::from_secs(10));
        }));
    };
    if !after_the_hub {
        set();
    }
    spawn(|| ()).join().unwrap();
    if after_the_hub {
        set();
    }
    let balanced = || {
        let seen = Rc::new(Cell::new(None));
        let theirs = Rc::clone(&seen);
        let panics = spawn_local(move || {
            let _drop = OnDrop(|| {
                sleep(ms(1));
                theirs.set(Some(panicking()));
            });
            panic!("with a hook that parks");
        });
        let innocent = spawn(panicking);
        assert!(panics.join().is_err());
        assert_eq!(seen.take(), Some(true));
        assert!(!innocent.join().unwrap());
        assert!(!panicking());
    };
    for park in 0..HOOK_PARKS.len() {
        PARK.store(park, Ordering::Relaxed);
        // What the first panic has left out of balance, the second shows.
        balanced();
        balanced();
        assert!(panic::catch_unwind(|| panic!("in the root")).is_err());
        balanced();
    }
}

const HOOK_PARKS: &[fn()] = &[
    || sleep(ms(1)),
    yield_now,
    || thread::park_timeout(ms(1)),
    || drop(spawn(|| ())),
    receives_from_outside,
];

/// Reads what another thread sends only when the reader waits already.
fn receives_from_outside() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let outside = std::thread::spawn(move || {
        std::thread::sleep(ms(5));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", address).unwrap();
    });
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    outside.join().unwrap();
}

#[test]
fn a_panic_hook_that_parks_ends_neither_the_process_nor_the_balance() {
    let _bound = bounded();
    let test = "a_panic_hook_that_parks_ends_neither_the_process_nor_the_balance";
    alone_and_well(test, || with_hook_that_parks(false));
}

#[test]
fn a_hook_set_after_the_hub_was_made_may_park_as_well() {
    let _bound = bounded();
    let test = "a_hook_set_after_the_hub_was_made_may_park_as_well";
    alone_and_well(test, || with_hook_that_parks(true));
}

#[test]
fn a_hub_that_is_made_inside_a_panic_hook_disturbs_nothing() {
    let _bound = bounded();
    let test = "a_hub_that_is_made_inside_a_panic_hook_disturbs_nothing";
    alone_and_well(test, || {
        panic::set_hook(Box::new(|_| {
            drop(greenroom::current());
            sleep(ms(1));
        }));
        let threads = (0..3).map(|_| {
            std::thread::spawn(|| {
                for _ in 0..2 {
                    let caught = panic::catch_unwind(|| {
                        let _drop = OnDrop(|| assert!(panicking()));
                        panic!("the first");
                    });
                    assert!(caught.is_err());
                    assert!(!panicking());
                    assert!(!spawn(panicking).join().unwrap());
                }
            })
        });
        threads.for_each(|thread| thread.join().unwrap());
    });
}
