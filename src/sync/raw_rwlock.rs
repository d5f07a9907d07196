//! A lock of many readers or one writer, without anything in it.
//!
//! ```text
//!   the word:   | number of readers | WAITED | WRITTEN |
//! ```
//!
//! As long as nobody waits, to come and to go is one atomic operation each. Once somebody does
//! (`WAITED`), nobody passes by: whoever comes waits behind, reader or writer, so neither kind
//! starves the other. Who leaves the lock free admits the first of those who wait, and with a
//! reader all readers right behind it. `WAITED` is set and cleared with the list locked.

use std::sync::atomic::Ordering;

use super::steps::{AtomicUsize, Mutex, MutexGuard, lock};
use super::waiting::{self, Home};
use super::waitlist::{Notice, WaitList};

const WRITTEN: usize = 1;
const WAITED: usize = 2;
const READER: usize = 4;

/// What one wants the lock for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Access {
    /// Is the lock, as the word says, free for this?
    fn is_free(self, word: usize) -> bool {
        match self {
            Access::Read => word & WRITTEN == 0,
            Access::Write => word & !WAITED == 0,
        }
    }

    /// What it adds to the word.
    fn unit(self) -> usize {
        match self {
            Access::Read => READER,
            Access::Write => WRITTEN,
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct RawRwLock {
    word: AtomicUsize,
    waiters: Mutex<WaitList<Access>>,
}

impl RawRwLock {
    pub(super) const fn new() -> RawRwLock {
        RawRwLock {
            word: AtomicUsize::new(0),
            waiters: Mutex::new(WaitList::new()),
        }
    }

    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        self.lock_if_free(access) || waiting::take_over(self, false) && self.lock_if_free(access)
    }

    #[inline]
    fn lock_if_free(&self, access: Access) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        // Only other readers that come and go can have this tried again.
        while word & WAITED == 0 && access.is_free(word) {
            let taken = self.word.compare_exchange_weak(
                word,
                word + access.unit(),
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes the lock, at the latest at the deadline, which is asked for only when it is needed;
    /// returns whether it was had.
    #[inline]
    pub(super) fn lock(&self, access: Access, deadline: impl FnOnce() -> Option<u64>) -> bool {
        self.lock_if_free(access) || self.lock_slowly(access, deadline())
    }

    #[cold]
    fn lock_slowly(&self, access: Access, deadline: Option<u64>) -> bool {
        let mut waiters = self.waiters();
        // From here on nobody passes by, and who leaves the lock free comes to the list.
        let word = self.word.fetch_or(WAITED, Ordering::Relaxed);
        if waiters.is_empty() && access.is_free(word) {
            let change = access.unit().wrapping_sub(WAITED);
            self.word.fetch_add(change, Ordering::Acquire);
            return true;
        }
        let key = waiters.push(access, Notice::to_me());
        drop(waiters);
        let what = match access {
            Access::Read => "a lock to read",
            Access::Write => "a lock to write",
        };
        waiting::wait(self, key, what, deadline).is_ok()
    }

    /// Only for whoever has the lock for that.
    #[inline]
    pub(super) fn unlock(&self, access: Access) {
        let before = self.word.fetch_sub(access.unit(), Ordering::Release);
        if before - access.unit() == WAITED {
            self.admit();
        }
    }

    /// Makes the writer, who calls it, a reader, without letting go in between.
    pub(super) fn downgrade(&self) {
        let before = self.word.fetch_add(READER - WRITTEN, Ordering::Release);
        if before & WAITED != 0 {
            self.admit();
        }
    }

    /// Lets those in whose turn it is.
    #[cold]
    fn admit(&self) {
        while let Some(notice) = self.admit_first() {
            notice.tell();
        }
    }

    fn admit_first(&self) -> Option<Notice> {
        let mut waiters = self.waiters();
        let Some(&mut access) = waiters.first_mut() else {
            self.word.fetch_and(!WAITED, Ordering::Relaxed);
            return None;
        };
        // What is free for the first stays so: nobody else is let in while the list is locked.
        if !access.is_free(self.word.load(Ordering::Relaxed)) {
            return None;
        }
        let notice = waiters.grant_first();
        let waited = if waiters.is_empty() { WAITED } else { 0 };
        let change = access.unit().wrapping_sub(waited);
        self.word.fetch_add(change, Ordering::Acquire);
        notice
    }

    fn waiters(&self) -> MutexGuard<'_, WaitList<Access>> {
        lock(&self.waiters)
    }
}

impl Home for RawRwLock {
    type Payload = Access;

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList<Access>) -> R) -> R {
        f(&mut self.waiters())
    }

    fn pass_on(&self, access: Access) {
        self.unlock(access);
    }

    /// It may have been a writer that kept readers waiting.
    fn gone_early(&self) {
        self.admit();
    }
}
