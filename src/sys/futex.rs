//! futex(2): a word that one OS thread sleeps on until another one wakes it.

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::AtomicU32;

use super::lock::natively;

/// An atomic word with the two system calls.
#[derive(Debug)]
pub(crate) struct Futex(AtomicU32);

impl Futex {
    pub(crate) fn new(value: u32) -> Futex {
        Futex(AtomicU32::new(value))
    }

    /// Sleeps if the word is `value`, until a wake, at most for so many nanoseconds. It may end
    /// early: the caller looks again.
    pub(crate) fn wait(&self, value: u32, limit_ns: u64) {
        self.call(libc::FUTEX_WAIT, value, Some(limit_ns));
    }

    /// Wakes one thread that sleeps on the word, if there is one.
    pub(crate) fn wake(&self) {
        self.call(libc::FUTEX_WAKE, 1, None);
    }

    fn call(&self, operation: i32, value: u32, limit_ns: Option<u64>) {
        let limit = limit_ns.map(|ns| libc::timespec {
            tv_sec: (ns / 1_000_000_000).min(i32::MAX as u64) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        let operation = operation | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word is borrowed, and `limit` is null or outlives the call.
        natively(|| unsafe {
            libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, value, limit)
        });
    }
}

impl Deref for Futex {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.0
    }
}
