//! What glibc knows about its threads, and tells debuggers: functions and offsets by name.

use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::sync::OnceLock;

use super::base;

/// A number of bits for each element, of elements, and an offset in bytes: how glibc describes
/// a field to libthread_db (nptl_db/db_info.c).
type Field = [u32; 3];

/// `struct robust_list_head` of linux/futex.h.
const ROBUST_BYTES: usize = 24;

type AllocateTls = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type Procedure = unsafe extern "C" fn();

/// All that is needed to make a block of thread-locals, and to end one.
#[derive(Debug)]
pub(super) struct Glibc {
    pub(super) allocate_tls: AllocateTls,
    pub(super) call_tls_destructors: Procedure,
    pub(super) init_ctype: Procedure,
    /// Where its `struct pthread` is, from where the register points to; all that follows is from
    /// there.
    thread_at: isize,
    /// Where in it the thread's id is.
    pub(super) tid_at: usize,
    /// Where in it the pointers to tables of values of pthread keys are, and how many.
    pub(super) tables_at: usize,
    pub(super) tables: usize,
    pub(super) keys_per_table: usize,
    /// Where in it the first of these tables is, the size of an entry, and where in that the
    /// value is.
    pub(super) first_table_at: usize,
    pub(super) entry_bytes: usize,
    pub(super) value_at: usize,
    /// Where in it the head of the list of robust mutexes is.
    pub(super) robust_at: usize,
    /// Where in it the kernel would note the processor, if it knew this thread; 0 for nowhere.
    pub(super) rseq_at: usize,
    /// The table of all pthread keys, the size of an entry, and where in it the destructor is.
    pub(super) keys: *const u8,
    pub(super) key_bytes: usize,
    pub(super) key_destructor_at: usize,
}

impl Glibc {
    /// The `struct pthread` of a block of thread-locals.
    pub(super) fn thread_of(&self, block: *mut u8) -> *mut u8 {
        block.wrapping_offset(self.thread_at)
    }

    /// And the other way round.
    pub(super) fn block_of(&self, thread: *mut u8) -> *mut u8 {
        thread.wrapping_offset(-self.thread_at)
    }
}

// SAFETY: addresses of functions and of a table that live as long as the process.
unsafe impl Send for Glibc {}
// SAFETY: as above; nothing in it is written to.
unsafe impl Sync for Glibc {}

/// What was found, or the name of what was not.
pub(super) fn glibc() -> Result<&'static Glibc, String> {
    static FOUND: OnceLock<Result<Glibc, String>> = OnceLock::new();
    FOUND.get_or_init(find).as_ref().map_err(String::clone)
}

fn find() -> Result<Glibc, String> {
    let tables = field(c"_thread_db_pthread_specific")?;
    let tid = field(c"_thread_db_pthread_tid")?;
    let destructor = field(c"_thread_db_pthread_key_struct_destr")?;
    let thread_bytes = number(c"_thread_db_sizeof_pthread")? as usize;
    let thread = this_thread();
    let allocate_tls = symbol(c"_dl_allocate_tls")?;
    let call_tls_destructors = symbol(c"__call_tls_dtors")?;
    let init_ctype = symbol(c"__ctype_init")?;
    let found = Glibc {
        // SAFETY: the type of the function is this in glibc since 2.1 (elf/dl-tls.c).
        allocate_tls: unsafe { mem::transmute::<*const c_void, AllocateTls>(allocate_tls) },
        // SAFETY: since 2.18 (stdlib/cxa_thread_atexit_impl.c).
        call_tls_destructors: unsafe {
            mem::transmute::<*const c_void, Procedure>(call_tls_destructors)
        },
        // SAFETY: since 2.10 (ctype/ctype-info.c).
        init_ctype: unsafe { mem::transmute::<*const c_void, Procedure>(init_ctype) },
        thread_at: (thread as isize).wrapping_sub(base::current() as isize),
        tid_at: tid[2] as usize,
        tables_at: tables[2] as usize,
        tables: (tables[0] * tables[1]) as usize / usize::BITS as usize,
        keys_per_table: field(c"_thread_db_pthread_key_data_level2_data")?[1] as usize,
        first_table_at: first_table_at(thread, tables[2] as usize),
        entry_bytes: number(c"_thread_db_sizeof_pthread_key_data")? as usize,
        value_at: field(c"_thread_db_pthread_key_data_data")?[2] as usize,
        robust_at: robust_list_at(thread, thread_bytes)?,
        rseq_at: rseq_at(thread, thread_bytes),
        keys: symbol(c"__pthread_keys")?.cast(),
        key_bytes: number(c"_thread_db_sizeof_pthread_key_struct")? as usize,
        key_destructor_at: destructor[2] as usize,
    };
    let fits = |at: usize, bytes: usize| at >= base::HEADER_BYTES && at + bytes <= thread_bytes;
    let sane = fits(found.tid_at, 4)
        && fits(found.tables_at, found.tables * 8)
        && fits(
            found.first_table_at,
            found.keys_per_table * found.entry_bytes,
        )
        && found.entry_bytes >= found.value_at + 8
        && fits(found.robust_at, ROBUST_BYTES)
        && found.key_bytes >= found.key_destructor_at + 8;
    sane.then_some(found)
        .ok_or_else(|| "glibc describes its struct pthread in an unknown way".into())
}

fn symbol(name: &CStr) -> Result<*const c_void, String> {
    // SAFETY: dlsym takes a C string and finds or does not find a symbol.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if address.is_null() {
        let name = name.to_string_lossy();
        return Err(format!(
            "this libc has no {name} (it needs glibc, linked dynamically)"
        ));
    }
    Ok(address)
}

fn number(name: &CStr) -> Result<u32, String> {
    // SAFETY: the symbols that this is called with are `uint32_t`.
    Ok(unsafe { *symbol(name)?.cast::<u32>() })
}

fn field(name: &CStr) -> Result<Field, String> {
    // SAFETY: the symbols that this is called with are `uint32_t[3]`.
    Ok(unsafe { *symbol(name)?.cast::<Field>() })
}

/// The calling thread's `struct pthread`: in glibc `pthread_t` is its address.
fn this_thread() -> *const u8 {
    // SAFETY: a plain question.
    unsafe { libc::pthread_self() as *const u8 }
}

/// The kernel knows where the calling thread's list is. Where it doesn't tell (seccomp, an
/// emulator) an empty list is known by its shape: its head points to itself, and the word before
/// points there too.
fn robust_list_at(thread: *const u8, thread_bytes: usize) -> Result<usize, String> {
    let (mut head, mut bytes) = (0usize, 0usize);
    // SAFETY: the call writes two words.
    let result: i64 =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if result == 0 && bytes == ROBUST_BYTES {
        return Ok(head.wrapping_sub(thread as usize));
    }
    let word = size_of::<usize>();
    let mut places = (base::HEADER_BYTES + word..=thread_bytes - ROBUST_BYTES).step_by(word);
    let empty = |at: &usize| {
        let head = thread.wrapping_add(*at);
        // SAFETY: the words lie within the calling thread's `struct pthread`.
        let (before, first) = unsafe {
            let head = head.cast::<usize>();
            (head.sub(1).read_volatile(), head.read_volatile())
        };
        before == head as usize && first == head as usize
    };
    let found = places.find(empty);
    match (found, places.any(|at| empty(&at))) {
        (Some(at), false) => Ok(at),
        _ => Err("neither the kernel nor glibc tells where robust mutexes are listed".into()),
    }
}

/// The calling thread has a pointer to its own first table, which lies within it.
fn first_table_at(thread: *const u8, tables_at: usize) -> usize {
    // SAFETY: `tables_at` is an offset into the calling thread's `struct pthread`.
    let table = unsafe { thread.add(tables_at).cast::<usize>().read() };
    table.wrapping_sub(thread as usize)
}

/// glibc 2.35 and later say where, from where the register points to; the area lies within
/// `struct pthread` or is not of it.
fn rseq_at(thread: *const u8, thread_bytes: usize) -> usize {
    let offset = symbol(c"__rseq_offset").map_or(0, |at| {
        // SAFETY: the symbol is a `ptrdiff_t`.
        unsafe { *at.cast::<isize>() }
    });
    let area = (base::current() as usize).wrapping_add_signed(offset);
    area.checked_sub(thread as usize)
        .filter(|at| at + 8 <= thread_bytes)
        .unwrap_or(0)
}

/// The destructor of a pthread key, if it has one.
pub(super) fn destructor_of(
    glibc: &Glibc,
    key: usize,
) -> Option<unsafe extern "C" fn(*mut c_void)> {
    // SAFETY: `key` is below the number of keys, and so an index into the table; an entry's
    // destructor is a function pointer or null.
    unsafe {
        glibc
            .keys
            .add(key * glibc.key_bytes + glibc.key_destructor_at)
            .cast::<Option<unsafe extern "C" fn(*mut c_void)>>()
            .read_volatile()
    }
}

/// As pthread_getspecific; for keys that nobody has made it gives null.
pub(super) fn value_of(key: usize) -> *mut c_void {
    // SAFETY: any number may be asked for.
    unsafe { libc::pthread_getspecific(key as libc::pthread_key_t) }
}

/// As pthread_setspecific with null.
pub(super) fn clear_value_of(key: usize) -> c_int {
    // SAFETY: clearing a value touches nothing of its owner's.
    unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, std::ptr::null()) }
}
