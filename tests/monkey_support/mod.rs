//! What the tests of the room `monkey` share.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs `f` in a greenlet of a patched program.
pub(crate) fn green<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    greenroom::monkey::patch_all().unwrap();
    greenroom::spawn_local(f).join().unwrap()
}

/// Runs `f` on an OS thread without a hub: there nothing is patched.
pub(crate) fn native<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(f).join().unwrap()
}

/// Runs `f` in a greenlet, which must park for at least 20 ms, and proves that it parked: another
/// greenlet of the same OS thread runs meanwhile.
pub(crate) fn parks<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    green(move || {
        let ticks = Rc::new(Cell::new(0));
        let (counted, parked) = (Rc::clone(&ticks), greenroom::spawn_local(f));
        let ticker = greenroom::spawn_local(move || {
            loop {
                greenroom::sleep(ms(2));
                counted.set(counted.get() + 1);
            }
        });
        let result = parked.join().unwrap();
        ticker.kill();
        assert!(
            ticks.get() >= 1,
            "it blocked the OS thread: {} ticks",
            ticks.get()
        );
        result
    })
}

/// Does `f` on another OS thread after 30 ms.
pub(crate) fn later(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(ms(30));
        f();
    })
}

pub(crate) fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

pub(crate) fn pipe() -> [c_int; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for both numbers.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    ends
}

pub(crate) fn pair(kind: c_int) -> [c_int; 2] {
    let mut ends = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: there is room for both numbers.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    assert_eq!(made, 0);
    ends
}

/// Closes them at the end.
pub(crate) fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the tests hand in what they have just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
