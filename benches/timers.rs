//! Claim: a timeout around what does not park costs a read of the clock. The other rows are for
//! information: what a limit adds to a park, the clock included, and what a whole sleep costs.
//!
//! What is measured as a difference names both parts. A timeout becomes a timer only when its
//! greenlet parks, so "park with a timeout - park" is what arming and cancelling really cost.

mod common;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, Claim, bare_syscalls, cpu};
use greenroom::{GreenletRef, thread, with_timeout};

const HOUR: Duration = Duration::from_secs(3600);
const SMALL_STACK: usize = 64 * 1024;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let claim = Claim::new("with_timeout(1 h, nothing) : bare syscall", 0.25, 0.1);
    bench.compare(claim, &mut empty_timeouts, &mut bare_syscalls);
    let claim = Claim::information("yield in with_timeout - yield : bare syscall");
    bench.compare(claim, &mut yields, &mut bare_syscalls);
    let claim = Claim::information("park_timeout(1 h) - park : bare syscall");
    bench.compare(claim, &mut parks, &mut bare_syscalls);
    let claim = Claim::information("with_timeout(1 h, park) - park : bare syscall");
    bench.compare(claim, &mut parks_in_timeout, &mut bare_syscalls);

    expiry(&mut bench);

    let others = outstanding(bench.size(1_000_000, 10_000));
    let claim = Claim::information("park_timeout(1 h) - park, 1M outstanding");
    bench.compare(claim, &mut parks, &mut bare_syscalls);
    let claim = Claim::information("with_timeout(1 h, park) - park, 1M outstanding");
    bench.compare(claim, &mut parks_in_timeout, &mut bare_syscalls);
    drop(others);
    bench.finish()
}

fn empty_timeouts(count: u64) -> Duration {
    cpu(|| (0..count).for_each(|_| with_timeout(HOUR, || ()).expect("not for an hour")))
}

fn yields(count: u64) -> Duration {
    let repeat = |body: fn()| {
        cpu(|| {
            let greenlet = greenroom::spawn(move || (0..count).for_each(|_| body()));
            greenlet.join().expect("it yields and ends");
        })
    };
    let bounded = repeat(|| with_timeout(HOUR, greenroom::yield_now).expect("not for an hour"));
    bounded.saturating_sub(repeat(greenroom::yield_now))
}

fn parks(count: u64) -> Duration {
    ping_pong(count, || thread::park_timeout(HOUR)).saturating_sub(ping_pong(count, thread::park))
}

fn parks_in_timeout(count: u64) -> Duration {
    let bounded = ping_pong(count, || with_timeout(HOUR, thread::park).expect("not yet"));
    bounded.saturating_sub(ping_pong(count, thread::park))
}

/// Two greenlets wake each other, `count` parks in all.
fn ping_pong(count: u64, park: fn()) -> Duration {
    let partner: OnceLock<GreenletRef> = OnceLock::new();
    let half = count / 2;
    cpu(|| {
        greenroom::scope(|s| {
            let first = s.spawn(|| {
                let partner = partner.get().expect("set before this runs");
                for _ in 0..half {
                    partner.unpark();
                    park();
                }
            });
            let first = first.thread().clone();
            let second = s.spawn(move || {
                for _ in 0..half {
                    park();
                    first.unpark();
                }
            });
            partner.get_or_init(|| second.thread().clone());
        });
    })
}

/// Greenlets whose sleeps end one after the other: all of a round but the switch.
fn expiry(bench: &mut Bench) {
    static BASE: OnceLock<Instant> = OnceLock::new();
    static STOP: AtomicBool = AtomicBool::new(false);
    let number = bench.size(100_000, 1000);
    let period = bench.size(Duration::from_millis(600), Duration::from_millis(20));
    let sleeper = move |index: u32| {
        // In steps of a millisecond within the first quarter of the period, out of order.
        let steps = period.as_millis() as u32 / 4;
        let offset = Duration::from_millis(u64::from(index.wrapping_mul(2_654_435_761) % steps));
        let mut alarm = *BASE.get().expect("greenlets first run when main parks") + offset;
        while !STOP.load(Ordering::Relaxed) {
            greenroom::sleep_until(alarm);
            alarm += period;
        }
    };
    let sleepers = (0..number).map(|index| greenroom::spawn(move || sleeper(index)));
    let sleepers: Vec<_> = sleepers.collect();
    let mut moment = *BASE.get_or_init(|| Instant::now() + 3 * period) - period / 4;
    greenroom::sleep_until(moment);
    let mut round = |count: u64| {
        // Whoever is late, on a busy machine, begins anew from here.
        moment += period;
        if moment < Instant::now() {
            moment = Instant::now() + period;
        }
        cpu(|| greenroom::sleep_until(moment)).mul_f64(count as f64 / f64::from(number))
    };
    let rounds = bench.size(9, 2);
    let claim = Claim::information("arm + expire + switch, 100,000 : bare syscall");
    bench.compare_in(rounds, claim, &mut round, &mut bare_syscalls);
    STOP.store(true, Ordering::Relaxed);
    greenroom::joinall(sleepers);
}

/// Has `number` greenlets sleep for an hour.
fn outstanding(number: usize) -> Vec<greenroom::Greenlet<()>> {
    let sleeper = || {
        let builder = greenroom::Builder::new().stack_size(SMALL_STACK);
        let spawned = builder.spawn(|| greenroom::sleep(HOUR));
        spawned.expect("stacks for all")
    };
    let sleepers = (0..number).map(|_| sleeper()).collect();
    greenroom::yield_now();
    sleepers
}
