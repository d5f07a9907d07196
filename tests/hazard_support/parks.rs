//! Every park point of the public API, as a table: a new one is a new line.

use super::{HOUR, OnDrop, endless, ms};
use greenroom::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use greenroom::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use greenroom::{io, scope, shield, sleep, sleep_until, thread, with_timeout, yield_now};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A park point by name, and code that parks there for an hour at least, and has all that it
/// needs for that on its own stack.
pub(crate) type Park = (&'static str, fn());

pub(crate) const PARKS: &[Park] = &[
    ("sleep", || sleep(HOUR)),
    ("sleep of the longest duration", || sleep(Duration::MAX)),
    ("sleep_until", || sleep_until(greenroom::now() + HOUR)),
    ("yield_now", || forever(yield_now)),
    ("idle", || forever(greenroom::idle)),
    ("park", || forever(thread::park)),
    ("park_timeout", || forever(|| thread::park_timeout(HOUR))),
    ("join", || with_endless(|other| drop(other.join()))),
    ("join_timeout", || {
        with_endless(|other| drop(other.join_timeout(HOUR)))
    }),
    ("joinall", || {
        with_endless(|other| drop(greenroom::joinall([other])))
    }),
    ("wait", || {
        with_endless(|other| drop(greenroom::wait([&other]).ready()))
    }),
    ("wait with a limit", || {
        with_endless(|other| drop(greenroom::wait([&other]).timeout(HOUR).ready()))
    }),
    ("iwait", || {
        with_endless(|other| _ = greenroom::iwait([&other]).next())
    }),
    ("killall", || {
        with_endless(|other| _ = greenroom::killall([&other], None))
    }),
    ("killall with a limit", || {
        with_endless(|other| _ = greenroom::killall([&other], Some(HOUR)))
    }),
    ("join of another hub's", join_of_another_hub),
    ("the body of a scope", || {
        scope(|s| {
            s.spawn(|| sleep(HOUR));
            sleep(HOUR)
        })
    }),
    ("join in a scope", || {
        scope(|s| drop(s.spawn(|| sleep(HOUR)).join()))
    }),
    ("the wait of a scope at its end", || {
        scope(|s| _ = s.spawn(|| sleep(HOUR)))
    }),
    ("after the wait of a scope", || {
        scope(|s| {
            s.spawn(|| sleep(ms(3)));
        });
        sleep(HOUR)
    }),
    ("inside with_timeout", || {
        _ = with_timeout(HOUR, || sleep(HOUR))
    }),
    ("inside two timeouts", || {
        _ = with_timeout(HOUR, || with_timeout(HOUR, || sleep(HOUR)))
    }),
    ("after a shield", || {
        shield(|| sleep(ms(3)));
        sleep(HOUR)
    }),
    ("tcp connect", || {
        full_listener(|address| drop(TcpStream::connect(address)))
    }),
    ("tcp connect_timeout", || {
        full_listener(|address| drop(TcpStream::connect_timeout(&address, HOUR)))
    }),
    ("tcp accept", || drop(listener().accept())),
    ("tcp incoming", || drop(listener().incoming().next())),
    ("tcp read", || {
        tcp(|mut one, _other| drop(one.read(&mut [0])))
    }),
    ("tcp read with a limit", || {
        tcp(|mut one, _other| {
            one.set_read_timeout(Some(HOUR)).unwrap();
            drop(one.read(&mut [0]))
        })
    }),
    ("tcp read_exact", || {
        tcp(|mut one, mut other| {
            other.write_all(b"x").unwrap();
            drop(one.read_exact(&mut [0; 2]))
        })
    }),
    ("tcp peek", || tcp(|one, _other| drop(one.peek(&mut [0])))),
    ("tcp write_all", || tcp(|one, _other| fill(one))),
    ("udp recv_from", || drop(udp().recv_from(&mut [0]))),
    ("udp peek_from", || drop(udp().peek_from(&mut [0]))),
    ("udp recv", || {
        drop({
            let one = udp();
            one.connect(one.local_addr().unwrap()).unwrap();
            one.recv(&mut [0])
        })
    }),
    ("unix connect", unix_connect),
    ("unix accept", || {
        on_path(|path| drop(UnixListener::bind(path).unwrap().accept()))
    }),
    ("unix read", || {
        unix(|mut one, _other| drop(one.read(&mut [0])))
    }),
    ("unix write_all", || unix(|one, _other| fill(one))),
    ("unix datagram recv", || {
        drop({
            let (one, _other) = UnixDatagram::pair().unwrap();
            one.recv(&mut [0])
        })
    }),
    ("unix datagram send", || {
        let (one, _other) = UnixDatagram::pair().unwrap();
        while one.send(&[0; 4096]).is_ok() {}
    }),
    ("pipe read", || {
        let (mut reader, _writer) = io::pipe().unwrap();
        drop(reader.read(&mut [0]))
    }),
    ("pipe write_all", || {
        let (_reader, writer) = io::pipe().unwrap();
        fill(writer)
    }),
    ("wait_readable", || {
        unix(|one, _other| drop(io::wait_readable(&one)))
    }),
    ("wait_writable", || {
        unix(|one, _other| {
            one.set_nonblocking(true).unwrap();
            fill(&one);
            drop(io::wait_writable(&one))
        })
    }),
    ("the lock of stdin", stdin_lock),
    ("name lookups", name_lookups),
];

/// Of these, where a kill below `foreign` is an error or an early end; the others wait on.
pub(crate) const IN_C: &[&str] = &[
    "sleep",
    "sleep of the longest duration",
    "sleep_until",
    "tcp connect",
    "tcp connect_timeout",
    "tcp accept",
    "tcp incoming",
    "tcp read",
    "tcp read with a limit",
    "tcp read_exact",
    "tcp peek",
    "tcp write_all",
    "udp recv_from",
    "udp peek_from",
    "udp recv",
    "unix accept",
    "unix read",
    "unix write_all",
    "unix datagram recv",
    "pipe read",
    "pipe write_all",
    "wait_readable",
    "wait_writable",
];

fn forever(mut park: impl FnMut()) {
    loop {
        park();
    }
}

/// Calls `f` with a greenlet that never ends, until `f` is over.
fn with_endless(f: impl FnOnce(greenroom::Greenlet<()>)) {
    let (other, _end) = endless();
    // It has to have begun, or a kill would find nothing to end.
    yield_now();
    f(other);
}

fn join_of_another_hub() {
    let (sender, hub) = std::sync::mpsc::channel();
    let (end, over) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        sender.send(greenroom::hub::current()).unwrap();
        while over.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            sleep(ms(1));
        }
    });
    let hub = hub.recv().unwrap();
    let (mut end, mut thread) = (Some(end), Some(thread));
    let _end = OnDrop(move || {
        drop(end.take());
        thread.take().unwrap().join().unwrap();
    });
    drop(hub.spawn(|| sleep(HOUR)).join());
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn tcp(f: impl FnOnce(TcpStream, TcpStream)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    f(one.into(), other.into());
}

fn unix(f: impl FnOnce(UnixStream, UnixStream)) {
    let (one, other) = UnixStream::pair().unwrap();
    f(one, other);
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// Writes until it parks, or would.
fn fill(mut writer: impl Write) {
    while writer.write_all(&[7; 65536]).is_ok() {}
}

/// Shortens the queue of a listener to nothing.
fn no_backlog(listener: &impl AsRawFd) {
    // SAFETY: listen takes plain numbers; the listener is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
}

/// Calls `f` with an address at which connections are neither taken nor refused.
fn full_listener(f: impl FnOnce(std::net::SocketAddr)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    no_backlog(&listener);
    let address = listener.local_addr().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    f(address);
}

/// Calls `f` with a path that nobody else has, and removes it afterwards.
fn on_path(f: impl FnOnce(&std::path::Path)) {
    static PATHS: AtomicUsize = AtomicUsize::new(0);
    let number = PATHS.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenroom-hazard-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _remove = OnDrop(|| drop(std::fs::remove_file(&path)));
    f(&path);
}

fn unix_connect() {
    on_path(|path| {
        let listener = UnixListener::bind(path).unwrap();
        no_backlog(&listener);
        let _first = UnixStream::connect(path).unwrap();
        drop(UnixStream::connect(path));
    });
}

fn stdin_lock() {
    let over = Rc::new(Cell::new(false));
    let theirs = Rc::clone(&over);
    let holder = greenroom::spawn_local(move || {
        let _lock = io::stdin().lock();
        while !theirs.get() {
            thread::park();
        }
    });
    let who = holder.thread().clone();
    let _end = OnDrop(|| {
        over.set(true);
        who.unpark();
    });
    yield_now();
    drop(io::stdin().lock());
}

fn name_lookups() {
    // Whether there is an answer, or which, does not matter: there is always a next question.
    forever(|| drop("nobody.invalid:80".to_socket_addrs()));
}
