//! What the locks of pthreads have in common: how a greenlet waits for one, and who wakes it.
//!
//! ```text
//!   lock:     libc's trylock --- had it, or an error ----------------------------> done
//!                | EBUSY
//!                a greenlet?  no: libc's lock, which blocks the OS thread
//!                | yes
//!                queue, libc's trylock again, park --- woken, or a tick ---> trylock again ...
//!   unlock:   libc's unlock, then: does any greenlet wait? wake the first of this address
//! ```
//!
//! So the state of a lock is libc's own, always: OS threads and greenlets share it, and who takes
//! it without waiting costs what libc costs and a look or two. Who unlocks out of our sight, as
//! an OS thread does within pthread_cond_wait, wakes nobody here: so the first of those who wait
//! looks for himself now and then.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{EBUSY, ETIMEDOUT, clockid_t, timespec};

use super::clocks::{self, Deadline};
use super::gate::Green;
use super::queue::{ALL_BITS, Ended, Ticks, Wait, forget_all, wake_at};
use super::raw::{errno, set_errno};
use super::{allocator, closing, condition, mutex};

/// How many greenlets wait: nobody is looked for where there is none.
pub(super) struct Waiting(AtomicU32);

/// For mutexes and read-write locks.
pub(super) static FOR_LOCKS: Waiting = Waiting(AtomicU32::new(0));
/// For condition variables.
pub(super) static FOR_CONDITIONS: Waiting = Waiting(AtomicU32::new(0));

/// Forks that are under way: what unlocks meanwhile may be the child, before it knows.
static FORKS: AtomicU32 = AtomicU32::new(0);

impl Waiting {
    /// One more, until what is returned is dropped.
    pub(super) fn enter(&'static self) -> Entered {
        self.0.fetch_add(1, Ordering::SeqCst);
        Entered(self)
    }

    /// To be called after libc has unlocked, or told, what is at `address`.
    #[inline(always)]
    pub(super) fn wake(&self, address: usize, count: usize) {
        // Where libc's own instruction does not order this look after itself.
        #[cfg(not(target_arch = "x86_64"))]
        super::raw::full_barrier();
        if self.0.load(Ordering::Relaxed) > 0 {
            wake(address, count);
        }
    }
}

#[must_use = "it waits until this is dropped"]
pub(super) struct Entered(&'static Waiting);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cold]
fn wake(address: usize, count: usize) {
    allocator::note_unlock();
    if FORKS.load(Ordering::Relaxed) > 0 && closing::borrows_memory() {
        return;
    }
    let before = errno();
    wake_at(address, count, ALL_BITS);
    set_errno(before);
}

/// A moment until which to wait; C's null pointers and moments that are none have been seen to.
pub(super) type Until<'a> = Option<(clockid_t, &'a timespec)>;

/// Can libc's locks be waited for until then? If not, libc says so better.
pub(super) fn is_sensible((clock, moment): (clockid_t, &timespec)) -> bool {
    matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC) && clocks::is_fraction(moment)
}

/// Whom an unlock wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakes {
    /// The first: if another was faster, he is the first again.
    First,
    /// All: who was too late is the last again, in the order in which they were.
    All,
}

/// Waits for what `attempt` has found taken, until it is had or refused.
pub(super) fn acquire(
    green: &Green<'_>,
    why: &'static str,
    address: usize,
    wakes: Wakes,
    until: Until<'_>,
    attempt: impl Fn() -> c_int,
) -> c_int {
    let said = Cell::new(EBUSY);
    let is_taken = || {
        said.set(attempt());
        said.get() == EBUSY
    };
    let _waiting = FOR_LOCKS.enter();
    let mut wait = Wait {
        deadline: Deadline::until(until),
        ticks: Ticks::First,
        ..Wait::at(why, address)
    };
    loop {
        let ended = green.wait_at(wait, is_taken);
        if said.get() != EBUSY {
            if said.get() != 0 && ended == Ended::Woken {
                // Not for us: for the next.
                wake_at(address, 1, ALL_BITS);
            }
            return said.get();
        }
        if ended == Ended::TimedOut {
            return ETIMEDOUT;
        }
        wait.first = wakes == Wakes::First;
    }
}

/// Is it known how libc lays its locks out?
pub(super) fn are_understood() -> bool {
    mutex::is_understood() && condition::is_understood()
}

/// To be called before the part is opened.
///
/// # Errors
/// When this is a libc whose locks are not understood.
pub(super) fn prepare() -> io::Result<()> {
    static PREPARED: Once = Once::new();
    if !are_understood() {
        let reason = "the locks of this libc are laid out in another way";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    PREPARED.call_once(|| {
        extern "C" fn before() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        extern "C" fn in_parent() {
            FORKS.fetch_sub(1, Ordering::Relaxed);
        }
        extern "C" fn in_child() {
            FOR_LOCKS.0.store(0, Ordering::Relaxed);
            FOR_CONDITIONS.0.store(0, Ordering::Relaxed);
            forget_all();
            FORKS.store(0, Ordering::Relaxed);
        }
        // SAFETY: the handlers only store to atomics, which is allowed in a forked child.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        allocator::look();
    });
    Ok(())
}
