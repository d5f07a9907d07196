//! Several OS threads, and the end of them. Rows 1, 3, 14, 15 and 34 of the register of hazards.
//!
//! That a handle of what is not `Send` stays on its thread (rows 1, 2, 3, 13) is a matter of
//! types, which the tests of what must not compile hold.
mod hazard_support;

use greenroom::hub::{self, HubHandle};
use greenroom::{sleep, spawn, spawn_local, thread, yield_now};
use hazard_support::{HOUR, OnDrop, alone, alone_and_well, bounded, leak_free, ms};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

/// An OS thread with a hub that serves until the second value is dropped.
fn hub_elsewhere() -> (HubHandle, OnDrop<impl FnMut()>) {
    let (sender, handles) = channel();
    let outside = std::thread::spawn(move || {
        sender.send((hub::current(), greenroom::current())).unwrap();
        drop(sender);
        thread::park();
    });
    let (handle, root) = handles.recv().unwrap();
    let mut outside = Some(outside);
    let end = OnDrop(move || {
        root.unpark();
        outside.take().unwrap().join().unwrap();
    });
    (handle, end)
}

// Row 34.
#[test]
fn two_hubs_wake_each_other_a_hundred_thousand_times() {
    let _bound = bounded();
    leak_free("ping-pong", || {
        const ROUNDS: usize = 100_000;
        let (handle, _end) = hub_elsewhere();
        let turn = Arc::new(AtomicUsize::new(0));
        let (me, theirs) = (greenroom::current(), Arc::clone(&turn));
        let other = handle.spawn(move || {
            for round in 0..ROUNDS {
                while theirs.load(Ordering::Acquire) != 2 * round + 1 {
                    thread::park();
                }
                theirs.store(2 * round + 2, Ordering::Release);
                me.unpark();
            }
        });
        for round in 0..ROUNDS {
            turn.store(2 * round + 1, Ordering::Release);
            other.thread().unpark();
            while turn.load(Ordering::Acquire) != 2 * round + 2 {
                thread::park();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn no_unpark_of_many_threads_at_once_is_lost() {
    let _bound = bounded();
    leak_free("many threads", || {
        const THREADS: usize = 8;
        const EACH: usize = 2_000;
        let given = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&given);
        let takes = spawn(move || {
            while theirs.load(Ordering::Acquire) < THREADS * EACH {
                thread::park();
            }
        });
        let threads = (0..THREADS).map(|n| {
            let (taker, given) = (takes.thread().clone(), Arc::clone(&given));
            std::thread::spawn(move || {
                for round in 0..EACH {
                    given.fetch_add(1, Ordering::AcqRel);
                    taker.unpark();
                    if (round + n) % 17 == 0 {
                        std::thread::yield_now();
                    }
                }
                taker
            })
        });
        let threads: Vec<_> = threads.collect();
        let who = takes.thread().clone();
        takes.join().unwrap();
        // And after the end they are nothing.
        who.unpark();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap().unpark());
        yield_now();
    });
}

#[test]
fn an_unpark_before_the_park_is_kept_but_only_one() {
    let _bound = bounded();
    leak_free("the token", || {
        let me = greenroom::current();
        std::thread::spawn(move || (0..5).for_each(|_| me.unpark()))
            .join()
            .unwrap();
        thread::park();
        let begin = std::time::Instant::now();
        thread::park_timeout(ms(5));
        assert!(begin.elapsed() >= ms(4));
    });
}

#[test]
fn a_hub_that_sleeps_is_woken_by_every_spawn() {
    let _bound = bounded();
    leak_free("spawns", || {
        let (handle, _end) = hub_elsewhere();
        for n in 0..2_000 {
            // It has gone to sleep meanwhile, as a rule.
            if n % 16 == 0 {
                std::thread::sleep(std::time::Duration::from_micros(60));
            }
            assert_eq!(handle.spawn(move || n).join().unwrap(), n);
        }
    });
}

#[test]
fn a_storm_of_spawns_from_many_threads_runs_each_once() {
    let _bound = bounded();
    leak_free("storm", || {
        const THREADS: usize = 4;
        const EACH: usize = 2_000;
        let handle = hub::current();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let number = move |n| thread * EACH + n;
                    (0..EACH)
                        .map(|n| handle.spawn(move || number(n)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let (sender, done) = channel();
        let me = greenroom::current();
        let collects = std::thread::spawn(move || {
            let all: Vec<_> = threads
                .into_iter()
                .flat_map(|t| t.join().unwrap())
                .collect();
            let all: BTreeSet<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
            sender.send(all).unwrap();
            me.unpark();
        });
        thread::park();
        assert_eq!(done.recv().unwrap().len(), THREADS * EACH);
        collects.join().unwrap();
    });
}

#[test]
fn a_kill_from_another_thread_wins_or_comes_too_late_but_is_never_half_done() {
    let _bound = bounded();
    leak_free("kill or end", || {
        let (sender, victims) = channel::<greenroom::Greenlet<()>>();
        let (returned, ended) = channel();
        let kills = std::thread::spawn(move || {
            for victim in victims {
                victim.kill();
                returned.send(victim.join()).unwrap();
            }
        });
        let mut killed = 0;
        for round in 0..3_000 {
            let drops = Arc::new(AtomicUsize::new(0));
            let theirs = Arc::clone(&drops);
            let victim = spawn(move || {
                let _drop = OnDrop(|| _ = theirs.fetch_add(1, Ordering::Relaxed));
                (0..round % 7).for_each(|_| yield_now());
            });
            sender.send(victim).unwrap();
            let result = loop {
                match ended.try_recv() {
                    Ok(result) => break result,
                    Err(_) => yield_now(),
                }
            };
            assert!(drops.load(Ordering::Relaxed) <= 1);
            match result {
                Ok(()) => assert_eq!(drops.load(Ordering::Relaxed), 1),
                Err(error) => killed += usize::from(error.is_killed()),
            }
        }
        drop(sender);
        kills.join().unwrap();
        assert!(killed > 0);
    });
}

// Row 34: the protocol of src/hub/remote.rs, with all interleavings of its steps.
mod model {
    use super::bounded;
    use std::collections::HashSet;

    /// The steps of a thread that sends one message.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    enum Sender {
        Push,
        LookAsleep,
        SwapAsleep,
        Ring,
        Done,
    }

    /// The steps of a hub that wants to sleep, once its queue is empty.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    enum Hub {
        TakeMail,
        PublishAsleep,
        LookForMail,
        Sleep,
        WakeUp,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    struct World {
        senders: [Sender; 2],
        hub: Hub,
        mail: u8,
        asleep: bool,
        bell: bool,
        taken: u8,
    }

    /// All worlds that one step of one of the threads leads to.
    fn steps(world: World, looks_again: bool) -> Vec<World> {
        let mut next = Vec::new();
        for (n, sender) in world.senders.iter().enumerate() {
            let mut then = world;
            then.senders[n] = match sender {
                Sender::Push => {
                    then.mail += 1;
                    Sender::LookAsleep
                }
                Sender::LookAsleep if world.asleep => Sender::SwapAsleep,
                Sender::LookAsleep => Sender::Done,
                Sender::SwapAsleep => {
                    then.asleep = false;
                    if world.asleep {
                        Sender::Ring
                    } else {
                        Sender::Done
                    }
                }
                Sender::Ring => {
                    then.bell = true;
                    Sender::Done
                }
                Sender::Done => continue,
            };
            next.push(then);
        }
        let mut then = world;
        then.hub = match world.hub {
            Hub::TakeMail => {
                then.taken += world.mail;
                then.mail = 0;
                Hub::PublishAsleep
            }
            Hub::PublishAsleep => {
                then.asleep = true;
                if looks_again {
                    Hub::LookForMail
                } else {
                    Hub::Sleep
                }
            }
            Hub::LookForMail if world.mail > 0 => {
                then.asleep = false;
                Hub::TakeMail
            }
            Hub::LookForMail => Hub::Sleep,
            Hub::Sleep if world.bell => {
                then.bell = false;
                Hub::WakeUp
            }
            Hub::Sleep => return next,
            Hub::WakeUp => {
                then.asleep = false;
                Hub::TakeMail
            }
        };
        next.push(then);
        next
    }

    /// Worlds in which nobody can go on, or only a signal could help.
    fn ends(looks_again: bool) -> (usize, Vec<World>) {
        let begin = World {
            senders: [Sender::Push; 2],
            hub: Hub::TakeMail,
            mail: 0,
            asleep: false,
            bell: false,
            taken: 0,
        };
        let (mut seen, mut open) = (HashSet::from([begin]), vec![begin]);
        let mut ends = Vec::new();
        while let Some(world) = open.pop() {
            let next = steps(world, looks_again);
            if next.is_empty() {
                ends.push(world);
            }
            open.extend(next.into_iter().filter(|world| seen.insert(*world)));
        }
        (seen.len(), ends)
    }

    #[test]
    fn in_no_order_of_steps_does_a_hub_sleep_over_a_message() {
        let _bound = bounded();
        let (seen, ends) = ends(true);
        assert!(seen > 100, "{seen}");
        assert!(!ends.is_empty());
        let lost = ends.iter().find(|world| world.mail > 0 || world.taken != 2);
        assert_eq!(lost, None);
    }

    #[test]
    fn without_the_second_look_a_message_is_slept_over() {
        let _bound = bounded();
        let (_, ends) = ends(false);
        assert!(ends.iter().any(|world| world.mail > 0));
    }
}

// Row 14.
#[test]
fn the_end_of_a_thread_leaves_its_parked_greenlets_alone() {
    let _bound = bounded();
    let test = "the_end_of_a_thread_leaves_its_parked_greenlets_alone";
    alone_and_well(test, || {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        struct Noted;
        impl Drop for Noted {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread_local!(static LATE: Noted = const { Noted });
        for _ in 0..20 {
            let (name, handle, parked) = std::thread::spawn(|| {
                LATE.with(|_| ());
                let parks = spawn(|| {
                    let _noted = Noted;
                    LATE.with(|_| sleep(HOUR));
                });
                let reads = spawn_local(|| {
                    let _noted = Noted;
                    let (mut reader, _writer) = greenroom::io::pipe().unwrap();
                    std::io::Read::read(&mut reader, &mut [0]).map(drop)
                });
                yield_now();
                assert!(!reads.is_finished());
                (parks.thread().clone(), hub::current(), parks)
            })
            .join()
            .unwrap();
            // What comes too late is nothing, or is said.
            name.unpark();
            parked.kill();
            assert!(handle.is_closed());
            let late = handle.spawn(|| unreachable!("there is no such thread"));
            assert!(late.join().unwrap_err().not_started_because().is_some());
        }
        assert_eq!(DROPS.load(Ordering::Relaxed), 20, "only the thread's own");
    });
}

#[test]
fn a_hub_may_be_used_and_missed_in_the_destructors_of_thread_locals() {
    let _bound = bounded();
    let test = "a_hub_may_be_used_and_missed_in_the_destructors_of_thread_locals";
    alone_and_well(test, || {
        static RAN: AtomicUsize = AtomicUsize::new(0);
        struct Parks;
        impl Drop for Parks {
            fn drop(&mut self) {
                sleep(ms(1));
                thread::park_timeout(ms(1));
                yield_now();
                let spawned = spawn(|| 7);
                // Without a hub it is born finished.
                let _ = spawned.join();
                let _ = greenroom::with_timeout(ms(1), || sleep(ms(2)));
                RAN.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread_local! {
            static BEFORE: Parks = const { Parks };
            static AFTER: Parks = const { Parks };
        }
        let ends = std::thread::spawn(|| {
            BEFORE.with(|_| ());
            drop(spawn(|| sleep(HOUR)));
            yield_now();
            AFTER.with(|_| ());
        });
        ends.join().unwrap();
        assert_eq!(RAN.load(Ordering::Relaxed), 2);
    });
}

// Row 15: here the harness's process ends while greenlets are parked on several threads.
#[test]
fn a_process_that_exits_runs_nothing_more_of_its_greenlets() {
    let _bound = bounded();
    let test = "a_process_that_exits_runs_nothing_more_of_its_greenlets";
    let output = alone(test, || {
        drop(spawn(|| {
            let _drop = OnDrop(|| eprintln!("a destructor has run"));
            sleep(HOUR);
        }));
        let (_handle, end) = hub_elsewhere();
        std::mem::forget(end);
        yield_now();
        std::process::exit(0);
    });
    let Some(output) = output else { return };
    assert!(output.status.success(), "{}", output.status);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("destructor"));
}

// Rows 12, 14: the tidy end of a hub.
#[test]
fn the_end_of_a_run_kills_what_is_left_and_lets_its_destructors_park() {
    let _bound = bounded();
    let (begun, drops) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (begun, drops) = (Arc::new(begun), Arc::new(drops));
    greenroom::run(|| {
        for (_, park) in hazard_support::PARKS {
            let (begun, drops) = (Arc::clone(&begun), Arc::clone(&drops));
            drop(spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                let _drop = OnDrop(|| {
                    sleep(ms(1));
                    spawn(|| sleep(ms(1))).join().unwrap();
                    _ = drops.fetch_add(1, Ordering::Relaxed);
                });
                park();
            }));
        }
        // Who is killed before it has begun has nothing to drop, and some block for long.
        while begun.load(Ordering::Relaxed) < hazard_support::PARKS.len() {
            yield_now();
        }
        sleep(ms(2));
    });
    assert_eq!(drops.load(Ordering::Relaxed), hazard_support::PARKS.len());
}

#[test]
fn the_end_of_a_run_is_bounded_also_when_greenlets_swallow_their_kill() {
    let _bound = bounded();
    let begin = std::time::Instant::now();
    let freed = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&freed);
    greenroom::run(move || {
        drop(spawn(move || {
            let _drop = OnDrop(|| theirs.store(true, Ordering::Relaxed));
            loop {
                let _ = std::panic::catch_unwind(|| sleep(HOUR));
            }
        }));
        drop(spawn(|| greenroom::shield(|| sleep(HOUR))));
        yield_now();
    });
    let took = begin.elapsed();
    assert!((ms(4_000)..ms(20_000)).contains(&took), "{took:?}");
    assert!(!freed.load(Ordering::Relaxed), "it was leaked, not unwound");
    // The thread's own hub is none the worse for it.
    assert_eq!(spawn(|| 7).join().unwrap(), 7);
}
