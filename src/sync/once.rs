//! What is to be done once, as std's.
//!
//! ```text
//!               a caller        it returns
//!   New -----------------> Running ---------> Done
//!    ^   (or Poisoned)        |
//!    |                        | it panics
//!    |  it is killed or       +---------> Poisoned ----> Running   call_once_force
//!    |  times out             |
//!    +------------------------+
//! ```

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::Ordering;

use super::steps::{AtomicU8, Mutex, MutexGuard, lock};
use super::waiting::{self, Home};
use super::waitlist::{Notice, WaitList, tell_all};
use crate::cancel;

const NEW: u8 = 0;
const POISONED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 3;

/// Has something done once, whoever comes first; all others wait for it.
///
/// As [`std::sync::Once`], with the same names. If what is to be done panics, the `Once` is
/// poisoned as std's is. If it is killed or times out, that is as if it had not begun: the next
/// who comes, or has been waiting, does it.
///
/// # Examples
/// ```
/// use greenroom::sync::Once;
/// static START: Once = Once::new();
/// let mut runs = 0;
/// START.call_once(|| runs += 1);
/// START.call_once(|| runs += 1);
/// assert_eq!(runs, 1);
/// assert!(START.is_completed());
/// ```
pub struct Once {
    /// Changed only with `waiters` locked.
    state: AtomicU8,
    waiters: Mutex<WaitList>,
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// What [`Once::call_once_force`] tells its closure.
///
/// # Examples
/// See [`Once::call_once_force`].
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Whether an earlier attempt has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.is_poisoned())
            .finish()
    }
}

impl Once {
    /// Nothing is done yet.
    ///
    /// # Examples
    /// See [`Once`].
    #[allow(clippy::new_without_default, reason = "std's has none")]
    #[must_use]
    pub const fn new() -> Once {
        Once {
            state: AtomicU8::new(NEW),
            waiters: Mutex::new(WaitList::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitList> {
        lock(&self.waiters)
    }

    /// Runs `f`, if nobody has before; waits for whoever runs it now.
    ///
    /// # Examples
    /// See [`Once`].
    ///
    /// # Panics
    /// When `f` does, and when an earlier one has. In the root, when whoever runs it can never
    /// finish ("this operation would block forever"), as when `f` comes back here.
    ///
    /// # Parks
    /// While another runs it, and as `f` does. A kill or a timeout unwinds.
    #[inline]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.is_done() {
            let mut f = Some(f);
            self.call(false, &mut |_| f.take().expect("it is called once")());
        }
    }

    /// As [`call_once`](Once::call_once), also if an earlier attempt has panicked.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::Once;
    /// let once = Once::new();
    /// let panicked = std::panic::catch_unwind(|| once.call_once(|| panic!("not yet")));
    /// assert!(panicked.is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// assert!(once.is_completed());
    /// ```
    ///
    /// # Panics
    /// When `f` does; otherwise as [`call_once`](Once::call_once).
    ///
    /// # Parks
    /// As [`call_once`](Once::call_once).
    #[inline]
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.is_done() {
            let mut f = Some(f);
            self.call(true, &mut |state| {
                f.take().expect("it is called once")(state)
            });
        }
    }

    /// Whether it has been done.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn is_completed(&self) -> bool {
        let completed = self.is_done();
        if !completed {
            cancel::let_others_run();
        }
        completed
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Waits until somebody has done it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, Once};
    /// let once = Arc::new(Once::new());
    /// let theirs = Arc::clone(&once);
    /// greenroom::spawn(move || theirs.call_once(|| ()));
    /// once.wait();
    /// ```
    ///
    /// # Panics
    /// When an attempt has panicked; in the root, when nobody is left who could do it.
    ///
    /// # Parks
    /// Until it is done. A kill or a timeout unwinds.
    pub fn wait(&self) {
        self.wait_for(false);
    }

    /// As [`wait`](Once::wait), and does not mind attempts that panic.
    ///
    /// # Examples
    /// As [`wait`](Once::wait).
    ///
    /// # Panics
    /// In the root, when nobody is left who could do it.
    ///
    /// # Parks
    /// As [`wait`](Once::wait).
    pub fn wait_force(&self) {
        self.wait_for(true);
    }

    #[cold]
    fn call(&self, force: bool, f: &mut dyn FnMut(&OnceState)) {
        loop {
            let waiters = self.lock();
            match self.state.load(Ordering::Relaxed) {
                DONE => return,
                RUNNING => self.wait_for_change(waiters),
                POISONED if !force => {
                    drop(waiters);
                    poisoned();
                }
                before => {
                    self.state.store(RUNNING, Ordering::Relaxed);
                    drop(waiters);
                    return self.attempt(before, f);
                }
            }
        }
    }

    fn attempt(&self, before: u8, f: &mut dyn FnMut(&OnceState)) {
        struct Attempt<'a> {
            once: &'a Once,
            before: u8,
            done: bool,
        }
        impl Drop for Attempt<'_> {
            fn drop(&mut self) {
                self.once.settle(match self.done {
                    true => DONE,
                    false if cancel::is_under_way() => self.before,
                    false => POISONED,
                });
            }
        }
        let mut attempt = Attempt {
            once: self,
            before,
            done: false,
        };
        f(&OnceState {
            poisoned: before == POISONED,
        });
        attempt.done = true;
    }

    fn settle(&self, state: u8) {
        let mut waiters = self.lock();
        self.state.store(state, Ordering::Release);
        let notices = waiters.grant_all();
        drop(waiters);
        tell_all(notices);
    }

    fn wait_for(&self, force: bool) {
        while !self.is_done() {
            let waiters = self.lock();
            match self.state.load(Ordering::Relaxed) {
                DONE => return,
                POISONED if !force => {
                    drop(waiters);
                    poisoned();
                }
                _ => self.wait_for_change(waiters),
            }
        }
    }

    fn wait_for_change(&self, mut waiters: MutexGuard<'_, WaitList>) {
        let key = waiters.push((), Notice::to_me());
        drop(waiters);
        let _: Result<(), ()> = waiting::wait(self, key, "what is done once", None);
    }
}

#[cold]
fn poisoned() -> ! {
    panic!("Once instance has previously been poisoned")
}

impl Home for Once {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.lock())
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
