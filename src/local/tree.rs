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

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use super::{AccessError, ONE_TYPE, insert, on_storage};

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
#[doc(alias("task_local", "contextvars", "inherit"))]
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
    /// Invariant: a value is found again only under the type that it was made as.
    _invariant: PhantomData<fn(T) -> T>,
}

impl<T: Send + 'static> TreeKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> TreeKey<T> {
        TreeKey {
            init,
            _invariant: PhantomData,
        }
    }

    /// Calls `f` with this tree's value, making it if this is the first use. It is dropped when
    /// the last of those that share it has ended.
    ///
    /// # Examples
    /// See [`tree_local!`].
    ///
    /// # Panics
    /// When the initialiser panics, and in a destructor at the end of the greenlet, when that has
    /// left the tree.
    ///
    /// # Parks
    /// As the initialiser and `f` do.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let done = self.try_with(f);
        done.expect("a tree_local! value is not used when its greenlet has left the tree")
    }

    /// As [`with`](TreeKey::with), with an error in place of the second panic.
    ///
    /// # Examples
    /// ```
    /// struct Job;
    /// impl Drop for Job {
    ///     fn drop(&mut self) {
    ///         assert!(JOB.try_with(|_| ()).is_err());
    ///     }
    /// }
    /// greenroom::tree_local! {
    ///     static JOB: Job = Job;
    /// }
    /// greenroom::spawn(|| JOB.with(|_| ())).join().unwrap();
    /// ```
    ///
    /// # Errors
    /// [`AccessError`] in a destructor at the end of the greenlet, or outside of greenlets of the
    /// OS thread, when that has left the tree of this key's value.
    ///
    /// # Panics
    /// When the initialiser panics.
    ///
    /// # Parks
    /// As `with`.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let value = match on_storage(|storage| storage.find_in_tree(key))? {
            Some(value) => value.downcast().expect(ONE_TYPE),
            None => {
                // May park, and may itself use other keys, so the list is looked at afterwards.
                let value = Rc::new((self.init)());
                insert(Rc::clone(&value) as _, |storage, value| {
                    storage.insert_into_tree(key, value)
                })?;
                value
            }
        };
        Ok(f(&value))
    }
}

impl<T> fmt::Debug for TreeKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeKey").finish_non_exhaustive()
    }
}
