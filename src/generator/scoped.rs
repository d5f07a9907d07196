//! Generators that borrow, and the making of all of them.
//!
//! A generator that borrows must not outlive what it borrows: not even forgotten, for greenlets
//! of a scope inside of its body may go on and use it. So nobody gets to own one: [`scoped`] keeps
//! it, lends it, and does not return before it has ended.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::rc::Rc;
use std::thread;

use super::nested::Nested;
use super::{Exchange, Generator, GeneratorState, Outcome, Yielder, body};
use crate::cancel;
use crate::coroutine;
use crate::hub::{Why, with_hub};
use crate::sys::report::report;

/// Makes a generator that borrows nothing.
pub(super) fn make_static<F, In, Out, Ret>(
    stack_size: Option<usize>,
    f: F,
) -> io::Result<Generator<In, Out, Ret>>
where
    F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    In: 'static,
    Out: 'static,
    Ret: 'static,
{
    // SAFETY: nothing is borrowed.
    unsafe { make(stack_size, f) }
}

type Boxed<'f, In, Out, Ret> = Box<dyn FnOnce(&Yielder<In, Out>, In) -> Ret + 'f>;

/// Makes any generator.
///
/// # Safety
/// What `f` and the three types borrow must live until the generator has ended, or for ever.
unsafe fn make<F, In, Out, Ret>(
    stack_size: Option<usize>,
    f: F,
) -> io::Result<Generator<In, Out, Ret>>
where
    F: FnOnce(&Yielder<In, Out>, In) -> Ret,
{
    if const { !coroutine::fits::<F>() } {
        let boxed: Boxed<'_, In, Out, Ret> = Box::new(f);
        // SAFETY: the caller vouches for it.
        return unsafe { make(stack_size, boxed) };
    }
    let exchange = Rc::new(Exchange {
        input: Cell::new(None),
        output: Cell::new(None),
    });
    let outcome: Outcome<Ret> = Rc::default();
    let (their_exchange, their_outcome) = (Rc::clone(&exchange), Rc::clone(&outcome));
    // SAFETY: `body` catches what `f` unwinds with; the caller vouches for lifetimes.
    let nested = unsafe {
        Nested::new(stack_size, move |control| {
            let yielder = Yielder {
                control: Rc::clone(control),
                exchange: their_exchange,
            };
            body(f, &yielder, &their_outcome);
        })?
    };
    Ok(Generator {
        nested,
        exchange,
        outcome,
        done: false,
    })
}

/// Calls `f` with a generator whose body may borrow what outlives the call; ends the generator
/// before it returns.
///
/// # Examples
/// ```
/// use greenroom::generator;
/// let words = vec!["yield", "at", "any", "depth"];
/// let lengths: Vec<usize> = generator::scoped(
///     |yielder, ()| words.iter().for_each(|word| yielder.suspend(word.len())),
///     |generator| generator.take(3).collect(),
/// )?;
/// assert_eq!(lengths, [5, 2, 3]);
/// drop(words);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When there is no stack for it; neither runs then.
///
/// # Panics
/// When `f` does.
///
/// # Parks
/// As both do. A body that can't be unwound (it yields in a destructor, or below a
/// [`foreign`](crate::foreign) call; it catches the unwind 100 times and yields again; in a build
/// with `panic = "abort"` none can) must run to its end. If it has not, the greenlet that has
/// called this parks for good, with a line in the log, and withstands each kill: what is borrowed
/// may be used by greenlets of a scope inside of the body, so neither to go on nor to unwind would
/// be sound. In the root the OS thread stands still.
pub fn scoped<In, Out, Ret, B, F, R>(body: B, f: F) -> io::Result<R>
where
    B: FnOnce(&Yielder<In, Out>, In) -> Ret,
    F: FnOnce(Scoped<'_, In, Out, Ret>) -> R,
{
    struct Ended<In, Out, Ret>(Generator<In, Out, Ret>);
    impl<In, Out, Ret> Drop for Ended<In, Out, Ret> {
        fn drop(&mut self) {
            if !self.0.end() {
                stand_still();
            }
        }
    }
    // SAFETY: what they borrow outlives this call, at the end of which the generator has ended,
    // or which never ends. Nobody else gets to own, forget or replace it: `Scoped` only lends.
    let mut kept = Ended(unsafe { make(None, body)? });
    Ok(f(Scoped(&mut kept.0)))
}

#[cold]
fn stand_still() -> ! {
    report!(
        Error,
        "greenroom: a generator that borrows can't be unwound; \
         the greenlet that has called `scoped` stands still for good"
    );
    let in_greenlet = with_hub(|hub| hub.is_some_and(|hub| hub.running_greenlet().is_some()));
    loop {
        if in_greenlet {
            // Shielded: nothing is delivered, and only a root is ever told that it is stuck.
            cancel::shield(|| cancel::park_on(Why::Helper("a generator that can't end"), None));
        } else {
            thread::park();
        }
    }
}

/// A generator lent by [`scoped`]; as [`Generator`] otherwise.
pub struct Scoped<'a, In, Out, Ret>(&'a mut Generator<In, Out, Ret>);

impl<In, Out, Ret> Scoped<'_, In, Out, Ret> {
    /// As [`Generator::resume`].
    ///
    /// # Panics
    /// As there.
    ///
    /// # Parks
    /// As there.
    pub fn resume(&mut self, input: In) -> GeneratorState<Out, Ret> {
        self.0.resume(input)
    }

    /// As [`Generator::throw`].
    ///
    /// # Panics
    /// As there.
    ///
    /// # Parks
    /// As there.
    pub fn throw(&mut self, payload: Box<dyn std::any::Any + Send>) -> GeneratorState<Out, Ret> {
        self.0.throw(payload)
    }

    /// As [`Generator::is_done`].
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

impl<Out, Ret> Iterator for Scoped<'_, (), Out, Ret> {
    type Item = Out;

    fn next(&mut self) -> Option<Out> {
        self.0.next()
    }
}

impl<Out, Ret> FusedIterator for Scoped<'_, (), Out, Ret> {}

impl<In, Out, Ret> fmt::Debug for Scoped<'_, In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}
