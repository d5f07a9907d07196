//! Tests of hubs, limits, kills and scopes for bugs that no other test catches: each was seen to
//! fail with its bug seeded. See tests/mutants.rs.
mod hazard_support;

use greenroom::generator::{Generator, Yielder};
use greenroom::inspect::run_info_here;
use greenroom::sync::Mutex;
use greenroom::{Builder, Greenlet, JoinError, foreign, hub, idle, joinall, run, scope, shield};
use greenroom::{sim, sleep, spawn_local, try_scope, wait_any_timeout, with_timeout, yield_now};
use hazard_support::{alone_and_well, bounded, ms};
use std::cell::RefCell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn took(f: impl FnOnce()) -> Duration {
    let before = greenroom::now();
    f();
    greenroom::now() - before
}

/// Keeps the processor, and parks nowhere.
fn compute(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn all_messages_that_wait_are_received_in_one_poll() {
    let _bound = bounded();
    run(|| {
        let (hub, count) = (hub::current(), Arc::new(AtomicUsize::new(0)));
        let theirs = Arc::clone(&count);
        let sends = std::thread::spawn(move || {
            for _ in 0..100 {
                let count = Arc::clone(&theirs);
                let counts = move || count.fetch_add(1, Relaxed);
                drop(Builder::new().spawn_on(&hub, counts));
            }
        });
        sends.join().unwrap();
        let mut yields = 0;
        while count.load(Relaxed) < 100 {
            yield_now();
            yields += 1;
        }
        assert!(yields < 2000, "{yields} turns");
    });
}

#[test]
fn greenlets_that_await_an_idle_hub_leave_a_timer_that_is_due_its_turn() {
    let _bound = bounded();
    run(|| {
        // The first poll of a hub does not sleep.
        sleep(ms(1));
        let order = Rc::new(RefCell::new(Vec::new()));
        let (first, second) = (Rc::clone(&order), Rc::clone(&order));
        let idler = spawn_local(move || {
            idle();
            first.borrow_mut().push("idle");
        });
        let sleeper = spawn_local(move || {
            sleep(ms(5));
            second.borrow_mut().push("timer");
        });
        yield_now();
        compute(ms(10));
        idler.join().unwrap();
        sleeper.join().unwrap();
        assert_eq!(*order.borrow(), ["timer", "idle"]);
    });
}

#[test]
fn sleeps_of_the_hub_are_counted() {
    let _bound = bounded();
    run(|| {
        let before = hub::stats().sleeps;
        sleep(ms(5));
        assert!(hub::stats().sleeps > before);
    });
}

/// Runs a program on an OS thread of its own, which may never end; whether it has, within `limit`.
fn ends_within(limit: Duration, program: impl FnOnce() + Send + 'static) -> bool {
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| run(program)));
        let _ = sender.send(());
        drop(ended);
    });
    ended.recv_timeout(limit).is_ok()
}

#[test]
fn a_deadlock_in_a_foreign_call_does_not_unwind_it() {
    let _bound = bounded();
    let stands_still = || foreign(greenroom::thread::park);
    assert!(!ends_within(ms(2000), stands_still));
}

#[test]
fn a_wait_for_a_lock_that_is_over_hides_no_deadlock() {
    let _bound = bounded();
    let program = || {
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        let held = lock.lock();
        let waits = spawn_local(move || drop(theirs.lock()));
        yield_now();
        drop(held);
        waits.join().unwrap();
        let told = catch_unwind(greenroom::thread::park);
        assert!(told.is_err());
    };
    assert!(ends_within(Duration::from_secs(30), program));
}

/// How many switches a sleep and an end take.
fn switches() -> u64 {
    let before = hub::stats().switches;
    let sleepers = [10, 20].map(|time| spawn_local(move || sleep(ms(time))));
    joinall(sleepers).into_iter().for_each(|one| one.unwrap());
    hub::stats().switches - before
}

#[test]
fn a_wait_that_has_ended_wakes_nobody_in_the_same_place_in_memory() {
    let _bound = bounded();
    sim::run(1, || {
        let before = switches();
        let idlers = [(); 4].map(|()| spawn_local(idle));
        // They begin to wait, and are killed before the hub has nothing else to do.
        yield_now();
        yield_now();
        idlers.iter().for_each(Greenlet::kill);
        drop(joinall(idlers));
        assert_eq!(switches(), before, "after waits for an idle hub");
        let waiters = [(); 4].map(|()| spawn_local(|| _ = hub::wait_idle(Some(ms(1)))));
        drop(joinall(waiters));
        assert_eq!(switches(), before, "after waits for all others");
    });
}

#[test]
fn a_shielded_wait_for_all_others_withstands_a_kill() {
    let _bound = bounded();
    sim::run(1, || {
        let other = spawn_local(|| sleep(ms(100)));
        let waits = spawn_local(|| {
            shield(|| {
                sleep(ms(1));
                assert_eq!(took(|| _ = hub::wait_idle(Some(ms(20)))), ms(20));
            });
        });
        yield_now();
        waits.kill();
        waits.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn who_waits_first_for_an_end_is_told_first() {
    let _bound = bounded();
    run(|| {
        let one = spawn_local(|| sleep(ms(1)));
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let links: Vec<_> = (0..5)
            .map(|count| {
                let order = Arc::clone(&order);
                one.link(move |_| order.lock().unwrap().push(count))
            })
            .collect();
        one.join().unwrap();
        yield_now();
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        drop(links);
    });
}

const MIB: usize = 1 << 20;

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn the_memory_of_idle_stacks_is_given_back_once_a_second() {
    let _bound = bounded();
    let test = "the_memory_of_idle_stacks_is_given_back_once_a_second";
    let crowd = || {
        let touch = || {
            black_box([1_u8; MIB / 4]);
            yield_now();
        };
        let all = (0..200).map(|_| Builder::new().stack_size(MIB).spawn(touch).unwrap());
        for one in joinall(all.collect::<Vec<_>>()) {
            one.unwrap();
        }
    };
    alone_and_well(test, || {
        run(|| {
            let is_kept = || {
                crowd();
                sleep(ms(5));
                crowd();
                let before = resident();
                sleep(ms(5));
                resident() + 10 * MIB > before
            };
            // On a busy machine the second may be over, but not always.
            assert!((0..10).any(|_| is_kept()), "it is never kept");
            crowd();
            let before = resident();
            sleep(ms(1100));
            sleep(ms(5));
            assert!(resident() + 20 * MIB < before, "not after a second");
        });
    });
}

#[test]
fn a_new_greenlet_has_the_spawner_that_it_has() {
    let _bound = bounded();
    sim::run(1, || {
        let parent = spawn_local(|| joinall([(); 4].map(|()| spawn_local(|| ()))));
        let gone = parent.id();
        drop(parent.join().unwrap());
        let new = [(); 8].map(|()| spawn_local(|| sleep(ms(10))));
        yield_now();
        let info = run_info_here();
        assert!(info.greenlets().all(|one| one.spawner != Some(gone)));
        drop(joinall(new));
    });
}

#[test]
fn a_kill_comes_before_a_limit_that_is_over_as_well() {
    let _bound = bounded();
    sim::run(1, || {
        let both = spawn_local(|| {
            with_timeout(ms(5), || {
                shield(|| sleep(ms(20)));
                yield_now();
            })
        });
        sleep(ms(10));
        both.kill();
        assert!(both.join().is_err_and(|error| error.is_killed()));
    });
}

#[test]
fn a_limit_holds_again_after_a_shield() {
    let _bound = bounded();
    sim::run(1, || {
        let other = spawn_local(|| sleep(ms(1000)));
        let time = took(|| {
            let _ = with_timeout(ms(10), || {
                shield(|| ());
                hub::wait_idle(None)
            });
        });
        assert_eq!(time, ms(10));
        other.join().unwrap();
    });
}

#[test]
fn a_limit_of_a_lock_begins_when_it_is_asked_for() {
    let _bound = bounded();
    run(|| {
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        let holds = spawn_local(move || {
            let _held = theirs.lock();
            greenroom::thread::park();
        });
        yield_now();
        compute(ms(50));
        let begin = Instant::now();
        assert!(lock.try_lock_for(ms(20)).is_err());
        assert!(begin.elapsed() >= ms(20));
        holds.thread().unpark();
        holds.join().unwrap();
    });
}

#[test]
fn a_limit_around_a_scope_is_not_taken_for_a_failure_in_it() {
    let _bound = bounded();
    sim::run(1, || {
        let limited = with_timeout(ms(5), || {
            try_scope(|_| {
                sleep(ms(100));
                Ok::<_, ()>(())
            })
        });
        assert!(limited.is_err());
    });
}

#[test]
fn a_panic_that_was_joined_is_no_failure_of_the_scope() {
    let _bound = bounded();
    run(|| {
        let panicked = scope(|s| s.spawn(|| std::panic::resume_unwind(Box::new(()))).join());
        assert!(panicked.is_err_and(|error: JoinError| error.is_panic()));
    });
}

/// Yields from a shield while it is dropped.
struct Yields<'a>(&'a Yielder<(), ()>);

impl Drop for Yields<'_> {
    fn drop(&mut self) {
        shield(|| self.0.suspend(()));
    }
}

#[test]
fn a_generator_that_can_not_end_leaves_no_shield_behind() {
    let _bound = bounded();
    sim::run(1, || {
        let mut body = Generator::new(|yielder: &Yielder<(), ()>, ()| {
            let _yields = Yields(yielder);
            yielder.suspend(());
        });
        let body_ref = body.as_mut().unwrap();
        assert_eq!(body_ref.next(), Some(()));
        drop(body);
        let limited = with_timeout(ms(5), || sleep(ms(100)));
        assert!(limited.is_err());
    });
}

#[test]
fn a_wait_that_is_over_leaves_nothing_with_what_it_waited_for() {
    let _bound = bounded();
    let test = "a_wait_that_is_over_leaves_nothing_with_what_it_waited_for";
    alone_and_well(test, || {
        run(|| {
            let lasts = spawn_local(greenroom::thread::park);
            let look = || {
                let found = wait_any_timeout(&[&lasts], Duration::ZERO);
                assert_eq!(found, None);
            };
            (0..1000).for_each(|_| look());
            let before = resident();
            (0..50_000).for_each(|_| look());
            let more = resident().saturating_sub(before);
            assert!(more < 1 << 20, "{more} bytes more");
            lasts.thread().unpark();
            lasts.join().unwrap();
        });
    });
}
