//! What is left of a vectored call after a part of it was done.

use std::ffi::c_void;

use libc::{iovec, msghdr};

/// Slices passed to the kernel at a time; the rest of more comes in the next call.
const SLICES: usize = 16;

/// The bytes that all slices hold together.
pub(super) fn total(slices: &[iovec]) -> usize {
    let lengths = slices.iter().map(|slice| slice.iov_len);
    lengths.fold(0, usize::saturating_add)
}

/// The first slices of those that are left after `done` bytes.
pub(super) struct Rest {
    slices: [iovec; SLICES],
    length: usize,
}

impl Rest {
    pub(super) fn new(slices: &[iovec], done: usize) -> Rest {
        let none = iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut rest = Rest {
            slices: [none; SLICES],
            length: 0,
        };
        let mut skip = done;
        for slice in slices {
            if slice.iov_len <= skip {
                skip -= slice.iov_len;
                continue;
            }
            let Some(place) = rest.slices.get_mut(rest.length) else {
                break;
            };
            *place = iovec {
                iov_base: slice
                    .iov_base
                    .cast::<u8>()
                    .wrapping_add(skip)
                    .cast::<c_void>(),
                iov_len: slice.iov_len - skip,
            };
            skip = 0;
            rest.length += 1;
        }
        rest
    }

    /// Ends after `bytes`.
    pub(super) fn cut(mut self, bytes: usize) -> Rest {
        let mut room = bytes;
        for slice in &mut self.slices[..self.length] {
            slice.iov_len = slice.iov_len.min(room);
            room -= slice.iov_len;
        }
        self
    }

    pub(super) fn as_slice(&self) -> &[iovec] {
        self.slices.get(..self.length).unwrap_or_default()
    }

    /// A message of these slices and nothing else.
    pub(super) fn message(&mut self) -> msghdr {
        // SAFETY: a message of zeros is one without address, slices or control data.
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.slices.as_mut_ptr();
        message.msg_iovlen = self.length as _;
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    fn slice(bytes: &[u8]) -> iovec {
        iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }
    }

    #[test]
    fn the_rest_begins_in_the_middle_of_a_slice() {
        let _bound = bounded();
        let (a, b, c) = ([0u8; 3], [0u8; 0], [0u8; 5]);
        let all = [slice(&a), slice(&b), slice(&c)];
        assert_eq!(total(&all), 8);
        let lengths = |done| {
            let rest = Rest::new(&all, done);
            let rest = rest.as_slice().iter();
            rest.map(|slice| slice.iov_len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(0), [3, 5]);
        assert_eq!(lengths(2), [1, 5]);
        assert_eq!(lengths(3), [5]);
        assert_eq!(lengths(7), [1]);
        assert_eq!(lengths(8), []);
        let rest = Rest::new(&all, 5);
        let begin = rest.as_slice()[0].iov_base.cast_const().cast::<u8>();
        assert_eq!(begin, c[2..].as_ptr());
        let cut = |bytes| total(Rest::new(&all, 2).cut(bytes).as_slice());
        assert_eq!([0, 1, 4, 6, 9].map(cut), [0, 1, 4, 6, 6]);
    }

    #[test]
    fn of_very_many_slices_the_first_are_taken() {
        let _bound = bounded();
        let byte = [0u8];
        let all = vec![slice(&byte); 1000];
        assert_eq!(Rest::new(&all, 0).as_slice().len(), SLICES);
        assert_eq!(Rest::new(&all, 990).as_slice().len(), 10);
    }
}
