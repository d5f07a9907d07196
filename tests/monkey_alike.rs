//! What a call returns is the same with and without the patch: each program here runs on an OS
//! thread without a hub, then in a greenlet, and the results are compared.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::c_int;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{green, ms, native, on_one_os_thread, pipe};

/// The results of `program`, which must be the same in both worlds.
fn alike<T: PartialEq + std::fmt::Debug + Send + 'static>(program: fn() -> T) -> T {
    let without = native(program);
    let with = os_thread_with_hub(program);
    assert_eq!(with, without, "patched, and not");
    with
}

fn os_thread_with_hub<T: Send + 'static>(program: fn() -> T) -> T {
    let (sender, result) = std::sync::mpsc::channel();
    on_one_os_thread(move || sender.send(green(program)).unwrap());
    result.recv().unwrap()
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A result of a call that was to move `want` bytes.
fn say(result: isize, want: usize) -> String {
    match result {
        -1 => format!("{:?}", std::io::Error::last_os_error().kind()),
        0 => "nothing".into(),
        moved if moved as usize == want => "all".into(),
        moved if moved < 100 => format!("{moved} bytes"),
        _ => "a part".into(),
    }
}

fn set_linger(fd: c_int, seconds: c_int) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: seconds,
    };
    // SAFETY: the option's own type.
    let set = unsafe {
        let size = size_of_val(&linger) as u32;
        let at = (&raw const linger).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, at, size)
    };
    assert_eq!(set, 0);
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    set_linger(stream.as_raw_fd(), 0);
}

fn set_nonblocking(fd: c_int) {
    // SAFETY: no pointers.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
}

const LARGE: usize = 30 << 20;

fn receive_all(fd: c_int, want: usize) -> isize {
    let mut buffer = vec![0u8; want];
    // SAFETY: the buffer has `want` bytes.
    unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), want, libc::MSG_WAITALL) }
}

fn receive_message(fd: c_int, want: usize) -> isize {
    let mut buffer = vec![0u8; want];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: want,
    };
    // SAFETY: a message of zeros with one slice, which lives here.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
        libc::recvmsg(fd, &mut message, libc::MSG_WAITALL)
    }
}

/// The ways to send much by one call.
const SENDS: [fn(c_int, &[u8]) -> isize; 5] =
    [write, send, send_halves, send_message, send_messages];

fn write(fd: c_int, bytes: &[u8]) -> isize {
    // SAFETY: the slice itself.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

fn send(fd: c_int, bytes: &[u8]) -> isize {
    // SAFETY: the slice itself.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) }
}

fn send_halves(fd: c_int, bytes: &[u8]) -> isize {
    let halves = halves(bytes);
    // SAFETY: two slices.
    unsafe { libc::writev(fd, halves.as_ptr(), 2) }
}

fn send_message(fd: c_int, bytes: &[u8]) -> isize {
    let mut halves = halves(bytes);
    // SAFETY: a message of two slices.
    unsafe { libc::sendmsg(fd, &message(&mut halves), 0) }
}

/// How many messages were begun, in hundreds, and whether there was anything in the first.
fn send_messages(fd: c_int, bytes: &[u8]) -> isize {
    let mut halves = halves(bytes);
    let msg_hdr = message(&mut halves);
    let mut messages = [libc::mmsghdr {
        msg_hdr,
        msg_len: 0,
    }; 2];
    // SAFETY: two messages.
    match unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), 2, 0) } {
        -1 => -1,
        count => 100 * count as isize + messages[0].msg_len.min(1) as isize,
    }
}

fn read(fd: c_int) -> isize {
    let mut buffer = [0u8; 64];
    // SAFETY: the buffer's own length.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), 64) }
}

fn halves(bytes: &[u8]) -> [libc::iovec; 2] {
    let (a, b) = bytes.split_at(bytes.len() / 2);
    [a, b].map(|half| libc::iovec {
        iov_base: half.as_ptr().cast_mut().cast(),
        iov_len: half.len(),
    })
}

fn message(slices: &mut [libc::iovec; 2]) -> libc::msghdr {
    // SAFETY: a message of zeros is one without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (slices.as_mut_ptr(), 2);
    message
}

#[test]
fn a_reset_that_meets_a_receive_of_all_is_left_to_the_next_one() {
    let _bound = bounded();
    let program = || {
        [receive_all, receive_message].map(|receive| {
            let (client, mut peer) = connected();
            let receiver = thread::spawn(move || {
                let fd = client.as_raw_fd();
                [(); 3].map(|()| say(receive(fd, 100), 100))
            });
            thread::sleep(ms(30));
            peer.write_all(b"half of it").unwrap();
            thread::sleep(ms(30));
            reset(peer);
            receiver.join().unwrap()
        })
    };
    let expected = ["10 bytes", "ConnectionReset", "nothing"];
    assert_eq!(alike(program), [expected, expected]);
}

#[test]
fn a_reset_that_meets_a_large_send_is_left_to_the_next_one() {
    let _bound = bounded();
    let program = || {
        SENDS.map(|send| {
            let (client, mut peer) = connected();
            let sender = thread::spawn(move || {
                let data = vec![1u8; LARGE];
                [(); 3].map(|()| say(send(client.as_raw_fd(), &data), LARGE))
            });
            thread::sleep(ms(50));
            peer.read_exact(&mut [0; 1000]).unwrap();
            reset(peer);
            sender.join().unwrap()
        })
    };
    let expected = ["a part", "ConnectionReset", "BrokenPipe"];
    assert_eq!(alike(program), [expected; 5]);
}

/// The peer reads and resets without a pause, so that the reset also comes between two tries.
#[test]
fn no_reset_is_lost_between_two_tries() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            for round in 0..200 {
                let (client, mut peer) = connected();
                let far = monkey_support::os_thread(move || {
                    let mut buffer = vec![0; 1 << 16];
                    for _ in 0..round % 60 {
                        peer.read_exact(&mut buffer).unwrap();
                    }
                    reset(peer);
                });
                let data = vec![1u8; LARGE];
                let sent = [(); 3].map(|()| say(write(client.as_raw_fd(), &data), LARGE));
                let told = ["ConnectionReset", "BrokenPipe"];
                assert!(
                    sent[0] == "a part" && sent[1..] == told || sent[..2] == told,
                    "{sent:?}"
                );
                far.join().unwrap();
            }
        });
    });
}

#[test]
fn sendfile_ends_as_the_kernels_does() {
    let _bound = bounded();
    let program = || {
        let (client, mut peer) = connected();
        let sender = thread::spawn(move || {
            let name = c"greenroom";
            // SAFETY: a C string; the descriptor is new.
            let file = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(name.as_ptr(), 0)) };
            let file = std::fs::File::from(file);
            file.set_len(LARGE as u64).unwrap();
            // SAFETY: no offset, so no pointer.
            let send = || unsafe {
                libc::sendfile(client.as_raw_fd(), file.as_raw_fd(), null_mut(), LARGE)
            };
            [(); 3].map(|()| say(send(), LARGE))
        });
        thread::sleep(ms(50));
        peer.read_exact(&mut [0; 1000]).unwrap();
        reset(peer);
        sender.join().unwrap()
    };
    alike(program);
}

/// There the kernel itself takes the error of its socket, whatever was moved before.
#[test]
fn unix_streams_end_as_the_kernels_do() {
    let _bound = bounded();
    let program = || {
        let (near, mut far) = UnixStream::pair().unwrap();
        let receiver = thread::spawn(move || {
            (&near).write_all(b"that is never read").unwrap();
            [(); 3].map(|()| say(receive_all(near.as_raw_fd(), 100), 100))
        });
        thread::sleep(ms(30));
        far.write_all(b"half of it").unwrap();
        thread::sleep(ms(30));
        drop(far);
        let received = receiver.join().unwrap();

        let sends = SENDS.map(|send| {
            let (near, mut far) = UnixStream::pair().unwrap();
            let sender = thread::spawn(move || {
                let data = vec![1u8; 3 << 20];
                [(); 3].map(|()| say(send(near.as_raw_fd(), &data), data.len()))
            });
            thread::sleep(ms(50));
            far.read_exact(&mut [0; 1000]).unwrap();
            drop(far);
            sender.join().unwrap()
        });
        (received, sends)
    };
    alike(program);
}

#[test]
fn recvmmsg_leaves_the_error_to_the_next_call() {
    let _bound = bounded();
    let program = || {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        near.connect(far.local_addr().unwrap()).unwrap();
        let sender = near.try_clone().unwrap();
        let to = near.local_addr().unwrap();
        let receiver = thread::spawn(move || {
            let mut buffer = [0u8; 16];
            [(); 2].map(|()| {
                let slice = libc::iovec {
                    iov_base: buffer.as_mut_ptr().cast(),
                    iov_len: 16,
                };
                let mut slices = [slice, slice];
                let msg_hdr = message(&mut slices);
                let mut messages = [libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                }; 2];
                let (at, flags) = (messages.as_mut_ptr(), 0);
                // SAFETY: two messages, whose slices live here.
                let got = unsafe { libc::recvmmsg(near.as_raw_fd(), at, 2, flags, null_mut()) };
                say(got as isize, 2)
            })
        });
        thread::sleep(ms(30));
        far.send_to(b"one", to).unwrap();
        thread::sleep(ms(30));
        drop(far);
        sender.send(b"to nobody").unwrap();
        receiver.join().unwrap()
    };
    assert_eq!(alike(program), ["1 bytes", "ConnectionRefused"]);
}

/// Did a call with a limit of 200 ms end soon?
fn within(begin: Instant) -> bool {
    let took = begin.elapsed();
    assert!(took >= ms(180), "{took:?}");
    took < ms(1500)
}

/// The other side moves a little every 50 ms: a call has one timeout, not one for each wait.
#[test]
fn a_call_has_one_timeout() {
    let _bound = bounded();
    let program = || {
        let (client, mut peer) = connected();
        client.set_read_timeout(Some(ms(200))).unwrap();
        let receiver = thread::spawn(move || {
            let begin = Instant::now();
            let received = receive_all(client.as_raw_fd(), 100);
            (received > 0, received < 100, within(begin))
        });
        for _ in 0..40 {
            thread::sleep(ms(50));
            // It has gone, after some time.
            let _ = peer.write_all(b"x");
        }
        let received = receiver.join().unwrap();

        let (client, mut peer) = connected();
        client.set_write_timeout(Some(ms(200))).unwrap();
        let sender = thread::spawn(move || {
            let (begin, data) = (Instant::now(), vec![1u8; LARGE]);
            let sent = say(send(client.as_raw_fd(), &data), LARGE);
            (sent, within(begin))
        });
        let mut buffer = vec![0; 1 << 18];
        for _ in 0..40 {
            thread::sleep(ms(50));
            // It has gone, after some time.
            let _ = peer.read(&mut buffer);
        }
        (received, sender.join().unwrap())
    };
    let expected = ((true, true, true), ("a part".to_string(), true));
    assert_eq!(alike(program), expected);
}

/// There the kernel's timeout is one for each piece of some 32 KB.
#[test]
fn a_slow_reader_of_a_unix_stream_does_not_time_the_writer_out() {
    let _bound = bounded();
    let program = || {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_write_timeout(Some(ms(400))).unwrap();
        let sender = thread::spawn(move || {
            let data = vec![1u8; 1 << 20];
            say(write(near.as_raw_fd(), &data), data.len())
        });
        let mut buffer = vec![0; 1 << 16];
        while far.read(&mut buffer).unwrap() > 0 {
            thread::sleep(ms(80));
        }
        sender.join().unwrap()
    };
    assert_eq!(alike(program), "all");
}

#[test]
fn a_timeout_that_changes_is_for_the_next_call() {
    let _bound = bounded();
    let program = || {
        let (client, mut peer) = connected();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let other = client.try_clone().unwrap();
        let receiver = thread::spawn(move || (&client).read(&mut [0; 8]).map_err(|e| e.kind()));
        thread::sleep(ms(30));
        other.set_read_timeout(Some(ms(1))).unwrap();
        thread::sleep(ms(200));
        peer.write_all(b"late").unwrap();
        receiver.join().unwrap()
    };
    assert_eq!(alike(program), Ok(4));
}

/// Whether a call may wait is decided when it begins.
#[test]
fn what_waits_goes_on_when_a_duplicate_becomes_nonblocking() {
    let _bound = bounded();
    let program = || {
        let mut results = Vec::new();
        // A read.
        let (client, mut peer) = connected();
        let other = client.try_clone().unwrap();
        let waiting = thread::spawn(move || say(read(client.as_raw_fd()), 4));
        thread::sleep(ms(150));
        set_nonblocking(other.as_raw_fd());
        thread::sleep(ms(200));
        peer.write_all(b"late").unwrap();
        results.push(waiting.join().unwrap());

        // A receive of all, half of which is there.
        let (client, mut peer) = connected();
        let other = client.try_clone().unwrap();
        let waiting = thread::spawn(move || say(receive_all(client.as_raw_fd(), 20), 20));
        thread::sleep(ms(150));
        peer.write_all(b"0123456789").unwrap();
        set_nonblocking(other.as_raw_fd());
        thread::sleep(ms(200));
        peer.write_all(b"0123456789").unwrap();
        results.push(waiting.join().unwrap());

        // Large sends.
        for send in [write as fn(c_int, &[u8]) -> isize, send, send_message] {
            let (client, mut peer) = connected();
            let other = client.try_clone().unwrap();
            let sender = thread::spawn(move || {
                let data = vec![1u8; LARGE];
                let sent = say(send(client.as_raw_fd(), &data), LARGE);
                client.shutdown(std::net::Shutdown::Write).unwrap();
                sent
            });
            peer.peek(&mut [0]).unwrap();
            thread::sleep(ms(50));
            set_nonblocking(other.as_raw_fd());
            thread::sleep(ms(150));
            std::io::copy(&mut peer, &mut std::io::sink()).unwrap();
            results.push(sender.join().unwrap());
        }

        // An accept.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, other) = (
            listener.local_addr().unwrap(),
            listener.try_clone().unwrap(),
        );
        let accept = thread::spawn(move || listener.accept().map(drop).map_err(|e| e.kind()));
        thread::sleep(ms(150));
        set_nonblocking(other.as_raw_fd());
        thread::sleep(ms(200));
        let _client = TcpStream::connect(address).unwrap();
        results.push(format!("{:?}", accept.join().unwrap()));
        results
    };
    let results = alike(program);
    assert!(
        results
            .iter()
            .all(|result| result == "all" || result == "Ok(())"),
        "{results:?}"
    );
}

#[test]
fn a_read_of_a_pipe_goes_on_likewise() {
    let _bound = bounded();
    let program = || {
        let [reader, writer] = pipe().map(monkey_support::owned);
        let [from, to] = [reader.as_raw_fd(), writer.as_raw_fd()];
        let reading = thread::spawn(move || say(read(from), 4));
        thread::sleep(ms(150));
        set_nonblocking(from);
        thread::sleep(ms(200));
        let written = say(write(to, b"late"), 4);
        [written, reading.join().unwrap()]
    };
    assert_eq!(alike(program), ["all", "all"]);
}

/// The peer reads nothing, so that the end is not acknowledged: there is no room for it.
fn unacknowledged() -> (TcpStream, TcpStream) {
    let (client, peer) = connected();
    client.set_nonblocking(true).unwrap();
    while (&client).write(&[1; 1 << 16]).is_ok() {}
    client.set_nonblocking(false).unwrap();
    (client, peer)
}

#[test]
fn a_close_that_lingers_parks_for_as_long_as_the_kernels_takes() {
    let _bound = bounded();
    let program = || {
        // The whole time, by close and by dup2.
        let waits = [false, true].map(|replaced| {
            let (client, _peer) = unacknowledged();
            set_linger(client.as_raw_fd(), 1);
            let begin = Instant::now();
            if replaced {
                let [other, _end] = pipe().map(monkey_support::owned);
                // SAFETY: no pointers; the number stays owned by `client`.
                let done = unsafe { libc::dup2(other.as_raw_fd(), client.as_raw_fd()) };
                assert_eq!(done, client.as_raw_fd());
                let took = begin.elapsed();
                drop(client);
                took
            } else {
                drop(client);
                begin.elapsed()
            }
        });
        // Not if there is a duplicate, nor longer than the peer needs.
        let (client, mut peer) = unacknowledged();
        set_linger(client.as_raw_fd(), 30);
        let other = client.try_clone().unwrap();
        let begin = Instant::now();
        drop(other);
        let duplicate = begin.elapsed() < ms(500);
        let reader = thread::spawn(move || {
            thread::sleep(ms(300));
            std::io::copy(&mut peer, &mut std::io::sink()).unwrap() > 0
        });
        drop(client);
        let took = begin.elapsed();
        let acknowledged = took >= ms(250) && took < Duration::from_secs(15);
        let whole = waits.map(|took| took >= ms(900) && took < Duration::from_secs(15));
        (whole, duplicate, acknowledged, reader.join().unwrap())
    };
    assert_eq!(alike(program), ([true; 2], true, true, true));
}

#[test]
fn others_run_while_a_close_lingers() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (client, _peer) = unacknowledged();
        set_linger(client.as_raw_fd(), 1);
        let begin = Instant::now();
        monkey_support::parks(move || drop(client));
        assert!(begin.elapsed() >= ms(900));

        let (client, _peer) = unacknowledged();
        set_linger(client.as_raw_fd(), 1);
        let closes = greenroom::spawn(move || {
            drop(client);
            greenroom::sleep(Duration::from_secs(60));
        });
        greenroom::sleep(ms(50));
        let begin = Instant::now();
        closes.kill();
        assert!(closes.join().unwrap_err().is_killed());
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "the kill came after the close"
        );
    });
}
