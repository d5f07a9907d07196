//! stub head
#![allow(missing_docs)]
mod clocks;
mod closing;
mod connect;
mod descriptor;
mod dns;
mod epoll;
mod file;
mod futex;
mod gate;
mod hooks;
mod lives;
mod lockf;
mod message;
mod objects;
mod poll;
mod process;
mod raw;
mod report;
mod select;
mod semaphore;
mod slices;
mod socket;
mod time;
mod transfer;
mod turn;
mod verify;

use std::io;
use std::sync::Once;

pub use report::{Report, SymbolReport};
pub use verify::verify;

use crate::sys::{fork, lock};

/// A family of libc's functions, to be patched or not as a whole.
///
/// What ends a descriptor (`close`, `dup2` and so on) comes with each of the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// recv, send and their kin; read and write, also on sockets; accept, connect.
    Socket,
    /// read and write on pipes and whatever else can be waited for; sendfile, splice; the locks
    /// of files.
    File,
    /// poll, select and epoll_wait.
    Poll,
    /// Sleeps, and `sched_yield`.
    Time,
    /// getaddrinfo and the older functions for names.
    Dns,
    /// futex(2), on which std's locks rest, and POSIX semaphores.
    Futex,
    /// Waits for children and for the end of OS threads.
    Process,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Socket,
        Part::File,
        Part::Poll,
        Part::Time,
        Part::Dns,
        Part::Futex,
        Part::Process,
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

pub fn patch_all() -> io::Result<()> {
    patch(&Part::ALL)
}

pub fn patch(parts: &[Part]) -> io::Result<()> {
    // SAFETY: getauxval takes a number and reads what the kernel has left for us.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        let reason = "a process that runs with more rights than its user is not patched";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    verify()?;
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        closing::note_process();
        // SAFETY: the handler stores a number and calls the kernel, which a forked child may do.
        unsafe { libc::pthread_atfork(None, None, Some(closing::note_process)) };
    });
    gate::open(parts.iter().fold(0, |bits, part| bits | part.bit()));
    let _ = fork::generation();
    Ok(())
}

pub fn is_patched(name: &str) -> bool {
    let hook = hooks::ALL.iter().find(|hook| hook.name == name);
    hook.is_some_and(|hook| gate::is_open(hook.parts))
}

pub fn native<T>(f: impl FnOnce() -> T) -> T {
    lock::natively(f)
}

pub fn report() -> Report {
    Report::new()
}
