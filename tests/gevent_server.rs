//! What gevent's own tests ask of servers: behaviours 101 to 107 of our list, re-written in our
//! words after the test that each names, not copied; and what we do better. Bad input and ends
//! without a leak stand in `server_edges.rs`.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::io::{Read, Write};
use greenroom::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use greenroom::os::unix::net::{UnixDatagram, UnixStream};
use greenroom::server::{DatagramServer, Spawn, StreamServer};
use greenroom::{hub, sleep, spawn, with_timeout, yield_now};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

const LOCAL: &str = "127.0.0.1:0";

/// Sends `word` and its end, and says what comes back.
fn ask(address: SocketAddr, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(word.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn echo(stream: TcpStream, _peer: SocketAddr) -> io::Result<u64> {
    io::copy(&mut &stream, &mut &stream)
}

/// Echoes, but says `panic` to a word of that name, and so on.
fn moody(mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
    let mut word = String::new();
    stream.read_to_string(&mut word)?;
    match &*word {
        "panic" => panic!("as it was told"),
        "error" => Err(io::Error::other("as it was told")),
        _ => stream.write_all(word.as_bytes()),
    }
}

#[track_caller]
fn refused(address: SocketAddr) {
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// Whether a client is served soon.
fn is_served(address: SocketAddr) -> bool {
    with_timeout(ms(50), || ask(address, "hello")).is_ok_and(|answer| answer.is_ok())
}

// 101: test__server.py TestDefaultSpawn, _test_server_start_stop. The address is known before.
#[test]
fn connections_are_refused_before_the_start_and_after_a_stop() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    let address = server.address();
    assert_ne!(address.port(), 0);
    refused(address);
    assert!(!server.started() && !server.closed());
    server.start().unwrap();
    assert!(server.started() && !server.closed());
    assert_eq!(ask(address, "hello").unwrap(), "hello");
    server.stop(None);
    assert!(!server.started() && server.closed());
    refused(address);
}

// 101: stop_accepting, start_accepting
#[test]
fn while_it_accepts_nobody_connections_wait_in_the_queue() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    assert_eq!(
        server.start_accepting().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    server.start().unwrap();
    server.stop_accepting();
    let address = server.address();
    let waiting = spawn(move || ask(address, "patience"));
    sleep(ms(10));
    assert!(!waiting.is_finished());
    assert_eq!(server.stats().accepted, 0);
    assert!(server.started());
    server.start_accepting().unwrap();
    server.start_accepting().unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), "patience");
    assert_eq!(server.stats().accepted, 1);
}

// 101: TestDefaultSpawn.init_server, a server that starts again
#[test]
fn a_server_that_was_stopped_starts_again_at_the_same_address() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    for _ in 0..3 {
        server.start().unwrap();
        server.start().unwrap();
        assert_eq!(ask(server.address(), "again").unwrap(), "again");
        server.stop(None);
        refused(server.address());
    }
    assert_eq!(server.stats().accepted, 3);
}

// 102: test__server.py test_pool_full
#[test]
fn with_a_pool_of_two_the_third_is_accepted_when_one_has_left() {
    let _bound = bounded();
    let builder = StreamServer::builder(LOCAL).spawn(Spawn::Pool(2));
    let server = builder.bind(echo).unwrap();
    server.start().unwrap();
    let connect = || TcpStream::connect(server.address()).unwrap();
    let (first, mut second, mut third) = (connect(), connect(), connect());
    third.write_all(b"x").unwrap();
    third.set_read_timeout(Some(ms(20))).unwrap();
    let early = third.read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    assert_eq!((server.stats().accepted, server.stats().active), (2, 2));
    second.write_all(b"y").unwrap();
    second.read_exact(&mut [0]).unwrap();
    drop(first);
    third.set_read_timeout(Some(LONG)).unwrap();
    third.read_exact(&mut [0]).unwrap();
    assert_eq!((server.stats().accepted, server.stats().active), (3, 2));
}

// 102: the pool is that of the server, not of each of its hubs; who waits keeps no place
#[test]
fn a_pool_of_one_on_four_hubs_serves_one_at_a_time_and_all_in_the_end() {
    let _bound = bounded();
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (theirs, their_most) = (Arc::clone(&inside), Arc::clone(&most));
    let builder = StreamServer::builder(LOCAL).spawn(Spawn::Pool(1)).hubs(4);
    let server = builder
        .bind(move |stream, peer| {
            their_most.fetch_max(theirs.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(ms(1));
            let done = echo(stream, peer);
            theirs.fetch_sub(1, Ordering::SeqCst);
            done
        })
        .unwrap();
    server.start().unwrap();
    let address = server.address();
    let clients = (0..40).map(|_| spawn(move || ask(address, "one")));
    for client in greenroom::joinall(clients) {
        assert_eq!(client.unwrap().unwrap(), "one");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(server.stop(None), 0);
}

// 103: test__server.py test_error_in_spawn. gevent's test has a spawn that raises.
#[test]
fn an_error_in_the_spawn_function_closes_that_connection_and_the_server_lives() {
    let _bound = bounded();
    let calls = AtomicUsize::new(0);
    let spawn = Spawn::with(move |job| {
        if calls.fetch_add(1, Ordering::SeqCst) < 2 {
            panic!("no greenlet for that one");
        }
        drop(greenroom::spawn(job));
    });
    let builder = StreamServer::builder(LOCAL).spawn(spawn);
    let server = builder.bind(echo).unwrap();
    server.start().unwrap();
    for _ in 0..2 {
        let answer = ask(server.address(), "");
        assert!(answer.map_or(true, |answer| answer.is_empty()));
    }
    assert_eq!(ask(server.address(), "third").unwrap(), "third");
    assert_eq!((server.stats().errors, server.stats().active), (2, 0));
}

// 103: assertAcceptedConnectionError
#[test]
fn an_error_or_a_panic_of_the_handler_ends_that_connection_and_nothing_else() {
    let _bound = bounded();
    for spawn in [Spawn::Greenlet, Spawn::Pool(1), Spawn::Inline] {
        let builder = StreamServer::builder(LOCAL).spawn(spawn);
        let server = builder.bind(moody).unwrap();
        server.start().unwrap();
        let other = TcpStream::connect(server.address()).unwrap();
        drop(other);
        for word in ["panic", "error"] {
            assert_eq!(ask(server.address(), word).unwrap(), "");
        }
        assert_eq!(ask(server.address(), "fine").unwrap(), "fine");
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.failed), (4, 2));
        assert!(server.started());
    }
}

// 104: test__server.py test_server_closes_client_sockets
#[test]
fn the_connection_is_closed_when_its_handler_returns() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, |_, _| ()).unwrap();
    server.start().unwrap();
    let mut client = TcpStream::connect(server.address()).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.stats().active, 0);
}

// 105: test__server.py test_serve_forever
#[test]
fn serve_forever_returns_when_somebody_stops_it() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    let (handle, address) = (server.handle(), server.address());
    let client = spawn(move || {
        let answer = ask(address, "hello");
        handle.stop(None);
        answer
    });
    server.serve_forever().unwrap();
    assert!(server.closed());
    assert_eq!(client.join().unwrap().unwrap(), "hello");
    refused(address);
}

// 105: test__server.py test_serve_forever_after_start
#[test]
fn serve_forever_works_after_a_start_and_from_another_thread_it_is_stopped() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    server.start().unwrap();
    let (handle, address) = (server.handle(), server.address());
    let client = thread::spawn(move || {
        let answer = ask(address, "hello");
        handle.stop(None);
        answer
    });
    server.serve_forever().unwrap();
    assert_eq!(client.join().unwrap().unwrap(), "hello");
}

// 105: test__server.py test_stop_timeout and its kin; without a pool gevent does not kill at all
#[test]
fn a_stop_waits_until_its_deadline_and_kills_who_is_still_in() {
    let _bound = bounded();
    for spawn in [Spawn::Greenlet, Spawn::Pool(9), Spawn::Inline] {
        let builder = StreamServer::builder(LOCAL).spawn(spawn.clone());
        let server = builder.bind(echo).unwrap();
        server.start().unwrap();
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(server.stop(Some(ms(10))), 1, "{spawn:?}");
        assert_eq!(
            client.read(&mut [0]).unwrap(),
            0,
            "the server's end is closed"
        );
        assert_eq!(server.stats().active, 0);
    }
}

#[test]
fn a_stop_lets_those_finish_who_do_so_in_time() {
    let _bound = bounded();
    for spawn in [Spawn::Greenlet, Spawn::Pool(9), Spawn::Inline] {
        let builder = StreamServer::builder(LOCAL).spawn(spawn);
        let server = builder.bind(|mut stream: TcpStream, _| {
            sleep(ms(20));
            stream.write_all(b"done")
        });
        let server = server.unwrap();
        server.start().unwrap();
        let mut client = TcpStream::connect(server.address()).unwrap();
        while server.stats().active == 0 {
            yield_now();
        }
        assert_eq!(server.stop(Some(LONG)), 0);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "done");
    }
}

#[test]
fn a_handler_may_stop_its_own_server() {
    let _bound = bounded();
    for hubs in [None, Some(2)] {
        let slot: Arc<Mutex<Option<greenroom::server::ServerHandle>>> = Arc::default();
        let theirs = Arc::clone(&slot);
        let mut builder = StreamServer::builder(LOCAL);
        if let Some(hubs) = hubs {
            builder = builder.hubs(hubs);
        }
        let server = builder
            .bind(move |mut stream: TcpStream, _| {
                let handle = theirs.lock().unwrap().clone().unwrap();
                handle.stop(Some(ms(10)));
                stream.write_all(b"stopped")
            })
            .unwrap();
        *slot.lock().unwrap() = Some(server.handle());
        let address = server.address();
        let client = spawn(move || ask(address, ""));
        server.serve_forever().unwrap();
        assert_eq!(client.join().unwrap().unwrap(), "stopped");
        slot.lock().unwrap().take();
    }
}

// 106: test__server.py TestSSLSocketNotAllowed is not to be written: types forbid it
#[test]
fn a_backlog_for_a_listener_that_listens_already_is_an_error() {
    let _bound = bounded();
    let listener = TcpListener::bind(LOCAL).unwrap();
    let error = StreamServer::builder_of(listener).backlog(50).bind(echo);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("50"), "{error}");
}

// 107: test__example_udp_server.py
#[test]
fn datagrams_are_answered() {
    let _bound = bounded();
    for spawn in [Spawn::Greenlet, Spawn::Pool(1), Spawn::Inline] {
        let builder = DatagramServer::builder(LOCAL).spawn(spawn);
        let server = builder.bind(|data, peer, socket| {
            if data == b"panic" {
                panic!("as it was told");
            }
            socket.send_to(&[b"Received ", data].concat(), peer)
        });
        let server = server.unwrap();
        server.start().unwrap();
        let client = UdpSocket::bind(LOCAL).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.send_to(b"panic", server.address()).unwrap();
        client.send_to(b"Test", server.address()).unwrap();
        let mut answer = [0; 100];
        let (length, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"Received Test");
        assert_eq!(from, server.address());
        assert_eq!(server.stop(None), 0);
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.failed, stats.errors), (2, 1, 0));
    }
}

#[test]
fn a_datagram_that_is_too_long_is_counted_and_not_served() {
    let _bound = bounded();
    let (sender, served) = mpsc::channel();
    let builder = DatagramServer::builder(LOCAL).size(4);
    let server = builder.bind(move |data, _, _| sender.send(data.to_vec()));
    let server = server.unwrap();
    server.start().unwrap();
    let client = UdpSocket::bind(LOCAL).unwrap();
    for word in ["12345", "1234", ""] {
        client.send_to(word.as_bytes(), server.address()).unwrap();
    }
    while server.stats().accepted < 2 || server.stats().active > 0 {
        sleep(ms(1));
    }
    assert_eq!(
        served.try_iter().collect::<Vec<_>>(),
        [b"1234".to_vec(), vec![]]
    );
    assert_eq!(server.stats().errors, 1);
}

#[test]
fn unix_paths_are_served_and_removed_at_the_end() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let server =
        StreamServer::builder_at(&path).bind(|stream, _| io::copy(&mut &stream, &mut &stream));
    let server = server.unwrap();
    assert_eq!(
        UnixStream::connect(&path).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    for _ in 0..2 {
        server.start().unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
        server.stop(None);
        assert!(!path.exists());
    }
    let path = dir.path().join("datagram");
    let server = DatagramServer::builder_at(&path).bind(|data, _, _| assert_eq!(data, b"x"));
    let server = server.unwrap();
    server.start().unwrap();
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"x", &path)
        .unwrap();
    while server.stats().accepted == 0 {
        sleep(ms(1));
    }
    drop(server);
    sleep(ms(1));
    assert!(!path.exists());
}

#[test]
fn a_ready_listener_is_served_from_the_start_with_who_came_before() {
    let _bound = bounded();
    let listener = std::net::TcpListener::bind(LOCAL).unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = StreamServer::builder_of(listener).bind(echo).unwrap();
    let address = server.address();
    let early = spawn(move || ask(address, "early"));
    sleep(ms(1));
    server.start().unwrap();
    assert_eq!(early.join().unwrap().unwrap(), "early");
    server.stop(None);
    assert_eq!(server.start().unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn another_handler_serves_those_who_come_from_then_on() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    server.start().unwrap();
    let mut old = TcpStream::connect(server.address()).unwrap();
    old.write_all(b"x").unwrap();
    old.read_exact(&mut [0]).unwrap();
    server.set_handle(|mut stream: TcpStream, _| stream.write_all(b"new"));
    assert_eq!(ask(server.address(), "").unwrap(), "new");
    old.write_all(b"y").unwrap();
    let mut byte = [0];
    old.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"y");
}

#[test]
fn several_hubs_serve_one_port_with_one_socket_or_one_each() {
    let _bound = bounded();
    for reuse_port in [false, true] {
        let builder = StreamServer::builder(LOCAL).hubs(3).reuse_port(reuse_port);
        let server = builder.bind(|mut stream: TcpStream, _| {
            // Keeps its OS thread busy, so that others take the next.
            thread::sleep(ms(2));
            stream.write_all(format!("{:?}", thread::current().id()).as_bytes())
        });
        let server = server.unwrap();
        server.start().unwrap();
        let address = server.address();
        let clients = (0..60).map(|_| spawn(move || ask(address, "")));
        let answers = greenroom::joinall(clients).into_iter();
        let mut threads: Vec<String> = answers.map(|answer| answer.unwrap().unwrap()).collect();
        threads.sort();
        threads.dedup();
        assert!(threads.len() > 1, "{reuse_port}");
        assert!(!threads.contains(&format!("{:?}", thread::current().id())));
        assert_eq!(server.stop(None), 0);
        refused(address);
    }
}

#[test]
fn a_stop_reaches_the_guests_of_all_hubs() {
    let _bound = bounded();
    let server = StreamServer::builder(LOCAL).hubs(2).bind(echo).unwrap();
    server.start().unwrap();
    let mut clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = TcpStream::connect(server.address()).unwrap();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            client
        })
        .collect();
    assert_eq!(server.stop(Some(ms(1))), 20);
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_flood_of_connections_lets_others_have_their_turn() {
    let _bound = bounded();
    let builder = StreamServer::builder(LOCAL).accepts_max(10).backlog(1000);
    let server = builder.bind(|_, _| ()).unwrap();
    server.start().unwrap();
    let address = server.address();
    yield_now();
    let flood: Vec<_> = (0..95)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let mut seen = Vec::new();
    while server.stats().accepted < 95 {
        yield_now();
        seen.push(server.stats().accepted);
    }
    let steps = seen.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.max().unwrap() <= 10, "{seen:?}");
    drop(flood);
}

#[test]
fn a_dropped_server_lets_nobody_in_and_keeps_who_is_in() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    server.start().unwrap();
    let address = server.address();
    assert!(is_served(address));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(server);
    yield_now();
    refused(address);
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn in_a_simulation_a_server_is_served_by_the_same_code() {
    let _bound = bounded();
    greenroom::sim::run(7, || {
        let builder = StreamServer::builder("10.0.0.1:80").spawn(Spawn::Pool(1));
        let server = builder.bind(|stream, peer| {
            sleep(LONG);
            echo(stream, peer)
        });
        let server = server.unwrap();
        server.start().unwrap();
        let address = server.address();
        let clients = (0..3).map(|_| spawn(move || ask(address, "virtual")));
        let begin = greenroom::now();
        for answer in greenroom::joinall(clients) {
            assert_eq!(answer.unwrap().unwrap(), "virtual");
        }
        assert!(begin.elapsed() < LONG || greenroom::now() - begin >= 3 * LONG);
        assert_eq!(server.stop(None), 0);
        assert_eq!(hub::stats().greenlets, 0);
    });
}
