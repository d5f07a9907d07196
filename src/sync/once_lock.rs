//! A value that is written once, as std's.

use std::fmt;
use std::sync::OnceLock as Slot;

use super::once::Once;
use crate::cancel;

/// A value that is written once, by whoever needs it first.
///
/// As [`std::sync::OnceLock`], with the same names; but who waits for another to make the value
/// parks. If the making panics, is killed or times out, the next who comes tries.
///
/// # Examples
/// ```
/// use greenroom::sync::OnceLock;
/// static NAME: OnceLock<String> = OnceLock::new();
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "Ada".into()), "Ada");
/// assert_eq!(NAME.get_or_init(|| unreachable!()), "Ada");
/// ```
pub struct OnceLock<T> {
    /// Who may write. Not done if the value was there from the beginning.
    once: Once,
    /// Written inside of `once` only, so nobody ever waits for it.
    slot: Slot<T>,
}

impl<T> OnceLock<T> {
    /// Without a value.
    ///
    /// # Examples
    /// See [`OnceLock`].
    #[must_use]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            slot: Slot::new(),
        }
    }

    /// The value, if there is one.
    ///
    /// # Parks
    /// Never waits; [now and then](crate::sync#polling) it lets others run.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        let value = self.slot.get();
        if value.is_none() {
            cancel::let_others_run();
        }
        value
    }

    /// The value, if there is one.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.slot.get_mut()
    }

    /// Waits until there is a value.
    ///
    /// # Examples
    /// ```
    /// use greenroom::sync::{Arc, OnceLock};
    /// let answer = Arc::new(OnceLock::new());
    /// let theirs = Arc::clone(&answer);
    /// greenroom::spawn(move || theirs.set(42));
    /// assert_eq!(*answer.wait(), 42);
    /// ```
    ///
    /// # Panics
    /// In the root, when nobody is left who could write it ("this operation would block
    /// forever").
    ///
    /// # Parks
    /// Until there is a value. A kill or a timeout unwinds.
    pub fn wait(&self) -> &T {
        if self.slot.get().is_none() {
            self.once.wait_force();
        }
        self.slot.get().expect("it is done")
    }

    /// Writes the value, if there is none.
    ///
    /// # Examples
    /// ```
    /// let cell = greenroom::sync::OnceLock::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    ///
    /// # Errors
    /// The value given, when there is one already.
    ///
    /// # Panics
    /// As [`get_or_init`](OnceLock::get_or_init).
    ///
    /// # Parks
    /// As [`get_or_init`](OnceLock::get_or_init).
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("it is called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; made by `f` if there is none.
    ///
    /// # Examples
    /// See [`OnceLock`].
    ///
    /// # Panics
    /// When `f` does. In the root, when whoever makes the value can never finish ("this operation
    /// would block forever"), as when `f` comes back here.
    ///
    /// # Parks
    /// While another makes the value, and as `f` does. A kill or a timeout unwinds.
    #[inline]
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        match self.slot.get() {
            Some(value) => value,
            None => self.init(f),
        }
    }

    #[cold]
    fn init<F: FnOnce() -> T>(&self, f: F) -> &T {
        self.once.call_once_force(|_| {
            let written = self.slot.set(f());
            debug_assert!(written.is_ok(), "it is written inside of `once` only");
        });
        self.slot.get().expect("it is done")
    }

    /// The value, if there is one, without the cell.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(greenroom::sync::OnceLock::from(7).into_inner(), Some(7));
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.slot.into_inner()
    }

    /// Takes the value out, if there is one: another can be written then.
    ///
    /// # Examples
    /// ```
    /// let mut cell = greenroom::sync::OnceLock::from(7);
    /// assert_eq!(cell.take(), Some(7));
    /// assert_eq!(cell.get(), None);
    /// ```
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("OnceLock");
        match self.slot.get() {
            Some(value) => f.field(value),
            None => f.field(&format_args!("<uninit>")),
        };
        f.finish()
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.slot
            .get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            slot: Slot::from(value),
        }
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.slot.get() == other.slot.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}
