//! Claim: a greenlet costs about as much to start and join as a few allocations, and a fresh
//! stack not much more than the page fault that brings it in.

mod common;

use std::alloc::{self, Layout};
use std::hint::black_box;
use std::process::ExitCode;
use std::ptr;
use std::time::Duration;

use common::{Bench, Claim, cpu};

const BATCH: u64 = 1000;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let runtime = common::tokio_runtime();

    let claim = Claim::new("spawn + join, one by one : malloc + free", 12.0, 6.0);
    bench.compare(claim, &mut one_by_one, &mut allocations);
    let claim = Claim::new("spawn + join, 1000 at a time : malloc + free", 12.0, 6.0);
    bench.compare(claim, &mut batches, &mut allocations);
    let claim = Claim::demand("spawn + join, one by one : tokio", 0.5);
    bench.compare(claim, &mut one_by_one, &mut |count| tasks(&runtime, count));
    let claim = Claim::demand("spawn + join, 1000 at a time : tokio", 0.5);
    bench.compare(claim, &mut batches, &mut |count| {
        task_batches(&runtime, count)
    });

    let stacks = bench.size(20_000, 500);
    let rounds = bench.size(11, 2);
    let claim = Claim::new("spawn + join, fresh stack : page's first touch", 2.0, 1.5);
    let mut fresh = |count| scaled(stacks, count, on_fresh_stacks(stacks));
    let mut touches = |count| scaled(stacks, count, first_touches(stacks));
    bench.compare_in(rounds, claim, &mut fresh, &mut touches);
    bench.finish()
}

fn one_by_one(count: u64) -> Duration {
    cpu(|| {
        for number in 0..count {
            let result = greenroom::spawn(move || number).join();
            assert!(result.is_ok_and(|same| same == number));
        }
    })
}

fn batches(count: u64) -> Duration {
    let batch = || {
        let greenlets: Vec<_> = (0..BATCH).map(|n| greenroom::spawn(move || n)).collect();
        for result in greenroom::joinall(greenlets) {
            black_box(result.expect("it runs"));
        }
    };
    in_batches(count, || (0..count.div_ceil(BATCH)).for_each(|_| batch()))
}

fn in_batches(count: u64, f: impl FnOnce()) -> Duration {
    cpu(f).mul_f64(count as f64 / (count.div_ceil(BATCH) * BATCH) as f64)
}

fn tasks(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    cpu(|| {
        runtime.block_on(async {
            for number in 0..count {
                let result = tokio::spawn(async move { number }).await;
                assert!(result.is_ok_and(|same| same == number));
            }
        });
    })
}

fn task_batches(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    let batch = || async {
        let tasks: Vec<_> = (0..BATCH).map(|n| tokio::spawn(async move { n })).collect();
        for task in tasks {
            black_box(task.await.expect("it runs"));
        }
    };
    in_batches(count, || {
        runtime.block_on(async {
            for _ in 0..count.div_ceil(BATCH) {
                batch().await;
            }
        });
    })
}

fn allocations(count: u64) -> Duration {
    let layout = Layout::from_size_align(128, 8).expect("128 bytes are no problem");
    cpu(|| {
        for _ in 0..count {
            // SAFETY: the layout is not empty; what is freed was allocated with it.
            unsafe { alloc::dealloc(black_box(alloc::alloc(layout)), layout) };
        }
    })
}

fn scaled(number: u64, count: u64, time: Duration) -> Duration {
    time.mul_f64(count as f64 / number as f64)
}

/// A hub of its own has a pool of its own: all stacks are new.
fn on_fresh_stacks(number: u64) -> Duration {
    greenroom::run(|| {
        cpu(|| {
            let greenlets: Vec<_> = (0..number).map(|_| greenroom::spawn(|| ())).collect();
            greenroom::joinall(greenlets);
        })
    })
}

/// Writes one byte of every so many, as far apart as the stacks are, in a new mapping.
fn first_touches(number: u64) -> Duration {
    let stride = greenroom::default_stack_size();
    let length = number as usize * stride;
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: a new mapping wherever the kernel finds room, used within its bounds only and
    // unmapped when it is no longer used.
    unsafe {
        let map = libc::mmap(ptr::null_mut(), length, access, flags, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        libc::madvise(map, length, libc::MADV_NOHUGEPAGE);
        let touch = |at: usize| map.cast::<u8>().add(at).write_volatile(1);
        let time = cpu(|| (0..length).step_by(stride).for_each(touch));
        libc::munmap(map, length);
        time
    }
}
