//! The stack of timeouts that a greenlet is inside of.
//!
//! ```text
//!   with_timeout(3 s) { shield { with_timeout(1 s) { read } } }
//!
//!   frames --> [1 s] --> [3 s] --> null        newest first, each on the greenlet's stack
//!                          ^
//!                     shield_floor             from here on nothing is delivered
//!   alarm = the earliest deadline above the floor
//! ```
//!
//! Facts:
//! 1. A frame is linked by `Entered`, which lives below it on the same stack and unlinks it when
//!    dropped; a greenlet's stack is never freed with frames on it.
//! 2. Frames and their list are touched by the greenlet itself, and by `expire` on the OS thread of
//!    its hub, so by one OS thread.

use std::marker::PhantomData;
use std::ptr;
use std::thread;

use super::standing::on_local;
use crate::hub::TaskPtr;
use crate::hub::task::{Frame, Local};

/// While it lives, its frame is the innermost timeout of `task`.
pub(super) struct Entered<'a> {
    task: TaskPtr,
    frame: PhantomData<&'a Frame>,
}

impl<'a> Entered<'a> {
    pub(super) fn new(task: TaskPtr, frame: &'a Frame) -> Entered<'a> {
        let local = task.get().local();
        local.frames.set(frame);
        local.alarm.set(local.alarm.get().min(frame.deadline.get()));
        Entered {
            task,
            frame: PhantomData,
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let local = self.task.get().local();
        // SAFETY: facts 1 and 2: the innermost frame is the one that this entered.
        let frame = unsafe { &*local.frames.get() };
        local.frames.set(frame.outer);
        #[cfg(feature = "monkey")]
        local.forget_owed(frame.id);
        set_alarm(local, thread::panicking());
    }
}

/// The frames that may be delivered, newest first: those above the floor, and of these, while
/// the greenlet unwinds, only those entered in the destructor that will also catch them.
fn deliverable(local: &Local, unwinding: bool) -> impl Iterator<Item = &Frame> {
    let floor = if local.shields.get() > 0 {
        local.shield_floor.get()
    } else {
        ptr::null()
    };
    let mut next = local.frames.get();
    let above_floor = std::iter::from_fn(move || {
        if next == floor {
            return None;
        }
        // SAFETY: facts 1 and 2; the list ends with null, which is the floor if there is none.
        let frame = unsafe { next.as_ref() }?;
        next = frame.outer;
        Some(frame)
    });
    above_floor.filter(move |frame| frame.unwinding == unwinding)
}

/// Has a frame of this greenlet expire now, if the greenlet is inside of it.
pub(super) fn expire(local: &Local, id: u64) {
    let mut next = local.frames.get();
    // SAFETY: facts 1 and 2; the list ends with null.
    while let Some(frame) = unsafe { next.as_ref() } {
        if frame.id == id {
            frame.deadline.set(0);
        }
        next = frame.outer;
    }
}

/// Notes the deadline that the next park is not to sleep beyond.
pub(super) fn set_alarm(local: &Local, unwinding: bool) {
    let earliest = deliverable(local, unwinding)
        .map(|frame| frame.deadline.get())
        .min();
    local.alarm.set(earliest.unwrap_or(u64::MAX));
}

/// The frame to be delivered at `now`: of those that are due the earliest, the outer of equals.
pub(super) fn first_expired(local: &Local, now: u64, unwinding: bool) -> Option<u64> {
    deliverable(local, unwinding)
        .filter(|frame| frame.deadline.get() <= now)
        .min_by_key(|frame| (frame.deadline.get(), frame.id))
        .map(|frame| frame.id)
}

/// Whether a wait has met one of the frames.
pub(super) fn has_met(local: &Local) -> bool {
    let mut next = local.frames.get();
    // SAFETY: facts 1 and 2; the list ends with null.
    while let Some(frame) = unsafe { next.as_ref() } {
        if frame.met.get() {
            return true;
        }
        next = frame.outer;
    }
    false
}

/// Notes in all frames that are due at `now` that a wait has met them.
pub(super) fn note_met(local: &Local, now: u64, unwinding: bool) {
    deliverable(local, unwinding)
        .filter(|frame| frame.deadline.get() <= now)
        .for_each(|frame| frame.met.set(true));
}

/// While it lives, nothing from before it is delivered to the task.
pub(super) struct Shield {
    task: TaskPtr,
    outer_floor: *const Frame,
}

impl Shield {
    pub(super) fn new(task: TaskPtr) -> Shield {
        let local = task.get().local();
        local.shields.set(local.shields.get() + 1);
        let outer_floor = local.shield_floor.replace(local.frames.get());
        set_alarm(local, thread::panicking());
        Shield { task, outer_floor }
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        let local = self.task.get().local();
        local.shields.set(local.shields.get() - 1);
        local.shield_floor.set(self.outer_floor);
        set_alarm(local, thread::panicking());
    }
}

/// While it lives, whoever runs must not be unwound. Not a task that is named here: a coroutine
/// that stands in a foreign call may be resumed by another greenlet, which then has the count.
pub(super) struct Foreign(());

impl Foreign {
    pub(super) fn new(task: TaskPtr) -> Foreign {
        let local = task.get().local();
        local.foreign.set(local.foreign.get() + 1);
        Foreign(())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        on_local(|local| local.foreign.set(local.foreign.get().saturating_sub(1)));
    }
}
