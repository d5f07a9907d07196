//! Switching by hand, from any one to any other: greenlet's `switch`.
//!
//! A [`Fiber`] runs only when somebody switches to it, and until it switches to another, with a
//! value that becomes the result of the switch that the other stands in. None of them is the
//! scheduler; the *main* one is the code of the greenlet outside of all its fibers.
//!
//! ```text
//!   main ---- gr1.switch() ---->  gr1 ---- gr2.switch() ---->  gr2
//!                                 gr1 <--- gr1.switch() -----
//!                                     ---- gr2.switch() ---->
//!   main <---------- gr2 ends: its parent gets the result ---
//! ```
//!
//! The fibers of a greenlet are its own: to the hub they are that greenlet, which parks and is
//! killed as a whole, and no other can switch to them. Those that carry different types `T` don't
//! know each other.
//!
//! | Python | here |
//! |---|---|
//! | `greenlet(run)` | [`Fiber::new`], or [`Fiber::unset`] and later [`Fiber::set_run`] |
//! | `g.switch(value)` | [`Fiber::switch`] |
//! | `g.throw()`, `g.throw(error)` | [`Fiber::exit`], [`Fiber::throw`] |
//! | `g.parent` | [`Fiber::parent`], [`Fiber::set_parent`] |
//! | `g.dead`, `bool(g)` | [`Fiber::is_dead`], [`Fiber::is_active`] |
//! | `getcurrent()` | [`current`] |
//! | `settrace` | [`hub::subscribe`](crate::hub::subscribe): `Event::Transferred` |
//!
//! # Examples
//! ```
//! use greenroom::fiber::Fiber;
//!
//! let (test1, test2) = (Fiber::unset(), Fiber::unset());
//! let (one, two) = (test1.clone(), test2.clone());
//! test1.set_run(move |seen: Vec<u32>| {
//!     let seen = two.switch([seen, vec![12]].concat()).unwrap();
//!     two.switch([seen, vec![34]].concat()).unwrap()
//! })?;
//! test2.set_run(move |seen| {
//!     let seen = one.switch([seen, vec![56]].concat()).unwrap();
//!     [seen, vec![78]].concat()
//! })?;
//! assert_eq!(test1.switch(vec![])?, [12, 56, 34, 78]);
//! # Ok::<(), greenroom::fiber::FiberError>(())
//! ```

mod error;
mod family;
mod node;

use std::any::Any;
use std::fmt;
use std::rc::{Rc, Weak};

pub use crate::hub::CoroutineId;
pub use error::FiberError;

use family::{Family, family};
use node::{Message, Node};

/// A coroutine that is switched to by hand; see the [module](self). A clone is the same one.
///
/// When the last handle of one that stands in a switch is dropped, it unwinds from there, as if by
/// [`exit`](Fiber::exit), in whoever drops it. Where it can't unwind (below a
/// [`foreign`](crate::foreign) call, in a build with `panic = "abort"`) its stack is leaked, with
/// a line in the log. Two that own handles of each other are leaked as well: see
/// [`downgrade`](Fiber::downgrade).
///
/// # Examples
/// ```
/// use greenroom::fiber::{Fiber, current};
/// let main = current();
/// let adder = Fiber::new(move |first: i32| {
///     let mut sum = first;
///     loop {
///         sum += main.switch(sum).unwrap();
///     }
/// });
/// assert_eq!(adder.switch(1)?, 1);
/// assert_eq!(adder.switch(2)?, 3);
/// assert_eq!(adder.switch(3)?, 6);
/// # Ok::<(), greenroom::fiber::FiberError>(())
/// ```
///
/// It does not leave its thread:
/// ```compile_fail,E0277
/// let fiber = greenroom::fiber::Fiber::new(|n: u32| n);
/// std::thread::spawn(move || fiber.switch(1));
/// ```
#[doc(alias("greenlet.switch", "coroutine", "symmetric coroutine"))]
pub struct Fiber<T: 'static> {
    node: Rc<Node<T>>,
    family: Rc<Family<T>>,
}

/// The fiber that runs now; outside of all, the main one of this greenlet.
///
/// # Examples
/// ```
/// use greenroom::fiber::{Fiber, current};
/// assert!(current::<()>().parent().is_none(), "the main one has no parent");
/// let fiber = Fiber::new(|()| assert!(current::<()>().parent().is_some()));
/// fiber.switch(())?;
/// # Ok::<(), greenroom::fiber::FiberError>(())
/// ```
pub fn current<T: 'static>() -> Fiber<T> {
    let family = family::<T>();
    Fiber {
        node: family.current(),
        family,
    }
}

impl<T: 'static> Fiber<T> {
    /// A fiber that is to run `run` with the value that is switched to it first. Its parent is
    /// the [`current`] one.
    ///
    /// # Parks
    /// Never.
    pub fn new(run: impl FnOnce(T) -> T + 'static) -> Fiber<T> {
        let fiber = Fiber::unset();
        fiber.node.set_run(Box::new(run));
        fiber
    }

    /// A fiber without anything to run yet: for those that need each other's handles.
    ///
    /// # Examples
    /// See the [module](self).
    pub fn unset() -> Fiber<T> {
        let parent = current();
        Fiber {
            node: Rc::new(Node::new(Some(Rc::clone(&parent.node)))),
            family: parent.family,
        }
    }

    /// Says what it is to run, instead of what was said before.
    ///
    /// # Errors
    /// [`FiberError::Started`] when it has begun.
    pub fn set_run(&self, run: impl FnOnce(T) -> T + 'static) -> Result<(), FiberError> {
        if !self.node.is_new() {
            return Err(FiberError::Started);
        }
        self.node.set_run(Box::new(run));
        Ok(())
    }

    /// Says how large its stack is to be, in bytes, all of them usable.
    ///
    /// # Errors
    /// [`FiberError::Started`] when it has begun.
    pub fn set_stack_size(&self, bytes: usize) -> Result<(), FiberError> {
        if !self.node.is_new() {
            return Err(FiberError::Started);
        }
        self.node.set_stack_size(bytes);
        Ok(())
    }

    /// Switches to it with `value`, and returns what is switched to the caller next.
    ///
    /// A dead one's parent gets the value, or that one's parent. When a fiber ends, its parent
    /// gets what it has returned.
    ///
    /// # Errors
    /// See [`FiberError`]: the caller has not been left then, but for `Exited`.
    ///
    /// # Panics
    /// When a fiber panics of which the caller is the parent, with that panic.
    ///
    /// # Parks
    /// As those do that run until somebody switches back: a kill or a timeout of the greenlet
    /// unwinds the fiber that has parked, then its parent.
    pub fn switch(&self, value: T) -> Result<T, FiberError> {
        self.family.switch(&self.node, Message::Value(value))
    }

    /// Switches to it, to have it unwind from where it stands; its destructors run. One that has
    /// not begun never runs. Its parent, or that of one that is dead, finds
    /// [`FiberError::Exited`] in its switch.
    ///
    /// # Examples
    /// ```
    /// use greenroom::fiber::{Fiber, FiberError, current};
    /// let main = current();
    /// let fiber = Fiber::new(move |()| main.switch(()).unwrap());
    /// fiber.switch(())?;
    /// assert!(matches!(fiber.exit(), Err(FiberError::Exited)));
    /// assert!(fiber.is_dead());
    /// # Ok::<(), FiberError>(())
    /// ```
    ///
    /// # Errors
    /// As [`switch`](Fiber::switch).
    ///
    /// # Panics
    /// As `switch`.
    ///
    /// # Parks
    /// As `switch`.
    pub fn exit(&self) -> Result<T, FiberError> {
        self.family.switch(&self.node, Message::Exit)
    }

    /// Switches to it, to have it panic with `payload` where it stands. One that has not begun
    /// never runs: its parent panics, as does that of one that is dead.
    ///
    /// # Examples
    /// ```
    /// use greenroom::fiber::Fiber;
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    /// let fiber = Fiber::new(|()| ());
    /// let thrown = catch_unwind(AssertUnwindSafe(|| fiber.throw(Box::new("oh"))));
    /// assert_eq!(thrown.unwrap_err().downcast_ref::<&str>(), Some(&"oh"));
    /// ```
    ///
    /// # Errors
    /// As [`switch`](Fiber::switch).
    ///
    /// # Panics
    /// As `switch`.
    ///
    /// # Parks
    /// As `switch`.
    pub fn throw(&self, payload: Box<dyn Any + Send>) -> Result<T, FiberError> {
        self.family.switch(&self.node, Message::Panic(payload))
    }

    /// Whose switch gets its result; `None` for the main one.
    pub fn parent(&self) -> Option<Fiber<T>> {
        let node = self.node.parent()?;
        let family = Rc::clone(&self.family);
        Some(Fiber { node, family })
    }

    /// Makes `parent` the one whose switch gets its result.
    ///
    /// # Examples
    /// ```
    /// use greenroom::fiber::{Fiber, FiberError};
    /// let (a, b) = (Fiber::new(|n: u32| n + 1), Fiber::new(|n: u32| 10 * n));
    /// b.set_parent(&a)?;
    /// assert!(matches!(a.set_parent(&b), Err(FiberError::Cycle)));
    /// assert_eq!(b.switch(5)?, 51, "b, then a with its result, then main");
    /// # Ok::<(), FiberError>(())
    /// ```
    ///
    /// # Errors
    /// [`Cycle`](FiberError::Cycle) when it is, or descends from, this one;
    /// [`Main`](FiberError::Main) when this is the main one;
    /// [`OtherGreenlet`](FiberError::OtherGreenlet) when they belong to two.
    pub fn set_parent(&self, parent: &Fiber<T>) -> Result<(), FiberError> {
        if !Rc::ptr_eq(&self.family, &parent.family) {
            return Err(FiberError::OtherGreenlet);
        }
        self.node.set_parent(&parent.node)
    }

    /// Whether it has ended.
    pub fn is_dead(&self) -> bool {
        self.node.is_dead()
    }

    /// Whether it has begun and not ended. The main one always has.
    pub fn is_active(&self) -> bool {
        !self.node.is_new() && !self.node.is_dead()
    }

    /// Whether it is the [`current`] one of its greenlet.
    pub fn is_current(&self) -> bool {
        Rc::ptr_eq(&self.node, &self.family.current())
    }

    /// Its id, once it has begun: no other, and no generator, of this process has or had it. The
    /// main one has none.
    pub fn id(&self) -> Option<CoroutineId> {
        self.node.id()
    }

    /// A handle that does not keep it: for fibers that know each other.
    pub fn downgrade(&self) -> WeakFiber<T> {
        WeakFiber {
            node: Rc::downgrade(&self.node),
            family: Rc::downgrade(&self.family),
        }
    }
}

impl<T> Clone for Fiber<T> {
    fn clone(&self) -> Fiber<T> {
        Fiber {
            node: Rc::clone(&self.node),
            family: Rc::clone(&self.family),
        }
    }
}

/// Whether they are the same one.
impl<T> PartialEq for Fiber<T> {
    fn eq(&self, other: &Fiber<T>) -> bool {
        Rc::ptr_eq(&self.node, &other.node)
    }
}

impl<T> Eq for Fiber<T> {}

impl<T> fmt::Debug for Fiber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiber")
            .field("id", &self.id())
            .field("is_active", &self.is_active())
            .field("is_dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}

/// Names a fiber without keeping it; made by [`Fiber::downgrade`].
///
/// # Examples
/// ```
/// use greenroom::fiber::Fiber;
/// let fiber = Fiber::new(|n: u32| n);
/// let weak = fiber.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(fiber);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct WeakFiber<T: 'static> {
    node: Weak<Node<T>>,
    family: Weak<Family<T>>,
}

impl<T> WeakFiber<T> {
    /// The fiber, if it is still there.
    pub fn upgrade(&self) -> Option<Fiber<T>> {
        let (node, family) = (self.node.upgrade()?, self.family.upgrade()?);
        Some(Fiber { node, family })
    }
}

impl<T> Clone for WeakFiber<T> {
    fn clone(&self) -> WeakFiber<T> {
        WeakFiber {
            node: Weak::clone(&self.node),
            family: Weak::clone(&self.family),
        }
    }
}

impl<T> fmt::Debug for WeakFiber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakFiber").finish_non_exhaustive()
    }
}
