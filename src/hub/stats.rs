//! Counters of a hub, for people and for leak checks in tests.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::Hub;
use crate::stack::Stack;

/// What a hub has and what it has done; see [`stats`](super::stats()). Counts, unless said
/// otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Greenlets that have been spawned and have not ended; the root is not counted.
    pub greenlets: usize,
    /// Of those, the ones in the run queue.
    pub runnable: usize,
    /// Armed timers: sleeps, timeouts, late starts.
    pub timers: usize,
    /// Descriptors in the epoll set.
    pub registrations: usize,
    /// Greenlets that wait for a descriptor.
    pub waiting: usize,
    /// Stacks in use.
    pub stacks_live: usize,
    /// Stacks kept for reuse.
    pub stacks_pooled: usize,
    /// Bytes of address space reserved for stacks, used or not.
    pub stack_bytes_reserved: usize,
    /// Mappings that stacks are cut from: as many lines in /proc/self/maps. With guards by
    /// mprotect each stack adds two.
    pub stack_slabs: usize,
    /// How stacks are guarded: `madvise`, `userfaultfd` or `mprotect`.
    pub stack_guard: &'static str,
    /// The deepest that a greenlet of this hub has used its stack, in bytes, rounded up to pages:
    /// counted while [`stack_census`](crate::hub::stack_census) is on, of those that have ended.
    pub stack_high_water: usize,
    /// Greenlets spawned since the hub was made.
    pub spawned: u64,
    /// Switches into greenlets since the hub was made.
    pub switches: u64,
    /// Calls of epoll_wait since the hub was made.
    pub polls: u64,
    /// Those of them that could block.
    pub sleeps: u64,
    /// Writes to the hub's eventfd by other threads.
    pub rings: u64,
}

/// A counter that only the hub's thread touches.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.set(self.0.get() + more);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What a hub counts as it goes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Counter,
    pub(crate) switches: Counter,
    pub(crate) polls: Counter,
    pub(crate) sleeps: Counter,
    /// The stack census: is it on, and the most that it has seen.
    pub(crate) census: Cell<bool>,
    pub(crate) high_water: Cell<usize>,
}

impl Counters {
    /// Notes how deep a stack was used; costs a system call, so only if somebody asked for it.
    pub(super) fn note_depth(&self, stack: &Stack) {
        if self.census.get() {
            self.high_water
                .set(self.high_water.get().max(stack.high_water()));
        }
    }
}

impl Hub {
    pub(crate) fn stats(&self) -> Stats {
        let poller = self.poller.borrow();
        let stacks = self.stacks.borrow().stats();
        Stats {
            greenlets: self.alive(),
            runnable: self.run_queue.borrow().len(),
            timers: self.timers.borrow().len(),
            registrations: poller.len(),
            waiting: poller.waiting(),
            stacks_live: stacks.live,
            stacks_pooled: stacks.pooled,
            stack_bytes_reserved: stacks.bytes_reserved,
            stack_slabs: stacks.slabs,
            stack_guard: stacks.guard.name(),
            stack_high_water: self.counters.high_water.get(),
            spawned: self.counters.spawned.get(),
            switches: self.counters.switches.get(),
            polls: self.counters.polls.get(),
            sleeps: self.counters.sleeps.get(),
            rings: self.shared.rings.load(Ordering::Relaxed),
        }
    }
}
