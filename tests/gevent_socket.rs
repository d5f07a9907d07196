//! What gevent's own tests ask of sockets: behaviours 88 to 94 of our list, re-written in our
//! words after the test that each names, not copied. That of std's sockets which gevent's tests
//! repeat stands in `net_tcp.rs` and its neighbours.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::io::{BufRead, BufReader, Read, Write, cancel_waits};
use greenroom::net::{Shutdown, TcpListener, TcpStream};
use greenroom::os::unix::net::UnixStream;
use greenroom::{hub, with_timeout};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

const EBADF: Option<i32> = Some(libc::EBADF);

fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = local();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn byte(mut stream: impl Read) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte).map(|()| byte[0])
}

/// Kind of error, for a comparison.
#[track_caller]
fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

// 88: test__socket.py test_recv_timeout
#[test]
fn a_read_fails_when_its_timeout_is_over_and_the_next_one_works() {
    let _bound = bounded();
    let (client, server) = pair();
    client.set_read_timeout(Some(ms(50))).unwrap();
    let begin = Instant::now();
    assert_eq!(kind(byte(&client)), ErrorKind::WouldBlock);
    assert!(begin.elapsed() >= ms(50) && begin.elapsed() < ms(5000));
    (&server).write_all(b"x").unwrap();
    assert_eq!(byte(&client).unwrap(), b'x');
}

// 88: test__socket.py test_sendall_timeout. As in std a write timeout is that of a single write;
// the limit for all of it is `with_timeout`.
#[test]
fn a_limit_around_write_all_counts_in_total_though_every_write_makes_progress() {
    let _bound = bounded();
    let (client, server) = pair();
    let reader = greenroom::spawn(move || {
        let mut some = vec![0; 16 << 10];
        while (&server).read(&mut some).is_ok_and(|count| count > 0) {
            greenroom::sleep(ms(2));
        }
    });
    client.set_write_timeout(Some(LONG)).unwrap();
    let data = vec![0; 256 << 20];
    let begin = Instant::now();
    assert!(with_timeout(ms(100), || (&client).write_all(&data)).is_err());
    assert!(begin.elapsed() >= ms(100) && begin.elapsed() < ms(5000));
    reader.kill();
}

// 89: test__socket.py test_fullduplex
#[test]
fn one_greenlet_reads_while_another_writes_the_same_socket() {
    let _bound = bounded();
    const SIZE: usize = 4 << 20;
    let (client, server) = pair();
    let client = Arc::new(client);
    let echo = greenroom::spawn(move || io::copy(&mut &server, &mut &server));
    let theirs = Arc::clone(&client);
    let writer = greenroom::spawn(move || {
        let data: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
        (&*theirs).write_all(&data)?;
        theirs.shutdown(Shutdown::Write)
    });
    let mut back = Vec::with_capacity(SIZE);
    (&*client).read_to_end(&mut back).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(echo.join().unwrap().unwrap(), SIZE as u64);
    assert_eq!(back.len(), SIZE);
    assert!(
        back.iter()
            .enumerate()
            .all(|(n, byte)| *byte == (n % 251) as u8)
    );
}

// 90: test__socket_close.py. A descriptor can't be closed while somebody borrows it; what wakes
// those who wait for it is `cancel_waits`.
#[test]
fn cancelled_readers_get_ebadf_all_of_them_and_the_socket_stays_good() {
    let _bound = bounded();
    let (client, server) = pair();
    let client = Arc::new(client);
    let readers = [1, 2, 3].map(|_| {
        let client = Arc::clone(&client);
        greenroom::spawn(move || byte(&*client).map_err(|error| error.raw_os_error()))
    });
    greenroom::yield_now();
    assert_eq!(cancel_waits(&*client), 3);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Err(EBADF));
    }
    assert_eq!(cancel_waits(&*client), 0);
    (&server).write_all(b"x").unwrap();
    assert_eq!(byte(&*client).unwrap(), b'x');
}

// 90: the same for a writer and for one who accepts
#[test]
fn cancelled_writers_and_accepts_get_ebadf() {
    let _bound = bounded();
    let (client, _server) = pair();
    let (client, listener) = (Arc::new(client), Arc::new(local()));
    let theirs = Arc::clone(&client);
    let writer = greenroom::spawn(move || {
        let block = vec![0; 1 << 20];
        loop {
            if let Err(error) = (&*theirs).write_all(&block) {
                return error.raw_os_error();
            }
        }
    });
    let theirs = Arc::clone(&listener);
    let server = greenroom::spawn(move || kind_or_errno(theirs.accept()));
    greenroom::idle();
    assert_eq!(cancel_waits(&*client), 1);
    assert_eq!(cancel_waits(&*listener), 1);
    assert_eq!(writer.join().unwrap(), EBADF);
    assert_eq!(server.join().unwrap(), EBADF);
}

// 90: and for those who wait without reading
#[test]
fn cancelled_waits_for_readiness_get_ebadf() {
    let _bound = bounded();
    let (client, _server) = pair();
    let client = Arc::new(client);
    let waiters = [1, 2].map(|_| {
        let client = Arc::clone(&client);
        greenroom::spawn(move || kind_or_errno(greenroom::io::wait_readable(&*client)))
    });
    greenroom::yield_now();
    assert_eq!(cancel_waits(&*client), 2);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), EBADF);
    }
    assert_eq!(hub::stats().registrations, 0);
}

fn kind_or_errno<T>(result: io::Result<T>) -> Option<i32> {
    result.map(drop).unwrap_err().raw_os_error()
}

// 91: test__hub.py TestCloseSocketWhilePolling, test__select.py TestPossibleCrashes
#[test]
fn a_descriptor_that_is_used_again_gets_no_event_of_the_one_before() {
    let _bound = bounded();
    let mut numbers = Vec::new();
    for round in 0..100 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        numbers.push(theirs.as_raw_fd());
        let theirs = Arc::new(theirs);
        let shared = Arc::clone(&theirs);
        let reader = greenroom::spawn(move || byte(&*shared).map_err(|e| e.raw_os_error()));
        greenroom::yield_now();
        if round % 2 == 0 {
            // With an event on its way to the waiter that is woken by its end.
            (&ours).write_all(b"?").unwrap();
            cancel_waits(&*theirs);
            assert_eq!(reader.join().unwrap(), Err(EBADF));
        } else {
            assert_eq!(greenroom::killall([&reader], None), 0);
        }
        drop((ours, theirs));

        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(ms(1))).unwrap();
        assert_eq!(kind(byte(&theirs)), ErrorKind::WouldBlock);
        (&ours).write_all(b"!").unwrap();
        assert_eq!(byte(&theirs).unwrap(), b'!');
    }
    let used_again = numbers.windows(2).any(|two| two[0] == two[1]);
    assert!(used_again, "this test is about numbers that come back");
    assert_eq!((hub::stats().waiting, hub::stats().registrations), (0, 0));
}

// 91: while connecting
#[test]
fn a_connect_that_is_given_up_leaves_nothing_behind() {
    let _bound = bounded();
    let listener = local();
    // SAFETY: listen(2) takes no pointers; the listener is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, ms(100)) {
        held.push(stream);
        assert!(held.len() < 8, "the backlog is not taken seriously");
    }
    for _ in 0..20 {
        let connecting = greenroom::spawn(move || TcpStream::connect(address).map(drop));
        greenroom::yield_now();
        assert_eq!(greenroom::killall([&connecting], None), 0);
        assert!(connecting.join().unwrap_err().is_killed());
    }
    assert_eq!((hub::stats().waiting, hub::stats().registrations), (0, 0));
    let (client, server) = pair();
    (&server).write_all(b"x").unwrap();
    assert_eq!(byte(&client).unwrap(), b'x');
}

// 91: by another thread
#[test]
fn a_socket_can_be_closed_by_another_thread_after_waits_on_this_one() {
    let _bound = bounded();
    for _ in 0..20 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(with_timeout(ms(1), || byte(&theirs)).is_err());
        assert_eq!(hub::stats().registrations, 1);
        std::thread::spawn(move || drop((ours, theirs)))
            .join()
            .unwrap();
        greenroom::sleep(ms(1));
        assert_eq!(hub::stats().registrations, 0);
    }
}

// 92: test__socket.py test_shutdown_when_closed
#[test]
fn a_shutdown_of_what_is_not_connected_is_an_error() {
    let _bound = bounded();
    // SAFETY: socket(2) takes no pointers, and its result has no other owner.
    let raw = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
    let unconnected = TcpStream::from(raw);
    assert_eq!(
        kind(unconnected.shutdown(Shutdown::Both)),
        ErrorKind::NotConnected
    );

    let (client, server) = pair();
    client.shutdown(Shutdown::Both).unwrap();
    assert_eq!((&server).read(&mut [0]).unwrap(), 0);
    drop(server);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    assert_eq!(kind((&client).write_all(b"x")), ErrorKind::BrokenPipe);
}

// 92: gevent wakes a reader with EBADF then; std and the kernel say that this is the end
#[test]
fn a_shutdown_ends_the_read_of_another_greenlet() {
    let _bound = bounded();
    let (client, _server) = pair();
    let client = Arc::new(client);
    let theirs = Arc::clone(&client);
    let reader = greenroom::spawn(move || (&*theirs).read(&mut [0]));
    greenroom::yield_now();
    client.shutdown(Shutdown::Read).unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 0);
}

// 92: test__socket.py test_sendall_nonblocking and gevent #719
#[test]
fn nothing_can_be_written_and_a_nonblocking_write_is_tried_once() {
    let _bound = bounded();
    let (client, server) = pair();
    (&client).write_all(b"").unwrap();
    assert_eq!((&client).write(b"").unwrap(), 0);
    client.set_nonblocking(true).unwrap();
    let block = vec![0; 16 << 20];
    let first = (&client).write(&block).unwrap();
    assert!(first > 0 && first < block.len(), "{first}");
    let switches = hub::stats().switches;
    assert_eq!(kind((&client).write_all(&block)), ErrorKind::WouldBlock);
    assert_eq!(hub::stats().switches, switches);
    drop(server);
}

// 93: test__socket_errors.py
#[test]
fn a_connection_that_is_refused_says_so() {
    let _bound = bounded();
    let nobody = {
        let listener = local();
        listener.local_addr().unwrap()
    };
    assert_eq!(
        kind(TcpStream::connect(nobody)),
        ErrorKind::ConnectionRefused
    );
    let limited = TcpStream::connect_timeout(&nobody, LONG);
    assert_eq!(kind(limited), ErrorKind::ConnectionRefused);
}

// 93: test__socket.py test_connect_ex_nonblocking. The types connect when they are made; what
// was begun elsewhere can be finished here.
#[test]
fn a_nonblocking_connect_from_elsewhere_is_finished_by_a_wait() {
    let _bound = bounded();
    let listener = local();
    let port = listener.local_addr().unwrap().port();
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes no pointers, and its result has no other owner.
    let raw = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, flags, 0)) };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a valid sockaddr_in of that length.
    let begun = unsafe { libc::connect(raw.as_raw_fd(), (&raw const address).cast(), length) };
    let errno = io::Error::last_os_error().raw_os_error();
    assert!(begun == 0 || errno == Some(libc::EINPROGRESS), "{errno:?}");

    let stream = TcpStream::from(raw);
    greenroom::io::wait_writable(&stream).unwrap();
    assert!(stream.take_error().unwrap().is_none());
    assert_eq!(stream.peer_addr().unwrap().port(), port);
    assert_eq!(
        kind(byte(&stream)),
        ErrorKind::WouldBlock,
        "it is nonblocking still"
    );
}

// 94: test__makefile_ref.py, test__greenio.py
#[test]
fn a_connection_lasts_until_its_last_clone_is_dropped() {
    let _bound = bounded();
    let (client, server) = pair();
    let clone = client.try_clone().unwrap();
    let lines = BufReader::new(client.try_clone().unwrap());
    drop(client);
    server.set_read_timeout(Some(ms(20))).unwrap();
    assert_eq!(kind(byte(&server)), ErrorKind::WouldBlock, "it is open");
    (&clone).write_all(b"c").unwrap();
    assert_eq!(byte(&server).unwrap(), b'c');
    drop(clone);
    assert_eq!(
        kind(byte(&server)),
        ErrorKind::WouldBlock,
        "it is open still"
    );
    (&server).write_all(b"a line\n").unwrap();
    let mut lines = lines.lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a line");
    drop(lines);
    assert_eq!((&server).read(&mut [0]).unwrap(), 0);
}

// 94: a clone that is dropped does not disturb who waits on another
#[test]
fn dropping_a_clone_leaves_waiters_on_the_others_alone() {
    let _bound = bounded();
    let (client, server) = pair();
    let clone = client.try_clone().unwrap();
    let reader = greenroom::spawn(move || byte(&client));
    assert!(with_timeout(ms(5), || byte(&clone)).is_err());
    drop(clone);
    greenroom::yield_now();
    assert!(!reader.is_finished());
    (&server).write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), b'x');
}
