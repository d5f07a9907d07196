//! A simulated world: virtual time, chance from a seed, failures that can be replayed.
