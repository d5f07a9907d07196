//! std::net as it is.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(50);

fn said(n: usize) -> String {
    format!("I am number {n}, ").repeat(20)
}

#[test]
fn an_echo_and_names_that_are_looked_up() {
    let server = echo_server(DELAY);
    on_one_os_thread(move || {
        let echo = move |n: usize| {
            // A name, so that getaddrinfo has its part in it.
            let mut stream = TcpStream::connect(("localhost", server.port())).unwrap();
            stream.write_all(said(n).as_bytes()).unwrap();
            let mut back = vec![0; said(n).len()];
            stream.read_exact(&mut back).unwrap();
            String::from_utf8(back).unwrap()
        };
        assert_same_and_side_by_side("std::net, an echo", Mode::ALL, echo, said);
    });
}

#[test]
fn timeouts_of_reads() {
    let server = silent_server(Duration::from_secs(60));
    on_one_os_thread(move || {
        let read = move |n: usize| {
            let mut stream = TcpStream::connect(server).unwrap();
            stream.set_read_timeout(Some(DELAY)).unwrap();
            let (read, took) = timed(|| stream.read(&mut [0; 16]));
            assert!(took >= DELAY, "{took:?}");
            (n, read.unwrap_err().raw_os_error())
        };
        let result = |n| (n, Some(libc::EAGAIN));
        assert_same_and_side_by_side("std::net, timeouts", Mode::ALL, read, result);
    });
}

/// A listener that lets nobody in any more, with those who have come before.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: no pointers. It listens anew, with a queue as short as can be.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let come = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let guests = (0..4).map_while(|_| come().ok()).collect();
    (listener, guests)
}

/// Servers that echo, that reset, and that read nothing.
#[derive(Clone, Copy)]
struct Servers {
    echoes: SocketAddr,
    resets: SocketAddr,
    silent: SocketAddr,
}

type Tried = Vec<(&'static str, io::Result<usize>)>;

fn streams(servers: Servers) -> Tried {
    let mut room = [0; 16];
    let connect = |to| TcpStream::connect(to).expect("the server is there");
    let mut waits = connect(servers.echoes);
    waits.set_read_timeout(Some(SHORT)).unwrap();
    let late = waits.read(&mut room);
    waits.set_nonblocking(true).unwrap();
    let at_once = waits.read(&mut room);
    let peeked = waits.peek(&mut room);
    let mut reset = connect(servers.resets);
    reset.write_all(b"never read").unwrap();
    let by_reset = reset.read(&mut room);
    let mut ends = connect(servers.echoes);
    ends.shutdown(Shutdown::Write).unwrap();
    let shut = ends.write(b"x");
    let gone = ends.read(&mut room);
    let mut stuffed = connect(servers.silent);
    stuffed.set_write_timeout(Some(SHORT)).unwrap();
    let stuck = loop {
        if let Err(error) = stuffed.write(&[7; 65536]) {
            break Err(error);
        }
    };
    let never = ends.set_read_timeout(Some(Duration::ZERO)).map(|()| 0);
    vec![
        ("read, late", late),
        ("read, non-blocking", at_once),
        ("peek, non-blocking", peeked),
        ("read, reset", by_reset),
        ("write, shut down", shut),
        ("read, at the end", gone),
        ("write, late", stuck),
        ("no time at all", never),
    ]
}

fn connections(full: SocketAddr) -> Tried {
    let nobody: SocketAddr = NOBODY.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let taken = TcpListener::bind(listener.local_addr().unwrap());
    let long = Duration::from_secs(20);
    vec![
        ("refused", TcpStream::connect(nobody).map(|_| 0)),
        (
            "refused in time",
            TcpStream::connect_timeout(&nobody, long).map(|_| 0),
        ),
        (
            "too late",
            TcpStream::connect_timeout(&full, SHORT).map(|_| 0),
        ),
        (
            "no such name",
            TcpStream::connect("no.such.name.invalid:80").map(|_| 0),
        ),
        ("no number", TcpStream::connect("localhost:port").map(|_| 0)),
        ("not ours", TcpListener::bind("192.0.2.1:0").map(|_| 0)),
        ("taken", taken.map(|_| 0)),
        ("nobody came", listener.accept().map(|_| 0)),
        ("no path", UnixStream::connect("/nowhere/at/all").map(|_| 0)),
        (
            "no socket",
            UnixStream::connect("/proc/self/status").map(|_| 0),
        ),
    ]
}

fn datagrams() -> Tried {
    let mut room = [0; 4];
    let bound = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (near, far) = (bound(), bound());
    near.set_read_timeout(Some(SHORT)).unwrap();
    let late = near.recv(&mut room);
    let nowhere = near.send(b"x");
    let long = near.send_to(&[0; 70_000], far.local_addr().unwrap());
    far.send_to(b"cut off", near.local_addr().unwrap()).unwrap();
    let cut = near.recv(&mut room);
    near.connect(NOBODY).unwrap();
    near.send(b"x").unwrap();
    let refused = near.recv(&mut room);
    vec![
        ("recv, late", late),
        ("send to nowhere", nowhere),
        ("too long", long),
        ("cut off", cut),
        ("refused", refused),
    ]
}

#[test]
fn errnos() {
    let servers = Servers {
        echoes: echo_server(Duration::ZERO),
        resets: resetting_server(),
        silent: silent_server(Duration::from_secs(60)),
    };
    on_one_os_thread(move || {
        let (listener, _guests) = full();
        let full = listener.local_addr().unwrap();
        let said = same_failures(Mode::ALL, move || {
            let mut all = streams(servers);
            all.extend(connections(full));
            all.extend(datagrams());
            let told = |done: io::Result<usize>| done.map_or_else(told, |n| n.to_string());
            all.into_iter()
                .map(|(what, done)| (what, told(done)))
                .collect()
        });
        // That some are what they are meant to be.
        for (what, errno) in [
            ("read, late", libc::EAGAIN),
            ("read, non-blocking", libc::EAGAIN),
            ("read, reset", libc::ECONNRESET),
            ("write, shut down", libc::EPIPE),
            ("write, late", libc::EAGAIN),
            ("refused", libc::ECONNREFUSED),
            ("taken", libc::EADDRINUSE),
            ("nobody came", libc::EAGAIN),
            ("no path", libc::ENOENT),
            ("too long", libc::EMSGSIZE),
        ] {
            let one = said.iter().find(|one| one.0 == what).unwrap();
            assert!(one.1.contains(&format!("errno Some({errno})")), "{one:?}");
        }
        let late = said.iter().find(|one| one.0 == "too late").unwrap();
        assert!(late.1.contains("[TimedOut"), "{late:?}");
    });
}
