//! recv, send and their kin: bytes through sockets.
//!
//! Each try says MSG_DONTWAIT, so the descriptor's own mode is never touched. What the kernel
//! does beyond one try when it blocks is done here: a send goes on until all is sent, a receive
//! with MSG_WAITALL until all has come.

use std::ffi::{c_int, c_void};

use libc::{size_t, sockaddr, socklen_t, ssize_t};

use super::datagram::Destination;
use super::gate::{Green, run_on};
use super::raw::{fail, finish, raw};
use super::turn::{Terms, events_of, has_hung_up, option};
use super::{hooks, owed};
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);

/// What decides how a transfer that has moved a part goes on.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Elsewhere a transfer of fewer bytes than asked for is complete.
    pub(super) is_stream: bool,
    is_unix: bool,
}

impl Kind {
    pub(super) fn of(fd: c_int) -> Kind {
        Kind {
            is_stream: option::<c_int>(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM),
            is_unix: option::<c_int>(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX),
        }
    }

    /// Tries to move more by `op`. The error of a connection that was reset meanwhile is for the
    /// next call: so `op` is not called where it would take that error. 0 says that this call is
    /// to end with what it has moved.
    ///
    /// Unix sockets are not asked: there the kernel itself goes on, and takes the error.
    fn try_more(self, fd: c_int, interest: Interest, op: impl FnOnce() -> isize) -> isize {
        if self.is_unix {
            return op();
        }
        let (ready, end) = match interest {
            Interest::Read => (libc::POLLIN, libc::POLLRDHUP | libc::POLLPRI),
            Interest::Write => (libc::POLLOUT, 0),
        };
        let broken = libc::POLLERR | libc::POLLHUP;
        let seen = events_of(fd, ready | end);
        if interest == Interest::Read && waiting_bytes(fd) > 0 {
            op()
        } else if seen & broken == broken || seen & end != 0 {
            0
        } else if seen & (ready | broken) == 0 {
            EAGAIN
        } else {
            op()
        }
    }
}

/// How much a read would find, as far as the socket can say.
fn waiting_bytes(fd: c_int) -> c_int {
    let mut bytes: c_int = 0;
    // SAFETY: there is room for the number.
    unsafe { raw!(SYS_ioctl, fd, libc::FIONREAD, &raw mut bytes) };
    bytes
}

/// Is this the error of a connection, which a socket tells once only?
fn is_told_once(result: isize) -> bool {
    matches!(
        -result as c_int,
        libc::ECONNRESET
            | libc::ECONNREFUSED
            | libc::ECONNABORTED
            | libc::ETIMEDOUT
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EPROTO
    )
}

impl Green<'_> {
    /// Receives up to `want` bytes by `op`, which is told how many it has got already.
    pub(super) fn receive(
        &self,
        fd: c_int,
        want: usize,
        flags: c_int,
        op: impl Fn(usize) -> isize,
    ) -> Option<isize> {
        let exhausts = |got: isize| flags & libc::MSG_PEEK == 0 && (got as usize) < want;
        if flags & libc::MSG_WAITALL == 0 {
            return self.retry(fd, Interest::Read, || op(0), exhausts);
        }
        if flags & libc::MSG_PEEK != 0 {
            return self.peek_all(fd, want, || op(0));
        }
        self.all(&mut Terms::default(), fd, Interest::Read, want, op)
    }

    /// Sends all of `want` bytes by `op`, which is told how many it has sent already.
    pub(super) fn send_all(
        &self,
        fd: c_int,
        want: usize,
        to: Option<Destination>,
        op: impl Fn(usize) -> isize,
    ) -> Option<isize> {
        self.all(&mut Terms::sending(to), fd, Interest::Write, want, op)
    }

    /// Repeats `op` until it has moved `want` bytes, or what it moves is not a stream. What was
    /// moved before an error is what counts.
    fn all(
        &self,
        terms: &mut Terms,
        fd: c_int,
        interest: Interest,
        want: usize,
        op: impl Fn(usize) -> isize,
    ) -> Option<isize> {
        let exhausts = |now: isize| (now as usize) < want;
        match self.retry_on(terms, fd, interest, || op(0), exhausts) {
            Some(now) if now > 0 && (now as usize) < want => {
                Some(self.go_on(terms, (fd, interest), now as usize, want, op))
            }
            other => other,
        }
    }

    /// Moves the rest of `want` bytes by `op`, once a part was moved, as far as it goes without
    /// an error.
    pub(super) fn go_on(
        &self,
        terms: &mut Terms,
        (fd, interest): (c_int, Interest),
        part: usize,
        want: usize,
        op: impl Fn(usize) -> isize,
    ) -> isize {
        let kind = Kind::of(fd);
        let mut moved = part;
        while moved < want && kind.is_stream && terms.may_wait(fd) {
            if kind.is_unix && interest == Interest::Write {
                // There the kernel's timeout is one for each piece of what is sent.
                terms.renew_deadline();
            }
            let rest = want - moved;
            let exhausts = |now: isize| (now as usize) < rest;
            let result = self.more(terms, (fd, interest), kind, || op(moved), exhausts);
            match result {
                Some(now) if now > 0 => moved += (now as usize).min(rest),
                _ => break,
            }
        }
        moved as isize
    }

    /// Moves one more part by `op`, for a call that has moved something already. No more than 0 is
    /// where that call ends.
    pub(super) fn more(
        &self,
        terms: &mut Terms,
        (fd, interest): (c_int, Interest),
        kind: Kind,
        op: impl Fn() -> isize,
        exhausts: impl Fn(isize) -> bool,
    ) -> Option<isize> {
        let attempt = || kind.try_more(fd, interest, &op);
        if kind.is_unix {
            return self.retry_on(terms, fd, interest, attempt, exhausts);
        }
        self.leave_error(terms, (fd, interest), attempt, exhausts)
    }

    /// As [`retry_on`](Green::retry_on), but an error of the connection is for the next call too.
    pub(super) fn leave_error(
        &self,
        terms: &mut Terms,
        (fd, interest): (c_int, Interest),
        op: impl Fn() -> isize,
        exhausts: impl Fn(isize) -> bool,
    ) -> Option<isize> {
        let mut taken = 0;
        let attempt = || {
            let result = op();
            if is_told_once(result) {
                taken = result;
            }
            result
        };
        let result = self.retry_on(terms, fd, interest, attempt, exhausts);
        if taken != 0 {
            self.owe(fd, taken);
        }
        result
    }

    /// MSG_PEEK with MSG_WAITALL: what is there is looked at again whenever more has come.
    fn peek_all(&self, fd: c_int, want: usize, op: impl Fn() -> isize) -> Option<isize> {
        let attempt = || match op() {
            part if part > 0 && (part as usize) < want && !has_hung_up(fd) => EAGAIN,
            result => result,
        };
        match self.retry(fd, Interest::Read, attempt, |_| false) {
            // The time is up: what is there is it.
            Some(EAGAIN) => Some(op()),
            other => other,
        }
    }
}

/// # Safety
/// As recvfrom(2).
unsafe fn receive_from(
    hook: &'static hooks::Hook,
    (fd, buffer, length, flags): (c_int, *mut c_void, size_t, c_int),
    (from, from_length): (*mut sockaddr, *mut socklen_t),
) -> ssize_t {
    let call = |done: usize, more: c_int| {
        let (at, rest) = (buffer.wrapping_byte_add(done), length.wrapping_sub(done));
        // SAFETY: the caller's buffers; `done` bytes of the first have been written already.
        unsafe { raw!(SYS_recvfrom, fd, at, rest, flags | more, from, from_length) }
    };
    let native = || call(0, 0);
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native));
    }
    let tried = |done| call(done, libc::MSG_DONTWAIT);
    let green = |green: &Green<'_>| green.receive(fd, length, flags, tried);
    finish(run_on(fd, hook, green, native))
}

/// # Safety
/// As sendto(2).
unsafe fn send_to(
    hook: &'static hooks::Hook,
    (fd, bytes, length, flags): (c_int, *const c_void, size_t, c_int),
    (to, to_length): (*const sockaddr, socklen_t),
) -> ssize_t {
    let call = |done: usize, more: c_int| {
        let (at, rest) = (bytes.wrapping_byte_add(done), length.wrapping_sub(done));
        // SAFETY: the caller's bytes, of which `done` have been sent already.
        unsafe { raw!(SYS_sendto, fd, at, rest, flags | more, to, to_length) }
    };
    let native = || call(0, 0);
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native));
    }
    let tried = |done| call(done, libc::MSG_DONTWAIT | quiet_after(done));
    let green = |green: &Green<'_>| {
        let to = Destination::new(to, to_length);
        green.send_all(fd, length, to, tried)
    };
    finish(run_on(fd, hook, green, native))
}

/// Once a part is sent, a peer that has gone is told by a short count, without a signal.
pub(super) fn quiet_after(sent: usize) -> c_int {
    if sent > 0 { libc::MSG_NOSIGNAL } else { 0 }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn recv(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let nobody = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the caller's.
    unsafe { receive_from(&hooks::recv, (fd, buffer, length, flags), nobody) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    let call = (fd, buffer, length, flags);
    // SAFETY: the caller's.
    unsafe { receive_from(&hooks::recvfrom, call, (from, from_length)) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn send(
    fd: c_int,
    bytes: *const c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let nobody = (std::ptr::null(), 0);
    // SAFETY: the caller's.
    unsafe { send_to(&hooks::send, (fd, bytes, length, flags), nobody) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_length: socklen_t,
) -> ssize_t {
    let call = (fd, bytes, length, flags);
    // SAFETY: the caller's.
    unsafe { send_to(&hooks::sendto, call, (to, to_length)) }
}

/// Where the size of the buffer is known, fortified code calls this, to abort if it is too small.
pub(super) fn assert_fits(length: size_t, size: size_t) {
    if length > size {
        // SAFETY: abort takes nothing.
        unsafe { libc::abort() }
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    assert_fits(length, size);
    let nobody = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the caller's.
    unsafe { receive_from(&hooks::__recv_chk, (fd, buffer, length, flags), nobody) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    size: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    assert_fits(length, size);
    let call = (fd, buffer, length, flags);
    // SAFETY: the caller's.
    unsafe { receive_from(&hooks::__recvfrom_chk, call, (from, from_length)) }
}
