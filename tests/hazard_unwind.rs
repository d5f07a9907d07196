//! A profiler's signal may come between any two instructions, and takes a backtrace there.

mod unwind_support;
use unwind_support::bounded_by;

/// Seconds: there is a system call or two for each instruction.
const BOUND_S: u64 = 300;

#[cfg(target_arch = "x86_64")]
#[test]
fn backtraces_hold_at_each_instruction() {
    let _bound = bounded_by(BOUND_S);
    unwind_support::walk_at_each_instruction();
}

#[test]
fn backtraces_hold_at_any_moment() {
    let _bound = bounded_by(BOUND_S);
    unwind_support::walk_at_any_moment(100_000);
}
