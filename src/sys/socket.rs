//! Sockets: the system calls, and std's own types lent over one of our descriptors.
//!
//! The calls go through `syscall(2)` and not through libc's functions of the same names: those are
//! the ones that a monkey-patched program replaces by ours. Every transfer says MSG_DONTWAIT, so
//! that nobody who shares the open file (a `dup` kept elsewhere, a child process) can make one of
//! our calls block the OS thread by clearing O_NONBLOCK.
use super::addr::SockAddr;
use super::report::report;
use std::ffi::{c_int, c_long};
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(crate) const UNIX: c_int = libc::AF_UNIX;

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
pub(crate) const BACKLOG_MAX: u32 = 4096;

/// The most buffers that one vectored call takes.
const BUFFERS_MAX: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Stream = libc::SOCK_STREAM as isize,
    Datagram = libc::SOCK_DGRAM as isize,
}

impl Kind {
    fn flags(self) -> c_long {
        self as c_long | c_long::from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
    }
}

/// How far a connect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
    Done,
    Underway,
}

fn check(result: c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn raw(fd: BorrowedFd<'_>) -> c_long {
    c_long::from(fd.as_raw_fd())
}

fn own(result: c_long) -> io::Result<OwnedFd> {
    let fd = check(result)? as c_int;
    // SAFETY: only called with what socket(2) or accept4(2) returned: open, and nobody else's yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new socket, nonblocking and closed on exec.
pub(crate) fn open(family: c_int, kind: Kind) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    own(unsafe {
        libc::syscall(
            libc::SYS_socket,
            c_long::from(family),
            kind.flags(),
            0 as c_long,
        )
    })
}

/// Two Unix sockets connected to each other, nonblocking and closed on exec.
pub(crate) fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [c_int; 2] = [-1; 2];
    let family = c_long::from(UNIX);
    // SAFETY: `fds` is room for the two numbers that the kernel writes.
    check(unsafe {
        libc::syscall(
            libc::SYS_socketpair,
            family,
            kind.flags(),
            0 as c_long,
            fds.as_mut_ptr(),
        )
    })?;
    // SAFETY: socketpair(2) succeeded: both are open, and nobody else's yet.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub(crate) fn bind(fd: BorrowedFd<'_>, addr: &SockAddr) -> io::Result<()> {
    let len = c_long::from(addr.len());
    // SAFETY: `SockAddr::as_ptr` points to at least `SockAddr::len` readable bytes.
    check(unsafe { libc::syscall(libc::SYS_bind, raw(fd), addr.as_ptr(), len) }).map(drop)
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    // SAFETY: listen(2) takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_listen, raw(fd), backlog as c_long) }).map(drop)
}

/// Starts a connect, or asks after one that is underway: the kernel answers the second call with
/// the outcome of the first.
pub(crate) fn connect(fd: BorrowedFd<'_>, addr: &SockAddr) -> io::Result<Connect> {
    let len = c_long::from(addr.len());
    // SAFETY: `SockAddr::as_ptr` points to at least `SockAddr::len` readable bytes.
    match check(unsafe { libc::syscall(libc::SYS_connect, raw(fd), addr.as_ptr(), len) }) {
        Ok(_) => Ok(Connect::Done),
        Err(error) => match error.raw_os_error() {
            Some(libc::EISCONN) => Ok(Connect::Done),
            Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR) => Ok(Connect::Underway),
            _ => Err(error),
        },
    }
}

/// Takes the next waiting connection, nonblocking and closed on exec.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    let mut addr = SockAddr::room();
    let (bytes, len) = addr.parts_mut();
    let flags = c_long::from(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    // SAFETY: `SockAddr::parts_mut` points to `*len` writable bytes and to their number.
    let peer = own(unsafe { libc::syscall(libc::SYS_accept4, raw(fd), bytes, len, flags) })?;
    Ok((peer, addr))
}

/// Is this an accept that failed for want of descriptors or memory, and will go on failing?
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    recv_with(fd, buf, 0)
}

/// Receives without taking anything off the queue.
pub(crate) fn peek(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    recv_with(fd, buf, libc::MSG_PEEK)
}

fn recv_with(fd: BorrowedFd<'_>, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    let flags = c_long::from(flags | libc::MSG_DONTWAIT);
    let (start, len) = (buf.as_mut_ptr(), buf.len());
    let none = std::ptr::null::<u8>();
    // SAFETY: the slice is `len` writable bytes; null pointers ask for no address.
    check(unsafe { libc::syscall(libc::SYS_recvfrom, raw(fd), start, len, flags, none, none) })
}

pub(crate) fn recv_from(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    recv_from_with(fd, buf, 0)
}

/// Receives a datagram, cut to the buffer, and says how long it was on its way.
pub(crate) fn recv_cut(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    recv_from_with(fd, buf, libc::MSG_TRUNC)
}

/// Receives without taking anything off the queue.
pub(crate) fn peek_from(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, SockAddr)> {
    recv_from_with(fd, buf, libc::MSG_PEEK)
}

fn recv_from_with(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    flags: c_int,
) -> io::Result<(usize, SockAddr)> {
    let mut addr = SockAddr::room();
    let (bytes, addr_len) = addr.parts_mut();
    let flags = c_long::from(flags | libc::MSG_DONTWAIT);
    let (start, len) = (buf.as_mut_ptr(), buf.len());
    // SAFETY: the slice is `len` writable bytes; `SockAddr::parts_mut` points to `*addr_len`
    // writable bytes and to their number.
    let count = check(unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            raw(fd),
            start,
            len,
            flags,
            bytes,
            addr_len,
        )
    })?;
    Ok((count, addr))
}

pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let (start, len) = (buf.as_ptr(), buf.len());
    let none = std::ptr::null::<u8>();
    let (flags, zero) = (
        c_long::from(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL),
        0 as c_long,
    );
    // SAFETY: the slice is `len` readable bytes; a null pointer gives no address.
    check(unsafe { libc::syscall(libc::SYS_sendto, raw(fd), start, len, flags, none, zero) })
}

pub(crate) fn send_to(fd: BorrowedFd<'_>, buf: &[u8], addr: &SockAddr) -> io::Result<usize> {
    let (start, len) = (buf.as_ptr(), buf.len());
    let (to, to_len) = (addr.as_ptr(), c_long::from(addr.len()));
    let flags = c_long::from(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: the slice is `len` readable bytes; `SockAddr::as_ptr` points to at least
    // `SockAddr::len` readable bytes.
    check(unsafe { libc::syscall(libc::SYS_sendto, raw(fd), start, len, flags, to, to_len) })
}

/// Receives into several buffers; the first `BUFFERS_MAX` of them.
pub(crate) fn recv_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let mut message = message(bufs.as_mut_ptr().cast(), bufs.len());
    let flags = c_long::from(libc::MSG_DONTWAIT);
    // SAFETY: IoSliceMut is promised to be an iovec; the message names as many as there are, and
    // each is writable for as long as `bufs` is borrowed.
    check(unsafe { libc::syscall(libc::SYS_recvmsg, raw(fd), &raw mut message, flags) })
}

/// Sends from several buffers; the first `BUFFERS_MAX` of them.
pub(crate) fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let message = message(bufs.as_ptr().cast_mut().cast(), bufs.len());
    let flags = c_long::from(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: IoSlice is promised to be an iovec; the message names as many as there are, each is
    // readable for as long as `bufs` is borrowed, and sendmsg(2) writes to none of them.
    check(unsafe { libc::syscall(libc::SYS_sendmsg, raw(fd), &raw const message, flags) })
}

/// How many bytes a vectored call over these lengths can move.
pub(crate) fn vectored_len(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.take(BUFFERS_MAX).fold(0, usize::saturating_add)
}

fn message(buffers: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: all-zero is a valid msghdr: no address, no buffers, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers;
    message.msg_iovlen = count.min(BUFFERS_MAX) as _;
    message
}

/// Lets a listener bind where connections of its predecessor still linger.
pub(crate) fn set_reuse_addr(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
}

/// Lets several sockets of one user be bound to one address; the kernel deals out what comes in.
pub(crate) fn set_reuse_port(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
}

/// Does it accept connections?
pub(crate) fn is_listening(fd: BorrowedFd<'_>) -> io::Result<bool> {
    option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, 0).map(|value| value != 0)
}

/// Is this an error of one connection, or of the network under it, which accept(2) passes on? The
/// next one may be fine. EOPNOTSUPP may also mean a socket that can't listen.
pub(crate) fn is_of_connection(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(
            libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

/// Is this an accept or a receive that fails for what it is done with, and always will?
pub(crate) fn is_fatal(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::ENOTCONN)
    )
}

pub(crate) fn set_only_v6(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, c_int::from(on))
}

pub(crate) fn only_v6(fd: BorrowedFd<'_>) -> io::Result<bool> {
    option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0).map(|value| value != 0)
}

pub(crate) fn set_quickack(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, c_int::from(on))
}

pub(crate) fn quickack(fd: BorrowedFd<'_>) -> io::Result<bool> {
    option(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0).map(|value| value != 0)
}

/// How much may wait in a socket to be sent; the kernel doubles it for its own needs.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)
}

/// Seconds that a close waits for what was sent to be acknowledged; `None` for no wait.
pub(crate) fn set_linger(fd: BorrowedFd<'_>, linger: Option<Duration>) -> io::Result<()> {
    let seconds = linger.unwrap_or_default().as_secs();
    let value = libc::linger {
        l_onoff: linger.is_some().into(),
        l_linger: c_int::try_from(seconds).unwrap_or(c_int::MAX),
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, value)
}

pub(crate) fn linger(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let off = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let value = option(fd, libc::SOL_SOCKET, libc::SO_LINGER, off)?;
    let seconds = u64::try_from(value.l_linger).unwrap_or(0);
    Ok((value.l_onoff != 0).then(|| Duration::from_secs(seconds)))
}

/// Seconds for which a listener keeps a connection back that says nothing.
pub(crate) fn set_defer_accept(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let seconds = c_int::try_from(limit.as_secs()).unwrap_or(c_int::MAX);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

pub(crate) fn defer_accept(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let seconds = option(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 0)?;
    Ok(u32::try_from(seconds).unwrap_or(0))
}

/// Who had the other end of a Unix connection when it was made: process, user, group.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<(i32, u32, u32)> {
    let nobody = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let peer = option(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, nobody)?;
    Ok((peer.pid, peer.uid, peer.gid))
}

/// Ends a connection in both directions; nothing happens to what is no connection.
pub(crate) fn shut_down(fd: BorrowedFd<'_>) {
    let socket = as_std::<std::net::TcpStream>(fd);
    if let Err(error) = socket.shutdown(std::net::Shutdown::Both) {
        report!(Debug, "greenroom: {fd:?} was not shut down: {error}");
    }
}

/// What the kernel takes for the value of an option: any bytes are one.
trait Value: Copy {}
impl Value for c_int {}
impl Value for libc::linger {}
impl Value for libc::ucred {}

fn set_option<V: Value>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: V) -> io::Result<()> {
    let (level, name) = (c_long::from(level), c_long::from(name));
    let (value, len) = (&raw const value, size_of::<V>());
    // SAFETY: `value` is readable for `len` bytes, and the kernel copies no more.
    check(unsafe { libc::syscall(libc::SYS_setsockopt, raw(fd), level, name, value, len) })
        .map(drop)
}

/// The value of an option; what the kernel does not write stays as in `value`.
fn option<V: Value>(fd: BorrowedFd<'_>, level: c_int, name: c_int, mut value: V) -> io::Result<V> {
    let (level, name) = (c_long::from(level), c_long::from(name));
    let mut len = size_of::<V>() as libc::socklen_t;
    let (at, at_len) = (&raw mut value, &raw mut len);
    // SAFETY: `at` is writable for `at_len` bytes, of which the kernel writes no more; whatever it
    // writes is a `V`, as `Value` says.
    check(unsafe { libc::syscall(libc::SYS_getsockopt, raw(fd), level, name, at, at_len) })?;
    Ok(value)
}

/// std's six socket types: plain owners of a descriptor that do nothing when made from one.
pub(crate) trait StdSocket: From<OwnedFd> {}
impl StdSocket for std::net::TcpStream {}
impl StdSocket for std::net::TcpListener {}
impl StdSocket for std::net::UdpSocket {}
impl StdSocket for std::os::unix::net::UnixStream {}
impl StdSocket for std::os::unix::net::UnixListener {}
impl StdSocket for std::os::unix::net::UnixDatagram {}

/// One of std's sockets, lent: it doesn't close the descriptor.
#[derive(Debug)]
pub(crate) struct AsStd<'fd, S> {
    socket: ManuallyDrop<S>,
    fd: PhantomData<BorrowedFd<'fd>>,
}

/// Lends `fd` as one of std's sockets, for the options that need no waiting.
pub(crate) fn as_std<S: StdSocket>(fd: BorrowedFd<'_>) -> AsStd<'_, S> {
    // SAFETY: the borrow keeps the number open for as long as the result lives; `ManuallyDrop`
    // keeps the result from closing it, and `AsStd` hands out nothing but a shared reference.
    let owner = unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) };
    AsStd {
        socket: ManuallyDrop::new(S::from(owner)),
        fd: PhantomData,
    }
}

impl<S> Deref for AsStd<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

/// The timeouts that the kernel has for a socket, (read, write); none for what is no socket.
pub(crate) fn timeouts(fd: BorrowedFd<'_>) -> (Option<Duration>, Option<Duration>) {
    let socket = as_std::<std::net::TcpStream>(fd);
    (
        socket.read_timeout().unwrap_or(None),
        socket.write_timeout().unwrap_or(None),
    )
}

/// Gives the kernel the timeouts of a socket; nothing happens to what is no socket.
pub(crate) fn set_timeouts(fd: BorrowedFd<'_>, read: Option<Duration>, write: Option<Duration>) {
    let socket = as_std::<std::net::TcpStream>(fd);
    for (limit, result) in [
        (read, socket.set_read_timeout(read)),
        (write, socket.set_write_timeout(write)),
    ] {
        if let (Some(limit), Err(error)) = (limit, result) {
            report!(
                Debug,
                "greenroom: {fd:?} does not keep its timeout of {limit:?}: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::os::fd::AsFd;

    #[test]
    fn a_lent_socket_leaves_its_descriptor_open() {
        let _bound = bounded();
        let (a, _b) = pair(Kind::Stream).unwrap();
        for _ in 0..2 {
            let lent = as_std::<std::os::unix::net::UnixStream>(a.as_fd());
            assert!(lent.local_addr().is_ok());
        }
    }

    #[test]
    fn transfers_never_block_even_on_a_blocking_descriptor() {
        let _bound = bounded();
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = recv(a.as_fd(), &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_vectored_call_takes_no_more_buffers_than_the_kernel_does() {
        let _bound = bounded();
        let (a, b) = pair(Kind::Stream).unwrap();
        let byte = [IoSlice::new(b"x")];
        let many: Vec<_> = byte
            .iter()
            .copied()
            .cycle()
            .take(BUFFERS_MAX + 10)
            .collect();
        assert_eq!(send_vectored(a.as_fd(), &many).unwrap(), BUFFERS_MAX);
        assert_eq!(vectored_len(many.iter().map(|buf| buf.len())), BUFFERS_MAX);
        let mut room = vec![0; 2 * BUFFERS_MAX];
        assert_eq!(recv(b.as_fd(), &mut room).unwrap(), BUFFERS_MAX);
    }

    #[test]
    fn new_sockets_are_nonblocking_and_closed_on_exec() {
        let _bound = bounded();
        let fd = open(libc::AF_INET, Kind::Datagram).unwrap();
        // SAFETY: F_GETFL and F_GETFD take no pointers.
        let (mode, flags) = unsafe {
            (
                libc::fcntl(fd.as_raw_fd(), libc::F_GETFL),
                libc::fcntl(fd.as_raw_fd(), libc::F_GETFD),
            )
        };
        assert_ne!(mode & libc::O_NONBLOCK, 0);
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}
