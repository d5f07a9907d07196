//! The hub itself: wakes that name nothing, waits that nobody can end, moments beyond the clock.
//! Rows 32, 33, 36, 37 and 39 of the register of hazards.
mod hazard_support;

use greenroom::{Builder, hub, sim, sleep, spawn, spawn_local, thread, with_timeout, yield_now};
use hazard_support::{Count, HOUR, OnDrop, alone, bounded, leak_free, ms, settle};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

// Row 33: wakes of what is not parked.
#[test]
fn a_wake_of_a_running_or_finished_greenlet_is_nothing() {
    let _bound = bounded();
    leak_free("wakes", || {
        let me = greenroom::current();
        let runs = spawn(|| {
            greenroom::current().unpark();
            yield_now();
            7
        });
        for _ in 0..3 {
            runs.thread().unpark();
        }
        me.unpark();
        thread::park();
        let who = runs.thread().clone();
        assert_eq!(runs.join().unwrap(), 7);
        who.unpark();
        yield_now();
        assert!(!hub::dump().contains(&who.to_string()));
    });
}

#[test]
fn an_unpark_does_not_start_a_greenlet_before_its_time() {
    let _bound = bounded();
    sim::run(3, || {
        let begin = greenroom::now();
        let late = greenroom::spawn_later(ms(50), greenroom::now);
        late.thread().unpark();
        let woken = late.join().unwrap();
        assert_eq!(woken - begin, ms(50));
    });
}

#[test]
fn what_is_sent_to_ones_own_hub_can_be_unparked_before_it_arrives() {
    let _bound = bounded();
    leak_free("unparked", || {
        let sent = hub::current().spawn(|| {
            thread::park();
            7
        });
        sent.thread().unpark();
        assert_eq!(sent.join().unwrap(), 7);
    });
}

#[test]
fn what_is_sent_to_ones_own_hub_can_be_killed_before_it_arrives() {
    let _bound = bounded();
    leak_free("killed", || {
        let sent = hub::current().spawn(|| unreachable!("it was killed before"));
        sent.kill();
        assert!(sent.join().unwrap_err().is_killed());
    });
}

// Row 33: code that runs in the hub's own context may block, and may panic.
#[test]
fn a_closure_that_is_dropped_inside_the_hub_may_park_and_may_panic() {
    let _bound = bounded();
    leak_free("dropped inside the hub", || {
        struct Parks;
        impl Drop for Parks {
            fn drop(&mut self) {
                yield_now();
                thread::park_timeout(ms(1));
                sleep(ms(1));
                spawn(|| ());
            }
        }
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("in a destructor, in the hub");
            }
        }
        let beyond = || Builder::new().stack_size(usize::MAX);
        let parks = beyond().spawn_on(&hub::current(), {
            let parks = Parks;
            move || drop(parks)
        });
        assert!(parks.join().unwrap_err().not_started_because().is_some());
        let panics = beyond().spawn_on(&hub::current(), {
            let panics = Panics;
            move || drop(panics)
        });
        assert!(panics.join().is_err());
        assert_eq!(spawn(|| 7).join().unwrap(), 7, "the hub goes on");
        assert!(with_timeout(ms(1), || sleep(HOUR)).is_err());
    });
}

#[test]
fn a_panic_of_a_link_concerns_nobody_else() {
    let _bound = bounded();
    leak_free("a link", || {
        let done = spawn(|| 7);
        done.link(|_| panic!("in a link"));
        let last = Rc::new(Cell::new(false));
        assert_eq!(done.join().unwrap(), 7);
        let theirs = Rc::clone(&last);
        spawn_local(move || theirs.set(true)).join().unwrap();
        assert!(last.get());
    });
}

// Row 33: a hub inside a hub.
#[test]
fn a_hub_inside_a_greenlet_comes_and_goes_without_a_trace() {
    let _bound = bounded();
    leak_free("nested", || {
        let sleeper = spawn(|| sleep(ms(5)));
        let inner = spawn(|| {
            greenroom::run(|| {
                let other = spawn(|| sleep(HOUR));
                yield_now();
                assert_eq!(hub::stats().greenlets, 1);
                drop(other);
                greenroom::run(|| spawn(|| 7).join().unwrap())
            })
        });
        assert_eq!(inner.join().unwrap(), 7);
        sleeper.join().unwrap();
    });
}

#[test]
fn a_wait_begun_on_one_hub_may_be_dropped_on_another() {
    let _bound = bounded();
    let (sender, other) = std::sync::mpsc::channel();
    let (end, over) = std::sync::mpsc::channel::<()>();
    let outside = std::thread::spawn(move || {
        let handle = spawn(|| sleep(HOUR));
        sender.send(handle).unwrap();
        while over.try_recv().is_err() {
            sleep(ms(1));
        }
    });
    leak_free("a wait", || {
        let foreign = other.recv().unwrap();
        let quick = spawn(|| ());
        let both = [&foreign, &quick];
        let mut waits = greenroom::iwait(both);
        assert_eq!(waits.next().unwrap().id(), quick.id());
        greenroom::run(move || {
            yield_now();
            drop(waits);
            spawn(|| ()).join().unwrap();
        });
    });
    end.send(()).unwrap();
    outside.join().unwrap();
}

// Row 32, 28: what a greenlet holds across a park, others find held: no deadlock is hidden.
#[test]
fn a_std_mutex_held_across_a_park_is_found_held() {
    let _bound = bounded();
    leak_free("a mutex", || {
        let mutex = std::sync::Arc::new(Mutex::new(1));
        let theirs = std::sync::Arc::clone(&mutex);
        let holder = spawn_local(move || {
            let mut held = theirs.lock().unwrap();
            sleep(ms(2));
            *held += 1;
        });
        yield_now();
        let found = mutex.try_lock().map(|_| ()).unwrap_err();
        assert!(matches!(found, std::sync::TryLockError::WouldBlock));
        holder.join().unwrap();
        assert_eq!(*mutex.try_lock().unwrap(), 2);
    });
}

#[test]
fn a_cell_borrowed_across_a_park_is_found_borrowed() {
    let _bound = bounded();
    leak_free("a cell", || {
        let cell = Rc::new(RefCell::new(1));
        let theirs = Rc::clone(&cell);
        let holder = spawn_local(move || {
            let mut held = theirs.borrow_mut();
            yield_now();
            *held += 1;
        });
        yield_now();
        assert!(cell.try_borrow().is_err());
        holder.join().unwrap();
        assert_eq!(*cell.borrow(), 2);
    });
}

// Row 36.
#[test]
fn a_limit_beyond_the_clock_is_no_limit() {
    let _bound = bounded();
    sim::run(5, || {
        let begin = greenroom::now();
        let never = greenroom::spawn_later(Duration::MAX, || unreachable!("at the end of time"));
        let waits: [fn(); 5] = [
            || sleep(Duration::MAX),
            || thread::park_timeout(Duration::MAX),
            || with_timeout(Duration::MAX, || sleep(HOUR)).unwrap(),
            || drop(spawn(|| sleep(HOUR)).join_timeout(Duration::MAX)),
            || _ = greenroom::killall([&spawn(|| ())], Some(Duration::MAX)),
        ];
        let waiters: Vec<_> = waits.into_iter().map(spawn).collect();
        let deadline = with_timeout(HOUR * 2, || waiters.last().map(|w| w.is_finished()));
        assert_eq!(deadline, Ok(Some(false)));
        sleep(HOUR * 3);
        let finished = |n: usize| waiters[n].is_finished();
        assert_eq!(
            [0, 1, 2, 3, 4].map(finished),
            [false, false, true, true, true]
        );
        assert!(!never.is_finished());
        never.kill();
        assert_eq!(greenroom::killall(&waiters, None), 0);
        assert!(never.join().unwrap_err().is_killed());
        let never = greenroom::spawn_later(Duration::MAX, || unreachable!("at the end of time"));
        assert!(message_of(|| drop(never.join())).contains("not started yet"));
        let took = greenroom::now() - begin;
        assert!(took < HOUR * 4, "time has jumped by {took:?}");
    });
}

#[test]
fn the_shortest_limits_are_over_at_once_and_never_before_their_time() {
    let _bound = bounded();
    leak_free("short limits", || {
        sleep(Duration::ZERO);
        greenroom::sleep_until(Instant::now());
        if let Some(past) = Instant::now().checked_sub(HOUR) {
            greenroom::sleep_until(past);
        }
        thread::park_timeout(Duration::ZERO);
        thread::park_timeout(Duration::from_nanos(1));
        for limit in [Duration::ZERO, Duration::from_nanos(1)] {
            assert!(with_timeout(limit, || sleep(HOUR)).is_err());
            assert!(with_timeout(limit, thread::park).is_err());
            let slow = spawn(|| sleep(HOUR)).join_timeout(limit).unwrap_err();
            assert_eq!(greenroom::killall([&slow], Some(HOUR)), 0);
        }
        for ns in [1, 999, 1_001, 999_999, 1_000_001, 3_000_000] {
            let nap = Duration::from_nanos(ns);
            let begin = Instant::now();
            sleep(nap);
            assert!(begin.elapsed() >= nap, "woke early from {nap:?}");
        }
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let _bound = bounded();
    for seed in 0..50 {
        sim::run(seed, || {
            let order = Rc::new(RefCell::new(Vec::new()));
            let naps = [7_u64, 1, 5, 3, 3_600_000, 86_400_000];
            let sleepers = naps.map(|nap| {
                let order = Rc::clone(&order);
                spawn_local(move || {
                    sleep(ms(nap));
                    order.borrow_mut().push(nap);
                })
            });
            greenroom::joinall(sleepers);
            assert!(order.borrow().is_sorted(), "{order:?}");
        });
    }
}

// Row 37. 688 ms were seen without a budget; the bounds are those of a loaded machine.
#[test]
fn a_socket_that_is_always_ready_starves_nobody() {
    let _bound = bounded();
    use greenroom::os::unix::net::UnixDatagram;
    leak_free("starvation", || {
        let stop = Rc::new(Cell::new(false));
        let theirs = Rc::clone(&stop);
        let hog = spawn_local(move || {
            let (one, other) = UnixDatagram::pair().unwrap();
            let mut moved = 0_u64;
            while !theirs.get() {
                one.send(b"x").unwrap();
                other.recv(&mut [0]).unwrap();
                moved += 1;
            }
            moved
        });
        let mut late = Vec::new();
        for _ in 0..50 {
            let begin = Instant::now();
            sleep(ms(1));
            late.push(begin.elapsed() - ms(1));
        }
        stop.set(true);
        assert!(hog.join().unwrap() > 1000);
        late.sort();
        assert!(late[25] < ms(10), "the median is {:?}", late[25]);
        assert!(late[49] < ms(500), "the worst is {:?}", late[49]);
    });
}

#[test]
fn those_who_only_yield_keep_neither_timers_nor_descriptors_from_others() {
    let _bound = bounded();
    use std::io::{Read, Write};
    leak_free("yielders", || {
        let yielders: Vec<_> = (0..3)
            .map(|_| {
                spawn(|| {
                    loop {
                        yield_now()
                    }
                })
            })
            .collect();
        let (mut reader, mut writer) = greenroom::io::pipe().unwrap();
        let reading = spawn_local(move || reader.read(&mut [0; 8]).unwrap());
        sleep(ms(3));
        writer.write_all(b"abc").unwrap();
        assert_eq!(reading.join().unwrap(), 3);
        assert_eq!(greenroom::killall(&yielders, None), 0);
    });
}

// Row 39.
fn message_of(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    *payload.downcast::<String>().unwrap()
}

#[test]
fn what_would_block_forever_says_who_waits_for_what_and_where_they_were_spawned() {
    let _bound = bounded();
    let test = "what_would_block_forever_says_who_waits_for_what_and_where_they_were_spawned";
    let output = alone(test, || {
        greenroom::run(|| {
            let parked = Builder::new()
                .name("parked".into())
                .spawn(thread::park)
                .unwrap();
            let (id, who) = (parked.id(), parked.thread().to_string());
            let joins = spawn_local(move || drop(parked.join()));
            let text = message_of(|| drop(joins.join()));
            assert!(
                text.starts_with("this operation would block forever"),
                "{text}"
            );
            assert!(
                text.contains(&format!("{who}: waits for an unpark")),
                "{text}"
            );
            assert!(
                text.contains(&format!("waits for greenlet #{id} to finish")),
                "{text}"
            );
            assert!(text.contains("'parked'"), "{text}");
            assert_eq!(
                text.matches("spawned at tests/hazard_hub.rs").count(),
                2,
                "{text}"
            );
            // The root has its say and goes on; the others are as they were.
            assert_eq!(hub::stats().greenlets, 2);
            assert_eq!(spawn(|| 7).join().unwrap(), 7);
        });
    });
    assert!(output.is_none_or(|output| output.status.success()));
}

#[test]
fn a_wait_that_another_thread_can_end_is_no_wait_for_ever() {
    let _bound = bounded();
    leak_free("other threads", || {
        let me = greenroom::current();
        let outside = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            me.unpark();
        });
        thread::park();
        outside.join().unwrap();

        let (sender, word) = std::sync::mpsc::channel();
        let handle = hub::current();
        let me = greenroom::current();
        let outside = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            drop(handle.spawn(move || {
                sender.send(7).unwrap();
                me.unpark();
            }));
        });
        thread::park();
        outside.join().unwrap();
        assert_eq!(word.recv(), Ok(7));
    });
}

#[test]
fn a_join_of_another_hubs_greenlet_and_a_lookup_are_no_waits_for_ever() {
    let _bound = bounded();
    use greenroom::net::ToSocketAddrs;
    leak_free("helpers", || {
        let (sender, other) = std::sync::mpsc::channel();
        let outside = std::thread::spawn(move || {
            sender.send(spawn(|| sleep(ms(20)))).unwrap();
            hub::wait_idle(None);
        });
        other.recv().unwrap().join().unwrap();
        outside.join().unwrap();
        assert!("localhost:80".to_socket_addrs().unwrap().next().is_some());
    });
}

#[test]
fn a_join_of_what_stands_still_outside_of_a_run_is_a_wait_for_ever() {
    let _bound = bounded();
    let outside = spawn(|| sleep(ms(1)));
    let (who, outside) = (outside.id(), RefCell::new(Some(outside)));
    greenroom::run(|| {
        let text = message_of(|| drop(outside.take().unwrap().join()));
        let waits = format!("the root waits for greenlet #{who} to finish");
        assert!(text.contains("would block forever"), "{text}");
        assert!(text.contains(&waits), "{text}");
        assert!(
            text.contains("outside of this `run` stands still"),
            "{text}"
        );
        // What ends by itself is no wait for ever.
        let other = std::thread::spawn(|| spawn(|| 7).join().unwrap());
        assert_eq!(other.join().unwrap(), 7);
    });
    let outside = spawn(|| sleep(ms(1)));
    let outside = greenroom::run(move || outside.join_timeout(ms(20)).unwrap_err());
    outside.join().unwrap();
    let outside = spawn(|| sleep(ms(1)));
    let text = greenroom::run(move || {
        // In a greenlet, and among others.
        let inner = spawn(move || greenroom::iwait([&outside]).next().is_some());
        message_of(|| drop(inner.join()))
    });
    assert!(text.contains("would block forever"), "{text}");
}

// The last word of a thread that lets go of its handle at once must still be heard.
#[test]
fn an_unpark_and_the_end_of_its_handle_are_not_taken_for_a_wait_for_ever() {
    let _bound = bounded();
    leak_free("handles", || {
        let (sender, roots) = std::sync::mpsc::channel::<thread::Thread>();
        let outside = std::thread::spawn(move || roots.iter().for_each(|root| root.unpark()));
        for _ in 0..20_000 {
            sender.send(greenroom::current()).unwrap();
            thread::park();
        }
        drop(sender);
        outside.join().unwrap();
    });
}

#[test]
fn a_destructor_of_the_root_may_wait_while_it_unwinds() {
    let _bound = bounded();
    leak_free("the root unwinds", || {
        let count = Count::default();
        let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
            let _drop = OnDrop(|| {
                let slow = spawn(|| {
                    assert!(!std::thread::panicking());
                    sleep(ms(2));
                });
                slow.join().unwrap();
                count.add();
            });
            panic::resume_unwind(Box::new(()));
        }));
        assert!(unwound.is_err());
        assert_eq!(count.get(), 1);
        settle();
    });
}
