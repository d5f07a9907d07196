//! Claim: 100,000 greenlets that wake at the same moment do so at the price of a few system
//! calls each, sleep and wake together.

mod common;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, Claim, bare_syscalls, cpu};

static FIRST_ALARM: OnceLock<Instant> = OnceLock::new();
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let number = bench.size(100_000, 1000);
    // Half of it is time to wake up in, the other half to fall asleep again; a bit of it is used.
    let period = bench.size(Duration::from_millis(500), Duration::from_millis(20));
    let sleepers = (0..number).map(|_| greenroom::spawn(move || sleeper(period)));
    let sleepers: Vec<_> = sleepers.collect();
    let first = *FIRST_ALARM.get_or_init(|| Instant::now() + 4 * period);

    // From half-way to half-way between two alarms: all wake once, and sleep again.
    let mut half_way = first - period / 2;
    greenroom::sleep_until(half_way);
    let mut round = |count: u64| {
        // Whoever is late, on a busy machine, begins anew from here.
        half_way += period;
        if half_way < Instant::now() {
            half_way = Instant::now() + period;
        }
        cpu(|| greenroom::sleep_until(half_way)).mul_f64(count as f64 / number as f64)
    };
    let rounds = bench.size(11, 2);
    let claim = Claim::new("sleep + wake, same deadline : bare syscall", 10.0, 5.0);
    bench.compare_in(rounds, claim, &mut round, &mut bare_syscalls);

    STOP.store(true, Ordering::Relaxed);
    greenroom::joinall(sleepers);
    bench.finish()
}

fn sleeper(period: Duration) {
    let mut alarm = *FIRST_ALARM
        .get()
        .expect("greenlets first run when main parks");
    while !STOP.load(Ordering::Relaxed) {
        greenroom::sleep_until(alarm);
        alarm += period;
    }
}
