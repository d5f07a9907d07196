//! The result of a greenlet, on its way to whoever joins it.

use std::cell::UnsafeCell;

use super::JoinError;
use crate::hub::Task;

/// Written once by the greenlet before its task is declared ended, taken once by the joiner
/// after it has seen that.
pub(super) struct Packet<T>(UnsafeCell<Option<Result<T, JoinError>>>);

// SAFETY: writer and reader are ordered by the task's phase (released by `Task::end`, acquired
// by `Task::is_ended`), and there is one reader, which owns the handle. The value may so move
// to another thread, for which it must be `Send`; it is never shared.
unsafe impl<T: Send> Send for Packet<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Packet<T> {}

impl<T> Packet<T> {
    pub(super) fn new() -> Packet<T> {
        Packet(UnsafeCell::new(None))
    }

    /// # Safety
    /// Only by the greenlet itself, before its task has ended.
    pub(super) unsafe fn put(&self, result: Result<T, JoinError>) {
        // SAFETY: nobody reads before the task has ended.
        unsafe { *self.0.get() = Some(result) };
    }

    /// For the owner of the handle, which there is one of, after `task` has ended.
    pub(super) fn take(&self, task: &Task) -> Option<Result<T, JoinError>> {
        assert!(task.is_ended(), "a result is taken after the end");
        // SAFETY: the task has ended, so the writer is gone; `Greenlet` is not `Clone`, and its
        // `take` uses it up, so there is one reader.
        unsafe { (*self.0.get()).take() }
    }
}
