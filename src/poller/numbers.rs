//! Registrations by the number of their descriptor: for code that has nothing but the number.
//!
//! ```text
//!   number --page, place--> Known { key, life, mode }
//! ```
//!
//! A number comes back after its descriptor was closed; `life` says for which of its lives an
//! entry is good. `mode` is what the kernel said of the descriptor when it was last asked.
//! Pure: no system calls.

use super::Key;

/// Entries in one page; a page is there as soon as one of its numbers is.
const PAGE: usize = 64;

/// How calls on a descriptor behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    /// When the kernel was asked, by the count of changes that were seen since the start.
    pub(crate) asked_at: u64,
    pub(crate) nonblocking: bool,
    /// Fewer bytes than asked for prove that there are no more: so it is with TCP.
    pub(crate) tells_all: bool,
    /// Nanoseconds; 0 for none.
    pub(crate) read_timeout: u64,
    pub(crate) write_timeout: u64,
}

/// What is known of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: Key,
    pub(crate) life: u32,
    pub(crate) mode: Mode,
    /// A failure that the next call is to return, as the kernel says it; 0 for none.
    pub(crate) owed: i32,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pages: Vec<Option<Box<[Option<Known>; PAGE]>>>,
}

impl Numbers {
    #[inline]
    pub(crate) fn get(&mut self, fd: i32) -> Option<&mut Known> {
        let fd = usize::try_from(fd).ok()?;
        let page = self.pages.get_mut(fd / PAGE)?.as_mut()?;
        page.get_mut(fd % PAGE)?.as_mut()
    }

    /// Notes `known` for a number that is not negative; what was known before is gone.
    pub(crate) fn set(&mut self, fd: i32, known: Known) {
        let Ok(fd) = usize::try_from(fd) else { return };
        if self.pages.len() <= fd / PAGE {
            self.pages.resize_with(fd / PAGE + 1, || None);
        }
        let page = self.pages[fd / PAGE].get_or_insert_with(|| Box::new([None; PAGE]));
        page[fd % PAGE] = Some(known);
    }

    pub(crate) fn remove(&mut self, fd: i32) -> Option<Known> {
        let fd = usize::try_from(fd).ok()?;
        self.pages.get_mut(fd / PAGE)?.as_mut()?[fd % PAGE].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::poller::Registry;

    #[test]
    fn numbers_are_known_until_they_are_removed() {
        let _bound = bounded();
        let mut registry = Registry::<u8>::new();
        let mut numbers = Numbers::default();
        let mut known = |life| Known {
            key: registry.insert(7),
            life,
            mode: Mode::default(),
            owed: 0,
        };
        let (small, large) = (known(1), known(2));
        numbers.set(7, small);
        numbers.set(100_000, large);
        numbers.set(-1, large);
        assert_eq!(numbers.get(7), Some(&mut small.clone()));
        assert_eq!(numbers.get(100_000), Some(&mut large.clone()));
        assert_eq!(numbers.get(-1), None);
        assert_eq!(numbers.get(8), None);
        assert_eq!(numbers.get(i32::MAX), None);
        assert_eq!(numbers.remove(7), Some(small));
        assert_eq!(numbers.remove(7), None);
        assert_eq!(numbers.get(7), None);
    }
}
