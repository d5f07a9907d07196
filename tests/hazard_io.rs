//! Descriptors that are closed, duplicated, moved away, and come back.
//! Rows 21 and 22 of the register of hazards.
mod hazard_support;

use greenroom::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use greenroom::os::unix::net::UnixStream;
use greenroom::{hub, io, sleep, spawn, spawn_local, with_timeout, yield_now};
use hazard_support::{alone_and_well, bounded, descriptors, leak_free, ms, settle};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

const EBADF: Option<i32> = Some(libc::EBADF);

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one.into(), listener.accept().unwrap().0.into())
}

fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
}

fn close_raw(fd: RawFd) {
    // SAFETY: close takes a plain number; the tests that use this never use the owner again.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

// Row 21.
#[test]
fn every_wait_for_a_descriptor_can_be_cancelled_and_says_ebadf() {
    let _bound = bounded();
    type Wait = fn(&TcpStream, &TcpListener, &UdpSocket) -> std::io::Result<()>;
    let waits: [(&str, Wait); 6] = [
        ("read", |mut stream, _, _| stream.read(&mut [0]).map(drop)),
        ("peek", |stream, _, _| stream.peek(&mut [0]).map(drop)),
        ("write", |mut stream, _, _| stream.write_all(&[0; 1 << 20])),
        ("accept", |_, listener, _| listener.accept().map(drop)),
        ("recv_from", |_, _, socket| {
            socket.recv_from(&mut [0]).map(drop)
        }),
        ("wait_readable", |stream, _, _| io::wait_readable(stream)),
    ];
    for (name, wait) in waits {
        leak_free(name, || {
            let (stream, _other) = tcp_pair();
            fill(&stream);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let all = Rc::new((stream, listener, socket));
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let all = Rc::clone(&all);
                    spawn_local(move || wait(&all.0, &all.1, &all.2))
                })
                .collect();
            settle();
            assert_eq!(hub::stats().waiting, 3, "{name}");
            let cancelled =
                io::cancel_waits(&all.0) + io::cancel_waits(&all.1) + io::cancel_waits(&all.2);
            assert_eq!(cancelled, 3, "{name}");
            for waiter in waiters {
                let error = waiter.join().unwrap().unwrap_err();
                assert_eq!(error.raw_os_error(), EBADF, "{name}");
            }
            // What has lost its waits is as good as before.
            let late = with_timeout(ms(2), || wait(&all.0, &all.1, &all.2));
            assert!(late.is_err(), "{name}");
        });
    }
}

#[test]
fn a_connect_can_be_cancelled() {
    let _bound = bounded();
    leak_free("connect", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: listen takes plain numbers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        let _first = std::net::TcpStream::connect(address).unwrap();
        let connects = spawn(move || TcpStream::connect(address).map(drop));
        settle();
        let dump = hub::dump();
        let number = dump
            .split("descriptor ")
            .nth(1)
            .and_then(|text| text.split(' ').next());
        // SAFETY: the connecting greenlet keeps its descriptor open while it is parked.
        let fd = unsafe { BorrowedFd::borrow_raw(number.unwrap().parse().unwrap()) };
        assert_eq!(io::cancel_waits(&fd), 1, "{dump}");
        assert_eq!(connects.join().unwrap().unwrap_err().raw_os_error(), EBADF);
    });
}

#[test]
fn a_shutdown_wakes_both_directions() {
    let _bound = bounded();
    leak_free("shutdown", || {
        let (stream, _other) = tcp_pair();
        fill(&stream);
        let stream = Rc::new(stream);
        let (reads, writes) = (Rc::clone(&stream), Rc::clone(&stream));
        let reads = spawn_local(move || (&*reads).read(&mut [0]).unwrap());
        let writes = spawn_local(move || (&*writes).write_all(&[0; 1 << 20]).unwrap_err());
        settle();
        stream.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reads.join().unwrap(), 0);
        assert_eq!(writes.join().unwrap().kind(), ErrorKind::BrokenPipe);
    });
}

// Row 22.
#[test]
fn a_number_that_comes_back_is_a_new_descriptor() {
    let _bound = bounded();
    leak_free("numbers", || {
        let mut seen = std::collections::HashMap::<RawFd, usize>::new();
        for round in 0..300_u32 {
            let (mut one, mut other) = UnixStream::pair().unwrap();
            *seen.entry(one.as_raw_fd()).or_default() += 1;
            // The duplicate keeps the open file, and so its place in the kernel's set, alive.
            let kept = other.try_clone().unwrap();
            let reads = spawn_local(move || {
                let mut word = [0; 4];
                one.read_exact(&mut word).map(|()| u32::from_ne_bytes(word))
            });
            yield_now();
            other.write_all(&round.to_ne_bytes()).unwrap();
            assert_eq!(reads.join().unwrap().unwrap(), round);
            let mut byte = [0];
            assert_eq!(
                with_timeout(ms(20), || other.read(&mut byte).unwrap()),
                Ok(0)
            );
            drop(other);
            let (mut third, mut fourth) = UnixStream::pair().unwrap();
            let reads = spawn_local(move || third.read(&mut [0; 9]).unwrap());
            yield_now();
            drop(kept);
            fourth.write_all(b"123").unwrap();
            assert_eq!(reads.join().unwrap(), 3);
        }
        assert!(seen.values().any(|times| *times > 1), "no number came back");
    });
}

#[test]
fn a_clone_goes_on_when_the_other_is_closed_under_it() {
    let _bound = bounded();
    leak_free("clones", || {
        let (one, mut other) = tcp_pair();
        let mut clone = one.try_clone().unwrap();
        assert!(with_timeout(ms(1), || (&one).read(&mut [0]).map(drop)).is_err());
        let reads = spawn_local(move || {
            let mut word = [0; 3];
            clone.read_exact(&mut word).map(|()| word)
        });
        settle();
        drop(one);
        let (third, _fourth) = tcp_pair();
        assert!(with_timeout(ms(1), || (&third).read(&mut [0]).map(drop)).is_err());
        other.write_all(b"abc").unwrap();
        assert_eq!(&reads.join().unwrap().unwrap(), b"abc");
    });
}

// Row 22: not to be done, but it must not hurt those who come after.
#[test]
fn a_number_closed_behind_our_back_serves_its_next_owner() {
    let _bound = bounded();
    let test = "a_number_closed_behind_our_back_serves_its_next_owner";
    alone_and_well(test, || {
        let mut reused = 0;
        for round in 0..50 {
            let (one, other) = UnixStream::pair().unwrap();
            let late = with_timeout(ms(1), || (&one).read(&mut [0]).map(drop));
            assert!(late.is_err());
            let number = one.as_raw_fd();
            // In every other round the open file lives on in a duplicate, and so does its
            // place in the epoll set.
            let kept = (round % 2 == 0).then(|| one.as_fd().try_clone_to_owned().unwrap());
            close_raw(number);
            std::mem::forget(one);
            let (mut third, mut fourth) = UnixStream::pair().unwrap();
            reused += usize::from(third.as_raw_fd() == number);
            let reads = spawn_local(move || third.read(&mut [0; 9]).unwrap());
            yield_now();
            // Stale events of the old one, if it is still there.
            let _ = (&other).write(b"x");
            drop(other);
            sleep(Duration::from_micros(100));
            assert!(!reads.is_finished());
            fourth.write_all(b"1234").unwrap();
            assert_eq!(reads.join().unwrap(), 4);
            drop(kept);
        }
        assert!(reused > 40, "{reused}");
        // They spin for nobody.
        let polls = hub::stats().polls;
        sleep(ms(20));
        assert!(hub::stats().polls - polls < 10);
    });
}

#[test]
fn the_same_open_file_under_the_same_number_can_be_registered_again() {
    let _bound = bounded();
    let test = "the_same_open_file_under_the_same_number_can_be_registered_again";
    alone_and_well(test, || {
        let (one, mut other) = UnixStream::pair().unwrap();
        assert!(with_timeout(ms(1), || (&one).read(&mut [0]).map(drop)).is_err());
        let number = one.as_raw_fd();
        let kept = one.as_fd().try_clone_to_owned().unwrap();
        std::mem::forget(one);
        // SAFETY: dup2 takes plain numbers, and nobody uses the forgotten owner again.
        unsafe {
            assert_eq!(libc::close(number), 0);
            assert_eq!(libc::dup2(kept.as_raw_fd(), number), number);
        }
        // SAFETY: `number` has just been made, and is nobody else's.
        let again: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(number) };
        let mut again = UnixStream::from(again);
        again.set_nonblocking(false).unwrap();
        let reads = spawn_local(move || again.read(&mut [0; 9]).unwrap());
        settle();
        other.write_all(b"12").unwrap();
        assert_eq!(reads.join().unwrap(), 2);
    });
}

// Row 22, 34: the socket leaves with another thread.
#[test]
fn a_socket_that_is_dropped_on_another_thread_leaves_no_registration() {
    let _bound = bounded();
    leak_free("moved", || {
        for round in 0..50 {
            let (one, mut other) = tcp_pair();
            assert!(with_timeout(Duration::ZERO, || (&one).read(&mut [0]).map(drop)).is_err());
            assert_eq!(hub::stats().registrations, 1);
            let elsewhere = std::thread::spawn(move || {
                // Registered here as well, in every other round.
                let mut one = one;
                if round % 2 == 0 {
                    let reads = spawn(move || one.read(&mut [0; 9]).unwrap());
                    yield_now();
                    reads.join().unwrap()
                } else {
                    1
                }
            });
            other.write_all(b"x").unwrap();
            assert_eq!(elsewhere.join().unwrap(), 1);
            yield_now();
            sleep(Duration::from_micros(10));
            assert_eq!(hub::stats().registrations, 0, "in round {round}");
        }
    });
}

#[test]
fn ten_thousand_sockets_leave_nothing_behind() {
    let _bound = bounded();
    let test = "ten_thousand_sockets_leave_nothing_behind";
    alone_and_well(test, || {
        drop(hub::current());
        let before = descriptors();
        for _ in 0..10_000 {
            let (mut one, mut other) = UnixStream::pair().unwrap();
            let reads = spawn_local(move || one.read(&mut [0; 3]).unwrap());
            yield_now();
            other.write_all(b"abc").unwrap();
            assert_eq!(reads.join().unwrap(), 3);
        }
        let stats = hub::stats();
        assert_eq!(
            (stats.registrations, stats.waiting, stats.timers),
            (0, 0, 0)
        );
        assert_eq!(descriptors(), before);
        assert!(stats.stacks_pooled < 10, "{stats:?}");
    });
}

#[test]
fn what_leaves_as_a_plain_descriptor_is_forgotten_and_blocks_again() {
    let _bound = bounded();
    leak_free("plain", || {
        let (one, mut other) = UnixStream::pair().unwrap();
        assert!(with_timeout(ms(1), || (&one).read(&mut [0]).map(drop)).is_err());
        assert_eq!(hub::stats().registrations, 1);
        let number = one.into_raw_fd();
        assert_eq!(hub::stats().registrations, 0);
        // SAFETY: `number` was just given up by its owner.
        let plain: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(number) };
        let mut plain = std::os::unix::net::UnixStream::from(plain);
        let outside = std::thread::spawn(move || plain.read(&mut [0; 2]).unwrap());
        std::thread::sleep(ms(2));
        other.write_all(b"x").unwrap();
        assert_eq!(outside.join().unwrap(), 1);
    });
}
