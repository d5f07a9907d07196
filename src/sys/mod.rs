//! The only door to the kernel.
#![allow(unsafe_code)]

pub(crate) mod addr;
pub(crate) mod fd_traits;
pub(crate) mod socket;
pub(crate) mod standin;
