//! A greenlet that owns its thread-locals: an ELF block of them, as pthread_create makes one,
//! without the thread.
//!
//! ```text
//!        lower addresses                                          higher
//!   +-------------------+---------------+---------------+--------------------------+
//!   | ... libcurl's TLS |  libc's TLS   | program's TLS | struct pthread           |
//!   +-------------------+---------------+---------------+--------------------------+
//!                                                       ^ FS points here: "the thread"
//!   hub's thread:   resume ---- FS := block ----> greenlet runs, errno, thread_local!,
//!                   resume <--- FS := former ---- panic count and pthread_self() its own
//! ```
//!
//! To all code that asks "which thread is this?" through thread-locals, the greenlet is one.
//! The kernel is not asked to believe it: signals, `gettid` and the signal stack stay those of
//! the OS thread.
//!
//! What glibc keeps to itself for this is found by name, with the descriptions that it exports
//! for debuggers ([`glibc`]); nothing about its layout is hard-coded but the first 128 bytes of a
//! thread's block, which the ABI of x86-64 and its compilers share with it. [`probe`] tries it
//! all out before anything relies on it. Elsewhere than on x86-64 with glibc it says so.
//!
//! A block whose greenlet has ended is used again: destructors have run, and the image of each
//! module's thread-locals is put back, except libc's own, where malloc keeps its cache.

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod base;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod block;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod glibc;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod home;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod probe;
#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
mod unsupported;

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
pub(crate) use unsupported::{Identity, THREAD_ID_FIRST, at_home, probe};
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
pub(crate) use {
    block::{Identity, THREAD_ID_FIRST},
    home::at_home,
    probe::probe,
};
