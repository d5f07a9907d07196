//! A simulated world for tests: virtual time, a network of its own, chance from a seed, failures
//! that replay.
//!
//! Inside [`run`] nobody waits: when all greenlets are parked, the clock jumps to the next timer.
//! Which of the runnable greenlets runs next is drawn from the seed, and so is what goes wrong,
//! if [`faults`] are asked for. A thousand seeds try a thousand orders; the same seed gives the
//! same run again, to the last decision, which [`trace`] can show.
//!
//! | simulated | real |
//! |---|---|
//! | [`sleep`](crate::sleep()), timeouts, [`now`](crate::now) | `Instant::now`, std's sleep |
//! | [`net`](crate::net): TCP, UDP, names | Unix sockets, pipes, files, `std::net` |
//! | the order in which greenlets run | other OS threads, and what they wake when |
//!
//! **The network.** Inside, `TcpStream`, `TcpListener` and `UdpSocket` work unchanged but touch no
//! interface. Any address and port can be bound, so that one program can be many hosts; port 0
//! gives free ones; nothing outside can connect, nor be connected to. Names are those given by
//! [`name`], and `localhost`. Options such as `set_nodelay` are remembered and do nothing;
//! multicast groups are unsupported. A write after the peer has closed fails at once, where TCP
//! would let the first one pass. The descriptor below is a Unix socket: to use it as anything
//! else, such as by conversion to std's types, leads out of the simulation.
//!
//! **Deadlocks.** When all are parked, no timer is armed and nobody waits for a real descriptor,
//! the root panics with a list of who waits for what.
//!
//! **To replay a failure:** the seed is printed when [`run`] panics; with `GREENROOM_SEED` set to
//! it, every run has that seed. What must not be used inside is whatever differs from run to
//! run: OS threads, the real clock, the order of a `HashMap`; nor should another thread start a
//! process meanwhile, whose copies of our descriptors keep them open until its exec.
//!
//! # Examples
//! ```
//! use greenroom::net::{TcpListener, TcpStream};
//! use greenroom::sim::{self, Faults};
//! use std::io::{Read, Write};
//!
//! for seed in 0..20 {
//!     sim::run(seed, || {
//!         sim::name("shop.example", [10, 0, 0, 1].into());
//!         let listener = TcpListener::bind("10.0.0.1:80").unwrap();
//!         let server = greenroom::spawn(move || {
//!             let (mut peer, _) = listener.accept()?;
//!             peer.write_all(b"one sandwich")
//!         });
//!         sim::faults(Faults::light());
//!         let mut text = String::new();
//!         let mut stream = TcpStream::connect("shop.example:80").unwrap();
//!         stream.read_to_string(&mut text).unwrap();
//!         assert_eq!(text, "one sandwich");
//!         server.join().unwrap().unwrap();
//!     });
//! }
//! ```

use std::net::IpAddr;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use crate::greenlet::run_in;
pub use crate::hub::sim::Faults;
use crate::hub::sim::{Sim, Strike, World, simulation};

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
#[doc(alias(
    "virtual time",
    "deterministic",
    "madsim",
    "turmoil",
    "fake clock",
    "test"
))]
pub fn run<T>(seed: u64, f: impl FnOnce() -> T) -> T {
    let seed = chosen_seed(seed);
    let world = World::Sim(Box::new(Sim::new(seed)));
    let result = panic::catch_unwind(AssertUnwindSafe(|| run_in(world, |_| f())));
    result.unwrap_or_else(|payload| {
        // The macro, since a test harness captures only that. It panics when stderr can't be
        // written to; the panic that goes on is that of `f`.
        let _ = panic::catch_unwind(|| {
            eprintln!(
                "greenroom: this simulation failed with seed {seed}; \
                 to replay it, set {SEED_VARIABLE}={seed}"
            );
        });
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

/// Sets what goes wrong from now on, and how often. At first nothing does.
///
/// # Examples
/// ```
/// use greenroom::sim::{self, Faults};
/// sim::run(7, || {
///     sim::faults(Faults::heavy().reset(0));
///     // Here is the program to be tested.
///     sim::faults(Faults::none());
/// });
/// ```
///
/// # Panics
/// Outside of a simulation, as all the functions below do.
///
/// # Parks
/// Never.
pub fn faults(faults: Faults) {
    here(|sim| sim.set_faults(faults));
}

/// Gives a host an address; one more, if it has some. Names know no upper or lower case.
///
/// # Examples
/// ```
/// use greenroom::net::ToSocketAddrs;
/// greenroom::sim::run(1, || {
///     greenroom::sim::name("db.example", [10, 0, 0, 7].into());
///     let mut found = "DB.example:5432".to_socket_addrs().unwrap();
///     assert_eq!(found.next(), Some(([10, 0, 0, 7], 5432).into()));
///     assert!("www.example:80".to_socket_addrs().is_err());
/// });
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never, and neither does a lookup.
pub fn name(host: &str, ip: IpAddr) {
    here(|sim| sim.network.name(host, ip));
}

/// The seed of this simulation: the one that was replayed, when one is.
///
/// # Examples
/// ```
/// assert_eq!(greenroom::sim::run(42, greenroom::sim::seed), 42);
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never.
pub fn seed() -> u64 {
    here(Sim::seed)
}

/// A number below `limit`, drawn from the seed: chance for the program under test.
///
/// # Examples
/// ```
/// let roll = || greenroom::sim::run(3, || greenroom::sim::random(6));
/// assert_eq!(roll(), roll());
/// ```
///
/// # Panics
/// Outside of a simulation, and when `limit` is 0.
///
/// # Parks
/// Never.
pub fn random(limit: u64) -> u64 {
    assert!(limit > 0, "no number is below 0");
    here(|sim| sim.random().below(limit))
}

/// A hash of all that has happened so far: who was chosen to run, how the clock went, what each
/// operation on the network gave. Two runs with the same trace were the same run.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let trace = |seed| greenroom::sim::run(seed, || {
///     let nap = |n| greenroom::spawn(move || greenroom::sleep(Duration::from_secs(n)));
///     let naps = (0..9).map(nap);
///     greenroom::joinall(naps.collect::<Vec<_>>());
///     greenroom::sim::trace()
/// });
/// assert_eq!(trace(1), trace(1));
/// assert_ne!(trace(1), trace(2));
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never.
pub fn trace() -> u64 {
    here(Sim::trace)
}

/// How often greenlets have parked so far; the root is not counted.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// greenroom::sim::run(1, || {
///     greenroom::spawn(|| greenroom::sleep(Duration::from_secs(1))).join().unwrap();
///     assert_eq!(greenroom::sim::parks(), 1);
/// });
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never.
pub fn parks() -> u64 {
    here(Sim::parks)
}

/// Has the greenlet that makes park number `park` (from 1) killed in it.
///
/// To try every place where a kill can strike: run once, ask [`parks`] how many there are, then
/// run with the same seed and `1`, `2`, and so on.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// greenroom::sim::run(1, || {
///     greenroom::sim::kill_at_park(2);
///     let naps = || (0..3).for_each(|_| greenroom::sleep(Duration::from_secs(1)));
///     assert!(greenroom::spawn(naps).join().unwrap_err().is_killed());
/// });
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never.
pub fn kill_at_park(park: u64) {
    here(|sim| sim.strike_at(park, Strike::Kill));
}

/// Has `time` pass at once at park number `park` (from 1), so that timeouts that are no longer
/// than that strike there. Replaces a [`kill_at_park`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// const HOUR: Duration = Duration::from_secs(3600);
/// greenroom::sim::run(1, || {
///     greenroom::sim::elapse_at_park(1, HOUR);
///     let guarded = || greenroom::with_timeout(HOUR, || greenroom::thread::park());
///     assert!(greenroom::spawn(guarded).join().unwrap().is_err());
/// });
/// ```
///
/// # Panics
/// Outside of a simulation.
///
/// # Parks
/// Never.
pub fn elapse_at_park(park: u64, time: Duration) {
    here(|sim| sim.strike_at(park, Strike::Elapse(time)));
}

fn here<R>(f: impl FnOnce(&Sim) -> R) -> R {
    simulation(f).expect("this is to be called inside greenroom::sim::run")
}
