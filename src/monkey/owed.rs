//! How a kill or a limit wakes a greenlet that waits in poll, select or epoll_wait.
//!
//! ```text
//!   epoll_wait --kill--> sockets of the set are reported as ready, and owe an error
//!   recv on one of them: ECANCELED, once
//! ```
//!
//! These three must not fail: their callers take any error but EINTR for impossible. A call on a
//! socket may fail at any time, and its callers expect that. So the wait reports what it watches as
//! ready, and the next call of the greenlet on each of these descriptors fails.
//!
//! Only a *carrier* is reported: a descriptor whose errors callers expect.
//!
//! | descriptor | poll, select | epoll_wait |
//! |---|---|---|
//! | socket | yes | yes, but see below |
//! | pipe | yes, but see below | yes, unless this process has both ends |
//! | eventfd, timerfd, terminal, anything else | no | no |
//!
//! Not carriers are the pipes of std's `Command::output`, which unwraps, and in a set that is
//! edge-triggered the socket pairs that are watched for reading alone: tokio panics when it can't
//! read the pair by which signals arrive. Where there is no carrier, the wait goes on.
//!
//! What an epoll set watches is asked of the kernel (`/proc/self/fdinfo`), as everything about a
//! descriptor is.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use libc::{epoll_event, nfds_t, pollfd};

use super::callers;
use super::gate::{Green, bypass};
use super::raw::{fail, raw};
use super::turn::option;
use crate::cancel::Met;
use crate::hub::owed::Owed;
use crate::hub::with_hub;
use crate::sys::lock::natively;

/// The error that a call on `fd` owes the greenlet that makes it.
#[inline(always)]
pub(super) fn take(fd: c_int) -> Option<isize> {
    if Owed::any() { collect(fd) } else { None }
}

#[cold]
fn collect(fd: c_int) -> Option<isize> {
    with_owed(|owed| owed.take(fd).then(|| fail(owed.errno)))?
}

/// Calls `f` with what the greenlet that runs is owed now.
fn with_owed<T>(f: impl FnOnce(&mut Owed) -> T) -> Option<T> {
    with_hub(|hub| {
        let (hub, task) = (hub?, hub?.running()?);
        let local = task.get().local();
        // A shield and a destructor that unwinds hold it off, as they do with what is due.
        let held_off = local.shields.get() > 0 || std::thread::panicking();
        if held_off || bypass(hub, task).is_some() {
            return None;
        }
        let mut owed = local.owed.take()?;
        let result = f(&mut owed);
        if !owed.is_empty() {
            local.owed.set(Some(owed));
        }
        Some(result)
    })
}

/// Those of `fds` that owe an error.
#[cold]
pub(super) fn among(fds: impl Iterator<Item = c_int>) -> Vec<c_int> {
    let owing = with_owed(|owed| fds.filter(|fd| owed.has(*fd)).collect());
    owing.unwrap_or_default()
}

/// Notes that `fds` owe what was met, and returns `found`; `None` if that is nothing.
pub(super) fn owe(green: &Green<'_>, met: Met, fds: Vec<c_int>, found: isize) -> Option<isize> {
    if found == 0 {
        return None;
    }
    let owed = Owed::new(met.due, met.errno, fds);
    green.task.get().local().owed.set(Some(Box::new(owed)));
    Some(found)
}

/// What fstat(2) says: the kind of the file, and its inode.
fn kind_of(fd: c_int) -> Option<(libc::mode_t, u64)> {
    let mut about = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: there is room for what the kernel writes.
    unsafe {
        let known = libc::fstat(fd, about.as_mut_ptr()) == 0;
        let about = about.assume_init();
        known.then_some((about.st_mode & libc::S_IFMT, about.st_ino))
    }
}

/// Those of `fds` whose errors callers of poll and select expect.
pub(super) fn carriers(fds: impl Iterator<Item = c_int>) -> Vec<c_int> {
    let carries = |fd: &c_int| {
        let kind = kind_of(*fd).map(|(kind, _)| kind);
        matches!(kind, Some(libc::S_IFSOCK | libc::S_IFIFO))
    };
    let mut found: Vec<_> = fds.filter(carries).collect();
    found.sort_unstable();
    found.dedup();
    found
}

const READS: i16 = libc::POLLIN | libc::POLLRDNORM;
const WRITES: i16 = libc::POLLOUT | libc::POLLWRNORM;

/// Reports the carriers among what is polled.
///
/// # Safety
/// There are so many, for nobody else to touch.
pub(super) unsafe fn report_polled(
    green: &Green<'_>,
    met: Met,
    fds: *mut pollfd,
    count: nfds_t,
) -> Option<isize> {
    if fds.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let polled = unsafe { std::slice::from_raw_parts_mut(fds, count as usize) };
    let asked = |one: &&pollfd| one.fd >= 0 && one.events & (READS | WRITES) != 0;
    let carriers = carriers(polled.iter().filter(asked).map(|one| one.fd));
    let found = answer_for(&carriers, polled);
    owe(green, met, carriers, found)
}

/// What a look that does not wait has found, with those that owe an error: callers look once more
/// before they read.
///
/// # Safety
/// There are so many, for nobody else to touch.
#[cold]
pub(super) unsafe fn add_polled(found: isize, fds: *mut pollfd, count: nfds_t) -> isize {
    if found < 0 || fds.is_null() {
        return found;
    }
    // SAFETY: the caller's.
    let polled = unsafe { std::slice::from_raw_parts_mut(fds, count as usize) };
    let owing = among(polled.iter().map(|one| one.fd));
    found + answer_for(&owing, polled)
}

/// Has what is polled say that `fds` are ready; returns how many did not say anything before.
fn answer_for(fds: &[c_int], polled: &mut [pollfd]) -> isize {
    let mut found = 0;
    for one in polled {
        let answer = one.events & (READS | WRITES);
        if answer != 0 && one.revents == 0 && fds.contains(&one.fd) {
            // As the kernel reports a connect that has failed; callers look for the error then.
            let failed = match is_connecting(one.fd) {
                true => libc::POLLERR | libc::POLLHUP,
                false => 0,
            };
            one.revents = answer | failed;
            found += 1;
        }
    }
    found
}

/// A stream that is no listener, and has no peer.
fn is_connecting(fd: c_int) -> bool {
    option::<c_int>(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
        && option::<c_int>(fd, libc::SO_ACCEPTCONN) != Some(1)
        && name_length(fd, libc::SYS_getpeername).is_none()
}

/// How long the address is that getsockname(2) or getpeername(2) tells.
fn name_length(fd: c_int, call: libc::c_long) -> Option<(libc::sa_family_t, usize)> {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: there is room for `length` bytes, and zeros are an address.
    unsafe {
        let (at, length_at) = (address.as_mut_ptr(), &raw mut length);
        let told = super::raw::syscall(
            call as usize,
            [fd as usize, at as usize, length_at as usize, 0, 0, 0],
        );
        (told == 0).then(|| (address.assume_init().ss_family, length as usize))
    }
}

/// One end of socketpair(2)?
fn is_of_pair(fd: c_int) -> bool {
    let unnamed = |call| {
        let name = name_length(fd, call);
        name.is_some_and(|(family, length)| {
            family == libc::AF_UNIX as libc::sa_family_t && length <= size_of::<libc::sa_family_t>()
        })
    };
    unnamed(libc::SYS_getsockname) && unnamed(libc::SYS_getpeername)
}

/// Two pipes, made non-blocking, polled for reading without a limit: so std waits for the output
/// of a child. It unwraps what reading them says, and once one has ended it blocks for the rest of
/// the other. So they are noted before a wait, and when one has ended.
#[inline]
pub(super) fn note_output_pipes(green: &Green<'_>, polled: &[pollfd]) -> bool {
    let [first, second] = polled else {
        return false;
    };
    let answers = first.revents | second.revents;
    let matters = answers == 0 || answers & libc::POLLHUP != 0;
    let reads_alone = first.events == libc::POLLIN && second.events == libc::POLLIN;
    matters && reads_alone && note_if_pipes(green, [first.fd, second.fd])
}

fn note_if_pipes(green: &Green<'_>, fds: [c_int; 2]) -> bool {
    let pipe = |fd| {
        let (_, inode) = kind_of(fd).filter(|(kind, _)| *kind == libc::S_IFIFO)?;
        // SAFETY: F_GETFL takes no pointer.
        let flags = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) };
        let nonblocking = flags >= 0 && flags as c_int & libc::O_NONBLOCK != 0;
        nonblocking.then_some((fd, inode))
    };
    let [Some(first), Some(second)] = fds.map(pipe) else {
        return false;
    };
    let pipes = Box::new([first, second]);
    green.task.get().local().output_pipes.set(Some(pipes));
    true
}

/// Is `fd` one that calls never fail on? Apart from the pipes of [`note_output_pipes`] that is the
/// pair of sockets by which a child of std's that could not be started says so.
#[cold]
pub(super) fn never_fails(green: &Green<'_>, fd: c_int) -> bool {
    let Some((kind, inode)) = kind_of(fd) else {
        return false;
    };
    if kind == libc::S_IFSOCK {
        return option::<c_int>(fd, libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET) && is_of_pair(fd);
    }
    let place = &green.task.get().local().output_pipes;
    let pipes = place.take();
    let known = pipes
        .as_ref()
        .is_some_and(|pipes| pipes.contains(&(fd, inode)));
    place.set(pipes);
    known || kind == libc::S_IFIFO && callers::want_output()
}

/// One line of what the kernel tells of an epoll set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    fd: c_int,
    events: u32,
    data: u64,
    /// Of the file that was watched; the number may be another one's by now.
    inode: Option<u64>,
}

impl Watched {
    fn parse(line: &str) -> Option<Watched> {
        let mut words = line.split_ascii_whitespace();
        let mut after = |name: &str| words.by_ref().skip_while(|word| *word != name).nth(1);
        let fd = after("tfd:")?.parse().ok()?;
        let events = u32::from_str_radix(after("events:")?, 16).ok()?;
        let data = u64::from_str_radix(after("data:")?, 16).ok()?;
        let inode = line.split("ino:").nth(1);
        let inode = inode.and_then(|rest| rest.split_ascii_whitespace().next());
        let inode = inode.and_then(|inode| u64::from_str_radix(inode, 16).ok());
        Some(Watched {
            fd,
            events,
            data,
            inode,
        })
    }

    /// What is to be reported of it.
    fn answer(self) -> u32 {
        let asked = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDNORM | libc::EPOLLWRNORM) as u32;
        self.events & asked
    }

    fn carries(self) -> bool {
        let Some((kind, inode)) = kind_of(self.fd) else {
            return false;
        };
        if self.answer() == 0 || self.inode.is_some_and(|watched| watched != inode) {
            return false;
        }
        let reads_alone = self.events & libc::EPOLLOUT as u32 == 0;
        let at_edges = self.events & libc::EPOLLET as u32 != 0;
        match kind {
            libc::S_IFSOCK => !(reads_alone && at_edges && is_of_pair(self.fd)),
            libc::S_IFIFO => !has_both_ends(inode),
            _ => false,
        }
    }
}

/// Whether this process can both read from and write to a pipe.
fn has_both_ends(inode: u64) -> bool {
    let (mut reads, mut writes) = (false, false);
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return true;
    };
    for entry in open.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(fd) = number.filter(|fd| kind_of(*fd) == Some((libc::S_IFIFO, inode))) else {
            continue;
        };
        // SAFETY: F_GETFL takes no pointer.
        let flags = unsafe { raw!(SYS_fcntl, fd, libc::F_GETFL) } as c_int;
        let mode = flags & libc::O_ACCMODE;
        reads |= mode != libc::O_WRONLY;
        writes |= mode != libc::O_RDONLY;
    }
    reads && writes
}

/// Reports the carriers in an epoll set.
///
/// # Safety
/// There is room for so many events.
pub(super) unsafe fn report_set(
    green: &Green<'_>,
    met: Met,
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
) -> Option<isize> {
    let told = natively(|| std::fs::read_to_string(format!("/proc/self/fdinfo/{set}"))).ok()?;
    let watched = told.lines().filter_map(Watched::parse);
    let carriers = watched.filter(|one| natively(|| one.carries()));
    let carriers: Vec<_> = carriers.take(usize::try_from(room).unwrap_or(0)).collect();
    for (index, one) in carriers.iter().enumerate() {
        let event = epoll_event {
            events: one.answer(),
            u64: one.data,
        };
        // SAFETY: the caller's; at most `room`.
        unsafe { events.add(index).write_unaligned(event) };
        if one.events & libc::EPOLLONESHOT as u32 != 0 {
            disarm(set, *one);
        }
    }
    let fds: Vec<_> = carriers.iter().map(|one| one.fd).collect();
    let found = fds.len() as isize;
    owe(green, met, fds, found)
}

/// What is to be reported once has been reported.
fn disarm(set: c_int, one: Watched) {
    let mut nothing = epoll_event {
        events: libc::EPOLLONESHOT as u32,
        u64: one.data,
    };
    // SAFETY: an event is passed, and lives here; the kernel says if there is no such descriptor.
    unsafe {
        raw!(
            SYS_epoll_ctl,
            set,
            libc::EPOLL_CTL_MOD,
            one.fd,
            &raw mut nothing
        )
    };
}
