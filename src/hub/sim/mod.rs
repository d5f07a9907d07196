//! The world a hub lives in: the real one, or a simulated one with virtual time and chance.
//!
//! ```text
//!   Hub --world--> Real
//!              |-> Sim   now      the clock, which jumps when all are parked
//!                        random   draws who runs next and what goes wrong (faults)
//!                        network  who is bound where: addresses, names, ports
//!                        trace    a hash of all that was decided, to compare two runs
//! ```

mod faults;
mod mailbox;
mod network;
mod random;
#[cfg(test)]
#[cfg_attr(loom, allow(dead_code, reason = "what asks for orders is not there"))]
pub(crate) mod script;
mod socket;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use faults::Faults;
pub(crate) use network::Network;
pub(crate) use random::Random;
pub(crate) use socket::Socket;

use super::{Hub, TaskPtr, with_hub};
use crate::poller::Interest;
use crate::sys::clock;

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
            World::Real => clock::now_ns(),
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

/// Calls `f` with the simulation that this thread is in, if it is in one.
pub(crate) fn simulation<R>(f: impl FnOnce(&Sim) -> R) -> Option<R> {
    with_hub(|hub| hub.and_then(|hub| hub.world.sim()).map(f))
}

/// What is to happen to a greenlet at a certain park.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strike {
    /// It is killed.
    Kill,
    /// So much time passes at once.
    Elapse(Duration),
}

/// What was decided about one operation on a simulated socket before it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// To begin so much later.
    pub(crate) delay: Duration,
    /// The first attempt is to say "would block".
    pub(crate) blocked: bool,
    pub(crate) reset: bool,
    pub(crate) exhausted: bool,
    /// Bytes that it may move.
    pub(crate) most: usize,
}

/// A world in which time moves only when nobody can, and every choice comes from a seed.
#[derive(Debug)]
pub(crate) struct Sim {
    seed: u64,
    now: Cell<u64>,
    random: Random,
    faults: Cell<Faults>,
    pub(crate) network: Arc<Network>,
    trace: Cell<u64>,
    parks: Cell<u64>,
    strike: Cell<Option<(u64, Strike)>>,
    /// Greenlets parked on sockets that only this simulation can make ready.
    on_sockets: Cell<usize>,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Sim {
        Sim {
            seed,
            // The start of time is any moment; the real one keeps it translatable to `Instant`.
            now: Cell::new(clock::now_ns()),
            random: Random::new(seed),
            faults: Cell::default(),
            network: Arc::default(),
            trace: Cell::default(),
            parks: Cell::default(),
            strike: Cell::default(),
            on_sockets: Cell::default(),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
    }

    /// One of the first `count` in the run queue.
    pub(super) fn choose(&self, count: usize) -> usize {
        #[cfg(test)]
        if let Some(chosen) = script::choose(count) {
            return chosen;
        }
        self.random.below(count as u64) as usize
    }

    /// Who was chosen to run.
    pub(super) fn note_choice(&self, task: TaskPtr) {
        self.note(task.get().number());
    }

    pub(super) fn advance_to(&self, deadline: u64) {
        let passed = deadline.saturating_sub(self.now.get());
        self.note(passed);
        self.now.set(self.now.get() + passed);
    }

    /// Adds one decision or one result to the trace. Only numbers that the seed determines:
    /// no descriptors, no addresses of memory, no moments.
    pub(crate) fn note(&self, what: u64) {
        self.trace
            .set(random::mix(self.trace.get().rotate_left(1) ^ what));
    }

    /// Adds the result of an operation to the trace.
    pub(crate) fn note_result(&self, result: Result<usize, &io::Error>) {
        const FAILED: u64 = 1 << 63;
        self.note(match result {
            Ok(count) => count as u64,
            Err(error) => FAILED | error.kind() as u64,
        });
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.get()
    }

    pub(crate) fn parks(&self) -> u64 {
        self.parks.get()
    }

    pub(crate) fn strike_at(&self, park: u64, strike: Strike) {
        self.strike.set(Some((park, strike)));
    }

    /// Is a connect to be refused?
    pub(crate) fn refuses(&self) -> bool {
        self.random.happens(self.faults.get().refuse)
    }

    /// Is a datagram to be lost?
    pub(super) fn loses(&self) -> bool {
        self.random.happens(self.faults.get().lose)
    }

    /// How late an operation on the network is.
    pub(crate) fn latency(&self) -> Duration {
        let faults = self.faults.get();
        let most = u64::try_from(faults.delay_max.as_nanos()).unwrap_or(u64::MAX);
        if most > 0 && self.random.happens(faults.delay) {
            Duration::from_nanos(1 + self.random.below(most))
        } else {
            Duration::ZERO
        }
    }

    /// Decides about an operation on `socket` that wants to move `want` bytes.
    pub(crate) fn fate(&self, socket: &Socket, interest: Interest, want: usize) -> Fate {
        let faults = self.faults.get();
        let accepts = socket.is_listener() && interest == Interest::Read;
        Fate {
            delay: self.latency(),
            blocked: self.random.happens(faults.spurious),
            reset: socket.is_stream() && self.random.happens(faults.reset),
            exhausted: accepts && self.random.happens(faults.exhaust),
            most: if want > 1 && self.random.happens(faults.short) {
                // Many bugs need one byte, and some need nearly all.
                let cap = [1, 7, want][self.random.below(3) as usize].min(want);
                1 + self.random.below(cap as u64) as usize
            } else {
                want
            },
        }
    }

    /// While what is returned lives, the caller waits for this simulation and nothing else.
    pub(crate) fn wait_on_socket(&self) -> impl Drop + '_ {
        struct Waits<'a>(&'a Cell<usize>);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.on_sockets.set(self.on_sockets.get() + 1);
        Waits(&self.on_sockets)
    }

    /// Number of those who wait for this simulation and nothing else.
    pub(super) fn on_sockets(&self) -> usize {
        self.on_sockets.get()
    }
}

impl Hub {
    /// A task has been parked: is it struck, or woken for no reason?
    #[cold]
    pub(super) fn simulate_park(&self, sim: &Sim, task: TaskPtr) {
        if !self.is_root(task) {
            let park = sim.parks.get() + 1;
            sim.parks.set(park);
            match sim.strike.get() {
                Some((at, Strike::Kill)) if at == park => {
                    task.get().killed.store(true, Ordering::Release);
                    self.wake(task.get());
                }
                Some((at, Strike::Elapse(time))) if at == park => {
                    sim.advance_to(clock::saturating_add(sim.now.get(), time));
                }
                _ => {}
            }
        }
        if sim.random.happens(sim.faults.get().spurious) {
            self.wake(task.get());
        }
    }
}
