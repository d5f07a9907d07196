//! epoll, edge-triggered, with a 64-bit token per descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::cvt;

/// Set once the kernel has said that it has no epoll_pwait2 (before Linux 5.11).
static NO_PWAIT2: AtomicBool = AtomicBool::new(false);

/// What one event says of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// A read will not block (data, end of file, or an error to be told).
    pub(crate) readable: bool,
    /// A write will not block.
    pub(crate) writable: bool,
    /// The end is near: hang-up, half-close, error or urgent data. From here on a short read
    /// says nothing about what follows it.
    pub(crate) closing: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

/// A buffer for events, reused from wait to wait.
pub(crate) struct Events(Vec<libc::epoll_event>);

impl Events {
    pub(crate) fn with_capacity(events_max: usize) -> Events {
        Events(Vec::with_capacity(events_max))
    }

    /// Puts them in the order of their tokens.
    pub(crate) fn sort(&mut self) {
        self.0.sort_unstable_by_key(|event| event.u64);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Readiness)> + '_ {
        self.0.iter().map(|event| {
            let bits = { event.events } as i32;
            let closing = bits & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR);
            let broken = bits & (libc::EPOLLHUP | libc::EPOLLERR) != 0;
            let readiness = Readiness {
                readable: bits & (libc::EPOLLIN | libc::EPOLLPRI) != 0 || closing != 0,
                writable: bits & libc::EPOLLOUT != 0 || broken,
                closing: closing != 0 || bits & libc::EPOLLPRI != 0,
            };
            ({ event.u64 }, readiness)
        })
    }
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: no pointer is passed; on success the descriptor is new and ours alone.
        unsafe {
            let fd = cvt(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            Ok(Epoll(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Watches `fd` for its whole life, both directions, edge-triggered.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token)
    }

    /// Has what is ready now reported once more.
    pub(crate) fn repeat(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token)
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let interest =
            libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open (borrowed), `event` outlives the call.
        cvt(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Stops watching `fd`. To be done before the descriptor is closed: afterwards a duplicate
    /// of it would go on reporting under a number that can't be named any more.
    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are open (borrowed); DEL ignores the event pointer.
        cvt(unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.as_raw_fd(),
                std::ptr::null_mut(),
            )
        })?;
        Ok(())
    }

    /// Waits for events: at once for `Some(0)`, for ever for `None`, never shorter than asked.
    /// A signal ends the wait early with no events.
    pub(crate) fn wait(&self, events: &mut Events, timeout_ns: Option<u64>) -> io::Result<()> {
        let buffer = &mut events.0;
        buffer.clear();
        let room = buffer.capacity() as i32;
        let epfd = self.0.as_raw_fd();
        let found = match timeout_ns {
            // SAFETY: the spare capacity of `buffer` has room for `room` events.
            Some(0) => unsafe { wait_ms(epfd, buffer.as_mut_ptr(), room, 0) },
            // SAFETY: as above.
            None => unsafe { wait_ms(epfd, buffer.as_mut_ptr(), room, -1) },
            Some(ns) => timed_wait(epfd, buffer, ns),
        };
        match cvt(found) {
            Ok(found) => {
                // SAFETY: the kernel has filled `found` <= capacity entries.
                unsafe { buffer.set_len(found as usize) };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn timed_wait(epfd: i32, buffer: &mut Vec<libc::epoll_event>, ns: u64) -> i32 {
    let room = buffer.capacity() as i32;
    if !NO_PWAIT2.load(Ordering::Relaxed) {
        let limit = libc::timespec {
            tv_sec: (ns / 1_000_000_000).min(i32::MAX as u64) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: `buffer` has room for `room` events, `limit` outlives the call, no signal mask.
        // By number, because older C libraries have no wrapper for it.
        let found = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epfd,
                buffer.as_mut_ptr(),
                room,
                &limit as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if found != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
            return found as i32;
        }
        NO_PWAIT2.store(true, Ordering::Relaxed);
    }
    // Rounded up: a wait that ends early would turn into a spin until the deadline.
    let ms = ns.div_ceil(1_000_000).min(i32::MAX as u64) as i32;
    // SAFETY: `buffer` has room for `room` events.
    unsafe { wait_ms(epfd, buffer.as_mut_ptr(), room, ms) }
}

/// # Safety
/// There is room for `room` events.
unsafe fn wait_ms(epfd: i32, events: *mut libc::epoll_event, room: i32, ms: i32) -> i32 {
    // SAFETY: the caller vouches for the room; no signal mask.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait,
            epfd,
            events,
            room,
            ms,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        ) as i32
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
