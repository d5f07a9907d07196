//! The simulated network: addresses, names, streams, datagrams, faults.
mod sim_support;

use greenroom::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use greenroom::sim::{self, Faults};
use greenroom::{sleep, spawn, with_timeout};
use sim_support::bounded;
use sim_support::{assert_nothing_is_left, ms};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::Duration;

fn simulated(f: impl FnOnce()) {
    sim::run(1, || {
        f();
        assert_nothing_is_left();
    });
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("it should have failed").kind()
}

#[test]
fn both_ends_and_accept_agree_about_addresses() {
    let _bound = bounded();
    simulated(|| {
        let server: SocketAddr = "203.0.113.9:443".parse().unwrap();
        let listener = TcpListener::bind(server).unwrap();
        assert_eq!(listener.local_addr().unwrap(), server);
        let near = TcpStream::connect(server).unwrap();
        let (far, from) = listener.accept().unwrap();
        assert_eq!(near.peer_addr().unwrap(), server);
        assert_eq!(far.local_addr().unwrap(), server);
        assert_eq!(near.local_addr().unwrap(), from);
        assert_eq!(far.peer_addr().unwrap(), from);
        let clone = near.try_clone().unwrap();
        assert_eq!(clone.local_addr().unwrap(), from);
        assert!(format!("{near:?}").contains("203.0.113.9:443"));
    });
}

#[test]
fn an_address_has_one_owner_at_a_time() {
    let _bound = bounded();
    simulated(|| {
        let first = TcpListener::bind("10.0.0.1:80").unwrap();
        assert_eq!(kind(TcpListener::bind("10.0.0.1:80")), ErrorKind::AddrInUse);
        let clone = first.try_clone().unwrap();
        drop(first);
        assert_eq!(kind(TcpListener::bind("10.0.0.1:80")), ErrorKind::AddrInUse);
        drop(clone);
        assert_eq!(
            kind(TcpStream::connect("10.0.0.1:80")),
            ErrorKind::ConnectionRefused
        );
        TcpListener::bind("10.0.0.1:80").unwrap();
    });
}

#[test]
fn two_simulations_and_the_real_network_know_nothing_of_each_other() {
    let _bound = bounded();
    let real = greenroom::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = real.local_addr().unwrap();
    sim::run(1, || {
        assert_eq!(
            kind(TcpStream::connect(address)),
            ErrorKind::ConnectionRefused
        );
        let _mine = TcpListener::bind(address).unwrap();
        sim::run(2, || {
            assert_eq!(
                kind(TcpStream::connect(address)),
                ErrorKind::ConnectionRefused
            );
        });
    });
}

#[test]
fn names_are_those_of_the_table() {
    let _bound = bounded();
    simulated(|| {
        sim::name("db.example", [10, 0, 0, 1].into());
        sim::name("db.example", [10, 0, 0, 2].into());
        let found: Vec<_> = "db.example:1".to_socket_addrs().unwrap().collect();
        assert_eq!(found.len(), 2);
        assert!(
            "localhost:1"
                .to_socket_addrs()
                .unwrap()
                .all(|addr| addr.ip().is_loopback())
        );
        let error = "www.example.org:80".to_socket_addrs().unwrap_err();
        assert!(error.to_string().contains("Name or service not known"));
        // The first address refuses, the second is tried.
        let listener = TcpListener::bind("10.0.0.2:5432").unwrap();
        let stream = TcpStream::connect("db.example:5432").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    });
}

#[test]
fn an_unknown_name_fails_as_a_real_one_does() {
    let _bound = bounded();
    let real = "no-such-host.invalid:1".to_socket_addrs().unwrap_err();
    sim::run(1, || {
        let simulated = "no-such-host.invalid:1".to_socket_addrs().unwrap_err();
        assert_eq!(simulated.kind(), real.kind());
    });
}

#[test]
fn bytes_and_ends_of_streams_arrive() {
    let _bound = bounded();
    simulated(|| {
        let (mut near, mut far) = pair();
        near.write_all(b"hello").unwrap();
        let mut peeked = [0; 2];
        assert_eq!(far.peek(&mut peeked).unwrap(), 2);
        near.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        far.write_all(b"bye").unwrap();
        drop(far);
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hellobye");
    });
}

#[test]
fn a_writer_waits_for_a_slow_reader() {
    let _bound = bounded();
    simulated(|| {
        let (mut near, mut far) = pair();
        let writer = spawn(move || near.write_all(&[7; 1 << 20]));
        sleep(ms(1));
        assert!(!writer.is_finished(), "the buffer has an end");
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all, [7; 1 << 20]);
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn options_are_remembered_and_shared_by_clones() {
    let _bound = bounded();
    simulated(|| {
        let (near, far) = pair();
        assert!(!near.nodelay().unwrap());
        near.set_nodelay(true).unwrap();
        near.try_clone().unwrap().set_ttl(3).unwrap();
        assert_eq!((near.nodelay().unwrap(), near.ttl().unwrap()), (true, 3));
        assert_eq!((far.nodelay().unwrap(), far.ttl().unwrap()), (false, 64));
        let socket = UdpSocket::bind("10.0.0.1:1").unwrap();
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        assert!(near.take_error().unwrap().is_none());
    });
}

#[test]
fn nonblocking_mode_and_timeouts_are_the_users() {
    let _bound = bounded();
    simulated(|| {
        let (near, _far) = pair();
        near.set_nonblocking(true).unwrap();
        assert_eq!(kind((&near).read(&mut [0])), ErrorKind::WouldBlock);
        near.set_nonblocking(false).unwrap();
        near.set_read_timeout(Some(ms(3_600_000))).unwrap();
        let begin = greenroom::now();
        assert_eq!(kind((&near).read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(greenroom::now() - begin, ms(3_600_000));
        let listener = TcpListener::bind("10.0.0.1:1").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_listener_that_goes_resets_who_was_not_accepted() {
    let _bound = bounded();
    simulated(|| {
        let listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let mut near = TcpStream::connect("10.0.0.1:80").unwrap();
        let reader = spawn(move || kind(near.read(&mut [0])));
        sleep(ms(1));
        drop(listener);
        assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_full_backlog_gives_no_answer_until_somebody_accepts() {
    let _bound = bounded();
    simulated(|| {
        let listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting: Vec<_> = (0..128)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let begin = greenroom::now();
        let late = TcpStream::connect_timeout(&address, ms(100));
        assert_eq!(kind(late), ErrorKind::TimedOut);
        assert_eq!(greenroom::now() - begin, ms(100));
        let patient = spawn(move || TcpStream::connect(address));
        sleep(ms(10));
        listener.accept().unwrap();
        patient.join().unwrap().unwrap();
        drop(waiting);
    });
}

#[test]
fn datagrams_keep_their_borders_and_their_senders() {
    let _bound = bounded();
    simulated(|| {
        let here = UdpSocket::bind("10.0.0.1:53").unwrap();
        let there = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = there.local_addr().unwrap().port();
        here.send_to(b"one", ("10.0.0.2", port)).unwrap();
        here.send_to(b"three", ("10.0.0.2", port)).unwrap();
        let mut buf = [0; 4];
        let from = here.local_addr().unwrap();
        assert_eq!(there.peek_from(&mut buf).unwrap(), (3, from));
        assert_eq!(there.recv_from(&mut buf).unwrap(), (3, from));
        assert_eq!(there.recv_from(&mut buf).unwrap(), (4, from), "cut off");
        let waiter = spawn(move || {
            let (count, from) = here.recv_from(&mut [0; 8]).unwrap();
            (count, from.ip().to_string())
        });
        sleep(ms(1));
        there.send_to(b"back", from).unwrap();
        assert_eq!(waiter.join().unwrap(), (4, "10.0.0.1".into()));
    });
}

#[test]
fn a_connected_datagram_socket_hears_its_peer_only() {
    let _bound = bounded();
    simulated(|| {
        let a = UdpSocket::bind("10.0.0.1:1").unwrap();
        let b = UdpSocket::bind("10.0.0.2:1").unwrap();
        let c = UdpSocket::bind("10.0.0.3:1").unwrap();
        assert_eq!(kind(a.peer_addr()), ErrorKind::NotConnected);
        a.connect("10.0.0.2:1").unwrap();
        assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
        c.send_to(b"no", "10.0.0.1:1").unwrap();
        b.send_to(b"yes", "10.0.0.1:1").unwrap();
        let mut buf = [0; 8];
        assert_eq!(a.recv(&mut buf).unwrap(), 3);
        drop(b);
        assert_eq!(a.send(b"anybody?").unwrap(), 8);
        assert_eq!(kind(a.recv(&mut buf)), ErrorKind::ConnectionRefused);
        assert_eq!(c.send_to(b"nobody", "10.9.9.9:9").unwrap(), 6);
    });
}

#[test]
fn wait_readable_sees_simulated_descriptors() {
    let _bound = bounded();
    simulated(|| {
        let listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let socket = UdpSocket::bind("10.0.0.1:80").unwrap();
        let waiters = spawn(move || {
            greenroom::io::wait_readable(&listener).unwrap();
            greenroom::io::wait_readable(&socket).unwrap();
            (listener.accept().unwrap(), socket.recv(&mut [0]).unwrap()).1
        });
        sleep(ms(1));
        let _stream = TcpStream::connect("10.0.0.1:80").unwrap();
        sleep(ms(1));
        let sender = UdpSocket::bind("10.0.0.2:80").unwrap();
        sender.send_to(b"x", "10.0.0.1:80").unwrap();
        assert_eq!(waiters.join().unwrap(), 1);
    });
}

#[test]
fn a_reset_hits_both_ends_and_stays() {
    let _bound = bounded();
    simulated(|| {
        let (mut near, mut far) = pair();
        far.write_all(b"lost").unwrap();
        let waiter = spawn({
            let mut far = far.try_clone().unwrap();
            move || kind(far.read(&mut [0]))
        });
        sleep(ms(1));
        sim::faults(Faults::none().reset(1000));
        assert_eq!(kind(near.write(b"x")), ErrorKind::ConnectionReset);
        sim::faults(Faults::none());
        assert_eq!(waiter.join().unwrap(), ErrorKind::ConnectionReset);
        assert_eq!(kind(near.read(&mut [0; 9])), ErrorKind::ConnectionReset);
        assert_eq!(kind(near.write(b"x")), ErrorKind::BrokenPipe);
        assert_eq!(kind(far.write(b"x")), ErrorKind::BrokenPipe);
    });
}

#[test]
fn connects_can_be_refused_and_late() {
    let _bound = bounded();
    simulated(|| {
        let _listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let address = "10.0.0.1:80".parse().unwrap();
        sim::faults(Faults::none().refuse(1000));
        assert_eq!(
            kind(TcpStream::connect(address)),
            ErrorKind::ConnectionRefused
        );
        sim::faults(Faults::none().delay(1000, Duration::from_secs(1000)));
        let begin = greenroom::now();
        TcpStream::connect(address).unwrap();
        assert!(greenroom::now() > begin);
        let late = TcpStream::connect_timeout(&address, ms(1));
        assert_eq!(kind(late), ErrorKind::TimedOut);
        assert!(with_timeout(ms(1), || TcpStream::connect(address)).is_err());
    });
}

#[test]
fn an_accept_without_descriptors_pauses_and_loses_no_connection() {
    let _bound = bounded();
    simulated(|| {
        let listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let near = TcpStream::connect("10.0.0.1:80").unwrap();
        sim::faults(Faults::none().exhaust(1000));
        let begin = greenroom::now();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
        assert_eq!(greenroom::now() - begin, ms(10));
        sim::faults(Faults::none());
        assert_eq!(listener.accept().unwrap().1, near.local_addr().unwrap());
    });
}

#[test]
fn datagrams_can_get_lost() {
    let _bound = bounded();
    simulated(|| {
        let here = UdpSocket::bind("10.0.0.1:1").unwrap();
        let there = UdpSocket::bind("10.0.0.2:1").unwrap();
        there.set_nonblocking(true).unwrap();
        sim::faults(Faults::none().lose(500));
        for n in 0..100 {
            assert_eq!(here.send_to(&[n], "10.0.0.2:1").unwrap(), 1);
        }
        let mut arrived = Vec::new();
        let mut buf = [0];
        while there.recv(&mut buf).is_ok() {
            arrived.push(buf[0]);
        }
        assert!((20..80).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.is_sorted());
    });
}

#[test]
fn short_and_blocked_operations_change_nothing_but_the_path() {
    let _bound = bounded();
    for seed in 0..200 {
        sim::run(seed, || {
            let (mut near, mut far) = pair();
            sim::faults(Faults::none().short(700).spurious(500));
            let text = sim_support::bytes(seed, 3000);
            let expected = text.clone();
            let writer = spawn(move || {
                let (a, b) = text.split_at(1000);
                let count = near
                    .write_vectored(&[IoSlice::new(&[]), IoSlice::new(a), IoSlice::new(b)])
                    .unwrap();
                near.write_all(&text[count..]).unwrap();
            });
            let (mut a, mut b) = ([0; 400], [0; 300]);
            let count = far
                .read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)])
                .unwrap();
            let mut got = [&a[..], &b[..]].concat()[..count].to_vec();
            far.read_to_end(&mut got).unwrap();
            assert!(got == expected, "seed {seed}");
            writer.join().unwrap();
            drop(far);
            assert_nothing_is_left();
        });
    }
}

#[test]
fn a_deadlock_on_the_network_is_told_and_does_not_hang() {
    let _bound = bounded();
    let told = std::panic::catch_unwind(|| {
        sim::run(1, || {
            let (near, far) = pair();
            let reader = spawn(move || (&near).read(&mut [0]).map(drop));
            let other = spawn(move || (&far).read(&mut [0]).map(drop));
            reader.join().unwrap().unwrap();
            other.join().unwrap().unwrap();
        });
    });
    let text = told.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("would block forever"), "{text}");
    assert_eq!(text.matches("to be readable").count(), 2, "{text}");
}

#[test]
#[should_panic(expected = "inside greenroom::sim::run")]
fn faults_belong_into_a_simulation() {
    let _bound = bounded();
    sim::faults(Faults::light());
}
