//! A simulated world for tests: virtual time, chance from a seed, failures that replay.
//!
//! Inside [`run`] nobody waits: when all greenlets are parked, the clock jumps to the next timer.
//! Which of the runnable greenlets runs next is drawn from the seed, so that a thousand seeds try
//! a thousand orders, and the same seed gives the same run again.

use std::panic::{self, AssertUnwindSafe};

use crate::greenlet::run_in;
use crate::hub::sim::{Sim, World};

/// The variable that replaces the seed of every [`run`], to replay a failure.
const SEED_VARIABLE: &str = "GREENROOM_SEED";

/// Runs `f` as the root of a hub in a simulated world.
///
/// When `f` panics, the seed is printed, and the panic goes on; set `GREENROOM_SEED` to that
/// number to see the same run again.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let order = |seed| greenroom::sim::run(seed, || {
///     let (sender, order) = std::sync::mpsc::channel();
///     for n in 0..10 {
///         let sender = sender.clone();
///         greenroom::spawn(move || sender.send(n).unwrap());
///     }
///     greenroom::sleep(Duration::from_secs(86_400));
///     order.try_iter().collect::<Vec<i32>>()
/// });
/// assert_eq!(order(1), order(1));
/// assert_ne!(order(1), order(2));
/// ```
///
/// # Panics
/// When `f` does, and when the environment variable is not a number.
///
/// # Parks
/// Not the greenlet that calls it: it blocks the caller's hub.
pub fn run<T>(seed: u64, f: impl FnOnce() -> T) -> T {
    let seed = chosen_seed(seed);
    let world = World::Sim(Box::new(Sim::new(seed)));
    let result = panic::catch_unwind(AssertUnwindSafe(|| run_in(world, |_| f())));
    result.unwrap_or_else(|payload| {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "greenroom: this simulation failed with seed {seed}; \
             to replay it, set {SEED_VARIABLE}={seed}"
        );
        panic::resume_unwind(payload)
    })
}

fn chosen_seed(given: u64) -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Err(_) => given,
        Ok(text) => text.parse().unwrap_or_else(|_| {
            panic!(
                "{SEED_VARIABLE}='{text}' is not a number from 0 to {}",
                u64::MAX
            )
        }),
    }
}
