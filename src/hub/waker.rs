//! Whoever waits, green or not, and the one way to wake them.

use super::cell::TaskRef;
use super::switch::prefetch_task;
use super::task::State;
use super::{Hub, Message, TaskPtr, with_hub};
use crate::sys::sleeper::Sleeper;

/// Wakes one waiter: a greenlet on any hub, or a plain OS thread.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    Green(TaskRef),
    Native(Sleeper),
}

impl Waker {
    /// For whoever runs now: its greenlet, or the OS thread where there is no hub to switch on.
    #[inline]
    pub(crate) fn current() -> Waker {
        let green = with_hub(|hub| {
            let task = hub?.running()?;
            let spare = task.get().local().spare.take();
            Some(spare.unwrap_or_else(|| task.counted()))
        });
        green.map_or_else(|| Waker::Native(Sleeper::current()), Waker::Green)
    }

    /// As [`Waker::wake`], for a waker that is not needed any more.
    #[inline]
    pub(crate) fn wake_last(self) {
        match self {
            Waker::Native(thread) => thread.wake(),
            Waker::Green(task) => with_hub(|hub| match hub {
                Some(hub) if hub.owns(&task) => {
                    let was_parked = hub.rouse(&task);
                    keep_spare(hub, task, was_parked);
                }
                _ => wake_task(&task),
            }),
        }
    }

    /// Do both wake the same one?
    pub(crate) fn is_for_same(&self, other: &Waker) -> bool {
        match (self, other) {
            (Waker::Green(one), Waker::Green(other)) => TaskPtr::new(one) == TaskPtr::new(other),
            (Waker::Native(one), Waker::Native(other)) => one.is(other),
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
            Waker::Native(thread) => thread.wake(),
        }
    }
}

/// Keeps a count of a task of this hub for its next waker, as long as it may have one: one that
/// was parked has.
#[inline]
fn keep_spare(hub: &Hub, task: TaskRef, was_parked: bool) {
    let at = TaskPtr::new(&task);
    let local = at.get().local();
    // The root is never buried, and so would keep itself.
    if (was_parked || local.state.get() != State::Done) && !hub.is_root(at) {
        drop(local.spare.replace(Some(task)));
    }
}

/// Has the processor fetch what a wake that comes soon will touch.
#[inline]
pub(crate) fn prefetch(task: &TaskRef) {
    prefetch_task(TaskPtr::new(task));
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
