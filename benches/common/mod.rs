//! What all benches share: one CPU, interleaved rounds, medians of ratios, a row for each claim.
//!
//! A claim is a ratio between two things measured in the same run, A B A B, each sample long
//! enough to time (calibrated) and short enough that both sides of a pair see the same machine.
//! What runs on one thread is measured in CPU time of that thread, so that other work on the
//! machine disturbs it less.
//!
//! Arguments: `--smoke` runs everything tiny, to see that it works, and judges nothing; so does
//! a run without any arguments (`cargo test --benches`). `--gate` exits with 1 when a demand is
//! missed. `cargo bench` passes `--bench`.

#![allow(dead_code, reason = "no bench uses everything")]

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// A sample is made this long.
const SAMPLE: Duration = Duration::from_millis(4);
const ROUNDS: usize = 41;

/// A bare system call, the unit of many claims.
pub(crate) fn bare_syscall() {
    // SAFETY: getppid(2) takes nothing and always succeeds.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// Times `count` system calls.
pub(crate) fn bare_syscalls(count: u64) -> Duration {
    cpu(|| (0..count).for_each(|_| bare_syscall()))
}

/// CPU time that this thread spends in `f`.
pub(crate) fn cpu(f: impl FnOnce()) -> Duration {
    elapsed(libc::CLOCK_THREAD_CPUTIME_ID, f)
}

/// Time that passes during `f`.
pub(crate) fn wall(f: impl FnOnce()) -> Duration {
    elapsed(libc::CLOCK_MONOTONIC, f)
}

fn elapsed(clock: libc::clockid_t, f: impl FnOnce()) -> Duration {
    let before = read_clock(clock);
    f();
    read_clock(clock) - before
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the call to fill; both clocks exist on Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Binds this thread, and those it starts, to the CPU that it runs on now.
pub(crate) fn pin() {
    // SAFETY: a zeroed set is an empty one, the call writes nothing, and a CPU that we run on
    // fits into it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// A field of /proc/self/status, in bytes.
pub(crate) fn status_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    1024 * number.expect("a number of kB")
}

/// Lines in /proc/self/maps.
pub(crate) fn maps() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
    maps.lines().count()
}

/// What is promised: ours is at most `demand` times the reference, hopefully `stretch` times.
/// Where there is nothing to demand, the row is for information.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    pub(crate) demand: Option<f64>,
    pub(crate) stretch: Option<f64>,
}

impl Claim {
    pub(crate) fn new(name: &'static str, demand: f64, stretch: f64) -> Claim {
        Claim {
            name,
            demand: Some(demand),
            stretch: Some(stretch),
        }
    }

    pub(crate) fn demand(name: &'static str, demand: f64) -> Claim {
        Claim {
            stretch: None,
            ..Claim::new(name, demand, 0.0)
        }
    }

    pub(crate) fn stretch(name: &'static str, stretch: f64) -> Claim {
        Claim {
            demand: None,
            ..Claim::new(name, 0.0, stretch)
        }
    }

    pub(crate) fn information(name: &'static str) -> Claim {
        Claim {
            name,
            demand: None,
            stretch: None,
        }
    }
}

/// One side of a comparison: does its thing `count` times and says how long that took.
pub(crate) type Side<'a> = &'a mut dyn FnMut(u64) -> Duration;

/// A run of one bench program.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) smoke: bool,
    gate: bool,
    missed: bool,
}

impl Bench {
    /// Reads the arguments, binds to a CPU and prints the head of the table.
    pub(crate) fn start() -> Bench {
        let has = |name: &str| std::env::args().any(|arg| arg == name);
        let full = has("--bench") || has("--full") || has("--gate");
        pin();
        println!(
            "| {:<48} | {:>10} | {:>10} | {:>7} | {:>6} | {:>7} | {:<7} |",
            "claim", "ours", "reference", "ratio", "demand", "stretch", "verdict"
        );
        println!(
            "|{:-<50}|{:->12}|{:->12}|{:->9}|{:->8}|{:->9}|{:-<9}|",
            "", "", "", "", "", "", ""
        );
        Bench {
            smoke: has("--smoke") || !full,
            gate: has("--gate"),
            missed: false,
        }
    }

    /// `full`, or in a smoke run `smoke`.
    pub(crate) fn size<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    /// Measures both sides in turn and prints the row, in nanoseconds. Returns the ratio.
    pub(crate) fn compare(&mut self, claim: Claim, ours: Side<'_>, reference: Side<'_>) -> f64 {
        let rounds = self.size(ROUNDS, 2);
        self.compare_in(rounds, claim, ours, reference)
    }

    /// As [`Bench::compare`], for samples that are long whatever is asked for.
    pub(crate) fn compare_in(
        &mut self,
        rounds: usize,
        claim: Claim,
        ours: Side<'_>,
        reference: Side<'_>,
    ) -> f64 {
        let (our_count, their_count) = (self.calibrate(ours), self.calibrate(reference));
        let ns = |time: Duration, count| time.as_nanos() as f64 / count as f64;
        let (mut a, mut b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let our_ns = ns(ours(our_count), our_count);
            let their_ns = ns(reference(their_count), their_count);
            ratios.push(our_ns / their_ns);
            a.push(our_ns);
            b.push(their_ns);
        }
        let ratio = median(&mut ratios);
        self.row(claim, median(&mut a), median(&mut b), ratio);
        ratio
    }

    /// How often in one sample.
    fn calibrate(&self, side: Side<'_>) -> u64 {
        let sample = self.size(SAMPLE, Duration::from_micros(20));
        let mut count = 1;
        loop {
            let time = side(count).max(Duration::from_nanos(1));
            if time >= sample {
                return count;
            }
            let factor = sample.as_nanos() as f64 / time.as_nanos() as f64;
            count = (count as f64 * factor.clamp(1.1, 16.0)).ceil() as u64;
        }
    }

    /// Prints a row and judges it.
    pub(crate) fn row(&mut self, claim: Claim, ours: f64, reference: f64, ratio: f64) {
        let verdict = match (claim.demand, claim.stretch) {
            _ if self.smoke => "smoke",
            (Some(demand), _) if ratio > demand => "SHORT",
            (_, Some(stretch)) if ratio <= stretch => "STRETCH",
            (Some(_), _) => "PASS",
            (None, Some(_)) => "beyond",
            (None, None) => "info",
        };
        self.missed |= verdict == "SHORT";
        let limit = |limit: Option<f64>| limit.map_or(String::from("-"), |limit| limit.to_string());
        let mut line = String::new();
        let _ = write!(
            line,
            "| {:<48} | {ours:>10.1} | {reference:>10.1} ",
            claim.name
        );
        let _ = write!(line, "| {ratio:>7.3} | {:>6} ", limit(claim.demand));
        let _ = write!(line, "| {:>7} | {verdict:<7} |", limit(claim.stretch));
        println!("{line}");
    }

    /// Says by the exit code whether a demand was missed, if that was asked for.
    pub(crate) fn finish(self) -> ExitCode {
        ExitCode::from(u8::from(self.gate && self.missed))
    }
}

/// The one in the middle.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A tokio runtime on this thread.
pub(crate) fn tokio_runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("tokio starts")
}
