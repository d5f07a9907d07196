//! The shared objects of this process, and to whose functions they are bound.
//!
//! ```text
//!   object --PT_DYNAMIC--> symbols, strings, relocations
//!                                              | of a name of ours
//!                                              v
//!                                           the slot: our address?  its own (not bound yet)?
//!                                           or libc's: it passes us by
//! ```
//!
//! Only what the loader has mapped is read, and only by its own tables.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;

use libc::{Elf64_Phdr, Elf64_Sym, dl_phdr_info, size_t};

use super::hooks::{self, Hook};

/// An object that calls libc's function instead of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bypassing {
    pub(super) object: String,
    pub(super) name: &'static str,
}

/// Every object that is bound to somebody else's function of a name of ours.
pub(super) fn bypassing() -> Vec<Bypassing> {
    let mut found = Vec::new();
    // SAFETY: the callback takes what dl_iterate_phdr hands it, and `found`, which lives here.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast::<c_void>()) };
    found
}

/// Objects of libc itself, and what the kernel brings: they don't call these functions by name,
/// or must not be led to us.
const EXEMPT: &[&str] = &[
    "libc.so",
    "ld-linux",
    "linux-vdso",
    "libpthread.so",
    "libasan",
];

unsafe extern "C" fn visit(info: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: handed on by dl_iterate_phdr; `found` is the vector of `bypassing`.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Bypassing>>()) };
    // SAFETY: null or a C string, by the loader.
    let name = (!info.dlpi_name.is_null()).then(|| unsafe { CStr::from_ptr(info.dlpi_name) });
    let name = name.map(CStr::to_string_lossy).unwrap_or_default();
    // The program itself has no name here: its calls are bound when it is linked.
    if name.is_empty() || EXEMPT.iter().any(|exempt| name.contains(exempt)) {
        return 0;
    }
    // SAFETY: a mapped object.
    for hook in unsafe { Object::new(info).passing_by() } {
        found.push(Bypassing {
            object: name.clone().into_owned(),
            name: hook.name,
        });
    }
    0
}

/// The object that has some address in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// From the first to the last byte that is mapped of it.
    pub(super) span: Range<usize>,
    pub(super) is_program: bool,
}

/// That of an address, if it is mapped from any.
pub(super) fn home_of(address: usize) -> Option<Home> {
    let mut search = Search {
        address,
        seen: 0,
        home: None,
    };
    // SAFETY: the callback takes what dl_iterate_phdr hands it, and `search`, which lives here.
    unsafe { libc::dl_iterate_phdr(Some(look_for), (&raw mut search).cast::<c_void>()) };
    search.home
}

struct Search {
    address: usize,
    /// How many objects have been looked at.
    seen: usize,
    home: Option<Home>,
}

unsafe extern "C" fn look_for(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: handed on by dl_iterate_phdr; `search` is that of `home_of`.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    // SAFETY: a mapped object.
    let object = unsafe { Object::new(info) };
    search.seen += 1;
    if !object.contains(search.address) {
        return 0;
    }
    let end = |one: &Elf64_Phdr| (one.p_vaddr + one.p_memsz) as usize;
    let loaded = object
        .headers
        .iter()
        .filter(|one| one.p_type == libc::PT_LOAD);
    let bytes = loaded.map(end).max().unwrap_or(0);
    search.home = Some(Home {
        span: object.base..object.base + bytes,
        // The first is the program.
        is_program: search.seen == 1,
    });
    1
}

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Relocation {
    offset: usize,
    info: u64,
    _addend: i64,
}

const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

struct Object<'a> {
    base: usize,
    headers: &'a [Elf64_Phdr],
}

impl<'a> Object<'a> {
    /// # Safety
    /// From dl_iterate_phdr, for as long as the object is mapped.
    unsafe fn new(info: &'a dl_phdr_info) -> Object<'a> {
        let (at, count) = (info.dlpi_phdr, usize::from(info.dlpi_phnum));
        Object {
            base: info.dlpi_addr as usize,
            // SAFETY: the caller's.
            headers: unsafe { std::slice::from_raw_parts(at, count) },
        }
    }

    fn contains(&self, address: usize) -> bool {
        let loaded = self
            .headers
            .iter()
            .filter(|one| one.p_type == libc::PT_LOAD);
        let offset = address.wrapping_sub(self.base) as u64;
        let mut spans = loaded.map(|one| one.p_vaddr..one.p_vaddr + one.p_memsz);
        spans.any(|span| span.contains(&offset))
    }

    /// An entry of the object's dynamic section.
    ///
    /// # Safety
    /// As [`Object::new`].
    unsafe fn entry(&self, tag: i64) -> Option<usize> {
        let section = self
            .headers
            .iter()
            .find(|one| one.p_type == libc::PT_DYNAMIC)?;
        let mut at = (self.base + section.p_vaddr as usize) as *const Dynamic;
        // SAFETY: the section ends with an entry of tag 0.
        unsafe {
            while (*at).tag != 0 {
                if (*at).tag == tag {
                    return Some((*at).value);
                }
                at = at.add(1);
            }
        }
        None
    }

    /// An address from the dynamic section, which the loader has relocated, or has not.
    unsafe fn address(&self, tag: i64) -> Option<usize> {
        // SAFETY: the caller's.
        let value = unsafe { self.entry(tag) }?;
        let value = if self.contains(value) {
            value
        } else {
            self.base.wrapping_add(value)
        };
        self.contains(value).then_some(value)
    }

    /// The functions of ours that this object calls elsewhere.
    ///
    /// # Safety
    /// As [`Object::new`].
    unsafe fn passing_by(&self) -> Vec<&'static Hook> {
        let mut found = Vec::new();
        for (table, size) in [(DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)] {
            // SAFETY: the caller's.
            let place = unsafe { self.address(table).zip(self.entry(size)) };
            let Some((table, size)) = place else { continue };
            let count = size / size_of::<Relocation>();
            // SAFETY: so says the dynamic section.
            let all = unsafe { std::slice::from_raw_parts(table as *const Relocation, count) };
            // SAFETY: the caller's.
            let passing = all.iter().filter_map(|one| unsafe { self.judge(one) });
            found.extend(passing);
        }
        found
    }

    /// # Safety
    /// As [`Object::new`]; a relocation of this object.
    unsafe fn judge(&self, one: &Relocation) -> Option<&'static Hook> {
        let index = (one.info >> 32) as usize;
        if index == 0 {
            return None;
        }
        // SAFETY: the index and the offset are those of the object's own tables.
        let name = unsafe {
            let symbols = self.address(DT_SYMTAB)? as *const Elf64_Sym;
            let strings = self.address(DT_STRTAB)?;
            let offset = (*symbols.add(index)).st_name as usize;
            CStr::from_ptr((strings + offset) as *const _)
        };
        let hook = hooks::ALL
            .iter()
            .find(|hook| hook.name.as_bytes() == name.to_bytes())?;
        let slot = self.base.wrapping_add(one.offset);
        if !self.contains(slot) {
            return None;
        }
        // SAFETY: the slot of a relocation, mapped.
        let bound = unsafe { (slot as *const usize).read_unaligned() };
        let pending = bound == 0 || self.contains(bound);
        (!pending && bound != hook.address as usize).then_some(*hook)
    }
}
