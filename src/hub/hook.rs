//! The panic hook: says which greenlet it was before the former hook says the rest.

use std::io::Write;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::task::Known;
use super::with_hub;
use crate::stack::overflow;
use crate::sys::panics;

/// Wraps the present panic hook, once, and makes overflows name their greenlet.
pub(super) fn install() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // The hook can't be changed by a thread that panics; the next hub will do it then.
    if thread::panicking() || INSTALLED.swap(true, Ordering::AcqRel) {
        return;
    }
    overflow::set_describer(describe_running);
    overflow::install();
    let former = panic::take_hook();
    let announces = !replaces(&*former);
    panic::set_hook(Box::new(move |info| {
        panics::in_hook(|| {
            if announces {
                announce();
            }
            former(info);
        });
    }));
}

type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync;

/// Whether the user has replaced std's hook, for one that is silent for instance. To such a hook
/// nothing is added.
///
/// A hook that calls the default one holds it, so it has a size. A hook without a size is either a
/// replacement or the default one itself, which `take_hook` returns when no other is set, as now.
/// These two are told apart by their vtables; should a vtable exist twice, the line is left out.
fn replaces(former: &Hook) -> bool {
    let of_std = panic::take_hook();
    size_of_val(former) == 0 && !std::ptr::eq(former, &*of_std)
}

/// "greenlet #7 'name', spawned at src/main.rs:3:5:" on stderr; nothing outside of greenlets.
fn announce() {
    with_hub(|hub| {
        let Some(hub) = hub else { return };
        let Some(task) = hub.running().filter(|task| !hub.is_root(*task)) else {
            return;
        };
        let task = task.get();
        // A closed stderr is no reason to panic within a panic.
        let (known, place) = (Known(task), task.origin());
        let _ = writeln!(std::io::stderr(), "\n{known}, spawned at {place}:");
    });
}

/// Called in the handler of a stack overflow: reads what is there, allocates nothing. False where
/// no greenlet runs.
fn describe_running(out: &mut dyn std::fmt::Write) -> bool {
    with_hub(|hub| {
        let running = hub.and_then(|hub| hub.running().filter(|task| !hub.is_root(*task)));
        let written = running.map(|task| write!(out, "{}", Known(task.get())));
        written.is_some()
    })
}
