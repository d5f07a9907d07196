//! What gevent's own tests ask of the thread pool (test__threadpool.py): behaviours 86 and 87 of
//! our list and section 1.10, re-written in our words, not copied. Ours works from any thread,
//! so nothing stands here for gevent's error about a wrong one.
mod gevent_support;

use gevent_support::{LONG, bounded, is_alone, ms, passes_alone};
use greenroom::threadpool::{self, Builder, Job, ThreadPool};
use greenroom::{iwait, sleep, spawn, wait, with_timeout, yield_now};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// A job that runs until its gate is dropped.
fn blocked(pool: &ThreadPool) -> (Gate, Job<()>) {
    let (gate, shut) = gate();
    (gate, pool.spawn(shut))
}

struct Gate(#[allow(dead_code, reason = "kept to be dropped")] mpsc::Sender<()>);

fn gate() -> (Gate, impl FnOnce() + Send) {
    let (sender, receiver) = mpsc::channel();
    (Gate(sender), move || assert!(receiver.recv().is_err()))
}

fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(ms(1));
    }
}

// 1.10: the result comes back, and the hub goes on meanwhile.
#[test]
fn a_job_runs_elsewhere_and_other_greenlets_run_meanwhile() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, job) = blocked(&pool);
    let other = spawn(move || drop(gate));
    job.join().unwrap();
    assert!(other.is_finished());
    let there = pool.call(|| thread::current().id()).unwrap();
    assert_ne!(there, thread::current().id());
}

#[test]
fn no_more_threads_are_made_than_are_needed() {
    let _bound = bounded();
    let pool = ThreadPool::new(3).unwrap();
    assert_eq!(pool.threads(), 0);
    let (gate, job) = blocked(&pool);
    assert_eq!(pool.threads(), 1, "also while it starts");
    drop(gate);
    job.join().unwrap();
    until(|| format!("{pool:?}").contains("idle: 1"));
    for _ in 0..20 {
        pool.call(|| ()).unwrap();
        until(|| format!("{pool:?}").contains("idle: 1"));
    }
    assert_eq!(pool.threads(), 1, "it was idle each time");
    let blocked: Vec<_> = (0..5).map(|_| blocked(&pool)).collect();
    assert_eq!((pool.threads(), pool.len()), (3, 5));
    until(|| pool.queued() == 2);
    for (gate, job) in blocked {
        drop(gate);
        job.join().unwrap();
    }
}

// 1.10: spawn blocks when the pool is full.
#[test]
fn a_full_pool_parks_who_spawns_first_come_first() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(1).build().unwrap());
    let (gate, first) = blocked(&pool);
    let second = pool.spawn(|| ());
    let order = Arc::new(Mutex::new(Vec::new()));
    let spawners: Vec<_> = (0..3)
        .map(|number| {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            spawn(move || {
                let job = pool.spawn(move || order.lock().unwrap().push(number));
                job.join().unwrap();
            })
        })
        .collect();
    yield_now();
    assert!(spawners.iter().all(|one| !one.is_finished()));
    assert_eq!(pool.len(), 2, "nobody has got in");
    assert_eq!(
        pool.try_spawn(|| ()).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(gate);
    for spawner in spawners {
        spawner.join().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn who_gives_up_waiting_for_room_leaves_it_to_the_next() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
    let (gate, job) = blocked(&pool);
    let spawner = |pool: &Arc<ThreadPool>| {
        let pool = Arc::clone(pool);
        spawn(move || pool.spawn(|| 7).join().unwrap())
    };
    let (dies, lives) = (spawner(&pool), spawner(&pool));
    yield_now();
    dies.kill();
    yield_now();
    drop(gate);
    assert_eq!(lives.join().unwrap(), 7);
    assert!(dies.join().unwrap_err().is_killed());
    job.join().unwrap();
}

// 86
#[test]
fn raising_the_size_releases_who_waits_in_spawn() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
    let (gate, job) = blocked(&pool);
    let ours = Arc::clone(&pool);
    let waiting = spawn(move || ours.call(|| 7).unwrap());
    yield_now();
    assert!(!waiting.is_finished());
    pool.resize(2).unwrap();
    assert_eq!(waiting.join().unwrap(), 7);
    drop(gate);
    job.join().unwrap();
}

#[test]
fn room_for_several_is_given_to_several() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
    let (gate, job) = blocked(&pool);
    let (other_gate, shut) = self::gate();
    let (ours, theirs) = (Arc::clone(&pool), Arc::clone(&pool));
    let first = spawn(move || ours.spawn(shut).join().unwrap());
    let second = spawn(move || theirs.call(|| 7).unwrap());
    yield_now();
    pool.resize(3).unwrap();
    assert_eq!(second.join().unwrap(), 7, "while both other jobs run");
    drop((gate, other_gate));
    first.join().unwrap();
    job.join().unwrap();
}

// 86
#[test]
fn shrinking_to_nothing_ends_the_threads_and_growing_brings_new_ones() {
    let _bound = bounded();
    let pool = ThreadPool::new(4).unwrap();
    let jobs: Vec<_> = (0..8).map(|n| pool.spawn(move || n)).collect();
    let results: Vec<_> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    assert_eq!(results, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(pool.threads() > 0);
    pool.resize(0).unwrap();
    until(|| pool.threads() == 0);
    let paused = pool.spawn(|| 7);
    let paused = paused.join_timeout(ms(5)).unwrap_err();
    pool.resize(1).unwrap();
    assert_eq!(paused.join().unwrap(), 7);
}

// 86
#[test]
fn a_smaller_size_lets_the_jobs_that_run_end_first() {
    let _bound = bounded();
    let pool = ThreadPool::new(3).unwrap();
    let blocked: Vec<_> = (0..3).map(|_| blocked(&pool)).collect();
    until(|| pool.queued() == 0);
    pool.resize(1).unwrap();
    assert_eq!(pool.threads(), 3);
    for (gate, job) in blocked {
        drop(gate);
        job.join().unwrap();
    }
    until(|| pool.threads() <= 1);
    assert_eq!(pool.call(|| 7).unwrap(), 7);
}

#[test]
fn a_thread_without_a_job_ends_after_its_time() {
    let _bound = bounded();
    let pool = Builder::new().size(2).idle_timeout(ms(5)).build().unwrap();
    pool.call(|| ()).unwrap();
    until(|| pool.threads() == 0);
    assert_eq!(pool.call(|| 7).unwrap(), 7);
}

#[test]
fn an_endless_idle_time_is_one() {
    let _bound = bounded();
    let pool = Builder::new().size(1).idle_timeout(Duration::MAX);
    let pool = pool.build().unwrap();
    assert_eq!(pool.call(|| 7).unwrap(), 7);
    sleep(ms(5));
    assert_eq!(pool.threads(), 1);
}

// 86: recursive apply.
#[test]
fn a_job_may_wait_for_jobs_of_its_own_pool_of_one_thread() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
    let ours = Arc::clone(&pool);
    let nested = pool.call(move || {
        let called = ours.call(|| 1).unwrap();
        let spawned = [ours.spawn(|| 2), ours.spawn(|| 3)];
        let spawned: u32 = spawned.into_iter().map(|job| job.join().unwrap()).sum();
        let inner = Arc::clone(&ours);
        called + spawned + ours.call(move || inner.call(|| 4).unwrap()).unwrap()
    });
    assert_eq!(nested.unwrap(), 10);
    assert!(pool.join(None));
}

// 86: args freed.
#[test]
fn a_job_has_dropped_its_closure_when_its_result_is_there() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let argument = Arc::new(());
    let theirs = Arc::clone(&argument);
    let job = pool.spawn(move || Arc::strong_count(&theirs));
    assert_eq!(job.join().unwrap(), 2);
    assert_eq!(Arc::strong_count(&argument), 1);
}

#[test]
fn a_result_that_nobody_wants_is_dropped() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let value = Arc::new(());
    let theirs = Arc::clone(&value);
    drop(pool.spawn(move || theirs));
    assert!(pool.join(Some(LONG)));
    assert_eq!(Arc::strong_count(&value), 1);
}

// 87
#[test]
fn a_panic_comes_back_with_its_payload() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let joined = pool.spawn(|| panic::panic_any(7_u8)).join();
    assert_eq!(joined.unwrap_err().downcast_ref(), Some(&7_u8));
    let called = panic::catch_unwind(AssertUnwindSafe(|| pool.call(|| panic::panic_any(8_u8))));
    assert_eq!(called.unwrap_err().downcast_ref(), Some(&8_u8));
    assert_eq!(pool.call(|| 9).unwrap(), 9, "the thread lives on");
}

#[test]
fn a_destructor_that_panics_costs_no_thread() {
    let _bound = bounded();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    for _ in 0..3 {
        let (gate, shut) = gate();
        drop(pool.spawn(move || {
            shut();
            Bomb
        }));
        drop(gate);
    }
    assert!(pool.join(Some(LONG)), "each is counted as done");
    assert_eq!(pool.call(|| 7).unwrap(), 7);
    assert!(pool.threads() <= 1);
}

// 87: futures usable in gevent's wait().
#[test]
fn jobs_can_be_waited_for_together() {
    let _bound = bounded();
    let pool = ThreadPool::new(2).unwrap();
    let ((slow_gate, slow), (gate, fast)) = (blocked(&pool), blocked(&pool));
    drop(gate);
    let mut arrivals = iwait([&slow, &fast]);
    assert!(std::ptr::eq(arrivals.next().unwrap(), &fast));
    let none = wait([&slow]).timeout(ms(5)).ready();
    assert!(none.is_empty());
    drop(slow_gate);
    assert!(std::ptr::eq(arrivals.next().unwrap(), &slow));
    assert!(arrivals.next().is_none());
    assert_eq!(
        wait([&slow, &fast]).ready().len(),
        2,
        "what has ended is ready at once"
    );
}

#[test]
fn who_waits_can_be_killed_or_time_out_and_the_job_runs_on() {
    let _bound = bounded();
    let pool = Arc::new(ThreadPool::new(1).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let (gate, shut) = gate();
    let (ours, theirs) = (Arc::clone(&pool), Arc::clone(&done));
    let waiting = spawn(move || {
        let late = with_timeout(ms(5), || {
            ours.call(move || {
                shut();
                theirs.store(true, Ordering::SeqCst);
            })
        });
        assert!(late.is_err());
        ours.call(|| ()).unwrap();
    });
    until(|| pool.len() == 2);
    waiting.kill();
    assert!(waiting.join().unwrap_err().is_killed());
    drop(gate);
    assert!(pool.join(Some(LONG)));
    assert!(done.load(Ordering::SeqCst));
}

#[test]
fn a_job_that_has_not_begun_can_be_taken_back() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, running) = blocked(&pool);
    until(|| pool.queued() == 0);
    let argument = Arc::new(());
    let theirs = Arc::clone(&argument);
    let queued = pool.spawn(move || drop(theirs));
    let (one, two) = (pool.spawn(|| ()), pool.spawn(|| ()));
    assert!(queued.cancel());
    assert_eq!(Arc::strong_count(&argument), 1, "its closure is gone");
    assert_eq!(pool.clear(), 2);
    assert!(one.join().unwrap_err().is_killed());
    let why = two.join().unwrap_err().to_string();
    assert_eq!(why, "the job was taken back before it began");
    assert_eq!(pool.len(), 1);
    drop(gate);
    running.join().unwrap();
    assert!(pool.spawn(|| ()).join_timeout(LONG).is_ok());
}

#[test]
fn what_runs_can_not_be_taken_back() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, running) = blocked(&pool);
    until(|| pool.queued() == 0);
    assert!(!running.cancel());
    drop(gate);
    assert!(pool.join(Some(LONG)));
}

// 81, for the pool of threads.
#[test]
fn map_keeps_the_order_and_goes_on_after_a_failure() {
    let _bound = bounded();
    let pool = ThreadPool::new(4).unwrap();
    let results = pool.map(0..50, |n| {
        assert_ne!(n, 25, "on purpose");
        thread::sleep(Duration::from_micros(
            u64::from(50_u32.abs_diff(n) % 7) * 100,
        ));
        n
    });
    let results: Vec<_> = results.collect();
    let failed: Vec<_> = (0..50).filter(|n| results[*n].is_err()).collect();
    assert_eq!(failed, [25]);
    assert!(
        results
            .into_iter()
            .flatten()
            .eq((0..50).filter(|n| *n != 25))
    );
    assert!(pool.map(0..0, |n| n).next().is_none());
}

// 83, for the pool of threads.
#[test]
fn map_takes_no_more_items_ahead_than_it_was_told() {
    let _bound = bounded();
    let pool = ThreadPool::new(4).unwrap();
    let taken = AtomicUsize::new(0);
    let items = (0..20).inspect(|_| {
        taken.fetch_add(1, Ordering::SeqCst);
    });
    let mut results = pool.map(items, |n| n).ahead(2);
    assert_eq!(taken.load(Ordering::SeqCst), 0, "it is lazy");
    for n in 0..10 {
        assert_eq!(results.next().unwrap().unwrap(), n);
        assert!(taken.load(Ordering::SeqCst) <= n + 2);
    }
}

#[test]
fn map_unordered_gives_what_is_ready_first() {
    let _bound = bounded();
    let pool = ThreadPool::new(2).unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let slow = Arc::new(Mutex::new(Some(receiver)));
    let results = pool.map_unordered([0, 1, 2, 3], move |n| {
        if n == 0 {
            let gate = slow.lock().unwrap().take().unwrap();
            assert!(gate.recv().is_err());
        }
        n
    });
    let mut sender = Some(sender);
    let order: Vec<_> = results
        .map(Result::unwrap)
        .inspect(|n| {
            if *n == 3 {
                sender.take();
            }
        })
        .collect();
    assert_eq!(order, [1, 2, 3, 0]);
}

#[test]
fn map_unordered_tells_of_jobs_that_were_taken_back() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, running) = blocked(&pool);
    until(|| pool.queued() == 0);
    let pool = Arc::new(pool);
    let ours = Arc::clone(&pool);
    let mapping = spawn(move || {
        ours.map_unordered([1, 2], |n| n)
            .ahead(2)
            .collect::<Vec<_>>()
    });
    until(|| pool.queued() == 2);
    assert_eq!(pool.clear(), 2);
    let results = mapping.join().unwrap();
    assert!(
        results
            .iter()
            .all(|one| one.as_ref().is_err_and(|e| e.is_killed()))
    );
    drop(gate);
    running.join().unwrap();
}

#[test]
fn a_dropped_pool_finishes_what_it_has_taken() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, running) = blocked(&pool);
    let queued = pool.spawn(|| 7);
    drop(pool);
    drop(gate);
    running.join().unwrap();
    assert_eq!(queued.join().unwrap(), 7);
}

#[test]
fn a_pool_that_is_dropped_while_paused_fails_its_jobs() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    pool.resize(0).unwrap();
    let queued = pool.spawn(|| 7);
    drop(pool);
    assert!(queued.join().unwrap_err().is_killed());
}

#[test]
fn the_threads_of_dropped_pools_end() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("the_threads_of_dropped_pools_end");
        return;
    }
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..20 {
        let pool = ThreadPool::new(4).unwrap();
        let jobs: Vec<_> = (0..8).map(|_| pool.spawn(|| ())).collect();
        jobs.into_iter().for_each(|job| job.join().unwrap());
    }
    until(|| threads() == before);
}

#[test]
fn a_thread_that_can_not_be_had_is_an_error_and_not_a_panic() {
    let _bound = bounded();
    let pool = Builder::new().size(1).stack_size(1 << 47).build().unwrap();
    let error = pool.spawn(|| ()).join().unwrap_err();
    assert!(error.not_started_because().is_some(), "{error}");
    let error = pool.call(|| ()).unwrap_err();
    assert!(
        error.to_string().contains("no thread for the job"),
        "{error}"
    );
    assert_eq!((pool.len(), pool.threads()), (0, 0));
}

#[test]
fn absurd_sizes_are_errors_that_name_the_limit() {
    let _bound = bounded();
    let none = ThreadPool::new(0).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    assert!(none.to_string().contains("0 threads"));
    let many = ThreadPool::new(usize::MAX).unwrap_err();
    assert_eq!(many.kind(), ErrorKind::InvalidInput);
    assert!(many.to_string().contains("10000"), "{many}");
    let pool = Builder::new().size(1).backlog(usize::MAX).build().unwrap();
    assert_eq!(pool.call(|| 7).unwrap(), 7);
    assert!(pool.resize(10_001).is_err());
    let nul = Builder::new().name("a\0b".into()).build();
    assert_eq!(nul.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn plain_threads_use_it_as_well() {
    let _bound = bounded();
    let pool = Arc::new(ThreadPool::new(2).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                (0..100)
                    .map(|m| pool.call(move || n * m).unwrap())
                    .sum::<u32>()
            })
        })
        .collect();
    let sums: Vec<_> = threads.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(sums, [0, 4950, 9900, 14850]);
}

#[test]
fn a_job_of_one_hub_can_be_joined_on_another() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (gate, shut) = gate();
    let job = pool.spawn(move || {
        shut();
        7
    });
    let elsewhere = thread::spawn(move || spawn(move || job.join().unwrap()).join().unwrap());
    sleep(ms(2));
    drop(gate);
    assert_eq!(elsewhere.join().unwrap(), 7);
}

#[test]
fn the_default_pool_serves_many_at_once() {
    let _bound = bounded();
    let jobs: Vec<_> = (0..500)
        .map(|_| threadpool::spawn(|| thread::current().id()))
        .collect();
    let ids: HashSet<_> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    assert!(ids.len() <= threadpool::default_pool().size());
    assert!(!ids.contains(&thread::current().id()));
    assert_eq!(threadpool::call(|| 7).unwrap(), 7);
}

// 1.10: recreated after fork.
#[test]
fn a_forked_child_starts_without_workers_and_makes_its_own() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_forked_child_starts_without_workers_and_makes_its_own");
        return;
    }
    let pool = ThreadPool::new(2).unwrap();
    let (gate, running) = blocked(&pool);
    assert_eq!(threadpool::call(|| 7).unwrap(), 7);
    // SAFETY: the child uses only what this test is about, and ends without returning.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let fresh = pool.is_empty() && pool.threads() == 0;
        let abandoned = running.is_finished() && running.join().unwrap_err().is_abandoned();
        let works = pool.call(|| 7).unwrap() == 7 && threadpool::call(|| 8).unwrap() == 8;
        drop(pool);
        // SAFETY: takes a number, and does not return.
        unsafe { libc::_exit(i32::from(!(fresh && abandoned && works))) };
    }
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(pool.len(), 1, "the parent's is as it was");
    drop(gate);
    running.join().unwrap();
}

#[test]
fn jobs_in_a_simulation_take_no_virtual_time() {
    let _bound = bounded();
    greenroom::sim::run(1, || {
        let before = greenroom::now();
        let sleeper = spawn(|| sleep(Duration::from_secs(3600)));
        let pool = ThreadPool::new(1).unwrap();
        assert_eq!(pool.call(|| 7).unwrap(), 7);
        assert_eq!(greenroom::now(), before);
        sleeper.join().unwrap();
    });
}
