//! The edges of servers: bad input, bad sockets, shortage, and ends that must leave nothing behind.
mod hazard_support;

use greenroom::io::{Read, Write};
use greenroom::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use greenroom::server::{DatagramServer, Spawn, StreamServer};
use greenroom::{hub, shield, sleep, spawn, with_timeout, yield_now};
use hazard_support::{HOUR, alone_and_well, bounded, descriptors, eventually, leak_free, ms};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOCAL: &str = "127.0.0.1:0";

fn echo(stream: TcpStream, _peer: SocketAddr) -> io::Result<u64> {
    io::copy(&mut &stream, &mut &stream)
}

/// Connects, and returns when the server has seen it.
fn enter(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[track_caller]
fn says<T>(result: io::Result<T>, kind: ErrorKind, words: &str) {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_errors_that_name_them() {
    let _bound = bounded();
    let invalid = ErrorKind::InvalidInput;
    let builder = || StreamServer::builder(LOCAL);
    says(builder().backlog(0).bind(echo), invalid, "backlog of 0");
    says(
        builder().backlog(u32::MAX).bind(echo),
        invalid,
        "4294967295",
    );
    says(
        builder().spawn(Spawn::Pool(0)).bind(echo),
        invalid,
        "pool of 0",
    );
    says(builder().hubs(0).bind(echo), invalid, "0 hubs");
    says(builder().hubs(usize::MAX).bind(echo), invalid, "1024");
    says(builder().accepts_max(0).bind(echo), invalid, "0 accepts");
    says(builder().name("a\0b").bind(echo), invalid, "NUL");
    says(builder().stack_size(1).bind(echo), invalid, "1");
    says(
        builder().stack_size(usize::MAX).bind(echo),
        invalid,
        &usize::MAX.to_string(),
    );
    let datagrams = || DatagramServer::builder(LOCAL);
    says(datagrams().size(0).bind(|_, _, _| ()), invalid, "0 bytes");
    says(
        datagrams().size(usize::MAX).bind(|_, _, _| ()),
        invalid,
        "limit",
    );
    let simulated = greenroom::sim::run(1, || builder().hubs(2).bind(echo));
    says(simulated, invalid, "simulation");
    let ready = TcpListener::bind(LOCAL).unwrap();
    let ready = StreamServer::builder_of(ready).reuse_port(true).bind(echo);
    says(ready, invalid, "SO_REUSEPORT");
    let pool = builder()
        .spawn(Spawn::Pool(usize::MAX))
        .backlog(i32::MAX as u32);
    pool.bind(echo).unwrap().start().unwrap();
}

#[test]
fn addresses_that_make_no_sense_are_errors() {
    let _bound = bounded();
    let none: &[SocketAddr] = &[];
    says(
        StreamServer::bind(none, echo),
        ErrorKind::InvalidInput,
        "any addresses",
    );
    says(
        StreamServer::bind("", echo),
        ErrorKind::InvalidInput,
        "address",
    );
    says(
        DatagramServer::bind("127.0.0.1", |_, _, _| ()),
        ErrorKind::InvalidInput,
        "address",
    );
    let foreign = "192.0.2.1:80";
    says(
        StreamServer::bind(foreign, echo),
        ErrorKind::AddrNotAvailable,
        foreign,
    );
    let long = "x".repeat(200);
    says(
        StreamServer::builder_at(&long).bind(|_, _| ()),
        ErrorKind::InvalidInput,
        &long,
    );
    let nowhere = "/nowhere/at/all";
    says(
        StreamServer::builder_at(nowhere).bind(|_, _| ()),
        ErrorKind::NotFound,
        nowhere,
    );
}

#[test]
fn an_occupied_port_is_an_error_that_names_the_address() {
    let _bound = bounded();
    let occupant = TcpListener::bind(LOCAL).unwrap();
    let address = occupant.local_addr().unwrap();
    says(
        StreamServer::bind(address, echo),
        ErrorKind::AddrInUse,
        &address.to_string(),
    );
    let occupant = UdpSocket::bind(LOCAL).unwrap();
    let address = occupant.local_addr().unwrap();
    let server = DatagramServer::bind(address, |_, _, _| ());
    says(server, ErrorKind::AddrInUse, &address.to_string());
    // Bound by two, since neither listens yet: the second to start is told.
    let first = StreamServer::bind(LOCAL, echo).unwrap();
    let second = StreamServer::bind(first.address(), echo).unwrap();
    first.start().unwrap();
    says(
        second.start(),
        ErrorKind::AddrInUse,
        &first.address().to_string(),
    );
    first.stop(None);
    second.start().unwrap();
    drop(enter(first.address()));
}

#[test]
fn sockets_that_cannot_serve_are_errors() {
    let _bound = bounded();
    let file = || OwnedFd::from(tempfile::tempfile().unwrap());
    let listener = std::net::TcpListener::from(file());
    let error = StreamServer::builder_of(listener).bind(echo).unwrap_err();
    assert!(error.to_string().contains("non-socket"), "{error}");
    let socket = std::net::UdpSocket::from(file());
    let error = DatagramServer::builder_of(socket)
        .bind(|_, _, _| ())
        .unwrap_err();
    assert!(
        error.to_string().to_lowercase().contains("socket"),
        "{error}"
    );
    // Bound and deaf.
    let deaf = std::net::UdpSocket::bind(LOCAL).unwrap();
    let deaf = std::net::TcpListener::from(OwnedFd::from(deaf));
    says(
        StreamServer::builder_of(deaf).bind(echo),
        ErrorKind::InvalidInput,
        "listen",
    );
}

#[test]
fn to_end_a_server_twice_or_before_its_start_does_no_harm() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    server.stop_accepting();
    assert_eq!(server.stop(Some(Duration::ZERO)), 0);
    assert_eq!(server.stop(Some(Duration::MAX)), 0);
    server.close();
    server.close();
    server.start().unwrap();
    drop(enter(server.address()));
    server.close();
    assert_eq!(server.stop(None), 0);
    assert_eq!(server.stop(None), 0);
    assert!(server.closed());
    assert_eq!(
        server.start_accepting().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

/// Has a socket closed behind its owner's back, and another file in its place.
fn pull_out(fd: i32, file: &std::fs::File) {
    // SAFETY: both are open; the owner of `fd` is left with another file of its own.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), fd) }, fd);
}

#[test]
fn a_socket_that_becomes_useless_ends_the_server_with_the_error() {
    let _bound = bounded();
    // Shut down by somebody who has a duplicate: EINVAL.
    let listener = TcpListener::bind(LOCAL).unwrap();
    let duplicate = listener.try_clone().unwrap();
    let server = StreamServer::builder_of(listener).bind(echo).unwrap();
    server.start().unwrap();
    sleep(ms(1));
    // SAFETY: an open socket, and no pointers.
    let shut = unsafe { libc::shutdown(duplicate.as_raw_fd(), libc::SHUT_RDWR) };
    assert_eq!(shut, 0);
    let error = server.serve_forever().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert!(server.closed());
    // Replaced by a regular file: ENOTSOCK.
    let listener = TcpListener::bind(LOCAL).unwrap();
    let fd = listener.as_raw_fd();
    let server = StreamServer::builder_of(listener).bind(echo).unwrap();
    pull_out(fd, &tempfile::tempfile().unwrap());
    let error = server.serve_forever().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
}

#[test]
fn a_thousand_servers_leave_no_descriptor_greenlet_or_thread() {
    let _bound = bounded();
    alone_and_well(
        "a_thousand_servers_leave_no_descriptor_greenlet_or_thread",
        || {
            drop(greenroom::spawn(|| ()).join());
            let (fds, tasks, before) = (descriptors(), threads(), hub::stats());
            for round in 0..1000 {
                let mut builder = StreamServer::builder(LOCAL);
                if round % 10 == 0 {
                    builder = builder.hubs(2).reuse_port(round % 20 == 0);
                }
                let server = builder.bind(echo).unwrap();
                server.start().unwrap();
                let client = enter(server.address());
                let killed = match round % 3 {
                    0 => server.stop(Some(Duration::ZERO)),
                    1 => {
                        drop(client);
                        server.stop(None)
                    }
                    _ => {
                        let handle = server.handle();
                        drop(server);
                        drop(client);
                        handle.stop(None)
                    }
                };
                assert_eq!(killed, usize::from(round % 3 == 0));
            }
            hub::wait_idle(Some(ms(5000)));
            let after = hub::stats();
            assert_eq!(descriptors(), fds);
            eventually("the threads end", || threads() == tasks);
            assert_eq!(after.greenlets, before.greenlets);
            assert_eq!(after.registrations, before.registrations);
            assert_eq!(after.timers, before.timers);
            assert_eq!(after.stacks_live, before.stacks_live);
        },
    );
}

#[test]
fn a_thousand_datagram_servers_leave_nothing_either() {
    let _bound = bounded();
    leak_free("a datagram server", || {
        for round in 0..1000 {
            let server = DatagramServer::bind(LOCAL, |_, _, _| sleep(HOUR)).unwrap();
            server.start().unwrap();
            if round % 2 == 0 {
                let client = UdpSocket::bind(LOCAL).unwrap();
                client.send_to(b"x", server.address()).unwrap();
                while server.stats().active == 0 {
                    yield_now();
                }
            }
            let killed = server.stop(Some(Duration::ZERO));
            assert_eq!(killed, usize::from(round % 2 == 0));
        }
    });
}

#[test]
fn a_guest_that_withstands_its_kill_holds_up_no_stop_for_long() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, |stream: TcpStream, peer| {
        shield(|| echo(stream, peer))
    });
    let server = server.unwrap();
    server.start().unwrap();
    let client = enter(server.address());
    assert_eq!(server.stop(Some(Duration::ZERO)), 1);
    assert_eq!(server.stats().active, 1);
    assert_eq!(server.start().unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(client);
    while server.stats().active > 0 {
        yield_now();
    }
    server.start().unwrap();
}

#[test]
fn who_is_killed_in_serve_forever_leaves_a_closed_server() {
    let _bound = bounded();
    leak_free("serve_forever", || {
        let server = StreamServer::bind(LOCAL, echo).unwrap();
        let address = server.address();
        let serving = spawn(move || server.serve_forever());
        yield_now();
        drop(enter(address));
        serving.kill();
        assert!(serving.join().unwrap_err().is_killed());
        yield_now();
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_timeout_around_a_stop_unwinds_and_the_server_is_closed() {
    let _bound = bounded();
    leak_free("a stop", || {
        let server = StreamServer::bind(LOCAL, echo).unwrap();
        server.start().unwrap();
        let client = enter(server.address());
        assert!(with_timeout(ms(5), || server.stop(None)).is_err());
        assert!(server.closed());
        drop(client);
        assert_eq!(server.stop(None), 0);
    });
}

#[test]
fn a_server_whose_hub_ends_is_ended_with_an_error() {
    let _bound = bounded();
    let server = StreamServer::bind(LOCAL, echo).unwrap();
    greenroom::run(|| {
        server.start().unwrap();
        drop(enter(server.address()));
    });
    assert!(server.closed());
    assert_eq!(server.stop(None), 0);
    server.start().unwrap();
    drop(enter(server.address()));
}

#[test]
fn for_want_of_descriptors_it_pauses_and_then_recovers() {
    let _bound = bounded();
    alone_and_well(
        "for_want_of_descriptors_it_pauses_and_then_recovers",
        || {
            let server = StreamServer::bind(LOCAL, echo).unwrap();
            server.start().unwrap();
            drop(enter(server.address()));
            while server.stats().active > 0 {
                yield_now();
            }
            // Of std's, so that the server does not run meanwhile.
            let client = std::net::TcpStream::connect(server.address()).unwrap();
            let mut client = TcpStream::from(client);
            let mut hoard = Vec::new();
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: `limit` is one rlimit, read and written by the calls.
            unsafe {
                libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
                limit.rlim_cur = 64;
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            }
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file);
            }
            sleep(ms(100));
            let stats = server.stats();
            assert!((1..20).contains(&stats.errors), "{stats:?}");
            assert_eq!(stats.accepted, 1);
            drop(hoard);
            sleep(ms(200));
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            assert!(server.started());
        },
    );
}

#[test]
fn a_start_without_descriptors_for_its_hubs_is_an_error_and_leaves_nothing() {
    let _bound = bounded();
    alone_and_well(
        "a_start_without_descriptors_for_its_hubs_is_an_error_and_leaves_nothing",
        || {
            let server = StreamServer::builder(LOCAL).hubs(20).bind(echo).unwrap();
            drop(spawn(|| ()).join());
            let (tasks, mut limit) = (
                threads(),
                libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                },
            );
            // SAFETY: `limit` is one rlimit, read and written by the calls.
            unsafe {
                libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
                let most = std::mem::replace(&mut limit.rlim_cur, descriptors() as u64 + 10);
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
                let error = server.start().unwrap_err();
                assert!(error.to_string().contains("hub"), "{error}");
                limit.rlim_cur = most;
                assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
            }
            assert!(server.closed());
            eventually("the threads end", || threads() == tasks);
            server.start().unwrap();
            drop(enter(server.address()));
            assert_eq!(server.stop(None), 0);
            eventually("the threads end", || threads() == tasks);
        },
    );
}

#[test]
fn a_logger_that_panics_does_no_harm() {
    let _bound = bounded();
    static PANICS: AtomicBool = AtomicBool::new(false);
    struct Moody;
    impl log::Log for Moody {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, _: &log::Record<'_>) {
            assert!(!PANICS.load(Ordering::Relaxed), "a logger that panics");
        }
        fn flush(&self) {}
    }
    alone_and_well("a_logger_that_panics_does_no_harm", || {
        log::set_logger(&Moody).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        PANICS.store(true, Ordering::Relaxed);
        let server = StreamServer::bind(LOCAL, |_, _| io::Result::<()>::Err(io::Error::other("x")));
        let server = server.unwrap();
        server.start().unwrap();
        for _ in 0..3 {
            let mut client = TcpStream::connect(server.address()).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        assert!(server.started());
        PANICS.store(false, Ordering::Relaxed);
    });
}

#[test]
fn a_job_that_is_dropped_closes_its_connection() {
    let _bound = bounded();
    let builder = StreamServer::builder(LOCAL).spawn(Spawn::with(drop));
    let server = builder.bind(echo).unwrap();
    server.start().unwrap();
    let mut client = TcpStream::connect(server.address()).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.stats().active, 0);
}

#[test]
fn a_job_may_run_on_an_os_thread() {
    let _bound = bounded();
    let spawn = Spawn::with(|job| drop(std::thread::spawn(job)));
    let server = StreamServer::builder(LOCAL)
        .spawn(spawn)
        .bind(echo)
        .unwrap();
    server.start().unwrap();
    let client = enter(server.address());
    drop(client);
    assert_eq!(server.stop(None), 0);
}

#[test]
fn a_listener_of_a_raw_descriptor_is_served() {
    let _bound = bounded();
    let listener = std::net::TcpListener::bind(LOCAL).unwrap();
    // SAFETY: the descriptor has just been given up by its owner.
    let listener =
        unsafe { TcpListener::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(listener)) };
    let server = StreamServer::builder_of(listener).bind(echo).unwrap();
    server.start().unwrap();
    drop(enter(server.address()));
}
