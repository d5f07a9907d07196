//! Greenlet-local storage: `green_local!`, and `tree_local!` for what is inherited.
//!
//! Values live in a storage that the task owns, or, outside of greenlets, in a thread-local one;
//! they are made when first used and dropped on the greenlet's own stack when it ends.

mod tree;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::hub::storage::{Gone, Storage};
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
#[doc(alias("thread_local", "task_local", "contextvars"))]
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
    /// Invariant, as std's: a value is found again only under the type that it was made as.
    ///
    /// ```compile_fail,E0308
    /// type Short = greenroom::LocalKey<fn(&'static str)>;
    /// fn shorter(key: &'static greenroom::LocalKey<fn(&str)>) -> &'static Short {
    ///     key
    /// }
    /// ```
    _invariant: PhantomData<fn(T) -> T>,
}

thread_local! {
    /// The values of a root, or of a thread without a hub. Without a destructor of its own, so that
    /// it says that they are gone for as long as the thread runs.
    static NATIVE: ManuallyDrop<Storage> = const { ManuallyDrop::new(Storage::new()) };
    /// Its destructor is that of the values above.
    static NATIVE_ENDS: NativeEnds = const { NativeEnds };
}

struct NativeEnds;

impl Drop for NativeEnds {
    fn drop(&mut self) {
        NATIVE.with(|storage| {
            while let Some(value) = storage.destroy_one() {
                drop(value);
            }
            storage.close();
        });
    }
}

/// The value of a [`LocalKey`] or a [`TreeKey`] was asked for when it had been destroyed, or was
/// just being destroyed: as [`std::thread::AccessError`].
///
/// # Examples
/// ```
/// struct Last;
/// impl Drop for Last {
///     fn drop(&mut self) {
///         let error = LAST.try_with(|_| ()).unwrap_err();
///         assert_eq!(error.to_string(), "already destroyed");
///     }
/// }
/// greenroom::green_local! {
///     static LAST: Last = Last;
/// }
/// greenroom::spawn(|| LAST.with(|_| ())).join().unwrap();
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError {}

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessError").finish()
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl std::error::Error for AccessError {}

impl From<Gone> for AccessError {
    fn from(_: Gone) -> AccessError {
        AccessError {}
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey {
            init,
            _invariant: PhantomData,
        }
    }

    /// Calls `f` with this greenlet's value, making it if this is the first use.
    ///
    /// At the end of the greenlet its values are dropped, the last made first. What a destructor
    /// makes under a key that had no value is dropped as well.
    ///
    /// # Panics
    /// When the initialiser panics, and in a destructor at the end of the greenlet, when this key's
    /// value has been dropped or is being dropped.
    ///
    /// # Parks
    /// As the initialiser and `f` do.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let done = self.try_with(f);
        done.expect("a green_local! value is not used when it has been destroyed")
    }

    /// As [`with`](LocalKey::with), with an error in place of the second panic.
    ///
    /// # Examples
    /// See [`AccessError`].
    ///
    /// # Errors
    /// [`AccessError`] in a destructor at the end of the greenlet, or outside of greenlets of the
    /// OS thread, when this key's value has been dropped or is being dropped.
    ///
    /// # Panics
    /// When the initialiser panics.
    ///
    /// # Parks
    /// As `with`.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let value = match on_storage(|storage| storage.find(key))? {
            Some(value) => value.downcast().expect(ONE_TYPE),
            None => {
                // May park, and may itself use other keys, so the storage is not held meanwhile.
                let value = Rc::new((self.init)());
                insert(Rc::clone(&value) as _, |storage, value| {
                    storage.insert(key, value)
                })?;
                value
            }
        };
        Ok(f(&value))
    }
}

const ONE_TYPE: &str = "a key's address names one type";

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

/// Calls `f` with the storage of the greenlet that runs.
fn on_storage<R>(f: impl FnOnce(&Storage) -> R) -> R {
    with_hub(|hub| match hub.and_then(|hub| hub.running_greenlet()) {
        Some(task) => f(&task.get().local().storage),
        None => NATIVE.with(|storage| f(storage)),
    })
}

/// Has `how` insert a new value.
fn insert(
    value: Rc<dyn Any>,
    how: impl FnOnce(&Storage, Rc<dyn Any>) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let is_native = with_hub(|hub| hub.and_then(|hub| hub.running_greenlet()).is_none());
    if is_native {
        NATIVE_ENDS.try_with(|_| ()).map_err(|_| Gone)?;
    }
    on_storage(|storage| how(storage, value))
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
