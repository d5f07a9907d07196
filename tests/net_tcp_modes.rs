//! TCP: options, timeouts, modes, and the ways to and from std and bare descriptors. In part what
//! std's own tests of `std::net` (library/std/src/net/tcp/tests.rs) ask, in our words.
mod net_support;

use greenroom::net;
use greenroom::thread;

use net::{Ipv4Addr, TcpListener, TcpStream};
use net_support::{bounded, kind, kind_after};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);

fn local() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = local();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn byte(mut stream: &TcpStream) -> u8 {
    let mut buf = [0];
    stream.read_exact(&mut buf).unwrap();
    buf[0]
}

#[test]
fn timeouts_are_read_back_and_may_not_be_zero() {
    let _bound = bounded();
    let (stream, _server) = pair();
    assert_eq!(stream.read_timeout().unwrap(), None);
    assert_eq!(stream.write_timeout().unwrap(), None);
    let second = Some(Duration::from_secs(1));
    stream.set_read_timeout(second).unwrap();
    assert_eq!(
        (
            stream.read_timeout().unwrap(),
            stream.write_timeout().unwrap()
        ),
        (second, None)
    );
    stream.set_write_timeout(second).unwrap();
    assert_eq!(
        kind(stream.set_read_timeout(Some(Duration::ZERO))),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(stream.set_write_timeout(Some(Duration::ZERO))),
        ErrorKind::InvalidInput
    );
    assert_eq!(stream.write_timeout().unwrap(), second);
    stream.set_read_timeout(None).unwrap();
    stream.set_write_timeout(None).unwrap();
    assert_eq!(
        (
            stream.read_timeout().unwrap(),
            stream.write_timeout().unwrap()
        ),
        (None, None)
    );
}

#[test]
fn a_read_that_waited_too_long_would_block() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    client.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        kind_after(SHORT, || client.read(&mut [0])),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        kind_after(SHORT, || client.peek(&mut [0])),
        ErrorKind::WouldBlock
    );
    server.write_all(&[4]).unwrap();
    assert_eq!(byte(&client), 4);
    assert_eq!(
        kind_after(SHORT, || client.read(&mut [0])),
        ErrorKind::WouldBlock
    );
}

#[test]
fn a_write_that_waited_too_long_would_block() {
    let _bound = bounded();
    let (mut client, _server) = pair();
    client.set_write_timeout(Some(SHORT)).unwrap();
    let error = loop {
        if let Err(error) = client.write(&[0; 1 << 16]) {
            break error.kind();
        }
    };
    assert_eq!(error, ErrorKind::WouldBlock);
}

#[test]
fn a_clone_has_the_same_timeouts() {
    let _bound = bounded();
    let (stream, _server) = pair();
    let clone = stream.try_clone().unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        clone.read_timeout().unwrap(),
        stream.read_timeout().unwrap()
    );
    assert!(clone.read_timeout().unwrap().is_some());
}

#[test]
fn nothing_waits_in_nonblocking_mode() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    server.set_nonblocking(true).unwrap();
    assert_eq!(kind(server.read(&mut [0])), ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    client.write_all(&[6]).unwrap();
    assert_eq!(byte(&server), 6);

    let listener = local();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
    assert_eq!(
        kind(listener.incoming().next().unwrap()),
        ErrorKind::WouldBlock
    );
}

/// As in the kernel, an operation decides once whether it may wait.
#[test]
fn a_read_that_waits_goes_on_when_a_clone_becomes_nonblocking() {
    let _bound = bounded();
    let (mut client, server) = pair();
    let clone = client.try_clone().unwrap();
    let other = client.try_clone().unwrap();
    let first = greenroom::spawn(move || client.read(&mut [0; 1]).map_err(|e| e.kind()));
    let second = greenroom::spawn(move || (&other).read(&mut [0; 1]).map_err(|e| e.kind()));
    greenroom::yield_now();
    clone.set_nonblocking(true).unwrap();
    // One byte: the second reader is woken as well, and finds nothing.
    (&server).write_all(&[1]).unwrap();
    assert_eq!(first.join().unwrap(), Ok(1));
    greenroom::sleep(SHORT);
    (&server).write_all(&[2]).unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    assert_eq!(kind((&clone).read(&mut [0; 1])), ErrorKind::WouldBlock);
}

#[test]
fn what_a_nonblocking_listener_accepts_is_not_nonblocking() {
    let _bound = bounded();
    let listener = local();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (server, _) = loop {
        match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(SHORT),
            other => break other.unwrap(),
        }
    };
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        client.write_all(&[1]).unwrap();
    });
    assert_eq!(byte(&server), 1);
    writer.join().unwrap();
}

#[test]
fn options_are_read_back() {
    let _bound = bounded();
    let (stream, _server) = pair();
    for on in [true, false] {
        stream.set_nodelay(on).unwrap();
        assert_eq!(stream.nodelay().unwrap(), on);
    }
    stream.set_ttl(100).unwrap();
    assert_eq!(stream.ttl().unwrap(), 100);
    let listener = local();
    listener.set_ttl(101).unwrap();
    assert_eq!(listener.ttl().unwrap(), 101);
    assert!(stream.take_error().unwrap().is_none());
    assert!(listener.take_error().unwrap().is_none());
}

#[test]
#[allow(deprecated)]
fn only_v6_comes_too_late_for_a_bound_listener() {
    let _bound = bounded();
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return;
    };
    let before = listener.only_v6().unwrap();
    assert_eq!(kind(listener.set_only_v6(!before)), ErrorKind::InvalidInput);
}

#[test]
fn debug_shows_what_std_shows() {
    let _bound = bounded();
    let (client, _server) = pair();
    let listener = local();
    let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let fd = client.as_raw_fd();
    let wanted = format!("TcpStream {{ addr: {here}, peer: {there}, fd: {fd} }}");
    assert_eq!(format!("{client:?}"), wanted);
    let (addr, fd) = (listener.local_addr().unwrap(), listener.as_raw_fd());
    assert_eq!(
        format!("{listener:?}"),
        format!("TcpListener {{ addr: {addr}, fd: {fd} }}")
    );
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    // SAFETY: F_GETFL takes no pointer; the descriptor is borrowed, so open.
    let flags = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn to_std_and_back_keeps_the_blocking_mode() {
    let _bound = bounded();
    for mode in [false, true] {
        let (client, _server) = pair();
        client.set_nonblocking(mode).unwrap();
        let theirs = std::net::TcpStream::from(client);
        assert_eq!(is_nonblocking(&theirs), mode);
        let mut ours = TcpStream::from(theirs);
        ours.set_read_timeout(Some(SHORT)).unwrap();
        let begin = Instant::now();
        assert_eq!(kind(ours.read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(begin.elapsed() < SHORT, mode);
        assert_eq!(is_nonblocking(&OwnedFd::from(ours)), mode);
    }
}

#[test]
fn to_std_and_back_keeps_the_timeouts() {
    let _bound = bounded();
    let (client, _server) = pair();
    let (read, write) = (Some(Duration::from_secs(2)), Some(Duration::from_secs(3)));
    client.set_read_timeout(read).unwrap();
    client.set_write_timeout(write).unwrap();
    let theirs = std::net::TcpStream::from(client);
    assert_eq!(
        (
            theirs.read_timeout().unwrap(),
            theirs.write_timeout().unwrap()
        ),
        (read, write)
    );
    theirs.set_write_timeout(None).unwrap();
    let ours = TcpStream::from(theirs);
    assert_eq!(
        (ours.read_timeout().unwrap(), ours.write_timeout().unwrap()),
        (read, None)
    );
    ours.set_read_timeout(None).unwrap();
    assert_eq!(
        std::net::TcpStream::from(ours).read_timeout().unwrap(),
        None
    );
}

#[test]
fn a_listener_goes_to_std_and_back() {
    let _bound = bounded();
    let theirs = std::net::TcpListener::from(local());
    assert!(!is_nonblocking(&theirs));
    let addr = theirs.local_addr().unwrap();
    let ours = TcpListener::from(theirs);
    let client = TcpStream::connect(addr).unwrap();
    assert_eq!(ours.accept().unwrap().1, client.local_addr().unwrap());
}

#[test]
fn a_raw_descriptor_is_the_same_connection() {
    let _bound = bounded();
    let (client, server) = pair();
    let raw = client.into_raw_fd();
    // SAFETY: the number comes from `into_raw_fd`, so it is open and ours.
    let mut again = unsafe { TcpStream::from_raw_fd(raw) };
    assert_eq!(again.as_raw_fd(), raw);
    again.write_all(&[1]).unwrap();
    assert_eq!(byte(&server), 1);
}

#[test]
fn the_types_are_as_free_as_those_of_std() {
    let _bound = bounded();
    fn free<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    free::<TcpStream>();
    free::<TcpListener>();
    free::<net::Incoming<'static>>();
}
