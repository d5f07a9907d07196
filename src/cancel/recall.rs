//! Work that is taken back from outside, as if a timeout around it had expired.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use super::Expired;
use super::frames::{self, Entered};
use crate::hub::task::Frame;
use crate::hub::waker::wake_task;
use crate::hub::{Hub, TaskPtr, TaskRef, current_hub};

/// Takes back what one call of [`recallable`] runs.
#[derive(Clone, Debug)]
pub(crate) struct Recall {
    task: TaskRef,
    frame: u64,
}

impl Recall {
    /// Unwinds the work from the park that it is in, or else from its next one. Once the work is
    /// over this only wakes the greenlet. To be called on the OS thread of that greenlet.
    pub(crate) fn now(&self) {
        frames::expire(self.task.local(), self.frame);
        wake_task(&self.task);
    }
}

/// Runs `f`; `None` when it has unwound because it was recalled. Without a hub `f` runs as well,
/// and gets nothing to recall it with.
pub(crate) fn recallable<T>(f: impl FnOnce(Option<Recall>) -> T) -> Option<T> {
    let mut f = Some(f);
    let done = current_hub(|hub| {
        let task = hub.running()?;
        f.take().map(|f| within(hub, task, f))
    });
    match (done, f) {
        (Ok(Some(outcome)), _) => outcome,
        (_, Some(f)) => Some(f(None)),
        (_, None) => unreachable!("f is taken only to be run"),
    }
}

fn within<T>(hub: &Hub, task: TaskPtr, f: impl FnOnce(Option<Recall>) -> T) -> Option<T> {
    let frame = Frame {
        id: hub.next_frame_id(),
        deadline: Cell::new(u64::MAX),
        unwinding: thread::panicking(),
        met: Cell::new(false),
        outer: task.get().local().frames.get(),
    };
    let recall = Recall {
        task: task.counted(),
        frame: frame.id,
    };
    let entered = Entered::new(task, &frame);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| f(Some(recall))));
    drop(entered);
    match outcome {
        Ok(value) => Some(value),
        Err(payload) => match payload.downcast_ref::<Expired>() {
            Some(expired) if expired.frame == frame.id => None,
            _ => panic::resume_unwind(payload),
        },
    }
}
