//! What the tests of the hazards share: a bound in time, a leak check, a process of its own.
#![allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses its own part"
)]

#[path = "../bounded/mod.rs"]
mod bounded;
mod parks;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

pub(crate) use parks::{IN_C, PARKS, Park};

use greenroom::{Greenlet, hub, thread};
use std::cell::Cell;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// The variable that makes a test run its body, in a process of its own.
const ALONE: &str = "GREENROOM_HAZARD";

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a hub holds, and must have given back at the end of a test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    greenlets: usize,
    timers: usize,
    registrations: usize,
    waiting: usize,
    stacks: usize,
}

impl Held {
    pub(crate) fn now() -> Held {
        let stats = hub::stats();
        Held {
            greenlets: stats.greenlets,
            timers: stats.timers,
            registrations: stats.registrations,
            waiting: stats.waiting,
            stacks: stats.stacks_live,
        }
    }
}

/// Runs `f` on a hub of its own, at the end of which nothing may be left of it.
#[track_caller]
pub(crate) fn leak_free<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let (result, before, after) = greenroom::run(|| weighed(f));
    assert_eq!(before, after, "{what} has leaked");
    result
}

/// As [`leak_free`], in virtual time: for what depends on which of two moments comes first.
#[track_caller]
pub(crate) fn leak_free_in_sim<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let (result, before, after) = greenroom::sim::run(1, || weighed(f));
    assert_eq!(before, after, "{what} has leaked");
    result
}

fn weighed<T>(f: impl FnOnce() -> T) -> (T, Held, Held) {
    let before = Held::now();
    let result = f();
    hub::wait_idle(Some(Duration::from_secs(10)));
    (result, before, Held::now())
}

/// Counts its drops.
#[derive(Clone, Default)]
pub(crate) struct Count(Rc<Cell<usize>>);

impl Count {
    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }

    pub(crate) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// What adds one when it is dropped.
    pub(crate) fn guard(&self) -> OnDrop<impl FnMut() + use<>> {
        let count = self.clone();
        OnDrop(move || count.add())
    }
}

/// Does something when dropped.
#[must_use]
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A greenlet that parks until the second value is dropped, and can't be killed before.
pub(crate) fn endless() -> (Greenlet<()>, OnDrop<impl FnMut()>) {
    let over = Rc::new(Cell::new(false));
    let theirs = Rc::clone(&over);
    let greenlet = greenroom::spawn_local(move || {
        greenroom::shield(|| {
            while !theirs.get() {
                thread::park();
            }
        });
    });
    let who = greenlet.thread().clone();
    let end = OnDrop(move || {
        over.set(true);
        who.unpark();
    });
    (greenlet, end)
}

/// Lets the others run until nothing changes any more: real time, but little of it.
pub(crate) fn settle() {
    for _ in 0..3 {
        greenroom::yield_now();
    }
    greenroom::sleep(ms(1));
}

/// Number of descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Number of maps of this process.
pub(crate) fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

/// Runs `body` in a process of its own, in which nothing else runs, for the test named `test`;
/// `None` there, what the process has said and how it ended here.
pub(crate) fn alone(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(ALONE).is_some_and(|name| name == *test) {
        let _bound = bounded();
        body();
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    child.env(ALONE, test).env("RUST_BACKTRACE", "0");
    child.stdin(Stdio::null());
    Some(child.output().unwrap())
}

/// As [`alone`], of a body that is to end without a complaint.
pub(crate) fn alone_and_well(test: &str, body: impl FnOnce()) {
    if let Some(output) = alone(test, body) {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{text}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1 passed"), "{test} has not run:\n{text}");
    }
}

/// Waits until `what` holds, without a hub; fails after ten seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(ms(1));
    }
}
