//! The switch of corosensei. The only file that names it.
//!
//! It resumes with `call` and suspends with `ret`, and takes care of each processor's registers,
//! of AddressSanitizer, and of backtraces, which run on from the body into the hub's frames.
//! corosensei's forced unwind is never used: see fact 1 at the head of the room.

use std::mem::ManuallyDrop;

use corosensei::stack::{Stack as SwitchStack, StackPointer};
use corosensei::{CoroutineResult, Yielder};

use super::fits;
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
    pub(crate) unsafe fn new<F: FnOnce(Suspender)>(stack: Stack, body: F) -> Coroutine {
        if const { !fits::<F>() } {
            let boxed: Box<dyn FnOnce(Suspender) + '_> = Box::new(body);
            // SAFETY: the caller vouches for it.
            return unsafe { Coroutine::new(stack, boxed) };
        }
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
    ///
    /// # Panics
    /// When it has not.
    pub(crate) fn into_stack(self) -> Stack {
        assert!(self.0.done(), "a stack that is in use can't be reused");
        ManuallyDrop::into_inner(self.0).into_stack().0
    }
}
