//! Signals: a handler that may do next to nothing, and whom it tells.
//!
//! ```text
//!   signal --> handler:  for each listener that wants it: count += 1, ring its eventfd
//!                        then the handler that was there before, if it is a function
//!
//!   LISTENERS --> [wants, bell, counts] --> [wants, bell, counts] --> ...   never freed, re-used
//! ```
//!
//! The handler only loads and adds to atomics, and writes to descriptors. It runs on any OS
//! thread, at any moment, so:
//!
//! 1. A place in the list lives for ever; only `wants` says whether it has an owner.
//! 2. Who gives a place back first clears `wants`, then waits until no handler is inside: after
//!    that none writes to the bell any more, and it may be closed.
//! 3. A forked child shares the bells with its parent, and must not ring them: the handler asks
//!    whose process this is, and in the child the former dispositions are put back.

use crate::sys::lock::lock;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;

use super::event_fd::EventFd;
use super::fork::{self, PerProcess};
use super::{cvt, fd};

pub(crate) use libc::{
    SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL, SIGPIPE,
    SIGPWR, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
    SIGUSR1, SIGUSR2, SIGWINCH,
};

/// The numbers of signals on Linux are from 1 to this.
pub(crate) const NUMBER_MAX: i32 = 64;
const NUMBERS: usize = NUMBER_MAX as usize + 1;

/// One who listens; see the head of this file.
struct Place {
    /// A bit for each signal; 0 for a place without an owner.
    wants: AtomicU64,
    bell: AtomicI32,
    counts: [AtomicU32; NUMBERS],
    owned: AtomicBool,
    next: AtomicPtr<Place>,
}

static LISTENERS: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
/// Handlers that are looking at the list now.
static INSIDE: AtomicU32 = AtomicU32::new(0);
/// The process whose listeners they are.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// What was there before our handler, while ours is.
static FORMER: [Former; NUMBERS] = [const { Former::new() }; NUMBERS];
/// How many listen for each signal.
static LISTENING: PerProcess<Mutex<[usize; NUMBERS]>> = PerProcess::new();

/// A disposition, in atomics: written before `replaced` is set, and read by handlers.
struct Former {
    replaced: AtomicBool,
    function: AtomicUsize,
    flags: AtomicI32,
    mask: AtomicU64,
}

impl Former {
    const fn new() -> Former {
        Former {
            replaced: AtomicBool::new(false),
            function: AtomicUsize::new(libc::SIG_DFL),
            flags: AtomicI32::new(0),
            mask: AtomicU64::new(0),
        }
    }

    fn note(&self, action: &libc::sigaction) {
        // SAFETY: the mask is valid, the numbers are within it.
        let blocked = |number: &i32| unsafe { libc::sigismember(&action.sa_mask, *number) == 1 };
        let mask = (1..=NUMBER_MAX).filter(blocked).map(bit).sum();
        self.function.store(action.sa_sigaction, Ordering::SeqCst);
        self.flags.store(action.sa_flags, Ordering::SeqCst);
        self.mask.store(mask, Ordering::SeqCst);
        self.replaced.store(true, Ordering::SeqCst);
    }

    /// Puts it back, unless somebody has put another in place of ours. Async-signal-safe.
    fn put_back(&self, number: i32) {
        if !self.replaced.swap(false, Ordering::SeqCst) {
            return;
        }
        if !query(number).is_ok_and(|now| now.sa_sigaction == our_function()) {
            return;
        }
        // SAFETY: zeroed is a valid sigaction, with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = self.function.load(Ordering::SeqCst);
        action.sa_flags = self.flags.load(Ordering::SeqCst);
        let mask = self.mask.load(Ordering::SeqCst);
        let blocked = (1..=NUMBER_MAX).filter(|number| mask & bit(*number) != 0);
        // SAFETY: the mask is valid, the numbers are within it; what was in force before is a
        // valid disposition.
        unsafe {
            for number in blocked {
                libc::sigaddset(&mut action.sa_mask, number);
            }
            libc::sigaction(number, &action, ptr::null_mut());
        }
    }

    /// Calls it, if it is a function. One that calls us, because it was installed over a handler
    /// of ours that has left since and come back, is called once.
    fn call(&self, number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let function = self.function.load(Ordering::SeqCst);
        let nested = CALLING.get() & bit(number) != 0;
        if nested || matches!(function, libc::SIG_DFL | libc::SIG_IGN) {
            return;
        }
        CALLING.set(CALLING.get() | bit(number));
        let function = ptr::with_exposed_provenance::<()>(function);
        // SAFETY: whoever installed it vouched for it being a handler of the kind that its flags
        // say; the arguments are those that the kernel has given.
        unsafe {
            if self.flags.load(Ordering::SeqCst) & libc::SA_SIGINFO != 0 {
                let function: Informed = std::mem::transmute(function);
                function(number, info, context);
            } else {
                let function: extern "C" fn(i32) = std::mem::transmute(function);
                function(number);
            }
        }
        CALLING.set(CALLING.get() & !bit(number));
    }
}

thread_local! {
    /// The signals whose former handlers run on this thread. Without a destructor, and made at
    /// compile time: a handler may use it.
    static CALLING: Cell<u64> = const { Cell::new(0) };
}

type Informed = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

fn our_function() -> usize {
    handle as *const () as usize
}

/// See the head of this file.
extern "C" fn handle(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's; what the handler interrupts must find it as it was.
    let errno = unsafe { *libc::__errno_location() };
    INSIDE.fetch_add(1, Ordering::SeqCst);
    // SAFETY: getpid takes nothing and always succeeds.
    if OWNER.load(Ordering::SeqCst) == unsafe { libc::getpid() } {
        let wants = |place: &&Place| place.wants.load(Ordering::SeqCst) & bit(number) != 0;
        places().filter(wants).for_each(|place| place.tell(number));
    }
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    FORMER[number as usize].call(number, info, context);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

impl Place {
    fn tell(&self, number: i32) {
        self.counts[number as usize].fetch_add(1, Ordering::SeqCst);
        let bell = self.bell.load(Ordering::SeqCst);
        // Not by `write`, which the room `monkey` replaces: that one may let others run, in the
        // middle of whatever the signal has interrupted.
        // SAFETY: eight bytes are there to be read; fact 2 keeps the descriptor open. A full
        // counter is as good as a ring.
        unsafe { libc::syscall(libc::SYS_write, bell, &raw const ONE, 8_usize) };
    }

    fn clear(&self) {
        self.wants.store(0, Ordering::SeqCst);
        self.counts
            .iter()
            .for_each(|count| count.store(0, Ordering::SeqCst));
        self.owned.store(false, Ordering::SeqCst);
    }
}

static ONE: u64 = 1;

/// In a forked child: as if nobody had ever listened. Only atomics and async-signal-safe calls.
extern "C" fn forget_in_child() {
    for (number, former) in (0..).zip(&FORMER).skip(1) {
        former.put_back(number);
    }
    places().for_each(Place::clear);
    INSIDE.store(0, Ordering::SeqCst);
}

fn listening() -> MutexGuard<'static, [usize; NUMBERS]> {
    let listening = LISTENING.get(|| Mutex::new([0; NUMBERS]));
    lock(listening)
}

fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

/// Counts and rings for certain signals; gives back what it has taken when dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    place: &'static Place,
    bell: OwnedFd,
    numbers: Vec<i32>,
    muted: AtomicBool,
    forks: u32,
}

impl Listener {
    /// Begins to listen for `numbers`, each from 1 to [`NUMBER_MAX`].
    pub(crate) fn new(numbers: &[i32]) -> io::Result<Listener> {
        let bell = EventFd::new()?.into_owned_fd();
        begin_in_this_process();
        let mut listener = Listener {
            place: take_place(),
            bell,
            numbers: Vec::new(),
            muted: AtomicBool::new(false),
            forks: fork::generation(),
        };
        let place = listener.place;
        place
            .bell
            .store(listener.bell.as_raw_fd(), Ordering::SeqCst);
        for &number in numbers {
            assert!((1..=NUMBER_MAX).contains(&number), "a number of a signal");
            if listener.numbers.contains(&number) {
                continue;
            }
            // Before the disposition: a signal that comes at once is not lost.
            place.wants.fetch_or(bit(number), Ordering::SeqCst);
            install(number)?;
            listener.numbers.push(number);
        }
        listener.numbers.sort_unstable();
        Ok(listener)
    }

    /// Readable when a signal has come since [`hush`](Listener::hush).
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(crate) fn hush(&self) {
        let mut count = [0; 8];
        // EAGAIN: it has not rung.
        let _ = fd::read(self.bell(), &mut count);
    }

    /// Rings without a signal; not for the parent of a forked child.
    pub(crate) fn ring(&self) {
        if !self.is_from_here() {
            return;
        }
        // EAGAIN: it has rung 2^64 times, and is heard.
        let _ = fd::write(self.bell(), &1_u64.to_ne_bytes());
    }

    /// Listens no more, and gives the dispositions back. What has come can still be taken, until
    /// this is dropped.
    pub(crate) fn mute(&self) {
        // In a forked child they have been given back, and the place is somebody else's.
        if !self.is_from_here() || self.muted.swap(true, Ordering::SeqCst) {
            return;
        }
        // In this order: what comes in between must not be swallowed.
        self.numbers.iter().for_each(|number| uninstall(*number));
        self.place.wants.store(0, Ordering::SeqCst);
        while INSIDE.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
    }

    /// One that has come, the lowest number first.
    pub(crate) fn take(&self) -> Option<i32> {
        let came = |number: &i32| {
            let count = &self.place.counts[*number as usize];
            let less = |count: u32| count.checked_sub(1);
            count
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
                .is_ok()
        };
        self.numbers.iter().copied().find(came)
    }

    /// How many have come and were not taken.
    pub(crate) fn pending(&self) -> usize {
        let count = |number: &i32| self.place.counts[*number as usize].load(Ordering::Acquire);
        self.numbers
            .iter()
            .map(|number| count(number) as usize)
            .sum()
    }

    /// Is this the process that it was made in?
    pub(crate) fn is_from_here(&self) -> bool {
        self.forks == fork::generation()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.mute();
        if self.is_from_here() {
            self.place.clear();
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

fn begin_in_this_process() {
    static WATCHING: Once = Once::new();
    fork::watch_once(&WATCHING, forget_in_child);
    OWNER.store(std::process::id() as i32, Ordering::SeqCst);
}

fn places() -> impl Iterator<Item = &'static Place> {
    let follow = |link: &AtomicPtr<Place>| {
        // SAFETY: fact 1: what is in the list comes from `Box::leak`.
        unsafe { link.load(Ordering::Acquire).as_ref::<'static>() }
    };
    std::iter::successors(follow(&LISTENERS), move |place| follow(&place.next))
}

fn take_place() -> &'static Place {
    let mut all = places();
    if let Some(free) = all.find(|place| !place.owned.swap(true, Ordering::AcqRel)) {
        return free;
    }
    let place: &'static Place = Box::leak(Box::new(Place {
        wants: AtomicU64::new(0),
        bell: AtomicI32::new(-1),
        counts: [const { AtomicU32::new(0) }; NUMBERS],
        owned: AtomicBool::new(true),
        next: AtomicPtr::new(ptr::null_mut()),
    }));
    let this = ptr::from_ref(place).cast_mut();
    let mut first = LISTENERS.load(Ordering::Acquire);
    loop {
        place.next.store(first, Ordering::Relaxed);
        match LISTENERS.compare_exchange(first, this, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return place,
            Err(other) => first = other,
        }
    }
}

fn install(number: i32) -> io::Result<()> {
    let mut listening = listening();
    if listening[number as usize] == 0 {
        FORMER[number as usize].note(&query(number)?);
        // SAFETY: zeroed is a valid sigaction, with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = our_function();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: `handle` is async-signal-safe: see the head of this file.
        cvt(unsafe { libc::sigaction(number, &action, ptr::null_mut()) })?;
    }
    listening[number as usize] += 1;
    Ok(())
}

fn uninstall(number: i32) {
    let mut listening = listening();
    listening[number as usize] -= 1;
    if listening[number as usize] == 0 {
        FORMER[number as usize].put_back(number);
    }
}

fn query(number: i32) -> io::Result<libc::sigaction> {
    // SAFETY: null changes nothing; a zeroed sigaction is there to be written.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        cvt(libc::sigaction(number, ptr::null(), &mut found))?;
        Ok(found)
    }
}

/// The signals that the calling OS thread does not take now, by bit: in a handler its own as well.
#[cfg(feature = "monkey")]
pub(crate) fn blocked() -> u64 {
    let mut set = 0_u64;
    // SAFETY: null changes nothing; the kernel's set has the eight bytes that it is told of.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::null::<u64>(),
            &raw mut set,
            size_of::<u64>(),
        )
    };
    set
}

/// Sends a signal to a process.
pub(crate) fn send(process: u32, number: i32) -> io::Result<()> {
    let id = libc::pid_t::try_from(process).ok().filter(|id| *id > 0);
    let id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: numbers are passed.
    cvt(unsafe { libc::kill(id, number) }).map(drop)
}

/// The numbers that are free for any use: the first and the last.
pub(crate) fn real_time() -> (i32, i32) {
    (libc::SIGRTMIN(), libc::SIGRTMAX())
}
