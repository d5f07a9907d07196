//! UDP: what std's own tests of `std::net` (library/std/src/net/udp/tests.rs) ask, in our words.
mod net_support;

use greenroom::net;
use greenroom::thread;

use net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use net_support::{bounded, kind, kind_after};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);

fn local() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

fn addr(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// Two sockets connected to each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let (a, b) = (local(), local());
    a.connect(addr(&b)).unwrap();
    b.connect(addr(&a)).unwrap();
    (a, b)
}

#[test]
fn bind_to_an_address_of_nobody_fails() {
    let _bound = bounded();
    assert_eq!(
        kind(UdpSocket::bind("1.1.1.1:9999")),
        ErrorKind::AddrNotAvailable
    );
}

#[test]
fn a_port_is_taken_while_somebody_is_bound_to_it() {
    let _bound = bounded();
    let socket = local();
    assert_eq!(kind(UdpSocket::bind(addr(&socket))), ErrorKind::AddrInUse);
}

#[test]
fn a_datagram_says_who_sent_it() {
    let _bound = bounded();
    let (a, b) = (local(), local());
    let to = addr(&b);
    let sender = thread::spawn(move || {
        thread::sleep(SHORT);
        assert_eq!(a.send_to(&[99], to).unwrap(), 1);
        addr(&a)
    });
    let mut buf = [0; 4];
    let (count, from) = b.recv_from(&mut buf).unwrap();
    assert_eq!((count, buf[0]), (1, 99));
    assert_eq!(from, sender.join().unwrap());
}

#[test]
fn version_six_works_the_same() {
    let _bound = bounded();
    let Ok(a) = UdpSocket::bind("[::1]:0") else {
        return;
    };
    a.send_to(b"six", addr(&a)).unwrap();
    let mut buf = [0; 4];
    assert_eq!(a.recv_from(&mut buf).unwrap(), (3, addr(&a)));
}

#[test]
fn a_datagram_is_received_whole_or_cut_off() {
    let _bound = bounded();
    let (a, b) = pair();
    a.send(b"four").unwrap();
    a.send(b"five!").unwrap();
    let mut buf = [0; 2];
    assert_eq!(b.recv(&mut buf).unwrap(), 2);
    assert_eq!(&buf, b"fo");
    let mut buf = [0; 9];
    assert_eq!(b.recv(&mut buf).unwrap(), 5);
}

#[test]
fn an_empty_datagram_is_one() {
    let _bound = bounded();
    let (a, b) = pair();
    assert_eq!(a.send(&[]).unwrap(), 0);
    assert_eq!(b.recv(&mut [0; 4]).unwrap(), 0);
    assert_eq!(a.send_to(&[], addr(&b)).unwrap(), 0);
    assert_eq!(b.recv_from(&mut [0; 4]).unwrap(), (0, addr(&a)));
}

#[test]
fn a_connected_socket_hears_nobody_else() {
    let _bound = bounded();
    let (a, b) = pair();
    let stranger = local();
    assert_eq!(a.peer_addr().unwrap(), addr(&b));
    stranger.send_to(b"stranger", addr(&b)).unwrap();
    a.send(b"friend").unwrap();
    let mut buf = [0; 16];
    let count = b.recv(&mut buf).unwrap();
    assert_eq!(&buf[..count], b"friend");
}

#[test]
fn without_a_peer_there_is_none() {
    let _bound = bounded();
    let socket = local();
    assert_eq!(kind(socket.peer_addr()), ErrorKind::NotConnected);
    assert!(socket.send(b"x").is_err());
    let none: &[SocketAddr] = &[];
    assert_eq!(kind(socket.send_to(b"x", none)), ErrorKind::InvalidInput);
    assert_eq!(kind(socket.connect(none)), ErrorKind::InvalidInput);
}

#[test]
fn a_refusal_is_reported_by_the_next_call() {
    let _bound = bounded();
    let socket = local();
    socket.connect((Ipv4Addr::LOCALHOST, 1)).unwrap();
    socket.send(b"anybody?").unwrap();
    assert_eq!(kind(socket.recv(&mut [0])), ErrorKind::ConnectionRefused);
    assert!(socket.take_error().unwrap().is_none());
}

#[test]
fn peek_leaves_the_datagram_in_place() {
    let _bound = bounded();
    let (a, b) = pair();
    a.send(b"again").unwrap();
    let mut buf = [0; 8];
    assert_eq!(b.peek(&mut buf).unwrap(), 5);
    assert_eq!(b.peek_from(&mut buf).unwrap(), (5, addr(&a)));
    assert_eq!(b.recv(&mut buf).unwrap(), 5);
    b.set_nonblocking(true).unwrap();
    assert_eq!(kind(b.peek(&mut buf)), ErrorKind::WouldBlock);
    assert_eq!(kind(b.peek_from(&mut buf)), ErrorKind::WouldBlock);
}

#[test]
fn a_clone_is_the_same_socket() {
    let _bound = bounded();
    let (a, b) = (local(), local());
    let (to, clone) = (addr(&b), a.try_clone().unwrap());
    assert_eq!(addr(&clone), addr(&a));
    let sender = thread::spawn(move || {
        clone.send_to(&[1], to).unwrap();
    });
    a.send_to(&[2], to).unwrap();
    sender.join().unwrap();
    let mut seen: Vec<u8> = (0..2)
        .map(|_| {
            let mut buf = [0];
            b.recv(&mut buf).unwrap();
            buf[0]
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
}

#[test]
fn timeouts_are_read_back_and_may_not_be_zero() {
    let _bound = bounded();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert_eq!(socket.read_timeout().unwrap(), None);
    assert_eq!(socket.write_timeout().unwrap(), None);
    let second = Some(Duration::from_secs(1));
    socket.set_write_timeout(second).unwrap();
    assert_eq!(
        (
            socket.read_timeout().unwrap(),
            socket.write_timeout().unwrap()
        ),
        (None, second)
    );
    assert_eq!(
        kind(socket.set_read_timeout(Some(Duration::ZERO))),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(socket.set_write_timeout(Some(Duration::ZERO))),
        ErrorKind::InvalidInput
    );
    socket.set_write_timeout(None).unwrap();
    assert_eq!(socket.write_timeout().unwrap(), None);
}

#[test]
fn a_receive_that_waited_too_long_would_block() {
    let _bound = bounded();
    let (a, b) = pair();
    b.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        kind_after(SHORT, || b.recv(&mut [0])),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        kind_after(SHORT, || b.recv_from(&mut [0])),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        kind_after(SHORT, || b.peek(&mut [0])),
        ErrorKind::WouldBlock
    );
    a.send(&[1]).unwrap();
    assert_eq!(b.recv(&mut [0]).unwrap(), 1);
}

#[test]
fn nothing_waits_in_nonblocking_mode() {
    let _bound = bounded();
    let socket = local();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(kind(socket.recv(&mut [0])), ErrorKind::WouldBlock);
    assert_eq!(kind(socket.recv_from(&mut [0])), ErrorKind::WouldBlock);
}

#[test]
fn options_are_read_back() {
    let _bound = bounded();
    let socket = local();
    for on in [true, false] {
        socket.set_broadcast(on).unwrap();
        assert_eq!(socket.broadcast().unwrap(), on);
        socket.set_multicast_loop_v4(on).unwrap();
        assert_eq!(socket.multicast_loop_v4().unwrap(), on);
    }
    socket.set_multicast_ttl_v4(5).unwrap();
    assert_eq!(socket.multicast_ttl_v4().unwrap(), 5);
    socket.set_ttl(77).unwrap();
    assert_eq!(socket.ttl().unwrap(), 77);
    assert!(socket.take_error().unwrap().is_none());
    let Ok(six) = UdpSocket::bind("[::1]:0") else {
        return;
    };
    for on in [true, false] {
        six.set_multicast_loop_v6(on).unwrap();
        assert_eq!(six.multicast_loop_v6().unwrap(), on);
    }
}

#[test]
fn a_group_is_joined_and_left_once() {
    let _bound = bounded();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let (group, interface) = (Ipv4Addr::new(239, 1, 2, 3), Ipv4Addr::LOCALHOST);
    socket.join_multicast_v4(&group, &interface).unwrap();
    assert_eq!(
        kind(socket.join_multicast_v4(&group, &interface)),
        ErrorKind::AddrInUse
    );
    socket.leave_multicast_v4(&group, &interface).unwrap();
    let again = socket.leave_multicast_v4(&group, &interface);
    assert_eq!(kind(again), ErrorKind::AddrNotAvailable);
    let nobody = Ipv4Addr::new(127, 0, 0, 2);
    assert!(
        socket.join_multicast_v4(&nobody, &interface).is_err(),
        "not a group"
    );

    let Ok(six) = UdpSocket::bind("[::]:0") else {
        return;
    };
    let group: Ipv6Addr = "ff02::1:2:3".parse().unwrap();
    const LOOPBACK: u32 = 1;
    six.join_multicast_v6(&group, LOOPBACK).unwrap();
    six.leave_multicast_v6(&group, LOOPBACK).unwrap();
    assert!(six.leave_multicast_v6(&group, LOOPBACK).is_err());
}

#[test]
fn debug_shows_what_std_shows() {
    let _bound = bounded();
    let socket = local();
    let wanted = format!(
        "UdpSocket {{ addr: {}, fd: {} }}",
        addr(&socket),
        socket.as_raw_fd()
    );
    assert_eq!(format!("{socket:?}"), wanted);
}

#[test]
fn to_std_and_back_keeps_mode_and_timeouts() {
    let _bound = bounded();
    for mode in [false, true] {
        let socket = local();
        let wait = Some(Duration::from_secs(1));
        socket.set_nonblocking(mode).unwrap();
        socket.set_read_timeout(wait).unwrap();
        let theirs = std::net::UdpSocket::from(socket);
        assert_eq!(theirs.read_timeout().unwrap(), wait);
        let begin = Instant::now();
        theirs.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(kind(theirs.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(begin.elapsed() < SHORT, mode);
        let ours = UdpSocket::from(theirs);
        assert!(ours.read_timeout().unwrap().unwrap() < Duration::from_secs(1));
        let begin = Instant::now();
        assert_eq!(kind(ours.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(begin.elapsed() < SHORT, mode);
    }
}

#[test]
fn a_raw_descriptor_is_the_same_socket() {
    let _bound = bounded();
    let socket = local();
    let before = addr(&socket);
    // SAFETY: the number comes from `into_raw_fd`, so it is open and ours.
    let again = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
    assert_eq!(addr(&again), before);
}

#[test]
fn the_type_is_as_free_as_that_of_std() {
    let _bound = bounded();
    fn free<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    free::<UdpSocket>();
}
