//! The monkey patch: code that was written for threads and blocking sockets parks, unchanged.
//!
//! After [`patch_all`] a call that would block the OS thread parks its greenlet instead, whoever
//! makes it: `std::net`, `std::sync`, `std::thread::sleep`, `std::process`, a crate that rests on
//! them, a C library that the program is linked with or loads later.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! greenroom::monkey::patch_all()?;
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = greenroom::spawn(move || {
//!     let (mut peer, _) = listener.accept()?;
//!     peer.write_all(b"from std, in a greenlet")
//! });
//! let mut text = String::new();
//! TcpStream::connect(address)?.read_to_string(&mut text)?;
//! server.join().unwrap()?;
//! assert_eq!(text, "from std, in a greenlet");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # How
//! ```text
//!   std, crates  --recv-->  recv of this room  --a greenlet? patched?--no-->  the kernel
//!   C libraries  --recv-->         |                                             ^
//!                                  | yes                                         |
//!                                  +-- try without waiting ----------------------+
//!                                  |        | would block
//!                                  |       park; the hub's epoll set wakes; try again
//!                                  v
//!                               result and errno, as if it had blocked
//! ```
//! This room defines functions with the names of libc's. A program that is linked with this crate,
//! with the feature `monkey`, calls these, and so do its shared objects; they pass everything on
//! to the kernel until somebody patches, and afterwards on each OS thread that has no hub. That
//! costs a few nanoseconds a call. There is no table of descriptors: one keeps its blocking mode,
//! each try says for itself that it must not wait, and whether a call may wait at all (O_NONBLOCK,
//! SO_RCVTIMEO) is what the kernel says of the descriptor. So duplicates, descriptors from before
//! the patch, inherited and received ones are right by themselves.
//!
//! | part | replaced |
//! |---|---|
//! | [`Part::Socket`] | recv, send and their kin, accept, connect; read and write |
//! | [`Part::File`] | read, write, readv, writev, sendfile, splice; file locks; open of a FIFO |
//! | [`Part::Poll`] | poll, ppoll, select, pselect, epoll_wait, epoll_pwait, epoll_pwait2 |
//! | [`Part::Time`] | nanosleep, clock_nanosleep, usleep, sleep, thrd_sleep, sched_yield |
//! | [`Part::Dns`] | getaddrinfo, getnameinfo, gethostbyname and its kin: on an OS thread of ours |
//! | [`Part::Futex`] | futex(2), on which std's locks rest; sem_wait and its kin |
//! | [`Part::Process`] | wait, waitpid, waitid and their kin, pthread_join; sigwait and its kin |
//! | [`Part::Locks`] | the waits for mutexes, conditions, read-write locks of pthreads and C11 |
//! | [`Part::Identity`] | exit, fork, setuid, pthread_kill and their kin; and see below |
//! | [`Part::Thread`] | pthread_create, pthread_exit: `std::thread::spawn` makes greenlets |
//!
//! and, with any of the first three, what ends a descriptor or changes its mode: close,
//! close_range, closefrom, dup2, dup3, shutdown, fclose, fcntl, ioctl, setsockopt.
//!
//! # What stays as it is
//! * OS threads without a hub, another runtime's for example, notice nothing; nor does a child of
//!   fork(2) until it makes a hub of its own.
//! * Calls on descriptors 1 and 2 block, since the locks of the standard output and the standard
//!   error belong to the OS thread. So does every call in a panic hook, and, between greenlets
//!   that share thread-locals, every call while a panic unwinds: std counts panics for each
//!   thread. [`native`] has a piece of code block on purpose.
//! * A handler of signals that makes such a call lets nobody run in its middle, unless the call
//!   has to wait: handlers should write to what is non-blocking, as they do anyway.
//! * errno, return values, partial transfers and MSG flags are those of the blocking call. A
//!   blocking `send` sends all. EINTR never comes from a park.
//! * What never calls libc is never seen. A loop that spins on an atomic, or that only sends into a
//!   channel of std's without a bound, keeps the other greenlets of its OS thread from running, and
//!   the channel grows. [`sync::mpsc`](crate::sync::mpsc) lets them run. A loop of `lock` and
//!   `unlock` of a free lock is of this kind too.
//! * pthread_create of a greenlet, and a futex call that wakes one, let the others run at first, as
//!   a thread would run at once on another core: then a loop as above finds its receiver waiting,
//!   and its first item wakes it. After eight of these switches between two looks at the
//!   descriptors (256 resumes, or 1 ms) the caller goes on, up to 128 wakes in a row. It also goes
//!   on in [`native`], in a destructor while a panic unwinds, where signals are blocked, where
//!   greenlets share thread-locals, and where the allocator is not libc's.
//! * gettid(2) tells the OS thread, which all its greenlets share.
//!
//! # Kills and limits
//! A kill or a timeout never unwinds through such a call, since there may be frames of C below it.
//! No call fails in a way that its callers take for impossible:
//!
//! | call | when a kill (ECANCELED) or a limit (ETIMEDOUT) meets it |
//! |---|---|
//! | read, write, recv, send and their kin | fails with the errno, unless a part was moved |
//! | accept, connect, sendfile, splice | fails with the errno |
//! | poll, select, epoll_wait and their kin | report sockets and pipes as ready: see below |
//! | the same, for no descriptor and without a limit | fails with EINTR |
//! | nanosleep, usleep, sleep and their kin | ends early and says that it slept |
//! | flock, fcntl of a lock, open of a named pipe | fails with the errno |
//! | wait, waitpid, waitid | fails with the errno, for a child that ends soon after 200 ms |
//! | getaddrinfo | EAI_SYSTEM, with the errno |
//! | sigwait, sigwaitinfo, sigtimedwait | fails with the errno |
//! | futex(2), semaphores, locks and conditions of pthreads and C11 | goes on |
//! | pthread_join, getnameinfo, gethostbyname and their kin | goes on |
//!
//! When poll, select or epoll_wait has reported a descriptor, the next call on it fails with the
//! errno; getsockopt of SO_ERROR returns it. Where they watch neither sockets nor pipes (a timer of
//! tokio's) they go on. So do the calls of std's `Command::output` on the pipes of the child, and
//! its `spawn`, since std unwraps what they return.
//!
//! A kill or a limit that a call has met, in any of these ways, is reported: when the greenlet
//! returns, [`join`](crate::Greenlet::join) says `is_killed`, and
//! [`with_timeout`](crate::with_timeout()) returns `Elapsed`, whatever the code made of the error.
//! A park of this library's own, after the call, unwinds. [`join_late`](crate::Greenlet::join_late)
//! and [`with_timeout_late`](crate::with_timeout_late()) return the value as well, for code that
//! recovered by itself. A `JoinHandle` of std's has no place for it: it returns what the thread's
//! closure returned.
//!
//! Code that ignores the error and tries again gets it again. From the ninth time on there is a
//! pause before it, of 1 ms and up to 64 ms, in which what is ready is served.
//!
//! In an epoll set, a socket of a socket pair that is watched for reading alone and by edges, and a
//! pipe of which this process has both ends, are not reported: programs wake themselves by them,
//! and panic when that fails.
//!
//! What that comes to, as `monkey_told`, `monkey_ready` and `tests/unmodified/tests/told.rs` show:
//!
//! | code that a kill or a limit meets | what it returns by itself |
//! |---|---|
//! | std: sockets, pipes, `Child::wait` | an `io::Error` with the errno |
//! | std: `thread::sleep` | early |
//! | std: locks, channels, `join`, `park`, `Command::output` | when what they wait for has come |
//! | ureq 3 | kill: "io: Operation canceled"; limit: "timeout: global" |
//! | reqwest::blocking | at its own timeout, 30 s if none is set: another thread does the I/O |
//! | postgres | "error communicating with the server", with the errno; the client is closed |
//! | redis | an I/O error with the errno |
//! | tokio's `block_on` | the sockets of the runtime fail with the errno; a timer has its time |
//! | libcurl | error 56, "Recv failure: Operation canceled" or "Connection timed out" |
//! | libpq | "could not receive data from server: Operation canceled" or "Connection timed out" |
//!
//! Drop a client whose protocol was left in the middle: the answer to the query that was broken off
//! may be the next thing that it reads.
//!
//! A library that ends the process for an errno that it does not know (libzmq) does so for this
//! one.
//!
//! # Locks of C and C++
//! A greenlet that finds a pthread mutex or a read-write lock taken parks, and so does one that
//! waits for a condition variable; with them `std::mutex`, `std::shared_mutex` and
//! `std::condition_variable` of C++, and the locks of C11. Their state stays libc's own, so OS
//! threads and greenlets share them. Who takes a lock that is free pays one look more: a pair of
//! lock and unlock costs 2 to 4 ns more than libc's, patched or not, and 9 ns while greenlets wait
//! for other locks; a signal costs 1 ns more (`cargo bench --features monkey --bench monkey`,
//! 2026-11-21, two runs, 2 vCPUs of an AMD EPYC, a busy machine). The greenlets that
//! wait for a mutex are served in the order of their coming. Who unlocks where nobody sees it, as
//! an OS thread does within pthread_cond_wait, wakes nobody: so the first of them looks for
//! himself, after 0.1 ms and later after as long as he has waited, every 80 ms at last.
//!
//! An allocator that locks by pthread_mutex_lock (jemalloc; libc's own does not) must not be left
//! in the middle. So [`patch`] tries out whose allocator it is. Where it is not libc's, a greenlet
//! parks only for mutexes that are held by greenlets of its own OS thread, and for all conditions
//! and read-write locks; for a mutex that another OS thread holds it blocks.
//!
//! # A greenlet is a thread
//! std's channels, its `park`, parking_lot, crossbeam and tokio tell threads apart by their
//! thread-locals, and so do `RefCell`s in them, the count of panics, errno, and the owners of
//! recursive locks. With [`Part::Identity`] each greenlet that `spawn` makes has a block of
//! thread-locals of its own, as pthread_create would give it, whose destructors run at its end;
//! the thread register is changed at each switch. What [`spawn_local`](crate::spawn_local()) and
//! [`scope`](crate::scope()) make shares those of its spawner, because what is not `Send` may
//! point into them. It costs 5.6 KB and some 240 ns for each greenlet, and 24 ns for each switch
//! there and back (`cargo bench --features monkey --bench identity`, 2026-11-21, a busy machine).
//!
//! With [`Part::Thread`] code that spawns threads, a server with a thread for each connection for
//! one, runs on the OS thread that called it, and on no other: it waits side by side, but computes
//! one after the other. [`native`] around a spawn makes a real thread.
//!
//! Both need glibc, linked dynamically, and a trial before; [`patch_all`] goes without
//! them where it fails, and [`report`] says why. A library that is loaded later (dlopen) with
//! thread-locals of the kind "initial exec" finds zeros in greenlets that are there already, in
//! place of its first values. `pthread_cancel` does not reach a thread that is a greenlet, its
//! scheduling, its affinity and its name are those of its OS thread, and to set them does nothing.
//!
//! What a thread is to do as long as the process lives, the workers of a global pool for one, ends
//! with the OS thread that was the first to use it. Who makes OS threads that end should have the
//! pool made by one that does not, or within [`native`].
//!
//! # What does not work, and why
//! Between greenlets that share thread-locals (without [`Part::Identity`] those of a hub):
//!
//! * **`std::sync::mpsc`, crossbeam-channel**, between greenlets of one hub: a receiver waits for
//!   ever, since it takes the sender for itself. A `Mutex` and a `Condvar` work.
//! * **parking_lot**, contended between greenlets of one hub: waits for ever. `std::sync` works.
//! * **`std::thread::park`** (and what rests on it: `thread::scope`, once_cell) in two greenlets at
//!   a time: spins. [`thread::park`](crate::thread::park) and [`scope`](crate::scope()) work.
//! * **A `RefCell` in a thread-local**, borrowed across a call that parks: "already borrowed".
//! * **tokio's `block_on`** in two greenlets of one hub at a time: "cannot start a runtime from
//!   within a runtime".
//! * **stacker** (and what rests on it to recurse deeply) keeps the limit of the stack in a
//!   thread-local. A greenlet that parks within it leaves its own limit to the next, which then
//!   overflows its stack; the message names it. In greenlets that own theirs it works.
//! * **Recursive pthread mutexes** exclude nobody: their owner is the OS thread. Error-checking
//!   ones exclude, but who locks one twice waits for ever.
//!
//! For good:
//!
//! * **`std::thread::scope`** waits at its end until its threads have ended. A kill or a timeout
//!   does not reach them and is met by the next call that parks. [`scope`](crate::scope()) cancels
//!   its greenlets instead.
//! * **robust pthread mutexes, and those with priorities**: block, since the kernel takes part in
//!   them. One with priorities must not be held by a greenlet that owns its thread-locals: the
//!   kernel does not know its thread id.
//! * **`pthread_barrier_wait`, `pthread_spin_lock`, `pthread_once` while its routine waits**:
//!   block.
//! * **stdio (`fread`, `fgets`, `getline` on sockets and pipes), `system`, `popen`, `syslog`**:
//!   libc calls itself, not us: they block.
//! * **system calls without libc (Go, rustix, io_uring)**: nobody can see them: they block. A
//!   descriptor that is closed so is found out when a wait for it has lasted for 0.1 s. rustix 1,
//!   on which smol, async-std and polling rest, can be told to go by libc, from any package of the
//!   program: `rustix = { version = "1", features = ["use-libc"] }`.
//! * **spin locks that never yield**: spin for ever when they are held across a call that parks.
//! * **setuid and its kin, while greenlets run on other OS threads**: libc has each thread take
//!   part by a signal, takes a greenlet for the thread there, and waits for ever. At the start,
//!   or with one hub, they work.
//! * **programs that are linked statically (musl, `+crt-static`)**: have libc's functions in them
//!   already. Refused at compile time.
//! * **a cdylib**: exports these functions to whoever loads it: for programs only. One that is
//!   loaded by dlopen reaches nobody, and [`patch_all`] there says so.
//! * **objects opened with RTLD_DEEPBIND, programs linked with `--exclude-libs`**: pass by;
//!   [`verify`] names them.
//! * **regular files**: are always ready as far as the kernel tells: they block for as long as
//!   the disk needs.
//! * **pause(2), fsync(2)**: block.
//! * **a read of a terminal with VMIN and VTIME, both more than 0**: blocks for as long as VTIME
//!   allows between two bytes, once the first one is there.
//! * **a terminal or a device that others read or write at the same time**: may block if they are
//!   faster. Pipes and sockets don't.
//! * **pthread_cancel**: is not looked at in these calls. Nor does a signal end one with EINTR.
//! * **signal handlers that block**: must not, as ever: they would park whoever they interrupt.
//! * **LD_PRELOAD**: libraries that replace the same functions are passed over.
//! * **a global allocator in Rust that waits for a std `Mutex`**: must not: the wait itself may
//!   allocate.
//!
//! Two versions of this crate with the feature `monkey` in one program are refused by the linker,
//! which says "duplicate symbol".
//!
//! accept, connect, sendfile and splice have no flag that says "don't wait": the open file is made
//! non-blocking for less than a microsecond. An OS thread without a hub, or another process, that
//! makes a call on the same open file just then may see EAGAIN.
//! The last close of a socket with SO_LINGER is made on an OS thread of ours, since it waits. A
//! pipe that has no such flag is opened once more for the time of one call (`/proc` is needed).
//! While a lock of a file is waited for, or the other end of a named pipe, or "any child", or an
//! OS thread, the kernel is asked every 20 ms at last; EDEADLK is not told of locks. A write that
//! waits for long is tried again from time to time.
//!
//! # Is it sound?
//! [`patch_all`] is a safe function: by itself it only changes when other code of this OS thread
//! may run, which any function that parks does as well. What it asks for in return concerns
//! `unsafe` code of others. Code that holds a `&mut` into a thread-local (through an `UnsafeCell`,
//! not a `RefCell`) across a call to libc, and relies on nobody coming to it meanwhile on the same
//! OS thread, is broken by it; as it would be by a signal handler, or by any callback that parks.
//! std and this library hold none. Where a crate does, keep it in one greenlet per hub, or wrap
//! its calls in [`native`].
//!
//! Within the room: no hook unwinds (they are `extern "C"`, so a panic would abort), none is used
//! before its statics are there (all are constant), and a waiting greenlet is never freed: if its
//! OS thread ends, it is leaked with all that others have linked to it.

#[cfg(target_feature = "crt-static")]
compile_error!(
    "the feature `monkey` of greenroom needs a program that is linked dynamically: one that is \
     linked statically has libc's functions in it already, and no others can take their names. \
     Leave the feature out, or build with `-C target-feature=-crt-static`"
);

mod allocator;
mod attributes;
mod callers;
mod clocks;
mod closing;
mod condition;
mod connect;
mod datagram;
mod descriptor;
mod dns;
mod epoll;
mod file;
mod futex;
mod gate;
mod hooks;
mod join;
mod linger;
mod lives;
mod lockf;
mod locks;
mod message;
mod mutex;
mod objects;
mod open;
mod os_thread;
mod owed;
mod poll;
mod process;
mod process_exit;
mod queue;
mod raw;
mod report;
mod rwlock;
mod select;
mod semaphore;
mod sigwait;
mod sites;
mod slices;
mod socket;
mod thread_exit;
mod threads;
mod time;
mod transfer;
mod turn;
mod unflagged;
mod verify;

use std::io;
use std::sync::Once;

pub use report::{Report, SymbolReport};
pub use verify::verify;

use crate::greenlet::identity;
use crate::hub::{ask_for_origins, current_hub};
use crate::sys::lock;

/// A family of libc's functions, to be patched or not as a whole.
///
/// What ends a descriptor (`close`, `dup2` and so on) comes with each of the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// recv, send and their kin; accept and connect; read and write, which work on sockets too.
    Socket,
    /// read and write on pipes and whatever else can be waited for; sendfile, splice; the locks
    /// of files; open on named pipes.
    File,
    /// poll, select and epoll_wait.
    Poll,
    /// Sleeps, and `sched_yield`.
    Time,
    /// getaddrinfo and the other functions for names.
    Dns,
    /// futex(2), on which std's locks rest, and POSIX semaphores.
    Futex,
    /// Waits for children, for the end of OS threads, and for signals.
    Process,
    /// Mutexes, condition variables and read-write locks of pthreads and C11: of C and C++.
    Locks,
    /// What `spawn` makes: greenlets that own their thread-locals, and so are threads to all code
    /// that tells threads apart by them. And the functions that libc can do for an OS thread only.
    Identity,
    /// `std::thread::spawn` and pthread_create make greenlets, with [`Identity`](Part::Identity).
    Thread,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 10] = [
        Part::Socket,
        Part::File,
        Part::Poll,
        Part::Time,
        Part::Dns,
        Part::Futex,
        Part::Process,
        Part::Locks,
        Part::Identity,
        Part::Thread,
    ];

    /// How many of them work everywhere: the first.
    const WITHOUT_IDENTITY: usize = 8;

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Has every blocking function of libc park from now on, on every OS thread that has a hub.
///
/// The caller's OS thread is given one. Where greenlets can't own their thread-locals,
/// [`Part::Identity`] and [`Part::Thread`] are left out, and [`report`] says why; so is
/// [`Part::Locks`] with a libc whose locks are laid out in another way than glibc's.
///
/// To be called early in `main`. A second call does nothing; there is no way back. A call that
/// blocks already blocks on.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// greenroom::monkey::patch_all()?;
/// let begin = Instant::now();
/// let nap = || std::thread::sleep(Duration::from_millis(50));
/// greenroom::joinall((0..100).map(|_| greenroom::spawn(nap)));
/// assert!(begin.elapsed() < Duration::from_secs(4), "one after the other it takes 5 s");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of [`verify`]: then nothing is patched. PermissionDenied in a process that has more
/// rights than its user (setuid, file capabilities).
///
/// # Parks
/// Never.
pub fn patch_all() -> io::Result<()> {
    let parts = match identity::turn_on() {
        Ok(()) => &Part::ALL[..],
        Err(_) => &Part::ALL[..Part::WITHOUT_IDENTITY],
    };
    let works = |part: &Part| *part != Part::Locks || locks::are_understood();
    patch(&parts.iter().copied().filter(works).collect::<Vec<_>>())
}

/// As [`patch_all`], for some parts only. Parts that are patched already stay so.
///
/// # Examples
/// ```
/// use greenroom::monkey::{self, Part};
/// monkey::patch(&[Part::Time, Part::Dns])?;
/// assert!(monkey::is_patched("usleep"));
/// assert!(!monkey::is_patched("recv"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`patch_all`]; and where [`Part::Identity`], [`Part::Thread`] or [`Part::Locks`] is asked
/// for and can't be had, the reason.
///
/// # Parks
/// Never.
pub fn patch(parts: &[Part]) -> io::Result<()> {
    // SAFETY: getauxval takes a number, and says what the kernel has told this process.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        let reason = "a process that has more rights than its user is not patched";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    verify()?;
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        closing::note_process();
        ask_for_origins(sites::tell);
        // SAFETY: the handler asks the kernel for a number and stores it in an atomic, which is
        // allowed in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(closing::note_process)) };
    });
    if parts
        .iter()
        .any(|part| matches!(part, Part::Identity | Part::Thread))
    {
        identity::turn_on().map_err(io::Error::other)?;
    }
    if parts.contains(&Part::Locks) {
        locks::prepare()?;
    }
    gate::open(parts.iter().fold(0, |bits, part| bits | part.bit()));
    // Nothing parks on a thread without a hub: the caller's is to have one from here on.
    current_hub(|_| ())
}

/// Whether calls to libc's function of this name park; false for names that are never patched.
///
/// # Examples
/// ```
/// use greenroom::monkey;
/// assert!(!monkey::is_patched("recv"));
/// monkey::patch_all()?;
/// assert!(monkey::is_patched("recv"));
/// assert!(!monkey::is_patched("fread"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_patched(name: &str) -> bool {
    let hook = hooks::ALL.iter().find(|hook| hook.name == name);
    hook.is_some_and(|hook| gate::is_open(hook.parts))
}

/// Runs `f` as if nothing were patched: its calls to libc block the OS thread.
///
/// For code that must not be interrupted by other greenlets: see
/// [above](crate::monkey#is-it-sound). Functions of this library park in it all the same; then
/// other greenlets of the OS thread are unpatched too, until `f` is over.
///
/// # Examples
/// ```
/// use std::{thread, time::Duration};
/// greenroom::monkey::patch_all()?;
/// let other = greenroom::spawn(|| ());
/// greenroom::monkey::native(|| thread::sleep(Duration::from_millis(5)));
/// assert!(!other.is_finished(), "it had no chance to run");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// When `f` panics.
///
/// # Parks
/// Never by itself: the OS thread blocks.
pub fn native<T>(f: impl FnOnce() -> T) -> T {
    lock::natively(f)
}

/// What became of the calls so far: for each function whether it is patched, how often a
/// greenlet has called it (a lock of C's: has found it taken) and parked in it, how often it
/// blocked the OS thread instead, why, and for how long.
///
/// # Examples
/// ```
/// use std::{thread, time::Duration};
/// greenroom::monkey::patch_all()?;
/// let sleeper = greenroom::spawn(|| thread::sleep(Duration::from_millis(1)));
/// sleeper.join().unwrap();
/// let report = greenroom::monkey::report();
/// assert!(report.symbol("clock_nanosleep").unwrap().parks() > 0);
/// println!("{report}");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Parks
/// Never.
pub fn report() -> Report {
    Report::new()
}
