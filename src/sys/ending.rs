//! The end of an OS thread, known before the first of its thread-locals is gone.
//!
//! ```text
//!   glibc's list of destructors, last in first out:
//!
//!     first made                                     made last, destroyed first
//!     [OWNER] <-- [begin] <-- [A] <-- [B] <-- [begin] <-- head
//!                                                 a new one, whenever `look` finds another head
//! ```
//!
//! A greenlet or a generator may stand still inside of `LocalKey::with`. If it ran on when that
//! value is gone, in the destructor of another one say, it would use what is freed. So `begin` is
//! called ahead of all of them: `look`, after such a body has run, puts it in front of all that
//! has been made meanwhile. Thread-locals that are made later no body can be inside of.
//!
//! glibc tells nobody where the head of its list is. It is found by what changes: of libc's own
//! thread-locals the one word that is another pointer after each entry. Only its changes are
//! looked at. Where it is not found, or another libc runs, nothing is watched.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::ptr;

type Enter =
    unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, *mut c_void) -> c_int;

/// A head that changes more often than that is none.
const ENTRIES_MAX: u32 = 100_000;

thread_local! {
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    static AT_END: Cell<Option<fn()>> = const { Cell::new(None) };
    static HEAD: Cell<*const usize> = const { Cell::new(ptr::null()) };
    /// What the head was when the last entry had been made.
    static LAST: Cell<usize> = const { Cell::new(0) };
    static ENTRIES: Cell<u32> = const { Cell::new(0) };
}

/// Whether the calling thread's thread-locals are being destroyed, as far as it is watched.
#[inline]
pub(crate) fn has_begun() -> bool {
    BEGUN.get()
}

/// From here on they are.
pub(crate) fn begin() {
    if !BEGUN.replace(true)
        && let Some(at_end) = AT_END.take()
    {
        at_end();
    }
}

/// Has `at_end` called when the calling thread begins to end. Only the first call counts.
#[cold]
pub(crate) fn watch(at_end: fn()) {
    if AT_END.get().is_some() || has_begun() {
        return;
    }
    AT_END.set(Some(at_end));
    let words = libc_words();
    let snapshot = || words.iter().map(|word| read(*word)).collect::<Vec<_>>();
    let before = snapshot();
    if !enter() {
        return;
    }
    let between = snapshot();
    if !enter() {
        return;
    }
    let after = snapshot();
    let is_pointer = |word: usize| word > 0xffff && word.is_multiple_of(size_of::<usize>());
    let mut changed = (0..words.len()).filter(|at| {
        let (one, other) = (between[*at], after[*at]);
        before[*at] != one && one != other && is_pointer(one) && is_pointer(other)
    });
    if let (Some(found), None) = (changed.next(), changed.next()) {
        LAST.set(after[found]);
        HEAD.set(words[found]);
    }
}

/// To be called when a body has run that may stand inside of a thread-local.
#[inline]
pub(crate) fn look() {
    let head = HEAD.get();
    if !head.is_null() && read(head) != LAST.get() {
        enter_again(head);
    }
}

#[cold]
fn enter_again(head: *const usize) {
    ENTRIES.set(ENTRIES.get() + 1);
    if !has_begun() && ENTRIES.get() <= ENTRIES_MAX && enter() {
        LAST.set(read(head));
    } else {
        HEAD.set(ptr::null());
    }
}

fn read(word: *const usize) -> usize {
    // SAFETY: every word that comes here lies in libc's block of the calling thread's own
    // thread-locals, which lives as long as the thread; volatile, because it is libc's.
    unsafe { word.read_volatile() }
}

/// Has `begin` called before the destructors of all thread-locals that there are now.
fn enter() -> bool {
    unsafe extern "C" fn call(_: *mut c_void) {
        begin();
    }
    // SAFETY: dlsym takes a C string and finds or does not find a symbol.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__cxa_thread_atexit_impl".as_ptr()) };
    if found.is_null() {
        return false;
    }
    // SAFETY: the type of the function is this in glibc since 2.18. The last argument names the
    // shared object that is not to be unloaded before: the one that `call` is in.
    unsafe {
        let enter = mem::transmute::<*mut c_void, Enter>(found);
        enter(call, ptr::null_mut(), call as *mut c_void) == 0
    }
}

/// The words of libc's own thread-locals, those of the calling thread.
fn libc_words() -> Vec<*const usize> {
    let mut words = Vec::new();
    // SAFETY: the callback gets `words` back as its third argument, only during the call.
    unsafe { libc::dl_iterate_phdr(Some(note_words), (&raw mut words).cast()) };
    words
}

unsafe extern "C" fn note_words(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    words: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr(3): a valid record, whose name is a C string, and `dlpi_phdr` points
    // to `dlpi_phnum` headers; `libc_words` passes its vector.
    let (info, name, headers, words) = unsafe {
        let info = &*info;
        (
            info,
            CStr::from_ptr(info.dlpi_name).to_bytes(),
            std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()),
            &mut *words.cast::<Vec<*const usize>>(),
        )
    };
    let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let start = info.dlpi_tls_data.cast::<usize>().cast_const();
    if file.starts_with(b"libc.so") && !start.is_null() && start.is_aligned() {
        let segment = headers.iter().find(|header| header.p_type == libc::PT_TLS);
        let bytes = segment.map_or(0, |segment| segment.p_memsz as usize);
        words.extend((0..bytes / size_of::<usize>()).map(|at| start.wrapping_add(at)));
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::cell::RefCell;
    use std::thread;

    struct Looks;

    impl Drop for Looks {
        fn drop(&mut self) {
            SEEN.with_borrow_mut(|seen| seen.push(has_begun()));
        }
    }

    thread_local! {
        static SEEN: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
        static EARLY: Looks = const { Looks };
        static LATE: Looks = const { Looks };
        static LAST_OF_ALL: Tells = const { Tells };
    }

    struct Tells;

    impl Drop for Tells {
        fn drop(&mut self) {
            SEEN.with_borrow(|seen| TOLD.lock().unwrap().clone_from(seen));
        }
    }

    static TOLD: std::sync::Mutex<Vec<bool>> = std::sync::Mutex::new(Vec::new());

    #[test]
    fn it_begins_before_what_was_there_at_the_last_look() {
        let _bound = bounded();
        let ends = thread::spawn(|| {
            SEEN.with(|_| ());
            LAST_OF_ALL.with(|_| ());
            watch(|| ());
            EARLY.with(|_| ());
            look();
            assert!(!HEAD.get().is_null(), "the head is found on this libc");
            LATE.with(|_| ());
            assert!(!has_begun());
        });
        ends.join().unwrap();
        assert_eq!(*TOLD.lock().unwrap(), [false, true]);
    }

    #[test]
    fn a_look_costs_an_entry_only_where_something_was_made() {
        let _bound = bounded();
        let looks = thread::spawn(|| {
            watch(|| ());
            EARLY.with(|_| ());
            (0..10).for_each(|_| look());
            ENTRIES.get()
        });
        assert_eq!(looks.join().unwrap(), 1);
    }
}
