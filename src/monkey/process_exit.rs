//! exit(3) in a greenlet that owns its thread-locals.
//!
//! libc destroys the caller's thread-locals before all else. Generators and other greenlets may
//! stand still inside of them: none is to be resumed any more. main's return does not come by here;
//! it destroys the OS thread's. Nor does quick_exit, which destroys none.

use std::ffi::c_int;

use super::raw::next;
use crate::greenlet::identity::before_exit;

type Exit = unsafe extern "C" fn(c_int) -> !;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn exit(status: c_int) -> ! {
    before_exit();
    match next!(c"exit" as Exit) {
        // SAFETY: the caller's.
        Some(exit) => unsafe { exit(status) },
        None => std::process::abort(),
    }
}
