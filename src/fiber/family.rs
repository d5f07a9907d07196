//! The fibers of one greenlet that carry one type, and the switching among them.
//!
//! ```text
//!   main's stack                      a's stack          b's stack
//!   a.switch(): run
//!     resume a  ------------------->  b.switch():
//!     <---------------- "to b" -----    leave
//!     resume b  --------------------------------------->  main.switch():
//!     <---------------- "to main" -----------------------    leave
//!   the switch returns
//! ```
//!
//! To the one who switches it looks as if it went straight from one to the other. `run` stands on
//! main's stack, so none of them stands on another's, in whatever order they switch.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::FiberError;
use super::node::{Message, Node, is_dying};
use crate::hub::nested::{innermost, tell_transferred};

pub(super) struct Family<T: 'static> {
    main: Rc<Node<T>>,
    current: RefCell<Rc<Node<T>>>,
    /// What who has left wants: who is to run next, and with what.
    wanted: Cell<Option<Transfer<T>>>,
}

struct Transfer<T: 'static> {
    target: Rc<Node<T>>,
    message: Message<T>,
}

crate::green_local! {
    /// One for each type that is carried.
    static FAMILIES: RefCell<Vec<(TypeId, Rc<dyn Any>)>> = RefCell::default();
}

/// The family of whoever runs.
pub(super) fn family<T: 'static>() -> Rc<Family<T>> {
    let id = TypeId::of::<T>();
    FAMILIES.with(|families| {
        let mut families = families.borrow_mut();
        let known = families.iter().find(|(other, _)| *other == id);
        if let Some((_, family)) = known {
            let family = Rc::clone(family).downcast();
            return family.expect("it is found by its type");
        }
        let main = Rc::new(Node::new(None));
        let family = Rc::new(Family {
            current: RefCell::new(Rc::clone(&main)),
            main,
            wanted: Cell::new(None),
        });
        families.push((id, Rc::clone(&family) as _));
        family
    })
}

impl<T: 'static> Family<T> {
    pub(super) fn current(&self) -> Rc<Node<T>> {
        Rc::clone(&self.current.borrow())
    }

    /// Goes to `target`, or its nearest living ancestor; comes back with what is sent here.
    pub(super) fn switch(
        self: &Rc<Self>,
        target: &Rc<Node<T>>,
        message: Message<T>,
    ) -> Result<T, FiberError> {
        // First: at the end of an OS thread there is no family any more.
        if is_dying() {
            return Err(FiberError::Unwinding);
        }
        if !Rc::ptr_eq(self, &family::<T>()) {
            return Err(FiberError::OtherGreenlet);
        }
        let me = self.current();
        let control = me.control().cloned();
        if let Some(control) = &control {
            control.may_leave()?;
            if control.unwinds() {
                return Err(FiberError::Unwinding);
            }
        }
        let transfer = Transfer::new(target, message);
        if matches!(transfer.message, Message::Value(_)) {
            transfer.target.begin()?;
        }
        if Rc::ptr_eq(&transfer.target, &me) {
            return me.accept(transfer.message);
        }
        // Who stands in a switch is kept by its handles, not by this.
        drop(me);
        let message = match control {
            Some(control) => {
                self.wanted.set(Some(transfer));
                control.leave()?;
                self.current().receive()
            }
            None => self.run(transfer),
        };
        self.current().accept(message)
    }

    /// On main's stack: one after the other, until somebody switches to main.
    fn run(&self, first: Transfer<T>) -> Message<T> {
        let main = innermost();
        let mut from = main;
        let mut next = first;
        loop {
            let thrown = !matches!(next.message, Message::Value(_));
            let Transfer { target, message } = next;
            let to = target.id().or(main);
            tell_transferred(from, to, thrown);
            let Transfer { target, message } = match target.is_dead() {
                // A subscriber has switched as well.
                true => Transfer::new(&target, message),
                false => Transfer { target, message },
            };
            if Rc::ptr_eq(&target, &self.main) {
                return message;
            }
            from = to;
            next = self.visit(target, message);
        }
    }

    /// Has `target`, which lives and is not main, find `message`; returns what is to come next.
    fn visit(&self, target: Rc<Node<T>>, message: Message<T>) -> Transfer<T> {
        if target.is_new() {
            let begun = match message {
                Message::Value(value) => target.begin().map(|()| value).map_err(Message::Failed),
                Message::Exit => Err(Message::Failed(FiberError::Exited)),
                other => Err(other),
            };
            return match begun {
                Ok(value) => self.resume(target, Message::Value(value)),
                Err(instead) => {
                    target.end_unbegun();
                    Transfer::new(&target, instead)
                }
            };
        }
        self.resume(target, message)
    }

    fn resume(&self, target: Rc<Node<T>>, message: Message<T>) -> Transfer<T> {
        drop(self.current.replace(Rc::clone(&target)));
        let ended = target.resume(message);
        drop(self.current.replace(Rc::clone(&self.main)));
        target.tell_if_stuck();
        match ended {
            Some(last) => Transfer::new(&target, last),
            None => self.wanted.take().expect("who leaves says for whom"),
        }
    }
}

impl<T: 'static> Transfer<T> {
    /// To `target`, or to who stands for it if it is dead.
    fn new(target: &Rc<Node<T>>, message: Message<T>) -> Transfer<T> {
        let message = match message {
            // The dead can't end once more; it is told to who hears of them.
            Message::Exit if target.is_dead() => Message::Failed(FiberError::Exited),
            message => message,
        };
        let target = target.living();
        Transfer { target, message }
    }
}
