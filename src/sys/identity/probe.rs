//! Does it work here? Tried out once per process, before anything relies on it.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::base;
use super::block::Identity;
use super::glibc::glibc;
use crate::sys::lock::natively;

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(INITIAL) };
    static TEXT: RefCell<Noisy> = RefCell::new(Noisy(String::from("made")));
}

const INITIAL: u64 = 0x5eed;
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// A value with a destructor that is seen.
struct Noisy(String);

impl Drop for Noisy {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Can a greenlet own its thread-locals in this process? The reason if not.
pub(crate) fn probe() -> Result<(), String> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            glibc()?;
            base::choose_way();
            // On a thread of its own, which may be spoilt by it.
            let tried = natively(|| thread::Builder::new().spawn(try_out))
                .map_err(|error| format!("no OS thread for the test of thread-locals: {error}"))?;
            natively(|| tried.join())
                .map_err(|_| String::from("the test of thread-locals panicked"))?
        })
        .clone()
}

/// What one block is seen to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    pthread: usize,
    number: u64,
    text_len: usize,
    errno: i32,
    thread: thread::ThreadId,
}

#[inline(never)]
fn look() -> Seen {
    Seen {
        // SAFETY: plain questions.
        pthread: unsafe { libc::pthread_self() } as usize,
        number: NUMBER.get(),
        text_len: TEXT.with_borrow(|text| text.0.len()),
        errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        thread: thread::current().id(),
    }
}

#[inline(never)]
fn scribble(number: u64) {
    NUMBER.set(number);
    TEXT.with_borrow_mut(|text| text.0.push_str(" and changed"));
    // SAFETY: errno is this thread's.
    unsafe { *libc::__errno_location() = libc::ENOTTY };
}

fn try_out() -> Result<(), String> {
    let error = |what: &str| Err(format!("the test of thread-locals failed: {what}"));
    let new = || Identity::new().map_err(|error| error.to_string());
    let home = look();
    let (one, two) = (new()?, new()?);
    // SAFETY: both blocks are new and ours; nothing switches stacks here.
    let (first, second) = unsafe { (one.within(look), two.within(look)) };
    if first.pthread == home.pthread || first.pthread == second.pthread {
        return error("pthread_self is shared");
    }
    if first.number != INITIAL || first.text_len != home.text_len {
        return error("a thread-local does not begin with its first value");
    }
    if first.thread == home.thread || first.thread == second.thread {
        return error("std takes two of them for one thread");
    }
    // SAFETY: as above.
    unsafe { one.within(|| scribble(1)) };
    // SAFETY: as above.
    if unsafe { two.within(look) }.number != INITIAL || look() != home {
        return error("a thread-local is shared");
    }
    // SAFETY: as above.
    let changed = unsafe { one.within(look) };
    if changed.number != 1 || changed.errno != libc::ENOTTY || changed.text_len <= home.text_len {
        return error("a thread-local forgets its value");
    }
    // SAFETY: as above; nobody uses them afterwards.
    unsafe {
        one.within(|| one.run_destructors());
        two.within(|| two.run_destructors());
    }
    if DROPPED.load(Ordering::Relaxed) != 2 {
        return error("destructors don't run");
    }
    drop((one, two));
    // This is one of the two, used again.
    let again = new()?;
    // SAFETY: as above.
    let seen = unsafe { again.within(look) };
    // SAFETY: as above; nobody uses it afterwards.
    unsafe { again.within(|| again.run_destructors()) };
    if seen.number != INITIAL || seen.text_len != home.text_len {
        return error("a block that is used again is not as new");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn it_works_on_this_machine() {
        let _bound = bounded();
        assert_eq!(probe(), Ok(()));
    }
}
