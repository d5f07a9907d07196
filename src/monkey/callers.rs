//! Who makes a call: std's functions that wait for the output of a child unwrap what reading its
//! pipes says, and are told from other readers by the frames on the stack.

use std::ffi::{c_int, c_void};
use std::io;
use std::process::{Child, Command, Output};

type Context = c_void;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        given: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

const NO_REASON: c_int = 0;
const END_OF_STACK: c_int = 5;
/// Frames that are looked at: ours, then those of std's reader.
const FRAMES_MAX: usize = 64;

struct Search {
    functions: [usize; 2],
    frames: usize,
    found: bool,
}

/// Is this call made for `Command::output` or `Child::wait_with_output`? Where the compiler has
/// put them into their callers (link-time optimisation) it can't be told.
#[cold]
pub(super) fn want_output() -> bool {
    let output: fn(&mut Command) -> io::Result<Output> = Command::output;
    let wait: fn(Child) -> io::Result<Output> = Child::wait_with_output;
    let mut search = Search {
        functions: [output as usize, wait as usize],
        frames: 0,
        found: false,
    };
    // SAFETY: `look` is called for each frame, with the search, which lives here.
    unsafe { _Unwind_Backtrace(look, (&raw mut search).cast()) };
    search.found
}

extern "C" fn look(context: *mut Context, search: *mut c_void) -> c_int {
    // SAFETY: the search that `want_output` has given; the unwinder's own context.
    let (search, address) = unsafe { (&mut *search.cast::<Search>(), _Unwind_GetIP(context)) };
    search.frames += 1;
    // SAFETY: any address may be asked for; that of the call lies before the one of its return.
    let function =
        unsafe { _Unwind_FindEnclosingFunction((address.wrapping_sub(1)) as *mut c_void) };
    search.found = search.functions.contains(&(function as usize));
    match search.found || search.frames == FRAMES_MAX {
        true => END_OF_STACK,
        false => NO_REASON,
    }
}
