//! What a greenlet has under the keys of `green_local!` and `tree_local!`, and its end.
//!
//! ```text
//!   values   [A: value] [B: destroyed] [C: value]      in the order of their making
//!   tree     head --> [D: value] --> end               shared with greenlets it has spawned
//!
//!   destroy_one():  C, then A, then the share of the tree, then what destructors have made
//!   close():        from here on there is nothing under any key, for good
//! ```
//!
//! As in std, a key is gone from the moment its value begins to be destroyed. So none is destroyed
//! twice, and there comes a moment when nothing is left to destroy.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// In place of the address of a key: the value is not found any more.
const NO_KEY: usize = 0;

/// A value, by the address of its key; `None` once it is being destroyed.
type Entry = (usize, Option<Rc<dyn Any>>);

/// The key has no value any more, and gets no new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// One key of `tree_local!` with its value, and the keys made before it.
pub(crate) struct Node {
    key: usize,
    value: Rc<dyn Any>,
    next: Option<Rc<Node>>,
}

/// See the head of this file.
pub(crate) struct Storage {
    closed: Cell<bool>,
    #[allow(
        clippy::box_collection,
        reason = "every task has the place for it, few use it"
    )]
    values: RefCell<Option<Box<Vec<Entry>>>>,
    tree: Cell<Option<Rc<Node>>>,
}

impl Storage {
    pub(crate) const fn new() -> Storage {
        Storage {
            closed: Cell::new(false),
            values: RefCell::new(None),
            tree: Cell::new(None),
        }
    }

    /// What `key` of `green_local!` names.
    pub(crate) fn find(&self, key: usize) -> Result<Option<Rc<dyn Any>>, Gone> {
        let values = self.values.borrow();
        let mut entries = values.iter().flat_map(|values| values.iter());
        match entries.find(|(other, _)| *other == key) {
            Some((_, Some(value))) => Ok(Some(Rc::clone(value))),
            Some((_, None)) => Err(Gone),
            // What is closed has no entries.
            None if self.closed.get() => Err(Gone),
            None => Ok(None),
        }
    }

    /// Has `key` of `green_local!` name `value`.
    pub(crate) fn insert(&self, key: usize, value: Rc<dyn Any>) -> Result<(), Gone> {
        // The initialiser has run since the key was looked for, and may have parked.
        self.find(key)?;
        let mut values = self.values.borrow_mut();
        values.get_or_insert_default().push((key, Some(value)));
        Ok(())
    }

    /// What `key` of `tree_local!` names.
    pub(crate) fn find_in_tree(&self, key: usize) -> Result<Option<Rc<dyn Any>>, Gone> {
        let mut next = self.tree();
        while let Some(node) = next {
            if node.key == key {
                return Ok(Some(Rc::clone(&node.value)));
            }
            next = node.next.clone();
        }
        // A key of the tree is among the others once its value is gone.
        self.find(key)
    }

    /// Has `key` of `tree_local!` name `value`, also in the greenlets spawned from now on.
    pub(crate) fn insert_into_tree(&self, key: usize, value: Rc<dyn Any>) -> Result<(), Gone> {
        self.find(key)?;
        let next = self.tree.take();
        self.tree.set(Some(Rc::new(Node { key, value, next })));
        Ok(())
    }

    /// The list that a greenlet spawned now begins with.
    pub(crate) fn tree(&self) -> Option<Rc<Node>> {
        let tree = self.tree.take();
        self.tree.set(tree.clone());
        tree
    }

    pub(crate) fn inherit(&self, tree: Option<Rc<Node>>) {
        self.tree.set(tree);
    }

    /// How many values of `green_local!` there are.
    pub(crate) fn len(&self) -> usize {
        let values = self.values.borrow();
        let entries = values.iter().flat_map(|values| values.iter());
        entries.filter(|(_, value)| value.is_some()).count()
    }

    /// Takes out a value to be destroyed: that of `green_local!` made last, or else the share of
    /// the tree. Its key is gone from now on.
    #[inline]
    pub(crate) fn destroy_one(&self) -> Option<Rc<dyn Any>> {
        self.is_used().then(|| self.destroy_one_of_some())?
    }

    #[inline]
    fn is_used(&self) -> bool {
        let tree = self.tree.take();
        let has_tree = tree.is_some();
        self.tree.set(tree);
        has_tree || self.values.borrow().is_some()
    }

    #[cold]
    fn destroy_one_of_some(&self) -> Option<Rc<dyn Any>> {
        self.destroy_last().or_else(|| {
            self.leave_tree();
            self.destroy_last()
        })
    }

    fn destroy_last(&self) -> Option<Rc<dyn Any>> {
        let mut values = self.values.borrow_mut();
        let mut entries = values.iter_mut().flat_map(|values| values.iter_mut().rev());
        entries.find_map(|(_, value)| value.take())
    }

    /// Leaves the tree. Its keys are gone; what nobody else shares is to be destroyed, value by
    /// value: each destructor may panic.
    fn leave_tree(&self) {
        let tree = self.tree.take();
        let mut values = self.values.borrow_mut();
        let mut next = &tree;
        while let Some(node) = next {
            values.get_or_insert_default().push((node.key, None));
            next = &node.next;
        }
        let mut own = Vec::new();
        let mut next = tree;
        while let Some(node) = next.and_then(Rc::into_inner) {
            own.push((NO_KEY, Some(node.value)));
            next = node.next;
        }
        if !own.is_empty() {
            values.get_or_insert_default().extend(own.into_iter().rev());
        }
    }

    /// From now on there is nothing here, for good; to be called when nothing is left to destroy.
    #[inline]
    pub(crate) fn close(&self) {
        debug_assert!(self.tree().is_none() && self.len() == 0, "all is destroyed");
        self.closed.set(true);
        drop(self.values.take());
    }
}
