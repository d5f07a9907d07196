//! Functions that hand out one value after the other, and take one in return each time: what
//! `yield` is in Python.
//!
//! A [`Generator`] has a stack of its own, so it may yield at any depth: in a loop, in a function
//! that its body calls, in a recursion, in a callback. In between it stands still, until it is
//! resumed. It is a part of whichever greenlet resumes it: when its body parks, to read a socket
//! for one, that greenlet parks, and a kill or a timeout of that greenlet unwinds the body first.
//! `green_local!` values are the resumer's.
//!
//! | to | there is |
//! |---|---|
//! | hand out values | [`Yielder::suspend`] in the body, and `for` over a generator of `()` |
//! | send values in | [`Generator::resume`] |
//! | have it panic where it stands | [`Generator::throw`] |
//! | end it early | drop it: it unwinds, and its destructors run |
//! | borrow from the surroundings | [`scoped`] |
//!
//! # Examples
//! ```
//! use greenroom::generator::Generator;
//!
//! /// Walks a tree of directories, depth first, with a plain recursion.
//! fn leaves(depth: u32) -> std::io::Result<Generator<(), u32, ()>> {
//!     fn walk(yielder: &greenroom::generator::Yielder<(), u32>, depth: u32, at: u32) {
//!         if depth == 0 {
//!             return yielder.suspend(at);
//!         }
//!         walk(yielder, depth - 1, 2 * at);
//!         walk(yielder, depth - 1, 2 * at + 1);
//!     }
//!     Generator::new(move |yielder, ()| walk(yielder, depth, 1))
//! }
//! let found: Vec<u32> = leaves(2)?.collect();
//! assert_eq!(found, [4, 5, 6, 7]);
//! # Ok::<(), std::io::Error>(())
//! ```

#[allow(unsafe_code, reason = "a body moves to another stack")]
pub(crate) mod nested;
#[allow(unsafe_code, reason = "borrows outlive what the compiler sees")]
mod scoped;

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;

pub use crate::hub::CoroutineId;
pub use scoped::{Scoped, scoped};

use crate::cancel;
use crate::hub::nested::{innermost, tell_transferred};
use crate::sys::ending;
use crate::sys::report::{self, report};
use nested::{Control, Misplaced, Nested};

/// What a generator has done when it was resumed.
///
/// # Examples
/// ```
/// use greenroom::generator::{Generator, GeneratorState};
/// let mut once = Generator::new(|yielder, ()| {
///     yielder.suspend("one");
///     "the end"
/// })?;
/// assert_eq!(once.resume(()), GeneratorState::Yielded("one"));
/// assert_eq!(once.resume(()), GeneratorState::Complete("the end"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GeneratorState<Out, Ret> {
    /// It has handed out a value, and stands still.
    Yielded(Out),
    /// Its body has returned.
    Complete(Ret),
}

/// What the resumer sends in.
enum Input<In> {
    Value(In),
    Throw(Box<dyn Any + Send>),
}

/// Where values change hands.
struct Exchange<In, Out> {
    input: Cell<Option<Input<In>>>,
    output: Cell<Option<Out>>,
}

type Outcome<Ret> = Rc<Cell<Option<thread::Result<Ret>>>>;

/// A body that runs until it yields, and goes on when it is resumed; see the [module](self).
///
/// Each time it is resumed it takes an `In` and hands out an `Out`, and at the end it returns
/// a `Ret`. It belongs to the OS thread on which it was made.
///
/// Dropped half-way it unwinds from where it stands, and its destructors run, in the greenlet
/// that drops it. It can't below a [`foreign`](crate::foreign) call, in a build with
/// `panic = "abort"`, where such a destructor yields, and in the destructors of thread-locals at
/// the end of the OS thread: its stack is then leaked, with a line in the log. So is that of a body
/// which catches the unwind and yields again, when it has done so 100 times.
///
/// # Examples
/// ```
/// use greenroom::generator::{Generator, GeneratorState};
/// let mut average = Generator::new(|yielder, first: f64| {
///     let (mut sum, mut count) = (first, 1.0);
///     loop {
///         sum += yielder.suspend(sum / count);
///         count += 1.0;
///     }
/// })?;
/// assert_eq!(average.resume(10.0), GeneratorState::<f64, ()>::Yielded(10.0));
/// assert_eq!(average.resume(20.0), GeneratorState::Yielded(15.0));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It does not leave its thread:
/// ```compile_fail,E0277
/// let generator = greenroom::generator::Generator::new(|_, ()| ())?;
/// std::thread::spawn(move || drop::<greenroom::generator::Generator<(), (), ()>>(generator));
/// # Ok::<(), std::io::Error>(())
/// ```
/// And its body borrows nothing; that is for [`scoped`]:
/// ```compile_fail,E0597
/// use greenroom::generator::Generator;
/// let text = String::from("borrowed");
/// let generator = Generator::<(), usize, ()>::new(|yielder, ()| yielder.suspend(text.len()))?;
/// std::mem::forget(generator);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias("coroutine", "yield", "iterator"))]
#[must_use = "a generator does nothing until it is resumed"]
pub struct Generator<In, Out, Ret> {
    nested: Nested,
    exchange: Rc<Exchange<In, Out>>,
    outcome: Outcome<Ret>,
    done: bool,
}

impl<In: 'static, Out: 'static, Ret: 'static> Generator<In, Out, Ret> {
    /// A generator that is to run `body`, on a stack of the
    /// [default size](crate::default_stack_size). It first runs when it is first resumed, and what
    /// is sent in then is the body's second argument.
    ///
    /// # Errors
    /// When there is no stack for it: the lack of memory, address space, maps or descriptors,
    /// naming the limit.
    ///
    /// # Parks
    /// Never.
    pub fn new<F>(body: F) -> io::Result<Generator<In, Out, Ret>>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    {
        scoped::make_static(None, body)
    }

    /// As [`new`](Generator::new), with a stack of at least so many bytes, all of them usable.
    ///
    /// # Examples
    /// ```
    /// use greenroom::generator::Generator;
    /// let small = Generator::with_stack_size(32 * 1024, |yielder, ()| yielder.suspend(1))?;
    /// assert_eq!(small.collect::<Vec<i32>>(), [1]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `new`, and `InvalidInput` for a size out of range.
    pub fn with_stack_size<F>(bytes: usize, body: F) -> io::Result<Generator<In, Out, Ret>>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    {
        scoped::make_static(Some(bytes), body)
    }
}

impl<In, Out, Ret> Generator<In, Out, Ret> {
    /// Sends `input` in, and runs the body until it yields or returns.
    ///
    /// # Examples
    /// See [`Generator`].
    ///
    /// # Panics
    /// When the body does: the panic is carried over, and the generator is done. When it was done
    /// before, and in the destructors of thread-locals at the end of the OS thread.
    ///
    /// # Parks
    /// As the body does. A kill or a timeout of the caller unwinds the body, then the caller.
    pub fn resume(&mut self, input: In) -> GeneratorState<Out, Ret> {
        self.go_on(Input::Value(input))
    }

    /// Has the body panic with `payload` where it has yielded, and runs it until it yields again
    /// or returns, which it can if it catches the panic. One that has not begun never runs.
    ///
    /// # Examples
    /// ```
    /// use greenroom::generator::{Generator, GeneratorState};
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    /// let mut stubborn = Generator::new(|yielder, ()| {
    ///     let caught = catch_unwind(AssertUnwindSafe(|| yielder.suspend(1)));
    ///     caught.unwrap_err().downcast_ref::<&str>().map(|text| text.len())
    /// })?;
    /// stubborn.resume(());
    /// assert_eq!(stubborn.throw(Box::new("oh")), GeneratorState::Complete(Some(2)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// With `payload`, when the body does not catch it; otherwise as [`resume`](Generator::resume).
    ///
    /// # Parks
    /// As `resume`.
    pub fn throw(&mut self, payload: Box<dyn Any + Send>) -> GeneratorState<Out, Ret> {
        self.go_on(Input::Throw(payload))
    }

    fn go_on(&mut self, input: Input<In>) -> GeneratorState<Out, Ret> {
        assert!(!self.done, "a generator was resumed after its end");
        assert!(
            !ending::has_begun(),
            "a generator was resumed at the end of its OS thread"
        );
        let thrown = matches!(input, Input::Throw(_));
        self.exchange.input.set(Some(input));
        self.done = self.switch(thrown, Nested::resume) || self.nested.control().is_stuck();
        if let Some(outcome) = self.outcome.take() {
            let value = outcome.unwrap_or_else(|payload| panic::resume_unwind(payload));
            return GeneratorState::Complete(value);
        }
        assert!(
            !self.done,
            "a generator yielded in a destructor while it unwound: it is given up"
        );
        let output = self.exchange.output.take();
        GeneratorState::Yielded(output.expect("who has left has put a value there"))
    }

    fn switch(&mut self, thrown: bool, how: impl FnOnce(&mut Nested) -> bool) -> bool {
        let (outer, inner) = (innermost(), Some(self.id()));
        tell_transferred(outer, inner, thrown);
        let ended = how(&mut self.nested);
        tell_transferred(inner, outer, false);
        ended
    }

    /// Whether the body has returned or panicked: it can't be resumed any more.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The generator's id: no other, and no fiber, of this process has or had it.
    pub fn id(&self) -> CoroutineId {
        self.nested.control().id()
    }

    /// Ends the body. False when it is stuck half-way, for good.
    fn end(&mut self) -> bool {
        if !mem::replace(&mut self.done, true) {
            self.switch(true, Nested::end);
        }
        if let Some(Err(payload)) = self.outcome.take()
            && !cancel::is_cancellation(&*payload)
        {
            report!(Error, "greenroom: a generator panicked at its end");
            report::discard(payload);
        }
        !self.nested.control().is_stuck()
    }
}

impl<In, Out, Ret> Drop for Generator<In, Out, Ret> {
    fn drop(&mut self) {
        if !self.end() {
            report!(
                Error,
                "greenroom: generator #{} can't be unwound; its stack is leaked",
                self.id()
            );
        }
    }
}

/// What the body yields. Ends with it; what it returns is dropped.
///
/// # Examples
/// ```
/// use greenroom::generator::Generator;
/// let squares = Generator::new(|yielder, ()| (1..).for_each(|n: u32| yielder.suspend(n * n)))?;
/// assert_eq!(squares.take(4).collect::<Vec<_>>(), [1, 4, 9, 16]);
/// # Ok::<(), std::io::Error>(())
/// ```
impl<Out, Ret> Iterator for Generator<(), Out, Ret> {
    type Item = Out;

    fn next(&mut self) -> Option<Out> {
        if self.done || ending::has_begun() {
            return None;
        }
        match self.resume(()) {
            GeneratorState::Yielded(out) => Some(out),
            GeneratorState::Complete(_) => None,
        }
    }
}

impl<Out, Ret> FusedIterator for Generator<(), Out, Ret> {}

impl<In, Out, Ret> fmt::Debug for Generator<In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("id", &self.id())
            .field("is_done", &self.done)
            .finish_non_exhaustive()
    }
}

/// Hands values out of the body that it was given to.
pub struct Yielder<In, Out> {
    control: Rc<Control>,
    exchange: Rc<Exchange<In, Out>>,
}

impl<In, Out> Yielder<In, Out> {
    /// Hands `output` to whoever has resumed the generator, and stands still; returns what is
    /// sent in next.
    ///
    /// # Examples
    /// See [`Generator`].
    ///
    /// # Panics
    /// With what was given to [`Generator::throw`]. Inside of a [`with_timeout`] or a [`shield`]
    /// that began in the body: it would go on in the resumer, where it does not belong. On another
    /// stack than the body's: in a greenlet that it has spawned, in another generator, inside of
    /// [`run`](crate::run()).
    ///
    /// # Parks
    /// Not the greenlet, which goes on where it has resumed the generator. When the generator is
    /// dropped, it unwinds from here, as from a kill.
    ///
    /// [`with_timeout`]: crate::with_timeout
    /// [`shield`]: crate::shield
    pub fn suspend(&self, output: Out) -> In {
        self.exchange.output.set(Some(output));
        if let Err(misplaced) = self.control.leave() {
            self.exchange.output.take();
            panic!("a generator can't yield here: {}", excuse(misplaced));
        }
        match self.exchange.input.take() {
            Some(Input::Value(input)) => input,
            Some(Input::Throw(payload)) => panic::resume_unwind(payload),
            None => unreachable!("who resumes sends something in"),
        }
    }
}

fn excuse(misplaced: Misplaced) -> &'static str {
    match misplaced {
        Misplaced::Elsewhere => "this is not the stack of its body, or the body does not run",
        Misplaced::Limited => "a with_timeout or a shield of its body would go on in its resumer",
    }
}

impl<In, Out> fmt::Debug for Yielder<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder")
            .field("generator", &self.control.id())
            .finish_non_exhaustive()
    }
}

/// All that a generator's stack does; never unwinds.
fn body<F, In, Out, Ret>(f: F, yielder: &Yielder<In, Out>, outcome: &Outcome<Ret>)
where
    F: FnOnce(&Yielder<In, Out>, In) -> Ret,
{
    let ending = yielder.control.is_ending();
    let run = AssertUnwindSafe(|| {
        let input = yielder.exchange.input.take();
        match input.filter(|_| !ending) {
            Some(Input::Value(input)) => Some(f(yielder, input)),
            Some(Input::Throw(payload)) => {
                let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(f)));
                // What was thrown goes on.
                dropped.unwrap_or_else(report::discard);
                panic::resume_unwind(payload)
            }
            None => None,
        }
    });
    // Never begun and ended at once, it has no outcome.
    outcome.set(panic::catch_unwind(run).transpose());
}
