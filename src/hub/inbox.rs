//! Messages from other OS threads, and when their sender must ring.
//!
//! ```text
//!   another thread                     the hub's thread
//!   push the message                   asleep := true
//!   fence                              fence
//!   asleep? --yes--> ring, once        is the queue empty? --yes--> epoll_wait
//!   closed? --yes--> empty the queue
//!                                      closed := true, fence, empty the queue
//! ```
//!
//! Of two fences the second thread sees what the first has written before its own. So the hub
//! finds a message before it sleeps, or the sender rings the bell; and the hub finds it after it
//! has closed, or the sender takes it out again. The bell rings at most once per sleep, whatever
//! the number of messages.

use std::sync::atomic::Ordering;

use crate::sys::atomic::{AtomicBool, SegQueue, fence};

/// See the head of this file.
pub(super) struct Inbox<M> {
    messages: SegQueue<M>,
    /// Whether the next sender must ring. It orders nothing: a message comes through the queue.
    asleep: AtomicBool,
    closed: AtomicBool,
}

impl<M> Inbox<M> {
    pub(super) fn new() -> Inbox<M> {
        Inbox {
            messages: SegQueue::new(),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Leaves a message. Returns whether the caller must ring the bell. If the inbox is closed
    /// afterwards, the caller must empty it.
    pub(super) fn push(&self, message: M) -> bool {
        self.messages.push(message);
        fence(Ordering::SeqCst);
        let order = Ordering::Relaxed;
        let (asleep, awake) = (true, false);
        self.asleep.load(order)
            && self
                .asleep
                .compare_exchange(asleep, awake, order, order)
                .is_ok()
    }

    /// Takes the oldest message out.
    pub(super) fn pop(&self) -> Option<M> {
        self.messages.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Has the next message ring the bell. `false` if there is a message already.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.is_empty();
        if !empty {
            self.wake_up();
        }
        empty
    }

    /// Whether the hub sleeps, as far as is known.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Has every later sender empty the inbox. The caller empties it of earlier messages.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Whether it is closed; then what its hub did before is seen.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
mod orders;
