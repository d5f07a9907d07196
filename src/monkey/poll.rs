//! poll and ppoll: asked without waiting, again whenever one of the descriptors says something.

use std::borrow::Cow;
use std::ffi::c_int;
use std::ptr::null_mut;

use libc::{nfds_t, pollfd, sigset_t, size_t, timespec};

use super::gate::{Green, run};
use super::raw::{fail, finish, raw};
use super::turn::{Watch, events_of};
use super::{clocks, hooks, owed};
use crate::cancel::{self, Met};
use crate::hub::owed::Owed;
use crate::poller::Interest;

/// The kernel's signal sets are this long.
pub(super) const SIGNALS_SIZE: usize = 8;

/// Whoever waits with a signal mask of his own is to be interrupted by signals: they are looked
/// for so often.
const SIGNALS_NS: u64 = 10_000_000;

const READS: i16 =
    libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP | libc::POLLRDNORM | libc::POLLRDBAND;
const WRITES: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;

const EBADF: isize = fail(libc::EBADF);

fn is_open((fd, _): &(c_int, Interest)) -> bool {
    events_of(*fd, 0) & libc::POLLNVAL == 0
}

/// A descriptor that waits for both is in two queues; one that waits for neither is told of
/// hang-ups and errors, which count as readable.
pub(super) fn interests(
    fd: c_int,
    reads: bool,
    writes: bool,
) -> impl Iterator<Item = (c_int, Interest)> {
    let read = (reads || !writes).then_some((fd, Interest::Read));
    let write = writes.then_some((fd, Interest::Write));
    read.into_iter().chain(write)
}

impl Green<'_> {
    /// Asks by `look` until it finds something, or the time is up: then it is what it found.
    ///
    /// A kill or a limit wakes the caller by what `report` says; where that has nothing to say,
    /// the wait goes on.
    pub(super) fn look_again(
        &self,
        wants: &[(c_int, Interest)],
        deadline: Option<u64>,
        masked: bool,
        look: impl Fn() -> isize,
        report: impl Fn(Met) -> Option<isize>,
    ) -> Option<isize> {
        let mut watch = Watch::new();
        let mut wants = Cow::Borrowed(wants);
        let mut report_at = None;
        loop {
            let found = look();
            if found != 0 || self.is_over(deadline) {
                self.hub.count_operation();
                return Some(found);
            }
            let mut until = deadline.unwrap_or(u64::MAX);
            if masked {
                until = until.min(self.deadline_in(SIGNALS_NS).unwrap_or(u64::MAX));
            }
            if let Some(met) = self.meet() {
                let now = self.hub.now();
                let pause = || now.saturating_add(cancel::pause_before(self.task, met));
                let at = *report_at.get_or_insert_with(pause);
                if at <= now {
                    let reported = report(met);
                    if reported.is_some() {
                        return reported;
                    }
                    report_at = Some(u64::MAX);
                } else {
                    until = until.min(at);
                }
            }
            match watch.wait(self, &wants, (until != u64::MAX).then_some(until)) {
                Ok(()) => {}
                // select passes over numbers beyond the table of open files.
                Err(Some(EBADF)) if !wants.iter().all(is_open) => {
                    wants.to_mut().retain(is_open);
                }
                Err(result) => return result,
            }
        }
    }
}

/// # Safety
/// As ppoll(2); a time given is valid.
unsafe fn wait(
    hook: &'static hooks::Hook,
    (fds, count): (*mut pollfd, nfds_t),
    limit: Option<u64>,
    mask: *const sigset_t,
) -> c_int {
    let call = |limit: Option<u64>| {
        let mut time = limit.map(clocks::timespec_of);
        let time = time.as_mut().map_or(null_mut(), std::ptr::from_mut);
        // SAFETY: the caller's; the kernel writes how much is left of the time into a copy.
        unsafe { raw!(SYS_ppoll, fds, count, time, mask, SIGNALS_SIZE) }
    };
    let native = || call(limit);
    if limit == Some(0) {
        let found = native();
        if Owed::any() {
            // SAFETY: the caller's.
            return finish(unsafe { owed::add_polled(found, fds, count) }) as c_int;
        }
        return finish(found) as c_int;
    }
    let green = |green: &Green<'_>| {
        green.let_others_run();
        let look = || call(Some(0));
        let found = look();
        if found < 0 {
            return Some(found);
        }
        // SAFETY: the kernel has just read and written all of them.
        let polled = unsafe { slice(fds, count) };
        let outputs = limit.is_none() && owed::note_output_pipes(green, polled);
        if found > 0 {
            green.hub.count_operation();
            return Some(found);
        }
        let deadline = limit.and_then(|limit| green.deadline_in(limit));
        let all = polled.iter().filter(|one| one.fd >= 0);
        let wants = all
            .flat_map(|one| interests(one.fd, one.events & READS != 0, one.events & WRITES != 0));
        let wants: Vec<_> = wants.collect();
        let report = |met| {
            if wants.is_empty() && limit.is_none() {
                // As after a signal: nothing else could end it.
                return Some(fail(libc::EINTR));
            }
            if outputs {
                return None;
            }
            // SAFETY: as above; nothing else refers to them any more.
            unsafe { owed::report_polled(green, met, fds, count) }
        };
        green.look_again(&wants, deadline, !mask.is_null(), look, report)
    };
    finish(run(hook, green, native)) as c_int
}

/// # Safety
/// There are so many.
unsafe fn slice<'a>(fds: *const pollfd, count: nfds_t) -> &'a [pollfd] {
    if fds.is_null() {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts(fds, count as usize) }
}

fn limit_of_ms(ms: c_int) -> Option<u64> {
    u64::try_from(ms).ok().map(|ms| ms * 1_000_000)
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, ms: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        wait(
            &hooks::poll,
            (fds, count),
            limit_of_ms(ms),
            std::ptr::null(),
        )
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's; null or valid.
    let limit = unsafe { limit.as_ref() };
    if limit.is_some_and(|limit| !clocks::is_valid(limit)) {
        return finish(fail(libc::EINVAL)) as c_int;
    }
    // SAFETY: the caller's.
    unsafe { wait(&hooks::ppoll, (fds, count), limit.map(clocks::ns_of), mask) }
}

fn assert_fits(count: nfds_t, size: size_t) {
    super::socket::assert_fits((count as usize).saturating_mul(size_of::<pollfd>()), size);
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __poll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    ms: c_int,
    size: size_t,
) -> c_int {
    assert_fits(count, size);
    // SAFETY: the caller's.
    unsafe {
        wait(
            &hooks::__poll_chk,
            (fds, count),
            limit_of_ms(ms),
            std::ptr::null(),
        )
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
    size: size_t,
) -> c_int {
    assert_fits(count, size);
    // SAFETY: the caller's; null or valid.
    unsafe { ppoll(fds, count, limit, mask) }
}
