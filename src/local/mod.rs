//! Greenlet-local storage: `green_local!`, and `tree_local!` for what is inherited.
//!
//! Values live in a table that the task owns, or, outside of greenlets, in a thread-local one;
//! they are made when first used and dropped on the greenlet's own stack when it ends.

mod tree;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::thread::AccessError;

use crate::hub::task::Local;
use crate::hub::with_hub;

pub use tree::TreeKey;

/// Declares greenlet-local values, as `thread_local!` does for threads.
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// greenroom::green_local! {
///     static VISITS: Cell<u32> = Cell::new(0);
/// }
/// VISITS.set(5);
/// let theirs = greenroom::spawn(|| VISITS.get()).join().unwrap();
/// assert_eq!((theirs, VISITS.get()), (0, 5));
/// ```
#[macro_export]
macro_rules! green_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::green_local!($(#[$attr])* $vis static $name: $t = $init);
        $crate::green_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        $(#[$attr])*
        $vis static $name: $crate::LocalKey<$t> = {
            fn init() -> $t {
                $init
            }
            $crate::LocalKey::new(init)
        };
    };
}

/// Names a value of which each greenlet has its own; made by [`green_local!`].
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// A task's values: the address of their key, and the value.
type Table = Vec<(usize, Rc<dyn Any>)>;

thread_local! {
    /// The values of whoever is not a greenlet: a root, or a thread without a hub.
    static NATIVE: RefCell<Table> = const { RefCell::new(Vec::new()) };
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey { init }
    }

    /// Calls `f` with this greenlet's value, making it if this is the first use.
    ///
    /// # Panics
    /// When the initialiser panics, and, outside of greenlets, while the OS thread ends.
    ///
    /// # Parks
    /// As the initialiser and `f` do.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let done = self.try_with(f);
        done.expect("outside of greenlets it is gone at the end of the OS thread")
    }

    /// As [`with`](LocalKey::with); for code that was written for std's, where it can fail.
    ///
    /// # Errors
    /// In greenlets never: their values last until they have ended. Outside of them while the OS
    /// thread ends, as std's.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = match self.find()? {
            Some(value) => value,
            None => self.make()?,
        };
        Ok(f(&value))
    }

    fn address(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn find(&'static self) -> Result<Option<Rc<T>>, AccessError> {
        let value = on_table(|table| {
            let mut entries = table.iter();
            let entry = entries.find(|(address, _)| *address == self.address());
            entry.map(|(_, value)| Rc::clone(value))
        })?;
        let of_its_type = |value: Rc<dyn Any>| value.downcast().ok();
        Ok(value.map(|value| of_its_type(value).expect("a key's address names one type")))
    }

    fn make(&'static self) -> Result<Rc<T>, AccessError> {
        // May park, and may itself use other keys, so the table is not held meanwhile.
        let value = Rc::new((self.init)());
        let entry: (usize, Rc<dyn Any>) = (self.address(), Rc::clone(&value) as _);
        on_table(|table| table.push(entry))?;
        Ok(value)
    }
}

/// As std's `LocalKey<Cell<T>>`.
impl<T: 'static> LocalKey<Cell<T>> {
    /// Replaces the value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// A copy of the value.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// The value, with the default left in its place.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// The value, with another left in its place.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

/// As std's `LocalKey<RefCell<T>>`. What is borrowed must not be borrowed again meanwhile, also
/// not by code that runs because `f` parks; only this greenlet's own can.
impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the value borrowed.
    ///
    /// # Panics
    /// When it is mutably borrowed.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the value mutably borrowed.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Replaces the value.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn set(&'static self, value: T) {
        self.replace(value);
    }

    /// The value, with the default left in its place.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// The value, with another left in its place.
    ///
    /// # Panics
    /// When it is borrowed.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

/// How many values a greenlet has of its own.
pub(crate) fn count(local: &Local) -> usize {
    let locals = local.locals.borrow();
    let table = locals.as_ref().and_then(|any| any.downcast_ref::<Table>());
    table.map_or(0, Vec::len)
}

/// Calls `f` with the table of whoever runs.
fn on_table<R>(f: impl FnOnce(&mut Table) -> R) -> Result<R, AccessError> {
    with_hub(|hub| {
        let green = hub.and_then(|hub| hub.running_greenlet());
        let Some(task) = green else {
            return NATIVE.try_with(|table| f(&mut table.borrow_mut()));
        };
        let mut storage = task.get().local().locals.borrow_mut();
        let table = storage.get_or_insert_with(|| Box::new(Table::new()));
        Ok(f(table.downcast_mut().expect("only this room stores here")))
    })
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
