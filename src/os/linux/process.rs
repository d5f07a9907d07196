//! Use descriptors of processes as with `std::os::linux::process`, which is not stable. This module
//! follows std's nightly: when std changes its names, it does so too.
use std::io;

pub use crate::process::pidfd::PidFd;

use crate::process::{Child, Command};

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::process::Child {}
    impl Sealed for crate::process::Command {}
}

/// What a [`Command`] can do on Linux only.
///
/// # Examples
/// See [`PidFd`].
pub trait CommandExt: sealed::Sealed {
    /// Whether a [`PidFd`] is made for the child: by default none is.
    fn create_pidfd(&mut self, val: bool) -> &mut Command;
}

impl CommandExt for Command {
    fn create_pidfd(&mut self, val: bool) -> &mut Command {
        self.set_create_pidfd(val);
        self
    }
}

/// What a [`Child`] can do on Linux only.
///
/// # Examples
/// See [`PidFd`].
pub trait ChildExt: sealed::Sealed {
    /// The [`PidFd`] that was made for the child.
    ///
    /// # Errors
    /// When none was asked for by [`create_pidfd`](CommandExt::create_pidfd), or there was none to
    /// be had: before Linux 5.3, or in want of descriptors.
    fn pidfd(&self) -> io::Result<&PidFd>;

    /// The [`PidFd`] that was made for the child, in place of the child.
    ///
    /// # Errors
    /// As [`pidfd`](ChildExt::pidfd): the child comes back.
    fn into_pidfd(self) -> Result<PidFd, Self>
    where
        Self: Sized;
}

impl ChildExt for Child {
    fn pidfd(&self) -> io::Result<&PidFd> {
        let none = || io::Error::other("no pidfd was created for this child");
        self.created_pidfd().ok_or_else(none)
    }

    fn into_pidfd(self) -> Result<PidFd, Child> {
        self.into_created_pidfd()
    }
}
