//! What must be seen although the program's logger does not take it.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fd;
use super::report::{self, Level};

/// Reports `text`. If there is no logger, or its level lets such messages not pass, writes it to
/// the standard error instead, the first time with a hint.
///
/// Takes no lock of std's: its owner may be what hangs.
pub(crate) fn report_or_print(level: Level, text: &str) {
    match report::passes(level) {
        true => report::write(level, module_path!(), format_args!("greenroom: {text}")),
        false => print(level, text),
    }
}

#[cold]
fn print(level: Level, text: &str) {
    static HINTED: AtomicBool = AtomicBool::new(false);
    let hint = match HINTED.swap(true, Ordering::Relaxed) {
        true => String::new(),
        false => {
            format!(
                "greenroom: printed because no logger takes this ({level}); see the crate log\n"
            )
        }
    };
    let text = format!("greenroom: {text}\n{hint}");
    let mut left = text.as_bytes();
    // There is nobody to tell that it can't be written.
    while let Ok(written @ 1..) = fd::write(io::stderr().as_fd(), left) {
        left = &left[written..];
    }
}
