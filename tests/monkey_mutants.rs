//! Tests of the patch for bugs that no other test catches: each was seen to fail with its bug
//! seeded. See tests/mutants.rs.
mod monkey_support;

use std::ffi::c_int;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::time::{Duration, Instant};
use std::{cell::Cell, rc::Rc};

use libc::{pollfd, timeval};
use monkey_support::{bounded, errno, green, later, ms, owned, pair, parks, pipe};

/// What `f` returns, and whether another greenlet, which was runnable, ran meanwhile.
fn lets_others_run<T>(f: impl FnOnce() -> T) -> (T, bool) {
    let ran = Rc::new(Cell::new(false));
    let other = Rc::clone(&ran);
    let other = greenroom::spawn_local(move || other.set(true));
    let result = f();
    let meanwhile = ran.get();
    other.join().unwrap();
    (result, meanwhile)
}

fn poll(fds: &mut [pollfd], ms: c_int) -> c_int {
    // SAFETY: there are so many.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ms) }
}

fn readable(fd: c_int) -> pollfd {
    pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn byte_into(fd: c_int) {
    // SAFETY: one byte is there.
    assert_eq!(unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) }, 1);
}

#[test]
fn a_look_without_time_does_not_switch() {
    let _bound = bounded();
    green(|| {
        let [reader, writer] = pipe().map(owned);
        let fd = reader.as_raw_fd();
        let polled = lets_others_run(|| poll(&mut [readable(fd)], 0));
        assert_eq!(polled, (0, false), "poll");

        // SAFETY: plain numbers.
        let set = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };
        // SAFETY: an event, and room for one.
        let waited = unsafe {
            libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event);
            lets_others_run(|| libc::epoll_wait(set.as_raw_fd(), &raw mut event, 1, 0))
        };
        assert_eq!(waited, (0, false), "epoll_wait");

        let mut limit = timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let selected = lets_others_run(|| select(fd, &mut limit));
        assert_eq!(selected, (0, false), "select");
        drop(writer);
    });
}

fn select(fd: c_int, limit: &mut timeval) -> c_int {
    // SAFETY: an empty set is all zeros; the number is one of a set.
    unsafe {
        let mut set = MaybeUninit::<libc::fd_set>::zeroed().assume_init();
        libc::FD_SET(fd, &raw mut set);
        libc::select(fd + 1, &raw mut set, null_mut(), null_mut(), limit)
    }
}

#[test]
fn select_writes_back_how_much_time_is_left() {
    let _bound = bounded();
    let [reader, writer] = pipe().map(owned);
    later(move || byte_into(writer.as_raw_fd()));
    let left = parks(move || {
        let mut limit = timeval {
            tv_sec: 9000,
            tv_usec: 0,
        };
        assert_eq!(select(reader.as_raw_fd(), &mut limit), 1);
        Duration::new(limit.tv_sec as u64, limit.tv_usec as u32 * 1000)
    });
    assert!(left < Duration::from_secs(9000) && left > Duration::from_secs(8000));
}

#[test]
fn poll_passes_over_negative_descriptors() {
    let _bound = bounded();
    let [reader, writer] = pipe().map(owned);
    later(move || byte_into(writer.as_raw_fd()));
    let found = parks(move || {
        let mut fds = [readable(-1), readable(reader.as_raw_fd()), readable(-7)];
        let found = poll(&mut fds, 9_000_000);
        (found, fds.map(|one| one.revents & libc::POLLIN))
    });
    assert_eq!(found, (1, [0, libc::POLLIN, 0]));
}

#[test]
fn a_later_timeout_of_a_socket_counts() {
    let _bound = bounded();
    green(|| {
        let ends = pair(libc::SOCK_STREAM);
        let [near, far] = ends.map(owned);
        let receive = || {
            let mut byte = 0u8;
            // SAFETY: there is room for one byte.
            unsafe { libc::recv(near.as_raw_fd(), (&raw mut byte).cast(), 1, 0) }
        };
        // Now it is known, without a timeout.
        let theirs = far.as_raw_fd();
        let writer = greenroom::spawn_local(move || byte_into(theirs));
        assert_eq!(receive(), 1);
        writer.join().unwrap();
        let limit = timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        };
        let size = size_of::<timeval>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
        let limit = (&raw const limit).cast();
        // SAFETY: a time of that size.
        let set = unsafe { libc::setsockopt(near.as_raw_fd(), level, name, limit, size) };
        assert_eq!(set, 0);
        let begin = Instant::now();
        let received = greenroom::with_timeout(Duration::from_secs(20), receive);
        assert_eq!((received, errno()), (Ok(-1), libc::EAGAIN));
        assert!(begin.elapsed() >= ms(20));
    });
}
