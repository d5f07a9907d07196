//! What the tests in simulations share.
#![allow(dead_code)]

#[path = "../bounded/mod.rs"]
mod bounded;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

use greenroom::hub;
use greenroom::sim;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Seeds that each program is run with; more for a soak.
pub(crate) fn seeds() -> u64 {
    let wanted = std::env::var("GREENROOM_SEEDS").ok();
    wanted.map_or(1000, |text| {
        text.parse().expect("GREENROOM_SEEDS is a number")
    })
}

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Runs `program` with many seeds. Each run must leave nothing behind.
pub(crate) fn each_seed(program: impl Fn()) {
    for seed in 0..seeds() {
        sim::run(seed, || {
            program();
            assert_nothing_is_left();
        });
    }
}

/// The leak check at the end of every program.
#[track_caller]
pub(crate) fn assert_nothing_is_left() {
    sim::faults(sim::Faults::none());
    assert!(
        hub::wait_idle(Some(Duration::from_secs(3600))),
        "greenlets are left:\n{}",
        hub::dump()
    );
    let stats = hub::stats();
    let left = (
        stats.greenlets,
        stats.runnable,
        stats.timers,
        stats.waiting,
        stats.registrations,
        stats.stacks_live,
    );
    assert_eq!(left, (0, 0, 0, 0, 0, 0), "{stats:?}");
}

/// `count` bytes that depend on `salt`: whatever is lost, doubled or swapped shows.
pub(crate) fn bytes(salt: u64, count: usize) -> Vec<u8> {
    let mut state = salt.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Fletcher's checksum: depends on the order.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let (a, b) = bytes.iter().fold((0u64, 0u64), |(a, b), byte| {
        let a = (a + u64::from(*byte)) % 0xFFFF_FFFB;
        (a, (a + b) % 0xFFFF_FFFB)
    });
    b << 32 | a
}

/// Counts those that live: made by [`Census::one`], counted out by their destructor.
#[derive(Clone, Default)]
pub(crate) struct Census(std::sync::Arc<AtomicUsize>, std::sync::Arc<AtomicUsize>);

pub(crate) struct Counted(Census);

impl Census {
    pub(crate) fn one(&self) -> Counted {
        self.0.fetch_add(1, Relaxed);
        self.1.fetch_add(1, Relaxed);
        Counted(self.clone())
    }

    pub(crate) fn alive(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn ever(&self) -> usize {
        self.1.load(Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A number that greenlets of one simulation share.
pub(crate) type Shared = Rc<Cell<u64>>;

/// What has been seen with any seed: a test that never meets the rare case shows nothing.
#[derive(Clone, Default)]
pub(crate) struct Seen(Rc<RefCell<BTreeSet<&'static str>>>);

impl Seen {
    pub(crate) fn note(&self, what: &'static str) {
        self.0.borrow_mut().insert(what);
    }

    /// Not when one failure is replayed: that is one seed only.
    #[track_caller]
    pub(crate) fn expect(&self, all: &[&'static str]) {
        if std::env::var_os("GREENROOM_SEED").is_none() {
            let seen = self.0.borrow();
            let missed: Vec<_> = all.iter().filter(|what| !seen.contains(**what)).collect();
            assert!(missed.is_empty(), "no seed has shown: {missed:?}");
        }
    }
}
