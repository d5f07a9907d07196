//! Moving code over is search and replace: one text, compiled against std's names and ours.
//!
//! It names every function and trait that `std::process` and `std::os::unix::process` have on
//! stable (Rust 1.95), with its signature.

macro_rules! surface {
    ($name:ident, $root:ident) => {
        mod $name {
            use std::ffi::OsStr;
            use std::fmt::Debug;
            use std::io::{Error, Read, Result, Write};
            use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
            use std::panic::{RefUnwindSafe, UnwindSafe};
            use std::path::Path;
            use $root::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
            use $root::process::*;

            trait Free: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe {}
            impl<T: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe> Free for T {}

            fn end<T>()
            where
                T: Free + AsFd + AsRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd> + Into<Stdio>,
            {
            }
            fn reads<T: Read>() {}
            fn writes<T: Write>() {}
            fn free<T: Free>() {}

            fn pipes() {
                end::<ChildStdin>();
                end::<ChildStdout>();
                end::<ChildStderr>();
                writes::<ChildStdin>();
                writes::<&ChildStdin>();
                reads::<ChildStdout>();
                reads::<ChildStderr>();
            }

            fn child() {
                free::<Child>();
                let _: fn(&Child) -> u32 = Child::id;
                let _: fn(&mut Child) -> Result<()> = Child::kill;
                let _: fn(&mut Child) -> Result<ExitStatus> = Child::wait;
                let _: fn(&mut Child) -> Result<Option<ExitStatus>> = Child::try_wait;
                let _: fn(Child) -> Result<Output> = Child::wait_with_output;
                let _: fn(Child) -> Option<ChildStdin> = |child| child.stdin;
                let _: fn(Child) -> Option<ChildStdout> = |child| child.stdout;
                let _: fn(Child) -> Option<ChildStderr> = |child| child.stderr;
            }

            fn command() {
                type C = Command;
                fn all<T: Debug + Send + Sync + Unpin>() {}
                all::<Command>();
                let _: fn(&'static str) -> C = C::new::<&str>;
                let _: for<'a> fn(&'a mut C, &'static str) -> &'a mut C = C::arg::<&str>;
                let _: for<'a> fn(&'a mut C, [String; 2]) -> &'a mut C = C::args::<_, String>;
                let _: for<'a> fn(&'a mut C, String, String) -> &'a mut C = C::env;
                let _: for<'a> fn(&'a mut C, Vec<(String, String)>) -> &'a mut C = C::envs;
                let _: for<'a> fn(&'a mut C, String) -> &'a mut C = C::env_remove;
                let _: for<'a> fn(&'a mut C) -> &'a mut C = C::env_clear;
                let _: for<'a> fn(&'a mut C, &'static Path) -> &'a mut C = C::current_dir::<&Path>;
                let _: for<'a> fn(&'a mut C, Stdio) -> &'a mut C = C::stdin;
                let _: for<'a> fn(&'a mut C, ChildStdout) -> &'a mut C = C::stdin;
                let _: for<'a> fn(&'a mut C, std::fs::File) -> &'a mut C = C::stdout;
                let _: for<'a> fn(&'a mut C, OwnedFd) -> &'a mut C = C::stderr;
                let _: fn(&mut C) -> Result<Child> = C::spawn;
                let _: fn(&mut C) -> Result<Output> = C::output;
                let _: fn(&mut C) -> Result<ExitStatus> = C::status;
                let _: for<'a> fn(&'a C) -> &'a OsStr = C::get_program;
                let _: for<'a> fn(&'a C) -> CommandArgs<'a> = C::get_args;
                let _: for<'a> fn(&'a C) -> CommandEnvs<'a> = C::get_envs;
                let _: for<'a> fn(&'a C) -> Option<&'a Path> = C::get_current_dir;
            }

            fn unix() {
                type C = Command;
                type F = fn() -> Result<()>;
                let _: for<'a> fn(&'a mut C, u32) -> &'a mut C = C::uid;
                let _: for<'a> fn(&'a mut C, u32) -> &'a mut C = C::gid;
                let _: for<'a> unsafe fn(&'a mut C, F) -> &'a mut C = C::pre_exec;
                let _: fn(&mut C) -> Error = C::exec;
                let _: for<'a> fn(&'a mut C, String) -> &'a mut C = C::arg0;
                let _: for<'a> fn(&'a mut C, i32) -> &'a mut C = C::process_group;
                let _: fn(&ExitStatus) -> Option<i32> = ExitStatus::signal;
                let _: fn() -> u32 = parent_id;
            }

            fn others() {
                fn terminates<T: Termination>() {}
                terminates::<ExitCode>();
                let _: fn() -> Stdio = Stdio::piped;
                let _: fn() -> Stdio = Stdio::inherit;
                let _: fn() -> Stdio = Stdio::null;
                let _: fn() -> ! = abort;
                let _: fn(i32) -> ! = exit;
                let _: fn() -> u32 = id;
            }

            pub(super) fn names() {
                pipes();
                child();
                command();
                unix();
                others();
            }
        }
    };
}

surface!(theirs, std);
surface!(ours, greenroom);

mod bounded;

use bounded::bounded;
#[test]
fn the_same_text_compiles_against_both() {
    let _bound = bounded();
    theirs::names();
    ours::names();
}
