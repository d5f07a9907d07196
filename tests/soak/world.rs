//! One round: servers, hubs of clients, and what must be left of them.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::hub::{self, HubHandle};
use greenroom::io::{self, Read, Write as _};
use greenroom::net::{SocketAddr, TcpStream};
use greenroom::server::{DatagramServer, Spawn, StreamServer};
use greenroom::sync::{Mutex, Semaphore};

use crate::deeds::{DEEDS, PLANNED};
use crate::dice::Dice;

const CLIENT_HUBS: usize = 2;
const WORKERS: usize = 40;
pub(crate) const PERMITS: usize = 5;

/// How often what was done.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) over: AtomicBool,
    begun: [AtomicU64; DEEDS.len()],
    ended: [AtomicU64; DEEDS.len()],
}

impl Tally {
    pub(crate) fn done(&self) -> u64 {
        self.ended
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn summary(&self) -> String {
        self.each(|_, ended| ended)
    }

    pub(crate) fn under_way(&self) -> String {
        self.each(|begun, ended| begun - ended)
    }

    fn each(&self, count: impl Fn(u64, u64) -> u64) -> String {
        let mut text = String::new();
        for (index, (name, _, _)) in DEEDS.iter().enumerate() {
            let begun = self.begun[index].load(Ordering::Relaxed);
            let ended = self.ended[index].load(Ordering::Relaxed);
            let _ = write!(text, "{name} {} ", count(begun, ended));
        }
        text
    }
}

/// What all clients of a round share.
pub(crate) struct World {
    pub(crate) echo: SocketAddr,
    pub(crate) datagrams: SocketAddr,
    /// Two numbers that are always equal but for whoever has the lock.
    pub(crate) pair: Mutex<(u64, u64)>,
    pub(crate) permits: Semaphore,
    /// Who holds permits now, as we count it.
    pub(crate) holders: AtomicU64,
    pub(crate) hubs: StdMutex<Vec<HubHandle>>,
    over: AtomicBool,
    faults: StdMutex<Vec<String>>,
}

impl World {
    pub(crate) fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

/// Runs one round, and returns what went wrong.
pub(crate) fn round(seed: u64, length: Duration, tally: &Arc<Tally>) -> Vec<String> {
    let mut dice = Dice::new(seed, 0);
    let mut builder = StreamServer::builder("127.0.0.1:0").hubs(1 + dice.below(3));
    builder = builder.reuse_port(dice.one_in(2));
    if dice.one_in(2) {
        builder = builder.spawn(Spawn::Pool(CLIENT_HUBS * WORKERS));
    }
    let server = builder.bind(echo).expect("a server");
    server.start().expect("a server");
    let datagrams = DatagramServer::builder("127.0.0.1:0").hubs(1);
    let datagrams = datagrams.bind(|data, peer, socket| socket.send_to(data, peer));
    let datagrams = datagrams.expect("a datagram server");
    datagrams.start().expect("a datagram server");
    let world = Arc::new(World {
        echo: server.address(),
        datagrams: datagrams.address(),
        pair: Mutex::new((0, 0)),
        permits: Semaphore::new(PERMITS),
        holders: AtomicU64::new(0),
        hubs: StdMutex::default(),
        over: AtomicBool::new(false),
        faults: StdMutex::default(),
    });
    let clients: Vec<_> = (0..CLIENT_HUBS as u64)
        .map(|number| {
            let (world, tally) = (Arc::clone(&world), Arc::clone(tally));
            thread::spawn(move || greenroom::run(|| client(seed, number, &world, &tally)))
        })
        .collect();
    thread::sleep(length);
    world.over.store(true, Ordering::Relaxed);
    for client in clients {
        if client.join().is_err() {
            world.fault("a hub of clients has panicked".into());
        }
    }
    server.stop(Some(Duration::from_secs(5)));
    datagrams.stop(Some(Duration::from_secs(5)));
    let active = server.stats().active + datagrams.stats().active;
    if active > 0 || server.stats().errors > 0 {
        world.fault(format!("{active} guests left; {:?}", server.stats()));
    }
    if world.permits.permits() != PERMITS {
        world.fault(format!("{} permits of {PERMITS}", world.permits.permits()));
    }
    std::mem::take(&mut *world.faults.lock().unwrap())
}

/// Most of the time an echo.
fn echo(mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
    let mut some = [0; 4096];
    loop {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            // Asked to: to break off, to fall.
            count if some[..count].starts_with(b"!drop") => return Ok(()),
            count if some[..count].starts_with(b"!panic") => std::panic::panic_any(PLANNED),
            count => stream.write_all(&some[..count])?,
        }
    }
}

/// The root of one hub of clients.
fn client(seed: u64, number: u64, world: &Arc<World>, tally: &Arc<Tally>) {
    world.hubs.lock().unwrap().push(hub::current());
    let workers: Vec<_> = (0..WORKERS as u64)
        .map(|worker| {
            let (world, tally) = (Arc::clone(world), Arc::clone(tally));
            let dice = Dice::new(seed, 1 + number * 1000 + worker);
            greenroom::spawn(move || work(dice, &world, &tally))
        })
        .collect();
    for worker in workers {
        if let Err(error) = worker.join() {
            world.fault(format!("a worker: {error}"));
        }
    }
    // Others may still send us something to do.
    let begin = Instant::now();
    world
        .hubs
        .lock()
        .unwrap()
        .retain(|hub| hub.number() != hub::current().number());
    let idle = hub::wait_idle(Some(Duration::from_secs(20)));
    let stats = hub::stats();
    let left = stats.greenlets + stats.timers + stats.registrations + stats.waiting;
    if !idle || left + stats.stacks_live > 0 {
        let waited = begin.elapsed();
        world.fault(format!(
            "left on a hub after {waited:?}: {stats:?}\n{}",
            hub::dump()
        ));
    }
}

fn work(mut dice: Dice, world: &Arc<World>, tally: &Tally) {
    let weights: usize = DEEDS.iter().map(|(_, weight, _)| weight).sum();
    while !world.over.load(Ordering::Relaxed) {
        let mut left = dice.below(weights);
        let index = DEEDS
            .iter()
            .position(|(_, weight, _)| match left.checked_sub(*weight) {
                None => true,
                Some(less) => {
                    left = less;
                    false
                }
            });
        let index = index.expect("the weights add up");
        tally.begun[index].fetch_add(1, Ordering::Relaxed);
        DEEDS[index].2(&mut dice, world);
        tally.ended[index].fetch_add(1, Ordering::Relaxed);
    }
}
