//! A greenlet that owns its thread-locals: an ELF block of them, as pthread_create makes one,
//! without the thread.
//!
//! ```text
//!        lower addresses                                          higher
//!   +-------------------+---------------+---------------+--------------------------+
//!   | ... libcurl's TLS |  libc's TLS   | program's TLS | struct pthread           |
//!   +-------------------+---------------+---------------+--------------------------+
//!                                                       ^ FS points here: "the thread"
//!   aarch64:
//!   +--------------------------+----+---------------+---------------+-------------------+
//!   | struct pthread           |    | program's TLS |  libc's TLS   | libcurl's TLS ... |
//!   +--------------------------+----+---------------+---------------+-------------------+
//!   ^ "the thread"             ^ TPIDR_EL0 points here
//!
//!   hub's thread:   resume ---- FS := block ----> greenlet runs, errno, thread_local!,
//!                   resume <--- FS := former ---- panic count and pthread_self() its own
//! ```
//!
//! To all code that asks "which thread is this?" through thread-locals, the greenlet is one.
//! The kernel is not asked to believe it: signals, `gettid` and the signal stack stay those of
//! the OS thread.
//!
//! What glibc keeps to itself for this is found by name, with the descriptions that it exports
//! for debuggers ([`glibc`]); nothing about its layout is hard-coded but the first bytes of
//! `struct pthread`: 128 on x86-64, which the ABI and its compilers share with it, and one word on
//! aarch64. [`probe`] tries it all out before anything relies on it. Elsewhere than on these two
//! with glibc it says so.
//!
//! A block whose greenlet has ended is used again: destructors have run, and the image of each
//! module's thread-locals is put back, except libc's own, where malloc keeps its cache.

#[cfg(all(target_arch = "aarch64", target_env = "gnu"))]
mod aarch64;
#[cfg(target_env = "gnu")]
mod block;
#[cfg(target_env = "gnu")]
mod glibc;
#[cfg(target_env = "gnu")]
mod home;
#[cfg(target_env = "gnu")]
mod probe;
#[cfg(not(target_env = "gnu"))]
mod unsupported;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod x86_64;

#[cfg(all(target_arch = "aarch64", target_env = "gnu"))]
use aarch64 as base;
#[cfg(not(target_env = "gnu"))]
pub(crate) use unsupported::{Identity, THREAD_ID_FIRST, at_home, is_at_home, probe};
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
use x86_64 as base;
#[cfg(target_env = "gnu")]
pub(crate) use {
    block::{Identity, THREAD_ID_FIRST},
    home::{at_home, is_at_home},
    probe::probe,
};
