//! How an OS thread without a hub waits: for a token of its own, not for that of
//! `std::thread::park`, which belongs to the user.
//!
//! ```text
//!   wake:  word := TOKEN; was it ASLEEP? then futex(WAKE)
//!   sleep: TOKEN -> NOTHING and return, or NOTHING -> ASLEEP, futex(WAIT), word := NOTHING
//! ```
//!
//! As with every wait of ours, a sleep may end early: its caller looks again.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::atomic::{Futex, thread_local};

const NOTHING: u32 = 0;
const TOKEN: u32 = 1;
const ASLEEP: u32 = 2;

/// Names an OS thread that sleeps, to wake it.
#[derive(Clone, Debug)]
pub(crate) struct Sleeper(Arc<Futex>);

thread_local! {
    static MINE: Sleeper = Sleeper::new();
}

std::thread_local! {
    /// For waits in the destructors of thread-locals, when the other is gone; it is leaked.
    static LATE: ManuallyDrop<OnceCell<Sleeper>> = const { ManuallyDrop::new(OnceCell::new()) };
}

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Arc::new(Futex::new(NOTHING)))
    }

    /// Of the calling thread.
    pub(crate) fn current() -> Sleeper {
        let mine = MINE.try_with(Sleeper::clone);
        mine.unwrap_or_else(|_| LATE.with(|late| late.get_or_init(Sleeper::new).clone()))
    }

    pub(crate) fn is(&self, other: &Sleeper) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Ends the thread's present sleep, or its next one.
    pub(crate) fn wake(&self) {
        if self.0.swap(TOKEN, Ordering::Release) == ASLEEP {
            self.0.wake();
        }
    }

    /// Sleeps until somebody calls [`wake`](Sleeper::wake), at most for so many nanoseconds; true
    /// if somebody has. To be called by the thread itself.
    pub(crate) fn sleep(&self, limit_ns: u64) -> bool {
        let word = &self.0;
        // What a wake has released is acquired below, whichever way the sleep goes.
        let order = Ordering::Relaxed;
        if word.compare_exchange(NOTHING, ASLEEP, order, order).is_ok() {
            word.wait(ASLEEP, limit_ns);
        }
        word.swap(NOTHING, Ordering::Acquire) == TOKEN
    }
}

#[cfg(all(test, loom))]
mod orders;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::sync::atomic::AtomicU32;
    use std::thread;
    use std::time::{Duration, Instant};

    const LONG_NS: u64 = 60_000_000_000;

    #[test]
    fn a_wake_before_the_sleep_ends_it_and_is_used_up() {
        let _bound = bounded();
        let me = Sleeper::current();
        me.wake();
        me.wake();
        assert!(me.sleep(LONG_NS));
        let before = Instant::now();
        while before.elapsed() < Duration::from_millis(5) {
            assert!(!me.sleep(5_000_000));
        }
        assert_eq!(me.0.load(Ordering::Relaxed), NOTHING);
    }

    #[test]
    fn each_of_many_sleeps_is_ended_by_its_wake() {
        let _bound = bounded();
        const ROUNDS: u32 = 10_000;
        let turn = AtomicU32::new(0);
        let play = |mine: u32, other: &Sleeper| {
            let me = Sleeper::current();
            for round in 0..ROUNDS {
                while turn.load(Ordering::Acquire) != 2 * round + mine {
                    me.sleep(LONG_NS);
                }
                turn.fetch_add(1, Ordering::Release);
                other.wake();
            }
        };
        let here = Sleeper::current();
        thread::scope(|s| {
            let (tell, told) = std::sync::mpsc::channel();
            s.spawn(move || {
                tell.send(Sleeper::current()).expect("it waits");
                play(1, &here);
            });
            play(0, &told.recv().expect("it is sent"));
        });
    }
}
