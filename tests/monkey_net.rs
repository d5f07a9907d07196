//! std::net and Unix sockets, unchanged, in greenlets of one OS thread.

mod monkey_support;

use monkey_support::bounded;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{errno, green, later, ms, os_thread, owned, pair, parks, pipe, soon};

/// How many descriptors there can be, at least 3,000 if the system lets us.
fn descriptors_max() -> i32 {
    // SAFETY: a place for the limits, and then valid ones.
    unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits);
        limits.rlim_cur = limits.rlim_max.min(limits.rlim_cur.max(5_000));
        libc::setrlimit(libc::RLIMIT_NOFILE, &limits);
        limits.rlim_cur.min(100_000) as i32
    }
}

/// A number that other tests, which run at the same time, don't get.
fn reserved(index: i32) -> i32 {
    descriptors_max() - 1 - index
}

/// Gives a descriptor another number.
fn placed(fd: i32, number: i32) -> i32 {
    let fd = owned(fd);
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), number) }, number);
    number
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn a_thousand_clients_of_an_echo_server_share_one_os_thread() {
    let _bound = bounded();
    const CLIENTS: usize = 1000;
    assert!(descriptors_max() > 2500, "raise the limit of open files");
    green(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = greenroom::spawn(move || {
            (0..CLIENTS).for_each(|_| {
                let (mut peer, _) = listener.accept().unwrap();
                greenroom::spawn(move || {
                    let mut buffer = [0; 64];
                    loop {
                        match peer.read(&mut buffer).unwrap() {
                            0 => break,
                            n => peer.write_all(&buffer[..n]).unwrap(),
                        }
                    }
                });
            });
        });
        let clients = (0..CLIENTS).map(|i| {
            greenroom::spawn(move || {
                // std listens with room for 128, and who is dropped tries again after a second.
                thread::sleep(Duration::from_micros(200 * i as u64));
                let mut stream = TcpStream::connect(address).unwrap();
                for round in 0..3 {
                    let text = format!("client {i} round {round}");
                    stream.write_all(text.as_bytes()).unwrap();
                    thread::sleep(ms(50));
                    let mut back = vec![0; text.len()];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, text.as_bytes());
                }
            })
        });
        let begin = Instant::now();
        greenroom::joinall(clients)
            .into_iter()
            .for_each(|client| client.unwrap());
        server.join().unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "one by one it takes 150 s"
        );
    });
}

#[test]
fn each_blocking_call_of_a_socket_parks() {
    let _bound = bounded();
    let (client, mut server) = connected();
    let mut at_client = client.try_clone().unwrap();
    let far = later(move || server.write_all(b"hello").unwrap());
    let read = parks(move || {
        let mut five = [0; 5];
        at_client.read_exact(&mut five).map(|()| five)
    });
    assert_eq!(&read.unwrap(), b"hello");
    far.join().unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let far = later(move || drop(TcpStream::connect(address).unwrap()));
    parks(move || listener.accept().map(drop)).unwrap();
    far.join().unwrap();

    let (near, far) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0"),
    );
    let (address, far) = (near.local_addr().unwrap(), far.unwrap());
    let far = later(move || assert_eq!(far.send_to(b"datagram", address).unwrap(), 8));
    assert_eq!(parks(move || near.recv_from(&mut [0; 99]).unwrap().0), 8);
    far.join().unwrap();

    let (near, far) = UnixDatagram::pair().unwrap();
    let far = later(move || assert_eq!(far.send(b"datagram").unwrap(), 8));
    assert_eq!(parks(move || near.recv(&mut [0; 99]).unwrap()), 8);
    far.join().unwrap();
}

#[test]
fn a_blocking_send_sends_all() {
    let _bound = bounded();
    const LENGTH: usize = 40_000_000;
    let (mut client, mut server) = connected();
    let far = later(move || {
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), LENGTH);
    });
    // One call, not write_all: a blocking send is never short.
    assert_eq!(
        parks(move || client.write(&vec![1; LENGTH]).unwrap()),
        LENGTH
    );
    far.join().unwrap();
    for kind in ["writev", "sendmsg", "write"] {
        let bytes: Vec<u8> = (0..1_000_000).map(|i| (i % 251) as u8).collect();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let far = later(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            assert!(
                all.iter()
                    .enumerate()
                    .all(|(i, byte)| *byte == (i % 251) as u8),
                "{kind}"
            );
            assert_eq!(all.len(), 1_000_000, "{kind}");
        });
        let sent = parks(move || {
            let slices: Vec<_> = bytes.chunks(3333).map(std::io::IoSlice::new).collect();
            let fd = near.as_raw_fd();
            // SAFETY: valid slices and bytes; a message of zeros but for them.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = slices.as_ptr().cast_mut().cast();
                message.msg_iovlen = slices.len();
                match kind {
                    "writev" => near.write_vectored(&slices).unwrap(),
                    "sendmsg" => libc::sendmsg(fd, &message, 0) as usize,
                    _ => libc::write(fd, bytes.as_ptr().cast(), bytes.len()) as usize,
                }
            }
        });
        assert_eq!(sent, 1_000_000, "{kind}");
        far.join().unwrap();
    }
}

#[test]
fn flags_of_a_receive_keep_their_meaning() {
    let _bound = bounded();
    let call = |fd: i32, room: &mut [u8], flags| {
        // SAFETY: a valid buffer.
        unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), flags) }
    };
    // MSG_WAITALL waits for all; with MSG_PEEK it leaves all there.
    for peek in [0, libc::MSG_PEEK] {
        let (near, mut far) = UnixStream::pair().unwrap();
        let far = os_thread(move || {
            far.write_all(b"half ").unwrap();
            thread::sleep(ms(40));
            far.write_all(b"all").unwrap();
            thread::sleep(ms(40));
        });
        let got = parks(move || {
            let mut room = [0; 8];
            let got = call(near.as_raw_fd(), &mut room, libc::MSG_WAITALL | peek);
            let left = call(near.as_raw_fd(), &mut [0; 8], libc::MSG_DONTWAIT);
            (got, room, left)
        });
        assert_eq!((got.0, &got.1), (8, b"half all"));
        assert_eq!(got.2, if peek == 0 { -1 } else { 8 });
        far.join().unwrap();
    }
}

#[test]
fn timeouts_that_the_user_has_set_are_kept() {
    let _bound = bounded();
    let (client, _server) = connected();
    client.set_read_timeout(Some(ms(40))).unwrap();
    let begin = Instant::now();
    let mut clone = client.try_clone().unwrap();
    let kind = parks(move || clone.read(&mut [0]).unwrap_err().kind());
    assert_eq!(kind, ErrorKind::WouldBlock);
    assert!(begin.elapsed() >= ms(40));
    // Set anew for a descriptor whose mode is known, by a duplicate of it.
    let longer = client.try_clone().unwrap();
    longer.set_read_timeout(Some(ms(80))).unwrap();
    let begin = Instant::now();
    let mut client = client;
    parks(move || client.read(&mut [0]).unwrap_err());
    assert!(begin.elapsed() >= ms(80), "{:?}", begin.elapsed());
}

#[test]
fn non_blocking_mode_is_the_users_own_whoever_sets_it_and_when() {
    let _bound = bounded();
    // T8: descriptors from before the patch, duplicates, inherited and received ones.
    let (client, mut server) = connected();
    let mut duplicate = client.try_clone().unwrap();
    let far = later(move || {
        server.write_all(b"x").unwrap();
        thread::sleep(ms(60));
    });
    parks(move || {
        assert_eq!(duplicate.read(&mut [0]).unwrap(), 1, "it blocks");
        client.set_nonblocking(true).unwrap();
        let kind = duplicate.read(&mut [0]).unwrap_err().kind();
        assert_eq!(
            kind,
            ErrorKind::WouldBlock,
            "set by FIONBIO on the other duplicate"
        );
        let fd = client.as_raw_fd();
        // SAFETY: takes an integer.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFL, 0) }, 0);
        duplicate.set_read_timeout(Some(ms(20))).unwrap();
        let begin = Instant::now();
        duplicate.read(&mut [0]).unwrap_err();
        assert!(
            begin.elapsed() >= ms(20),
            "cleared by F_SETFL: it blocks again"
        );
    });
    far.join().unwrap();
    // What is accepted from a non-blocking listener blocks, on Linux.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = later(move || client.write_all(b"x").unwrap());
    parks(move || {
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 1);
    });
    far.join().unwrap();
}

#[test]
fn descriptors_that_travel_in_messages_can_be_waited_for() {
    let _bound = bounded();
    #[repr(C, align(8))]
    struct Control([u8; 24]);
    let message = |control: &mut Control, slice: &mut libc::iovec| {
        // SAFETY: a message of zeros is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (slice, 1);
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = 24;
        message
    };
    let [a, b] = pair(libc::SOCK_STREAM).map(owned);
    let (mut near, far) = UnixStream::pair().unwrap();
    let sender = later(move || {
        let (mut byte, mut control) = ([9u8], Control([0; 24]));
        let mut slice = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let message = message(&mut control, &mut slice);
        // SAFETY: the control data has room for one descriptor.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(header)
                .cast::<i32>()
                .write_unaligned(far.as_raw_fd());
            assert_eq!(libc::sendmsg(b.as_raw_fd(), &message, 0), 1);
        }
        thread::sleep(ms(50));
        near.write_all(b"by way of a message").unwrap();
    });
    parks(move || {
        let (mut byte, mut control) = ([0u8], Control([0; 24]));
        let mut slice = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut message = message(&mut control, &mut slice);
        // SAFETY: as above; the descriptor is ours from here on.
        let mut received = unsafe {
            assert_eq!(libc::recvmsg(a.as_raw_fd(), &mut message, 0), 1);
            let header = libc::CMSG_FIRSTHDR(&message);
            let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
            UnixStream::from_raw_fd(fd)
        };
        let mut text = [0; 19];
        received.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"by way of a message");
    });
    sender.join().unwrap();
}

#[test]
fn closing_wakes_who_waits_and_the_number_may_come_back() {
    let _bound = bounded();
    // T6: by this thread and by another one, by close and by dup2.
    for elsewhere in [false, true] {
        for replaced in [false, true] {
            green(move || {
                let [first, b] = pair(libc::SOCK_STREAM);
                let a = placed(first, reserved(0));
                let waiter = greenroom::spawn(move || {
                    let mut byte = [0u8];
                    // SAFETY: a valid buffer.
                    let got = unsafe { libc::recv(a, byte.as_mut_ptr().cast(), 1, 0) };
                    (got, errno())
                });
                greenroom::sleep(ms(10));
                let end = move || {
                    // SAFETY: the number is ours.
                    unsafe {
                        if replaced {
                            libc::dup2(b, a)
                        } else {
                            libc::close(a)
                        };
                    }
                };
                if elsewhere {
                    os_thread(end).join().unwrap();
                } else {
                    end();
                }
                assert_eq!(
                    waiter.join().unwrap(),
                    (-1, libc::EBADF),
                    "{elsewhere} {replaced}"
                );
                // The same number, another socket.
                let [second, d] = pair(libc::SOCK_STREAM);
                let c = placed(second, reserved(0));
                let far = soon(move || {
                    // SAFETY: a valid buffer.
                    assert_eq!(unsafe { libc::send(d, [7u8].as_ptr().cast(), 1, 0) }, 1);
                });
                let mut byte = [0u8];
                // SAFETY: a valid buffer.
                assert_eq!(unsafe { libc::recv(c, byte.as_mut_ptr().cast(), 1, 0) }, 1);
                far.join().unwrap();
                drop([b, c, d].map(owned));
            });
        }
    }
}

#[test]
fn a_number_that_was_closed_out_of_sight_is_found_out() {
    let _bound = bounded();
    // T10: whoever makes system calls of his own closes where nobody sees it.
    #[cfg(target_arch = "x86_64")]
    green(|| {
        let placed_pair = || {
            let (near, far) = UnixStream::pair().unwrap();
            (placed(near.into_raw_fd(), reserved(1)), far)
        };
        let read = |fd: i32| {
            let mut byte = [0u8];
            // SAFETY: a valid buffer.
            unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) }
        };
        let (number, mut far) = placed_pair();
        let first = greenroom::spawn(move || read(number));
        greenroom::sleep(ms(5));
        far.write_all(b"x").unwrap();
        assert_eq!(first.join().unwrap(), 1);
        let failed: isize;
        // SAFETY: close(2) of our own number; the kernel changes rax, rcx and r11 only.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") libc::SYS_close as isize => failed,
                in("rdi") number as isize, lateout("rcx") _, lateout("r11") _);
        }
        assert_eq!(failed, 0);
        let raw_dup = libc::SYS_dup3;
        let (near, mut far) = UnixStream::pair().unwrap();
        // SAFETY: no pointers.
        let done = unsafe { libc::syscall(raw_dup, near.as_raw_fd(), number, 0) };
        assert_eq!(done, number.into());
        let second = greenroom::spawn(move || read(number));
        greenroom::sleep(ms(5));
        far.write_all(b"x").unwrap();
        assert_eq!(second.join().unwrap(), 1);
    });
}

#[test]
fn who_waits_for_long_is_left_alone() {
    let _bound = bounded();
    green(|| {
        let pairs: Vec<_> = (0..200).map(|_| UnixStream::pair().unwrap()).collect();
        let (near, far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let read = |near: UnixStream| greenroom::spawn(move || (&near).read(&mut [0]).unwrap());
        let readers: Vec<_> = near.into_iter().map(read).collect();
        // Each makes sure once that it waits for the right thing.
        greenroom::sleep(ms(500));
        let before = greenroom::hub::stats().switches;
        greenroom::sleep(ms(300));
        let switches = greenroom::hub::stats().switches - before;
        assert!(switches < 20, "{switches} switches while nothing happened");
        drop(far);
        greenroom::joinall(readers)
            .into_iter()
            .for_each(|read| assert_eq!(read.unwrap(), 0));
    });
}

#[test]
fn shutdown_wakes_who_waits() {
    let _bound = bounded();
    green(|| {
        let (client, _server) = connected();
        let mut clone = client.try_clone().unwrap();
        let reader = greenroom::spawn(move || clone.read(&mut [0]).unwrap());
        greenroom::sleep(ms(5));
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd();
        let acceptor = greenroom::spawn(move || listener.accept().map(drop).unwrap_err());
        greenroom::sleep(ms(5));
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::shutdown(fd, libc::SHUT_RD) }, 0);
        assert_eq!(acceptor.join().unwrap().raw_os_error(), Some(libc::EINVAL));
    });
}

#[test]
fn several_may_wait_for_one_socket_and_are_served_in_order() {
    let _bound = bounded();
    // T7: two readers, and a writer beside them.
    green(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let fd = near.as_raw_fd();
        let readers: Vec<_> = (0..5)
            .map(|_| {
                greenroom::spawn(move || {
                    let mut byte = [0u8];
                    // SAFETY: a valid buffer.
                    assert_eq!(unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) }, 1);
                    byte[0]
                })
            })
            .collect();
        greenroom::sleep(ms(5));
        near.send(b"back").unwrap();
        (0..5).for_each(|i| assert_eq!(far.send(&[i]).unwrap(), 1));
        let got: Vec<u8> = greenroom::joinall(readers)
            .into_iter()
            .map(|r| r.unwrap())
            .collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn full_unix_queues_are_waited_for() {
    let _bound = bounded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listener");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no pointers. A queue as short as can be.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect(&path).unwrap();
    let far = later(move || (0..2).for_each(|_| drop(listener.accept().unwrap())));
    let second = path.clone();
    parks(move || UnixStream::connect(second).map(drop)).unwrap();
    far.join().unwrap();

    let (near, far) = UnixDatagram::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    near.set_nonblocking(true).unwrap();
    while near.send(b"full").is_ok() {}
    near.set_nonblocking(false).unwrap();
    let far = later(move || {
        while far.recv(&mut [0; 9]).is_ok() {}
        thread::sleep(ms(60));
    });
    assert_eq!(parks(move || near.send(b"room").unwrap()), 4);
    far.join().unwrap();
}

#[test]
fn greenrooms_own_sockets_and_std_s_share_a_hub_in_peace() {
    let _bound = bounded();
    green(|| {
        let listener = greenroom::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = greenroom::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut text = String::new();
            peer.read_to_string(&mut text).map(|_| text)
        });
        let mut stream = TcpStream::connect(address).unwrap();
        greenroom::sleep(ms(5));
        stream.write_all(b"from std").unwrap();
        // Registered by number first, then ours.
        stream.set_read_timeout(Some(ms(5))).unwrap();
        stream.read(&mut [0]).unwrap_err();
        let mut adopted = greenroom::net::TcpStream::from(std::os::fd::OwnedFd::from(stream));
        adopted.write_all(b" and from greenroom").unwrap();
        drop(adopted);
        assert_eq!(own.join().unwrap().unwrap(), "from std and from greenroom");
        // poll(2) on a descriptor that greenroom watches.
        let (near, mut far) = greenroom::os::unix::net::UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        let reader = greenroom::spawn(move || (&near).read(&mut [0; 2]).map(|n| (n, near)));
        let poller = greenroom::spawn(move || {
            let mut one = libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one, and valid.
            unsafe { libc::poll(&mut one, 1, 5000) }
        });
        greenroom::sleep(ms(5));
        far.write_all(b"x").unwrap();
        let (got, _near) = reader.join().unwrap().unwrap();
        assert_eq!(got, 1);
        far.write_all(b"y").unwrap();
        assert_eq!(poller.join().unwrap(), 1);
    });
}

#[test]
fn large_numbers_of_descriptors_are_no_limit() {
    let _bound = bounded();
    // T15: tables of a fixed size.
    let (near, mut far) = UnixStream::pair().unwrap();
    let high = placed(near.into_raw_fd(), reserved(2));
    let far = later(move || far.write_all(b"x").unwrap());
    let mut byte = [0u8];
    // SAFETY: a valid buffer.
    let got = parks(move || unsafe { libc::recv(high, byte.as_mut_ptr().cast(), 1, 0) });
    assert_eq!(got, 1);
    far.join().unwrap();
    drop(owned(high));
}

#[test]
fn accept_gives_the_address_and_inherits_as_natively() {
    let _bound = bounded();
    green(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = greenroom::spawn(move || TcpStream::connect(address).unwrap());
        let (peer, from) = listener.accept().unwrap();
        assert_eq!(from, client.join().unwrap().local_addr().unwrap());
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "the listener is as it was");
        // SAFETY: no pointers.
        let flags = unsafe { libc::fcntl(peer.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        // SAFETY: null is no address.
        let closed = unsafe { libc::accept(-1, null_mut(), null_mut()) };
        assert_eq!(closed, -1);
    });
}

#[test]
fn an_acceptor_lets_those_begin_whom_it_has_woken() {
    let _bound = bounded();
    green(|| {
        const GUESTS: usize = 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _guests: Vec<_> = (0..GUESTS)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let begun = std::rc::Rc::new(std::cell::Cell::new(0));
        for accepted in 0..GUESTS {
            let (_, _) = listener.accept().unwrap();
            assert_eq!(begun.get(), accepted, "each guest before has been seen to");
            let begun = std::rc::Rc::clone(&begun);
            drop(greenroom::spawn_local(move || begun.set(begun.get() + 1)));
        }
    });
}

#[test]
fn to_close_all_numbers_costs_what_is_open() {
    let _bound = bounded();
    green(|| {
        let [read, write] = pipe();
        let (read, write) = (owned(read), owned(write));
        let waits = greenroom::spawn_local(move || {
            let mut byte = [0];
            // SAFETY: room for one byte.
            unsafe { libc::read(read.as_raw_fd(), byte.as_mut_ptr().cast(), 1) }
        });
        greenroom::yield_now();
        // It has gone through a million numbers each time: 8 s of them here.
        let begin = Instant::now();
        for _ in 0..100 {
            // SAFETY: there are none so high.
            assert_eq!(unsafe { libc::close_range(1 << 30, u32::MAX, 0) }, 0);
        }
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        drop(write);
        assert_eq!(waits.join().unwrap(), 0);
    });
}
