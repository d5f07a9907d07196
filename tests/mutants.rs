//! Tests for bugs that no other test catches: each was seen to fail with its bug seeded.
//!
//! The bugs are in tests/mutants/list; `.ci/mutants` seeds them again.
mod hazard_support;

use greenroom::io::{PipeReader, PipeWriter, Read, pipe};
use greenroom::pool::Pool;
use greenroom::select::{Events, select};
use greenroom::selectors::PollSelector;
use greenroom::sync::{Condvar, JoinableQueue, Mutex, PriorityQueue, Queue, RwLock};
use greenroom::{Greenlet, hub, joinall, run, shield, sim, sleep, sleep_until, spawn, spawn_local};
use greenroom::{with_timeout, yield_now};
use hazard_support::{bounded, ms};
use std::cell::Cell;
use std::cmp::Ordering;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
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
fn a_long_computation_does_not_make_the_next_timer_late() {
    let _bound = bounded();
    let late = || {
        run(|| {
            // The first poll of a hub does not sleep.
            sleep(ms(1));
            let deadline = Instant::now() + ms(150);
            let sleeper = spawn_local(move || sleep_until(deadline));
            yield_now();
            compute(ms(100));
            sleeper.join().unwrap();
            deadline.elapsed()
        })
    };
    // On a busy machine anything may be late, but not always.
    assert!((0..20).any(|_| late() < ms(50)));
}

#[test]
fn all_timers_that_are_due_fire_in_one_poll() {
    let _bound = bounded();
    sim::run(1, || {
        let sleepers: Vec<_> = (0..100).map(|_| spawn_local(|| sleep(ms(5)))).collect();
        let before = hub::stats().polls;
        for sleeper in joinall(sleepers) {
            sleeper.unwrap();
        }
        let polls = hub::stats().polls - before;
        assert!(polls < 10, "{polls} polls");
    });
}

#[test]
fn others_run_after_128_operations_that_did_not_park() {
    let _bound = bounded();
    run(|| {
        let busy = spawn_local(|| {
            let (lock, ran) = (Mutex::new(()), Rc::new(Cell::new(false)));
            let other = Rc::clone(&ran);
            drop(spawn_local(move || other.set(true)));
            let mut operations = 0;
            while !ran.get() && operations < 1000 {
                drop(lock.try_lock());
                operations += 1;
            }
            operations
        });
        assert_eq!(busy.join().unwrap(), 129);
    });
}

#[test]
fn each_run_of_a_greenlet_begins_with_a_new_budget() {
    let _bound = bounded();
    run(|| {
        let lock = Mutex::new(());
        let operate = || (0..100).for_each(|_| drop(lock.try_lock()));
        operate();
        yield_now();
        let ran = Rc::new(Cell::new(false));
        let theirs = Rc::clone(&ran);
        drop(spawn_local(move || theirs.set(true)));
        operate();
        assert!(!ran.get(), "an operation has yielded");
    });
}

#[test]
fn descriptors_are_looked_at_after_256_resumes() {
    let _bound = bounded();
    run(|| {
        let (reader, _writer) = pipe().unwrap();
        // Registered, so that a poll looks at it.
        let waits = spawn_local(move || (&reader).read(&mut [0]).map(drop));
        yield_now();
        let (mut row, mut longest) = (0, 0);
        let mut polls = hub::stats().polls;
        for _ in 0..10_000 {
            yield_now();
            row += 1;
            if hub::stats().polls > polls {
                polls = hub::stats().polls;
                longest = longest.max(row);
                row = 0;
            }
        }
        assert!((100..=257).contains(&longest), "{longest} resumes");
        waits.kill();
        let _ = waits.join();
    });
}

#[test]
fn the_end_of_an_inner_shield_leaves_the_outer_one() {
    let _bound = bounded();
    sim::run(1, || {
        let mut slept = false;
        let limited = with_timeout(ms(10), || {
            shield(|| {
                shield(|| sleep(ms(1)));
                sleep(ms(50));
                slept = true;
            });
            sleep(ms(1));
        });
        assert!(slept && limited.is_err());
    });
}

/// Ends `old` after `spoil` has done something to it, and runs `f` in all cells that are free then.
fn in_its_cell(spoil: impl Fn(&Greenlet<()>), f: impl Fn() + Copy + 'static) {
    sim::run(1, || {
        let old: Vec<_> = (0..10).map(|_| spawn_local(|| ())).collect();
        old.iter().for_each(&spoil);
        for old in joinall(old) {
            let _ = old;
        }
        let new: Vec<_> = (0..20).map(|_| spawn_local(f)).collect();
        for new in joinall(new) {
            new.unwrap();
        }
    });
}

#[test]
fn a_new_greenlet_inherits_nothing_from_one_that_had_its_place_in_memory() {
    let _bound = bounded();
    let parks = || assert_eq!(took(|| greenroom::thread::park_timeout(ms(10))), ms(10));
    in_its_cell(|old| old.thread().unpark(), parks);
    in_its_cell(|old| old.kill(), parks);
}

#[test]
fn a_pool_that_shrinks_hands_no_place_on() {
    let _bound = bounded();
    sim::run(1, || {
        let pool = Pool::new(2);
        drop(pool.spawn(|| sleep(ms(10))));
        drop(pool.spawn(|| sleep(ms(30))));
        let theirs = pool.clone();
        let waits = spawn_local(move || {
            let inside = theirs.spawn(|| sleep(ms(10)));
            let entered = greenroom::now();
            inside.join().unwrap();
            entered
        });
        let begin = greenroom::now();
        yield_now();
        assert_eq!(pool.waiting(), 1);
        pool.resize(1);
        assert_eq!(waits.join().unwrap() - begin, ms(30));
    });
}

#[test]
fn select_tells_a_reader_of_a_hang_up() {
    let _bound = bounded();
    run(|| {
        let (reader, writer) = pipe().unwrap();
        // Nothing to read is left: poll(2) says POLLHUP, and no POLLIN.
        drop(writer);
        let none: &[RawFd] = &[];
        let fd = [reader.as_raw_fd()];
        let (read, _, _) = select(&fd, none, none, Some(ms(50))).unwrap();
        assert_eq!(read, fd);
    });
}

/// Equal to all others of its rank.
#[derive(Debug)]
struct Ranked(u8, usize);

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

#[test]
fn items_of_one_rank_leave_a_priority_queue_first_in_first_out() {
    let _bound = bounded();
    run(|| {
        let queue = PriorityQueue::new();
        for count in 0..100 {
            queue.put(Ranked((count % 3) as u8, count)).unwrap();
        }
        let got: Vec<_> = queue.try_iter().map(|item| (item.0, item.1)).collect();
        assert_eq!(got.len(), 100);
        assert!(got.is_sorted(), "{got:?}");
    });
}

#[test]
fn a_limit_of_a_condition_begins_once() {
    let _bound = bounded();
    sim::run(1, || {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&pair);
        let notifies = spawn(move || {
            loop {
                sleep(ms(10));
                theirs.1.notify_all();
            }
        });
        let limited = with_timeout(Duration::from_secs(1), || {
            took(|| {
                let guard = pair.0.lock().unwrap();
                let waited = pair.1.wait_timeout_while(guard, ms(35), |()| true);
                assert!(waited.unwrap().1.timed_out());
            })
        });
        assert_eq!(limited.unwrap(), ms(35));
        notifies.kill();
        let _ = notifies.join();
    });
}

#[test]
fn a_writer_that_is_killed_lets_the_readers_behind_it_in() {
    let _bound = bounded();
    sim::run(1, || {
        let lock = Arc::new(RwLock::new(()));
        let _held = lock.read();
        let (first, second) = (Arc::clone(&lock), Arc::clone(&lock));
        let writer = spawn(move || drop(first.write()));
        sleep(ms(1));
        let reader = spawn(move || drop(second.read()));
        sleep(ms(1));
        writer.kill();
        let read = with_timeout(Duration::from_secs(1), || reader.join());
        read.expect("it waits for nobody").unwrap();
    });
}

#[test]
fn waits_of_no_time_let_others_run() {
    let _bound = bounded();
    sim::run(1, || {
        let lock = Arc::new(Mutex::new(()));
        let ran = Rc::new(Cell::new(false));
        let held = lock.lock();
        let (theirs, other) = (Arc::clone(&lock), Rc::clone(&ran));
        let looks = spawn_local(move || {
            drop(spawn_local(move || other.set(true)));
            (0..1000).find(|_| {
                assert!(theirs.try_lock_for(Duration::ZERO).is_err());
                ran.get()
            })
        });
        assert!(looks.join().unwrap().is_some());
        drop(held);
    });
}

#[test]
fn a_notification_passes_over_a_greenlet_whose_thread_has_ended() {
    let _bound = bounded();
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let theirs = Arc::clone(&pair);
    std::thread::spawn(move || {
        let waits = spawn(move || drop(theirs.1.wait(theirs.0.lock().unwrap())));
        yield_now();
        std::mem::forget(waits);
    })
    .join()
    .unwrap();
    run(|| {
        let theirs = Arc::clone(&pair);
        let waits = spawn(move || drop(theirs.1.wait(theirs.0.lock().unwrap())));
        yield_now();
        pair.1.notify_one();
        with_timeout(Duration::from_secs(5), || waits.join())
            .expect("it was told")
            .unwrap();
    });
}

#[test]
fn a_member_that_waits_for_a_place_is_no_deadlock_while_others_run() {
    let _bound = bounded();
    sim::run(1, || {
        let pool = Pool::new(2);
        let (first, second) = (pool.clone(), pool.clone());
        drop(pool.spawn(|| sleep(ms(10))));
        // Waits until the sleeper has ended, and goes on for another 10 ms.
        let outer = pool.spawn(move || {
            let inner = first.spawn(move || second.spawn(greenroom::now).join().unwrap());
            sleep(ms(10));
            inner
        });
        let begin = greenroom::now();
        // By then the inner one waits for the outer, which has waited before.
        let innermost = outer.join().unwrap().join().unwrap();
        assert_eq!(innermost - begin, ms(20));
    });
}

/// A pipe that takes no more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let fd = writer.as_raw_fd();
    // SAFETY: a descriptor that is open, and bytes that are there.
    unsafe {
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        while libc::write(fd, [0_u8; 4096].as_ptr().cast(), 4096) > 0 {}
    }
    (reader, writer)
}

#[test]
fn select_tells_readers_and_writers_of_an_error() {
    let _bound = bounded();
    run(|| {
        let (reader, writer) = full_pipe();
        drop(reader);
        let none: &[RawFd] = &[];
        let fd = [writer.as_raw_fd()];
        let (_, write, _) = select(none, &fd, none, Some(ms(50))).unwrap();
        assert_eq!(write, fd);
        let (read, _, _) = select(&fd, none, none, Some(ms(50))).unwrap();
        assert_eq!(read, fd);
    });
}

#[test]
fn select_does_not_end_for_what_was_not_asked() {
    let _bound = bounded();
    run(|| {
        let (reader, writer) = pipe().unwrap();
        drop(writer);
        let none: &[RawFd] = &[];
        let begin = Instant::now();
        let found = select(none, none, &[reader.as_raw_fd()], Some(ms(30))).unwrap();
        assert_eq!(found, (vec![], vec![], vec![]));
        assert!(begin.elapsed() >= ms(30));
    });
}

#[test]
fn an_item_that_comes_back_is_the_next_again() {
    let _bound = bounded();
    run(|| {
        let queue = Arc::new(Queue::new());
        let theirs = Arc::clone(&queue);
        let getter = spawn_local(move || {
            for _ in 0..2 {
                let got = catch_unwind(AssertUnwindSafe(|| theirs.get()));
                assert!(got.is_err());
            }
        });
        yield_now();
        getter.kill();
        // The first kill has been caught; the second is held off until others have run.
        yield_now();
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        drop(getter.join());
        assert_eq!(queue.try_iter().collect::<Vec<_>>(), [1, 2]);
    });
}

#[test]
fn an_item_that_comes_back_to_a_drained_queue_is_not_waited_for() {
    let _bound = bounded();
    run(|| {
        let queue = Arc::new(JoinableQueue::new());
        let theirs = Arc::clone(&queue);
        let getter = spawn_local(move || {
            for _ in 0..2 {
                let got = catch_unwind(AssertUnwindSafe(|| theirs.get()));
                assert!(got.is_err());
            }
        });
        yield_now();
        getter.kill();
        // As above.
        yield_now();
        queue.put(1).unwrap();
        assert_eq!(queue.shutdown(true), []);
        drop(getter.join());
        assert!(with_timeout(Duration::from_secs(5), || queue.join()).is_ok());
    });
}

#[test]
fn a_selector_that_changes_meanwhile_keeps_its_limit() {
    let _bound = bounded();
    sim::run(1, || {
        let selector = Arc::new(PollSelector::<()>::new().unwrap());
        let (reader, _writer) = pipe().unwrap();
        let theirs = Arc::clone(&selector);
        let fd = reader.as_raw_fd();
        let registers = spawn(move || {
            sleep(ms(20));
            theirs.register(fd, Events::READ, ()).unwrap();
        });
        assert_eq!(took(|| drop(selector.select(Some(ms(50))))), ms(50));
        registers.join().unwrap();
        drop(reader);
    });
}

thread_local! {
    /// How many comparisons of [`Shy`] are left until one panics; 0 for none.
    static UNTIL_PANIC: Cell<u32> = const { Cell::new(0) };
}

#[derive(Debug, PartialEq, Eq)]
struct Shy(u32);

impl PartialOrd for Shy {
    fn partial_cmp(&self, other: &Shy) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shy {
    fn cmp(&self, other: &Shy) -> Ordering {
        let left = UNTIL_PANIC.get();
        UNTIL_PANIC.set(left.saturating_sub(1));
        assert_ne!(left, 1, "this comparison panics");
        self.0.cmp(&other.0)
    }
}

#[test]
fn a_comparison_that_panics_leaves_the_order_of_a_priority_queue_as_it_was() {
    let _bound = bounded();
    let mut panics = 0;
    for nth in 1..12 {
        let queue = PriorityQueue::from_iter((0..20).map(|n| Shy(n * 7 % 20)));
        assert_eq!(queue.get(), Ok(Shy(0)));
        UNTIL_PANIC.set(nth);
        let got = catch_unwind(AssertUnwindSafe(|| queue.try_get().unwrap()));
        UNTIL_PANIC.set(0);
        panics += u32::from(got.is_err());
        queue.close();
        let rest: Vec<u32> = queue.iter().map(|item| item.0).collect();
        let all: Vec<u32> = got.into_iter().map(|item| item.0).chain(rest).collect();
        assert_eq!(all, (1..20).collect::<Vec<_>>(), "comparison {nth}");
    }
    assert!(panics > 3, "{panics}");
}
