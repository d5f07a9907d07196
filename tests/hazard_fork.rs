//! fork(2), from the root and from a greenlet. Row 20 of the register of hazards.
//!
//! Each test is a process of its own, because the child of a fork has only the thread that forked.
mod hazard_support;

use greenroom::net::{TcpListener, TcpStream, ToSocketAddrs};
use greenroom::os::unix::net::UnixStream;
use greenroom::{hub, sleep, spawn, spawn_local, yield_now};
use hazard_support::bounded;
use hazard_support::{HOUR, OnDrop, alone_and_well, ms};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a child may live.
const CHILD_SECONDS_MAX: u32 = 20;

/// A child, bounded in time; `None` in the child itself.
fn fork() -> Option<libc::pid_t> {
    // SAFETY: the child goes on in plain Rust code; the harness's other thread sits in a join,
    // so it holds no lock that the child would need.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: alarm takes a plain number; its signal ends a child that hangs.
            unsafe { libc::alarm(CHILD_SECONDS_MAX) };
            None
        }
        child => {
            assert!(child > 0);
            Some(child)
        }
    }
}

/// Ends the child as it is: the rest of the test is the parent's.
fn exit_child(status: i32) -> ! {
    // SAFETY: _exit does not return.
    unsafe { libc::_exit(status) }
}

/// Runs `body` as all that a child does: status 0 if it neither panics nor hangs.
fn fork_and_run(body: impl FnOnce()) -> libc::pid_t {
    fork().unwrap_or_else(|| {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        exit_child(i32::from(outcome.is_err()))
    })
}

/// How the child ended, waited for without blocking the other greenlets.
fn status_of(child: libc::pid_t) -> i32 {
    let begin = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is there to be written.
        match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
            0 => sleep(ms(1)),
            ended => {
                assert_eq!(ended, child);
                return status;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(40), "the child hangs");
    }
}

/// Uses all of it: what a child needs to work.
fn use_everything() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serves = spawn(move || listener.accept().unwrap().0.write_all(b"hello"));
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    serves.join().unwrap().unwrap();
    let begin = Instant::now();
    sleep(ms(3));
    assert!(begin.elapsed() >= ms(3));
    let killed = spawn(|| sleep(HOUR));
    yield_now();
    assert_eq!(greenroom::killall([&killed], None), 0);
    let hub = hub::current();
    let outside = std::thread::spawn(move || hub.spawn(|| 7));
    assert_eq!(outside.join().unwrap().join().unwrap(), 7);
    assert!("localhost:80".to_socket_addrs().unwrap().next().is_some());
}

#[test]
fn a_child_forked_by_the_root_begins_with_an_empty_hub() {
    let _bound = bounded();
    let test = "a_child_forked_by_the_root_begins_with_an_empty_hub";
    alone_and_well(test, || {
        let sleeper = spawn(|| sleep(ms(30)));
        yield_now();
        assert_eq!(hub::stats().greenlets, 1);
        let child = fork_and_run(|| {
            assert_eq!(hub::stats().greenlets, 0);
            use_everything();
            // And so does its own child.
            assert_eq!(status_of(fork_and_run(use_everything)), 0);
        });
        assert_eq!(status_of(child), 0);
        sleeper.join().unwrap();
        use_everything();
    });
}

#[test]
fn a_child_forked_by_a_greenlet_begins_with_an_empty_hub() {
    let _bound = bounded();
    let test = "a_child_forked_by_a_greenlet_begins_with_an_empty_hub";
    alone_and_well(test, || {
        let forks = spawn(|| {
            let child = fork_and_run(|| {
                assert_eq!(hub::stats().greenlets, 0);
                use_everything();
            });
            status_of(child)
        });
        assert_eq!(forks.join().unwrap(), 0);
        use_everything();
    });
}

#[test]
fn a_greenlet_that_returns_in_the_child_ends_the_child() {
    let _bound = bounded();
    let test = "a_greenlet_that_returns_in_the_child_ends_the_child";
    alone_and_well(test, || {
        for spawns_there in [false, true] {
            let forks = spawn(move || {
                let child = fork();
                if child.is_none() && spawns_there {
                    spawn(|| sleep(ms(1))).join().unwrap();
                }
                child
            });
            forks.link(|_| ());
            let Some(child) = forks.join().unwrap() else {
                exit_child(9);
            };
            assert_eq!(status_of(child), 0);
        }
    });
}

#[test]
fn a_child_that_drops_its_sockets_and_exits_leaves_the_parent_its_wakeups() {
    let _bound = bounded();
    let test = "a_child_that_drops_its_sockets_and_exits_leaves_the_parent_its_wakeups";
    alone_and_well(test, || {
        for from_a_greenlet in [false, true] {
            let (one, mut other) = UnixStream::pair().unwrap();
            let kept = one.try_clone().unwrap();
            // Registered before the fork, and waited for on both sides of it.
            let late = greenroom::with_timeout(ms(1), || (&one).read(&mut [0]).map(drop));
            assert!(late.is_err());
            let one = std::cell::Cell::new(Some(one));
            let forks = move || {
                let one = one.take().unwrap();
                let child = fork();
                if child.is_none() {
                    drop(one);
                    let (mine, _other) = UnixStream::pair().unwrap();
                    let late = greenroom::with_timeout(ms(1), || (&mine).read(&mut [0]).map(drop));
                    exit_child(i32::from(late.is_ok()));
                }
                (child.unwrap(), one)
            };
            let (child, mut one) = if from_a_greenlet {
                spawn_local(forks).join().unwrap()
            } else {
                forks()
            };
            assert_eq!(status_of(child), 0);
            let reads = spawn_local(move || one.read(&mut [0; 9]).unwrap());
            yield_now();
            other.write_all(b"abc").unwrap();
            assert_eq!(reads.join().unwrap(), 3);
            drop(kept);
        }
        assert_eq!(hub::stats().registrations, 0);
    });
}

#[test]
fn what_the_parent_has_parked_or_queued_does_not_run_in_the_child() {
    let _bound = bounded();
    let test = "what_the_parent_has_parked_or_queued_does_not_run_in_the_child";
    alone_and_well(test, || {
        let (mut told, mut tells) = std::io::pipe().unwrap();
        let mut tells_too = tells.try_clone().unwrap();
        let parked = spawn(move || {
            let _drop = OnDrop(|| tells_too.write_all(b"d").unwrap());
            sleep(ms(5));
        });
        yield_now();
        let queued = spawn(move || tells.write_all(b"q").unwrap());
        let sent = hub::current().spawn(|| ());
        let child = fork_and_run(|| {
            sleep(ms(20));
            spawn(|| sleep(ms(5))).join().unwrap();
            hub::wait_idle(None);
        });
        assert_eq!(status_of(child), 0);
        parked.join().unwrap();
        queued.join().unwrap();
        sent.join().unwrap();
        let mut text = String::new();
        told.read_to_string(&mut text).unwrap();
        assert_eq!(text, "qd", "each of them once");
    });
}

#[test]
fn a_child_of_a_hub_of_its_own_leaves_it_alone() {
    let _bound = bounded();
    let test = "a_child_of_a_hub_of_its_own_leaves_it_alone";
    alone_and_well(test, || {
        let child = greenroom::run(|| {
            let (mut one, mut other) = UnixStream::pair().unwrap();
            let reads = spawn_local(move || one.read(&mut [0; 9]).unwrap());
            yield_now();
            let child = fork();
            if child.is_some() {
                other.write_all(b"ab").unwrap();
                assert_eq!(reads.join().unwrap(), 2);
            }
            child
        });
        let Some(child) = child else {
            use_everything();
            exit_child(0);
        };
        assert_eq!(status_of(child), 0);
        use_everything();
    });
}

#[test]
fn a_child_that_raises_its_parents_bell_does_it_no_harm() {
    let _bound = bounded();
    let test = "a_child_that_raises_its_parents_bell_does_it_no_harm";
    alone_and_well(test, || {
        let (sender, handles) = std::sync::mpsc::channel();
        let (end, over) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            sender.send(hub::current()).unwrap();
            while over.try_recv().is_err() {
                sleep(ms(1));
            }
        });
        let handle = handles.recv().unwrap();
        let child = fork_and_run(|| {
            // That hub's thread does not exist here: nothing runs, and nothing rings over there.
            drop(handle.spawn(|| unreachable!("in no process")));
            sleep(ms(2));
        });
        assert_eq!(status_of(child), 0);
        assert_eq!(handle.spawn(|| 7).join().unwrap(), 7);
        end.send(()).unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_program_started_from_a_greenlet_gets_none_of_our_descriptors() {
    let _bound = bounded();
    let test = "a_program_started_from_a_greenlet_gets_none_of_our_descriptors";
    alone_and_well(test, || {
        let (one, other) = UnixStream::pair().unwrap();
        let listed = spawn(|| {
            let mut ls = std::process::Command::new("ls");
            ls.arg("-l").arg("/proc/self/fd").output().unwrap()
        });
        let listed = listed.join().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(
            !text.contains("eventpoll") && !text.contains("eventfd"),
            "{text}"
        );
        for socket in [&one, &other] {
            // SAFETY: the socket is open.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            assert!(!text.contains(&*name.to_string_lossy()), "{text}");
        }
    });
}
