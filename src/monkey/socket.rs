//! recv, send and their kin: bytes through sockets.
//!
//! Each try says MSG_DONTWAIT, so the descriptor's own mode is never touched. What the kernel
//! does beyond one try when it blocks is done here: a send goes on until all is sent, a receive
//! with MSG_WAITALL until all has come.

use std::ffi::{c_int, c_void};

use libc::{size_t, sockaddr, socklen_t, ssize_t};

use super::gate::{Green, run_on};
use super::hooks;
use super::raw::{fail, finish, raw};
use super::turn::{has_hung_up, option};
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);

/// Is this a byte stream? Elsewhere a transfer of fewer bytes than asked for is complete.
pub(super) fn is_stream(fd: c_int) -> bool {
    option::<c_int>(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
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
        self.all(fd, Interest::Read, want, op)
    }

    /// Sends all of `want` bytes by `op`, which is told how many it has sent already.
    pub(super) fn send_all(
        &self,
        fd: c_int,
        want: usize,
        op: impl Fn(usize) -> isize,
    ) -> Option<isize> {
        self.all(fd, Interest::Write, want, op)
    }

    /// Repeats `op` until it has moved `want` bytes, or what it moves is not a stream. What was
    /// moved before an error is what counts.
    fn all(
        &self,
        fd: c_int,
        interest: Interest,
        want: usize,
        op: impl Fn(usize) -> isize,
    ) -> Option<isize> {
        let mut moved = 0;
        loop {
            let rest = want - moved;
            let exhausts = |now: isize| (now as usize) < rest;
            let result = self.retry(fd, interest, || op(moved), exhausts);
            match result {
                Some(now) if now > 0 => {
                    moved += (now as usize).min(rest);
                    if moved == want || !is_stream(fd) {
                        return Some(moved as isize);
                    }
                }
                _ if moved > 0 => return Some(moved as isize),
                other => return other,
            }
        }
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
        return finish(native());
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
        return finish(native());
    }
    let tried = |done| call(done, libc::MSG_DONTWAIT | quiet_after(done));
    let green = |green: &Green<'_>| green.send_all(fd, length, tried);
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
