//! The unsafe corner of the hub: a task's coroutine, and the switches into and out of it.
//!
//! Facts:
//! 1. All of this runs on the OS thread of the task's hub (a `Hub` can't leave its thread).
//! 2. `local.coroutine` is touched here only: written once by `prepare`, borrowed by `resume`
//!    (which the hub calls for one task at a time, never from within itself), taken by `retire`
//!    after the body has returned.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;

use super::cell::{self, TaskRef};
use super::task::{State, Task, TaskPtr};
use super::{Hub, with_hub};
use crate::coroutine::Coroutine;
use crate::poller::Interest;
use crate::stack::Stack;
use crate::sys;

impl Hub {
    /// A stack to launch a task with.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn take_stack(&self, size: Option<usize>) -> io::Result<Stack> {
        self.stacks.borrow_mut().take(size)
    }

    /// Gives a task its stack with `body` on it and queues it: first in, first out. The hub holds
    /// the task until the body has returned: houses it, or has a count of it. The caller is to
    /// call [`Hub::tell_launched`] when all that belongs to the task is in place.
    ///
    /// # Safety
    /// The task must be housed, or a count of it be forgotten after this, for the hub.
    /// `body` must not unwind, and what it borrows must outlive its run, or live for ever if
    /// it is never run to its end.
    pub(crate) unsafe fn launch(
        &self,
        task: &TaskRef,
        stack: Stack,
        start_at: Option<u64>,
        body: impl FnOnce(),
    ) {
        debug_assert!(self.owns(task));
        let at = TaskPtr::new(task);
        #[cfg(feature = "monkey")]
        let hub = ptr::from_ref(self);
        let start = move || {
            // Its thread-locals may never have seen a hub.
            // SAFETY: this hub resumes it, and so is there as long as it runs.
            #[cfg(feature = "monkey")]
            unsafe {
                super::current::adopt(hub);
            }
            disarm_start(at);
            body();
        };
        // SAFETY: the caller vouches for `body`.
        unsafe { prepare(at, stack, start) };
        let local = task.local();
        task.set_slot(self.tasks.borrow_mut().insert(at));
        local.since.set(self.now());
        local.born.set(self.now());
        self.note_spawner(task);
        local.state.set(State::Parked);
        self.counters.spawned.add(1);
        match start_at {
            None => self.make_runnable(at),
            // Never, but it can be killed.
            Some(u64::MAX) => {}
            Some(deadline) => {
                let timer = self.timers.borrow_mut().arm(deadline, at);
                local.start_timer.set(Some(timer));
            }
        }
    }

    /// Tells subscribers, who are foreign code, of a task that has been launched.
    #[inline]
    pub(crate) fn tell_launched(&self, task: &TaskRef) {
        if self.events.are_heard() {
            self.tell_spawned(task);
        }
    }
}

/// A task that starts, be it because it was killed before its time, needs its timer no more.
fn disarm_start(task: TaskPtr) {
    if let Some(timer) = task.get().local().start_timer.take() {
        with_hub(|hub| hub.map(|hub| hub.timers.borrow_mut().cancel(timer)));
    }
}

/// What of a task a resume begins with; see the order of its fields.
const TASK_BYTES_HOT: usize = 192;
/// From a suspended switch up to the user's frame of a socket read: 560 bytes were seen.
const FRAME_BYTES_HOT: usize = 512;
const CACHE_LINE: usize = 64;

/// Writes `body` onto `stack` and gives both to `task`.
///
/// # Safety
/// As for [`Coroutine::new`]: `body` must not unwind, and must outlive its run.
unsafe fn prepare(at: TaskPtr, stack: Stack, body: impl FnOnce()) {
    // SAFETY: the caller vouches for the body; the task outlives its own coroutine.
    let coroutine = unsafe {
        Coroutine::new(stack, move |suspender| {
            at.get().local().suspender.set(Some(suspender));
            body();
        })
    };
    // SAFETY: facts 1 and 2: nobody else looks at a task that is not yet launched.
    unsafe { *at.get().local().coroutine.get() = Some(coroutine) };
}

/// Runs `task` until it suspends (false) or ends (true).
#[inline]
pub(super) fn resume(task: TaskPtr) -> bool {
    // SAFETY: facts 1 and 2. The code that runs meanwhile reaches other fields of the task,
    // never this one.
    let coroutine = unsafe { &mut *task.get().local().coroutine.get() };
    let coroutine = coroutine
        .as_mut()
        .expect("a task in the run queue has its coroutine");
    #[cfg(feature = "monkey")]
    if let Some(identity) = &*task.get().local().identity.borrow() {
        // SAFETY: those who share these thread-locals are greenlets of one hub, which runs one
        // at a time; the coroutine comes back here with them in place, as it went.
        return unsafe { identity.within(|| coroutine.resume()) };
    }
    coroutine.resume()
}

/// Leaves the stack of `task`, which is the one that runs.
#[inline(always)]
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
    prefetch(ptr::from_ref(task.get()).cast(), TASK_BYTES_HOT);
}

/// As [`prefetch_task`], for the part of its stack that a resume begins with. Looks into the
/// cell, so that should have come first.
#[inline]
pub(super) fn prefetch_stack(task: TaskPtr) {
    prefetch(task.get().local().rests_at.get(), FRAME_BYTES_HOT);
}

#[inline]
fn prefetch(from: *const u8, length: usize) {
    (0..length)
        .step_by(CACHE_LINE)
        .for_each(|offset| sys::prefetch(from.wrapping_add(offset)));
}

/// Takes the stack of a task whose body has returned.
pub(super) fn retire(task: &Task) -> Stack {
    // SAFETY: facts 1 and 2.
    let coroutine = unsafe { (*task.local().coroutine.get()).take() };
    #[cfg(feature = "monkey")]
    task.leave_identity();
    coroutine.expect("a task ends once").into_stack()
}

/// Lets go of a task, which has been retired and is in no queue or table any more.
pub(super) fn let_go(task: TaskPtr, hub: &Hub) {
    debug_assert!(hub.owns(task.get()));
    // SAFETY: it was launched here, and has been retired, so its coroutine has returned.
    unsafe { cell::evict(task, hub) }
}

/// poll(2) on a descriptor that somebody up the stack holds open while it waits for it.
pub(super) fn poll_raw(fd: i32, interest: Interest, ns: u64) -> io::Result<bool> {
    // SAFETY: the waiter, whose `Why` names this number, borrows the descriptor while it waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let read = interest == Interest::Read;
    sys::fd::poll(Some(fd), read, !read, Some(ns))
}
