//! Why a switch did not happen, or brought no value.

use std::fmt;
use std::io;

use crate::generator::nested::Misplaced;

/// What goes wrong when fibers are switched by hand.
///
/// # Examples
/// ```
/// use greenroom::fiber::{Fiber, FiberError};
/// let empty = Fiber::<()>::unset();
/// assert!(matches!(empty.switch(()), Err(FiberError::Unset)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FiberError {
    /// The fiber belongs to another greenlet.
    OtherGreenlet,
    /// The caller does not stand on its fiber's own stack: it is the body of a generator, a fiber
    /// of another type, the root of a [`run`](crate::run()), or a destructor of a fiber that ends.
    Elsewhere,
    /// The caller is inside of a [`with_timeout`](crate::with_timeout) or a
    /// [`shield`](crate::shield) that began in its fiber: it would go on in the others.
    Limited,
    /// The caller is a destructor that runs because its fiber unwinds.
    Unwinding,
    /// The fiber has nothing to run: see [`Fiber::set_run`](super::Fiber::set_run).
    Unset,
    /// The fiber has begun already.
    Started,
    /// There is no stack for the fiber, because of this. It may be switched to again.
    NoStack(io::Error),
    /// Instead of a value: a fiber whose parent this is has been ended by
    /// [`Fiber::exit`](super::Fiber::exit).
    Exited,
    /// The new parent descends from the fiber.
    Cycle,
    /// The main fiber has no parent.
    Main,
}

impl fmt::Display for FiberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            FiberError::OtherGreenlet => "the fiber belongs to another greenlet",
            FiberError::Elsewhere => "a fiber can be left from its own stack only",
            FiberError::Limited => "a with_timeout or a shield of this fiber would go on in others",
            FiberError::Unwinding => "the fiber unwinds: its destructors can't switch",
            FiberError::Unset => "the fiber has nothing to run",
            FiberError::Started => "the fiber has begun already",
            FiberError::NoStack(error) => return write!(f, "no stack for a fiber: {error}"),
            FiberError::Exited => "the fiber that was to switch back has been ended",
            FiberError::Cycle => "the new parent descends from the fiber",
            FiberError::Main => "the main fiber has no parent",
        };
        f.write_str(what)
    }
}

impl std::error::Error for FiberError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FiberError::NoStack(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Misplaced> for FiberError {
    fn from(misplaced: Misplaced) -> FiberError {
        match misplaced {
            Misplaced::Elsewhere => FiberError::Elsewhere,
            Misplaced::Limited => FiberError::Limited,
        }
    }
}
