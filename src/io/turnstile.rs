//! One at a time, in the order of arrival: the lock of standard input.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::cancel;
use crate::hub::waker::Waker;
use crate::hub::{Help, Why};
use crate::sys::lock::lock;

/// See the head of this file. For greenlets on any hub, and for plain threads.
#[derive(Default)]
pub(super) struct Turnstile {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: bool,
    queue: VecDeque<Arc<Ticket>>,
}

/// One who waits.
struct Ticket {
    called: AtomicBool,
    waker: Waker,
}

/// While it lives, nobody else passes.
pub(super) struct Passed<'a>(&'a Turnstile);

impl Turnstile {
    pub(super) fn new() -> Turnstile {
        Turnstile::default()
    }

    /// Parks until it is the caller's turn.
    pub(super) fn pass(&self) -> Passed<'_> {
        let mut state = self.lock();
        if !state.taken {
            state.taken = true;
            return Passed(self);
        }
        let ticket = Arc::new(Ticket {
            called: AtomicBool::new(false),
            waker: Waker::current(),
        });
        state.queue.push_back(Arc::clone(&ticket));
        drop(state);
        let mut waiting = Waiting {
            turnstile: self,
            ticket,
            passed: false,
        };
        let _help = Help::expect();
        while !waiting.ticket.called.load(Ordering::Acquire) {
            cancel::park_on(Why::Helper("its turn at standard input"), None);
        }
        waiting.passed = true;
        Passed(self)
    }

    /// Calls the next, or stands open.
    fn advance(&self) {
        let mut state = self.lock();
        while let Some(next) = state.queue.pop_front() {
            // Whose OS thread has ended without it never comes.
            if !next.waker.is_dead() {
                next.called.store(true, Ordering::Release);
                return next.waker.wake();
            }
        }
        state.taken = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.0.advance();
    }
}

/// A place in the queue; given up when the wait is unwound.
struct Waiting<'a> {
    turnstile: &'a Turnstile,
    ticket: Arc<Ticket>,
    passed: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.passed {
            return;
        }
        let mut state = self.turnstile.lock();
        state
            .queue
            .retain(|other| !Arc::ptr_eq(other, &self.ticket));
        drop(state);
        if self.ticket.called.load(Ordering::Acquire) {
            self.turnstile.advance();
        }
    }
}
