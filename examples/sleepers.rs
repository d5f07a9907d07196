//! How much is a sleeping greenlet? Spawns 100,000 of them and looks at the bill.
//!
//! ```text
//! cargo run --release --example sleepers
//! cargo run --release --example sleepers 1000000
//! ```
//!
//! A greenlet has a stack of its own of which only the used pages are memory: one, here. All
//! stacks together are a handful of maps, and nobody spends any CPU while they sleep.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::Parser;
use greenroom::{Builder, Greenlet};

/// Spawns greenlets that sleep, and prints what they cost.
#[derive(Parser)]
struct Args {
    /// Number of greenlets
    #[arg(default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How long to watch them sleep, in milliseconds
    #[arg(long, default_value_t = 1000)]
    watch_ms: u64,
}

/// When all wake up: set when all are spawned, before the first of them runs.
static ALARM: OnceLock<Instant> = OnceLock::new();

/// Sleeps until the alarm; returns by how much it was late.
fn sleeper() -> Duration {
    let alarm = *ALARM.get().expect("greenlets first run when main parks");
    greenroom::sleep_until(alarm);
    alarm.elapsed()
}

/// As many as there is room for.
fn spawn_sleepers(count: u64) -> Vec<Greenlet<Duration>> {
    let spawn = |_| Builder::new().spawn(sleeper);
    let mut greenlets = Vec::new();
    for greenlet in (0..count).map(spawn) {
        match greenlet {
            Ok(greenlet) => greenlets.push(greenlet),
            Err(error) => {
                eprintln!("only {} greenlets fit: {error}", greenlets.len());
                break;
            }
        }
    }
    greenlets
}

fn main() {
    let args = Args::parse();
    let (count, watch) = (args.count, Duration::from_millis(args.watch_ms));
    let (memory, maps) = (memory_bytes(), map_count());

    let begin = Instant::now();
    let greenlets = spawn_sleepers(count);
    let (count, spawned) = (greenlets.len() as u64, begin.elapsed());
    // Time enough for all to begin their sleep, and to be watched.
    let alarm = *ALARM.get_or_init(|| Instant::now() + 4 * spawned + 2 * watch);
    // All others run once, and fall asleep.
    greenroom::yield_now();
    let asleep = begin.elapsed();
    println!("greenlets    {count}");
    println!("spawned in   {spawned:.3?}; all asleep after {asleep:.3?}");
    let grown = memory_bytes().saturating_sub(memory);
    println!("memory       {} bytes each", grown / count);
    println!("maps         {} more", map_count().saturating_sub(maps));

    let cpu = cpu_time();
    greenroom::sleep(watch.min(alarm.saturating_duration_since(Instant::now())));
    println!("CPU          {:.3?} in {watch:?}", cpu_time() - cpu);

    let results = greenroom::joinall(greenlets).into_iter();
    let mut late: Vec<_> = results.map(|result| result.expect("sleeps well")).collect();
    late.sort_unstable();
    let Some(last) = late.last() else { return };
    let median = late[late.len() / 2];
    println!("late by      {median:.3?} (median), {last:.3?} (last)");
}

/// Resident memory and the page tables for it.
fn memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.expect("a number of kB")
    };
    1024 * (kilobytes("VmRSS:") + kilobytes("VmPTE:"))
}

fn map_count() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
    maps.lines().count()
}

/// CPU time of this thread, which is the only one.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").expect("Linux has /proc");
    let on_cpu = stat.split_whitespace().next();
    Duration::from_nanos(on_cpu.and_then(|ns| ns.parse().ok()).expect("a number"))
}
