//! Guards for Linux 6.6 to 6.12: UFFDIO_POISON, a fault for good in a page that has none yet.
//!
//! userfaultfd wants the range registered. Write-protect mode is the one that changes nothing for
//! pages nobody protects: missing pages are still filled by the kernel, no thread has to serve
//! faults. An access to a poisoned page is a SIGBUS, from a syscall EFAULT; poison needs no map
//! of its own, and survives MADV_DONTNEED and fork.
//!
//! The descriptor is one per process. In the child of a fork it still names the *parent's*
//! memory, hence the pid beside it: a child opens its own and registers its slabs again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values from linux/userfaultfd.h; none of them is in libc.
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xAA;
const UFFD_FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const UFFD_FEATURE_POISON: u64 = 1 << 14;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
const UFFDIO_API: libc::Ioctl = 0xC018_AA3F_u32 as libc::Ioctl;
const UFFDIO_REGISTER: libc::Ioctl = 0xC020_AA00_u32 as libc::Ioctl;
const UFFDIO_POISON: libc::Ioctl = 0xC020_AA08_u32 as libc::Ioctl;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register` and `struct uffdio_poison`, which have one shape.
#[repr(C)]
struct Request {
    start: u64,
    len: u64,
    mode: u64,
    answer: u64,
}

/// The process that opened the descriptor (high half), and the descriptor; 0 before that. Not a
/// mutex: a fork could find it locked.
static DOOR: AtomicU64 = AtomicU64::new(0);

/// Readies a mapping for poison, unless `owner` says that this process has done so already.
pub(super) fn register(owner: &mut u32, start: usize, bytes: usize) -> io::Result<()> {
    let pid = std::process::id();
    if *owner == pid {
        return Ok(());
    }
    ask(UFFDIO_REGISTER, start, bytes, UFFDIO_REGISTER_MODE_WP)?;
    *owner = pid;
    Ok(())
}

/// Poisons a range of a registered mapping. Its pages must never have been touched.
pub(super) fn poison(range: &libc::iovec) -> io::Result<()> {
    ask(UFFDIO_POISON, range.iov_base as usize, range.iov_len, 0)
}

fn ask(request: libc::Ioctl, start: usize, bytes: usize, mode: u64) -> io::Result<()> {
    let fd = door()?;
    loop {
        let mut arg = Request {
            start: start as u64,
            len: bytes as u64,
            mode,
            answer: 0,
        };
        // SAFETY: `arg` is the struct that both requests take. They change no memory that is
        // in use: poison refuses pages that are there (EEXIST), registering alters none.
        if unsafe { libc::ioctl(fd, request, &raw mut arg) } == 0 {
            return Ok(());
        }
        let why = io::Error::last_os_error();
        // The address space is changing under it: the kernel asks us to come again.
        if why.raw_os_error() != Some(libc::EAGAIN) {
            return Err(why);
        }
    }
}

/// This process's descriptor, opened on first use.
fn door() -> io::Result<libc::c_int> {
    let pid = std::process::id();
    let seen = DOOR.load(Ordering::Acquire);
    if (seen >> 32) as u32 == pid {
        return Ok(seen as u32 as libc::c_int);
    }
    let fd = open()?;
    let ours = u64::from(pid) << 32 | u64::from(fd as u32);
    match DOOR.compare_exchange(seen, ours, Ordering::AcqRel, Ordering::Acquire) {
        Ok(0) => Ok(fd),
        Ok(parents) => {
            close(parents as u32 as libc::c_int);
            Ok(fd)
        }
        // Another thread of this process was first.
        Err(theirs) => {
            close(fd);
            Ok(theirs as u32 as libc::c_int)
        }
    }
}

fn close(fd: libc::c_int) {
    // SAFETY: the callers opened it or took it out of DOOR: nobody else knows it.
    unsafe { libc::close(fd) };
}

fn open() -> io::Result<libc::c_int> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
    // SAFETY: takes flags, gives a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = fd as libc::c_int;
    let features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_POISON;
    let mut api = Api {
        api: UFFD_API,
        features,
        ioctls: 0,
    };
    // SAFETY: `api` is the struct this request takes.
    if unsafe { libc::ioctl(fd, UFFDIO_API, &raw mut api) } == 0 {
        return Ok(fd);
    }
    let why = io::Error::last_os_error();
    close(fd);
    Err(why)
}
