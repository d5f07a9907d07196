//! Green threads for Linux: **write blocking code, run a million of it.**
//!
//! A *greenlet* is a thread that costs little more than a page of memory, and is switched to
//! without a system call. It has a stack of its own and runs straight-line code; where that code
//! would block, it parks and others run. One *hub* per OS thread schedules them; it is made when
//! it is first needed, and `main` needs no attribute.
//!
//! ```
//! use greenroom::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = greenroom::spawn(move || {
//!     let (mut peer, _) = listener.accept()?;
//!     peer.write_all(b"hello")
//! });
//! let mut text = String::new();
//! TcpStream::connect(address)?.read_to_string(&mut text)?;
//! server.join().unwrap()?;
//! assert_eq!(text, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Where std has the thing, the names and signatures are std's: `std::thread`, `std::sync`,
//! `std::net`, `std::io`, `std::fs`, `std::process` and `std::os::unix` become [`thread`],
//! [`sync`], [`net`], [`io`], [`fs`], [`process`] and [`os::unix`] by search and replace. Where it
//! has not, they are gevent's: [`spawn()`], [`joinall`], [`sleep()`], [`with_timeout`],
//! [`killall`].
//!
//! Every function that may switch says so under *Parks*: when, what wakes it, what a kill does.
//! One without that section never switches.
//!
//! What one must know before one builds on it:
//!
//! * **A std lock held across a park** blocks the OS thread as soon as another greenlet of the
//!   thread wants it, and with it the one that is to release it. Release it before anything that
//!   parks, or take one of [`sync`], which may be held. So does every other wait of std's, `recv`
//!   of its channels for one: greenroom parks in its own functions only, unless the feature
//!   `monkey` replaces libc's.
//! * **Greenlets never change their OS thread.** More cores are more hubs: see [`hub`].
//! * **When `main` returns the process ends**, and parked greenlets with it, without their
//!   destructors, as std's threads do. [`run()`] is the tidy way.
//! * **A kill or a timeout unwinds** from where the greenlet waits, and destructors run; see
//!   [`Greenlet::kill`], [`with_timeout`], [`shield`]. Where nothing can unwind (in builds with
//!   `panic = "abort"`, below a [`foreign`] call) I/O fails with an errno instead, and the kill or
//!   the timeout is reported when the code returns.
//! * **A stack has a fixed size**: see [`Builder::stack_size`] and [`default_stack_size`]. One
//!   that overflows ends the process, with the name of the greenlet.

#![deny(unsafe_code)]

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("greenroom runs on Linux, on x86_64 and aarch64 only");

mod cancel;
#[allow(unsafe_code, reason = "the switch between stacks")]
mod coroutine;
mod dns;
pub mod fiber;
pub mod fs;
pub mod future;
pub mod generator;
mod greenlet;
pub mod hub;
pub mod inspect;
pub mod io;
mod local;
#[cfg(feature = "monkey")]
#[allow(unsafe_code, reason = "libc's functions, under their own names")]
pub mod monkey;
pub mod net;
pub mod os;
mod poller;
pub mod pool;
pub mod process;
#[cfg(any(doc, doctest))]
pub mod recipes;
pub mod select;
pub mod server;
pub mod signal;
pub mod sim;
#[allow(unsafe_code, reason = "maps, guards and signal handlers")]
mod stack;
pub mod sync;
#[allow(unsafe_code, reason = "the door to the kernel")]
mod sys;
pub mod thread;
pub mod threadpool;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(test)]
#[path = "../tests/bounded/mod.rs"]
mod bounded;

/// The Rust in the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cancel::{Elapsed, foreign, is_cancellation, shield, with_timeout, with_timeout_late};
pub use future::block_on;
pub use greenlet::{
    Builder, Deadline, Greenlet, GreenletId, GreenletRef, IWait, IWaitIndexed, JoinError, Link,
    Scope, ScopedGreenlet, TryScope, TryScopedGreenlet, Wait, Waitable, current, idle, iwait,
    joinall, killall, now, run, scope, sleep, sleep_until, spawn, spawn_later, spawn_local,
    try_scope, wait, wait_any, wait_any_timeout, yield_now,
};
pub use local::{AccessError, LocalKey, TreeKey};
pub use select::selectors;
pub use stack::{default_stack_size, set_default_stack_size};
