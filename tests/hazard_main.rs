//! Programs without a harness, whose first thread is ours. Rows 15 and 16 of the register of
//! hazards.
//!
//! One returns from `main` with parked greenlets: nothing more of them runs, and its status is 0.
//! One overflows the stack of a greenlet on the first thread's hub: it says so, and aborts.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::Duration;

/// The variable that tells a copy of this program what to do.
const PART: &str = "GREENROOM_HAZARD";
const SIGABRT: i32 = 6;

struct Aborts;

impl Drop for Aborts {
    fn drop(&mut self) {
        eprintln!("a destructor ran after the end of main");
        std::process::abort();
    }
}

fn return_with_parked_greenlets() {
    let park: [fn(); 3] = [
        || greenroom::sleep(Duration::from_secs(3600)),
        || greenroom::shield(greenroom::thread::park),
        || _ = greenroom::with_timeout(Duration::from_secs(9), greenroom::thread::park),
    ];
    for park in park {
        drop(greenroom::spawn(move || {
            let _aborts = Aborts;
            park();
        }));
    }
    greenroom::yield_now();
    assert_eq!(greenroom::hub::stats().greenlets, 3);
    // One that has not begun yet.
    drop(greenroom::spawn(|| std::process::abort()));
}

#[allow(unconditional_recursion, reason = "it is to overflow its stack")]
fn dig(depth: usize) -> usize {
    let frame = std::hint::black_box([depth as u8; 1000]);
    dig(depth + 1) + usize::from(frame[depth % 1000])
}

fn overflow() {
    let digs = greenroom::Builder::new().name("first".into());
    let digs = digs.stack_size(65_536).spawn(|| dig(0)).unwrap();
    let _ = digs.join();
}

fn run(part: &str) -> (Output, String) {
    let mut copy = Command::new(std::env::current_exe().unwrap());
    let output = copy.env(PART, part).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

fn main() {
    match std::env::var(PART).as_deref() {
        Ok("return") => return return_with_parked_greenlets(),
        Ok("overflow") => return overflow(),
        _ => {}
    }
    let (output, text) = run("return");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text, "");
    let (output, text) = run("overflow");
    assert_eq!(output.status.signal(), Some(SIGABRT), "{text}");
    let told = "'first' has overflowed its stack: 65536 bytes";
    assert!(text.contains(told), "{text}");
}
