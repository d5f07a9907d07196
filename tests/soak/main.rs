//! The soak: everything at once, at random, for as long as it is told, and nothing left at the end.
//!
//! ```text
//! .ci/soak                      two minutes, as a release build
//! SOAK_S=600 .ci/soak           ten
//! SOAK_SEED=42 .ci/soak         the same dice again
//! ```
//!
//! It goes in rounds. Each makes a world: a server on hubs of its own, a datagram server, and some
//! hubs of clients, whose greenlets do what the dice say (`deeds.rs`). At the end of a round every
//! hub must have given back all it had; at the end of all, the process must be as it was after
//! the first. What the dice say is printed as a seed, which fixes the deeds, not their order.

mod counts;
mod deeds;
mod dice;
mod world;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use counts::Counts;
use world::Tally;

/// Among other tests there is time for a look only.
const SECONDS: u64 = 4;
const ROUND: Duration = Duration::from_secs(5);
/// Without anything done for so long, all hangs.
const PATIENCE: Duration = Duration::from_secs(30);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let seconds = number("SOAK_S").unwrap_or(SECONDS);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("SOAK_SEED").unwrap_or(clock.as_nanos() as u64);
    println!("soak: {seconds} s, SOAK_SEED={seed}");
    keep_quiet_of_planned_panics();
    let total = Duration::from_secs(seconds.max(1));
    let tally = Arc::new(Tally::default());
    watch(Arc::clone(&tally), seed);
    let begin = Instant::now();
    let mut first = None;
    let mut rounds = 0;
    let mut faults = Vec::new();
    // Two at least, or there would be nothing to compare.
    while rounds < 2 || begin.elapsed() < total {
        let left = total.saturating_sub(begin.elapsed());
        let length = left
            .min(ROUND)
            .min(total / 2)
            .max(Duration::from_millis(200));
        rounds += 1;
        faults.extend(world::round(seed.wrapping_add(rounds), length, &tally));
        let counts = Counts::settled(first.as_ref());
        let first = first.get_or_insert_with(|| counts.clone());
        faults.extend(first.compare(&counts));
        if !faults.is_empty() {
            break;
        }
    }
    tally.over.store(true, Ordering::Relaxed);
    println!("soak: {rounds} rounds, {}", tally.summary());
    for fault in &faults {
        println!("soak: FAILED in round {rounds}: {fault}");
    }
    if faults.is_empty() {
        println!("soak: all is as it was");
        return ExitCode::SUCCESS;
    }
    println!("soak: again with SOAK_SEED={seed}");
    ExitCode::FAILURE
}

/// Deeds panic on purpose; what else panics is to be seen.
fn keep_quiet_of_planned_panics() {
    // With the first hub comes the hook that names greenlets: it is to be quiet as well.
    drop(greenroom::spawn(|| ()).join());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&deeds::PLANNED) {
            hook(info);
        }
    }));
}

/// Tells how it goes, and ends the process when nothing goes any more.
fn watch(tally: Arc<Tally>, seed: u64) {
    std::thread::spawn(move || {
        let told = std::io::stderr().is_terminal();
        let (mut seen, mut since) = (0, Instant::now());
        while !tally.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(1));
            let done = tally.done();
            if told {
                eprint!("\r{} ", tally.summary());
                let _ = std::io::stderr().flush();
            }
            if done != seen {
                (seen, since) = (done, Instant::now());
            } else if since.elapsed() > PATIENCE {
                println!(
                    "soak: FAILED: nothing for {PATIENCE:?}; {}",
                    tally.summary()
                );
                println!("soak: SOAK_SEED={seed}; under way: {}", tally.under_way());
                std::process::abort();
            }
        }
        if told {
            eprintln!();
        }
    });
}
