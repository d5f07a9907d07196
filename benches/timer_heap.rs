//! Claim: arming and cancelling a timer is a fraction of a system call, and expiring one a few,
//! also among a million. This is the structure alone, without the clock and without the wake:
//! what a hub pays for it once a turn. The bench `timers` has the same through the public calls.

#[cfg(test)]
#[path = "../tests/bounded/mod.rs"]
mod bounded;
mod common;
/// What the room needs of the one below it.
#[path = "../src/sys/prefetch.rs"]
mod sys;
#[allow(dead_code, unused_imports, reason = "not all of the room is measured")]
#[path = "../src/timer.rs"]
mod timer;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, bare_syscalls, cpu};
use timer::Timers;

const MS: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MS;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    for (name, outstanding) in [
        ("arm + cancel, 1,000 outstanding : bare syscall", 1000),
        (
            "arm + cancel, 1M outstanding : bare syscall",
            bench.size(1_000_000, 10_000),
        ),
    ] {
        let mut world = World::with(outstanding);
        let claim = Claim::new(name, 0.25, 0.1);
        bench.compare(
            claim,
            &mut |count| world.arm_and_cancel(count),
            &mut bare_syscalls,
        );
    }
    let mut world = World::with(bench.size(1_000_000, 10_000));
    let claim = Claim::new("expire, 1M outstanding : bare syscall", 3.0, 1.5);
    bench.compare(claim, &mut |count| world.expire(count), &mut bare_syscalls);
    bench.finish()
}

/// Timers spread over ten seconds, in no order.
struct World {
    timers: Timers<NonZeroUsize>,
    now: u64,
    seed: u64,
}

impl World {
    fn with(outstanding: usize) -> World {
        let (timers, now, seed) = (Timers::new(), 0, 1);
        let mut world = World { timers, now, seed };
        for payload in 1..=outstanding {
            world.arm(NonZeroUsize::new(payload).expect("counted from 1"));
        }
        world
    }

    fn arm(&mut self, payload: NonZeroUsize) {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let deadline = self.now + (self.seed >> 33) % (10_000 * MS);
        self.timers.arm(deadline, payload);
    }

    /// What a read with a time limit costs when the data come in time.
    fn arm_and_cancel(&mut self, count: u64) -> Duration {
        cpu(|| {
            for n in 0..count {
                let key = self.timers.arm(HOUR + n, NonZeroUsize::MIN);
                black_box(self.timers.cancel(key));
            }
        })
    }

    /// Time goes on in steps of a millisecond. Those that have expired are armed again, outside
    /// of the measurement, so that their number stays the same.
    fn expire(&mut self, count: u64) -> Duration {
        let mut expired = Vec::with_capacity(count as usize * 2);
        let time = cpu(|| {
            while expired.len() < count as usize {
                self.now += MS;
                expired.extend(std::iter::from_fn(|| self.timers.pop_due(self.now)));
            }
        });
        let share = count as f64 / expired.len() as f64;
        expired.into_iter().for_each(|payload| self.arm(payload));
        time.mul_f64(share)
    }
}
