//! The types that order memory between OS threads: std's, or, under `--cfg loom`, those of a model
//! that tries every interleaving and every value that a load may see (`.ci/loom`).
//!
//! | here | in the model |
//! |---|---|
//! | the atomics, `fence`, `UnsafeCell`, `Mutex` | loom's |
//! | [`SegQueue`] | orders no more than a queue must: an item comes with what its sender wrote |
//! | [`Futex`] | its system calls wait for a count of wakes to change |
//!
//! Code that uses these is checked as it is; the models stand next to it, in modules `orders`.

#[cfg(all(test, loom))]
pub(crate) mod modelled;

#[cfg(loom)]
pub(crate) use {
    loom::thread_local,
    modelled::{
        AtomicBool, AtomicU8, AtomicUsize, Futex, Mutex, MutexGuard, SegQueue, UnsafeCell, fence,
        lock, pause,
    },
};

#[cfg(not(loom))]
#[cfg_attr(
    test,
    allow(unused_imports, reason = "tests of `sync` have atomics of their own")
)]
pub(crate) use {
    super::futex::Futex,
    super::lock::lock,
    crossbeam_queue::SegQueue,
    std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, fence},
    std::sync::{Mutex, MutexGuard},
    std::thread_local,
};

/// Waits for another OS thread that is about to change something; longer after many `tries`.
#[cfg(not(loom))]
pub(crate) fn pause(tries: u32) {
    use std::time::Duration;
    use std::{hint, thread};

    /// Looks in a row before the processor is offered to others.
    const SPINS_MAX: u32 = 64;
    /// Offers before it naps: the other thread may be of a lower priority.
    const YIELDS_MAX: u32 = 64;
    const NAP: Duration = Duration::from_micros(50);

    if tries < SPINS_MAX {
        hint::spin_loop();
    } else if tries < SPINS_MAX + YIELDS_MAX {
        thread::yield_now();
    } else {
        thread::sleep(NAP);
    }
}

/// std's, with accesses that a model can see.
#[cfg(not(loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer that is to be read through.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer that may be written through.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
