//! Whoever waits, green or not, and the one way to wake them.

use std::sync::Arc;
use std::thread::{self, Thread};

use super::switch::prefetch_task;
use super::task::{Task, TaskPtr};
use super::{Message, with_hub};

/// Wakes one waiter: a greenlet on any hub, or a plain OS thread.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    Green(Arc<Task>),
    Native(Thread),
}

impl Waker {
    /// For whoever runs now: its greenlet, or the OS thread where there is no hub to switch on.
    pub(crate) fn current() -> Waker {
        let green = with_hub(|hub| hub.and_then(|hub| hub.running()).map(|task| task.to_arc()));
        green.map_or_else(|| Waker::Native(thread::current()), Waker::Green)
    }

    /// Has the processor fetch what a wake that comes soon will touch.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Waker::Green(task) = self {
            prefetch_task(TaskPtr::new(task));
        }
    }

    /// Makes a parked waiter look again; nothing when it is not parked, or long done.
    pub(crate) fn wake(&self) {
        match self {
            Waker::Green(task) => wake_task(task),
            Waker::Native(thread) => thread.unpark(),
        }
    }
}

/// Wakes a task of this thread's hub at once, one of another's through its inbox.
pub(crate) fn wake_task(task: &Arc<Task>) {
    let woken_here = with_hub(|hub| match hub {
        Some(hub) if hub.owns(task) => {
            hub.wake(task);
            true
        }
        _ => false,
    });
    if !woken_here && !task.is_ended() {
        task.hub.send(Message::Wake(Arc::clone(task)));
    }
}
