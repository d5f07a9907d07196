//! Run other programs as with `std::process`: name for name, with waits and pipes that park.
//!
//! To move code over, replace `std::process` by `greenroom::process`, and `std::os::unix::process`
//! by [`greenroom::os::unix::process`](crate::os::unix::process), and `std::os::linux::process` by
//! [`greenroom::os::linux::process`](crate::os::linux::process). What is different, or more:
//!
//! * [`Child::wait_timeout`], and [`Child::communicate`], which loses no output when it is
//!   interrupted.
//! * A [`Child`] can be waited for with [`wait`](crate::wait) and [`iwait`](crate::iwait), together
//!   with others.
//! * A child has one descriptor more, close-on-exec: the pidfd by which its end is heard of. Where
//!   there is none to be had (before Linux 5.3, or in want of descriptors) the child is looked at
//!   every now and then instead, at first each millisecond, later each 32 ms.
//! * No handler of SIGCHLD is installed, and that of others is left alone.
//!
//! What std does, it does here: dropping a [`Child`] neither kills nor reaps it, and a child that
//! is never waited for stays a zombie until this process ends.
//!
//! [`Command::spawn`] does not park. It blocks the OS thread for as long as the kernel takes to
//! start a program, less than a millisecond as a rule: std uses posix_spawn(3), which shares the
//! memory of this process until the program is found, or, where the command needs it
//! ([`pre_exec`], a user id), fork(2), which takes the longer the more memory there is to copy the
//! tables of.
//!
//! [`pre_exec`]: crate::os::unix::process::CommandExt::pre_exec
//!
//! # Examples
//! Ten children at once take as long as one:
//! ```
//! use greenroom::process::Command;
//!
//! let naps = (0..10).map(|_| greenroom::spawn(|| Command::new("sleep").arg("0.05").status()));
//! for status in greenroom::joinall(naps.collect::<Vec<_>>()) {
//!     assert!(status.unwrap()?.success());
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod child;
mod command;
mod exit;
pub(crate) mod pidfd;
mod pipes;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};
