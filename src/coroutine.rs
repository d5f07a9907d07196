//! The only file that names corosensei: a stack, a body, and the two switches between them.
//!
//! ```text
//!   hub's stack                          greenlet's stack
//!   resume() ------- switch ----------->  body(suspender)
//!            <------ switch -------------  suspender.suspend()
//!   resume() ------- switch ----------->  ... returns
//!   true     <------ switch -------------  (the stack may be used again)
//! ```
//!
//! This is the seam where a faster switch, or an identity of its own for each greenlet (its own
//! thread-locals), can come in: nothing outside this file knows how a switch is made.
//!
//! Facts on which the SAFETY comments below rest:
//! 1. A coroutine is never dropped while suspended: the hub drops it only when it has finished,
//!    and forgets it (leaking the stack) otherwise. corosensei's forced unwind is never used.
//! 2. A coroutine is resumed only by the OS thread on which it was started.

use std::mem::ManuallyDrop;

use corosensei::stack::{Stack as SwitchStack, StackPointer};
use corosensei::{CoroutineResult, Yielder};

use crate::stack::Stack;

/// A stack as corosensei wants to see it.
struct Slot(Stack);

// SAFETY: the room `stack` hands out slots with at least its documented minimum of usable bytes
// (above corosensei's 4096) below which a guard faults on every access, and never unmaps one
// that is out.
unsafe impl SwitchStack for Slot {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.0.top()).expect("a stack is never at address 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.0.limit()).expect("a stack is never at address 0")
    }
}

/// The way back from a greenlet's stack to its hub.
#[derive(Clone, Copy)]
pub(crate) struct Suspender(*const Yielder<(), ()>);

impl Suspender {
    /// Leaves the greenlet's stack; returns when the coroutine is resumed.
    ///
    /// # Safety
    /// To be called on the stack of the very coroutine that handed this out, while it runs, or on
    /// the stack of another that it has resumed: that one is then left with it.
    pub(crate) unsafe fn suspend(self) {
        // SAFETY: the yielder lives at the base of the running coroutine's stack. It holds where to
        // go back to, and takes in exchange where the caller stands, on whichever stack that is.
        unsafe { (*self.0).suspend(()) }
    }
}

/// A body on a stack of its own: not yet started, suspended, or finished.
///
/// Dropping one that has not finished leaks its stack with everything on it (fact 1).
pub(crate) struct Coroutine(ManuallyDrop<corosensei::Coroutine<(), (), (), Slot>>);

impl Coroutine {
    /// Writes `body` onto `stack`; nothing runs yet. The body must not unwind.
    ///
    /// # Safety
    /// All that `body` borrows must outlive its run, and if it is never run to its end, live
    /// for ever.
    pub(crate) unsafe fn new(stack: Stack, body: impl FnOnce(Suspender)) -> Coroutine {
        // SAFETY: the caller vouches for the lifetimes.
        let inner = unsafe {
            corosensei::Coroutine::with_stack_unchecked(Slot(stack), move |yielder, ()| {
                body(Suspender(yielder));
            })
        };
        Coroutine(ManuallyDrop::new(inner))
    }

    /// Runs the body until it suspends (false) or returns (true).
    #[inline]
    pub(crate) fn resume(&mut self) -> bool {
        matches!(self.0.resume(()), CoroutineResult::Return(()))
    }

    /// The stack of a body that has returned, for reuse.
    pub(crate) fn into_stack(self) -> Stack {
        ManuallyDrop::into_inner(self.0).into_stack().0
    }
}
