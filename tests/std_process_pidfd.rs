//! Descriptors of processes, which std has on nightly only.
mod gevent_support;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use gevent_support::{bounded, ms};
use greenroom::io::readable;
use greenroom::os::linux::process::{ChildExt, CommandExt, PidFd};
use greenroom::process::Command;
use greenroom::{sleep, spawn, wait_any};

/// A child that sleeps for long, in front of its descriptor.
fn sleeper() -> PidFd {
    let mut command = Command::new("sleep");
    let child = command.arg("3600").create_pidfd(true).spawn().unwrap();
    child.into_pidfd().unwrap()
}

#[test]
fn a_wait_at_a_pidfd_parks_until_the_child_has_ended() {
    let _bound = bounded();
    let pidfd = Arc::new(sleeper());
    assert_eq!(pidfd.try_wait().unwrap(), None);
    let theirs = Arc::clone(&pidfd);
    let waits = spawn(move || theirs.wait());
    sleep(ms(2));
    assert!(!waits.is_finished());
    pidfd.kill().unwrap();
    let status = waits.join().unwrap().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    let errno = |error: std::io::Error| error.raw_os_error();
    assert_eq!(errno(pidfd.wait().unwrap_err()), Some(libc::ECHILD));
    assert_eq!(errno(pidfd.try_wait().unwrap_err()), Some(libc::ECHILD));
    assert_eq!(errno(pidfd.kill().unwrap_err()), Some(libc::ESRCH));
}

#[test]
fn a_limit_at_a_pidfd_leaves_the_child_alone() {
    let _bound = bounded();
    let pidfd = sleeper();
    assert!(greenroom::with_timeout(ms(5), || pidfd.wait()).is_err());
    assert_eq!(pidfd.try_wait().unwrap(), None);
    pidfd.kill().unwrap();
    // A duplicate is for the same child.
    let again = PidFd::from(OwnedFd::from(pidfd).try_clone().unwrap());
    assert!(again.wait().unwrap().code().is_none());
}

#[test]
fn a_pidfd_is_made_when_it_is_asked_for() {
    let _bound = bounded();
    let mut fails = Command::new("sh");
    fails.args(["-c", "exit 7"]);
    let mut child = fails.spawn().unwrap();
    assert!(child.pidfd().is_err());
    child.wait().unwrap();
    let Err(mut child) = child.into_pidfd() else {
        panic!("none was asked for");
    };
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let mut child = fails.create_pidfd(true).spawn().unwrap();
    // It stays usable beside its child.
    let pidfd = child.pidfd().unwrap();
    assert!(pidfd.as_raw_fd() >= 0);
    assert_eq!(wait_any(&[&readable(pidfd)]), 0);
    assert_eq!(pidfd.wait().unwrap().code(), Some(7));
    assert!(child.wait().is_err());
    assert!(fails.create_pidfd(false).spawn().unwrap().pidfd().is_err());
}
