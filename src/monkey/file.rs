//! read and write: on pipes, sockets, terminals and whatever else has a number.
//!
//! Each try is preadv2 or pwritev2 with RWF_NOWAIT, which does not wait whatever the mode of the
//! descriptor. What can't be asked so (a terminal, a named pipe, each pipe before Linux 6.4) is
//! tried as `unflagged.rs` says; regular files, for which nobody can wait, block as they always
//! did.

use std::ffi::{c_int, c_void};

use libc::{iovec, size_t, ssize_t};

use super::gate::{Green, run_on};
use super::hooks;
use super::raw::{fail, finish, raw};
use super::slices::{Rest, total};
use super::socket::{Kind, assert_fits};
use super::turn::Terms;
use super::unflagged;
use crate::poller::Interest;

const EAGAIN: isize = fail(libc::EAGAIN);
/// The largest number of slices; more are EINVAL, which the kernel says itself.
const SLICES_MAX: usize = 1024;

/// One direction of vectored transfer, as the kernel offers it.
#[derive(Clone, Copy)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    pub(super) fn interest(self) -> Interest {
        match self {
            Way::In => Interest::Read,
            Way::Out => Interest::Write,
        }
    }

    /// Without waiting, at the file's own position.
    ///
    /// # Safety
    /// The slices are valid.
    unsafe fn at_once(self, fd: c_int, slices: &[iovec]) -> isize {
        let (at, count, here) = (slices.as_ptr(), slices.len(), -1isize);
        // SAFETY: the caller's.
        unsafe {
            match self {
                Way::In => raw!(SYS_preadv2, fd, at, count, here, here, libc::RWF_NOWAIT),
                Way::Out => raw!(SYS_pwritev2, fd, at, count, here, here, libc::RWF_NOWAIT),
            }
        }
    }

    /// # Safety
    /// The slices are valid.
    pub(super) unsafe fn blocking(self, fd: c_int, slices: &[iovec]) -> isize {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Way::In => raw!(SYS_readv, fd, slices.as_ptr(), slices.len()),
                Way::Out => raw!(SYS_writev, fd, slices.as_ptr(), slices.len()),
            }
        }
    }

    /// Without waiting, whatever the file.
    ///
    /// # Safety
    /// The slices are valid.
    unsafe fn try_once(self, fd: c_int, slices: &[iovec]) -> isize {
        // SAFETY: the caller's.
        let result = unsafe { self.at_once(fd, slices) };
        if result == fail(libc::EOPNOTSUPP) || result == fail(libc::ENOSYS) {
            // SAFETY: the caller's.
            return unsafe { unflagged::transfer(self, fd, slices) };
        }
        result
    }

    /// As [`try_once`](Way::try_once), for what is left after `done` bytes.
    ///
    /// # Safety
    /// The slices are valid.
    unsafe fn try_rest(self, fd: c_int, slices: &[iovec], done: usize) -> isize {
        if done == 0 {
            // SAFETY: the caller's.
            return unsafe { self.try_once(fd, slices) };
        }
        let rest = Rest::new(slices, done);
        // SAFETY: parts of the caller's slices.
        unsafe { self.try_once(fd, rest.as_slice()) }
    }
}

/// Files that are read from and written to in one piece: what comes short is not complete.
fn is_regular(fd: c_int) -> bool {
    unflagged::kind_of(fd) == libc::S_IFREG
}

/// # Safety
/// The slices are valid, for writing if `way` is in.
unsafe fn transfer(green: &Green<'_>, way: Way, fd: c_int, slices: &[iovec]) -> Option<isize> {
    let want = total(slices);
    let mut terms = Terms::default();
    let mut done = 0;
    loop {
        // SAFETY: the caller's.
        let tried = || unsafe { way.try_rest(fd, slices, done) };
        let exhausts = |now: isize| (now as usize) < want - done;
        match green.retry_on(&mut terms, fd, way.interest(), tried, exhausts) {
            Some(now) if now > 0 => done += now as usize,
            // What can't be waited for: a file, which is not in memory.
            None if done > 0 => {
                let rest = Rest::new(slices, done);
                // SAFETY: parts of the caller's slices.
                let more = unsafe { way.blocking(fd, rest.as_slice()) };
                if more <= 0 {
                    return Some(done as isize);
                }
                done += more as usize;
            }
            Some(_) if done > 0 => return Some(done as isize),
            Some(EAGAIN) if terms.is_over(green) && unflagged::patience_ns(fd) > 0 => {
                return Some(0);
            }
            other => return other,
        }
        if done == want {
            return Some(done as isize);
        }
        match way {
            Way::In if is_regular(fd) => {}
            Way::Out if Kind::of(fd).is_stream => {
                // SAFETY: the caller's.
                let send = |done| unsafe { unflagged::send(fd, &mut Rest::new(slices, done)) };
                let end = (fd, Interest::Write);
                return Some(green.go_on(&mut terms, end, done, want, send));
            }
            Way::Out if terms.may_wait(fd) => {}
            _ => return Some(done as isize),
        }
    }
}

#[inline(always)]
fn one(buffer: *const c_void, length: size_t) -> [iovec; 1] {
    [iovec {
        iov_base: buffer.cast_mut(),
        iov_len: length,
    }]
}

/// # Safety
/// As readv(2) and writev(2).
unsafe fn vectored(
    hook: &'static hooks::Hook,
    way: Way,
    fd: c_int,
    slices: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: the caller's.
    let native = || unsafe {
        match way {
            Way::In => raw!(SYS_readv, fd, slices, count),
            Way::Out => raw!(SYS_writev, fd, slices, count),
        }
    };
    let green = |green: &Green<'_>| {
        let count = usize::try_from(count).ok()?;
        if count > SLICES_MAX || slices.is_null() {
            return None;
        }
        // SAFETY: the caller's.
        unsafe { transfer(green, way, fd, std::slice::from_raw_parts(slices, count)) }
    };
    finish(run_on(fd, hook, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_read, fd, buffer, length) };
    // SAFETY: the caller's.
    let green = |green: &Green<'_>| unsafe { transfer(green, Way::In, fd, &one(buffer, length)) };
    finish(run_on(fd, &hooks::read, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __read_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    size: size_t,
) -> ssize_t {
    assert_fits(length, size);
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_read, fd, buffer, length) };
    // SAFETY: the caller's.
    let green = |green: &Green<'_>| unsafe { transfer(green, Way::In, fd, &one(buffer, length)) };
    finish(run_on(fd, &hooks::__read_chk, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_write, fd, bytes, length) };
    // SAFETY: the caller's.
    let green = |green: &Green<'_>| unsafe { transfer(green, Way::Out, fd, &one(bytes, length)) };
    finish(run_on(fd, &hooks::write, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { vectored(&hooks::readv, Way::In, fd, slices, count) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { vectored(&hooks::writev, Way::Out, fd, slices, count) }
}
