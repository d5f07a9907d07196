//! A value that is made when it is first used, as std's.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Mutex;

use super::once_lock::OnceLock;
use crate::sys::lock::lock;

/// A value that is made when it is first used.
///
/// As [`std::sync::LazyLock`], with the same names; but who waits for another to make the value
/// parks. What makes the value is there once: if it panics, is killed or times out, the value
/// can never be made, and every use panics.
///
/// # Examples
/// ```
/// use greenroom::sync::LazyLock;
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..5).map(|n| n * n).collect());
/// assert_eq!(SQUARES[4], 16);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    /// Until it is needed. Locked only to take it out.
    init: Mutex<Option<F>>,
}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `init` is to make.
    ///
    /// # Examples
    /// See [`LazyLock`].
    pub const fn new(init: F) -> LazyLock<T, F> {
        LazyLock {
            cell: OnceLock::new(),
            init: Mutex::new(Some(init)),
        }
    }

    /// The value, made now if it has not been; what `*lazy` does.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::LazyLock;
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::force(&lazy), &92);
    /// ```
    ///
    /// # Panics
    /// When the making of the value does, or has been cut short before. In the root, when whoever
    /// makes it can never finish ("this operation would block forever").
    ///
    /// # Parks
    /// While another makes the value, and as the making does. A kill or a timeout unwinds.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.cell.get_or_init(|| this.take_init()())
    }

    /// As [`force`](LazyLock::force), to change the value.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::LazyLock;
    /// let mut lazy = LazyLock::new(|| 92);
    /// *LazyLock::force_mut(&mut lazy) += 1;
    /// assert_eq!(*lazy, 93);
    /// ```
    ///
    /// # Panics
    /// As [`force`](LazyLock::force).
    ///
    /// # Parks
    /// As the making does.
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        this.cell.get_mut().expect("it has just been made")
    }

    fn take_init(&self) -> F {
        let mut init = lock(&self.init);
        let taken = init.take();
        drop(init);
        taken.expect("LazyLock instance has previously been poisoned")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it has been made.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::LazyLock;
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::get(&lazy), None);
    /// LazyLock::force(&lazy);
    /// assert_eq!(LazyLock::get(&lazy), Some(&92));
    /// ```
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.cell.get()
    }

    /// As [`get`](LazyLock::get), to change the value.
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        this.cell.get_mut()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    /// As [`LazyLock::force`].
    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    /// As [`LazyLock::force_mut`].
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("LazyLock");
        match self.cell.get() {
            Some(value) => f.field(value),
            None => f.field(&format_args!("<uninit>")),
        };
        f.finish()
    }
}
