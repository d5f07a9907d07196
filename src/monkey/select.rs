//! select and pselect, with sets of any size: the kernel has no limit of 1,024, and so have we.

use std::ffi::c_int;
use std::ptr::null_mut;

use libc::{fd_set, sigset_t, timespec, timeval};

use super::gate::{Green, run};
use super::poll::{SIGNALS_SIZE, interests};
use super::raw::{fail, finish, raw};
use super::{clocks, hooks, owed};
use crate::hub::owed::Owed;
use crate::poller::Interest;

const WORD: usize = usize::BITS as usize;

/// The three sets of a call: their addresses, and what was in them.
struct Sets {
    at: [*mut usize; 3],
    words: usize,
    asked: Vec<usize>,
}

impl Sets {
    /// # Safety
    /// Each is null or has room for `count` bits.
    unsafe fn new(at: [*mut fd_set; 3], count: usize) -> Sets {
        let at = at.map(|set| set.cast::<usize>());
        let words = count.div_ceil(WORD);
        let mut asked = vec![0; 3 * words];
        for (set, copy) in at.iter().zip(asked.chunks_mut(words.max(1))) {
            if !set.is_null() {
                // SAFETY: the caller's.
                copy.copy_from_slice(unsafe { std::slice::from_raw_parts(*set, words) });
            }
        }
        Sets { at, words, asked }
    }

    /// Has the caller's sets say again what they said at first.
    fn restore(&self) {
        let copies = self.asked.chunks(self.words.max(1));
        for (set, copy) in self.at.iter().zip(copies) {
            if !set.is_null() {
                // SAFETY: as when they were read.
                unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), *set, self.words) };
            }
        }
    }

    /// Has the caller's sets say that these are ready for all that was asked for; returns how
    /// many answers the kernel has not given.
    fn report(&self, fds: &[c_int]) -> isize {
        let mut found = 0;
        for fd in fds.iter().map(|fd| *fd as usize) {
            for (set, at) in self.at.iter().enumerate().take(2) {
                if at.is_null() || !self.has(set, fd) {
                    continue;
                }
                // SAFETY: as when they were read; only descriptors that were asked for.
                let word = unsafe { &mut *at.add(fd / WORD) };
                found += isize::from(*word >> (fd % WORD) & 1 == 0);
                *word |= 1 << (fd % WORD);
            }
        }
        found
    }

    fn has(&self, set: usize, fd: usize) -> bool {
        let word = self.asked.get(set * self.words + fd / WORD);
        word.is_some_and(|word| word >> (fd % WORD) & 1 == 1)
    }

    fn wants(&self, count: usize) -> Vec<(c_int, Interest)> {
        let asked = (0..count).map(|fd| {
            let reads = self.has(0, fd) || self.has(2, fd);
            (fd as c_int, reads, self.has(1, fd))
        });
        let asked = asked.filter(|(_, reads, writes)| *reads || *writes);
        asked
            .flat_map(|(fd, reads, writes)| interests(fd, reads, writes))
            .collect()
    }
}

/// The mask of pselect6(2): where it is, and how long.
#[repr(C)]
struct Mask(*const sigset_t, usize);

/// # Safety
/// As pselect(2); a time given is valid.
unsafe fn wait(
    hook: &'static hooks::Hook,
    count: c_int,
    sets: [*mut fd_set; 3],
    limit: Option<u64>,
    mask: *const sigset_t,
) -> isize {
    let mask = Mask(mask, SIGNALS_SIZE);
    let call = |limit: Option<u64>| {
        let [reads, writes, others] = sets;
        let mask = &raw const mask;
        let mut time = limit.map(clocks::timespec_of);
        let time = time.as_mut().map_or(null_mut(), std::ptr::from_mut);
        // SAFETY: the caller's sets; the time is a copy of ours, to which the kernel writes.
        unsafe { raw!(SYS_pselect6, count, reads, writes, others, time, mask) }
    };
    let native = || call(limit);
    let Ok(number) = usize::try_from(count) else {
        return native();
    };
    if limit == Some(0) {
        if Owed::any() {
            // SAFETY: the caller's.
            let sets = unsafe { Sets::new(sets, number) };
            let owing = owed::among(sets.wants(number).iter().map(|(fd, _)| *fd));
            return native() + sets.report(&owing);
        }
        return native();
    }
    let green = |green: &Green<'_>| {
        green.let_others_run();
        let deadline = limit.and_then(|limit| green.deadline_in(limit));
        // SAFETY: the caller's.
        let sets = unsafe { Sets::new(sets, number) };
        let wants = sets.wants(number);
        let look = || {
            sets.restore();
            call(Some(0))
        };
        let report = |met| {
            if wants.is_empty() && limit.is_none() {
                // As after a signal: nothing else could end it.
                return Some(fail(libc::EINTR));
            }
            let asked = |fd: &c_int| (0..2).any(|set| sets.has(set, *fd as usize));
            let carriers = owed::carriers(wants.iter().map(|(fd, _)| *fd).filter(asked));
            let found = sets.report(&carriers);
            owed::owe(green, met, carriers, found)
        };
        green.look_again(&wants, deadline, !mask.0.is_null(), look, report)
    };
    run(hook, green, native)
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn select(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    others: *mut fd_set,
    limit: *mut timeval,
) -> c_int {
    // SAFETY: the caller's; null or valid.
    let limit = unsafe { limit.as_mut() };
    if limit
        .as_ref()
        .is_some_and(|limit| limit.tv_sec < 0 || limit.tv_usec < 0)
    {
        return finish(fail(libc::EINVAL)) as c_int;
    }
    let begin = clocks::read(libc::CLOCK_MONOTONIC).unwrap_or(0);
    let ns = limit.as_ref().map(|limit| clocks::ns_of_timeval(limit));
    let sets = [reads, writes, others];
    // SAFETY: the caller's.
    let found = unsafe { wait(&hooks::select, count, sets, ns, std::ptr::null()) };
    if let (Some(limit), Some(ns)) = (limit, ns) {
        // As Linux does: what is left of the time.
        let now = clocks::read(libc::CLOCK_MONOTONIC).unwrap_or(0);
        let left = clocks::timespec_of(ns.saturating_sub(now.saturating_sub(begin)));
        limit.tv_sec = left.tv_sec;
        limit.tv_usec = left.tv_nsec / 1000;
    }
    finish(found) as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pselect(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    others: *mut fd_set,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's; null or valid.
    let limit = unsafe { limit.as_ref() };
    if limit.is_some_and(|limit| !clocks::is_valid(limit)) {
        return finish(fail(libc::EINVAL)) as c_int;
    }
    let (sets, ns) = ([reads, writes, others], limit.map(clocks::ns_of));
    // SAFETY: the caller's.
    finish(unsafe { wait(&hooks::pselect, count, sets, ns, mask) }) as c_int
}
