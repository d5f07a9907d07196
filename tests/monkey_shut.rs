//! What the kernel tells only those who wait in the call itself: the end of what was shut down,
//! where descriptors come in a stream, and who has opened the other end of a named pipe.

mod monkey_support;

use std::ffi::{CString, c_int};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::bounded;
use monkey_support::{green, ms, native, on_one_os_thread, os_thread, owned, pipe};

/// Longer than any of these calls lasts, if it ends at all.
const LONG: Duration = Duration::from_secs(20);

/// The result of `program` in a greenlet and without a hub; it must end, and be the same.
fn alike<T: PartialEq + std::fmt::Debug + Send + 'static>(program: fn() -> T) -> T {
    let without = native(program);
    let (sender, result) = mpsc::channel();
    let runs = os_thread(move || {
        on_one_os_thread(move || sender.send(green(program)).unwrap());
    });
    let with = result.recv_timeout(LONG).expect("it hangs");
    runs.join().unwrap();
    assert_eq!(with, without, "patched, and not");
    with
}

/// What `call` returns that another thread waits in when `act` is done.
fn waits_for<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
    act: impl FnOnce(),
) -> T {
    let waiter = thread::spawn(call);
    thread::sleep(ms(40));
    act();
    waiter.join().unwrap()
}

fn place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("greenroom-{name}-{}", std::process::id()))
}

fn shut(fd: c_int) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

#[test]
fn accept_ends_when_its_listener_is_shut_down() {
    let _bound = bounded();
    let error = alike(|| {
        let path = place("listener");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let shared = listener.try_clone().unwrap();
        let accept = move || shared.accept().map(drop).map_err(|error| error.kind());
        let first = waits_for(accept, || shut(listener.as_raw_fd()));
        (
            first,
            listener.accept().map(drop).map_err(|error| error.kind()),
        )
    });
    let invalid = Err(io::ErrorKind::InvalidInput);
    assert_eq!(error, (invalid, invalid));
}

#[test]
fn a_datagram_socket_that_is_shut_down_has_an_end() {
    let _bound = bounded();
    let received = alike(|| {
        let (socket, _peer) = UnixDatagram::pair().unwrap();
        let shared = socket.try_clone().unwrap();
        let receive = move || shared.recv(&mut [0; 8]).unwrap();
        let close = || socket.shutdown(Shutdown::Read).unwrap();
        (waits_for(receive, close), socket.recv(&mut [0; 8]).unwrap())
    });
    assert_eq!(received, (0, 0));
    let received = alike(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        let shared = socket.try_clone().unwrap();
        let receive = move || shared.recv(&mut [0; 8]).unwrap();
        waits_for(receive, || shut(socket.as_raw_fd()))
    });
    assert_eq!(received, 0);
}

#[test]
fn a_write_ends_when_its_reader_reads_no_more() {
    let _bound = bounded();
    let (part, error) = alike(|| {
        let (writer, reader) = UnixStream::pair().unwrap();
        let write = move || {
            let bytes = vec![0; 8 << 20];
            let part = (&writer).write(&bytes).unwrap();
            (
                part < bytes.len(),
                (&writer).write(&bytes).map_err(|error| error.kind()),
            )
        };
        waits_for(write, || reader.shutdown(Shutdown::Read).unwrap())
    });
    assert_eq!((part, error), (true, Err(io::ErrorKind::BrokenPipe)));
}

/// A control buffer, aligned as it must be.
type Control = [u64; 16];

fn send_with(socket: &UnixStream, bytes: &[u8], passed: Option<c_int>) {
    let mut slice = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control: Control = [0; 16];
    // SAFETY: a message of zeros, one slice, and a control buffer with room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
        if let Some(fd) = passed {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd);
        }
        let sent = libc::sendmsg(socket.as_raw_fd(), &message, 0);
        assert_eq!(sent, bytes.len() as isize);
    }
}

/// How many bytes and how many descriptors one call receives that waits for 10 bytes.
fn receive_ten(socket: c_int) -> (isize, usize) {
    let mut bytes = [0u8; 10];
    let mut slice = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control: Control = [0; 16];
    // SAFETY: a message of zeros, one slice, and a control buffer; the descriptors that come are
    // nobody else's.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        let got = libc::recvmsg(socket, &mut message, libc::MSG_WAITALL);
        let mut passed = 0;
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_type == libc::SCM_RIGHTS {
                let fd = libc::CMSG_DATA(header).cast::<c_int>().read_unaligned();
                drop(OwnedFd::from_raw_fd(fd));
                passed += 1;
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        (got, passed)
    }
}

/// Five bytes, a pause, five bytes; `passes` says which of the two bring a descriptor.
fn received_when(passes: [bool; 2], credentials: bool) -> [(isize, usize); 2] {
    let (sender, receiver) = UnixStream::pair().unwrap();
    let on: c_int = credentials.into();
    // SAFETY: the option is a number.
    unsafe {
        let at = (&raw const on).cast();
        libc::setsockopt(
            receiver.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            at,
            4,
        );
    }
    let receives = thread::spawn(move || [(); 2].map(|()| receive_ten(receiver.as_raw_fd())));
    let [reader, _writer] = pipe().map(owned);
    for passes in passes {
        thread::sleep(ms(30));
        send_with(&sender, b"12345", passes.then(|| reader.as_raw_fd()));
    }
    thread::sleep(ms(30));
    drop(sender);
    receives.join().unwrap()
}

#[test]
fn descriptors_end_a_message_and_none_is_lost() {
    let _bound = bounded();
    assert_eq!(
        alike(|| received_when([false, false], false)),
        [(10, 0), (0, 0)]
    );
    assert_eq!(
        alike(|| received_when([true, true], false)),
        [(5, 1), (5, 1)]
    );
    assert_eq!(
        alike(|| received_when([true, false], false)),
        [(5, 1), (5, 0)]
    );
    assert_eq!(
        alike(|| received_when([false, true], false)),
        [(10, 1), (0, 0)]
    );
    assert_eq!(
        alike(|| received_when([false, true], true)),
        [(10, 1), (0, 0)]
    );
    assert_eq!(
        alike(|| received_when([true, true], true)),
        [(5, 1), (5, 1)]
    );
}

#[test]
fn select_passes_over_numbers_beyond_all_files() {
    let _bound = bounded();
    let (found, waited) = alike(|| {
        // SAFETY: sets of zeros are empty, and the numbers are below their size.
        unsafe {
            let mut reads: libc::fd_set = std::mem::zeroed();
            libc::FD_SET(1000, &mut reads);
            let mut limit = libc::timeval {
                tv_sec: 0,
                tv_usec: 30_000,
            };
            let begin = Instant::now();
            let none = std::ptr::null_mut();
            let found = libc::select(1024, &mut reads, none, none, &mut limit);
            (found, begin.elapsed() >= ms(30))
        }
    });
    assert_eq!((found, waited), (0, true));
}

fn named_pipe(name: &str) -> PathBuf {
    let path = place(name);
    let _ = std::fs::remove_file(&path);
    let text = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    path
}

#[test]
fn the_open_of_a_named_pipe_waits_for_the_other_end() {
    let _bound = bounded();
    let read = alike(|| {
        let path = named_pipe("ends");
        let mut read = Vec::new();
        for writer_first in [true, false] {
            let (mine, other) = (path.clone(), path.clone());
            let write = move || {
                thread::sleep(ms(if writer_first { 0 } else { 40 }));
                let mut writer = OpenOptions::new().write(true).open(&mine).unwrap();
                writer.write_all(&vec![1; 200_000]).unwrap();
            };
            let writes = thread::spawn(write);
            thread::sleep(ms(if writer_first { 40 } else { 0 }));
            let mut bytes = Vec::new();
            File::open(other).unwrap().read_to_end(&mut bytes).unwrap();
            writes.join().unwrap();
            read.push(bytes.len());
        }
        // A writer that comes and goes.
        let (mine, other) = (path.clone(), path.clone());
        let opens = thread::spawn(move || std::fs::read(mine).unwrap().len());
        thread::sleep(ms(30));
        drop(OpenOptions::new().write(true).open(other).unwrap());
        read.push(opens.join().unwrap());
        std::fs::remove_file(&path).unwrap();
        read
    });
    assert_eq!(read, [200_000, 200_000, 0]);
}

#[test]
fn a_kill_ends_the_open_of_a_named_pipe() {
    let _bound = bounded();
    greenroom::monkey::patch_all().unwrap();
    for writes in [true, false] {
        let path = named_pipe(if writes { "killed-w" } else { "killed-r" });
        let opened = path.clone();
        let open = move || OpenOptions::new().write(writes).read(!writes).open(opened);
        let opens = greenroom::spawn(move || open().map_err(|error| error.raw_os_error()));
        greenroom::sleep(ms(20));
        assert!(!opens.is_finished());
        opens.kill();
        assert!(opens.join().unwrap_err().is_killed());
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let left = open.filter(|fd| {
            std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|at| at == path)
        });
        assert_eq!(left.count(), 0);
        std::fs::remove_file(&path).unwrap();
    }
}
