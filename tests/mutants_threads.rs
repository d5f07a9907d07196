//! Tests of thread pools for bugs that no other test catches: each was seen to fail with its bug
//! seeded. See tests/mutants.rs.
mod hazard_support;

use greenroom::threadpool::{Builder, ThreadPool};
use greenroom::{run, spawn, yield_now};
use hazard_support::{bounded, eventually};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// A job that goes on until the sender is dropped.
fn until_dropped() -> (Sender<()>, impl FnOnce() + Send) {
    let (sender, receiver) = channel::<()>();
    (sender, move || _ = receiver.recv())
}

/// A pool with as many threads as it may have.
fn pool_of(size: usize, name: &str) -> ThreadPool {
    let builder = Builder::new().size(size).name(name.to_owned());
    let pool = builder.build().unwrap();
    let (ends, jobs): (Vec<_>, Vec<_>) = (0..size).map(|_| until_dropped()).unzip();
    let jobs: Vec<_> = jobs.into_iter().map(|job| pool.spawn(job)).collect();
    assert_eq!(pool.threads(), size);
    drop(ends);
    for job in jobs {
        job.join().unwrap();
    }
    pool
}

#[test]
fn a_pool_that_shrinks_ends_threads() {
    let _bound = bounded();
    let pool = pool_of(4, "shrinks");
    pool.resize(1).unwrap();
    eventually("one is left", || pool.threads() == 1);
}

/// OS threads of that name.
fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_it = |task: &std::fs::DirEntry| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    tasks.flatten().filter(is_it).count()
}

#[test]
fn the_end_of_a_pool_ends_its_threads() {
    let _bound = bounded();
    let pool = pool_of(3, "is-dropped");
    // Each names itself when it begins.
    eventually("all have begun", || threads_named("is-dropped") == 3);
    drop(pool);
    eventually("all have ended", || threads_named("is-dropped") == 0);
}

#[test]
fn a_job_does_not_pass_by_one_that_waits_in_line() {
    let _bound = bounded();
    run(|| {
        let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
        let (end, first) = until_dropped();
        let first = pool.spawn(first);
        let theirs = Arc::clone(&pool);
        let second = spawn(move || theirs.spawn(|| ()).join());
        yield_now();
        drop(end);
        // Nothing else runs on this hub meanwhile, so the second has not taken its turn.
        while !pool.is_empty() {
            std::hint::spin_loop();
        }
        assert!(pool.try_spawn(|| ()).is_err());
        second.join().unwrap().unwrap();
        first.join().unwrap();
    });
}
