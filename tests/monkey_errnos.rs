//! Patched and unpatched, a call says the same: each case is run on a plain OS thread and in a
//! greenlet, and what it returned and left in errno is compared.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{c_int, c_void};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

use monkey_support::{green, ms, native, owned, pair, pipe};

/// What each call said: its result, and errno if that was -1.
#[derive(Debug, Default, PartialEq)]
struct Said(Vec<(&'static str, i64, c_int)>);

impl Said {
    fn note(&mut self, what: &'static str, result: impl TryInto<i64>) -> i64 {
        let errno = monkey_support::errno();
        let result = result.try_into().unwrap_or(i64::MIN);
        self.0
            .push((what, result, if result == -1 { errno } else { 0 }));
        result
    }

    fn is(&self, at: usize, result: i64, errno: c_int) {
        let (what, said, with) = self.0[at];
        assert_eq!((said, with), (result, errno), "{what}");
    }
}

const BAD: c_int = 987_654;

fn room() -> [u8; 64] {
    [0; 64]
}

fn at(room: &mut [u8]) -> *mut c_void {
    room.as_mut_ptr().cast()
}

fn set_timeout(fd: c_int, name: c_int, micros: i64) {
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: micros,
    };
    let length = size_of::<libc::timeval>() as u32;
    // SAFETY: a valid time of that length.
    let set =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const time).cast(), length) };
    assert_eq!(set, 0);
}

fn bad_descriptors(said: &mut Said) {
    let mut b = room();
    let slice = libc::iovec {
        iov_base: at(&mut b),
        iov_len: 8,
    };
    // SAFETY: valid buffers; the number names nothing.
    unsafe {
        said.note("recv", libc::recv(BAD, at(&mut b), 8, 0));
        said.note(
            "recvfrom",
            libc::recvfrom(BAD, at(&mut b), 8, 0, null_mut(), null_mut()),
        );
        said.note("send", libc::send(BAD, at(&mut b), 8, 0));
        said.note("sendto", libc::sendto(BAD, at(&mut b), 8, 0, null(), 0));
        said.note("read", libc::read(BAD, at(&mut b), 8));
        said.note("write", libc::write(BAD, at(&mut b), 8));
        said.note("readv", libc::readv(BAD, &slice, 1));
        said.note("writev", libc::writev(BAD, &slice, 1));
        said.note("accept", libc::accept(BAD, null_mut(), null_mut()));
        said.note("accept4", libc::accept4(BAD, null_mut(), null_mut(), 0));
        said.note("connect", libc::connect(BAD, null(), 0));
        said.note("close", libc::close(BAD));
        said.note("dup2", libc::dup2(BAD, BAD + 1));
        said.note("dup2 same", libc::dup2(BAD, BAD));
        said.note("dup3 same", libc::dup3(0, 0, 0));
        said.note("shutdown", libc::shutdown(BAD, libc::SHUT_RD));
        said.note("fcntl", libc::fcntl(BAD, libc::F_GETFL));
        said.note("getown", libc::fcntl(BAD, libc::F_GETOWN));
        said.note("flock", libc::flock(BAD, libc::LOCK_EX));
        said.note("sendfile", libc::sendfile(BAD, BAD, null_mut(), 8));
        said.note(
            "splice",
            libc::splice(BAD, null_mut(), BAD, null_mut(), 8, 0),
        );
        said.note("epoll_wait", libc::epoll_wait(BAD, null_mut(), 1, 5));
        said.note("ioctl", libc::ioctl(BAD, libc::FIONBIO, at(&mut b)));
        said.note("close_range", libc::close_range(5, 4, 0));
    }
    said.is(0, -1, libc::EBADF);
    said.is(4, -1, libc::EBADF);
}

fn bad_arguments(said: &mut Said) {
    let [a, b] = pair(libc::SOCK_STREAM).map(owned);
    let (a, _peer) = (a.as_raw_fd(), &b);
    let [reads, writes] = pipe().map(owned);
    let mut bytes = room();
    let slice = libc::iovec {
        iov_base: at(&mut bytes),
        iov_len: 1,
    };
    let many = vec![slice; 1025];
    // SAFETY: what is invalid here the kernel or libc refuses.
    unsafe {
        said.note(
            "recv to nowhere",
            libc::recv(
                a,
                std::ptr::without_provenance_mut(1),
                8,
                libc::MSG_DONTWAIT,
            ),
        );
        said.note("recvmsg null", libc::recvmsg(a, null_mut(), 0));
        said.note("readv -1", libc::readv(a, &slice, -1));
        said.note("readv 1025", libc::readv(a, many.as_ptr(), 1025));
        said.note("writev 1025", libc::writev(a, many.as_ptr(), 1025));
        said.note(
            "recv of a pipe",
            libc::recv(reads.as_raw_fd(), at(&mut bytes), 1, 0),
        );
        said.note(
            "read of a writer",
            libc::read(writes.as_raw_fd(), at(&mut bytes), 1),
        );
        said.note(
            "write to a reader",
            libc::write(reads.as_raw_fd(), at(&mut bytes), 1),
        );
        said.note(
            "accept of no listener",
            libc::accept(a, null_mut(), null_mut()),
        );
        said.note("connect connected", libc::connect(a, null(), 0));
        said.note(
            "epoll_wait of a socket",
            libc::epoll_wait(a, null_mut(), 1, 5),
        );
        said.note(
            "no bytes",
            libc::write(writes.as_raw_fd(), at(&mut bytes), 0),
        );
        said.note(
            "to nobody",
            libc::sendto(a, at(&mut bytes), 0, 0, null(), 0),
        );
    }
}

fn bad_times(said: &mut Said) {
    let odd = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    let past = libc::timespec {
        tv_sec: -1,
        tv_nsec: 0,
    };
    let short = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1000,
    };
    let mut negative = libc::timeval {
        tv_sec: -1,
        tv_usec: 0,
    };
    // SAFETY: valid times, or such that are refused.
    unsafe {
        said.note("nanosleep odd", libc::nanosleep(&odd, null_mut()));
        said.note("nanosleep past", libc::nanosleep(&past, null_mut()));
        said.note("nanosleep", libc::nanosleep(&short, null_mut()));
        let clock = libc::CLOCK_MONOTONIC;
        said.note(
            "clock odd",
            libc::clock_nanosleep(clock, 0, &odd, null_mut()),
        );
        said.note("clock", libc::clock_nanosleep(clock, 0, &short, null_mut()));
        let absolute = libc::TIMER_ABSTIME;
        said.note(
            "clock gone by",
            libc::clock_nanosleep(clock, absolute, &short, null_mut()),
        );
        said.note("no clock", libc::clock_nanosleep(99, 0, &short, null_mut()));
        said.note("usleep", libc::usleep(10));
        said.note("sleep", libc::sleep(0));
        said.note("yield", libc::sched_yield());
        said.note("ppoll odd", libc::ppoll(null_mut(), 0, &odd, null()));
        said.note(
            "select",
            libc::select(0, null_mut(), null_mut(), null_mut(), &mut negative),
        );
        said.note(
            "pselect odd",
            libc::pselect(0, null_mut(), null_mut(), null_mut(), &odd, null()),
        );
        said.note(
            "select -1",
            libc::select(-1, null_mut(), null_mut(), null_mut(), null_mut()),
        );
    }
}

fn timeouts_of_sockets(said: &mut Said) {
    let [a, _b] = pair(libc::SOCK_STREAM).map(owned);
    let fd = a.as_raw_fd();
    let mut b = room();
    set_timeout(fd, libc::SO_RCVTIMEO, 20_000);
    set_timeout(fd, libc::SO_SNDTIMEO, 20_000);
    let slice = libc::iovec {
        iov_base: at(&mut b),
        iov_len: 8,
    };
    // SAFETY: valid buffers.
    unsafe {
        said.note("recv", libc::recv(fd, at(&mut b), 8, 0));
        said.note("read", libc::read(fd, at(&mut b), 8));
        said.note("readv", libc::readv(fd, &slice, 1));
        let much = vec![7u8; 10_000_000];
        let sent = libc::send(fd, much.as_ptr().cast(), much.len(), 0);
        assert!(sent > 0 && sent < much.len() as isize, "a part: {sent}");
        said.note("send", libc::send(fd, much.as_ptr().cast(), much.len(), 0));
        said.note("write", libc::write(fd, much.as_ptr().cast(), much.len()));
    }
    said.is(0, -1, libc::EAGAIN);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_timeout(listener.as_raw_fd(), libc::SO_RCVTIMEO, 20_000);
    // SAFETY: no pointers.
    said.note("accept", unsafe {
        libc::accept(listener.as_raw_fd(), null_mut(), null_mut())
    });
}

fn the_users_own_mode(said: &mut Said) {
    let [a, _b] = pair(libc::SOCK_STREAM).map(owned);
    let (fd, mut b) = (a.as_raw_fd(), room());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    // SAFETY: valid buffers.
    unsafe {
        said.note(
            "one call",
            libc::recv(fd, at(&mut b), 8, libc::MSG_DONTWAIT),
        );
        said.note("set", libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK));
        said.note("told", libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK);
        said.note("recv", libc::recv(fd, at(&mut b), 8, 0));
        said.note("read", libc::read(fd, at(&mut b), 8));
        said.note(
            "accept",
            libc::accept(listener.as_raw_fd(), null_mut(), null_mut()),
        );
        let much = vec![7u8; 10_000_000];
        while libc::send(fd, much.as_ptr().cast(), much.len(), 0) > 0 {}
        said.note("send", libc::send(fd, much.as_ptr().cast(), 8, 0));
        said.note("write", libc::write(fd, much.as_ptr().cast(), 8));
        let off: c_int = 0;
        said.note("clear", libc::ioctl(fd, libc::FIONBIO, &off));
        said.note("told", libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK);
    }
    said.is(3, -1, libc::EAGAIN);
}

fn ends(said: &mut Said) {
    let [a, b] = pair(libc::SOCK_STREAM).map(owned);
    let [reads, writes] = pipe().map(owned);
    let mut bytes = room();
    // SAFETY: valid buffers.
    unsafe {
        assert_eq!(libc::send(b.as_raw_fd(), at(&mut bytes), 5, 0), 5);
        drop(b);
        let fd = a.as_raw_fd();
        said.note("peek", libc::recv(fd, at(&mut bytes), 64, libc::MSG_PEEK));
        said.note(
            "peek all",
            libc::recv(fd, at(&mut bytes), 64, libc::MSG_PEEK | libc::MSG_WAITALL),
        );
        said.note("all", libc::recv(fd, at(&mut bytes), 64, libc::MSG_WAITALL));
        said.note("end", libc::recv(fd, at(&mut bytes), 64, 0));
        said.note(
            "end, all",
            libc::recv(fd, at(&mut bytes), 64, libc::MSG_WAITALL),
        );
        said.note(
            "send",
            libc::send(fd, at(&mut bytes), 5, libc::MSG_NOSIGNAL),
        );
        assert_eq!(libc::write(writes.as_raw_fd(), at(&mut bytes), 5), 5);
        said.note("pipe", libc::read(reads.as_raw_fd(), at(&mut bytes), 64));
        drop(writes);
        said.note(
            "end of pipe",
            libc::read(reads.as_raw_fd(), at(&mut bytes), 64),
        );
        let [reads, writes] = pipe().map(owned);
        drop(reads);
        // std ignores SIGPIPE for the whole process.
        said.note("broken", libc::write(writes.as_raw_fd(), at(&mut bytes), 5));
    }
    said.is(0, 5, 0);
    said.is(1, 5, 0);
    said.is(2, 5, 0);
}

fn datagrams(said: &mut Said) {
    let [a, b] = pair(libc::SOCK_DGRAM).map(owned);
    let mut bytes = room();
    // SAFETY: valid buffers.
    unsafe {
        libc::send(b.as_raw_fd(), at(&mut bytes), 5, 0);
        libc::send(b.as_raw_fd(), at(&mut bytes), 50, 0);
        libc::send(b.as_raw_fd(), at(&mut bytes), 0, 0);
        let fd = a.as_raw_fd();
        said.note(
            "waits for no more",
            libc::recv(fd, at(&mut bytes), 64, libc::MSG_WAITALL),
        );
        said.note("cut", libc::recv(fd, at(&mut bytes), 8, libc::MSG_TRUNC));
        said.note("empty", libc::recv(fd, at(&mut bytes), 8, 0));
        let much = vec![7u8; 10_000_000];
        said.note(
            "too long",
            libc::send(fd, much.as_ptr().cast(), much.len(), 0),
        );
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    set_timeout(socket.as_raw_fd(), libc::SO_RCVTIMEO, 10_000);
    // SAFETY: valid buffers.
    said.note("udp", unsafe {
        libc::recv(socket.as_raw_fd(), at(&mut bytes), 8, 0)
    });
}

fn connects(said: &mut Said) {
    // T5: refused is refused, and neither "in progress" nor "timed out".
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let said_of = |done: std::io::Result<TcpStream>| done.map_err(|e| e.raw_os_error());
    let code = |done: Result<TcpStream, Option<c_int>>| done.map_or_else(|e| e.unwrap(), |_| 0);
    said.note("refused", code(said_of(TcpStream::connect(gone))));
    let soon = TcpStream::connect_timeout(&gone, Duration::from_secs(5));
    said.note("refused in time", code(said_of(soon)));
    let nowhere = std::os::unix::net::UnixStream::connect("/nowhere/at/all");
    said.note("no path", nowhere.unwrap_err().raw_os_error().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address);
    said.note("accepted", code(stream.map_err(|e| e.raw_os_error())));
    said.is(0, libc::ECONNREFUSED.into(), 0);
}

fn polls(said: &mut Said) {
    let [reads, writes] = pipe().map(owned);
    let one = |fd: c_int, events: i16| libc::pollfd {
        fd,
        events,
        revents: 0x55,
    };
    let mut fds = [one(-1, libc::POLLIN), one(reads.as_raw_fd(), libc::POLLIN)];
    let mut wrong = [one(BAD, libc::POLLIN)];
    let mut both = [
        one(reads.as_raw_fd(), libc::POLLIN),
        one(writes.as_raw_fd(), libc::POLLOUT),
    ];
    // SAFETY: valid arrays.
    unsafe {
        said.note("nothing", libc::poll(fds.as_mut_ptr(), 2, 20));
        said.note("no revents", fds[0].revents | fds[1].revents);
        said.note("at once", libc::poll(fds.as_mut_ptr(), 2, 0));
        said.note("no such", libc::poll(wrong.as_mut_ptr(), 1, 1000));
        said.note("nval", wrong[0].revents);
        said.note("one of two", libc::poll(both.as_mut_ptr(), 2, -1));
        said.note("which", both[0].revents + 16 * both[1].revents);
        said.note("a sleep", libc::poll(null_mut(), 0, 10));
        let epfd = libc::epoll_create1(0);
        let mut event = libc::epoll_event {
            events: libc::EPOLLOUT as u32,
            u64: 9,
        };
        said.note("no room", libc::epoll_wait(epfd, &mut event, 0, 10));
        said.note("no event", libc::epoll_wait(epfd, &mut event, 1, 10));
        libc::epoll_ctl(epfd, libc::EPOLL_CTL_ADD, writes.as_raw_fd(), &mut event);
        said.note("an event", libc::epoll_wait(epfd, &mut event, 1, -1));
        libc::close(epfd);
        drop(writes);
        said.note("hung up", libc::poll(fds.as_mut_ptr(), 2, -1));
        said.note("which", fds[1].revents);
        fds[1].events = 0;
        said.note("not asked", libc::poll(fds.as_mut_ptr(), 2, -1));
        said.note("but told", fds[1].revents);
    }
}

fn selects(said: &mut Said) {
    let [reads, writes] = pipe().map(owned);
    // SAFETY: a set of zeros is an empty one; the numbers are small.
    unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        let (r, w) = (reads.as_raw_fd(), writes.as_raw_fd());
        let most = r.max(w) + 1;
        libc::FD_SET(r, &mut set);
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        };
        said.note(
            "nothing",
            libc::select(most, &mut set, null_mut(), null_mut(), &mut time),
        );
        said.note("cleared", i32::from(libc::FD_ISSET(r, &set)));
        said.note("no time left", time.tv_usec);
        libc::FD_SET(w, &mut set);
        let mut out = set;
        said.note(
            "one",
            libc::select(most, null_mut(), &mut out, null_mut(), null_mut()),
        );
        said.note("that one", i32::from(libc::FD_ISSET(w, &out)));
        let mut bad: libc::fd_set = std::mem::zeroed();
        let gone = libc::fcntl(r, libc::F_DUPFD, 60);
        libc::close(gone);
        libc::FD_SET(gone, &mut bad);
        said.note(
            "no such",
            libc::select(gone + 1, &mut bad, null_mut(), null_mut(), null_mut()),
        );
    }
}

fn processes(said: &mut Said) {
    let mut status = 0;
    // SAFETY: valid places, or none.
    unsafe {
        said.note("not ours", libc::waitpid(1, &mut status, 0));
        said.note(
            "waitid",
            libc::waitid(libc::P_PID, 1, null_mut(), libc::WEXITED),
        );
        said.note("no options", libc::waitid(libc::P_PID, 1, null_mut(), 0));
        said.note("wrong options", libc::waitpid(1, &mut status, 0x4000));
        said.note(
            "no pidfd",
            libc::waitid(libc::P_PIDFD, BAD as u32, null_mut(), libc::WEXITED),
        );
    }
    said.is(0, -1, libc::ECHILD);
}

fn waits_for_words(said: &mut Said) {
    let word = std::sync::atomic::AtomicU32::new(7);
    let at = word.as_ptr();
    let short = libc::timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let odd = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    let private = libc::FUTEX_PRIVATE_FLAG;
    let futex = |op: c_int, value: u32, time: *const libc::timespec| {
        // SAFETY: a valid word and time.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                at,
                op | private,
                value,
                time,
                0usize,
                u32::MAX,
            )
        }
    };
    said.note("changed", futex(libc::FUTEX_WAIT, 6, null()));
    said.note("too late", futex(libc::FUTEX_WAIT, 7, &short));
    said.note("gone by", futex(libc::FUTEX_WAIT_BITSET, 7, &short));
    said.note("odd", futex(libc::FUTEX_WAIT, 7, &odd));
    said.note("nobody", futex(libc::FUTEX_WAKE, 9, null()));
    said.note("no such", futex(99, 9, null()));
    let wild = std::ptr::without_provenance_mut::<u32>(2);
    // SAFETY: the kernel refuses an address that is no multiple of four.
    let crooked = unsafe { libc::syscall(libc::SYS_futex, wild, libc::FUTEX_WAIT, 0, 0usize) };
    said.note("crooked", crooked);
    // SAFETY: a semaphore made here; valid times.
    unsafe {
        let mut semaphore: libc::sem_t = std::mem::zeroed();
        libc::sem_init(&mut semaphore, 0, 1);
        said.note("taken", libc::sem_wait(&mut semaphore));
        let past = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        said.note("empty", libc::sem_timedwait(&mut semaphore, &past));
        said.note("odd", libc::sem_timedwait(&mut semaphore, &odd));
        said.note("posted", libc::sem_post(&mut semaphore));
        said.note("taken", libc::sem_timedwait(&mut semaphore, &odd));
    }
}

fn names(said: &mut Said) {
    let ask =
        |host: Option<&std::ffi::CStr>, port: Option<&std::ffi::CStr>, flags: c_int, family| {
            let pointer = |text: Option<&std::ffi::CStr>| text.map_or(null(), |text| text.as_ptr());
            // SAFETY: hints of zeros but for two fields; C strings or null; a place for the answer.
            unsafe {
                let mut hints: libc::addrinfo = std::mem::zeroed();
                (hints.ai_flags, hints.ai_family) = (flags, family);
                let mut found = null_mut();
                let code = libc::getaddrinfo(pointer(host), pointer(port), &hints, &mut found);
                if code == 0 {
                    libc::freeaddrinfo(found);
                }
                code
            }
        };
    said.note(
        "localhost",
        ask(Some(c"localhost"), Some(c"80"), 0, libc::AF_INET),
    );
    said.note("number", ask(Some(c"127.0.0.1"), None, 0, 0));
    said.note(
        "not a number",
        ask(Some(c"localhost"), None, libc::AI_NUMERICHOST, 0),
    );
    said.note("no family", ask(Some(c"localhost"), None, 0, 77));
    said.note(
        "no service",
        ask(Some(c"localhost"), Some(c"no such"), 0, 0),
    );
    said.note("nothing", ask(None, None, 0, 0));
    said.is(0, 0, 0);
}

fn several_messages(said: &mut Said) {
    let [a, b] = pair(libc::SOCK_DGRAM).map(owned);
    let mut bytes = [[0u8; 8]; 3];
    // SAFETY: messages of zeros but for one slice each, which is valid.
    unsafe {
        let mut slices = bytes.each_mut().map(|room| libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: 8,
        });
        let mut messages = slices.each_mut().map(|slice| {
            let mut message: libc::mmsghdr = std::mem::zeroed();
            message.msg_hdr.msg_iov = slice;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        said.note(
            "sent",
            libc::sendmmsg(b.as_raw_fd(), messages.as_mut_ptr(), 3, 0),
        );
        said.note("length", messages[2].msg_len);
        let first = libc::MSG_WAITFORONE;
        let at = messages.as_mut_ptr();
        said.note(
            "received",
            libc::recvmmsg(a.as_raw_fd(), at, 2, 0, null_mut()),
        );
        said.note(
            "one is left",
            libc::recvmmsg(a.as_raw_fd(), at, 3, first, null_mut()),
        );
        set_timeout(a.as_raw_fd(), libc::SO_RCVTIMEO, 10_000);
        said.note("none", libc::recvmmsg(a.as_raw_fd(), at, 3, 0, null_mut()));
        drop(b);
        said.note(
            "nobody",
            libc::sendmmsg(a.as_raw_fd(), at, 3, libc::MSG_NOSIGNAL),
        );
    }
}

fn files(said: &mut Said) {
    let file = tempfile::tempfile().unwrap();
    let fd = file.as_raw_fd();
    let mut bytes = vec![5u8; 300_000];
    // SAFETY: valid buffers.
    unsafe {
        said.note("write", libc::write(fd, at(&mut bytes), bytes.len()));
        said.note("seek", libc::lseek(fd, 0, libc::SEEK_SET));
        said.note("read", libc::read(fd, at(&mut bytes), 300_000));
        said.note("end", libc::read(fd, at(&mut bytes), 300_000));
        said.note("lock", libc::flock(fd, libc::LOCK_EX));
        said.note("unlock", libc::flock(fd, libc::LOCK_UN));
        let [reads, writes] = pipe().map(owned);
        let mut from = 0;
        said.note(
            "sendfile",
            libc::sendfile(writes.as_raw_fd(), fd, &mut from, 1000),
        );
        said.note("offset", from);
        let to = [pipe()].map(|ends| ends.map(owned));
        let (to_reads, to_writes) = (&to[0][0], &to[0][1]);
        let (r, w) = (reads.as_raw_fd(), to_writes.as_raw_fd());
        said.note(
            "splice",
            libc::splice(r, null_mut(), w, null_mut(), 5000, 0),
        );
        said.note(
            "spliced",
            libc::read(to_reads.as_raw_fd(), at(&mut bytes), 5000),
        );
        drop(writes);
        said.note("end", libc::splice(r, null_mut(), w, null_mut(), 5000, 0));
        let directory = std::fs::File::open("/").unwrap();
        said.note(
            "directory",
            libc::read(directory.into_raw_fd(), at(&mut bytes), 5),
        );
    }
}

type Case = (&'static str, fn(&mut Said));

const CASES: &[Case] = &[
    ("bad descriptors", bad_descriptors),
    ("bad arguments", bad_arguments),
    ("bad times", bad_times),
    ("timeouts of sockets", timeouts_of_sockets),
    ("the user's own mode", the_users_own_mode),
    ("ends", ends),
    ("datagrams", datagrams),
    ("connects", connects),
    ("polls", polls),
    ("selects", selects),
    ("processes", processes),
    ("waits for words", waits_for_words),
    ("names", names),
    ("several messages", several_messages),
    ("files", files),
];

#[test]
fn calls_say_the_same_patched_and_unpatched() {
    let _bound = bounded();
    for (name, case) in CASES {
        let run = move || {
            let mut said = Said::default();
            case(&mut said);
            said
        };
        let (natively, patched) = (native(run), green(run));
        for (a, b) in natively.0.iter().zip(&patched.0) {
            assert_eq!(a, b, "{name}: natively, then patched");
        }
        assert_eq!(natively, patched, "{name}");
    }
    assert!(greenroom::monkey::report().symbol("recv").unwrap().calls() > 0);
}

#[test]
fn errno_survives_a_park_that_succeeds() {
    let _bound = bounded();
    // T1: what other greenlets leave in errno meanwhile is not ours.
    green(|| {
        let [a, b] = pair(libc::SOCK_STREAM).map(owned);
        let receiver = greenroom::spawn_local(move || {
            // SAFETY: errno is this thread's; a valid buffer.
            unsafe {
                *libc::__errno_location() = libc::EXDEV;
                let got = libc::recv(a.as_raw_fd(), at(&mut room()), 8, 0);
                (got, *libc::__errno_location())
            }
        });
        greenroom::sleep(ms(5));
        // SAFETY: fails; a valid buffer.
        unsafe {
            libc::close(BAD);
            libc::send(b.as_raw_fd(), at(&mut room()), 3, 0);
            *libc::__errno_location() = libc::ENOSYS;
        }
        assert_eq!(receiver.join().unwrap(), (3, libc::EXDEV));
    });
}
