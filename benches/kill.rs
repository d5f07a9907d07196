//! Claim: to kill a parked greenlet costs little more than the unwind that it consists of.

mod common;

use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, cpu};

const BATCH: u64 = 500;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let claim = Claim::stretch("kill + end, parked greenlet : an unwind, caught", 2.0);
    bench.compare(claim, &mut kills, &mut unwinds);
    bench.finish()
}

fn kills(count: u64) -> Duration {
    let batches = count.div_ceil(BATCH);
    let time = (0..batches).map(|_| kill_batch()).sum::<Duration>();
    time.mul_f64(count as f64 / (batches * BATCH) as f64)
}

fn kill_batch() -> Duration {
    let park = || greenroom::spawn(greenroom::thread::park);
    let greenlets: Vec<_> = (0..BATCH).map(|_| park()).collect();
    greenroom::yield_now();
    let time = cpu(|| assert_eq!(greenroom::killall(&greenlets, None), 0));
    for result in greenroom::joinall(greenlets) {
        assert!(result.is_err_and(|error| error.is_killed()));
    }
    time
}

fn unwinds(count: u64) -> Duration {
    cpu(|| {
        for _ in 0..count {
            let caught = panic::catch_unwind(|| panic::resume_unwind(Box::new(())));
            assert!(caught.is_err());
        }
    })
}
