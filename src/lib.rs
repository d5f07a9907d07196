//! Green threads for Linux: write blocking code, run a million of it.
#![deny(unsafe_code)]
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("greenroom runs on Linux, on x86_64 and aarch64 only");

mod cancel;
#[allow(unsafe_code, reason = "the switch between stacks")]
mod coroutine;
mod dns;
mod greenlet;
pub mod hub;
pub mod io;
mod local;
pub mod net;
pub mod os;
mod poller;
#[allow(unsafe_code, reason = "maps, guards and signal handlers")]
mod stack;
#[allow(unsafe_code, reason = "the door to the kernel")]
mod sys;
pub mod thread;
mod threadpool;
mod timer;
