//! A lock for a few instructions, at the price of one locked instruction.
//!
//! ```text
//!   lock:    held: false -> true   (compare and swap; when it is held: spin, yield, nap)
//!   unlock:  held := false         (a plain store on x86-64)
//! ```
//!
//! A `std::sync::Mutex` has to learn at its release whether somebody sleeps on it, which takes a
//! second locked instruction. A put and a get together are four of those with it, and two with
//! this: that is the difference between 30 and 17 ns, and between missing and keeping what is
//! demanded of a queue. The price is paid by who finds it taken: he looks again instead of
//! being called. So this is for what is held for some nanoseconds only, never across a park,
//! and never while foreign code runs. A holder that the kernel takes off its processor keeps
//! others napping until it is back, as an unfinished push into a `crossbeam-queue` does.

use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::Ordering;

use crate::sys::atomic::{AtomicBool, UnsafeCell, pause};

/// See the head of this file.
pub(super) struct Brief<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached only through a `Held`, of which there is one at a time (see
// `Brief::lock`), or by who owns the lock. So threads have it one after the other, for which
// `T: Send` is enough.
unsafe impl<T: Send> Sync for Brief<T> {}

/// No foreign code runs while it is held, so a panic leaves nothing half done.
impl<T> UnwindSafe for Brief<T> {}
impl<T> RefUnwindSafe for Brief<T> {}

impl<T> Brief<T> {
    pub(super) const fn new(value: T) -> Brief<T> {
        Brief {
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> Held<'_, T> {
        if !self.take_if_free() {
            self.lock_slowly();
        }
        Held { lock: self }
    }

    #[inline]
    fn take_if_free(&self) -> bool {
        self.held
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slowly(&self) {
        let mut tries = 0;
        // The look comes first: an exchange would take the cache line away from the holder.
        while self.held.load(Ordering::Relaxed) || !self.take_if_free() {
            pause(tries);
            tries += 1;
        }
    }
}

/// While it lives, nobody else has the value.
pub(super) struct Held<'a, T> {
    lock: &'a Brief<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `held` was false and became true when this was made, and stays so until it is
        // dropped: nobody else has a `Held` of this lock.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this one is borrowed mutably.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.held.store(false, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod orders;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn two_threads_never_have_it_at_once() {
        let _bound = bounded();
        let counter = Brief::new((0u64, 0u64));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200_000 {
                        let mut both = counter.lock();
                        both.0 += 1;
                        both.1 += 1;
                        assert_eq!(both.0, both.1);
                    }
                });
            }
        });
        assert_eq!(*counter.lock(), (400_000, 400_000));
    }

    #[test]
    fn who_finds_it_taken_for_long_gets_it_all_the_same() {
        let _bound = bounded();
        let flag = Brief::new(false);
        let held = flag.lock();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| *flag.lock() = true);
            thread::sleep(Duration::from_millis(20));
            assert!(!waiter.is_finished());
            drop(held);
        });
        assert!(*flag.lock());
    }

    #[test]
    fn a_panic_of_its_holder_lets_it_go() {
        let _bound = bounded();
        let lock = Brief::new(1);
        let panicked = std::panic::catch_unwind(|| {
            let _held = lock.lock();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 1);
    }
}
