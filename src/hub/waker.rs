//! Whoever waits, green or not, and the one way to wake them.

use std::thread::{self, Thread};

use super::cell::TaskRef;
use super::{Message, TaskPtr, with_hub};

/// Wakes one waiter: a greenlet on any hub, or a plain OS thread.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    Green(TaskRef),
    Native(Thread),
}

impl Waker {
    /// For whoever runs now: its greenlet, or the OS thread where there is no hub to switch on.
    #[inline]
    pub(crate) fn current() -> Waker {
        let green = with_hub(|hub| hub.and_then(|hub| hub.running()).map(|task| task.counted()));
        green.map_or_else(|| Waker::Native(thread::current()), Waker::Green)
    }

    /// Do both wake the same one?
    pub(crate) fn is_for_same(&self, other: &Waker) -> bool {
        match (self, other) {
            (Waker::Green(one), Waker::Green(other)) => TaskPtr::new(one) == TaskPtr::new(other),
            (Waker::Native(one), Waker::Native(other)) => one.id() == other.id(),
            _ => false,
        }
    }

    /// Whether it never runs again, since the OS thread of its hub has ended.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Waker::Green(task) if task.hub.is_closed())
    }

    /// Makes a parked waiter look again; nothing when it is not parked, or long done.
    #[inline]
    pub(crate) fn wake(&self) {
        match self {
            Waker::Green(task) => wake_task(task),
            Waker::Native(thread) => thread.unpark(),
        }
    }
}

/// Wakes a task of this thread's hub at once, one of another's through its inbox.
#[inline]
pub(crate) fn wake_task(task: &TaskRef) {
    let woken_here = with_hub(|hub| match hub {
        Some(hub) if hub.owns(task) => {
            hub.wake(task);
            true
        }
        _ => false,
    });
    if !woken_here && !task.is_ended() {
        task.hub.send(Message::Wake(task.clone()));
    }
}
