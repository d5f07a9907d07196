//! The only file that calls the crate `log`: messages of the library on their way to the logger.
//!
//! The logger is foreign code. It may panic, park, spawn, or call the library again, so it never
//! runs in the middle of a change:
//!
//! ```text
//!   report!(..) --> a greenlet or a plain thread runs,  --> the logger, before `report!` returns
//!               |   and nothing is borrowed
//!               '-> anywhere else: the hub itself, a    --> a queue, and from there an OS thread
//!                   change, the panic hook, a logger         that calls the logger and ends
//! ```
//!
//! The hub decides which it is ([`Host`]), because this room knows no hubs. A message is text by
//! the time it is queued. A panic of the logger, and a kill that ends its park, stop here; only
//! [`tell`] hands it to a caller that can pass it on.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::OnceLock;
use std::thread;

pub(crate) use log::Level;

/// Sends a message to the logger, with the level and then the arguments of `format!`.
macro_rules! report {
    ($level:ident, $($text:tt)+) => {
        $crate::sys::report::write(
            $crate::sys::report::Level::$level,
            ::core::module_path!(),
            ::core::format_args!($($text)+),
        )
    };
}
pub(crate) use report;

/// A message, and the place in the library that it comes from.
#[derive(Debug)]
pub(crate) struct Message {
    level: Level,
    module: &'static str,
    place: &'static Location<'static>,
    text: String,
}

/// What the rooms above know.
#[derive(Debug)]
pub(crate) struct Host {
    /// Whether foreign code may run here and now.
    pub(crate) is_at_ease: fn() -> bool,
    /// Takes a message that has to wait.
    pub(crate) keep: fn(Message),
}

static HOST: OnceLock<Host> = OnceLock::new();

thread_local! {
    /// The logger runs: what it causes is not told to itself here.
    static IN_LOGGER: Cell<bool> = const { Cell::new(false) };
}

/// Names who decides. The first one stays.
pub(crate) fn set_host(host: Host) {
    HOST.get_or_init(|| host);
}

/// For [`report!`]: writes one message, or queues it. Never unwinds.
#[track_caller]
pub(crate) fn write(level: Level, module: &'static str, text: fmt::Arguments<'_>) {
    tell(level, module, text).unwrap_or_else(discard);
}

/// Whether messages of this level go to the logger at all: not where none has been set.
pub(crate) fn passes(level: Level) -> bool {
    level <= log::STATIC_MAX_LEVEL && level <= log::max_level()
}

/// As [`report!`], where the caller hands on the panic of the logger.
///
/// # Errors
/// The payload, if the logger has unwound.
#[track_caller]
pub(crate) fn tell(
    level: Level,
    module: &'static str,
    text: fmt::Arguments<'_>,
) -> thread::Result<()> {
    if !passes(level) {
        return Ok(());
    }
    let place = Location::caller();
    panic::catch_unwind(AssertUnwindSafe(|| send(level, module, place, text)))
}

#[cold]
fn send(
    level: Level,
    module: &'static str,
    place: &'static Location<'static>,
    text: fmt::Arguments<'_>,
) {
    let host = HOST.get();
    let at_ease = host.is_none_or(|host| (host.is_at_ease)());
    if at_ease && !IN_LOGGER.get() {
        return call_logger(level, module, place, text);
    }
    // Without a host there are no hubs, and what is left is a logger that calls itself.
    if let Some(host) = host {
        let text = text.to_string();
        (host.keep)(Message {
            level,
            module,
            place,
            text,
        });
    }
}

/// Calls the logger with a message that was queued. Never unwinds.
pub(crate) fn deliver(message: &Message) {
    let Message {
        level,
        module,
        place,
        text,
    } = message;
    let call = || call_logger(*level, module, place, format_args!("{text}"));
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(discard);
}

/// A line about messages that were dropped because too many were queued.
pub(crate) fn lost(count: usize) -> Message {
    Message {
        level: Level::Warn,
        module: module_path!(),
        place: Location::caller(),
        text: format!("greenroom: {count} messages were dropped, the logger is too slow for them"),
    }
}

fn call_logger(
    level: Level,
    module: &'static str,
    place: &'static Location<'static>,
    text: fmt::Arguments<'_>,
) {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            IN_LOGGER.set(false);
        }
    }
    IN_LOGGER.set(true);
    let _inside = Inside;
    let record = log::Record::builder()
        .level(level)
        .target(module)
        .module_path_static(Some(module))
        .file_static(Some(place.file()))
        .line(Some(place.line()))
        .args(text)
        .build();
    log::logger().log(&record);
}

/// Drops values of the user's from within a destructor of ours. All are dropped, whichever of
/// them panic. The first panic goes on to the caller, unless the caller unwinds already: a panic
/// that left a destructor would then abort the process. What goes nowhere is reported.
#[track_caller]
pub(crate) fn drop_foreign<T>(what: &str, values: impl IntoIterator<Item = T>) {
    let mut kept = None;
    for value in values {
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
        let Err(payload) = dropped else { continue };
        if kept.is_none() && !thread::panicking() {
            kept = Some(payload);
            continue;
        }
        report!(Error, "greenroom: the destructor of {what} panicked");
        discard(payload);
    }
    if let Some(payload) = kept {
        panic::resume_unwind(payload);
    }
}

/// Drops a payload that nobody catches. Its destructor is foreign code as well.
pub(crate) fn discard(payload: Box<dyn std::any::Any + Send>) {
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
    dropped.unwrap_or_else(std::mem::forget);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::sync::Mutex;

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Reports from within, and panics where a message asks for it.
    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let text = record.args().to_string();
            if !text.starts_with("test:") {
                return;
            }
            report!(Info, "test: from within");
            let line = format!("{} {} {text}", record.level(), record.target());
            super::super::lock::lock(&SEEN).push(line);
            assert!(!text.contains("panic"), "a logger, on purpose");
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_message_arrives_and_a_logger_that_panics_ends_here() {
        let _bound = bounded();
        let _ = log::set_logger(&Logger);
        log::set_max_level(log::LevelFilter::Info);
        report!(Warn, "test: {}", 1);
        report!(Error, "test: panic");
        report!(Debug, "test: not asked for");
        assert!(tell(Level::Info, "here", format_args!("test: panic")).is_err());
        let module = module_path!();
        let seen = super::super::lock::lock(&SEEN);
        let expected = [
            format!("WARN {module} test: 1"),
            format!("ERROR {module} test: panic"),
            "INFO here test: panic".to_owned(),
        ];
        assert_eq!(
            seen.iter()
                .filter(|line| !line.ends_with("within"))
                .collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
    }
}
