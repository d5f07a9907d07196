//! recvmsg, sendmsg and their plural forms: bytes with what travels beside them.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};

use libc::{iovec, mmsghdr, msghdr, ssize_t, timespec};

use super::datagram::Destination;
use super::gate::{Green, run_on};
use super::raw::{finish, raw};
use super::slices::{Rest, total};
use super::socket::quiet_after;
use super::turn::Terms;
use super::{clocks, hooks, owed};
use crate::poller::Interest;

/// The slices of a message.
///
/// # Safety
/// `message` is null or valid, as recvmsg(2) demands.
unsafe fn slices<'a>(message: *const msghdr) -> &'a [iovec] {
    // SAFETY: the caller's.
    match unsafe { message.as_ref() } {
        Some(message) if !message.msg_iov.is_null() => {
            // SAFETY: the caller's.
            unsafe { std::slice::from_raw_parts(message.msg_iov, message.msg_iovlen) }
        }
        _ => &[],
    }
}

/// Where a message goes, if it says so.
///
/// # Safety
/// As [`slices`].
unsafe fn destination(message: *const msghdr) -> Option<Destination> {
    // SAFETY: the caller's.
    let message = unsafe { message.as_ref() }?;
    Destination::new(message.msg_name.cast(), message.msg_namelen)
}

/// What travels beside a message that is received in parts (MSG_WAITALL).
///
/// The address and what is said of the sender come with the first part. Descriptors may come with
/// any, and no kernel puts into one message what follows the first of them.
struct Beside {
    control: *mut c_void,
    room: usize,
    /// A later part has brought some.
    has_descriptors: Cell<bool>,
}

impl Beside {
    fn new(message: &msghdr) -> Beside {
        Beside {
            control: message.msg_control,
            room: message.msg_controllen,
            has_descriptors: Cell::new(false),
        }
    }

    /// Did descriptors come with what was received? Those for which there is no room are closed by
    /// the kernel, which says that something is missing.
    fn holds_descriptors(received: &msghdr) -> bool {
        if received.msg_flags & libc::MSG_CTRUNC != 0 {
            return true;
        }
        // SAFETY: the kernel has filled the control buffer, and said how far.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(received);
            while let Some(one) = header.as_ref() {
                if (one.cmsg_level, one.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                    return true;
                }
                header = libc::CMSG_NXTHDR(received, header);
            }
        }
        false
    }

    /// Gives the next part the room that the first has left.
    fn lend_room(&self, first: &msghdr, more: &mut msghdr) {
        let used = first.msg_controllen;
        more.msg_control = self.control.wrapping_byte_add(used);
        more.msg_controllen = self.room.saturating_sub(used) as _;
    }

    /// Adds what a later part has brought.
    fn add(&self, first: &mut msghdr, more: &msghdr) {
        first.msg_controllen += more.msg_controllen;
        first.msg_flags |= more.msg_flags & libc::MSG_CTRUNC;
        self.has_descriptors.set(true);
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let call = |message: *mut msghdr, more: c_int| {
        // SAFETY: the caller's message, or one made of its parts.
        unsafe { raw!(SYS_recvmsg, fd, message, flags | more) }
    };
    let native = || call(message, 0);
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native));
    }
    // SAFETY: the caller's.
    let buffers = unsafe { slices(message) };
    // SAFETY: the caller's; the kernel writes to it, so it is copied before.
    let beside = unsafe { message.as_ref() }.map(Beside::new);
    let tried = |done: usize| {
        if done == 0 {
            return call(message, libc::MSG_DONTWAIT);
        }
        // SAFETY: the caller's, which the kernel has filled with the first part.
        let (Some(beside), Some(first)) = (&beside, unsafe { message.as_mut() }) else {
            return 0;
        };
        if beside.has_descriptors.get() || Beside::holds_descriptors(first) {
            return 0;
        }
        let mut rest = Rest::new(buffers, done);
        let mut more = rest.message();
        beside.lend_room(first, &mut more);
        let result = call(&mut more, libc::MSG_DONTWAIT);
        if result > 0 && Beside::holds_descriptors(&more) {
            beside.add(first, &more);
        }
        result
    };
    let green = |green: &Green<'_>| green.receive(fd, total(buffers), flags, tried);
    finish(run_on(fd, &hooks::recvmsg, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sendmsg(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    let call = |message: *const msghdr, more: c_int| {
        // SAFETY: the caller's message, or one made of its parts.
        unsafe { raw!(SYS_sendmsg, fd, message, flags | more) }
    };
    let native = || call(message, 0);
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native));
    }
    // SAFETY: the caller's.
    let buffers = unsafe { slices(message) };
    let tried = |done: usize| {
        if done == 0 {
            return call(message, libc::MSG_DONTWAIT);
        }
        let mut rest = Rest::new(buffers, done);
        let more = rest.message();
        call(&more, libc::MSG_DONTWAIT | quiet_after(done))
    };
    let green = |green: &Green<'_>| {
        // SAFETY: the caller's.
        let to = unsafe { destination(message) };
        green.send_all(fd, total(buffers), to, tried)
    };
    finish(run_on(fd, &hooks::sendmsg, green, native))
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_recvmmsg, fd, messages, count, flags, timeout) };
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native)) as c_int;
    }
    let only_first = flags & libc::MSG_WAITFORONE != 0;
    let one_try = flags & !libc::MSG_WAITFORONE | libc::MSG_DONTWAIT;
    let green = |green: &Green<'_>| {
        // SAFETY: the caller's; null or valid.
        let limit = unsafe { timeout.as_ref() }.map(clocks::ns_of);
        // The kernel looks at the limit after each message, and so do we.
        let deadline = limit.and_then(|limit| green.deadline_in(limit));
        let mut got = 0;
        while got < count {
            let at = messages.wrapping_add(got as usize);
            let tried = || {
                // SAFETY: the caller's, of which `got` have been filled.
                unsafe { raw!(SYS_recvmmsg, fd, at, count - got, one_try, 0) }
            };
            let received = match got {
                0 => green.retry(fd, Interest::Read, tried, |_| false),
                _ => {
                    let terms = &mut Terms::default();
                    green.leave_error(terms, (fd, Interest::Read), tried, |_| false)
                }
            };
            match received {
                Some(more) if more > 0 => got += more as c_uint,
                _ if got > 0 => break,
                other => return other,
            }
            if only_first || green.is_over(deadline) {
                break;
            }
        }
        Some(got as isize)
    };
    finish(run_on(fd, &hooks::recvmmsg, green, native)) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    let native = || unsafe { raw!(SYS_sendmmsg, fd, messages, count, flags) };
    if flags & libc::MSG_DONTWAIT != 0 {
        return finish(owed::take(fd).unwrap_or_else(native)) as c_int;
    }
    let green = |green: &Green<'_>| {
        let mut sent = 0;
        while sent < count {
            let at = messages.wrapping_add(sent as usize);
            // SAFETY: the caller's; valid, and one message long by its field.
            let header = unsafe { &raw const (*at).msg_hdr };
            // One by one, since a stream's message may go out in parts.
            // SAFETY: as above.
            let buffers = unsafe { slices(header) };
            let tried = |done: usize| {
                let mut rest = Rest::new(buffers, done);
                let parts = rest.message();
                let header = if done == 0 { header } else { &raw const parts };
                let more = libc::MSG_DONTWAIT | quiet_after(done + sent as usize);
                // SAFETY: the caller's message, or one made of its parts.
                unsafe { raw!(SYS_sendmsg, fd, header, flags | more) }
            };
            // SAFETY: the caller's; see above.
            let to = unsafe { destination(header) };
            let want = total(buffers);
            match green.send_all(fd, want, to, tried) {
                Some(bytes) if bytes >= 0 => {
                    // SAFETY: the caller's; see above.
                    unsafe { (*at).msg_len = bytes as c_uint };
                    sent += 1;
                    if (bytes as usize) < want {
                        break;
                    }
                }
                _ if sent > 0 => break,
                other => return other,
            }
        }
        Some(sent as isize)
    };
    finish(run_on(fd, &hooks::sendmmsg, green, native)) as c_int
}
