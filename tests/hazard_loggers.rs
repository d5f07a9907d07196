//! The logger is foreign code: each message of the library meets loggers that panic, park, spawn,
//! wait for a greenlet, and call the library again.
//!
//! `CALLS` names every place that reports something; a place that is missing there fails a test.
mod hazard_support;
#[path = "hazard_loggers/scenes.rs"]
mod scenes;

use greenroom::generator::{Generator, Yielder};
use greenroom::sync::{Mutex, Queue};
use greenroom::{hub, sleep, spawn, yield_now};
use hazard_support::{bounded, ms};
use scenes::*;
use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How a message is brought about.
enum Scene {
    By(fn()),
    /// Not by a program in a test, and why.
    Rare(#[allow(dead_code, reason = "for who reads it")] &'static str),
}
use Scene::{By, Rare};

/// The file, how the text begins in the source and in the log, and the scene.
type Call = (&'static str, &'static str, &'static str, Scene);

/// Where a text is handed on, the source has none.
const NO_TEXT: &str = "";

const CALLS: &[Call] = &[
    (
        "cancel/mod.rs",
        "greenroom: with_timeout without a hub",
        "greenroom: with_timeout",
        By(a_thread_that_ends),
    ),
    (
        "fiber/node.rs",
        "greenroom: a fiber panicked at its end",
        "greenroom: a fiber panicked",
        By(a_fiber_that_panics),
    ),
    (
        "fiber/node.rs",
        "greenroom: fiber #",
        "greenroom: fiber #",
        By(a_stubborn_fiber),
    ),
    (
        "generator/mod.rs",
        "greenroom: a generator panicked at its end",
        "greenroom: a generator panicked",
        By(a_generator_that_panics),
    ),
    (
        "generator/mod.rs",
        "greenroom: generator #",
        "greenroom: generator #",
        By(a_stubborn_generator),
    ),
    (
        "generator/scoped.rs",
        "greenroom: a generator that borrows can't be unwound",
        "greenroom: a generator that borrows",
        By(a_stubborn_generator_that_borrows),
    ),
    (
        "greenlet/launch.rs",
        "greenroom: no greenlet for the spawn",
        "greenroom: no greenlet for",
        By(a_thread_that_ends),
    ),
    (
        "greenlet/launch.rs",
        "greenroom: {what} panicked",
        "greenroom: the destructor of a local",
        By(a_local_that_panics),
    ),
    (
        "greenlet/scope.rs",
        "greenroom: killed {PATIENCE:?} ago",
        "greenroom: killed 5s ago",
        By(a_scope_that_waits_for_long),
    ),
    (
        "greenlet/scope.rs",
        "greenroom: the {}",
        "greenroom: the 1 greenlets of a scope",
        By(a_scope_that_stands_still),
    ),
    (
        "greenlet/sleep.rs",
        NO_TEXT,
        "greenroom: greenlets withstood",
        By(a_run_that_is_withstood),
    ),
    (
        "greenlet/try_scope.rs",
        "greenroom: after its scope had been cancelled, {of} returned",
        "returned \"two\"",
        By(failures_that_come_late),
    ),
    (
        "greenlet/try_scope.rs",
        "greenroom: after its scope had been cancelled, {of} panicked",
        "panicked: three",
        By(failures_that_come_late),
    ),
    (
        "hub/current.rs",
        "greenroom: an OS thread ends",
        "greenroom: an OS thread ends",
        By(a_thread_with_a_parked_greenlet),
    ),
    (
        "hub/events.rs",
        "greenroom: a subscriber",
        "greenroom: a subscriber",
        By(a_subscriber_that_panics),
    ),
    (
        "hub/handle.rs",
        "greenroom: no hub, so no census",
        "greenroom: no hub, so no census",
        By(a_thread_that_ends),
    ),
    (
        "hub/mod.rs",
        "greenroom: poll(2)",
        "",
        Rare("a descriptor is closed under a destructor that waits in a panic hook"),
    ),
    (
        "hub/nested.rs",
        "greenroom: a coroutine outlived its hub",
        "greenroom: a coroutine outlived",
        By(a_generator_without_its_hub),
    ),
    (
        "hub/remote.rs",
        "greenroom: {fd:?} was not watched",
        "greenroom: ",
        By(a_descriptor_nobody_watches),
    ),
    (
        "hub/remote.rs",
        "greenroom: the destructor of a closure",
        "greenroom: the destructor of a closure",
        By(a_closure_for_a_hub_that_is_gone),
    ),
    (
        "hub/turn.rs",
        "greenroom: epoll_wait failed",
        "greenroom: epoll_wait failed",
        By(a_hub_without_its_set),
    ),
    (
        "inspect/watchdog.rs",
        "greenroom: a watchdog panicked",
        "",
        Rare("what it calls is caught before"),
    ),
    (
        "inspect/watchdog.rs",
        "greenroom: the callback of a watchdog",
        "greenroom: the callback of a watchdog",
        By(a_blocked_hub),
    ),
    (
        "inspect/watchdog.rs",
        "greenroom: {blocked}",
        "greenroom: hub",
        By(a_blocked_hub),
    ),
    (
        "io/source.rs",
        "greenroom: descriptor {}",
        "",
        Rare("fcntl fails on an open descriptor"),
    ),
    (
        "net/backoff.rs",
        "{what} failed",
        "accept on descriptor",
        By(an_accept_without_descriptors),
    ),
    (
        "process/child.rs",
        "greenroom: the wait for a child has failed",
        "",
        Rare("poll fails on a pidfd"),
    ),
    (
        "process/exit.rs",
        "greenroom: no pidfd for the child",
        "",
        Rare("a kernel without pidfd_open"),
    ),
    (
        "server/core.rs",
        NO_TEXT,
        "server at",
        By(a_handler_that_fails),
    ),
    (
        "server/door.rs",
        "greenroom: {:?} was not removed",
        "",
        Rare("root can remove any file"),
    ),
    (
        "signal/handler.rs",
        "greenroom: a signal handler has ended",
        "",
        Rare("its descriptor is closed behind its back"),
    ),
    (
        "signal/signals.rs",
        "greenroom: the wait for signals has failed",
        "",
        Rare("its descriptor is closed behind its back"),
    ),
    (
        "stack/pool.rs",
        "a stack was given to a pool it is not from",
        "",
        Rare("it would be a fault of ours"),
    ),
    (
        "stack/pool.rs",
        "{stacks} stacks are still in use",
        "1 stacks are still in use",
        By(a_generator_without_its_hub),
    ),
    (
        "stack/slab.rs",
        "more slabs of stacks than are known",
        "more slabs of stacks",
        By(more_slabs_than_are_known),
    ),
    (
        "sys/socket.rs",
        "greenroom: {fd:?} was not shut down",
        "",
        Rare("in a simulation, of a socket that is"),
    ),
    (
        "sys/socket.rs",
        "greenroom: {fd:?} does not keep its timeout",
        "",
        Rare("setsockopt fails on an open socket"),
    ),
    (
        "threadpool/crew.rs",
        "greenroom: a thread pool could not grow",
        "greenroom: a thread pool could not",
        By(a_pool_that_can_not_grow),
    ),
    (
        "threadpool/crew.rs",
        "greenroom: the destructor of a job's result",
        "greenroom: the destructor of a job",
        By(a_result_nobody_wants),
    ),
    (
        "sys/stderr.rs",
        NO_TEXT,
        "greenroom: this operation would block",
        By(a_stuck_root_in_c),
    ),
];

/// Every place in `src` that reports something, by file and the beginning of the text.
fn places() -> BTreeSet<(String, String)> {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![src.clone()], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("sys/report.rs") {
                let name = path.strip_prefix(&src).unwrap().display().to_string();
                let text = fs::read_to_string(&path).unwrap();
                found.extend(reports(&text).map(|report| (name.clone(), report)));
            }
        }
    }
    found
}

/// The beginnings of the texts that one file reports.
fn reports(text: &str) -> impl Iterator<Item = String> {
    let literal = |after: &str| after.split('"').nth(1).unwrap().to_owned();
    let with_text = text.split("report!(").skip(1).map(literal);
    let handed_on = ["report::write(", "report::tell("];
    let handed_on = handed_on
        .map(|call| text.matches(call).count())
        .iter()
        .sum();
    with_text.chain((0..handed_on).map(|_| NO_TEXT.to_owned()))
}

#[test]
fn every_message_has_its_place_in_the_list() {
    let _bound = bounded();
    let listed = |file: &str, text: &str| {
        let matches = |(of, start, ..): &&Call| {
            *of == file && (*start == text || !start.is_empty() && text.starts_with(start))
        };
        CALLS.iter().filter(matches).count()
    };
    let places = places();
    for (file, text) in &places {
        assert_eq!(
            listed(file, text),
            1,
            "src/{file} reports {text:?}: add it to CALLS"
        );
    }
    assert_eq!(
        places.len(),
        CALLS.len(),
        "CALLS names what is not there any more"
    );
}

const LOGGERS: &[(&str, fn())] = &[
    ("panics", || panic!("a logger, on purpose")),
    ("parks", || sleep(ms(1))),
    ("spawns", || {
        drop(spawn(yield_now));
        drop(greenroom::spawn_local(|| ()));
    }),
    ("waits for a greenlet", || drop(GATE.lock())),
    ("calls back", call_back),
];

fn call_back() {
    let _stats = (hub::stats(), hub::dump());
    let _info = greenroom::inspect::run_info_here();
    let _subscription = hub::try_current().map(|_| hub::subscribe(|_| ()));
    let _limited = greenroom::with_timeout(ms(50), yield_now);
    let queue = Queue::bounded(1);
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1));
    if let Ok(mut numbers) = Generator::new(|yielder: &Yielder<(), u8>, ()| yielder.suspend(1)) {
        assert_eq!(numbers.next(), Some(1));
    }
    log::warn!("from the logger itself");
}

static LOGGER: AtomicU8 = AtomicU8::new(0);
static LOUD: AtomicBool = AtomicBool::new(false);
static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
/// Held by a greenlet of the hub for as long as a scene begins.
static GATE: Mutex<()> = Mutex::new(());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("greenroom") && LOUD.load(Ordering::Relaxed) {
            SEEN.lock().unwrap().push(record.args().to_string());
            let (_, act) = LOGGERS[usize::from(LOGGER.load(Ordering::Relaxed))];
            act();
        }
    }

    fn flush(&self) {}
}

fn is_panicking_logger() -> bool {
    LOGGER.load(Ordering::Relaxed) == 0
}

/// The variable that has a test play one scene, in a process of its own.
const SCENE: &str = "GREENROOM_SCENE";

fn play(logger: usize, expected: &str, scene: fn()) {
    let _bound = bounded();
    if std::env::var_os("LOUD").is_none() {
        panic::set_hook(Box::new(|_| ()));
    }
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    LOGGER.store(logger as u8, Ordering::Relaxed);
    let holder = spawn(|| {
        let _held = GATE.lock();
        sleep(ms(20));
    });
    yield_now();
    LOUD.store(true, Ordering::Relaxed);
    scene();
    let begin = Instant::now();
    while !SEEN
        .lock()
        .unwrap()
        .iter()
        .any(|text| text.contains(expected))
    {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "never seen: {expected}"
        );
        sleep(ms(1));
    }
    holder.join().unwrap();
    // The hub is as good as new.
    assert_eq!(spawn(|| 42).join().unwrap(), 42);
    let twice = [1, 2];
    assert_eq!(
        greenroom::scope(|s| s.spawn(|| twice.len()).join().unwrap()),
        2
    );
    hub::wait_idle(Some(Duration::from_secs(5)));
    LOUD.store(false, Ordering::Relaxed);
    println!("it went well");
}

/// Plays all scenes with one logger, each in a process of its own.
fn play_all(test: &str, logger: usize) {
    if let Ok(index) = std::env::var(SCENE) {
        let (.., expected, scene) = &CALLS[index.parse::<usize>().unwrap()];
        let By(scene) = scene else { unreachable!() };
        return play(logger, expected, *scene);
    }
    for (index, (file, text, _, scene)) in CALLS.iter().enumerate() {
        if let Rare(_) = scene {
            continue;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        child
            .env(SCENE, index.to_string())
            .env("RUST_BACKTRACE", "0");
        let output = child.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("it went well"),
            "a logger that {} at {file}, {text:?}: {}\n{said}\n{}",
            LOGGERS[logger].0,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_logger_may_panic_at_every_message() {
    let _bound = bounded();
    play_all("a_logger_may_panic_at_every_message", 0);
}

#[test]
fn a_logger_may_park_at_every_message() {
    let _bound = bounded();
    play_all("a_logger_may_park_at_every_message", 1);
}

#[test]
fn a_logger_may_spawn_at_every_message() {
    let _bound = bounded();
    play_all("a_logger_may_spawn_at_every_message", 2);
}

#[test]
fn a_logger_may_wait_for_a_greenlet_at_every_message() {
    let _bound = bounded();
    play_all("a_logger_may_wait_for_a_greenlet_at_every_message", 3);
}

#[test]
fn a_logger_may_call_back_at_every_message() {
    let _bound = bounded();
    play_all("a_logger_may_call_back_at_every_message", 4);
}
