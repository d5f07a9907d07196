//! What the tests of the room `monkey` share.
#![allow(dead_code, reason = "not every test program uses all of it")]

#[path = "../bounded/mod.rs"]
mod bounded;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc;
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

/// An OS thread: what `std::thread::spawn` makes on a patched one is a greenlet.
pub(crate) fn os_thread<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    greenroom::monkey::native(|| thread::spawn(f))
}

/// Runs `f` on an OS thread without a hub: there nothing is patched.
pub(crate) fn native<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    os_thread(f).join().unwrap()
}

thread_local! {
    /// Those who are to act as soon as it is proved that the greenlet parks.
    static LATER: RefCell<Vec<mpsc::Sender<()>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` in a greenlet, and proves that it parks: another greenlet of the same OS thread runs
/// meanwhile, and only then do those act who wait by [`later`].
pub(crate) fn parks<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    let waiting = LATER.take();
    green(move || {
        let ticks = Rc::new(Cell::new(0));
        let (counted, parked) = (Rc::clone(&ticks), greenroom::spawn_local(f));
        let ticker = greenroom::spawn_local(move || {
            loop {
                greenroom::sleep(ms(2));
                counted.set(counted.get() + 1);
                if counted.get() == 5 {
                    // Whoever has given up by now says so himself.
                    for one in &waiting {
                        let _ = one.send(());
                    }
                }
            }
        });
        let result = parked.join().unwrap();
        ticker.kill();
        assert!(ticks.get() > 0, "it blocked the OS thread");
        result
    })
}

/// Does `f` on another OS thread as soon as the next [`parks`] of this one does park.
pub(crate) fn later(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let (sender, parked) = mpsc::channel();
    LATER.with_borrow_mut(|waiting| waiting.push(sender));
    os_thread(move || {
        // If it blocks the OS thread, this ends it, and `parks` complains.
        let _ = parked.recv_timeout(Duration::from_secs(10));
        f();
    })
}

/// Does `f` on another OS thread after 30 ms.
pub(crate) fn soon(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    os_thread(move || {
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

/// Runs `test` on an OS thread of its own, so that each test has a hub of its own, patched.
pub(crate) fn on_one_os_thread(test: impl FnOnce() + Send + 'static) {
    let real = greenroom::monkey::native(|| {
        thread::spawn(|| {
            let before = kernel_id();
            greenroom::monkey::patch_all().expect("it works on this machine");
            test();
            assert_eq!(kernel_id(), before);
        })
    });
    real.join().unwrap();
}

/// Of the OS thread that runs.
pub(crate) fn kernel_id() -> i64 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) }
}
