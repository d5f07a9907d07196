//! A server with several hubs deals its guests out by load: no hub is idle while the guests of
//! another one wait.

mod bounded;

use bounded::bounded;
use greenroom::net::SocketAddr;
use greenroom::server::{Spawn, StreamServer};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const LOCAL: &str = "127.0.0.1:0";
const LONG: Duration = Duration::from_secs(60);

/// Tells each guest the hub that serves it, and keeps it until it leaves.
fn server(hubs: usize, reuse_port: bool, spawn: Spawn) -> StreamServer {
    let builder = StreamServer::builder(LOCAL).hubs(hubs).spawn(spawn);
    let server = builder.reuse_port(reuse_port).bind(|mut stream, _| {
        let hub = greenroom::hub::current().number();
        stream.write_all(&hub.to_le_bytes())?;
        while stream.read(&mut [0; 16])? > 0 {}
        Ok::<_, io::Error>(())
    });
    let server = server.unwrap();
    server.start().unwrap();
    server
}

struct Guest {
    hub: u64,
    _stream: TcpStream,
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn welcomed(mut stream: TcpStream) -> Guest {
    let mut hub = [0; 8];
    stream.read_exact(&mut hub).unwrap();
    Guest {
        hub: u64::from_le_bytes(hub),
        _stream: stream,
    }
}

/// How many guests each hub has, the fewest first.
fn shares(guests: &[Guest]) -> Vec<usize> {
    let mut shares: HashMap<u64, usize> = HashMap::new();
    for guest in guests {
        *shares.entry(guest.hub).or_default() += 1;
    }
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable();
    shares
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn guests_that_stay_are_dealt_out_evenly() {
    let _bound = bounded();
    for (reuse_port, spawn) in [
        (false, Spawn::Greenlet),
        (true, Spawn::Greenlet),
        (false, Spawn::Pool(100)),
    ] {
        let server = server(3, reuse_port, spawn);
        let guest = |_| welcomed(connect(server.address()));
        let guests: Vec<Guest> = (0..12).map(guest).collect();
        assert_eq!(shares(&guests), [4, 4, 4], "reuse_port: {reuse_port}");
        drop(guests);
        assert_eq!(server.stop(Some(LONG)), 0);
    }
}

#[test]
fn so_are_those_that_come_all_at_once() {
    let _bound = bounded();
    let server = server(2, false, Spawn::Greenlet);
    let streams: Vec<_> = (0..200).map(|_| connect(server.address())).collect();
    let guests: Vec<Guest> = streams.into_iter().map(welcomed).collect();
    let shares = shares(&guests);
    assert!(shares.len() == 2 && shares[0] >= 80, "{shares:?}");
    drop(guests);
    assert_eq!(server.stop(Some(LONG)), 0);
}

#[test]
fn a_hub_that_guests_have_left_gets_the_next() {
    let _bound = bounded();
    let server = server(2, false, Spawn::Greenlet);
    let guest = |_: i32| welcomed(connect(server.address()));
    let mut guests: Vec<Guest> = (0..8).map(guest).collect();
    let left = guests[0].hub;
    guests.retain(|guest| guest.hub != left);
    until("four guests have left", || server.stats().active == 4);
    let more: Vec<Guest> = (0..4).map(guest).collect();
    assert!(more.iter().all(|guest| guest.hub == left));
    assert_eq!(guests.len(), 4);
    drop((guests, more));
    assert_eq!(server.stop(Some(LONG)), 0);
}

#[test]
fn a_hub_that_computes_does_not_get_the_guests_of_an_idle_one() {
    let _bound = bounded();
    let builder = StreamServer::builder(LOCAL).hubs(2);
    let server = builder.bind(|mut stream, _| {
        let mut wish = [0];
        stream.read_exact(&mut wish)?;
        if wish == *b"b" {
            // Blocks its hub, not only itself.
            thread::sleep(Duration::from_millis(2500));
        }
        stream.write_all(b"x")
    });
    let server = server.unwrap();
    server.start().unwrap();
    let ask = |wish: &[u8]| {
        let mut stream = connect(server.address());
        stream.write_all(wish).unwrap();
        stream
    };
    let mut busy = ask(b"b");
    until("it is served", || server.stats().active == 1);
    thread::sleep(Duration::from_millis(300));
    let all: Vec<_> = (0..40).map(|_| ask(b"q")).collect();
    thread::sleep(Duration::from_millis(200));
    let waits = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut [0]).is_err()
    };
    let late = all.iter().filter(waits).count();
    assert!(late == 0, "{late} waited although one hub was idle");
    busy.read_exact(&mut [0]).unwrap();
    server.stop(Some(LONG));
}

#[test]
fn a_stop_reaches_guests_that_were_handed_to_another_hub() {
    let _bound = bounded();
    let server = server(2, false, Spawn::Greenlet);
    let guest = |_| welcomed(connect(server.address()));
    let guests: Vec<Guest> = (0..8).map(guest).collect();
    assert_eq!(server.stats().accepted, 8);
    assert_eq!(server.stop(Some(Duration::from_millis(10))), 8);
    assert_eq!(server.stats().active, 0);
    drop(guests);
}
