//! On which stack whoever runs stands: its own, or that of a coroutine that it has resumed by
//! hand (a generator, a fiber).
//!
//! ```text
//!   greenlet's own stack        generator's stack          fiber's stack
//!   resume() ---------------->  switch() --------------->  read(): parks the greenlet
//!                                                          ^ innermost
//! ```
//!
//! To the hub all of this is one greenlet: it parks on whichever stack it stands, and is resumed
//! there. Who is innermost is noted with the greenlet, so that it parks and runs again with it.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use super::events::Event;
use super::task::Task;
use super::{Hub, current_hub, with_hub};
use crate::stack::Stack;
use crate::sys::report::report;

/// Identifies a generator or a fiber for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoroutineId(NonZeroU64);

impl CoroutineId {
    pub(crate) fn next() -> CoroutineId {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        CoroutineId(NonZeroU64::new(number).expect("2^64 coroutines are never made"))
    }
}

/// The count in this process: "7".
impl fmt::Display for CoroutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

thread_local! {
    /// For code outside of all greenlets: in the hub itself, or on a thread without one.
    static INNERMOST: Cell<Option<CoroutineId>> = const { Cell::new(None) };
}

fn on_innermost<R>(f: impl FnOnce(&Cell<Option<CoroutineId>>) -> R) -> R {
    with_hub(|hub| match hub.and_then(Hub::running) {
        Some(task) => f(&task.get().local().innermost),
        None => INNERMOST.with(f),
    })
}

/// The coroutine on whose stack the caller stands; `None` for its own.
pub(crate) fn innermost() -> Option<CoroutineId> {
    on_innermost(Cell::get)
}

/// Notes on whose stack the caller is about to stand; returns on whose it stood.
#[inline]
pub(crate) fn step_to(coroutine: Option<CoroutineId>) -> Option<CoroutineId> {
    on_innermost(|innermost| innermost.replace(coroutine))
}

/// Tells subscribers that whoever runs has changed its stack.
#[inline]
pub(crate) fn tell_transferred(from: Option<CoroutineId>, to: Option<CoroutineId>, thrown: bool) {
    with_hub(|hub| {
        if let Some(hub) = hub
            && hub.events.are_heard()
        {
            hub.tell_transferred(from, to, thrown);
        }
    });
}

/// A stack for a coroutine, and the number of the hub that it is to be given back to.
///
/// # Errors
/// When there is no hub or no stack to be had.
pub(crate) fn take_stack(size: Option<usize>) -> io::Result<(Stack, u64)> {
    current_hub(|hub| {
        let stack = hub.stacks.borrow_mut().take(size)?;
        Ok((stack, hub.shared.number))
    })?
}

/// Gives a stack back on which nobody stands any more. Lost if its hub is not this thread's now.
pub(crate) fn give_stack(stack: Stack, home: u64) {
    with_hub(|hub| match hub.filter(|hub| hub.shared.number == home) {
        Some(hub) => hub.stacks.borrow_mut().give(stack),
        None => {
            report!(
                Info,
                "greenroom: a coroutine outlived its hub: its stack is leaked"
            );
        }
    });
}

impl Hub {
    #[cold]
    fn tell_transferred(&self, from: Option<CoroutineId>, to: Option<CoroutineId>, thrown: bool) {
        let greenlet = self.running().map_or(self.root.greenlet_id(), |task| {
            let task: &Task = task.get();
            task.greenlet_id()
        });
        self.tell(&Event::Transferred {
            greenlet,
            from,
            to,
            thrown,
        });
    }
}
