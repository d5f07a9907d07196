//! The result of a greenlet, on its way to whoever joins it.
//!
//! ```text
//!   the greenlet                            the owner of the handle
//!   Promise: put --> [ place in the cell ] --> Packet: take, or drop
//! ```
//!
//! Both ends know where the place is, neither is counted: the handle counts the task for the
//! packet, and the hub, or a message on its way there, for the promise.
//!
//! Who drops a result that nobody takes? If the handle is dropped before it is put, the greenlet
//! does, before its end; if after that, whoever drops the handle. Which of the two is plain to see
//! where both happen on one OS thread. From another one the handle says so by a bit of the task's
//! phase: if that is changed before the task has ended the greenlet sees it, at the latest when
//! it declares the end, else the dropper knows that the writer is gone. A handle that is forgotten
//! says nothing: then the result is never dropped, and what it borrows may be gone.

use std::sync::atomic::Ordering;

use super::JoinError;
use crate::hub::{Slot, with_hub};
use crate::sys::report;

/// The owner's end.
///
/// Its user counts the task for as long as this lives, and longer than that.
pub(super) struct Packet<T>(Slot<Result<T, JoinError>>);

/// The greenlet's end. Its user counts the task for as long as this is used.
pub(super) struct Promise<T>(Slot<Result<T, JoinError>>);

// SAFETY: writer and reader are ordered by the task's phase (released by `Task::end`, acquired
// by `Task::is_ended`) or by being on one OS thread, and there is one of each. The value may so
// move to another thread, for which it must be `Send`; it is never shared.
unsafe impl<T: Send> Send for Packet<T> {}
// SAFETY: as above; by reference nothing can be reached.
unsafe impl<T: Send> Sync for Packet<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Promise<T> {}

/// Both ends of a new task's result.
pub(super) fn ends<T>(slot: Slot<Result<T, JoinError>>) -> (Promise<T>, Packet<T>) {
    (Promise(slot), Packet(slot))
}

impl<T> Promise<T> {
    /// Puts the result into its place.
    ///
    /// # Safety
    /// Only once, by the greenlet itself, or for it if it will never run; on its hub's OS
    /// thread, or when that hub is gone; before its task has ended.
    pub(super) unsafe fn put(&self, result: Result<T, JoinError>) {
        // SAFETY: our user counts the task. The owner does not look into the place before the task
        // has ended, unless on the hub's OS thread, and there not while we are here.
        unsafe { *self.0.place() = Some(result) };
    }

    /// The result again, to be dropped, if nobody wants it.
    ///
    /// # Safety
    /// As [`Promise::put`], but any number of times.
    pub(super) unsafe fn take_unwanted(&self) -> Option<Result<T, JoinError>> {
        // SAFETY: our user counts the task. Before it has ended, one that is detached has no
        // packet that would ever look into the place again.
        unsafe { self.0.task().is_detached().then(|| self.0.place().take())? }
    }

    /// As [`Promise::take_unwanted`], after the end.
    ///
    /// # Safety
    /// Only if `Task::end` said so.
    pub(super) unsafe fn take_back(&self) -> Option<Result<T, JoinError>> {
        // SAFETY: the packet is gone: it set the bit that `Task::end` saw, and looked no further.
        unsafe { self.0.place().take() }
    }
}

impl<T> Packet<T> {
    /// After the task has ended: has a wait of the greenlet met a kill without being unwound?
    pub(super) fn is_late(&self) -> bool {
        // SAFETY: our user counts the task.
        let task = unsafe { self.0.task() };
        task.is_ended() && task.kill_met.load(Ordering::Relaxed)
    }

    /// After the task has ended: its result, if it left one.
    pub(super) fn take(self) -> Option<Result<T, JoinError>> {
        let slot = self.0;
        std::mem::forget(self);
        // SAFETY: our user counts the task.
        let task = unsafe { slot.task() };
        assert!(task.is_ended(), "a result is taken after the end");
        // SAFETY: the task has ended, so the writer is gone; there is one packet, used up here.
        unsafe { slot.place().take() }
    }
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        // SAFETY: our user counts the task.
        let task = unsafe { self.0.task() };
        let is_here = || with_hub(|hub| hub.is_some_and(|hub| hub.owns(task)));
        let writer_is_gone = if task.is_ended() {
            true
        } else if is_here() {
            task.detach_here();
            true
        } else {
            !task.detach_from_afar()
        };
        if writer_is_gone {
            // SAFETY: the writer has ended; or it is not under way, since it writes on this very
            // OS thread, and will not begin to, since it looks first.
            let left = unsafe { self.0.place().take() };
            report::drop_foreign("a result", left);
        }
    }
}
