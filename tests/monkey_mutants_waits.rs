//! Tests of waits in patched programs for bugs that no other test catches: each was seen to fail
//! with its bug seeded. See tests/mutants.rs.
#![cfg(feature = "monkey")]

mod monkey_support;

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::null_mut;
use std::time::{Duration, Instant};
use std::{cell::Cell, rc::Rc};

use libc::{timespec, timeval};
use monkey_support::{bounded, errno, green, kernel_id, later, ms, owned, pair, parks, pipe};

const NO_TIME: timespec = timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Whether another greenlet, which is runnable, runs during `f`.
fn lets_others_run(f: impl FnOnce()) -> bool {
    let ran = Rc::new(Cell::new(false));
    let other = Rc::clone(&ran);
    let other = greenroom::spawn_local(move || other.set(true));
    f();
    let meanwhile = ran.get();
    other.join().unwrap();
    meanwhile
}

#[test]
fn waits_of_no_time_let_others_run() {
    let _bound = bounded();
    green(|| {
        // SAFETY: a plain number.
        assert!(lets_others_run(|| _ = unsafe { libc::usleep(0) }));
        let (mut mutex, mut condition) = (
            libc::PTHREAD_MUTEX_INITIALIZER,
            libc::PTHREAD_COND_INITIALIZER,
        );
        let (mutex, condition) = (&raw mut mutex, &raw mut condition);
        // SAFETY: both are initialised, and stay where they are.
        assert!(lets_others_run(|| unsafe {
            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
            let waited = libc::pthread_cond_timedwait(condition, mutex, &NO_TIME);
            assert_eq!(waited, libc::ETIMEDOUT);
            assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
        }));
    });
}

#[test]
fn a_later_o_nonblock_counts() {
    let _bound = bounded();
    green(|| {
        let [near, far] = pair(libc::SOCK_STREAM).map(owned);
        let receive = || {
            let mut byte = 0u8;
            // SAFETY: there is room for one byte.
            unsafe { libc::recv(near.as_raw_fd(), (&raw mut byte).cast(), 1, 0) }
        };
        // Now it is known as one that blocks.
        let theirs = far.as_raw_fd();
        let writer = greenroom::spawn_local(move || byte_into(theirs));
        assert_eq!(receive(), 1);
        writer.join().unwrap();
        // SAFETY: plain numbers.
        let set = unsafe { libc::fcntl(near.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(set, 0);
        let received = greenroom::with_timeout(Duration::from_secs(5), receive);
        assert_eq!((received, errno()), (Ok(-1), libc::EAGAIN));
    });
}

#[test]
fn a_lock_of_another_process_is_waited_for_in_a_park() {
    let _bound = bounded();
    let file = owned(tempfile::tempfile().unwrap().into_raw_fd());
    let fd = file.as_raw_fd();
    let [reader, writer] = pipe().map(owned);
    // SAFETY: a child that calls only what is allowed after a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; a lock of all of the file, and a time.
        unsafe {
            lock_all(fd, libc::F_SETLK);
            libc::syscall(libc::SYS_write, writer.as_raw_fd(), c"x".as_ptr(), 1);
            let time = libc::timespec {
                tv_sec: 0,
                tv_nsec: 200_000_000,
            };
            libc::syscall(libc::SYS_nanosleep, &raw const time, 0);
            libc::_exit(0);
        }
    }
    let mut byte = 0u8;
    // SAFETY: there is room for one byte.
    let read = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
    assert_eq!(read, 1);
    assert_eq!(parks(move || lock_all(fd, libc::F_SETLKW)), 0);
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(child, null_mut(), 0) };
}

fn lock_all(fd: c_int, command: c_int) -> c_int {
    // SAFETY: zeros are all of a file.
    let mut lock: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: a lock.
    unsafe { libc::fcntl(fd, command, &raw const lock) }
}

#[test]
fn select_waits_for_exceptions() {
    let _bound = bounded();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().unwrap().0;
    later(move || {
        // SAFETY: one byte is there.
        let sent = unsafe { libc::send(far.as_raw_fd(), c"x".as_ptr().cast(), 1, libc::MSG_OOB) };
        assert_eq!(sent, 1);
        std::thread::sleep(ms(1000));
    });
    let begin = Instant::now();
    let found = parks(move || {
        let fd = near.as_raw_fd();
        // SAFETY: an empty set is all zeros; the number is one of a set.
        unsafe {
            let mut set = MaybeUninit::<libc::fd_set>::zeroed().assume_init();
            libc::FD_SET(fd, &raw mut set);
            let mut limit = timeval {
                tv_sec: 5,
                tv_usec: 0,
            };
            libc::select(fd + 1, null_mut(), null_mut(), &raw mut set, &raw mut limit)
        }
    });
    assert_eq!(found, 1);
    assert!(begin.elapsed() < Duration::from_secs(4));
}

extern "C" fn nothing(_: c_int) {}

#[test]
fn a_signal_that_only_the_mask_of_ppoll_lets_through_ends_its_wait() {
    let _bound = bounded();
    green(|| {
        let [reader, _writer] = pipe().map(owned);
        let signal = libc::SIGUSR2;
        // SAFETY: sets that are made here, a handler that does nothing, an open descriptor.
        let (found, error) = unsafe {
            let mut set = MaybeUninit::uninit();
            libc::signal(
                signal,
                nothing as extern "C" fn(c_int) as libc::sighandler_t,
            );
            libc::sigemptyset(set.as_mut_ptr());
            let none = set.assume_init();
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), null_mut());
            let sends = greenroom::spawn_local(move || {
                greenroom::sleep(ms(20));
                libc::syscall(libc::SYS_tgkill, libc::getpid(), kernel_id(), signal)
            });
            let mut one = libc::pollfd {
                fd: reader.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let limit = timespec {
                tv_sec: 5,
                tv_nsec: 0,
            };
            let found = (libc::ppoll(&raw mut one, 1, &limit, &none), errno());
            sends.join().unwrap();
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), null_mut());
            found
        };
        assert_eq!((found, error), (-1, libc::EINTR));
    });
}

fn byte_into(fd: c_int) {
    // SAFETY: one byte is there.
    assert_eq!(unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) }, 1);
}
