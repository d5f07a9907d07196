//! The unsafe corner of the hub: a task's coroutine, and the switches into and out of it.
//!
//! Facts:
//! 1. All of this runs on the OS thread of the task's hub (a `Hub` can't leave its thread).
//! 2. `local.coroutine` is touched here only: written once by `prepare`, borrowed by `resume`
//!    (which the hub calls for one task at a time, never from within itself), taken by `retire`
//!    after the body has returned.

use std::os::fd::BorrowedFd;
use std::ptr;

use super::task::{Task, TaskPtr};
use crate::coroutine::Coroutine;
use crate::poller::Interest;
use crate::stack::Stack;
use crate::sys;

/// Writes `body` onto `stack` and gives both to `task`.
///
/// # Safety
/// As for [`Coroutine::new`]: `body` must not unwind, and must outlive its run.
pub(super) unsafe fn prepare(task: &Task, stack: Stack, body: impl FnOnce()) {
    let at = TaskPtr::new(task);
    // SAFETY: the caller vouches for the body; the task outlives its own coroutine.
    let coroutine = unsafe {
        Coroutine::new(stack, move |suspender| {
            at.get().local().suspender.set(Some(suspender));
            body();
        })
    };
    // SAFETY: facts 1 and 2: nobody else looks at a task that is not yet launched.
    unsafe { *task.local().coroutine.get() = Some(coroutine) };
}

/// Runs `task` until it suspends (false) or ends (true).
#[inline]
pub(super) fn resume(task: TaskPtr) -> bool {
    // SAFETY: facts 1 and 2. The code that runs meanwhile reaches other fields of the task,
    // never this one.
    let coroutine = unsafe { &mut *task.get().local().coroutine.get() };
    coroutine
        .as_mut()
        .expect("a task in the run queue has its coroutine")
        .resume()
}

/// Leaves the stack of `task`, which is the one that runs.
#[inline]
pub(super) fn suspend(task: TaskPtr) {
    let suspender = task
        .get()
        .local()
        .suspender
        .get()
        .expect("who parks has been started");
    let here = 0u8;
    task.get().local().rests_at.set(&raw const here);
    // SAFETY: `task` is the running one (its hub says so), so this is its stack.
    unsafe { suspender.suspend() }
}

/// Has the processor fetch the cell of a task that is to run soon.
#[inline]
pub(super) fn prefetch_task(task: TaskPtr) {
    prefetch(ptr::from_ref(task.get()).cast(), size_of::<Task>());
}

/// As [`prefetch_task`], for the part of its stack that a resume begins with. Looks into the
/// cell, so that should have come first.
#[inline]
pub(super) fn prefetch_stack(task: TaskPtr) {
    const FRAMES_OF_A_PARK: usize = 320;
    prefetch(task.get().local().rests_at.get(), FRAMES_OF_A_PARK);
}

#[inline]
fn prefetch(from: *const u8, length: usize) {
    const LINE: usize = 64;
    (0..length)
        .step_by(LINE)
        .for_each(|offset| sys::prefetch(from.wrapping_add(offset)));
}

/// Takes the stack of a task whose body has returned.
pub(super) fn retire(task: &Task) -> Stack {
    // SAFETY: facts 1 and 2.
    let coroutine = unsafe { (*task.local().coroutine.get()).take() };
    coroutine.expect("a task ends once").into_stack()
}

/// poll(2) on a descriptor that somebody up the stack holds open while it waits for it.
pub(super) fn poll_raw(fd: i32, interest: Interest, ns: u64) -> std::io::Result<bool> {
    // SAFETY: the waiter, whose `Why` names this number, borrows the descriptor while it waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let read = interest == Interest::Read;
    sys::fd::poll(Some(fd), read, !read, Some(ns))
}
