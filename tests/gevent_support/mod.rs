//! What the tests after gevent's share.
#![allow(dead_code, reason = "each file of tests uses a part")]

#[path = "../net_support/mod.rs"]
mod net_support;

use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

#[allow(unused_imports, reason = "as above")]
pub(crate) use net_support::{bounded, bounded_by};

/// Set in a process that a test has started to run itself in.
const CHILD: &str = "GREENROOM_TEST_CHILD";

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Far longer than anything here takes, and no bound on a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Whether this is the process that [`alone`] has started.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test of that name once more, alone in a process of its own.
pub(crate) fn alone(test: &str) -> Output {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    again.env(CHILD, "1").env("RUST_BACKTRACE", "0");
    again.output().unwrap()
}

/// As [`alone`]; the test is to succeed there.
#[track_caller]
pub(crate) fn passes_alone(test: &str) -> Output {
    let output = alone(test);
    assert!(output.status.success(), "{}", both(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{}", both(&output));
    output
}

/// Runs `f` in a child of fork(2), which has no other thread; fails if it panics there. To be
/// called in a process that runs [`alone`].
#[track_caller]
pub(crate) fn on_the_only_thread(f: impl FnOnce()) {
    // SAFETY: besides this one the process has at most a sleeping thread (see above), so no lock
    // is held that the child could need; `alarm` bounds its life.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: a plain number.
        unsafe { libc::alarm(30) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: a plain number. `_exit` leaves out what belongs to the parent.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    let mut status = 0;
    // SAFETY: it is our child, and `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child has said why");
}

/// What a process has printed.
pub(crate) fn both(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{:?}\n{out}\n{err}", output.status)
}

/// Notes what happens, from any greenlet, in the order of happening.
pub(crate) struct Notes<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Notes<T> {
    pub(crate) fn new() -> Notes<T> {
        let (sender, receiver) = channel();
        Notes { sender, receiver }
    }

    /// A pen for one greenlet.
    pub(crate) fn pen(&self) -> impl Fn(T) + use<T> + 'static
    where
        T: 'static,
    {
        let sender = self.sender.clone();
        move |note| sender.send(note).unwrap_or(())
    }

    /// What has been noted since the last look.
    pub(crate) fn read(&self) -> Vec<T> {
        self.receiver.try_iter().collect()
    }
}
