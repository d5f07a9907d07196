//! One block of thread-locals: made, run with, ended, used again.

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;

use super::base;
use super::glibc::{self, Glibc, glibc};

/// What glibc itself does at most (POSIX: PTHREAD_DESTRUCTOR_ITERATIONS is at least 4).
const DESTRUCTOR_ROUNDS_MAX: usize = 4;

/// Thread ids of greenlets: above all of the kernel's (at most 2^22), and below the two bits of a
/// futex word that mean something else.
pub(crate) const THREAD_ID_FIRST: u32 = 1 << 28;
const THREAD_ID_LAST: u32 = (1 << 30) - 1;

/// Blocks whose greenlets have ended, for the next ones: of all hubs, for what malloc caches in
/// them would be lost with them.
static IDLE: SegQueue<Idle> = SegQueue::new();

struct Idle(*mut u8);

// SAFETY: a block that nobody runs with is plain memory, owned by whoever holds the pointer.
unsafe impl Send for Idle {}

/// The thread-locals of one greenlet, or of one and the others that it shares them with.
///
/// Dropping it gives the block to the next greenlet; [`run_destructors`](Identity::run_destructors)
/// should have run by then.
#[derive(Debug)]
pub(crate) struct Identity {
    block: *mut u8,
    /// Its `struct pthread`.
    thread: *mut u8,
    users: AtomicUsize,
}

// SAFETY: greenlets of one OS thread only run within it (`within` demands that); others may
// keep it from being used again, ask for its address, and be the last to drop it, when nobody
// runs within it any more.
unsafe impl Send for Identity {}
// SAFETY: as above.
unsafe impl Sync for Identity {}

impl Identity {
    /// A block in which no thread-local has been touched.
    ///
    /// # Errors
    /// When there is no memory, or this libc is none that we understand.
    pub(crate) fn new() -> io::Result<Identity> {
        let glibc = glibc().map_err(io::Error::other)?;
        let block = match IDLE.pop() {
            Some(Idle(block)) => block,
            None => allocate(glibc)?,
        };
        // SAFETY: the block is complete and ours alone.
        unsafe { name(glibc, block) };
        Ok(Identity::of(glibc, block))
    }

    fn of(glibc: &Glibc, block: *mut u8) -> Identity {
        Identity {
            block,
            thread: glibc.thread_of(block),
            users: AtomicUsize::new(0),
        }
    }

    /// What pthread_self gives within it.
    pub(crate) fn address(&self) -> usize {
        self.thread as usize
    }

    /// What libc takes for the thread id within it.
    pub(crate) fn thread_id(&self) -> u32 {
        // SAFETY: the field is within the block's `struct pthread`, and only written to by `name`.
        glibc().map_or(0, |glibc| unsafe {
            self.thread.add(glibc.tid_at).cast::<u32>().read()
        })
    }

    /// One greenlet more that runs within it.
    pub(crate) fn join(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(crate) fn leave(&self) {
        let before = self.users.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0);
    }

    /// Does one greenlet only run within it?
    pub(crate) fn has_one_user(&self) -> bool {
        self.users.load(Ordering::Relaxed) == 1
    }

    /// Runs `run` with these thread-locals.
    ///
    /// # Safety
    /// Nobody else runs with them now, on any OS thread; and `run` leaves as it entered, with
    /// them in place.
    // Never inlined: the caller's thread-locals are the caller's, and the compiler believes that
    // their addresses don't change within a function.
    #[inline(never)]
    pub(crate) unsafe fn within<R>(&self, run: impl FnOnce() -> R) -> R {
        let former = base::current();
        // SAFETY: complete, and nobody else's (the caller); this function has no thread-locals.
        unsafe { base::set(self.block) };
        let result = run();
        // SAFETY: what was in place before.
        unsafe { base::set(former) };
        result
    }

    /// Ends the thread-locals as the end of a thread would: runs the destructors of
    /// `thread_local!`, of C++'s `thread_local`, and of pthread keys, until none is left.
    ///
    /// # Safety
    /// To be called within these thread-locals, by the last who uses them.
    pub(crate) unsafe fn run_destructors(&self) {
        debug_assert_eq!(base::current(), self.block);
        let Ok(glibc) = glibc() else { return };
        for _ in 0..DESTRUCTOR_ROUNDS_MAX {
            // SAFETY: as the end of a thread does, in that order.
            unsafe { (glibc.call_tls_destructors)() };
            // SAFETY: these are the running thread-locals.
            if !unsafe { call_key_destructors(glibc, self.block) } {
                return;
            }
        }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // SAFETY: who drops it is the last to use it, so nobody runs with it.
        unsafe { self.within(put_images_back) };
        IDLE.push(Idle(self.block));
    }
}

fn allocate(glibc: &Glibc) -> io::Result<*mut u8> {
    // SAFETY: null asks for a new block: with a table of modules, with the image of each
    // module's thread-locals, and a zeroed `struct pthread`.
    let block = unsafe { (glibc.allocate_tls)(ptr::null_mut()) }.cast::<u8>();
    if block.is_null() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let (thread, here) = (glibc.thread_of(block), glibc.thread_of(base::current()));
    // SAFETY: new, and nobody else knows it.
    unsafe { base::begin(block, thread, here) };
    // SAFETY: the fields are within the `struct pthread` of both blocks, see `glibc::find`.
    unsafe {
        // An empty list: its head points to itself, as does the way back into it.
        let robust = thread.add(glibc.robust_at).cast::<*mut u8>();
        robust.write(robust.cast());
        robust.sub(1).write(robust.cast());
        let offset = here.add(glibc.robust_at).cast::<usize>().add(1).read();
        robust.add(1).cast::<usize>().write(offset);
        if glibc.rseq_at > 0 {
            // "Not registered": the kernel goes on to write to the OS thread's own.
            thread.add(glibc.rseq_at).cast::<i32>().write(0);
            thread.add(glibc.rseq_at).cast::<i32>().add(1).write(-1);
        }
    }
    let identity = Identity::of(glibc, block);
    // SAFETY: the block is complete now, and nobody else knows it.
    unsafe { identity.within(|| (glibc.init_ctype)()) };
    std::mem::forget(identity);
    Ok(block)
}

/// How many greenlets one after the other have different thread ids in the same block.
const IDS_PER_BLOCK: u32 = 256;
/// Blocks of which no two have an id in common: 3 million.
const BLOCKS_MAX: u32 = (THREAD_ID_LAST - THREAD_ID_FIRST) / IDS_PER_BLOCK;

/// Gives the block a thread id of its own: owners of recursive locks are told apart by it. No two
/// greenlets that live have the same, however many have lived: each block has its own range of ids.
///
/// # Safety
/// The block is complete, and nobody runs with it.
unsafe fn name(glibc: &Glibc, block: *mut u8) {
    static BLOCKS: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the field is within the block's `struct pthread`, see `glibc::find`.
    unsafe {
        let id = glibc.thread_of(block).add(glibc.tid_at).cast::<u32>();
        id.write(match id.read() {
            last if last >= THREAD_ID_FIRST => following(last),
            _ => first_of(BLOCKS.fetch_add(1, Ordering::Relaxed)),
        });
    }
}

fn first_of(block: u32) -> u32 {
    THREAD_ID_FIRST + block % BLOCKS_MAX * IDS_PER_BLOCK
}

fn following(id: u32) -> u32 {
    let within = (id - THREAD_ID_FIRST) % IDS_PER_BLOCK;
    id - within + (within + 1) % IDS_PER_BLOCK
}

/// Calls the destructor of each pthread key that has a value here, once. False if there was none.
///
/// # Safety
/// `block` is what runs.
unsafe fn call_key_destructors(glibc: &Glibc, block: *mut u8) -> bool {
    let mut called = false;
    let keys_per_table = glibc.keys_per_table;
    for table in 0..glibc.tables {
        // SAFETY: `glibc::find` has looked that tables and entries lie where it says.
        let entries = unsafe { table_of(glibc, block, table) };
        for index in 0..keys_per_table {
            // SAFETY: as above.
            let may_have = entries.is_some_and(|entries| unsafe {
                let value = entries.add(index * glibc.entry_bytes + glibc.value_at);
                !value.cast::<*mut c_void>().read_volatile().is_null()
            });
            if may_have {
                called |= call_key_destructor(glibc, table * keys_per_table + index);
            }
        }
    }
    called
}

/// The values of some of the pthread keys; `None` where none of these was ever set.
///
/// # Safety
/// `block` is a complete block, and `table` below the number of tables.
unsafe fn table_of(glibc: &Glibc, block: *mut u8, table: usize) -> Option<*mut u8> {
    let thread = glibc.thread_of(block);
    // The first lies within it, and glibc needs no pointer to it.
    if table == 0 {
        return Some(thread.wrapping_add(glibc.first_table_at));
    }
    // SAFETY: the pointers lie within it, see `glibc::find`.
    let entries = unsafe {
        thread
            .add(glibc.tables_at)
            .cast::<*mut u8>()
            .add(table)
            .read()
    };
    (!entries.is_null()).then_some(entries)
}

fn call_key_destructor(glibc: &Glibc, key: usize) -> bool {
    let value = glibc::value_of(key);
    if value.is_null() {
        // Of a key that was deleted meanwhile.
        return false;
    }
    glibc::clear_value_of(key);
    let Some(destructor) = glibc::destructor_of(glibc, key) else {
        return false;
    };
    // SAFETY: that is what it was registered for.
    unsafe { destructor(value) };
    true
}

/// Makes all thread-locals what they were at first, except libc's own: malloc's cache is there.
fn put_images_back() {
    // SAFETY: the callback is called with valid records, during this call only.
    unsafe { libc::dl_iterate_phdr(Some(put_image_back), ptr::null_mut()) };
}

unsafe extern "C" fn put_image_back(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> i32 {
    // SAFETY: dl_iterate_phdr(3): a valid record, whose name is a C string.
    let (info, name) = unsafe {
        let info = &*info;
        (info, std::ffi::CStr::from_ptr(info.dlpi_name).to_bytes())
    };
    let file = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let of_libc = file.starts_with(b"libc.so") || file.starts_with(b"ld-linux");
    let data = info.dlpi_tls_data.cast::<u8>();
    if of_libc || data.is_null() {
        return 0;
    }
    // SAFETY: dl_iterate_phdr(3): `dlpi_phdr` points to `dlpi_phnum` headers.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers
        .iter()
        .filter(|header| header.p_type == libc::PT_TLS)
    {
        let (filled, whole) = (header.p_filesz as usize, header.p_memsz as usize);
        let image = (info.dlpi_addr + header.p_vaddr) as *const u8;
        // SAFETY: `data` is this module's block among the running thread-locals, `p_memsz` long;
        // the image of its beginning is in the module's mapping. Nothing refers to what is in
        // there: its destructors have run, and its thread is over.
        unsafe {
            ptr::copy_nonoverlapping(image, data, filled);
            data.add(filled).write_bytes(0, whole - filled);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::collections::HashSet;

    #[test]
    fn blocks_have_no_thread_id_in_common() {
        let _bound = bounded();
        let ids_of = |block| {
            let ids = std::iter::successors(Some(first_of(block)), |id| Some(following(*id)));
            ids.take(3 * IDS_PER_BLOCK as usize).collect::<HashSet<_>>()
        };
        let blocks = [0, 1, 2, BLOCKS_MAX - 2, BLOCKS_MAX - 1];
        let ids: Vec<_> = blocks.into_iter().flat_map(ids_of).collect();
        assert_eq!(ids.len(), blocks.len() * IDS_PER_BLOCK as usize);
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(
            ids.iter()
                .all(|id| (THREAD_ID_FIRST..=THREAD_ID_LAST).contains(id))
        );
    }
}
