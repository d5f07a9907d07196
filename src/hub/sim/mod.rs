//! The world a hub lives in: the real one, or a simulated one with virtual time and chance.

use std::cell::Cell;

use crate::sys;

/// Where a hub gets its time and its luck from.
#[derive(Debug)]
pub(crate) enum World {
    Real,
    Sim(Box<Sim>),
}

impl World {
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            World::Real => sys::clock::now_ns(),
            World::Sim(sim) => sim.now.get(),
        }
    }

    #[inline]
    pub(crate) fn sim(&self) -> Option<&Sim> {
        match self {
            World::Real => None,
            World::Sim(sim) => Some(sim),
        }
    }
}

/// A world in which time moves only when nobody can, and every choice comes from a seed.
#[derive(Debug)]
pub(crate) struct Sim {
    seed: u64,
    now: Cell<u64>,
    random: Random,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Sim {
        // The start of time is any moment; the real one keeps it translatable to `Instant`.
        Sim {
            seed,
            now: Cell::new(sys::clock::now_ns()),
            random: Random::new(seed),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    /// One of the first `count` in the run queue.
    pub(super) fn choose(&self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    pub(super) fn advance_to(&self, deadline: u64) {
        self.now.set(self.now.get().max(deadline));
    }
}

/// A small seeded generator: splitmix64 (Steele, Lea, Flood: Fast Splittable PRNGs, 2014).
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, which is not 0; the bias of 2^-64 x limit does not matter here.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// True with the probability given in thousandths.
    pub(crate) fn happens(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }
}
