//! A program without a harness, whose threads are greenlets: what becomes of them when `main`
//! returns, and when one overflows its stack.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The variable that tells a copy of this program what to do.
const PART: &str = "GREENROOM_THREADS";
const LONG: Duration = Duration::from_secs(3600);
const SIGABRT: i32 = 6;

struct Aborts;

impl Drop for Aborts {
    fn drop(&mut self) {
        eprintln!("a destructor ran after the end of main");
        std::process::abort();
    }
}

struct Spawns;

impl Drop for Spawns {
    fn drop(&mut self) {
        drop(thread::spawn(|| std::process::abort()));
    }
}

/// As with std's own: nothing more of them runs, and the status is that of `main`.
fn leave_detached_threads() {
    thread_local!(static VALUE: Aborts = const { Aborts });
    greenroom::monkey::patch_all().expect("it works on this machine");
    let (sender, receiver) = mpsc::channel::<()>();
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock();
    let theirs = Arc::clone(&lock);
    let waits: [Box<dyn FnOnce() + Send>; 5] = [
        Box::new(|| thread::sleep(LONG)),
        Box::new(thread::park),
        Box::new(move || _ = receiver.recv()),
        Box::new(move || drop(theirs.lock())),
        Box::new(|| greenroom::sleep(LONG)),
    ];
    let count = waits.len();
    for wait in waits {
        drop(thread::spawn(|| {
            let _aborts = Aborts;
            VALUE.with(|_| ());
            wait();
        }));
    }
    thread::sleep(Duration::from_millis(5));
    assert_eq!(greenroom::hub::stats().greenlets, count);
    // One that has not begun yet: what unwinds does not step aside for it.
    let unwinds = std::panic::catch_unwind(|| {
        let _spawns = Spawns;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(unwinds.is_err());
    std::mem::forget((sender, held));
}

#[allow(unconditional_recursion, reason = "it is to overflow its stack")]
fn dig(depth: usize) -> usize {
    let frame = std::hint::black_box([depth as u8; 1000]);
    dig(depth + 1) + usize::from(frame[depth % 1000])
}

fn overflow() {
    greenroom::monkey::patch_all().expect("it works on this machine");
    let digs = thread::Builder::new().name("digger".into());
    let _ = digs.spawn(|| dig(0)).unwrap().join();
}

/// Two threads that wait for each other's lock, and a main thread that joins them.
fn lock_each_other() {
    greenroom::monkey::patch_all().expect("it works on this machine");
    let [one, other] = [Arc::new(Mutex::new(())), Arc::new(Mutex::new(()))];
    let spawn = |name: &str, first: &Arc<Mutex<()>>, second: &Arc<Mutex<()>>| {
        let (first, second) = (Arc::clone(first), Arc::clone(second));
        let both = move || {
            let _first = first.lock();
            thread::sleep(Duration::from_millis(10));
            let _second = second.lock();
        };
        let builder = thread::Builder::new().name(name.into());
        builder.spawn(both).unwrap()
    };
    let threads = [spawn("ab", &one, &other), spawn("ba", &other, &one)];
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What a copy that never ends has to say, up to a line with these words.
fn run_until(part: &str, words: &str) -> String {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    copy.env(PART, part).env("RUST_BACKTRACE", "1");
    let mut child = copy.stderr(Stdio::piped()).spawn().unwrap();
    let (stderr, mut text) = (child.stderr.take().unwrap(), String::new());
    let id = child.id();
    // Should it say nothing.
    let (over, ended) = mpsc::channel::<()>();
    let bound = thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("process {id} is not told to hang");
            std::process::abort();
        }
    });
    for line in BufReader::new(stderr).lines() {
        text += &format!("{}\n", line.unwrap());
        if text.contains(words) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(over);
    bound.join().unwrap();
    text
}

fn run(part: &str) -> (Output, String) {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    let output = copy.env(PART, part).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

fn main() {
    match std::env::var(PART).as_deref() {
        Ok("leave") => return leave_detached_threads(),
        Ok("overflow") => return overflow(),
        Ok("hang") => return lock_each_other(),
        _ => {}
    }
    let begin = Instant::now();
    let (output, text) = run("leave");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text, "");
    assert!(begin.elapsed() < Duration::from_secs(60));
    let (output, text) = run("overflow");
    assert_eq!(output.status.signal(), Some(SIGABRT), "{text}");
    assert!(text.contains("overflow"), "{text}");
    assert!(text.contains("thread 'digger' has overflowed"), "{text}");
    let text = run_until("hang", "nothing else is left");
    let ab = text
        .lines()
        .find(|line| line.contains("thread 'ab': waits for"));
    let here = format!("spawned at ./{}:", file!());
    assert!(ab.is_some_and(|line| line.contains(&here)), "{text}");
    assert!(text.contains("would block forever"), "{text}");
    assert!(text.contains("thread 'ba': waits for"), "{text}");
}
