//! Claim: to wake a greenlet from another OS thread costs a push into a queue while its hub is
//! busy, one write to an eventfd when it sleeps, and never more writes than sleeps.
//!
//! All threads share one CPU: neither side waits for an interrupt to reach another one.

mod common;

use std::io::Write;
use std::os::fd::FromRawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Bench, Claim, cpu, wall};
use greenroom::{GreenletRef, thread};

fn main() -> ExitCode {
    let mut bench = Bench::start();
    busy(&mut bench);
    sleeping(&mut bench);
    bench.finish()
}

/// The hub always has something to run: no wake needs a system call.
fn busy(bench: &mut Bench) {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let hub = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let target = spawn_target(&stop);
            sender
                .send(target.thread().clone())
                .expect("main waits for it");
            let before = greenroom::hub::stats();
            while !stop.load(Ordering::Acquire) {
                greenroom::yield_now();
            }
            target.thread().unpark();
            target.join().expect("it ends when told to");
            let after = greenroom::hub::stats();
            (after.rings - before.rings, after.sleeps - before.sleeps)
        }
    });
    let target: GreenletRef = receiver.recv().expect("the hub starts");
    let mut bell = eventfd();

    let mut wakes = |count| cpu(|| (0..count).for_each(|_| target.unpark()));
    let mut writes = |count| {
        cpu(|| {
            for _ in 0..count {
                bell.write_all(&1u64.to_ne_bytes())
                    .expect("the counter is far from full");
            }
        })
    };
    let claim = Claim::new("wake, busy hub : eventfd write", 0.3, 0.1);
    bench.compare(claim, &mut wakes, &mut writes);
    stop.store(true, Ordering::Release);
    let (rings, sleeps) = hub.join().expect("the hub ends");
    rings_row(
        bench,
        "busy hub, eventfd writes : sleeps + 1",
        rings,
        sleeps,
    );
}

fn spawn_target(stop: &Arc<AtomicBool>) -> greenroom::Greenlet<()> {
    let stop = Arc::clone(stop);
    greenroom::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            thread::park();
        }
    })
}

fn rings_row(bench: &mut Bench, name: &'static str, rings: u64, sleeps: u64) {
    let (rings, most) = (rings as f64, (sleeps + 1) as f64);
    bench.row(Claim::demand(name, 1.0), rings, most, rings / most);
}

fn eventfd() -> std::fs::File {
    // SAFETY: eventfd(2) takes no pointers; the new descriptor is owned by the file alone.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        assert!(fd >= 0);
        std::fs::File::from_raw_fd(fd)
    }
}

/// Two hubs that wake each other, each asleep meanwhile; and two threads with std's channels.
fn sleeping(bench: &mut Bench) {
    let claim = Claim::new("ping-pong, sleeping hubs : std mpsc, threads", 1.0, 0.8);
    let here = greenroom::spawn_local({
        let smoke = bench.smoke;
        move || {
            let (mut partner, mut channels) = (Partner::start(), Channels::start());
            partner.round_trips(1);
            channels.round_trips(1);
            let before = greenroom::hub::stats();
            // The bench itself belongs to main; a small loop of the same shape does here.
            let rounds = if smoke { 2 } else { 41 };
            let count = if smoke { 10 } else { 1000 };
            let ns = |time: Duration| time.as_nanos() as f64 / f64::from(count);
            let pairs = (0..rounds).map(|_| {
                (
                    ns(partner.round_trips(count)),
                    ns(channels.round_trips(count)),
                )
            });
            let pairs: Vec<_> = pairs.collect();
            let after = greenroom::hub::stats();
            partner.stop();
            (
                pairs,
                after.rings - before.rings,
                after.sleeps - before.sleeps,
            )
        }
    });
    let (pairs, rings, sleeps) = here.join().expect("it measures and ends");
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let mut ratios: Vec<_> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
    let ratio = common::median(&mut ratios);
    bench.row(
        claim,
        common::median(&mut ours),
        common::median(&mut theirs),
        ratio,
    );
    rings_row(
        bench,
        "sleeping hub, eventfd writes : sleeps + 1",
        rings,
        sleeps,
    );
}

/// A greenlet on the hub of another thread, which answers every unpark with one.
struct Partner {
    greenlet: GreenletRef,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Partner {
    fn start() -> Partner {
        let stop = Arc::new(AtomicBool::new(false));
        let me = thread::current();
        let (sender, receiver) = mpsc::channel();
        let answer = {
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Acquire) {
                    thread::park();
                    me.unpark();
                }
            }
        };
        let thread = std::thread::spawn(move || {
            let greenlet = greenroom::spawn(answer);
            sender
                .send(greenlet.thread().clone())
                .expect("its starter waits for it");
            greenlet.join().expect("it ends when told to");
        });
        let greenlet = receiver.recv().expect("the partner starts");
        Partner {
            greenlet,
            stop,
            thread,
        }
    }

    fn round_trips(&mut self, count: u32) -> Duration {
        wall(|| {
            for _ in 0..count {
                self.greenlet.unpark();
                thread::park();
            }
        })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.greenlet.unpark();
        self.thread.join().expect("the partner ends");
    }
}

/// A thread that answers every message with one.
struct Channels {
    there: mpsc::Sender<()>,
    back: mpsc::Receiver<()>,
}

impl Channels {
    fn start() -> Channels {
        let (there, messages) = mpsc::channel();
        let (answers, back) = mpsc::channel();
        std::thread::spawn(move || messages.iter().try_for_each(|()| answers.send(())));
        Channels { there, back }
    }

    fn round_trips(&mut self, count: u32) -> Duration {
        wall(|| {
            for _ in 0..count {
                self.there.send(()).expect("the other thread listens");
                self.back.recv().expect("the other thread answers");
            }
        })
    }
}
