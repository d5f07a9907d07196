//! Start programs the Unix way, as with `std::os::unix::process`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;

pub use std::os::unix::process::{ExitStatusExt, parent_id};

use crate::process::Command;

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::process::Command {}
}

/// What a [`Command`] can do on Unix only. As [`std::os::unix::process::CommandExt`].
///
/// # Examples
/// ```
/// use greenroom::os::unix::process::CommandExt;
/// use greenroom::process::Command;
/// let output = Command::new("sh").arg0("shell").args(["-c", "echo $0"]).output()?;
/// assert_eq!(output.stdout, b"shell\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait CommandExt: sealed::Sealed {
    /// The user id of the child. The groups are taken away if this process is root.
    fn uid(&mut self, id: u32) -> &mut Command;

    /// The group id of the child.
    fn gid(&mut self, id: u32) -> &mut Command;

    /// Has `f` run in the child, just before exec(2).
    ///
    /// # Safety
    /// `f` runs after fork(2), in a process in which no other thread exists: it may do what is
    /// async-signal-safe, and nothing else. It may not touch anything of greenroom.
    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// The former, safe name of [`pre_exec`](CommandExt::pre_exec).
    ///
    /// # Safety
    /// As there.
    #[deprecated(note = "should be unsafe, use `pre_exec` instead")]
    unsafe fn before_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// Becomes the program; comes back only with an error. All greenlets are gone with it.
    fn exec(&mut self) -> io::Error;

    /// What the program is told as its own name, the first of its arguments.
    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command;

    /// The process group of the child; 0 makes a new one.
    fn process_group(&mut self, group: i32) -> &mut Command;
}

impl CommandExt for Command {
    fn uid(&mut self, id: u32) -> &mut Command {
        self.std_mut().uid(id);
        self
    }

    fn gid(&mut self, id: u32) -> &mut Command {
        self.std_mut().gid(id);
        self
    }

    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: the caller vouches for `f`, as std asks.
        unsafe { self.std_mut().pre_exec(f) };
        self
    }

    unsafe fn before_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: as above.
        unsafe { self.pre_exec(f) }
    }

    fn exec(&mut self) -> io::Error {
        self.std_mut().exec()
    }

    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.std_mut().arg0(arg);
        self
    }

    fn process_group(&mut self, group: i32) -> &mut Command {
        self.std_mut().process_group(group);
        self
    }
}
