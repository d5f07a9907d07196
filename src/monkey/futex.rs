//! futex(2), the wait behind std's `Mutex`, `Condvar`, `RwLock`, `Once` and `Barrier`.
//!
//! ```text
//!   greenlet                               anybody who wakes, on any OS thread
//!   bucket of the address: len + 1         changes the word
//!   barrier                                barrier
//!   word as expected? queue, park          len > 0? take the first of this address, wake it
//!                                          then the kernel, for the OS threads that wait there
//! ```
//!
//! Whoever comes second sees what the other did, so no wake is lost. Waiters are nodes on their
//! own stacks: nothing is allocated. std calls libc's `syscall` for it, which is replaced here;
//! what libc's own locks do inside of it is out of sight.
//!
//! A kill or a timeout does not end such a wait: std's locks know of no failure.

use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::ptr::null;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libc::timespec;

use super::gate::{Green, is_open, run};
use super::raw::{fail, finish, full_barrier, raw};
use super::{clocks, closing, hooks};
use crate::hub::waker::wake_task;
use crate::hub::{HubHandle, Message, TaskRef, Why, with_hub};
use crate::sys::lock::lock;

const BUCKETS: usize = 256;
const ALL_BITS: u32 = u32::MAX;
/// Who is woken from another process can't be told by us, and so looks for himself.
const FOREIGN_TICK_NS: u64 = 5_000_000;

/// One who waits; lives on his stack.
struct Node {
    address: usize,
    bits: u32,
    task: TaskRef,
    woken: AtomicBool,
    next: Cell<*const Node>,
    previous: Cell<*const Node>,
}

/// Those who wait for the addresses of one bucket, in the order of their coming.
struct Queue {
    first: *const Node,
    last: *const Node,
}

// SAFETY: nodes are linked and unlinked under the bucket's lock only, and stay where they are
// while they are linked.
unsafe impl Send for Queue {}

struct Bucket {
    waiting: AtomicU32,
    queue: Mutex<Queue>,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        waiting: AtomicU32::new(0),
        queue: Mutex::new(Queue {
            first: null(),
            last: null(),
        }),
    }
}; BUCKETS];

fn bucket(address: usize) -> &'static Bucket {
    // Fibonacci hashing; words are four bytes.
    let hash = (address >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
    &TABLE[hash >> (usize::BITS - BUCKETS.ilog2())]
}

impl Queue {
    /// # Safety
    /// The node is in no queue, and stays where it is until it is unlinked.
    unsafe fn push(&mut self, node: *const Node) {
        // SAFETY: the caller's; linked nodes are valid.
        unsafe {
            (*node).previous.set(self.last);
            (*node).next.set(null());
            match self.last.as_ref() {
                Some(last) => last.next.set(node),
                None => self.first = node,
            }
        }
        self.last = node;
    }

    /// # Safety
    /// The node is in this queue.
    unsafe fn unlink(&mut self, node: *const Node) {
        // SAFETY: the caller's; linked nodes are valid.
        unsafe {
            let (previous, next) = ((*node).previous.get(), (*node).next.get());
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last = previous,
            }
        }
    }

    /// Takes out the first who waits for `address`, and tells him so. Those of hubs that have
    /// ended will never run again: they are passed over for good.
    fn take(&mut self, address: usize, bits: u32) -> Option<TaskRef> {
        let mut at = self.first;
        // SAFETY: linked nodes are valid; after `woken` is set a node is not looked at again.
        while let Some(node) = unsafe { at.as_ref() } {
            let next = node.next.get();
            let gone = node.task.hub.is_closed();
            if gone || node.address == address && node.bits & bits != 0 {
                // SAFETY: it is in this queue.
                unsafe { self.unlink(at) };
                let task = node.task.clone();
                if !gone {
                    node.woken.store(true, Ordering::Release);
                    return Some(task);
                }
            }
            at = next;
        }
        None
    }
}

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Woken,
    TimedOut,
    /// There was nothing to wait for.
    Changed,
}

impl Green<'_> {
    /// Waits to be woken at `address`, if `waits` says so when it can no longer be missed. With
    /// `ticks`, looks at that again now and then.
    pub(super) fn wait_at(
        &self,
        (address, bits): (usize, u32),
        deadline: Option<u64>,
        ticks: bool,
        waits: impl Fn() -> bool,
    ) -> Ended {
        let bucket = bucket(address);
        let node = Node {
            address,
            bits,
            task: self.task.counted(),
            woken: AtomicBool::new(false),
            next: Cell::new(null()),
            previous: Cell::new(null()),
        };
        let woken = &node.woken;
        {
            let mut queue = lock(&bucket.queue);
            bucket.waiting.fetch_add(1, Ordering::SeqCst);
            full_barrier();
            if !waits() {
                bucket.waiting.fetch_sub(1, Ordering::SeqCst);
                return Ended::Changed;
            }
            // SAFETY: it lives on this stack, and leaves the queue before this function ends; a
            // stack that never gets there is never freed.
            unsafe { queue.push(&node) };
        }
        // Any OS thread may be the one that wakes us.
        let _awaits_others = HubHandle::new(&self.hub.shared);
        loop {
            if woken.load(Ordering::Acquire) {
                break;
            }
            if self.is_over(deadline) || ticks && !waits() {
                let mut queue = lock(&bucket.queue);
                if woken.load(Ordering::Acquire) {
                    break;
                }
                // SAFETY: nobody has woken it, so it is in the queue.
                unsafe { queue.unlink(&node) };
                bucket.waiting.fetch_sub(1, Ordering::SeqCst);
                let over = self.is_over(deadline);
                return if over { Ended::TimedOut } else { Ended::Woken };
            }
            let tick = ticks.then(|| self.deadline_in(FOREIGN_TICK_NS)).flatten();
            let until = tick.unwrap_or(u64::MAX).min(deadline.unwrap_or(u64::MAX));
            self.park_on(Why::Helper("a futex"), (until != u64::MAX).then_some(until));
        }
        bucket.waiting.fetch_sub(1, Ordering::SeqCst);
        Ended::Woken
    }
}

/// Wakes at most `count` greenlets that wait at `address`; returns how many it were.
pub(super) fn wake_at(address: usize, count: usize, bits: u32) -> usize {
    full_barrier();
    let bucket = bucket(address);
    let most = bucket.waiting.load(Ordering::SeqCst) as usize;
    let mut woken = 0;
    while woken < count.min(most) {
        let Some(task) = lock(&bucket.queue).take(address, bits) else {
            break;
        };
        woken += 1;
        wake(&task);
    }
    woken
}

fn wake(task: &TaskRef) {
    if with_hub(|hub| hub.is_none_or(|hub| hub.is_at_ease())) {
        wake_task(task);
    } else {
        // From within the hub: by its own inbox, for later.
        task.hub.send(Message::Wake(task.clone()));
    }
}

/// The arguments of futex(2).
#[derive(Clone, Copy)]
struct Call {
    address: usize,
    operation: c_int,
    value: u32,
    time: usize,
    second: usize,
    third: usize,
}

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;
const REAL_TIME: c_int = libc::FUTEX_CLOCK_REALTIME;

impl Call {
    fn native(self, value: u32) -> isize {
        let (address, operation) = (self.address, self.operation);
        // SAFETY: as the caller of futex(2) says.
        unsafe {
            raw!(
                SYS_futex,
                address,
                operation,
                value,
                self.time,
                self.second,
                self.third
            )
        }
    }

    /// # Safety
    /// As futex(2).
    unsafe fn run(self) -> isize {
        match self.operation & !PRIVATE & !REAL_TIME {
            // SAFETY: the caller's.
            libc::FUTEX_WAIT => unsafe { self.wait(ALL_BITS) },
            // SAFETY: the caller's.
            libc::FUTEX_WAIT_BITSET => unsafe { self.wait(self.third as u32) },
            libc::FUTEX_WAKE => self.wake(ALL_BITS),
            libc::FUTEX_WAKE_BITSET => self.wake(self.third as u32),
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE | libc::FUTEX_WAKE_OP => {
                let result = self.native(self.value);
                // Spurious wakes are legal: whoever waits here looks for himself.
                wake_at(self.address, usize::MAX, ALL_BITS);
                if self.operation & !PRIVATE == libc::FUTEX_WAKE_OP {
                    wake_at(self.second, usize::MAX, ALL_BITS);
                }
                result
            }
            _ => self.native(self.value),
        }
    }

    fn wake(self, bits: u32) -> isize {
        // The kernel takes 0 for 1 here, and more than c_int for nothing sensible either.
        let most = (self.value as usize).max(1);
        let woken = wake_at(self.address, most, bits);
        if woken >= most {
            return woken as isize;
        }
        match self.native((most - woken) as u32) {
            more if more >= 0 => more + woken as isize,
            failed if woken == 0 => failed,
            _ => woken as isize,
        }
    }

    /// # Safety
    /// As futex(2): the address is readable, the time is null or valid.
    unsafe fn wait(self, bits: u32) -> isize {
        let native = || self.native(self.value);
        let misused = self.address == 0 || !self.address.is_multiple_of(4) || bits == 0;
        // SAFETY: the caller's.
        let time = unsafe { (self.time as *const timespec).as_ref() };
        if misused || time.is_some_and(|time| !clocks::is_valid(time)) {
            return native();
        }
        let relative = self.operation & !PRIVATE & !REAL_TIME == libc::FUTEX_WAIT;
        let clock = if self.operation & REAL_TIME != 0 {
            libc::CLOCK_REALTIME
        } else {
            libc::CLOCK_MONOTONIC
        };
        // SAFETY: the caller's.
        let word = unsafe { &*(self.address as *const AtomicU32) };
        let green = |green: &Green<'_>| {
            let deadline = time.and_then(|time| {
                if relative {
                    green.deadline_in(clocks::ns_of(time))
                } else {
                    green.deadline_at(clock, time)
                }
            });
            let shared = self.operation & PRIVATE == 0;
            let waits = || word.load(Ordering::SeqCst) == self.value;
            Some(
                match green.wait_at((self.address, bits), deadline, shared, waits) {
                    Ended::Woken => 0,
                    Ended::TimedOut => fail(libc::ETIMEDOUT),
                    Ended::Changed => fail(libc::EAGAIN),
                },
            )
        };
        run(&hooks::syscall, green, native)
    }
}

/// Variadic in C; arguments that were not passed are not looked at by the kernel either.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if number == libc::SYS_futex && is_open(hooks::syscall.parts) {
        let call = Call {
            address: a,
            operation: b as c_int,
            value: c as u32,
            time: d,
            second: e,
            third: f,
        };
        // SAFETY: the caller's.
        return finish(unsafe { call.run() }) as c_long;
    }
    if number == libc::SYS_close && is_open(hooks::close.parts) {
        closing::forget(a as c_int);
    }
    // SAFETY: the caller's.
    finish(unsafe { super::raw::syscall(number as usize, [a, b, c, d, e, f]) }) as c_long
}
