//! A kill or a limit that meets poll, select or epoll_wait: what is watched is reported as ready,
//! and the next call on it fails. Where nothing can carry an error, the call goes on.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::c_int;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use greenroom::{Greenlet, spawn_local, with_timeout, with_timeout_late};
use libc::{EPOLLET, EPOLLIN, EPOLLONESHOT, EPOLLOUT, POLLERR, POLLIN, POLLOUT};
use monkey_support::{errno, green, ms, owned, pair, pipe};

/// A call that goes on for so long was not woken.
const MAX: Duration = Duration::from_secs(30);

/// What is killed once it waits: its result, which comes late.
fn killed<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    let victim = spawn_local(f);
    greenroom::sleep(ms(10));
    let begin = Instant::now();
    victim.kill();
    let late = late(victim);
    assert!(begin.elapsed() < MAX);
    late
}

fn late<T>(killed: Greenlet<T>) -> T {
    let (error, late) = killed.join_late().map(drop).unwrap_err();
    assert!(error.is_killed());
    late.expect("it was not unwound")
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn poll(fds: &mut [(c_int, i16, i16)], ms: c_int) -> c_int {
    let polled = fds.iter().map(|(fd, events, _)| libc::pollfd {
        fd: *fd,
        events: *events,
        revents: 0,
    });
    let mut polled: Vec<_> = polled.collect();
    // SAFETY: there are so many.
    let found = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, ms) };
    for (one, polled) in fds.iter_mut().zip(polled) {
        one.2 = polled.revents;
    }
    found
}

fn recv(fd: c_int) -> (isize, i32) {
    let mut byte = [0_u8; 1];
    // SAFETY: there is room for a byte.
    let got = unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) };
    (got, if got < 0 { errno() } else { 0 })
}

const CANCELED: (isize, i32) = (-1, libc::ECANCELED);
const EMPTY: (isize, i32) = (-1, libc::EAGAIN);

/// An epoll set.
struct Set(OwnedFd);

impl Set {
    fn new() -> Set {
        // SAFETY: takes no pointers.
        Set(owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))
    }

    fn add(&self, fd: c_int, events: c_int, data: u64) {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: data,
        };
        let set = self.0.as_raw_fd();
        // SAFETY: an event is passed.
        let added = unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(added, 0);
    }

    /// What is told: data and events, in the order of the data.
    fn wait(&self, ms: c_int) -> Vec<(u64, c_int)> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        let set = self.0.as_raw_fd();
        // SAFETY: there is room for eight events.
        let found = unsafe { libc::epoll_wait(set, events.as_mut_ptr(), 8, ms) };
        assert!(found >= 0, "epoll_wait fails with errno {}", errno());
        let told = events.iter().take(found as usize);
        let mut told: Vec<_> = told.map(|one| (one.u64, one.events as c_int)).collect();
        told.sort_unstable();
        told
    }
}

fn eventfd() -> OwnedFd {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

#[test]
fn a_killed_poll_finds_its_sockets_ready_and_each_fails_once() {
    let _bound = bounded();
    green(|| {
        let ((near, _far), (other, _rest)) = (connected(), connected());
        let bell = eventfd();
        let fds = [near.as_raw_fd(), other.as_raw_fd(), bell.as_raw_fd()];
        let (found, answers, said) = killed(move || {
            let mut polled = [
                (fds[0], POLLIN, 0),
                (fds[1], POLLIN, 0),
                (fds[2], POLLIN, 0),
            ];
            let found = poll(&mut polled, -1);
            let said: Vec<_> = fds[..2].iter().map(|fd| (recv(*fd), recv(*fd))).collect();
            (found, polled.map(|one| one.2), said)
        });
        assert_eq!(
            (found, answers),
            (2, [POLLIN, POLLIN, 0]),
            "but not the eventfd"
        );
        assert_eq!(said, [(CANCELED, EMPTY), (CANCELED, EMPTY)]);
    });
}

#[test]
fn who_looks_once_more_before_the_read_finds_it_ready() {
    let _bound = bounded();
    green(|| {
        let ((near, _far), bell) = (connected(), eventfd());
        let fds = [near.as_raw_fd(), bell.as_raw_fd()];
        let said = killed(move || {
            let look = |ms| {
                let mut polled = [(fds[0], POLLIN, 0), (fds[1], POLLIN, 0)];
                (poll(&mut polled, ms), polled[0].2, polled[1].2)
            };
            (look(-1), look(0), recv(fds[0]), look(0))
        });
        let ready = (1, POLLIN, 0);
        assert_eq!(said, (ready, ready, CANCELED, (0, 0, 0)));
    });
}

#[test]
fn a_limit_wakes_poll_and_select_and_is_etimedout() {
    let _bound = bounded();
    green(|| {
        let (mut near, _far) = connected();
        let fd = near.as_raw_fd();
        let (_, said) = with_timeout_late(ms(20), || {
            assert_eq!(poll(&mut [(fd, POLLIN, 0)], -1), 1);
            near.read(&mut [0]).unwrap_err().raw_os_error()
        })
        .unwrap_err();
        assert_eq!(said, Some(Some(libc::ETIMEDOUT)));
        let (_, said) = with_timeout_late(ms(20), || {
            // SAFETY: a set of zeros is an empty one.
            let mut reads: libc::fd_set = unsafe { std::mem::zeroed() };
            // SAFETY: the set is valid, and the number is small.
            unsafe { libc::FD_SET(fd, &mut reads) };
            let (null, forever) = (null_mut(), null_mut());
            // SAFETY: a set, and no others.
            let found = unsafe { libc::select(fd + 1, &mut reads, null, null, forever) };
            // SAFETY: as above.
            let told = unsafe { libc::FD_ISSET(fd, &reads) };
            (found, told, near.read(&mut [0]).unwrap_err().raw_os_error())
        })
        .unwrap_err();
        assert_eq!(said, Some((1, true, Some(libc::ETIMEDOUT))));
    });
}

#[test]
fn an_owed_error_ends_with_its_limit_and_with_the_greenlet_that_is_owed_it() {
    let _bound = bounded();
    green(|| {
        let (mut near, mut far) = connected();
        let fd = near.as_raw_fd();
        let polled = with_timeout_late(ms(20), || poll(&mut [(fd, POLLIN, 0)], -1));
        assert_eq!(polled.unwrap_err().1, Some(1));
        far.write_all(b"ab").unwrap();
        assert_eq!(near.read(&mut [0]).unwrap(), 1, "the limit is over");

        let reader = near.try_clone().unwrap();
        let (_, polled) = with_timeout_late(ms(20), || {
            // A byte is there; what is ready wins.
            assert_eq!(poll(&mut [(fd, POLLIN, 0)], 1000), 1);
            assert_eq!((&reader).read(&mut [0]).unwrap(), 1);
            let found = poll(&mut [(fd, POLLIN, 0)], -1);
            // Others are not owed anything.
            far.write_all(b"c").unwrap();
            let theirs = reader.try_clone().unwrap();
            let other = spawn_local(move || (&theirs).read(&mut [0]).unwrap());
            greenroom::shield(|| assert_eq!(other.join().unwrap(), 1));
            (found, recv(fd))
        })
        .unwrap_err();
        assert_eq!(polled, Some((1, (-1, libc::ETIMEDOUT))));
    });
}

#[test]
fn a_shield_holds_the_owed_error_off() {
    let _bound = bounded();
    green(|| {
        let (near, mut far) = connected();
        far.write_all(b"x").unwrap();
        let said = killed(move || {
            let fd = near.as_raw_fd();
            let mut byte = [0];
            assert_eq!((&near).read(&mut byte).unwrap(), 1);
            assert_eq!(poll(&mut [(fd, POLLIN, 0)], -1), 1);
            let shielded = greenroom::shield(|| recv(fd));
            (shielded, recv(fd))
        });
        assert_eq!(said, (EMPTY, CANCELED));
    });
}

#[test]
fn a_killed_epoll_wait_reports_what_was_registered_with_its_data() {
    let _bound = bounded();
    green(|| {
        let ((near, _far), (other, _rest)) = (connected(), connected());
        let bell = eventfd();
        let (signals, _sender) = UnixStream::pair().unwrap();
        let (local, _peer) = UnixStream::pair().unwrap();
        let set = Set::new();
        let both = EPOLLIN | EPOLLOUT | EPOLLET;
        // As mio registers: the waker, the pair by which signals arrive, streams, a listener.
        set.add(bell.as_raw_fd(), EPOLLIN | EPOLLET, 0);
        set.add(signals.as_raw_fd(), EPOLLIN | EPOLLET, 1);
        set.add(near.as_raw_fd(), both, 0xdead_beef_0000_0001);
        set.add(local.as_raw_fd(), both, 0xdead_beef_0000_0002);
        set.add(
            other.as_raw_fd(),
            EPOLLIN | EPOLLONESHOT,
            0xdead_beef_0000_0003,
        );
        // All edges that are there by themselves.
        let there = set.wait(0);
        assert_eq!(there.len(), 2, "{there:x?}");
        let fds = [near.as_raw_fd(), local.as_raw_fd(), other.as_raw_fd()];
        let signal_fd = signals.as_raw_fd();
        let (told, said, again) = killed(move || {
            let told = set.wait(-1);
            let said: Vec<_> = fds.iter().map(|fd| recv(*fd)).collect();
            assert_eq!(recv(signal_fd), EMPTY);
            (told, said, greenroom::shield(|| set.wait(0)))
        });
        let rearm = EPOLLIN | EPOLLOUT;
        assert_eq!(
            told,
            [
                (0xdead_beef_0000_0001, rearm),
                (0xdead_beef_0000_0002, rearm),
                (0xdead_beef_0000_0003, EPOLLIN),
            ]
        );
        assert_eq!(said, [CANCELED; 3]);
        assert_eq!(again, [], "no edge was taken from the kernel, none made");
        drop((bell, signals));
    });
}

#[test]
fn what_is_to_be_told_once_is_told_once() {
    let _bound = bounded();
    green(|| {
        let (near, mut far) = connected();
        let set = Set::new();
        set.add(near.as_raw_fd(), EPOLLIN | EPOLLONESHOT, 7);
        let told = with_timeout_late(ms(20), || set.wait(-1)).unwrap_err().1;
        assert_eq!(told, Some(vec![(7, EPOLLIN)]));
        far.write_all(b"x").unwrap();
        greenroom::sleep(ms(10));
        assert_eq!(set.wait(0), [], "it is to be armed anew");
    });
}

#[test]
fn a_connect_that_is_broken_off_has_failed() {
    let _bound = bounded();
    green(|| {
        // A listener whose queue is full does not answer.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: takes no pointers.
        unsafe { libc::listen(listener.as_raw_fd(), 0) };
        let to = listener.local_addr().unwrap();
        let _full: Vec<_> = (0..4)
            .filter_map(|_| TcpStream::connect_timeout(&to, ms(50)).ok())
            .collect();
        let begin = Instant::now();
        let limit = Duration::from_secs(60);
        let (_, said) = with_timeout_late(ms(30), || TcpStream::connect_timeout(&to, limit))
            .map(drop)
            .unwrap_err();
        let error = said.unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        assert!(begin.elapsed() < MAX);

        let (revents, said) = killed(move || {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: takes no pointers.
            let socket = owned(unsafe { libc::socket(libc::AF_INET, kind, 0) });
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
                },
                sin_zero: [0; 8],
            };
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            let fd = socket.as_raw_fd();
            // SAFETY: an address of that size.
            let begun = unsafe { libc::connect(fd, (&raw const address).cast(), size) };
            assert_eq!((begun, errno()), (-1, libc::EINPROGRESS));
            let mut polled = [(fd, POLLOUT, 0)];
            assert_eq!(poll(&mut polled, -1), 1);
            let (mut error, mut length) = (0, size_of::<c_int>() as libc::socklen_t);
            let place = (&raw mut error).cast();
            let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
            // SAFETY: there is room for the number.
            let asked = unsafe { libc::getsockopt(fd, level, name, place, &mut length) };
            assert_eq!(asked, 0);
            (polled[0].2, error)
        });
        assert_eq!(revents & (POLLOUT | POLLERR), POLLOUT | POLLERR);
        assert_eq!(said, libc::ECANCELED);
    });
}

#[test]
fn a_killed_poll_finds_a_pipe_ready_and_its_read_fails() {
    let _bound = bounded();
    green(|| {
        let [reader, writer] = pipe().map(owned);
        let said = killed(move || {
            let fd = reader.as_raw_fd();
            assert_eq!(poll(&mut [(fd, POLLIN, 0)], -1), 1);
            std::fs::File::from(reader).read(&mut [0]).unwrap_err()
        });
        assert_eq!(said.raw_os_error(), Some(libc::ECANCELED));
        drop(writer);
    });
}

/// What this OS thread has computed so far.
fn computed() -> Duration {
    // SAFETY: a time of zeros is one, and there is room for it.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn where_nothing_carries_an_error_the_wait_goes_on_without_the_processor() {
    let _bound = bounded();
    green(|| {
        let bell = eventfd();
        let set = Set::new();
        set.add(bell.as_raw_fd(), EPOLLIN | EPOLLET, 0);
        let before = computed();
        let begin = Instant::now();
        let told = with_timeout_late(ms(20), || set.wait(300)).unwrap_err().1;
        assert_eq!(told, Some(vec![]));
        assert!(begin.elapsed() >= ms(300), "it has its time");
        let fd = bell.as_raw_fd();
        let found = killed(move || poll(&mut [(fd, POLLIN, 0)], 300));
        assert_eq!(found, 0);
        assert!(begin.elapsed() >= ms(600), "it has its time");
        assert!(computed() - before < ms(200), "it spins");
    });
}

#[test]
fn an_event_that_comes_after_the_kill_is_told() {
    let _bound = bounded();
    green(|| {
        let bell = eventfd();
        let set = Set::new();
        set.add(bell.as_raw_fd(), EPOLLIN | EPOLLET, 5);
        let theirs = bell.try_clone().unwrap();
        let victim = spawn_local(move || set.wait(-1));
        greenroom::sleep(ms(5));
        victim.kill();
        greenroom::sleep(ms(20));
        assert!(!victim.is_finished());
        std::fs::File::from(theirs)
            .write_all(&1_u64.to_ne_bytes())
            .unwrap();
        assert_eq!(late(victim), [(5, EPOLLIN)]);
    });
}

#[test]
fn code_that_ignores_errors_waits_between_them() {
    let _bound = bounded();
    green(|| {
        let ((near, _far), before) = (connected(), computed());
        let tries = |each: &mut dyn FnMut()| {
            let (begin, mut tries) = (Instant::now(), 0);
            while begin.elapsed() < ms(500) {
                each();
                tries += 1;
            }
            tries
        };
        let fd = near.as_raw_fd();
        let polls = killed(move || {
            tries(&mut || {
                poll(&mut [(fd, POLLIN, 0)], -1);
                recv(fd);
            })
        });
        let ignored =
            killed(move || tries(&mut || assert_eq!(poll(&mut [(fd, POLLIN, 0)], -1), 1)));
        let reads = killed(move || tries(&mut || drop((&near).read(&mut [0]))));
        let sleeps = killed(move || tries(&mut || std::thread::sleep(ms(1000))));
        for (name, tries) in [("polls", polls), ("ignored", ignored), ("reads", reads)] {
            assert!((2..100).contains(&tries), "{name}: {tries}");
        }
        assert!((2..100).contains(&sleeps), "sleeps: {sleeps}");
        assert!(computed() - before < ms(1000), "it spins");
    });
}

#[test]
fn the_output_of_a_child_is_waited_for_without_a_panic() {
    let _bound = bounded();
    green(|| {
        let output = |script: &str| Command::new("sh").args(["-c", script]).output();
        let begin = Instant::now();
        // The child closes one of its pipes first: then std blocks for the rest of the other.
        for script in ["sleep 0.3; echo x", "exec 2>&-; sleep 0.3; echo x"] {
            let said = with_timeout_late(ms(20), || output(script).unwrap().stdout);
            assert_eq!(said.unwrap_err().1.unwrap(), b"x\n");
            let said = killed(move || output(script).unwrap().stdout);
            assert_eq!(said, b"x\n");
        }
        // Only one of the two is a pipe.
        let output = || {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 0.3; echo x"]);
            command.stderr(Stdio::inherit());
            command
        };
        let said = with_timeout_late(ms(20), || output().output().unwrap().stdout);
        assert_eq!(said.unwrap_err().1.unwrap(), b"x\n");
        let said = killed(move || {
            let child = output().stdout(Stdio::piped()).spawn().unwrap();
            child.wait_with_output().unwrap().stdout
        });
        assert_eq!(said, b"x\n");
        assert!(begin.elapsed() >= ms(1200));
        let ended = killed(|| Command::new("sleep").arg("5").spawn().unwrap().wait());
        assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    });
}

#[test]
fn a_killed_greenlet_that_starts_a_child_in_vain_does_not_panic() {
    let _bound = bounded();
    use std::os::unix::process::CommandExt;
    green(|| {
        let said = killed(|| {
            std::thread::sleep(ms(1000));
            let mut command = Command::new("/no/such/program");
            // SAFETY: does nothing between fork and exec.
            unsafe { command.pre_exec(|| Ok(())) };
            command.spawn().map(drop)
        });
        assert_eq!(said.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_ready_descriptor_wins_over_the_limit() {
    let _bound = bounded();
    green(|| {
        let [near, far] = pair(libc::SOCK_STREAM).map(owned);
        let (near, mut far) = (UnixStream::from(near), UnixStream::from(far));
        far.write_all(b"x").unwrap();
        let fd = near.as_raw_fd();
        let found = with_timeout(ms(10), || {
            // Computes for longer than the limit.
            let begin = Instant::now();
            while begin.elapsed() < ms(20) {}
            (poll(&mut [(fd, POLLIN, 0)], -1), recv(fd))
        });
        assert_eq!(found, Ok((1, (1, 0))));
    });
}
