//! One fiber: its state, its parent, its stack.
//!
//! ```text
//!          first switch                ends
//!   New ----------------> Active -----------------> Dead
//!    |                       ^  its stack is with it, or while it runs with its family
//!    '------ exit, throw ----------------------------^
//! ```

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::FiberError;
use crate::cancel;
use crate::generator::nested::{Control, Nested};
use crate::hub::CoroutineId;
use crate::hub::nested::innermost;
use crate::sys::ending;
use crate::sys::report::{self, report};

pub(super) type Run<T> = Box<dyn FnOnce(T) -> T>;

/// What a fiber finds when it is switched to.
pub(super) enum Message<T> {
    Value(T),
    /// Unwind from where you stand.
    Exit,
    Panic(Box<dyn Any + Send>),
    /// Instead of a value.
    Failed(FiberError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Active,
    Dead,
}

/// What a fiber and its body share.
struct Mail<T> {
    inbox: Cell<Option<Message<T>>>,
    /// What it leaves behind.
    last: Cell<Option<Message<T>>>,
}

pub(super) struct Node<T: 'static> {
    state: Cell<State>,
    run: Cell<Option<Run<T>>>,
    stack_size: Cell<Option<usize>>,
    /// `None` while it runs, and before and after.
    nested: Cell<Option<Nested>>,
    control: OnceCell<Rc<Control>>,
    /// It unwinds because it was told to exit.
    exits: Cell<bool>,
    mail: Rc<Mail<T>>,
    parent: RefCell<Option<Rc<Node<T>>>>,
}

impl<T: 'static> Node<T> {
    pub(super) fn new(parent: Option<Rc<Node<T>>>) -> Node<T> {
        Node {
            // The main one, which has no parent, has always begun.
            state: Cell::new(match parent {
                Some(_) => State::New,
                None => State::Active,
            }),
            run: Cell::new(None),
            stack_size: Cell::new(None),
            nested: Cell::new(None),
            control: OnceCell::new(),
            exits: Cell::new(false),
            mail: Rc::new(Mail {
                inbox: Cell::new(None),
                last: Cell::new(None),
            }),
            parent: RefCell::new(parent),
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.state.get() == State::New
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.get() == State::Dead
    }

    /// Tells of a fiber that could not be unwound. To be called when the family is in order.
    pub(super) fn tell_if_stuck(&self) {
        if let Some(control) = self.control().filter(|control| control.is_stuck()) {
            tell_of_leak(control.id());
        }
    }

    pub(super) fn id(&self) -> Option<CoroutineId> {
        self.control.get().map(|control| control.id())
    }

    pub(super) fn control(&self) -> Option<&Rc<Control>> {
        self.control.get()
    }

    pub(super) fn set_run(&self, run: Run<T>) {
        self.run.set(Some(run));
    }

    pub(super) fn set_stack_size(&self, bytes: usize) {
        self.stack_size.set(Some(bytes));
    }

    pub(super) fn parent(&self) -> Option<Rc<Node<T>>> {
        self.parent.borrow().clone()
    }

    pub(super) fn set_parent(&self, parent: &Rc<Node<T>>) -> Result<(), FiberError> {
        if self.parent.borrow().is_none() {
            return Err(FiberError::Main);
        }
        let mut next = Some(Rc::clone(parent));
        while let Some(ancestor) = next {
            if std::ptr::eq(&*ancestor, self) {
                return Err(FiberError::Cycle);
            }
            next = ancestor.parent();
        }
        let former = self.parent.replace(Some(Rc::clone(parent)));
        // May be the last of it, and run destructors.
        drop(former);
        Ok(())
    }

    /// This one if it lives, or else the nearest ancestor that does. The main one always does.
    pub(super) fn living(self: &Rc<Node<T>>) -> Rc<Node<T>> {
        let mut node = Rc::clone(self);
        while node.is_dead() {
            node = node.parent().expect("the main fiber is never dead");
        }
        node
    }

    /// Gives it a stack, if it has not begun.
    pub(super) fn begin(&self) -> Result<(), FiberError> {
        if !self.is_new() {
            return Ok(());
        }
        let run = self.run.take().ok_or(FiberError::Unset)?;
        // Kept for another attempt where there is no stack now.
        let run = Rc::new(Cell::new(Some(run)));
        match begin(self.stack_size.get(), &run, &self.mail) {
            Ok(nested) => {
                self.control.get_or_init(|| Rc::clone(nested.control()));
                self.nested.set(Some(nested));
                self.state.set(State::Active);
                Ok(())
            }
            Err(error) => {
                self.run.set(run.take());
                Err(FiberError::NoStack(error))
            }
        }
    }

    /// Runs it with `message` until it leaves: `None`; or ends: what its parent is to get.
    pub(super) fn resume(&self, message: Message<T>) -> Option<Message<T>> {
        let mut nested = self.nested.take().expect("who is active and does not run");
        self.mail.inbox.set(Some(message));
        let ended = nested.resume();
        if ended {
            self.state.set(State::Dead);
            let last = self.mail.last.take();
            return Some(
                last.expect("who ends leaves something")
                    .after(self.exits.get()),
            );
        }
        if nested.control().is_stuck() {
            // Left where it is for good, with its stack.
            self.state.set(State::Dead);
            return Some(Message::Failed(FiberError::Exited));
        }
        self.nested.set(Some(nested));
        None
    }

    /// Ends one that has not begun: it never runs.
    pub(super) fn end_unbegun(&self) {
        self.state.set(State::Dead);
        // Dropped here, in the fiber that switches.
        drop(self.run.take());
    }

    /// What was switched to it, when it runs again.
    pub(super) fn receive(&self) -> Message<T> {
        let message = self.mail.inbox.take();
        message.expect("who is switched to gets a message")
    }

    /// What a switch returns, or does instead, in the fiber that has called it.
    pub(super) fn accept(&self, message: Message<T>) -> Result<T, FiberError> {
        match message {
            Message::Value(value) => Ok(value),
            Message::Failed(error) => Err(error),
            Message::Panic(payload) => panic::resume_unwind(payload),
            Message::Exit if self.control().is_some() && cancel::caller_may_unwind() => {
                self.exits.set(true);
                cancel::unwind()
            }
            // The main one can't end so.
            Message::Exit => Err(FiberError::Exited),
        }
    }
}

impl<T> Message<T> {
    /// What becomes of it when the fiber was told to exit: that is told, and not unwound further.
    fn after(self, exits: bool) -> Message<T> {
        match self {
            Message::Panic(payload) if exits && cancel::is_kill(&*payload) => {
                Message::Failed(FiberError::Exited)
            }
            other => other,
        }
    }
}

impl<T: 'static> Drop for Node<T> {
    fn drop(&mut self) {
        let Some(mut nested) = self.nested.take() else {
            return;
        };
        let control = Rc::clone(nested.control());
        let ended = while_dying(&control, || nested.end());
        if !ended {
            tell_of_leak(nested.control().id());
        }
        match self.mail.last.take() {
            Some(Message::Panic(payload)) if !cancel::is_cancellation(&*payload) => {
                report!(Error, "greenroom: a fiber panicked at its end");
                report::discard(payload);
            }
            other => drop(other),
        }
    }
}

thread_local! {
    /// Fibers that are being dropped: theirs is no fiber's stack any more.
    static DYING: RefCell<Vec<Rc<Control>>> = const { RefCell::new(Vec::new()) };
}

fn while_dying<R>(control: &Rc<Control>, f: impl FnOnce() -> R) -> R {
    // At the end of the thread there is nobody left to switch to.
    let _ = DYING.try_with(|dying| dying.borrow_mut().push(Rc::clone(control)));
    let result = f();
    let _ = DYING.try_with(|dying| {
        dying
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, control))
    });
    result
}

/// Whether this is a destructor of a fiber that is being dropped, or of a thread-local. Never
/// returns from too many calls by such a fiber: it has caught its unwind and goes on.
pub(super) fn is_dying() -> bool {
    if ending::has_begun() {
        return true;
    }
    let Some(id) = innermost() else { return false };
    let Ok(dying) = DYING.try_with(|dying| {
        let dying = dying.borrow();
        dying.iter().find(|control| control.id() == id).cloned()
    }) else {
        return true;
    };
    if let Some(control) = &dying {
        control.count_try();
    }
    dying.is_some()
}

fn tell_of_leak(fiber: CoroutineId) {
    report!(
        Error,
        "greenroom: fiber #{fiber} can't be unwound; its stack is leaked"
    );
}

fn begin<T: 'static>(
    stack_size: Option<usize>,
    run: &Rc<Cell<Option<Run<T>>>>,
    mail: &Rc<Mail<T>>,
) -> std::io::Result<Nested> {
    let (run, mail) = (Rc::clone(run), Rc::clone(mail));
    Nested::of_static(stack_size, move |control| {
        let run = run.take();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            let first = mail.inbox.take().filter(|_| !control.is_ending());
            match (run, first) {
                (Some(run), Some(Message::Value(value))) => Some(run(value)),
                (run, first) => {
                    drop((run, first));
                    None
                }
            }
        }));
        mail.last.set(match outcome {
            Ok(Some(value)) => Some(Message::Value(value)),
            Ok(None) => None,
            Err(payload) => Some(Message::Panic(payload)),
        });
    })
}
