//! Claim: a greenlet that owns its thread-locals costs a quarter of a system call per switch there
//! and back, and the memory of a block of them.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::{Greenlet, joinall, spawn, spawn_local, yield_now};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let mut bench = Bench::start();
    greenroom::monkey::patch(&[greenroom::monkey::Part::Identity])
        .expect("thread-locals of their own");

    // `spawn` gives a greenlet its own, `spawn_local` its spawner's.
    let claim = Claim::information("yield, own thread-locals : shared");
    let mut own = |count| yields(count, |half| spawn(move || half_of(half)));
    bench.compare(claim, &mut own, &mut |count| {
        yields(count, |half| spawn_local(move || half_of(half)))
    });

    let claim = Claim::information("spawn + join, own thread-locals : shared");
    let mut own = |count| cpu(|| (0..count).for_each(|_| drop(spawn(|| ()).join())));
    bench.compare(claim, &mut own, &mut |count| {
        cpu(|| (0..count).for_each(|_| drop(spawn_local(|| ()).join())))
    });

    let number = bench.size(10_000, 100);
    let own = bytes_each(number, || spawn(park));
    let shared = bytes_each(number, || spawn_local(park));
    let claim = Claim::information("bytes per parked greenlet, own : shared");
    bench.row(claim, own, shared, own / shared);
    bench.finish()
}

fn half_of(count: u64) {
    (0..count).for_each(|_| yield_now());
}

/// Two greenlets yield to each other, `count` times in all.
fn yields(count: u64, spawn: impl Fn(u64) -> Greenlet<()>) -> Duration {
    cpu(|| {
        joinall([spawn(count / 2), spawn(count / 2)]);
    })
}

fn park() {
    // As code does that formats, allocates and fails.
    let text = format!("{:?}", std::fs::metadata("/nowhere"));
    greenroom::sleep(HOUR);
    drop(text);
}

/// Memory and page tables of each of `number` parked greenlets, on stacks of their own.
fn bytes_each(number: usize, spawn: impl Fn() -> Greenlet<()>) -> f64 {
    let used = || common::status_bytes("VmRSS:") + common::status_bytes("VmPTE:");
    let before = used();
    // They stay: what one side leaves behind is not to serve the other.
    (0..number).for_each(|_| drop(spawn()));
    yield_now();
    (used() - before) as f64 / number as f64
}
