//! Greenlets that are always there, and that nobody waits for: those of signal handlers.

use std::cell::Cell;
use std::rc::Rc;

use super::{Hub, with_hub};

/// While it lives, one greenlet of this thread's hub is not waited for by `wait_idle`.
pub(crate) struct Background(Option<Rc<Cell<usize>>>);

impl Background {
    pub(crate) fn enter() -> Background {
        let count = with_hub(|hub| hub.map(|hub| Rc::clone(&hub.background)));
        if let Some(count) = &count {
            count.set(count.get() + 1);
        }
        Background(count)
    }

    /// Runs `f` as one who is waited for.
    pub(crate) fn leave_for<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Back<'a>(&'a Background);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.change(1);
                with_hub(|hub| hub.map(Hub::tell_who_waits_for_others));
            }
        }
        self.change(-1);
        let _back = Back(self);
        f()
    }

    fn change(&self, by: isize) {
        if let Some(count) = &self.0 {
            count.set(count.get().saturating_add_signed(by));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.change(-1);
    }
}
