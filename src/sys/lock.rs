//! The library's own locks: held for a few instructions, and waited for by the OS thread.
//!
//! std's `Mutex` waits by futex(2), and the room `monkey` turns such a wait into a park. Not ours:
//! whoever asks for one of these locks may be in the middle of a change to its hub. So a wait
//! for one says that it is native.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

thread_local! {
    static NATIVE: Cell<u32> = const { Cell::new(0) };
}

/// Locks, whatever became of who held it before. The OS thread waits.
#[inline]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            natively(|| mutex.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

/// While what is returned lives, calls of this OS thread to libc block it, as if unpatched.
pub(crate) struct Native(());

impl Native {
    pub(crate) fn new() -> Native {
        NATIVE.set(NATIVE.get() + 1);
        Native(())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        NATIVE.set(NATIVE.get() - 1);
    }
}

/// Runs `f` with calls to libc that block the OS thread.
pub(crate) fn natively<T>(f: impl FnOnce() -> T) -> T {
    let _native = Native::new();
    f()
}

/// Are calls to libc to block the OS thread now?
#[cfg(feature = "monkey")]
#[inline]
pub(crate) fn is_native() -> bool {
    NATIVE.get() > 0
}
