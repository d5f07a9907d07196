//! Tests of servers for bugs that no other test catches: each was seen to fail with its bug seeded.
//! See tests/mutants.rs.
mod hazard_support;

use greenroom::io::{Read, Write};
use greenroom::net::TcpStream;
use greenroom::server::{ServerHandle, StreamServer};
use greenroom::{run, shield, sleep, spawn, spawn_local, with_timeout};
use hazard_support::{bounded, ms};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const LOCAL: &str = "127.0.0.1:0";

/// A server that has started, with one guest, which `serve` keeps in.
fn with_guest(serve: impl Fn() + Send + Sync + 'static) -> (StreamServer, TcpStream) {
    let server = StreamServer::bind(LOCAL, move |mut stream: TcpStream, _| {
        stream.write_all(b"x").unwrap();
        serve();
    });
    let server = server.unwrap();
    server.start().unwrap();
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    (server, client)
}

#[test]
fn serve_forever_waits_for_the_end_of_a_stop() {
    let _bound = bounded();
    run(|| {
        let (server, _client) = with_guest(|| shield(|| sleep(ms(100))));
        let (handle, stopped) = (server.handle(), Rc::new(Cell::new(false)));
        let theirs = Rc::clone(&stopped);
        let stops = spawn_local(move || {
            handle.stop(Some(ms(10)));
            theirs.set(true);
        });
        server.serve_forever().unwrap();
        assert!(stopped.get());
        stops.join().unwrap();
    });
}

#[test]
fn serve_forever_waits_for_the_guests_of_a_stop_that_was_cut_short() {
    let _bound = bounded();
    run(|| {
        let served = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&served);
        let (server, _client) = with_guest(move || {
            sleep(ms(100));
            theirs.store(true, Relaxed);
        });
        let handle = server.handle();
        let stops = spawn(move || with_timeout(ms(10), || handle.stop(None)).is_err());
        server.serve_forever().unwrap();
        assert!(served.load(Relaxed));
        assert!(stops.join().unwrap());
    });
}

#[test]
fn serve_forever_leaves_the_guests_of_a_closed_server_alone() {
    let _bound = bounded();
    run(|| {
        let (server, _client) = with_guest(|| sleep(Duration::from_secs(3600)));
        let handle = server.handle();
        let closes = spawn(move || {
            sleep(ms(1));
            handle.close();
        });
        let served = with_timeout(Duration::from_secs(10), || server.serve_forever());
        served.expect("it waits for no guest").unwrap();
        closes.join().unwrap();
    });
}

#[test]
fn serve_forever_does_not_wait_for_guests_that_withstand_their_kill() {
    let _bound = bounded();
    run(|| {
        let (server, _client) = with_guest(|| shield(|| sleep(Duration::from_secs(20))));
        let handle = server.handle();
        let stops = spawn(move || handle.stop(Some(ms(1))));
        let served = with_timeout(Duration::from_secs(10), || server.serve_forever());
        served.expect("they had their grace").unwrap();
        stops.join().unwrap();
    });
}

#[test]
fn a_server_that_has_killed_guests_serves_again_after_a_start() {
    let _bound = bounded();
    run(|| {
        let (server, client) = with_guest(|| sleep(ms(50)));
        assert_eq!(server.stop(Some(ms(1))), 1);
        drop(client);
        server.start().unwrap();
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.read_exact(&mut [0]).unwrap();
        server.stop(None);
    });
}

#[test]
fn a_guest_that_stops_its_server_is_not_killed() {
    let _bound = bounded();
    run(|| {
        let handle = Arc::new(OnceLock::<ServerHandle>::new());
        let theirs = Arc::clone(&handle);
        let server = StreamServer::bind(LOCAL, move |mut stream: TcpStream, _| {
            let mut first = [0];
            stream.read_exact(&mut first)?;
            theirs.get().unwrap().stop(Some(ms(1)));
            stream.write_all(b"done")
        });
        let server = server.unwrap();
        server.start().unwrap();
        assert!(handle.set(server.handle()).is_ok());
        let idle = TcpStream::connect(server.address()).unwrap();
        let mut stops = TcpStream::connect(server.address()).unwrap();
        sleep(ms(10));
        stops.write_all(b"x").unwrap();
        let mut text = String::new();
        stops.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done");
        drop(idle);
    });
}
