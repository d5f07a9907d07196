//! As `hazard_unwind`, in a program that is patched: greenlets have thread-locals of their own.
#![cfg(feature = "monkey")]

mod unwind_support;
use unwind_support::bounded_by;

/// Seconds: there is a system call or two for each instruction.
const BOUND_S: u64 = 300;

#[cfg(target_arch = "x86_64")]
#[test]
fn backtraces_hold_at_each_instruction_where_thread_locals_change() {
    let _bound = bounded_by(BOUND_S);
    greenroom::monkey::patch_all().unwrap();
    unwind_support::walk_at_each_instruction();
}

#[test]
fn backtraces_hold_at_any_moment_where_thread_locals_change() {
    let _bound = bounded_by(BOUND_S);
    greenroom::monkey::patch_all().unwrap();
    unwind_support::walk_at_any_moment(100_000);
}
