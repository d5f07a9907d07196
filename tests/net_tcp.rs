//! TCP: what std's own tests of `std::net` (library/std/src/net/tcp/tests.rs) ask, in our words.
mod net_support;

use greenroom::net;
use greenroom::thread;

use net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use net_support::{bounded, kind, kind_after};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

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

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// A listener whose backlog is full: a further connect gets no answer.
fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let listener = local();
    // SAFETY: listen(2) takes no pointers; the listener is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let addr = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, SHORT) {
        held.push(stream);
        assert!(held.len() < 8, "the backlog is not taken seriously");
    }
    (listener, held, addr)
}

#[test]
fn bind_to_an_address_of_nobody_fails() {
    let _bound = bounded();
    assert_eq!(
        kind(TcpListener::bind("1.1.1.1:9999")),
        ErrorKind::AddrNotAvailable
    );
}

#[test]
fn connect_where_nobody_listens_is_refused() {
    let _bound = bounded();
    assert_eq!(
        kind(TcpStream::connect(nobody())),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(
        kind(TcpStream::connect_timeout(&nobody(), LONG)),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(
        kind(TcpStream::connect("0.0.0.0:1")),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn connect_without_an_address_is_invalid() {
    let _bound = bounded();
    let none: &[SocketAddr] = &[];
    assert_eq!(kind(TcpStream::connect(none)), ErrorKind::InvalidInput);
    assert_eq!(
        kind(TcpStream::connect("127.0.0.1")),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(TcpListener::bind(none)), ErrorKind::InvalidInput);
}

#[test]
fn connect_tries_one_address_after_the_other() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    let stream = TcpStream::connect(&[nobody(), nobody(), addr][..]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);
    assert_eq!(
        kind(TcpStream::connect(&[nobody(), nobody()][..])),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn connect_by_name() {
    let _bound = bounded();
    let listener = local();
    let port = listener.local_addr().unwrap().port();
    let stream = TcpStream::connect(("localhost", port)).unwrap();
    assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
    assert!(
        format!("localhost:{port}")
            .to_socket_addrs()
            .unwrap()
            .count()
            > 0
    );
}

#[test]
fn connect_timeout_connects() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    for timeout in [LONG, Duration::MAX] {
        let mut stream = TcpStream::connect_timeout(&addr, timeout).unwrap();
        stream.write_all(&[3]).unwrap();
        assert_eq!(byte(&listener.accept().unwrap().0), 3);
    }
}

#[test]
fn connect_timeout_gives_up() {
    let _bound = bounded();
    let (_listener, _held, addr) = silent();
    let got = kind_after(SHORT, || TcpStream::connect_timeout(&addr, SHORT));
    assert_eq!(got, ErrorKind::TimedOut);
}

#[test]
fn connect_timeout_of_zero_is_invalid() {
    let _bound = bounded();
    let (_listener, _held, addr) = silent();
    let got = kind(TcpStream::connect_timeout(&addr, Duration::ZERO));
    assert_eq!(got, ErrorKind::InvalidInput);
}

#[test]
fn accepted_and_connecting_end_agree_on_their_addresses() {
    let _bound = bounded();
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(ip) else {
            assert_eq!(ip, "[::1]:0", "version four is always there");
            continue;
        };
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr);
        assert_eq!(server.local_addr().unwrap(), addr);
        assert_eq!(server.peer_addr().unwrap(), peer);
        assert_eq!(client.local_addr().unwrap(), peer);
    }
}

#[test]
fn a_peer_that_left_is_the_end_of_the_stream_again_and_again() {
    let _bound = bounded();
    let (client, mut server) = pair();
    drop(client);
    for _ in 0..3 {
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn what_was_sent_before_the_peer_left_is_still_read() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    client.write_all(b"last words").unwrap();
    drop(client);
    let mut all = String::new();
    server.read_to_string(&mut all).unwrap();
    assert_eq!(all, "last words");
}

#[test]
fn writing_to_a_peer_that_left_fails_without_a_signal() {
    let _bound = bounded();
    let (client, mut server) = pair();
    drop(client);
    let begin = Instant::now();
    let error = loop {
        assert!(begin.elapsed() < LONG);
        if let Err(error) = server.write(&[0]) {
            break error.kind();
        }
    };
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    assert!(
        matches!(error, BrokenPipe | ConnectionReset | ConnectionAborted),
        "{error}"
    );
    let error = kind(server.write_vectored(&[IoSlice::new(b"x")]));
    assert_eq!(error, BrokenPipe);
}

#[test]
fn many_connections_one_after_the_other() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    let clients = thread::spawn(move || {
        for i in 0..50 {
            TcpStream::connect(addr).unwrap().write_all(&[i]).unwrap();
        }
    });
    for (i, stream) in (0..50).zip(listener.incoming()) {
        assert_eq!(byte(&stream.unwrap()), i);
    }
    clients.join().unwrap();
}

#[test]
fn many_connections_at_the_same_time() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let streams = listener.incoming().take(16).map(|stream| {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let seen = byte(&stream);
                stream.write_all(&[seen + 1]).unwrap();
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.join().unwrap();
        }
    });
    let mut clients: Vec<_> = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for (i, client) in (0..16).zip(&mut clients).rev() {
        client.write_all(&[i]).unwrap();
    }
    for (i, client) in (0..16).zip(&clients) {
        assert_eq!(byte(client), i + 1);
    }
    server.join().unwrap();
}

#[test]
fn a_short_read_leaves_the_rest() {
    let _bound = bounded();
    let (mut client, server) = pair();
    client.write_all(&[1, 2, 3, 4]).unwrap();
    for i in 1..=4 {
        assert_eq!(byte(&server), i);
    }
}

#[test]
fn reads_and_writes_wait_for_the_other_side() {
    let _bound = bounded();
    const LEN: usize = 8 << 20;
    let (mut client, mut server) = pair();
    let writer = thread::spawn(move || {
        let data: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
        client.write_all(&data).unwrap();
    });
    thread::sleep(SHORT);
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    writer.join().unwrap();
    assert_eq!(all.len(), LEN);
    assert!(
        all.iter()
            .enumerate()
            .all(|(i, &seen)| seen == (i % 251) as u8)
    );
}

#[test]
fn empty_buffers_move_nothing() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    assert_eq!(client.write(&[]).unwrap(), 0);
    assert_eq!(client.write_vectored(&[]).unwrap(), 0);
    assert_eq!(server.read_vectored(&mut []).unwrap(), 0);
    assert_eq!(
        server
            .read_vectored(&mut [IoSliceMut::new(&mut [])])
            .unwrap(),
        0
    );
    client.write_all(&[9]).unwrap();
    assert_eq!(server.read(&mut []).unwrap(), 0);
    assert_eq!(byte(&server), 9);
}

#[test]
fn vectored_reads_fill_one_buffer_after_the_other() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    client.write_all(&[10, 11, 12]).unwrap();
    let (mut a, mut b, mut c) = ([], [0], [0; 3]);
    let bufs = &mut [
        IoSliceMut::new(&mut a),
        IoSliceMut::new(&mut b),
        IoSliceMut::new(&mut c),
    ];
    assert_eq!(server.read_vectored(bufs).unwrap(), 3);
    assert_eq!((b, c), ([10], [11, 12, 0]));
}

#[test]
fn vectored_writes_take_one_buffer_after_the_other() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    let bufs = [
        IoSlice::new(&[]),
        IoSlice::new(&[10]),
        IoSlice::new(&[11, 12]),
    ];
    assert_eq!(client.write_vectored(&bufs).unwrap(), 3);
    let mut buf = [0; 3];
    server.read_exact(&mut buf).unwrap();
    assert_eq!(buf, [10, 11, 12]);
}

#[test]
fn more_buffers_than_the_kernel_takes_are_a_short_write() {
    let _bound = bounded();
    let (mut client, _server) = pair();
    assert_eq!(
        client
            .write_vectored(&vec![IoSlice::new(b"x"); 2000])
            .unwrap(),
        1024
    );
}

#[test]
fn peek_leaves_the_data_in_place() {
    let _bound = bounded();
    let (mut client, server) = pair();
    let writer = thread::spawn(move || {
        thread::sleep(SHORT);
        client.write_all(&[7, 8]).unwrap();
        client
    });
    let mut buf = [0; 1];
    for _ in 0..2 {
        assert_eq!(server.peek(&mut buf).unwrap(), 1);
        assert_eq!(buf, [7]);
    }
    assert_eq!((byte(&server), byte(&server)), (7, 8));
    server.set_nonblocking(true).unwrap();
    assert_eq!(kind(server.peek(&mut buf)), ErrorKind::WouldBlock);
    drop(writer.join().unwrap());
    server.set_nonblocking(false).unwrap();
    assert_eq!(server.peek(&mut buf).unwrap(), 0);
}

#[test]
fn a_port_is_taken_while_somebody_listens_at_it() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    assert_eq!(kind(TcpListener::bind(addr)), ErrorKind::AddrInUse);
    drop(listener);
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_port_is_free_again_though_its_connections_linger() {
    let _bound = bounded();
    let listener = local();
    let addr = listener.local_addr().unwrap();
    let client = TcpStream::connect(addr).unwrap();
    drop(listener.accept().unwrap());
    drop((client, listener));
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_clone_is_the_same_connection() {
    let _bound = bounded();
    let (client, server) = pair();
    let (mut writer, reader) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let answer = thread::spawn(move || (&server).write_all(&[byte(&reader) + 1]).unwrap());
    writer.write_all(&[1]).unwrap();
    drop(writer);
    assert_eq!(byte(&client), 2);
    answer.join().unwrap();
}

#[test]
fn two_clones_read_from_one_connection() {
    let _bound = bounded();
    let (mut client, server) = pair();
    let other = server.try_clone().unwrap();
    let reader = thread::spawn(move || byte(&other));
    client.write_all(&[1, 2]).unwrap();
    let mut seen = [byte(&server), reader.join().unwrap()];
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
}

#[test]
fn a_clone_of_a_listener_accepts_as_well() {
    let _bound = bounded();
    let listener = local();
    let other = listener.try_clone().unwrap();
    let addr = listener.local_addr().unwrap();
    let accepting = [listener, other].map(|one| thread::spawn(move || one.accept().unwrap().1));
    let clients = [
        TcpStream::connect(addr).unwrap(),
        TcpStream::connect(addr).unwrap(),
    ];
    let mut ours = clients.map(|client| client.local_addr().unwrap());
    let mut theirs = accepting.map(|one| one.join().unwrap());
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
}

#[test]
fn a_clone_outlives_the_original() {
    let _bound = bounded();
    let (client, mut server) = pair();
    let mut clone = client.try_clone().unwrap();
    drop(client);
    server.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(kind(server.read(&mut [0])), ErrorKind::WouldBlock);
    clone.write_all(&[5]).unwrap();
    assert_eq!(byte(&server), 5);
}

#[test]
fn shutting_down_both_ways() {
    let _bound = bounded();
    let (mut client, mut server) = pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(kind(client.write(&[1])), ErrorKind::BrokenPipe);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    server.write_all(&[2]).unwrap();
    assert_eq!(byte(&client), 2);
    client.shutdown(Shutdown::Read).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_shutdown_ends_a_read_that_waits() {
    let _bound = bounded();
    let (client, _server) = pair();
    let mut reading = client.try_clone().unwrap();
    let reader = thread::spawn(move || reading.read(&mut [0]).unwrap());
    thread::sleep(SHORT);
    client.shutdown(Shutdown::Read).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
}

/// Reads until the end or `len` bytes, each time with more room than there can be data. The first
/// read waits, so that what comes meanwhile comes as one event.
fn collect(mut stream: TcpStream, len: usize) -> thread::JoinHandle<Vec<u8>> {
    stream.set_read_timeout(Some(LONG / 4)).unwrap();
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut buf = [0; 128];
        while all.len() < len {
            match stream.read(&mut buf).unwrap() {
                0 => break,
                count => all.extend_from_slice(&buf[..count]),
            }
        }
        all
    })
}

#[test]
fn an_end_that_came_together_with_the_data_is_seen() {
    let _bound = bounded();
    let (mut client, server) = pair();
    let reader = collect(server, 100);
    thread::sleep(SHORT);
    client.write_all(b"and over").unwrap();
    drop(client);
    assert_eq!(reader.join().unwrap(), b"and over");
}

#[test]
fn data_behind_an_urgent_byte_is_not_left_lying() {
    let _bound = bounded();
    let (mut client, server) = pair();
    let reader = collect(server, 6);
    thread::sleep(SHORT);
    client.write_all(b"abc").unwrap();
    // SAFETY: one readable byte at that address, and the descriptor is open.
    let sent = unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    client.write_all(b"def").unwrap();
    // The kernel ends a read at the urgent byte, though there is more behind it.
    assert_eq!(reader.join().unwrap(), b"abcdef");
}
