//! Mutexes, condition variables and read-write locks of C and C++: held across a park, and waited
//! for by greenlets and by OS threads at the same time.

#[path = "monkey_support/locks.rs"]
mod locks;
mod monkey_support;

use monkey_support::bounded;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenroom::{monkey, with_timeout, yield_now};
use libc::{EBUSY, EDEADLK, EINVAL, EPERM, ETIMEDOUT};
use locks::{Condition, Mutex, RwLock, from_now};
use monkey_support::{green, later, ms, on_one_os_thread, os_thread, parks, pipe};

#[test]
fn a_mutex_may_be_held_across_a_park() {
    let _bound = bounded();
    // T2: the second greenlet must not block the OS thread on which the first has to run.
    green(|| {
        let mutex = Arc::new(Mutex::normal());
        let [reader, writer] = pipe();
        let theirs = Arc::clone(&mutex);
        let holder = greenroom::spawn(move || {
            theirs.lock();
            let mut byte = 0u8;
            // SAFETY: a valid buffer.
            let read = unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
            theirs.unlock();
            read
        });
        yield_now();
        let wanters: Vec<_> = (0..3)
            .map(|_| {
                let theirs = Arc::clone(&mutex);
                greenroom::spawn(move || {
                    theirs.lock();
                    yield_now();
                    theirs.unlock();
                })
            })
            .collect();
        greenroom::sleep(ms(5));
        assert!(wanters.iter().all(|wanter| !wanter.is_finished()));
        let dump = greenroom::hub::dump();
        assert!(dump.contains("waits for a pthread mutex"), "{dump}");
        // SAFETY: a valid buffer.
        assert_eq!(unsafe { libc::write(writer, [1u8].as_ptr().cast(), 1) }, 1);
        assert_eq!(holder.join().unwrap(), 1);
        for wanter in wanters {
            wanter.join().unwrap();
        }
        assert_eq!((mutex.try_lock(), mutex.try_lock()), (0, EBUSY));
    });
}

#[test]
fn those_who_wait_are_served_in_the_order_of_their_coming() {
    let _bound = bounded();
    green(|| {
        let (mutex, order) = (Rc::new(Mutex::normal()), Rc::new(RefCell::new(Vec::new())));
        mutex.lock();
        let all: Vec<_> = (0..200)
            .map(|number| {
                let (mutex, order) = (Rc::clone(&mutex), Rc::clone(&order));
                greenroom::spawn_local(move || {
                    mutex.lock();
                    yield_now();
                    order.borrow_mut().push(number);
                    mutex.unlock();
                })
            })
            .collect();
        greenroom::sleep(ms(5));
        mutex.unlock();
        greenroom::joinall(all);
        assert!(order.borrow().iter().copied().eq(0..200), "{order:?}");
    });
}

#[test]
fn an_os_thread_and_a_greenlet_wait_for_each_other() {
    let _bound = bounded();
    // Held by an OS thread, the greenlet parks.
    let mutex = Arc::new(Mutex::normal());
    let theirs = Arc::clone(&mutex);
    let (held, is_held) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let owner = os_thread(move || {
        theirs.lock();
        held.send(()).unwrap();
        released.recv().unwrap();
        theirs.unlock();
    });
    is_held.recv().unwrap();
    let unlocker = later(move || release.send(()).unwrap());
    let ours = Arc::clone(&mutex);
    assert_eq!(parks(move || ours.lock_raw()), 0);
    owner.join().unwrap();
    unlocker.join().unwrap();
    // Held by the greenlet, the OS thread blocks.
    let theirs = Arc::clone(&mutex);
    let waiter = os_thread(move || {
        theirs.lock();
        theirs.unlock();
    });
    green(|| greenroom::sleep(ms(20)));
    assert!(!waiter.is_finished());
    mutex.unlock();
    waiter.join().unwrap();
}

#[test]
fn a_mutex_that_is_unlocked_out_of_sight_is_had_soon() {
    let _bound = bounded();
    // An OS thread that waits for a condition unlocks within libc.
    let pair = Arc::new((Mutex::normal(), Condition::new()));
    let theirs = Arc::clone(&pair);
    let (held, is_held) = std::sync::mpsc::channel();
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let waiter = os_thread(move || {
        theirs.0.lock();
        held.send(()).unwrap();
        goes.recv().unwrap();
        let told = theirs.1.wait(&theirs.0);
        theirs.0.unlock();
        told
    });
    is_held.recv().unwrap();
    let waits = later(move || go.send(()).unwrap());
    let ours = Arc::clone(&pair);
    parks(move || ours.0.lock());
    waits.join().unwrap();
    pair.1.signal();
    pair.0.unlock();
    assert_eq!(waiter.join().unwrap(), 0);
}

#[test]
fn conditions_are_told_to_greenlets_and_os_threads() {
    let _bound = bounded();
    // A queue of one place: producers and consumers of both kinds.
    const EACH: usize = 300;
    struct Place {
        mutex: Mutex,
        filled: Condition,
        emptied: Condition,
        full: AtomicUsize,
    }
    impl Place {
        fn put(&self) {
            self.mutex.lock();
            while self.full.load(Ordering::Relaxed) == 1 {
                assert_eq!(self.emptied.wait(&self.mutex), 0);
            }
            self.full.store(1, Ordering::Relaxed);
            self.filled.signal();
            self.mutex.unlock();
        }
        fn take(&self) {
            self.mutex.lock();
            while self.full.load(Ordering::Relaxed) == 0 {
                assert_eq!(self.filled.wait(&self.mutex), 0);
            }
            self.full.store(0, Ordering::Relaxed);
            self.emptied.signal();
            self.mutex.unlock();
        }
    }
    green(|| {
        let place = Arc::new(Place {
            mutex: Mutex::normal(),
            filled: Condition::new(),
            emptied: Condition::new(),
            full: AtomicUsize::new(0),
        });
        let mut greenlets = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..4 {
            let (a, b) = (Arc::clone(&place), Arc::clone(&place));
            greenlets.push(greenroom::spawn(move || (0..EACH).for_each(|_| a.put())));
            greenlets.push(greenroom::spawn(move || (0..EACH).for_each(|_| b.take())));
        }
        for _ in 0..2 {
            let (a, b) = (Arc::clone(&place), Arc::clone(&place));
            threads.push(os_thread(move || (0..EACH).for_each(|_| a.put())));
            threads.push(os_thread(move || (0..EACH).for_each(|_| b.take())));
        }
        for done in greenroom::joinall(greenlets) {
            done.unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(place.full.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_broadcast_wakes_all_and_a_signal_one() {
    let _bound = bounded();
    green(|| {
        let pair = Arc::new((Mutex::normal(), Condition::new()));
        let woken = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let (pair, woken) = (Arc::clone(&pair), Arc::clone(&woken));
                greenroom::spawn(move || {
                    pair.0.lock();
                    assert_eq!(pair.1.wait(&pair.0), 0);
                    woken.fetch_add(1, Ordering::Relaxed);
                    pair.0.unlock();
                })
            })
            .collect();
        greenroom::sleep(ms(5));
        for count in 1..=3 {
            pair.1.signal();
            greenroom::sleep(ms(5));
            assert_eq!(woken.load(Ordering::Relaxed), count);
        }
        pair.0.lock();
        pair.1.broadcast();
        greenroom::sleep(ms(5));
        assert_eq!(woken.load(Ordering::Relaxed), 3, "the mutex is not free");
        pair.0.unlock();
        greenroom::joinall(waiters);
        assert_eq!(woken.load(Ordering::Relaxed), 10);
    });
}

#[test]
fn moments_are_kept_and_refused_as_libc_does() {
    let _bound = bounded();
    green(|| {
        let mutex = Rc::new(Mutex::normal());
        mutex.lock();
        let theirs = Rc::clone(&mutex);
        let begin = Instant::now();
        let waiter = greenroom::spawn_local(move || {
            let real = theirs.timed_lock(from_now(libc::CLOCK_REALTIME, ms(20)));
            let clock = libc::CLOCK_MONOTONIC;
            let monotonic = theirs.clock_lock(clock, from_now(clock, ms(20)));
            let past = theirs.timed_lock(from_now(libc::CLOCK_REALTIME, ms(0)));
            let mut wrong = from_now(libc::CLOCK_REALTIME, ms(20));
            wrong.tv_nsec = 1_000_000_000;
            let odd = theirs.clock_lock(libc::CLOCK_PROCESS_CPUTIME_ID, wrong);
            (real, monotonic, past, theirs.timed_lock(wrong), odd)
        });
        let told = waiter.join().unwrap();
        assert_eq!(told, (ETIMEDOUT, ETIMEDOUT, ETIMEDOUT, EINVAL, EINVAL));
        assert!(begin.elapsed() >= ms(40));
        // In time.
        let theirs = Rc::clone(&mutex);
        let waiter = greenroom::spawn_local(move || {
            theirs.timed_lock(from_now(libc::CLOCK_REALTIME, Duration::from_secs(60)))
        });
        greenroom::sleep(ms(5));
        mutex.unlock();
        assert_eq!(waiter.join().unwrap(), 0);
    });
}

#[test]
fn waits_for_a_condition_end_in_time_with_the_mutex() {
    let _bound = bounded();
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        green(move || {
            let (mutex, condition) = (Mutex::normal(), Condition::with_clock(clock));
            mutex.lock();
            let begin = Instant::now();
            let told = condition.timed_wait(&mutex, from_now(clock, ms(20)));
            assert_eq!(told, ETIMEDOUT);
            assert!((ms(20)..ms(5000)).contains(&begin.elapsed()));
            assert_eq!(mutex.try_lock(), EBUSY, "it is locked again");
            // A wait that is over lets others run all the same.
            let ran = Rc::new(Cell::new(false));
            let theirs = Rc::clone(&ran);
            greenroom::spawn_local(move || theirs.set(true));
            let past = from_now(clock, ms(0));
            assert_eq!(condition.timed_wait(&mutex, past), ETIMEDOUT);
            assert!(ran.get());
            let other = libc::CLOCK_MONOTONIC;
            let told = condition.clock_wait(&mutex, other, from_now(other, ms(5)));
            assert_eq!(told, ETIMEDOUT);
            let mut wrong = past;
            wrong.tv_nsec = -1;
            assert_eq!(condition.timed_wait(&mutex, wrong), EINVAL);
            assert_eq!(mutex.try_lock(), EBUSY, "it was never unlocked");
        });
    }
}

#[test]
fn readers_share_and_writers_exclude() {
    let _bound = bounded();
    green(|| {
        let (lock, inside) = (Arc::new(RwLock::new()), Arc::new(AtomicUsize::new(0)));
        assert_eq!(lock.write(), 0);
        // Both wait, and then need each other to go on.
        let readers = [(); 2].map(|()| {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            greenroom::spawn(move || {
                assert_eq!(lock.read(), 0);
                inside.fetch_add(1, Ordering::Relaxed);
                while inside.load(Ordering::Relaxed) < 2 {
                    greenroom::sleep(ms(1));
                }
                lock.unlock();
            })
        });
        let (theirs, tried) = (Arc::clone(&lock), Arc::new(AtomicUsize::new(0)));
        let has_tried = Arc::clone(&tried);
        let writer = greenroom::spawn(move || {
            let clock = libc::CLOCK_MONOTONIC;
            let soon = from_now(clock, ms(5));
            let late = (
                theirs.write_until(clock, soon),
                theirs.read_until(clock, soon),
            );
            assert_eq!(late, (ETIMEDOUT, ETIMEDOUT));
            has_tried.store(1, Ordering::Relaxed);
            assert_eq!(theirs.write(), 0);
            theirs.unlock();
        });
        while tried.load(Ordering::Relaxed) == 0 {
            greenroom::sleep(ms(1));
        }
        assert_eq!(inside.load(Ordering::Relaxed), 0);
        lock.unlock();
        for reader in readers {
            reader.join().unwrap();
        }
        writer.join().unwrap();
        assert_eq!(lock.write(), 0);
        lock.unlock();
    });
}

#[test]
fn writers_are_served_in_the_order_of_their_coming() {
    let _bound = bounded();
    green(|| {
        let (lock, order) = (Rc::new(RwLock::new()), Rc::new(RefCell::new(Vec::new())));
        assert_eq!(lock.write(), 0);
        let all: Vec<_> = (0..50)
            .map(|number| {
                let (lock, order) = (Rc::clone(&lock), Rc::clone(&order));
                greenroom::spawn_local(move || {
                    assert_eq!(lock.write(), 0);
                    yield_now();
                    yield_now();
                    order.borrow_mut().push(number);
                    lock.unlock();
                })
            })
            .collect();
        greenroom::sleep(ms(5));
        lock.unlock();
        greenroom::joinall(all);
        assert!(order.borrow().iter().copied().eq(0..50), "{order:?}");
    });
}

#[test]
fn owners_are_greenlets_where_each_has_its_own_thread_locals() {
    let _bound = bounded();
    green(|| {
        let recursive = Arc::new(Mutex::of_kind(libc::PTHREAD_MUTEX_RECURSIVE));
        let checked = Arc::new(Mutex::of_kind(libc::PTHREAD_MUTEX_ERRORCHECK));
        let (ours, theirs) = (Arc::clone(&recursive), Arc::clone(&checked));
        let holder = greenroom::spawn(move || {
            ours.lock();
            ours.lock();
            theirs.lock();
            let again = theirs.lock_raw();
            greenroom::sleep(ms(20));
            ours.unlock();
            theirs.unlock();
            greenroom::sleep(ms(20));
            ours.unlock();
            again
        });
        yield_now();
        let (ours, theirs) = (Arc::clone(&recursive), Arc::clone(&checked));
        let begin = Instant::now();
        let other = greenroom::spawn(move || {
            let not_ours = theirs.unlock_raw();
            theirs.lock();
            theirs.unlock();
            ours.lock();
            ours.unlock();
            not_ours
        });
        assert_eq!(other.join().unwrap(), EPERM);
        assert!(begin.elapsed() >= ms(40));
        assert_eq!(holder.join().unwrap(), EDEADLK);
    });
}

#[test]
fn error_checking_mutexes_exclude_those_that_share_thread_locals_too() {
    let _bound = bounded();
    green(|| {
        let checked = Rc::new(Mutex::of_kind(libc::PTHREAD_MUTEX_ERRORCHECK));
        checked.lock();
        let theirs = Rc::clone(&checked);
        let other = greenroom::spawn_local(move || {
            let told = theirs.lock_raw();
            theirs.unlock();
            told
        });
        greenroom::sleep(ms(5));
        assert!(!other.is_finished());
        checked.unlock();
        assert_eq!(other.join().unwrap(), 0);
    });
}

#[test]
fn a_kill_and_a_timeout_wait_for_the_lock() {
    let _bound = bounded();
    green(|| {
        let pair = Arc::new((Mutex::normal(), Condition::new()));
        pair.0.lock();
        let theirs = Arc::clone(&pair);
        let stage = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&stage);
        let victim = greenroom::spawn(move || {
            theirs.0.lock();
            seen.store(1, Ordering::Relaxed);
            assert_eq!(theirs.1.wait(&theirs.0), 0);
            theirs.0.unlock();
            seen.store(2, Ordering::Relaxed);
            greenroom::sleep(ms(60_000));
            seen.store(3, Ordering::Relaxed);
        });
        greenroom::sleep(ms(5));
        victim.kill();
        greenroom::sleep(ms(5));
        assert_eq!(stage.load(Ordering::Relaxed), 0, "it waits for the mutex");
        pair.0.unlock();
        greenroom::sleep(ms(5));
        assert_eq!(
            stage.load(Ordering::Relaxed),
            1,
            "it waits for the condition"
        );
        pair.1.signal();
        assert!(victim.join().unwrap_err().is_killed());
        assert_eq!(stage.load(Ordering::Relaxed), 2);

        pair.0.lock();
        let theirs = Arc::clone(&pair);
        let begin = Instant::now();
        let waiter = greenroom::spawn(move || {
            with_timeout(ms(5), || {
                theirs.0.lock();
                theirs.0.unlock();
                greenroom::sleep(ms(60_000));
            })
        });
        greenroom::sleep(ms(30));
        assert!(!waiter.is_finished());
        pair.0.unlock();
        assert!(waiter.join().unwrap().is_err());
        assert!(begin.elapsed() >= ms(30));
    });
}

#[test]
fn two_hubs_and_an_os_thread_fight_for_one_mutex() {
    let _bound = bounded();
    const GREENLETS: usize = 40;
    const ROUNDS: usize = 50;
    struct Counted(Mutex, std::cell::UnsafeCell<usize>);
    // SAFETY: the number is touched by who holds the mutex.
    unsafe impl Sync for Counted {}
    // SAFETY: as above.
    unsafe impl Send for Counted {}
    impl Counted {
        fn add(&self, between: impl Fn()) {
            self.0.lock();
            // SAFETY: the mutex is held.
            let before = unsafe { self.1.get().read() };
            between();
            // SAFETY: the mutex is held.
            unsafe { self.1.get().write(before + 1) };
            self.0.unlock();
        }
    }
    let counted = Arc::new(Counted(Mutex::normal(), std::cell::UnsafeCell::new(0)));
    let hubs = [(); 2].map(|()| {
        let counted = Arc::clone(&counted);
        os_thread(move || {
            monkey::patch_all().unwrap();
            let greenlets = (0..GREENLETS).map(|_| {
                let counted = Arc::clone(&counted);
                greenroom::spawn(move || (0..ROUNDS).for_each(|_| counted.add(yield_now)))
            });
            for done in greenroom::joinall(greenlets) {
                done.unwrap();
            }
        })
    });
    let theirs = Arc::clone(&counted);
    let plain = os_thread(move || (0..ROUNDS).for_each(|_| theirs.add(std::thread::yield_now)));
    for hub in hubs {
        hub.join().unwrap();
    }
    plain.join().unwrap();
    // SAFETY: all who touched it have ended.
    let count = unsafe { counted.1.get().read() };
    assert_eq!(count, (2 * GREENLETS + 1) * ROUNDS);
}

#[test]
fn what_libc_alone_can_wait_for_blocks_and_is_told() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let blocked = || {
            let report = monkey::report();
            report.symbol("pthread_mutex_lock").unwrap().bypassed()
        };
        for mutex in [Mutex::robust(), Mutex::with_priorities()] {
            let (mutex, before) = (Arc::new(mutex), blocked());
            let theirs = Arc::clone(&mutex);
            let (held, is_held) = std::sync::mpsc::channel();
            let owner = os_thread(move || {
                theirs.lock();
                held.send(()).unwrap();
                std::thread::sleep(ms(30));
                theirs.unlock();
            });
            is_held.recv().unwrap();
            greenroom::spawn_local(move || {
                mutex.lock();
                mutex.unlock();
            })
            .join()
            .unwrap();
            owner.join().unwrap();
            assert!(blocked() > before);
        }
        let report = monkey::report().to_string();
        assert!(
            report.contains("for a lock that libc alone can wait for"),
            "{report}"
        );
    });
}

#[test]
fn locks_that_nobody_holds_are_not_counted() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let calls = || {
            monkey::report()
                .symbol("pthread_rwlock_wrlock")
                .unwrap()
                .calls()
        };
        assert!(monkey::is_patched("pthread_rwlock_wrlock"));
        let before = calls();
        let lock = RwLock::new();
        for _ in 0..100 {
            assert_eq!(lock.write(), 0);
            lock.unlock();
        }
        // Others may wait for locks of theirs meanwhile.
        assert!(calls() < before + 100);
    });
}
