//! Values that a greenlet shares with those it spawns: `tree_local!`.
//!
//! ```text
//!   greenlet A    head --> [USER] --> [TRACE] --> end
//!                                        ^
//!   greenlet B    head ------------------+         spawned by A before A had USER
//!   greenlet C    head --> [JOB] --------+         likewise; then it made a JOB of its own
//! ```
//!
//! A list that only grows at its head, so a spawn shares all of it by one count, and copies
//! nothing. Its length is at most the number of keys.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::hub::with_hub;

/// Declares values that a greenlet shares with those it spawns, and these with theirs.
///
/// A tree begins with whoever uses a key first: those that it spawns afterwards see the same
/// value, down all generations; those spawned before do not. Whatever the root spawns begins a
/// tree of its own, and so does what comes from another hub
/// ([`HubHandle::spawn`](crate::hub::HubHandle::spawn)) or from a link.
///
/// For what belongs to one piece of work, whoever does parts of it: the id of a request, its
/// user, its log.
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// greenroom::tree_local! {
///     static REQUEST: Cell<u32> = Cell::new(0);
/// }
/// let serve = |id| greenroom::spawn(move || {
///     REQUEST.with(|request| request.set(id));
///     let helper = greenroom::spawn(|| REQUEST.with(Cell::get));
///     helper.join().unwrap()
/// });
/// let requests = [serve(7), serve(8)];
/// let seen: Vec<u32> = greenroom::joinall(requests).into_iter().flatten().collect();
/// assert_eq!(seen, [7, 8]);
/// ```
///
/// A greenlet of a patched program (feature `monkey`) may own its thread-locals. What may refer to
/// those of its maker, and so is not `Send`, does not go down the tree:
/// ```compile_fail,E0277
/// greenroom::tree_local! {
///     static SHARED: std::rc::Rc<str> = "one".into();
/// }
/// ```
#[macro_export]
macro_rules! tree_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::tree_local!($(#[$attr])* $vis static $name: $t = $init);
        $crate::tree_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        $(#[$attr])*
        $vis static $name: $crate::TreeKey<$t> = {
            fn init() -> $t {
                $init
            }
            $crate::TreeKey::new(init)
        };
    };
}

/// Names a value that a tree of greenlets shares; made by [`tree_local!`].
pub struct TreeKey<T: 'static> {
    init: fn() -> T,
}

struct Node {
    /// The address of the key.
    key: usize,
    value: Rc<dyn Any>,
    next: Option<Rc<Node>>,
}

thread_local! {
    /// The list of whoever is not a greenlet: a root, or a thread without a hub.
    static NATIVE: Cell<Option<Rc<dyn Any>>> = const { Cell::new(None) };
}

impl<T: Send + 'static> TreeKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> TreeKey<T> {
        TreeKey { init }
    }

    /// Calls `f` with this tree's value, making it if this is the first use. It is dropped when
    /// the last of those that share it has ended.
    ///
    /// # Examples
    /// See [`tree_local!`].
    ///
    /// # Panics
    /// When the initialiser panics, and, outside of greenlets, while the OS thread ends.
    ///
    /// # Parks
    /// As the initialiser and `f` do.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let value = match self.find() {
            Some(value) => value,
            None => self.make(),
        };
        f(&value)
    }

    fn address(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn find(&'static self) -> Option<Rc<T>> {
        let mut next = head();
        while let Some(node) = next {
            if node.key == self.address() {
                let value = Rc::clone(&node.value).downcast();
                return Some(value.expect("a key's address names one type"));
            }
            next = node.next.clone();
        }
        None
    }

    fn make(&'static self) -> Rc<T> {
        // May park, and may itself use other keys, so the list is looked at afterwards.
        let value = Rc::new((self.init)());
        let node = Node {
            key: self.address(),
            value: Rc::clone(&value) as _,
            next: head(),
        };
        on_list(|list| list.set(Some(Rc::new(node))));
        value
    }
}

fn head() -> Option<Rc<Node>> {
    let head = on_list(|list| {
        let head = list.take();
        list.set(head.clone());
        head
    })?;
    Some(head.downcast().expect("only this file stores here"))
}

/// Calls `f` with the list of whoever runs.
fn on_list<R>(f: impl FnOnce(&Cell<Option<Rc<dyn Any>>>) -> R) -> R {
    with_hub(|hub| match hub.and_then(|hub| hub.running_greenlet()) {
        Some(task) => f(&task.get().local().tree),
        None => NATIVE.with(f),
    })
}

impl<T> fmt::Debug for TreeKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeKey").finish_non_exhaustive()
    }
}
