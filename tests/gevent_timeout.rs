//! What gevent's own tests ask of timeouts: behaviours 47 to 54 of our list, re-written in our
//! words after the test that each names, not copied. gevent's `Timeout` is an object that is
//! started and cancelled; here it is the call [`with_timeout`], which can't leak one.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::io::{Read, Write};
use greenroom::net::{TcpListener, TcpStream, UdpSocket};
use greenroom::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use greenroom::{Elapsed, Greenlet, hub, sim, thread, with_timeout};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::panic;
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(30);
/// How late a real wait may end on a loaded machine with two processors. gevent allows 110 ms;
/// where the time is virtual, nothing is late at all.
const LATE_MAX: Duration = ms(5000);

// 47: test__timeout.py Test
#[test]
fn a_timeout_ends_a_wait_can_be_set_again_and_leaves_nothing_behind() {
    let _bound = bounded();
    sim::run(47, || {
        for _ in 0..3 {
            let before = greenroom::now();
            assert!(with_timeout(ms(10), || greenroom::sleep(LONG)).is_err());
            assert_eq!(greenroom::now() - before, ms(10));
            assert_eq!(with_timeout(ms(10), || greenroom::sleep(ms(5))), Ok(()));
            assert_eq!(hub::stats().timers, 0);
        }
        greenroom::sleep(ms(100));
        greenroom::yield_now();
    });
}

// 47: a timeout of one greenlet is not another's
#[test]
fn a_timeout_ends_the_wait_of_its_own_greenlet_only() {
    let _bound = bounded();
    sim::run(47, || {
        let others = [1, 2].map(|_| greenroom::spawn(|| greenroom::sleep(ms(50))));
        assert!(with_timeout(ms(10), || greenroom::sleep(ms(50))).is_err());
        assert!(greenroom::joinall(others).iter().all(Result::is_ok));
    });
}

// 48: test__api_timeout.py test_api, a custom exception
#[test]
fn an_elapsed_time_becomes_whatever_error_the_caller_wants() {
    let _bound = bounded();
    #[derive(Debug, PartialEq)]
    struct TooSlow(Duration);
    sim::run(48, || {
        let late = with_timeout(LIMIT, || greenroom::sleep(LONG));
        let own = late.map_err(|elapsed| TooSlow(elapsed.limit()));
        assert_eq!(own, Err(TooSlow(LIMIT)));
        let as_io = || -> io::Result<()> { Ok(with_timeout(LIMIT, || greenroom::sleep(LONG))?) };
        let error = as_io().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let inner = error.get_ref().unwrap().downcast_ref::<Elapsed>();
        assert_eq!(inner.map(Elapsed::limit), Some(LIMIT));
    });
}

// 49: test__api_timeout.py test_nested_timeout, `Timeout(.., False)`. To be silent is to ignore
// the result.
#[test]
fn an_ignored_inner_timeout_swallows_only_itself() {
    let _bound = bounded();
    sim::run(49, || {
        let mut after_inner = false;
        let outer = with_timeout(ms(50), || {
            let _ = with_timeout(ms(10), || greenroom::sleep(LONG));
            after_inner = true;
            let _ = with_timeout(ms(1000), || greenroom::sleep(LONG));
            unreachable!("the outer one passes through the second");
        });
        let outer: Result<(), _> = outer;
        assert_eq!(outer.map_err(|elapsed| elapsed.limit()), Err(ms(50)));
        assert!(after_inner);
    });
}

// 50: test__api_timeout.py test_nested_timeout
#[test]
fn an_outer_timeout_that_comes_first_passes_through_the_inner_and_ends_it() {
    let _bound = bounded();
    sim::run(50, || {
        let before = greenroom::now();
        let outer = with_timeout(ms(10), || with_timeout(ms(50), || greenroom::sleep(LONG)));
        assert_eq!(outer.map_err(|elapsed| elapsed.limit()), Err(ms(10)));
        assert_eq!(greenroom::now() - before, ms(10));
        // The inner one is over, though its time has not come.
        greenroom::sleep(ms(100));
        assert_eq!(hub::stats().timers, 0);
    });
}

// 50: the same
#[test]
fn an_inner_timeout_that_comes_first_leaves_the_outer_pending() {
    let _bound = bounded();
    sim::run(50, || {
        let before = greenroom::now();
        let outer = with_timeout(ms(50), || {
            let inner = with_timeout(ms(10), || greenroom::sleep(LONG));
            assert_eq!(inner.map_err(|elapsed| elapsed.limit()), Err(ms(10)));
            greenroom::sleep(ms(20));
            assert_eq!(greenroom::now() - before, ms(30));
            greenroom::sleep(LONG);
        });
        assert_eq!(outer.map_err(|elapsed| elapsed.limit()), Err(ms(50)));
        assert_eq!(greenroom::now() - before, ms(50));
    });
}

// 50: two that expire together
#[test]
fn of_two_timeouts_for_the_same_moment_the_outer_counts() {
    let _bound = bounded();
    sim::run(50, || {
        let outer = with_timeout(ms(10), || {
            let inner = with_timeout(ms(10), || greenroom::sleep(LONG));
            unreachable!("{inner:?}");
        });
        let outer: Result<(), _> = outer;
        assert!(outer.is_err());
    });
}

// 51: test__api_timeout.py, `Timeout(None)` and `cancel()`
#[test]
fn a_timeout_beyond_the_end_of_the_clock_is_none() {
    let _bound = bounded();
    sim::run(51, || {
        assert_eq!(
            with_timeout(Duration::MAX, || greenroom::sleep(LONG * 1000)),
            Ok(())
        );
        assert_eq!(hub::stats().timers, 0);
    });
}

// 51: the body ends before the time is up
#[test]
fn a_timeout_whose_body_is_over_never_fires() {
    let _bound = bounded();
    sim::run(51, || {
        assert_eq!(with_timeout(ms(10), || 7), Ok(7));
        greenroom::sleep(ms(50));
        let body =
            panic::catch_unwind(|| with_timeout(ms(10), || panic::resume_unwind(Box::new(1))));
        let body: Result<Result<(), _>, _> = body;
        assert_eq!(body.unwrap_err().downcast_ref(), Some(&1));
        greenroom::sleep(ms(50));
    });
}

// 52: test__timeout.py test_with_timeout, test__api.py test_nested_with_timeout
#[test]
fn with_timeout_gives_the_value_the_fallback_or_the_body_s_own_error() {
    let _bound = bounded();
    sim::run(52, || {
        let within = |delay| {
            with_timeout(ms(10), move || {
                greenroom::sleep(ms(delay));
                delay.to_string().parse::<i8>()
            })
        };
        assert_eq!(within(5), Ok(Ok(5)));
        assert!(matches!(within(20), Err(elapsed) if elapsed.limit() == ms(10)));
        assert_eq!(within(20).unwrap_or(Ok(-1)), Ok(-1));
        let failing = with_timeout(ms(10), || "its own".parse::<i8>());
        assert!(matches!(failing, Ok(Err(_))));
        let nested = with_timeout(ms(20), || with_timeout(ms(10), || 3));
        assert_eq!(nested, Ok(Ok(3)));
    });
}

// 52: gevent, a body that only computes
#[test]
fn a_body_that_never_parks_is_not_interrupted_however_long_it_takes() {
    let _bound = bounded();
    let begin = Instant::now();
    let computed = with_timeout(ms(1), || while begin.elapsed() < ms(5) {});
    assert_eq!(computed, Ok(()));
}

// 53: gevent's timers have priority -1, its watchers the highest
#[test]
fn what_is_ready_when_the_time_is_up_wins() {
    let _bound = bounded();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = greenroom::spawn(move || {
        let mut byte = [0];
        with_timeout(ms(20), || theirs.read_exact(&mut byte)).map(|read| read.map(|()| byte[0]))
    });
    greenroom::yield_now();
    ours.write_all(b"x").unwrap();
    let begin = Instant::now();
    // Without parking, so that both are found by the same poll.
    while begin.elapsed() < ms(40) {}
    assert_eq!(reader.join().unwrap().unwrap().unwrap(), b'x');
}

/// Asserts that `wait` takes as long as its limit, by the virtual clock: exactly.
#[track_caller]
fn takes_exactly(limit: Duration, wait: impl FnOnce()) {
    let before = greenroom::now();
    wait();
    assert_eq!(greenroom::now() - before, limit);
}

fn sleeper() -> Greenlet<()> {
    greenroom::spawn(|| greenroom::sleep(LONG * 1000))
}

// 54: testing/timing.py AbstractGenericWaitTestCase, over all that waits on the hub alone
#[test]
fn every_wait_with_a_limit_of_its_own_ends_at_it() {
    let _bound = bounded();
    sim::run(54, || {
        let (one, other) = (sleeper(), sleeper());
        takes_exactly(LIMIT, || greenroom::sleep(LIMIT));
        takes_exactly(LIMIT, || greenroom::sleep_until(greenroom::now() + LIMIT));
        takes_exactly(LIMIT, || thread::park_timeout(LIMIT));
        takes_exactly(LIMIT, || drop(sleeper().join_timeout(LIMIT).unwrap_err()));
        takes_exactly(LIMIT, || {
            assert_eq!(
                greenroom::wait([&one, &other]).timeout(LIMIT).ready().len(),
                0
            );
        });
        takes_exactly(LIMIT, || {
            assert!(
                greenroom::iwait([&one, &other])
                    .timeout(LIMIT)
                    .next()
                    .is_none()
            );
        });
        takes_exactly(LIMIT, || assert!(!hub::wait_idle(Some(LIMIT))));
        takes_exactly(LIMIT, || {
            let late = greenroom::spawn_later(LIMIT, || ());
            late.join().unwrap();
        });
        takes_exactly(LIMIT, || {
            let shielded = greenroom::spawn(|| greenroom::shield(|| greenroom::sleep(LONG)));
            greenroom::wait([&shielded]).timeout(ms(1)).ready();
            assert_eq!(greenroom::killall([&shielded], Some(LIMIT - ms(1))), 1);
        });
    });
}

// 54: the same under with_timeout
#[test]
fn every_wait_on_the_hub_ends_at_the_limit_around_it() {
    let _bound = bounded();
    sim::run(54, || {
        let within = |wait: &dyn Fn()| {
            takes_exactly(LIMIT, || assert!(with_timeout(LIMIT, wait).is_err()));
        };
        let one = sleeper();
        within(&|| greenroom::sleep(LONG));
        within(&|| greenroom::sleep_until(greenroom::now() + LONG));
        within(&|| thread::park());
        within(&|| thread::park_timeout(LONG));
        within(&|| drop(sleeper().join()));
        within(&|| drop(sleeper().join_timeout(LONG)));
        within(&|| drop(greenroom::wait([&one]).ready()));
        within(&|| assert!(greenroom::iwait([&one]).next().is_none()));
        within(&|| greenroom::scope(|_| greenroom::sleep(LONG)));
    });
}

// 54: the one wait that says so itself
#[test]
fn wait_idle_is_false_at_the_limit_around_it_which_is_delivered_at_the_next_park() {
    let _bound = bounded();
    sim::run(54, || {
        let _other = sleeper();
        takes_exactly(LIMIT, || {
            let within = || hub::wait_idle(None);
            assert_eq!(with_timeout(LIMIT, within), Ok(false));
        });
        takes_exactly(LIMIT, || {
            let late = with_timeout(LIMIT, || {
                assert!(!hub::wait_idle(Some(LONG)));
                greenroom::yield_now();
            });
            assert!(late.is_err());
        });
    });
}

/// Asserts that `wait` takes about as long as its limit, by the real clock.
#[track_caller]
fn takes_about(limit: Duration, wait: impl FnOnce()) {
    let begin = Instant::now();
    wait();
    let took = begin.elapsed();
    assert!(took + ms(2) >= limit, "{took:?} is less than {limit:?}");
    assert!(took < limit + LATE_MAX, "{took:?}");
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Writes until it would block, to find out how that ends.
fn fill(mut stream: impl Write) -> io::Result<()> {
    let block = [0; 1 << 16];
    loop {
        stream.write_all(&block)?;
    }
}

// 54: AbstractGenericGetTestCase, over sockets with timeouts of their own
#[test]
fn reads_and_writes_end_at_the_timeout_of_their_socket() {
    let _bound = bounded();
    let (stream, _peer) = tcp_pair();
    let (unix, _unix_peer) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (datagram, _datagram_peer) = UnixDatagram::pair().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    unix.set_read_timeout(Some(LIMIT)).unwrap();
    udp.set_read_timeout(Some(LIMIT)).unwrap();
    datagram.set_read_timeout(Some(LIMIT)).unwrap();
    let late = |wait: &dyn Fn() -> io::Result<()>| {
        takes_about(LIMIT, || {
            assert_eq!(wait().unwrap_err().kind(), ErrorKind::WouldBlock)
        });
    };
    late(&|| (&stream).read(&mut [0]).map(drop));
    late(&|| stream.peek(&mut [0]).map(drop));
    late(&|| fill(&stream));
    late(&|| (&unix).read(&mut [0]).map(drop));
    late(&|| udp.recv_from(&mut [0]).map(drop));
    late(&|| udp.peek_from(&mut [0]).map(drop));
    late(&|| datagram.recv(&mut [0]).map(drop));
}

// 54: the same for with_timeout around them
#[test]
fn every_wait_for_a_descriptor_ends_at_the_limit_around_it() {
    let _bound = bounded();
    let (stream, _peer) = tcp_pair();
    let (unix, _unix_peer) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let unix_listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let (reader, _writer) = greenroom::io::pipe().unwrap();
    let (_reader, writer) = greenroom::io::pipe().unwrap();
    let within = |wait: &dyn Fn()| {
        takes_about(LIMIT, || assert!(with_timeout(LIMIT, wait).is_err()));
    };
    within(&|| drop((&stream).read(&mut [0])));
    within(&|| drop(stream.peek(&mut [0])));
    within(&|| drop(fill(&stream)));
    within(&|| drop((&unix).read(&mut [0])));
    within(&|| drop(fill(&unix)));
    within(&|| drop(udp.recv_from(&mut [0])));
    within(&|| drop(listener.accept()));
    within(&|| drop(listener.incoming().next()));
    within(&|| drop(unix_listener.accept()));
    within(&|| drop((&reader).read(&mut [0])));
    within(&|| drop(fill(&writer)));
    within(&|| drop(greenroom::io::wait_readable(&stream)));
    within(&|| drop(greenroom::io::wait_writable(&stream)));
    assert_eq!(hub::stats().waiting, 0);
}

/// A listener at which a further connect gets no answer, with what has filled its backlog.
fn silent() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: listen(2) takes no pointers; the listener is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, ms(100)) {
        held.push(stream);
        assert!(held.len() < 8, "the backlog is not taken seriously");
    }
    (listener, held)
}

// 54: connecting where nobody answers
#[test]
fn a_connect_ends_at_its_own_limit_and_at_the_one_around_it() {
    let _bound = bounded();
    let (listener, _held) = silent();
    let address = listener.local_addr().unwrap();
    takes_about(LIMIT, || {
        let late = TcpStream::connect_timeout(&address, LIMIT);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
    });
    takes_about(LIMIT, || {
        assert!(with_timeout(LIMIT, || TcpStream::connect(address)).is_err());
    });
}

// 54: real sockets, virtual time
#[test]
fn limits_of_sockets_go_by_the_virtual_clock_in_a_simulation() {
    let _bound = bounded();
    let (stream, _peer) = tcp_pair();
    const HOUR: Duration = Duration::from_secs(3600);
    sim::run(54, || {
        stream.set_read_timeout(Some(HOUR)).unwrap();
        takes_exactly(HOUR, || assert!((&stream).read(&mut [0]).is_err()));
    });
}
