//! The panic count: one per OS thread in std, one per greenlet in truth.
//!
//! ```text
//!   greenlet A unwinds, a Drop of it parks        std: count = 1
//!        |                                             |
//!        |  without us: B runs, thread::panicking() is true in B, and a Mutex
//!        |              guard that B drops poisons its innocent Mutex
//!        v                                             v
//!   park: take() -> 1, count := 0      B runs with 0      resume: put(1)
//! ```
//!
//! std keeps the count in a private thread-local, a `Cell<(usize, bool)>`: the panics under way
//! and "in the panic hook". It is found by looking at what changes: the executable's block of
//! thread-locals is compared before and during a caught `resume_unwind`; a word that went up by
//! one, went down again, and, when set to 0 in between, makes `thread::panicking()` false, is
//! the count. Where no word passes (or the cfg `greenroom_no_panic_swap` is set) the answer is
//! "not found", and a park during unwinding blocks the OS thread instead of switching.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::lock::natively;

/// Where this thread's count lives.
#[derive(Clone, Copy, Debug)]
enum Found {
    Unknown,
    Nowhere,
    At(NonNull<usize>),
}

thread_local! {
    static COUNT: Cell<Found> = const { Cell::new(Found::Unknown) };
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// The panics that a parked greenlet has under way, to be put back when it runs again.
#[derive(Debug)]
#[must_use = "a count that is taken must be put back before the greenlet runs on"]
pub(crate) struct Taken(usize);

/// Takes the panic count of the running greenlet off its OS thread.
/// `None` when it can't be found, or when the panic hook is running: then do not switch.
#[cold]
pub(crate) fn take() -> Option<Taken> {
    if hook_runs() {
        return None;
    }
    let count = count()?;
    // SAFETY: `count` was proved on this very thread by `look`, and thread-locals
    // of the executable live as long as their thread; nobody else writes it between two
    // panics, and none starts here.
    unsafe { Some(Taken(count.replace(0))) }
}

/// Puts back what [`take`] took, on the same thread.
#[cold]
pub(crate) fn put(taken: Taken) {
    if let Some(count) = count() {
        // SAFETY: as in `take`.
        unsafe { count.write(taken.0) };
    }
}

/// How many panics are under way on this OS thread, if that can be found out.
pub(crate) fn depth() -> Option<usize> {
    if !thread::panicking() {
        return Some(0);
    }
    let taken = take()?;
    let depth = taken.0;
    put(taken);
    Some(depth)
}

/// Declares that `depth` panics are under way: the others belong to a stack that is given up.
/// False when that can't be done.
pub(crate) fn give_up_all_but(depth: usize) -> bool {
    let taken = take();
    if taken.is_some() {
        put(Taken(depth));
    }
    taken.is_some()
}

/// Runs the panic hook's own code; parks inside it know by this that they must not switch.
pub(crate) fn in_hook<T>(hook: impl FnOnce() -> T) -> T {
    IN_HOOK.set(true);
    let result = hook();
    IN_HOOK.set(false);
    result
}

/// Does the panic hook run, in which nothing may switch, and nothing may unwind?
pub(crate) fn hook_runs() -> bool {
    if !thread::panicking() {
        return false;
    }
    let flag = || {
        // SAFETY: `count` is this thread's, as in `take`. Beside it lies the flag of the hook, a
        // bool; a hook that is not wrapped by ours is known by it alone.
        count().map(|count| unsafe { count.cast::<u8>().add(size_of::<usize>()).read() == 1 })
    };
    IN_HOOK.get() || flag().unwrap_or(false)
}

fn count() -> Option<NonNull<usize>> {
    if let Found::Unknown = COUNT.get() {
        COUNT.set(look().map_or(Found::Nowhere, Found::At));
    }
    match COUNT.get() {
        Found::At(count) => Some(count),
        Found::Nowhere | Found::Unknown => None,
    }
}

/// Where the count of every thread lies, once known: the block, and in its lower half the word.
static PLACE: AtomicU64 = AtomicU64::new(NOT_LOOKED_FOR);
const NOT_LOOKED_FOR: u64 = u64::MAX;
const NOWHERE: u64 = u64::MAX - 1;

/// Finds this thread's count, which is asked for only while the thread panics.
///
/// A thread without panics is what searches: if the hook runs, std would leave the unwind of the
/// search out of the count, but not its end. The blocks are laid out alike in all threads.
#[cold]
fn look() -> Option<NonNull<usize>> {
    if cfg!(greenroom_no_panic_swap) || cfg!(panic = "abort") {
        return None;
    }
    if PLACE.load(Ordering::Relaxed) == NOT_LOOKED_FOR {
        let searched = natively(|| Some(thread::Builder::new().spawn(search).ok()?.join()));
        let place = searched?.ok().flatten();
        let place = place.map_or(NOWHERE, |(block, word)| (block as u64) << 32 | word as u64);
        PLACE.store(place, Ordering::Relaxed);
    }
    let place = PLACE.load(Ordering::Relaxed);
    let block = *tls_blocks().get((place >> 32) as usize)?;
    let word = place as u32 as usize;
    let word = (word < block.words).then(|| block.word(word))?;
    (!thread::panicking() || decides(word)).then_some(word)
}

/// Finds the word, by its block and its index there; see the head of this file.
fn search() -> Option<(usize, usize)> {
    let blocks = tls_blocks();
    let before = snapshot(&blocks);
    let during = while_panicking(|| snapshot(&blocks))?;
    let after = snapshot(&blocks);
    let places =
        (0..blocks.len()).flat_map(|block| (0..blocks[block].words).map(move |word| (block, word)));
    places
        .zip(before.iter().zip(&during).zip(&after))
        .filter(|(_, ((before, during), after))| before == after && **during == *before + 1)
        .map(|(place, _)| place)
        .find(|(block, word)| while_panicking(|| decides(blocks[*block].word(*word))) == Some(true))
}

/// Does this word decide what `thread::panicking()` says? To be asked while panicking.
fn decides(word: NonNull<usize>) -> bool {
    // SAFETY: `word` lies in this thread's block of thread-locals. Whatever it means, nothing
    // but `thread::panicking` runs before it has its value back.
    unsafe {
        let value = word.replace(0);
        let silenced = !thread::panicking();
        word.write(value);
        silenced && thread::panicking()
    }
}

/// Runs `probe` in a destructor during a quiet unwind that ends right here.
fn while_panicking<T>(probe: impl FnOnce() -> T) -> Option<T> {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let mut probe = Some(probe);
    let mut answer = None;
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        let _probe = OnDrop(|| answer = probe.take().map(|probe| probe()));
        panic::resume_unwind(Box::new(()));
    }));
    debug_assert!(unwound.is_err());
    answer
}

/// One module's block of thread-locals of the calling thread.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<usize>,
    words: usize,
}

impl Block {
    fn word(self, index: usize) -> NonNull<usize> {
        debug_assert!(index < self.words);
        // SAFETY: `index` is below the number of words of the block.
        unsafe { self.start.add(index) }
    }
}

fn snapshot(blocks: &[Block]) -> Vec<usize> {
    let words = blocks
        .iter()
        .flat_map(|block| (0..block.words).map(|word| block.word(word)));
    // SAFETY: every word lies in a live block of this thread's thread-locals; volatile, because
    // the compiler does not know that they are read.
    words
        .map(|word| unsafe { word.as_ptr().read_volatile() })
        .collect()
}

fn tls_blocks() -> Vec<Block> {
    let mut blocks = Vec::<Block>::new();
    // SAFETY: the callback gets `blocks` back as its third argument, only during the call.
    unsafe { libc::dl_iterate_phdr(Some(note_block), (&raw mut blocks).cast()) };
    blocks
}

/// Notes the executable's block, and that of a dynamically linked libstd.
unsafe extern "C" fn note_block(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    blocks: *mut libc::c_void,
) -> i32 {
    // SAFETY: the loader passes a valid record; `tls_blocks` passes its vector.
    let (info, blocks) = unsafe { (&*info, &mut *blocks.cast::<Vec<Block>>()) };
    // SAFETY: dl_iterate_phdr(3): `dlpi_phdr` points to `dlpi_phnum` headers, the name is a
    // C string.
    let (headers, name) = unsafe {
        (
            std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()),
            std::ffi::CStr::from_ptr(info.dlpi_name).to_bytes(),
        )
    };
    let is_executable = name.is_empty();
    let is_libstd = name.windows(7).any(|part| part == b"libstd-");
    if let Some(start) = NonNull::new(info.dlpi_tls_data.cast::<usize>())
        && (is_executable || is_libstd)
        && start.is_aligned()
    {
        let segment = headers.iter().find(|header| header.p_type == libc::PT_TLS);
        let bytes = segment.map_or(0, |segment| segment.p_memsz as usize);
        blocks.push(Block {
            start,
            words: bytes / size_of::<usize>(),
        });
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[cfg(not(greenroom_no_panic_swap))]
    #[test]
    fn a_taken_count_hides_the_panic_and_comes_back() {
        let _bound = bounded();
        let seen = while_panicking(|| {
            let taken = take().expect("the count is found on this toolchain");
            let hidden = !thread::panicking();
            put(taken);
            (hidden, thread::panicking())
        });
        assert_eq!(seen, Some((true, true)));
        assert!(!thread::panicking());
    }

    #[cfg(not(greenroom_no_panic_swap))]
    #[test]
    fn a_panic_inside_a_panic_is_counted_apart() {
        let _bound = bounded();
        let seen = while_panicking(|| {
            let outer = take().expect("found");
            let inner = while_panicking(thread::panicking);
            let between = thread::panicking();
            put(outer);
            (inner, between)
        });
        assert_eq!(seen, Some((Some(true), false)));
    }

    #[test]
    fn the_hook_forbids_switching() {
        let _bound = bounded();
        let taken = while_panicking(|| in_hook(|| take().is_none()));
        assert_eq!(taken, Some(true));
    }
}
