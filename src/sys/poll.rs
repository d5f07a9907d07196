//! Readiness of any descriptors, by their numbers: poll(2), and epoll sets that one makes oneself.
//!
//! Numbers instead of borrowed descriptors, because to find that one of them is closed is part
//! of what is asked for. Nothing here reads, writes or closes what a number names: a wrong one
//! is an error, or an answer about another descriptor, and no more than that.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::cvt;

/// The bits of poll(2); those of epoll are the same, and two more.
pub(crate) mod bits {
    pub(crate) const READ: u32 = libc::POLLIN as u32;
    pub(crate) const WRITE: u32 = libc::POLLOUT as u32;
    pub(crate) const PRIORITY: u32 = libc::POLLPRI as u32;
    pub(crate) const READ_CLOSED: u32 = libc::POLLRDHUP as u32;
    pub(crate) const ERROR: u32 = libc::POLLERR as u32;
    pub(crate) const HANGUP: u32 = libc::POLLHUP as u32;
    pub(crate) const INVALID: u32 = libc::POLLNVAL as u32;
    pub(crate) const EDGE: u32 = libc::EPOLLET as u32;
    pub(crate) const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

    const _: () = assert!(READ == libc::EPOLLIN as u32 && WRITE == libc::EPOLLOUT as u32);
    const _: () = assert!(ERROR == libc::EPOLLERR as u32 && HANGUP == libc::EPOLLHUP as u32);
    const _: () = assert!(PRIORITY == libc::EPOLLPRI as u32);
    const _: () = assert!(READ_CLOSED == libc::EPOLLRDHUP as u32);
}

/// Descriptors asked about in one call. The kernel refuses more than the process may open.
const POLLED_MAX: usize = 1024;

/// A descriptor, what is asked about it, and what was found.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct PollFd(libc::pollfd);

impl PollFd {
    pub(crate) fn new(fd: RawFd, asked: u32) -> PollFd {
        let all = bits::READ | bits::WRITE | bits::PRIORITY | bits::READ_CLOSED;
        PollFd(libc::pollfd {
            fd,
            events: (asked & all) as i16,
            revents: 0,
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd
    }

    pub(crate) fn asked(&self) -> u32 {
        u32::from(self.0.events as u16)
    }

    pub(crate) fn found(&self) -> u32 {
        u32::from(self.0.revents as u16)
    }
}

/// Notes what is ready now, without waiting. Any number of descriptors, whatever the process's
/// limit is.
pub(crate) fn look(fds: &mut [PollFd]) -> io::Result<()> {
    fds.chunks_mut(POLLED_MAX).try_for_each(look_at_few)
}

fn look_at_few(fds: &mut [PollFd]) -> io::Result<()> {
    let count = fds.len() as libc::nfds_t;
    loop {
        // SAFETY: PollFd is a transparent pollfd, and `count` of them are here to be written.
        match cvt(unsafe { libc::poll(fds.as_mut_ptr().cast(), count, 0) }) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // More than RLIMIT_NOFILE.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && count > 1 => {
                let (few, rest) = fds.split_at_mut(fds.len() / 2);
                return look_at_few(few).and_then(|()| look_at_few(rest));
            }
            Err(error) => return Err(error),
        }
    }
}

/// A new epoll set: a descriptor that is readable while one of those in it is ready.
pub(crate) fn new_set() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed; on success the descriptor is new and ours alone.
    unsafe {
        let fd = cvt(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Puts `fd` into a set.
pub(crate) fn add(set: BorrowedFd<'_>, fd: RawFd, asked: u32, token: u64) -> io::Result<()> {
    control(set, libc::EPOLL_CTL_ADD, fd, asked, token)
}

/// Asks something else about `fd`, which is in the set.
pub(crate) fn change(set: BorrowedFd<'_>, fd: RawFd, asked: u32, token: u64) -> io::Result<()> {
    control(set, libc::EPOLL_CTL_MOD, fd, asked, token)
}

/// Takes `fd` out of a set.
pub(crate) fn remove(set: BorrowedFd<'_>, fd: RawFd) -> io::Result<()> {
    control(set, libc::EPOLL_CTL_DEL, fd, 0, 0)
}

fn control(set: BorrowedFd<'_>, what: i32, fd: RawFd, asked: u32, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: asked,
        u64: token,
    };
    // SAFETY: `set` is open (borrowed), `event` outlives the call, and a number that names
    // nothing is an error.
    cvt(unsafe { libc::epoll_ctl(set.as_raw_fd(), what, fd, &mut event) })?;
    Ok(())
}

/// What a set has to tell.
pub(crate) struct Told(Vec<libc::epoll_event>);

impl Told {
    /// What is ready now, at most `events_max` of it, without waiting. If there is more, the
    /// next call begins with the rest.
    pub(crate) fn by(set: BorrowedFd<'_>, events_max: usize) -> io::Result<Told> {
        let mut events = Vec::with_capacity(events_max.max(1));
        let room = events.capacity().min(i32::MAX as usize) as i32;
        // SAFETY: `set` is open (borrowed), and `events` has room for `room` of them.
        let found =
            cvt(unsafe { libc::epoll_wait(set.as_raw_fd(), events.as_mut_ptr(), room, 0) })?;
        // SAFETY: the kernel has filled `found` <= capacity entries.
        unsafe { events.set_len(found as usize) };
        Ok(Told(events))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tokens, and what was found.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.0.iter().map(|event| ({ event.u64 }, { event.events }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::os::fd::AsFd;

    #[test]
    fn more_descriptors_than_one_call_takes_are_all_looked_at() {
        let _bound = bounded();
        let (reader, _writer) = crate::sys::fd::pipe().unwrap();
        let mut fds = vec![PollFd::new(reader.as_raw_fd(), bits::READ); 3 * POLLED_MAX];
        let last = fds.len() - 1;
        fds[last] = PollFd::new(i32::MAX, bits::READ);
        look(&mut fds).unwrap();
        assert!(fds[..last].iter().all(|fd| fd.found() == 0));
        assert_eq!(fds[last].found(), bits::INVALID);
    }

    #[test]
    fn what_a_set_has_no_room_to_tell_comes_next() {
        let _bound = bounded();
        let set = new_set().unwrap();
        let pipes: Vec<_> = (0..3).map(|_| crate::sys::fd::pipe().unwrap()).collect();
        for (token, (_, writer)) in (0..).zip(&pipes) {
            add(set.as_fd(), writer.as_raw_fd(), bits::WRITE, token).unwrap();
        }
        let mut seen: Vec<u64> = (0..3)
            .flat_map(|_| Told::by(set.as_fd(), 1).unwrap().iter().collect::<Vec<_>>())
            .map(|(token, _)| token)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
