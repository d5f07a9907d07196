//! What the tests of the examples share.
#![allow(dead_code, reason = "each file of tests uses a part")]

#[path = "../bounded/mod.rs"]
mod bounded;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No example may take longer, in whatever build.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/examples-HASH; the examples are in target/PROFILE/examples.
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "run `cargo build --examples` first");
    path
}

/// A running example; killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(name: &str, args: &[&str]) -> Running {
        let mut command = Command::new(example(name));
        let command = command.args(args).stdin(Stdio::piped());
        Running(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Of a server: the address after "listening on" in its first line, and the rest.
    pub(crate) fn address(&mut self) -> (String, BufReader<ChildStdout>) {
        let mut output = BufReader::new(self.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        (String::from(address.expect(&line)), output)
    }

    /// Waits until it ends, which it must do well and soon.
    pub(crate) fn ends_well(&mut self) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < LONGEST, "it takes too long");
            thread::sleep(Duration::from_millis(2));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended, which is just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it prints until it ends.
pub(crate) fn run(name: &str, args: &[&str]) -> String {
    let mut running = Running::start(name, args);
    let mut stdout = running.0.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    running.ends_well();
    reader.join().unwrap().unwrap()
}

/// The text with its ports and numbers of descriptors replaced by PORT and N.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        out.push_str(before);
        let host = "127.0.0.1:";
        let (name, length) = match number.strip_prefix(host) {
            Some(port) => ("ADDRESS", host.len() + digits(port)),
            None => ("N", digits(number)),
        };
        out.push_str(name);
        rest = &number[length..];
    }
    out + rest
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

/// How many lines are exactly this.
pub(crate) fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|one| *one == line).count()
}
