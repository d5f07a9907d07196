//! A stack, a body, and the two switches between them.
//!
//! ```text
//!   hub's stack                          greenlet's stack
//!   resume() ------- switch ----------->  body(suspender)
//!            <------ switch -------------  suspender.suspend()
//!   resume() ------- switch ----------->  ... returns
//!   true     <------ switch -------------  (the stack may be used again)
//! ```
//!
//! Nothing outside this room knows how a switch is made. There are two ways, of one face:
//!
//! * `x86_64`: some lines of assembler of our own, which leave the processor's return predictor
//!   right. A switch through the hub takes a quarter of the time so: see that file.
//! * `portable`: corosensei, for every other processor, for AddressSanitizer (which has to be told
//!   of every switch, and which corosensei tells), and for tests that hold one against the other
//!   (`--cfg greenroom_portable_switch`).
//!
//! Facts on which the SAFETY comments of both rest:
//! 1. A coroutine is never dropped while suspended: the hub drops it only when it has finished,
//!    and forgets it (leaking the stack) otherwise. No stack is ever unwound from outside.
//! 2. A coroutine is resumed only by the OS thread on which it was started.
//! 3. A slot of the room `stack` has at least its documented minimum of usable bytes, below which
//!    a guard faults on every access, and is never unmapped while it is out. What is written onto
//!    one before it runs is less than half of that minimum: [`fits`].

#[cfg(test)]
mod tests;

#[cfg_attr(
    all(
        target_arch = "x86_64",
        not(any(feature = "sanitizer", greenroom_portable_switch))
    ),
    path = "x86_64.rs"
)]
#[cfg_attr(
    not(all(
        target_arch = "x86_64",
        not(any(feature = "sanitizer", greenroom_portable_switch))
    )),
    path = "portable.rs"
)]
mod way;

pub(crate) use way::{Coroutine, Suspender};

/// The largest size and alignment of a body that is kept on its stack; corosensei takes no more.
/// It is not written by a frame that probes the guard: a larger one would pass it by, and change
/// what lies below.
const BODY_BYTES_MAX: usize = 1024;

/// Whether a body of this type is kept on its stack. [`Coroutine::new`] boxes any other; the maker
/// of a closure does so earlier, as each function that takes it by value may copy it.
pub(crate) const fn fits<F>() -> bool {
    size_of::<F>() <= BODY_BYTES_MAX && align_of::<F>() <= BODY_BYTES_MAX
}

// Twice for what lies beside the body, and twice for its alignment and that of the whole.
const _: () = assert!(4 * BODY_BYTES_MAX < crate::stack::SIZE_MIN / 2);
