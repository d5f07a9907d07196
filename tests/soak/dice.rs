//! Dice that fall again as they fell, given the same seed (xorshift64*, by Vigna).

use std::time::Duration;

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, player: u64) -> Dice {
        let mixed = seed ^ player.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = Dice(mixed | 1);
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Mostly short: half of the limit or less as often as more.
    pub(crate) fn pause(&mut self, most_us: usize) -> Duration {
        let most_us = most_us >> self.below(6);
        Duration::from_micros(self.below(most_us.max(1)) as u64)
    }
}
