//! Unix sockets: what std's own tests (library/std/src/os/unix/net/tests.rs) ask, in our words.
mod net_support;

use greenroom::os;
use greenroom::thread;

use net_support::{bounded, kind, kind_after};
use os::linux::net::SocketAddrExt;
use os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

const SHORT: Duration = Duration::from_millis(50);

fn place() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("sock");
    (dir, path)
}

/// An abstract address that no other test uses.
fn name() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "greenroom-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Relaxed)
    );
    SocketAddr::from_abstract_name(name).unwrap()
}

fn byte(mut stream: &UnixStream) -> u8 {
    let mut buf = [0];
    stream.read_exact(&mut buf).unwrap();
    buf[0]
}

#[test]
fn a_listener_at_a_path() {
    let _bound = bounded();
    let (_dir, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
    let server = thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        assert!(from.is_unnamed());
        let seen = byte(&stream);
        stream.write_all(&[seen + 1]).unwrap();
    });
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*path));
    assert!(stream.local_addr().unwrap().is_unnamed());
    stream.write_all(&[1]).unwrap();
    assert_eq!(byte(&stream), 2);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    server.join().unwrap();
}

#[test]
fn a_listener_at_an_abstract_name() {
    let _bound = bounded();
    let addr = name();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    let local = listener.local_addr().unwrap();
    assert_eq!(local.as_abstract_name(), addr.as_abstract_name());
    let stream = UnixStream::connect_addr(&addr).unwrap();
    let peer = stream.peer_addr().unwrap();
    assert_eq!(peer.as_abstract_name(), addr.as_abstract_name());
    assert!(listener.accept().unwrap().1.is_unnamed());
    assert_eq!(kind(UnixListener::bind_addr(&addr)), ErrorKind::AddrInUse);
}

#[test]
fn a_path_is_an_address_too() {
    let _bound = bounded();
    let (_dir, path) = place();
    let addr = SocketAddr::from_pathname(&path).unwrap();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    let _stream = UnixStream::connect_addr(&addr).unwrap();
    assert!(listener.accept().unwrap().1.is_unnamed());
}

#[test]
fn a_path_that_does_not_fit_is_invalid() {
    let _bound = bounded();
    let long = "x".repeat(150);
    assert_eq!(kind(UnixStream::connect(&long)), ErrorKind::InvalidInput);
    assert_eq!(kind(UnixListener::bind(&long)), ErrorKind::InvalidInput);
    assert_eq!(kind(UnixDatagram::bind(&long)), ErrorKind::InvalidInput);
    assert_eq!(kind(UnixListener::bind("a\0b")), ErrorKind::InvalidInput);
    let socket = UnixDatagram::unbound().unwrap();
    assert_eq!(kind(socket.send_to(&[1], &long)), ErrorKind::InvalidInput);
    assert_eq!(kind(socket.connect(&long)), ErrorKind::InvalidInput);
}

#[test]
fn connect_errors() {
    let _bound = bounded();
    let (_dir, path) = place();
    assert_eq!(kind(UnixStream::connect(&path)), ErrorKind::NotFound);
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(
        kind(UnixStream::connect(&path)),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
    assert_eq!(
        kind(UnixStream::connect_addr(&name())),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn a_connect_waits_while_the_backlog_is_full() {
    let _bound = bounded();
    let addr = name();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    // SAFETY: listen(2) takes no pointers; the listener is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect_addr(&addr).unwrap();
    let acceptor = thread::spawn(move || {
        thread::sleep(SHORT);
        listener
            .incoming()
            .take(2)
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    });
    let begin = Instant::now();
    let mut second = UnixStream::connect_addr(&addr).unwrap();
    assert!(begin.elapsed() >= SHORT / 2);
    second.write_all(&[2]).unwrap();
    assert_eq!(byte(&acceptor.join().unwrap()[1]), 2);
}

#[test]
fn a_pair_talks_both_ways() {
    let _bound = bounded();
    let (mut a, b) = UnixStream::pair().unwrap();
    assert!(a.local_addr().unwrap().is_unnamed());
    let peer = thread::spawn(move || {
        assert_eq!(byte(&b), 1);
        (&b).write_all(&[2]).unwrap();
    });
    thread::sleep(SHORT);
    a.write_all(&[1]).unwrap();
    assert_eq!(byte(&a), 2);
    assert_eq!(a.read(&mut [0]).unwrap(), 0);
    peer.join().unwrap();
    assert_eq!(kind(a.write(&[3])), ErrorKind::BrokenPipe);
}

#[test]
fn reads_and_writes_wait_for_the_other_side() {
    let _bound = bounded();
    const LEN: usize = 4 << 20;
    let (mut a, mut b) = UnixStream::pair().unwrap();
    let writer = thread::spawn(move || a.write_all(&vec![7; LEN]).unwrap());
    thread::sleep(SHORT);
    let mut all = Vec::new();
    b.read_to_end(&mut all).unwrap();
    assert_eq!(all, vec![7; LEN]);
    writer.join().unwrap();
}

#[test]
fn vectored_reads_and_writes() {
    let _bound = bounded();
    let (mut a, mut b) = UnixStream::pair().unwrap();
    let bufs = [IoSlice::new(&[1]), IoSlice::new(&[]), IoSlice::new(&[2, 3])];
    assert_eq!(a.write_vectored(&bufs).unwrap(), 3);
    let (mut x, mut y) = ([0; 2], [0; 2]);
    let count = b
        .read_vectored(&mut [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)])
        .unwrap();
    assert_eq!((count, x, y), (3, [1, 2], [3, 0]));
    assert_eq!(b.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
}

#[test]
fn many_connections() {
    let _bound = bounded();
    let addr = name();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    assert_eq!(listener.incoming().size_hint(), (usize::MAX, None));
    let server = thread::spawn(move || {
        for (i, stream) in (0..20).zip(&listener) {
            assert_eq!(byte(&stream.unwrap()), i);
        }
    });
    for i in 0..20 {
        UnixStream::connect_addr(&addr)
            .unwrap()
            .write_all(&[i])
            .unwrap();
    }
    server.join().unwrap();
}

#[test]
fn clones_are_the_same_socket() {
    let _bound = bounded();
    let (mut a, b) = UnixStream::pair().unwrap();
    let clone = b.try_clone().unwrap();
    a.write_all(&[1, 2]).unwrap();
    assert_eq!((byte(&b), byte(&clone)), (1, 2));
    let second = Some(Duration::from_secs(1));
    b.set_read_timeout(second).unwrap();
    assert_eq!(clone.read_timeout().unwrap(), second);

    let addr = name();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    let clone = listener.try_clone().unwrap();
    drop(listener);
    let _stream = UnixStream::connect_addr(&addr).unwrap();
    clone.accept().unwrap();
}

#[test]
fn shutting_down_one_way_and_the_other() {
    let _bound = bounded();
    let (a, mut b) = UnixStream::pair().unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!(b.read(&mut [0]).unwrap(), 0);
    b.write_all(&[1]).unwrap();
    assert_eq!(byte(&a), 1);
    let mut reading = a.try_clone().unwrap();
    let reader = thread::spawn(move || reading.read(&mut [0]).unwrap());
    thread::sleep(SHORT);
    a.shutdown(Shutdown::Read).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
}

#[test]
fn timeouts_are_read_back_and_may_not_be_zero() {
    let _bound = bounded();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let (read, write) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(2)));
    assert_eq!(
        (
            stream.read_timeout().unwrap(),
            stream.write_timeout().unwrap()
        ),
        (None, None)
    );
    stream.set_read_timeout(read).unwrap();
    stream.set_write_timeout(write).unwrap();
    assert_eq!(
        (
            stream.read_timeout().unwrap(),
            stream.write_timeout().unwrap()
        ),
        (read, write)
    );
    datagram.set_read_timeout(read).unwrap();
    datagram.set_write_timeout(write).unwrap();
    let both = (
        datagram.read_timeout().unwrap(),
        datagram.write_timeout().unwrap(),
    );
    assert_eq!(both, (read, write));
    let zero = Some(Duration::ZERO);
    assert_eq!(kind(stream.set_read_timeout(zero)), ErrorKind::InvalidInput);
    assert_eq!(
        kind(stream.set_write_timeout(zero)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(datagram.set_read_timeout(zero)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(datagram.set_write_timeout(zero)),
        ErrorKind::InvalidInput
    );
    stream.set_read_timeout(None).unwrap();
    assert_eq!(stream.read_timeout().unwrap(), None);
}

#[test]
fn what_waited_too_long_would_block() {
    let _bound = bounded();
    let (mut a, _b) = UnixStream::pair().unwrap();
    a.set_read_timeout(Some(SHORT)).unwrap();
    a.set_write_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        kind_after(SHORT, || a.read(&mut [0])),
        ErrorKind::WouldBlock
    );
    let filled = kind_after(
        SHORT,
        || loop {
            a.write_all(&[0; 4096])?;
        } as std::io::Result<()>,
    );
    assert_eq!(filled, ErrorKind::WouldBlock);

    let (c, _d) = UnixDatagram::pair().unwrap();
    c.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(
        kind_after(SHORT, || c.recv(&mut [0])),
        ErrorKind::WouldBlock
    );
    assert_eq!(
        kind_after(SHORT, || c.recv_from(&mut [0])),
        ErrorKind::WouldBlock
    );
}

#[test]
fn nothing_waits_in_nonblocking_mode() {
    let _bound = bounded();
    let (mut a, _b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    assert_eq!(kind(a.read(&mut [0])), ErrorKind::WouldBlock);
    let listener = UnixListener::bind_addr(&name()).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
    let (c, _d) = UnixDatagram::pair().unwrap();
    c.set_nonblocking(true).unwrap();
    assert_eq!(kind(c.recv(&mut [0])), ErrorKind::WouldBlock);
    assert_eq!(kind(c.recv_from(&mut [0])), ErrorKind::WouldBlock);
    for error in [a.take_error(), listener.take_error(), c.take_error()] {
        assert!(error.unwrap().is_none());
    }
}

#[test]
fn datagrams_between_paths() {
    let _bound = bounded();
    let (dir, path) = place();
    let other = dir.path().join("other");
    let (a, b) = (
        UnixDatagram::bind(&path).unwrap(),
        UnixDatagram::bind(&other).unwrap(),
    );
    assert_eq!(a.local_addr().unwrap().as_pathname(), Some(&*path));
    assert_eq!(a.send_to(b"there", &other).unwrap(), 5);
    let mut buf = [0; 8];
    let (count, from) = b.recv_from(&mut buf).unwrap();
    assert_eq!(
        (&buf[..count], from.as_pathname()),
        (&b"there"[..], Some(&*path))
    );
    assert_eq!(b.send_to_addr(b"back", &from).unwrap(), 4);
    assert_eq!(a.recv(&mut buf).unwrap(), 4);
    assert_eq!(kind(UnixDatagram::bind(&path)), ErrorKind::AddrInUse);
}

#[test]
fn datagrams_between_abstract_names() {
    let _bound = bounded();
    let (x, y) = (name(), name());
    let (a, b) = (
        UnixDatagram::bind_addr(&x).unwrap(),
        UnixDatagram::bind_addr(&y).unwrap(),
    );
    a.send_to_addr(b"1", &y).unwrap();
    let (count, from) = b.recv_from(&mut [0; 8]).unwrap();
    assert_eq!((count, from.as_abstract_name()), (1, x.as_abstract_name()));
    b.connect_addr(&x).unwrap();
    assert_eq!(
        b.peer_addr().unwrap().as_abstract_name(),
        x.as_abstract_name()
    );
    b.send(b"22").unwrap();
    assert_eq!(a.recv(&mut [0; 8]).unwrap(), 2);
}

#[test]
fn datagrams_of_an_unnamed_sender() {
    let _bound = bounded();
    let (_dir, path) = place();
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    assert!(sender.local_addr().unwrap().is_unnamed());
    assert_eq!(kind(sender.send(b"x")), ErrorKind::NotConnected);
    assert_eq!(kind(sender.peer_addr()), ErrorKind::NotConnected);
    sender.send_to(b"hello", &path).unwrap();
    let (count, from) = receiver.recv_from(&mut [0; 8]).unwrap();
    assert!(count == 5 && from.is_unnamed());
    sender.connect(&path).unwrap();
    assert_eq!(sender.peer_addr().unwrap().as_pathname(), Some(&*path));
    sender.send(b"again!").unwrap();
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 6);
}

#[test]
fn a_pair_of_datagram_sockets() {
    let _bound = bounded();
    let (a, b) = UnixDatagram::pair().unwrap();
    let clone = a.try_clone().unwrap();
    let sender = thread::spawn(move || {
        thread::sleep(SHORT);
        clone.send(b"late").unwrap();
    });
    let (count, from) = b.recv_from(&mut [0; 8]).unwrap();
    assert!(count == 4 && from.is_unnamed());
    sender.join().unwrap();
    a.send(&[]).unwrap();
    assert_eq!(b.recv(&mut [0; 8]).unwrap(), 0);
    a.shutdown(Shutdown::Both).unwrap();
    assert_eq!(kind(a.send(b"x")), ErrorKind::BrokenPipe);
}

/// Sends until `send` says that it waited in vain, then reads one and sends one more.
fn fill(receiver: UnixDatagram, sender: &UnixDatagram, send: impl Fn() -> std::io::Result<usize>) {
    sender.set_write_timeout(Some(SHORT)).unwrap();
    let full = kind_after(
        SHORT,
        || loop {
            send()?;
        } as std::io::Result<()>,
    );
    assert_eq!(full, ErrorKind::WouldBlock);
    sender.set_nonblocking(true).unwrap();
    assert_eq!(kind(send()), ErrorKind::WouldBlock);
    sender.set_nonblocking(false).unwrap();
    sender
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let reader = thread::spawn(move || {
        thread::sleep(SHORT);
        // Enough to be told of: a connected sender is woken when half of the queue is free.
        for _ in 0..8 {
            receiver.recv(&mut [0; 8]).unwrap();
        }
        receiver
    });
    send().unwrap();
    drop(reader.join().unwrap());
}

#[test]
fn sending_waits_while_the_receiver_is_full() {
    let _bound = bounded();
    let addr = name();
    let receiver = UnixDatagram::bind_addr(&addr).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    fill(receiver, &sender, || sender.send_to_addr(b"x", &addr));
}

#[test]
fn sending_waits_while_the_peer_is_full() {
    let _bound = bounded();
    let addr = name();
    let receiver = UnixDatagram::bind_addr(&addr).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect_addr(&addr).unwrap();
    fill(receiver, &sender, || sender.send(b"x"));
}

#[test]
fn several_senders_share_the_room_of_a_receiver() {
    let _bound = bounded();
    let addr = name();
    let receiver = UnixDatagram::bind_addr(&addr).unwrap();
    let senders = [(); 5].map(|()| {
        let addr = addr.clone();
        thread::spawn(move || {
            let sender = UnixDatagram::unbound().unwrap();
            (0..50).for_each(|number| {
                assert_eq!(sender.send_to_addr(&[number], &addr).unwrap(), 1);
            });
        })
    });
    let mut counts = [0; 50];
    for _ in 0..250 {
        let mut number = [0];
        receiver.recv(&mut number).unwrap();
        counts[usize::from(number[0])] += 1;
    }
    assert_eq!(counts, [5; 50]);
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
}

#[test]
fn a_sender_learns_that_the_full_receiver_has_gone() {
    let _bound = bounded();
    let addr = name();
    let receiver = UnixDatagram::bind_addr(&addr).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to_addr(b"x", &addr).is_ok() {}
    sender.set_nonblocking(false).unwrap();
    let waits = thread::spawn(move || kind(sender.send_to_addr(b"x", &addr)));
    thread::sleep(SHORT);
    drop(receiver);
    assert_eq!(waits.join().unwrap(), ErrorKind::ConnectionRefused);
}

#[test]
fn debug_shows_what_std_shows() {
    let _bound = bounded();
    let (_dir, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _peer) = UnixStream::pair().unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let ours = [
        format!("{listener:?}"),
        format!("{stream:?}"),
        format!("{datagram:?}"),
    ];
    let theirs = [
        format!("{:?}", std::os::unix::net::UnixListener::from(listener)),
        format!("{:?}", std::os::unix::net::UnixStream::from(stream)),
        format!("{:?}", std::os::unix::net::UnixDatagram::from(datagram)),
    ];
    assert_eq!(ours, theirs);
    assert!(ours[0].contains(path.to_str().unwrap()), "{}", ours[0]);
}

#[test]
fn to_std_and_back_keeps_mode_and_timeouts() {
    let _bound = bounded();
    for mode in [false, true] {
        let (a, _b) = UnixStream::pair().unwrap();
        a.set_nonblocking(mode).unwrap();
        a.set_read_timeout(Some(SHORT)).unwrap();
        let mut theirs = std::os::unix::net::UnixStream::from(a);
        let begin = Instant::now();
        assert_eq!(kind(theirs.read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(begin.elapsed() < SHORT / 2, mode);
        let mut ours = UnixStream::from(theirs);
        let begin = Instant::now();
        assert_eq!(kind(ours.read(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(begin.elapsed() < SHORT / 2, mode);
    }
}

#[test]
fn listeners_and_datagrams_go_to_std_and_back() {
    let _bound = bounded();
    let addr = name();
    let theirs = std::os::unix::net::UnixListener::from(UnixListener::bind_addr(&addr).unwrap());
    let ours = UnixListener::from(theirs);
    let _stream = UnixStream::connect_addr(&addr).unwrap();
    ours.accept().unwrap();

    let (a, b) = UnixDatagram::pair().unwrap();
    let a = UnixDatagram::from(std::os::unix::net::UnixDatagram::from(a));
    a.send(b"x").unwrap();
    assert_eq!(b.recv(&mut [0; 2]).unwrap(), 1);
}

#[test]
fn a_raw_descriptor_is_the_same_socket() {
    let _bound = bounded();
    let (a, b) = UnixStream::pair().unwrap();
    // SAFETY: the number comes from `into_raw_fd`, so it is open and ours.
    let mut again = unsafe { UnixStream::from_raw_fd(a.into_raw_fd()) };
    again.write_all(&[1]).unwrap();
    assert_eq!(byte(&b), 1);
}

#[test]
fn the_types_are_as_free_as_those_of_std() {
    let _bound = bounded();
    fn free<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    free::<UnixStream>();
    free::<UnixListener>();
    free::<UnixDatagram>();
    free::<os::unix::net::Incoming<'static>>();
}
