//! How often each descriptor's number has been closed, and which hub waits for it by number.
//!
//! ```text
//!   number --page--> life | hub      closed: life + 1, no hub
//! ```
//!
//! A close on one OS thread must reach the hub of another. It asks here, with one load, whether
//! there is anything to reach; and what a hub knows of a number is good for one life of it only.
//! Pages are mapped when a number of theirs is first waited for; there is no limit below the
//! kernel's, and nothing here allocates.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::raw::raw;

const PAGE_BITS: u32 = 13;
const PAGE: usize = 1 << PAGE_BITS;
const PAGES: usize = 1 << (31 - PAGE_BITS);

type Page = [AtomicU64; PAGE];

/// One more than the last page that is there.
static PAGES_END: AtomicUsize = AtomicUsize::new(0);

/// In the zeroed part of the program: only what is looked at is there.
static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];

/// Which hubs know a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Hub(u32),
    Several,
}

impl Owner {
    fn to_bits(self) -> u32 {
        match self {
            Owner::Nobody => 0,
            Owner::Hub(number) => number.wrapping_add(1).clamp(1, u32::MAX - 1),
            Owner::Several => u32::MAX,
        }
    }

    fn of_bits(bits: u32) -> Owner {
        match bits {
            0 => Owner::Nobody,
            u32::MAX => Owner::Several,
            number => Owner::Hub(number - 1),
        }
    }
}

fn pack(life: u32, owner: Owner) -> u64 {
    u64::from(life) << 32 | u64::from(owner.to_bits())
}

fn unpack(word: u64) -> (u32, Owner) {
    ((word >> 32) as u32, Owner::of_bits(word as u32))
}

fn place(fd: i32) -> Option<(&'static AtomicPtr<Page>, usize)> {
    let fd = usize::try_from(fd).ok()?;
    Some((TABLE.get(fd >> PAGE_BITS)?, fd % PAGE))
}

#[inline]
fn cell(fd: i32) -> Option<&'static AtomicU64> {
    let (page, index) = place(fd)?;
    // SAFETY: a page is null or a mapping that is never unmapped, zeroed when it was made.
    unsafe { page.load(Ordering::Acquire).as_ref()?.get(index) }
}

/// The present life of a number.
#[inline]
pub(super) fn of(fd: i32) -> u32 {
    cell(fd).map_or(0, |cell| unpack(cell.load(Ordering::Acquire)).0)
}

/// Notes that a hub knows this number, and returns its life. `None` without memory.
pub(super) fn claim(fd: i32, hub: u32) -> Option<u32> {
    let cell = cell(fd).or_else(|| {
        map_page(fd)?;
        cell(fd)
    })?;
    let claimed = |word| {
        let (life, owner) = unpack(word);
        Some(match owner {
            Owner::Nobody => pack(life, Owner::Hub(hub)),
            Owner::Hub(other) if other == hub => word,
            _ => pack(life, Owner::Several),
        })
    };
    let before = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, claimed);
    before.ok().map(|word| unpack(word).0)
}

/// Does a hub know this number?
#[inline]
pub(super) fn is_known(fd: i32) -> bool {
    let owner = |cell: &AtomicU64| unpack(cell.load(Ordering::Acquire)).1;
    cell(fd).is_some_and(|cell| owner(cell) != Owner::Nobody)
}

/// The numbers from `first` to `last` that a hub knows. What it costs depends on the pages that
/// are there, not on the range: that is often all numbers.
pub(super) fn known_within(first: u32, last: u32) -> impl Iterator<Item = i32> {
    let (first, last) = (first as usize, last as usize);
    let there = PAGES_END
        .load(Ordering::Acquire)
        .min((last >> PAGE_BITS) + 1);
    let pages = first >> PAGE_BITS..there;
    let mapped = pages.filter(|page| !TABLE[*page].load(Ordering::Acquire).is_null());
    let numbers = |page: usize| page << PAGE_BITS..(page + 1) << PAGE_BITS;
    mapped
        .flat_map(numbers)
        .filter(move |number| (first..=last).contains(number))
        .map(|number| number as i32)
        .filter(|fd| is_known(*fd))
}

/// Ends the present life of a number: which one it was, and who knew of it.
#[inline]
pub(super) fn end(fd: i32) -> Option<(u32, Owner)> {
    let cell = cell(fd).filter(|_| is_known(fd))?;
    let ended = |word| Some(pack(unpack(word).0.wrapping_add(1), Owner::Nobody));
    let before = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, ended);
    let (life, owner) = unpack(before.ok()?);
    (owner != Owner::Nobody).then_some((life, owner))
}

#[cold]
fn map_page(fd: i32) -> Option<()> {
    let (slot, _) = place(fd)?;
    let number = fd as usize >> PAGE_BITS;
    let length = size_of::<Page>();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping wherever the kernel finds room.
    let map = unsafe { raw!(SYS_mmap, 0, length, access, flags, -1isize, 0) };
    let page = usize::try_from(map).ok()? as *mut Page;
    let null = std::ptr::null_mut();
    if let Err(_other) = slot.compare_exchange(null, page, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: this mapping was not published: another thread was faster.
        unsafe { raw!(SYS_munmap, page, length) };
    }
    PAGES_END.fetch_max(number + 1, Ordering::AcqRel);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    /// Numbers that no test program has open, since others use this table as well.
    const FD: i32 = i32::MAX - 7;

    #[test]
    fn a_life_ends_once_and_only_if_somebody_knew_of_it() {
        let _bound = bounded();
        assert_eq!(end(FD), None, "nobody has ever asked");
        assert_eq!(claim(FD, 3), Some(0));
        assert_eq!(claim(FD, 3), Some(0));
        assert_eq!(end(FD), Some((0, Owner::Hub(3))));
        assert_eq!(end(FD), None);
        assert_eq!(of(FD), 1);
    }

    #[test]
    fn two_hubs_are_several() {
        let _bound = bounded();
        assert_eq!(claim(FD + 1, 0), Some(0));
        assert_eq!(claim(FD + 1, 4), Some(0));
        assert_eq!(end(FD + 1), Some((0, Owner::Several)));
    }

    #[test]
    fn those_known_are_found_in_any_range() {
        let _bound = bounded();
        let fd = FD - 100;
        claim(fd, 1);
        claim(fd + 2, 1);
        let all = || known_within(0, u32::MAX).filter(|known| (fd..fd + 10).contains(known));
        assert_eq!(all().collect::<Vec<_>>(), [fd, fd + 2]);
        let within = |first: i32, last: i32| known_within(first as u32, last as u32).count();
        assert_eq!(within(fd + 1, fd + 2), 1);
        assert_eq!(within(fd, fd), 1);
        assert_eq!(within(fd + 1, fd + 1), 0);
        assert_eq!(within(fd + 1, fd), 0);
        end(fd);
        assert_eq!(all().collect::<Vec<_>>(), [fd + 2]);
    }

    #[test]
    fn what_is_no_number_has_no_life() {
        let _bound = bounded();
        assert_eq!(claim(-1, 0), None);
        assert_eq!(end(i32::MIN), None);
        assert_eq!(of(-1), 0);
    }
}
