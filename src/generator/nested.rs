//! The unsafe corner of generators and fibers: a body on a stack of its own that runs as a part
//! of whichever greenlet resumes it.
//!
//! ```text
//!   greenlet's stack               body's stack
//!   resume() --------- switch ---->  body
//!            <-------- switch -----  leave()       the resumer goes on
//!   resume() --------- switch ---->    read()      the greenlet parks where it stands, and the
//!                                                  hub resumes it there
//!            <-------- switch -----  returns       the stack may be used again
//! ```
//!
//! A body is never freed half-way. To end one early it is resumed once more, to unwind. A body
//! that can't be unwound is left where it is for good: it is *stuck*, its stack leaked. These are
//! * a body that has caught its unwind [`TRIES_MAX`] times, and gone on;
//! * each body left when its OS thread ends: a thread-local that it stands in may be gone;
//! * a body that is to end while it runs, by a destructor that `exit` calls on its stack;
//! * one with frames that must not be unwound.
//!
//! Facts:
//! 1. `leave` switches only while its body is the innermost one of the greenlet that resumed it:
//!    so it stands on the very stack that its suspender belongs to.
//! 2. The types here are not `Send`: resumed is a body only by the OS thread that made it.
//! 3. `Nested::resume` takes `&mut self`, so a body is never resumed from within itself.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;

use crate::cancel::{self, Standing};
use crate::coroutine::{Coroutine, Suspender};
use crate::hub::CoroutineId;
use crate::hub::nested::{give_stack, innermost, step_to, take_stack};
use crate::sys::{ending, panics};

/// See the head of this file. Dropping one that has begun and not ended leaks its stack.
pub(crate) struct Nested {
    coroutine: Option<Coroutine>,
    /// The hub that the stack is from.
    home: u64,
    control: Rc<Control>,
}

/// How many tries of a body to go on, though it is to end, are answered by another unwind.
const TRIES_MAX: u32 = 100;

/// What the body and those who resume it share.
pub(crate) struct Control {
    id: CoroutineId,
    suspender: Cell<Option<Suspender>>,
    /// How the resumer stood, and how many panics it had under way.
    resumed: Cell<Option<(Standing, Option<usize>)>>,
    runs: Cell<bool>,
    /// It is to unwind instead of going on.
    ending: Cell<bool>,
    /// How often it has tried to go on since then.
    tries: Cell<u32>,
    /// It was to unwind, and can't.
    stuck: Cell<bool>,
}

/// Why a body could not be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// The caller is not the body, or runs on yet another stack that the body has resumed.
    Elsewhere,
    /// A timeout or a shield that began in the body would go on in its resumer.
    Limited,
}

impl Nested {
    /// Writes `body` onto a stack from this thread's hub; nothing runs yet.
    ///
    /// # Errors
    /// When there is no stack or no hub to be had.
    ///
    /// # Safety
    /// `body` must not unwind. All that it borrows must live until it has returned, or for ever.
    pub(crate) unsafe fn new(
        stack_size: Option<usize>,
        body: impl FnOnce(&Rc<Control>),
    ) -> io::Result<Nested> {
        if ending::has_begun() {
            let why = "this OS thread is ending: nothing can be resumed any more";
            return Err(io::Error::other(why));
        }
        let (stack, home) = take_stack(stack_size)?;
        let control = Rc::new(Control {
            id: CoroutineId::next(),
            suspender: Cell::new(None),
            resumed: Cell::new(None),
            runs: Cell::new(false),
            ending: Cell::new(false),
            tries: Cell::new(0),
            stuck: Cell::new(false),
        });
        let theirs = Rc::clone(&control);
        // SAFETY: the caller vouches for the body.
        let coroutine = unsafe {
            Coroutine::new(stack, move |suspender| {
                theirs.suspender.set(Some(suspender));
                body(&theirs);
            })
        };
        Ok(Nested {
            coroutine: Some(coroutine),
            home,
            control,
        })
    }

    /// As [`Nested::new`], for a body that borrows nothing; it must not unwind.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn of_static(
        stack_size: Option<usize>,
        body: impl FnOnce(&Rc<Control>) + 'static,
    ) -> io::Result<Nested> {
        // An unwind would come out of `Coroutine::resume`, on the resumer's stack: it stops here.
        let contained = move |control: &Rc<Control>| {
            let run = AssertUnwindSafe(|| body(control));
            panic::catch_unwind(run).unwrap_or_else(mem::forget);
        };
        // SAFETY: nothing is borrowed, and nothing unwinds.
        unsafe { Nested::new(stack_size, contained) }
    }

    pub(crate) fn control(&self) -> &Rc<Control> {
        &self.control
    }

    /// Runs the body until it leaves (false) or has returned (true).
    pub(crate) fn resume(&mut self) -> bool {
        let control = &self.control;
        let coroutine = self.coroutine.as_mut();
        let coroutine = coroutine.expect("who has ended is not resumed");
        control
            .resumed
            .set(Some((Standing::now(), panics::depth())));
        let outer = step_to(Some(control.id));
        control.runs.set(true);
        let ended = coroutine.resume();
        control.runs.set(false);
        step_to(outer);
        ending::look();
        if ended && let Some(coroutine) = self.coroutine.take() {
            give_stack(coroutine.into_stack(), self.home);
        }
        ended
    }

    /// Ends the body: one that has not begun never runs, another one unwinds. False when it
    /// withstood that, and is stuck for good.
    pub(crate) fn end(&mut self) -> bool {
        self.control.ending.set(true);
        if self.coroutine.is_some() && (ending::has_begun() || self.control.runs.get()) {
            self.control.stuck.set(true);
            return false;
        }
        self.coroutine.is_none() || self.resume()
    }
}

impl Control {
    pub(crate) fn id(&self) -> CoroutineId {
        self.id
    }

    /// Whether it is to unwind, or not to begin at all.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// Whether [`leave`](Control::leave) may be called here and now.
    pub(crate) fn may_leave(&self) -> Result<(), Misplaced> {
        let now = Standing::now();
        match self.resumed.get() {
            Some((then, _)) if innermost() == Some(self.id) && now.is_of_same_greenlet(&then) => {
                let same = now.has_same_limits(&then) || self.unwinds();
                same.then_some(()).ok_or(Misplaced::Limited)
            }
            _ => Err(Misplaced::Elsewhere),
        }
    }

    /// Goes back to the resumer; returns when the body is resumed. By the body itself only.
    ///
    /// Never returns where the body is to end: it unwinds, or is stuck.
    pub(crate) fn leave(&self) -> Result<(), Misplaced> {
        let place = self.may_leave();
        if self.ending.get() && place != Err(Misplaced::Elsewhere) {
            self.finish();
        }
        place?;
        if self.unwinds() {
            self.stick();
        }
        let (then, _) = self.resumed.get().expect("whose body runs was resumed");
        // Frames that must not be unwound stay on this stack, and count when it runs again.
        let foreign = Standing::now().foreign_beyond(&then);
        if foreign > 0 {
            then.restore();
        }
        self.suspend();
        if foreign > 0 {
            cancel::add_foreign(foreign);
        }
        if self.ending.get() {
            self.finish();
        }
        Ok(())
    }

    fn suspend(&self) {
        let suspender = self.suspender.get().expect("whose body runs has begun");
        // SAFETY: fact 1; `may_leave` has looked.
        unsafe { suspender.suspend() }
    }

    fn finish(&self) -> ! {
        self.count_try();
        if cancel::caller_may_unwind() && !self.unwinds() {
            cancel::unwind();
        }
        self.stick()
    }

    /// Counts a try of the body to go on though it is to end; never returns from one too many. By
    /// the body itself only.
    pub(crate) fn count_try(&self) {
        let tries = self.tries.get();
        self.tries.set(tries + 1);
        if tries >= TRIES_MAX {
            self.stick();
        }
    }

    /// Whether the body itself has a panic under way, not only its resumer.
    pub(crate) fn unwinds(&self) -> bool {
        let before = self.resumed.get().and_then(|(_, depth)| depth);
        thread::panicking() && before.is_some() && panics::depth() != before
    }

    /// Leaves for good. What is below on this stack never runs again, and stays.
    #[cold]
    fn stick(&self) -> ! {
        if let Some((then, depth)) = self.resumed.get() {
            let given_up = !self.unwinds() || depth.is_some_and(panics::give_up_all_but);
            assert!(
                given_up,
                "a coroutine was left by a destructor while it unwound"
            );
            then.restore();
        }
        self.stuck.set(true);
        loop {
            self.suspend();
        }
    }
}

impl fmt::Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested")
            .field("id", &self.control.id)
            .finish_non_exhaustive()
    }
}
