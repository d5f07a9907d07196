//! Programs without a harness that hang: each says so and ends, or goes on once it can. With a
//! harness there would always be another OS thread that could help.

use greenroom::inspect::Watchdog;
use greenroom::sync::{Condvar, Event, Mutex};
use greenroom::{Greenlet, spawn};
use std::hint::black_box;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The variable that tells a copy of this program what to do.
const PART: &str = "GREENROOM_HAZARD";
/// After so long a program is taken to hang.
const BOUND: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_millis(100);

fn lock_twice() {
    let mutex = Mutex::new(1);
    let _first = mutex.lock().unwrap();
    let _second = mutex.lock().unwrap();
}

fn wait_for_what_was_told_too_early() {
    let (mutex, told) = (Mutex::new(false), Condvar::new());
    told.notify_one();
    let guard = mutex.lock().unwrap();
    let _guard = told.wait(guard).unwrap();
}

fn lock_each_other() {
    let [one, other] = [Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2))];
    let spawn = |name: &str, first: &Arc<Mutex<i32>>, second: &Arc<Mutex<i32>>| {
        let (first, second) = (Arc::clone(first), Arc::clone(second));
        let both = move || {
            let _first = first.lock().unwrap();
            greenroom::yield_now();
            let _second = second.lock().unwrap();
        };
        let builder = greenroom::Builder::new().name(name.into());
        builder.spawn(both).unwrap()
    };
    let greenlets: [Greenlet<()>; 2] = [spawn("ab", &one, &other), spawn("ba", &other, &one)];
    greenroom::joinall(greenlets);
}

fn with_hub(wait: fn()) {
    spawn(|| ()).join().unwrap();
    wait();
}

fn with_watchdog(wait: fn()) {
    let _watchdog = Watchdog::start(LIMIT).unwrap();
    wait();
}

/// Its callback wakes who waits, long after the wait began.
fn woken_by_watchdog() {
    let event = Arc::new(Event::new());
    let theirs = Arc::clone(&event);
    let tell = move |_: &_| {
        std::thread::sleep(3 * LIMIT);
        theirs.set();
    };
    let _watchdog = Watchdog::with_callback(LIMIT, tell).unwrap();
    let hog = spawn(|| spin(4 * LIMIT));
    hog.join().unwrap();
    event.wait();
}

fn with_thread_that_ends(wait: fn()) {
    let thread = std::thread::spawn(|| std::thread::sleep(5 * LIMIT));
    wait();
    thread.join().unwrap();
}

fn woken_by_thread_that_ends() {
    let event = Arc::new(Event::new());
    let theirs = Arc::clone(&event);
    std::thread::spawn(move || {
        std::thread::sleep(5 * LIMIT);
        theirs.set();
    });
    event.wait();
}

fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        black_box(());
    }
}

fn hog() {
    let _watchdog = Watchdog::start(LIMIT).unwrap();
    let builder = greenroom::Builder::new().name("hog".into());
    let hog = builder.spawn(|| spin(20 * LIMIT)).unwrap();
    hog.join().unwrap();
}

fn hog_with_callback() {
    let _watchdog = Watchdog::with_callback(LIMIT, |_| ()).unwrap();
    spawn(|| spin(10 * LIMIT)).join().unwrap();
}

/// A name, a program, what that says on its standard error, and whether it panics.
type Part = (&'static str, fn(), &'static [&'static str], bool);

const PARTS: &[Part] = &[
    (
        "a lock without a hub",
        lock_twice,
        &["would block forever", "'main'", "a mutex"],
        true,
    ),
    (
        "a condition without a hub",
        wait_for_what_was_told_too_early,
        &["would block forever", "'main'", "a condition variable"],
        true,
    ),
    (
        "a lock with a hub",
        || with_hub(lock_twice),
        &["would block forever", "the root waits for a mutex"],
        true,
    ),
    (
        "locks of greenlets",
        lock_each_other,
        &[
            "would block forever",
            "'ab': waits for a mutex",
            "'ba': waits for a mutex",
        ],
        true,
    ),
    (
        "a lock without a hub, watched",
        || with_watchdog(lock_twice),
        &["would block forever"],
        true,
    ),
    (
        "locks of greenlets, watched",
        || with_watchdog(lock_each_other),
        &["would block forever", "'ab': waits for a mutex"],
        true,
    ),
    (
        "a condition with a hub, watched",
        || with_hub(|| with_watchdog(wait_for_what_was_told_too_early)),
        &[
            "would block forever",
            "the root waits for a condition variable",
        ],
        true,
    ),
    (
        "a lock without a hub, once another thread has ended",
        || with_thread_that_ends(lock_twice),
        &["would block forever"],
        true,
    ),
    (
        "locks of greenlets, once another thread has ended",
        || with_thread_that_ends(lock_each_other),
        &["would block forever"],
        true,
    ),
    (
        "an event that a watchdog's callback sets",
        woken_by_watchdog,
        &[],
        false,
    ),
    (
        "an event that another thread sets",
        woken_by_thread_that_ends,
        &[],
        false,
    ),
    (
        "an event that another thread sets, with a hub",
        || with_hub(woken_by_thread_that_ends),
        &[],
        false,
    ),
    (
        "a greenlet that computes, without a logger",
        hog,
        &["has been blocked", "'hog'", "no logger takes this"],
        false,
    ),
    ("the same with a callback", hog_with_callback, &[], false),
];

/// Its status and its standard error.
fn run(part: &str) -> (ExitStatus, String) {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    copy.env(PART, part).env("RUST_BACKTRACE", "0");
    let mut child = copy.stderr(Stdio::piped()).spawn().unwrap();
    let status = wait_for(&mut child, part);
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    (status, text)
}

fn wait_for(child: &mut Child, part: &str) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > BOUND {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{part}: it hangs, and is not told");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn main() {
    if let Ok(part) = std::env::var(PART) {
        let (_, body, ..) = PARTS.iter().find(|(name, ..)| *name == part).unwrap();
        return body();
    }
    for (part, _, says, panics) in PARTS {
        let (status, text) = run(part);
        let code = if *panics { 101 } else { 0 };
        assert_eq!(status.code(), Some(code), "{part}: {text}");
        for words in *says {
            assert!(text.contains(words), "{part}: not told of {words}: {text}");
        }
        assert_eq!(text.is_empty(), says.is_empty(), "{part}: {text}");
    }
    println!("{} programs", PARTS.len());
}
