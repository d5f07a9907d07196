//! Claim: a lock that parks costs little more than std's while nobody waits for it, and a wake
//! of very many waiters is little more than that many switches.

mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::sync;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    uncontended(&mut bench);
    handed_over(&mut bench);
    fight(&mut bench);
    crowd(&mut bench);
    bench.finish()
}

fn std_mutex(count: u64) -> Duration {
    let mutex = black_box(std::sync::Mutex::new(0_u64));
    cpu(|| (0..count).for_each(|_| *black_box(&mutex).lock().unwrap() += 1))
}

fn uncontended(bench: &mut Bench) {
    // With a hub, as in a program that has greenlets.
    greenroom::yield_now();

    let claim = Claim::demand("Mutex lock + unlock : std Mutex", 1.5);
    let mut ours = |count| {
        let mutex = black_box(sync::Mutex::new(0_u64));
        cpu(|| (0..count).for_each(|_| *black_box(&mutex).lock().unwrap() += 1))
    };
    bench.compare(claim, &mut ours, &mut std_mutex);

    let claim = Claim::demand("Semaphore acquire + release : std Mutex", 1.5);
    let mut ours = |count| {
        let semaphore = black_box(sync::Semaphore::new(1));
        cpu(|| (0..count).for_each(|_| drop(black_box(&semaphore).acquire())))
    };
    bench.compare(claim, &mut ours, &mut std_mutex);

    let claim = Claim::information("RLock lock + unlock : std Mutex");
    let mut ours = |count| {
        let lock = black_box(sync::RLock::new(()));
        cpu(|| (0..count).for_each(|_| drop(black_box(&lock).lock())))
    };
    bench.compare(claim, &mut ours, &mut std_mutex);

    let claim = Claim::information("RwLock read + unlock : std RwLock");
    let mut ours = |count| {
        let lock = black_box(sync::RwLock::new(0_u64));
        cpu(|| (0..count).for_each(|_| _ = black_box(*black_box(&lock).read().unwrap())))
    };
    bench.compare(claim, &mut ours, &mut |count| {
        let lock = black_box(std::sync::RwLock::new(0_u64));
        cpu(|| (0..count).for_each(|_| _ = black_box(*black_box(&lock).read().unwrap())))
    });
}

/// Two OS threads fight over one lock: nothing to be proud of, see the README of the benches.
fn fight(bench: &mut Bench) {
    let claim = Claim::information("Mutex, 2 OS threads : std Mutex, 2 OS threads");
    let mut ours = |count: u64| {
        let mutex = sync::Mutex::new(0_u64);
        two_threads(|| (0..count.div_ceil(2)).for_each(|_| *mutex.lock().unwrap() += 1))
    };
    let rounds = bench.size(15, 2);
    bench.compare_in(rounds, claim, &mut ours, &mut |count: u64| {
        let mutex = std::sync::Mutex::new(0_u64);
        two_threads(|| (0..count.div_ceil(2)).for_each(|_| *mutex.lock().unwrap() += 1))
    });
}

fn two_threads(work: impl Fn() + Sync) -> Duration {
    common::wall(|| {
        std::thread::scope(|s| {
            s.spawn(&work);
            s.spawn(&work);
        });
    })
}

/// Two greenlets take turns, each with the lock held across a yield: every lock is contended.
fn handed_over(bench: &mut Bench) {
    let claim = Claim::information("contended lock + yield + unlock : yield");
    let mut ours = |count| {
        let mutex = Arc::new(sync::Mutex::new(()));
        let half = || {
            let mutex = Arc::clone(&mutex);
            greenroom::spawn(move || {
                for _ in 0..count / 2 {
                    let _guard = mutex.lock().unwrap();
                    greenroom::yield_now();
                }
            })
        };
        cpu(|| drop(greenroom::joinall([half(), half()])))
    };
    bench.compare(claim, &mut ours, &mut |count| {
        let half = move || (0..count / 2).for_each(|_| greenroom::yield_now());
        cpu(|| {
            drop(greenroom::joinall([
                greenroom::spawn(half),
                greenroom::spawn(half),
            ]))
        })
    });
}

/// One event wakes very many, each of which waits for it again; against as many that yield. Each
/// crowd is parked while the other one is measured.
fn crowd(bench: &mut Bench) {
    let number = bench.size(100_000, 1000);
    let rounds = bench.size(15, 2);
    let (event, gate) = (Arc::new(sync::Event::new()), Arc::new(sync::Event::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let open = Arc::new(AtomicBool::new(false));

    let waiter = || {
        let (event, stop) = (Arc::clone(&event), Arc::clone(&stop));
        greenroom::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                event.wait();
            }
        })
    };
    let yielder = || {
        let (gate, open, stop) = (Arc::clone(&gate), Arc::clone(&open), Arc::clone(&stop));
        greenroom::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                gate.wait();
                while open.load(Ordering::Relaxed) {
                    greenroom::yield_now();
                }
            }
        })
    };
    let waiters: Vec<_> = (0..number).map(|_| waiter()).collect();
    let yielders: Vec<_> = (0..number).map(|_| yielder()).collect();
    greenroom::yield_now();

    let pulse = |event: &sync::Event| {
        event.set();
        event.clear();
        greenroom::yield_now();
    };
    let mut wakes = |count| in_rounds(number, count, &mut || pulse(&event));
    let mut yields = |count| {
        open.store(true, Ordering::Relaxed);
        pulse(&gate);
        let time = in_rounds(number, count, &mut greenroom::yield_now);
        open.store(false, Ordering::Relaxed);
        greenroom::yield_now();
        time
    };
    let claim = Claim::demand("Event wakes 100,000 : as many yields", 2.0);
    bench.compare_in(rounds, claim, &mut wakes, &mut yields);

    stop.store(true, Ordering::Relaxed);
    event.set();
    gate.set();
    greenroom::joinall(waiters);
    greenroom::joinall(yielders);
}

/// Calls `round` for at least `count` things, of which it does `number` at a time.
fn in_rounds(number: u64, count: u64, round: &mut dyn FnMut()) -> Duration {
    let rounds = count.div_ceil(number);
    let time = cpu(|| (0..rounds).for_each(|_| round()));
    time.mul_f64(count as f64 / (rounds * number) as f64)
}
