//! What a stack size means, its limits, its classes, and the process-wide default.
//!
//! ```text
//!  named (Builder::stack_size, set_default_stack_size): size is usable, the guard comes on top
//!  |<- guard ->|<---------------- size, rounded up to a class ---------------->|
//!
//!  built in: 256 KiB (1 MiB under debug_assertions) is the whole slot
//!  |<- guard ->|<---- usable ---->|
//!  |<---------- size ------------>|
//! ```
//!
//! A size somebody named is kept as promised. The built-in one is a budget, chosen so that eight
//! slots share a page of page table; nobody counts on its last 64 KiB.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of a stack for which nobody named one. gzip (flate2) is the deepest common code that
/// was measured: 67 KB in release, 304 KB without optimisation.
const BUILT_IN: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    256 << 10
};

/// Length of a guard: 16 pages of 4 KiB. Rust probes each page of a large frame, C compiled
/// without `-fstack-clash-protection` does not: a 90 KiB frame stepped over a guard of one page.
/// 16 pages cost 671 ns to set, one costs 451.
const GUARD_BYTES: usize = 64 << 10;

/// Smallest size that may be asked for, unless the machine's signal frames demand more.
pub(crate) const SIZE_MIN: usize = 16 << 10;

/// What a stack must hold beyond one signal frame, for handlers without SA_ONSTACK run on it.
const SIGNAL_ROOM: usize = 8 << 10;

/// Largest size that may be asked for. A range this long still passes process_madvise in one
/// piece, whose limit is MAX_RW_COUNT (2 GiB less a page; linux/fs.h).
const SIZE_MAX: usize = 1 << 30;

/// `AT_MINSIGSTKSZ` (linux/auxvec.h): the largest signal frame of this machine. Not in libc.
const AT_MINSIGSTKSZ: libc::c_ulong = 51;

/// The process-wide default, as `set_default_stack_size` was given it.
static DEFAULT: AtomicUsize = AtomicUsize::new(BUILT_IN);

/// How the slots of one class are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The size to speak of: what was asked for, rounded up to the class.
    pub(super) nominal: usize,
    /// Bytes from one slot to the next.
    pub(super) slot: usize,
    /// Bytes of guard at the slot's low end.
    pub(super) guard: usize,
}

impl Layout {
    /// The layout for a size named by the caller, or for the built-in one.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming the size and the limits.
    pub(super) fn of(named: Option<usize>) -> io::Result<Layout> {
        let guard = guard_bytes();
        let Some(bytes) = named else {
            let slot = BUILT_IN.max(guard * 2);
            return Ok(Layout {
                nominal: BUILT_IN,
                slot,
                guard,
            });
        };
        check(bytes)?;
        let nominal = class(bytes);
        Ok(Layout {
            nominal,
            slot: nominal + guard,
            guard,
        })
    }
}

/// The default stack size in bytes, for greenlets whose `Builder` names none.
///
/// As built in, 256 KiB (1 MiB under `debug_assertions`): that much address space per stack, its
/// 64 KiB guard included. Memory is used only for the pages that are touched.
///
/// # Examples
/// ```
/// assert!(greenroom::default_stack_size() >= 64 * 1024);
/// ```
#[allow(unreachable_pub, reason = "the crate root exports it")]
pub fn default_stack_size() -> usize {
    DEFAULT.load(Ordering::Relaxed)
}

/// Sets the default stack size, in bytes, for the whole process: greenlets spawned from now on
/// by any thread get it unless their `Builder` names another.
///
/// All of a size set here is usable (it is rounded up to the next class, and the guard comes on
/// top); giving back what [`default_stack_size`] first returned restores the built-in layout.
///
/// # Examples
/// ```
/// greenroom::set_default_stack_size(64 * 1024)?;
/// assert_eq!(greenroom::default_stack_size(), 64 * 1024);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidInput` for less than 16 KiB (or this machine's signal frame plus 8 KiB, if that is
/// more) and for more than 1 GiB. The default then stays as it was.
#[allow(unreachable_pub, reason = "the crate root exports it")]
pub fn set_default_stack_size(bytes: usize) -> io::Result<()> {
    check(bytes)?;
    DEFAULT.store(bytes, Ordering::Relaxed);
    Ok(())
}

/// The default if somebody set it; `None` while it is the built-in one.
#[inline]
pub(super) fn named_default() -> Option<usize> {
    let bytes = DEFAULT.load(Ordering::Relaxed);
    (bytes != BUILT_IN).then_some(bytes)
}

/// Length of a guard, in whole pages of this machine (aarch64 has pages of up to 64 KiB).
#[inline]
pub(super) fn guard_bytes() -> usize {
    page_bytes().max(GUARD_BYTES)
}

/// The machine's page size, asked for once.
#[inline]
pub(super) fn page_bytes() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    match PAGE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: sysconf takes an integer and touches no memory of ours.
            let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let bytes = usize::try_from(bytes).unwrap_or(4096);
            PAGE.store(bytes, Ordering::Relaxed);
            bytes
        }
        bytes => bytes,
    }
}

/// The largest signal frame of this machine, in bytes; 2048 (MINSIGSTKSZ) before Linux 5.14.
pub(super) fn signal_frame_bytes() -> usize {
    // SAFETY: getauxval reads the auxiliary vector; an unknown key gives 0.
    let bytes = unsafe { libc::getauxval(AT_MINSIGSTKSZ) };
    (bytes as usize).max(libc::MINSIGSTKSZ)
}

/// Rounds up to a multiple of `step`, a power of two.
pub(super) fn round_up(bytes: usize, step: usize) -> usize {
    (bytes + step - 1) & !(step - 1)
}

/// The smallest size that may be asked for on this machine.
pub(super) fn size_min() -> usize {
    SIZE_MIN.max(round_up(signal_frame_bytes() + SIGNAL_ROOM, page_bytes()))
}

fn check(bytes: usize) -> io::Result<()> {
    let min = size_min();
    if (min..=SIZE_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("stack size {bytes} is out of range: at least {min}, at most {SIZE_MAX} bytes"),
    ))
}

/// Rounds up to a quarter of the power of two below: four classes for each doubling, so that a
/// program that names many sizes needs few slabs and wastes at most a fifth, of addresses only.
fn class(bytes: usize) -> usize {
    round_up(bytes, page_bytes().max(bytes.next_power_of_two() / 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    #[test]
    fn a_named_size_is_all_usable_and_wastes_at_most_a_fifth() {
        let _bound = bounded();
        for bytes in [
            size_min(),
            size_min() + 1,
            65_536,
            100_000,
            1 << 20,
            (1 << 20) + 1,
            1 << 30,
        ] {
            let layout = Layout::of(Some(bytes)).unwrap();
            assert!(layout.slot - layout.guard >= bytes, "{bytes}: {layout:?}");
            assert!(
                layout.nominal - bytes <= (bytes / 4).max(page_bytes()),
                "{layout:?}"
            );
            assert_eq!(layout.slot % page_bytes(), 0);
        }
        assert_eq!(Layout::of(Some(65_536)).unwrap().nominal, 65_536);
    }

    #[test]
    fn the_built_in_size_counts_its_guard() {
        let _bound = bounded();
        let layout = Layout::of(None).unwrap();
        assert_eq!(layout.slot, BUILT_IN);
        assert_eq!(layout.nominal, BUILT_IN);
        assert_eq!(layout.guard, guard_bytes());
    }

    #[test]
    fn classes_are_few() {
        let _bound = bounded();
        let classes: std::collections::BTreeSet<_> =
            ((16 << 10)..(1 << 20)).step_by(1000).map(class).collect();
        assert!(classes.len() <= 25, "{}", classes.len());
    }
}
