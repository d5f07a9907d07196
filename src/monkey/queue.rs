//! Greenlets that wait at an address, and those who wake them: behind futex(2), semaphores, and
//! the locks of pthreads.
//!
//! ```text
//!   greenlet                               anybody who wakes, on any OS thread
//!   bucket of the address: len + 1         changes the word
//!   barrier                                barrier
//!   is there cause? queue, park            len > 0? take the first of this address, wake it
//! ```
//!
//! Whoever comes second sees what the other did, so no wake is lost. Where one may be given out
//! of our sight (by another process, within libc), the first in the queue looks for himself now
//! and then. Waiters are nodes on their own stacks: nothing is allocated.
//!
//! A kill or a timeout does not end such a wait: locks know of no failure.

use std::cell::Cell;
use std::ptr::null;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::clocks::Deadline;
use super::gate::Green;
use super::raw::full_barrier;
use crate::hub::waker::wake_task;
use crate::hub::{HubHandle, Message, TaskRef, Why, with_hub};
use crate::sys::lock::lock;

const BUCKETS: usize = 256;
pub(super) const ALL_BITS: u32 = u32::MAX;

/// How often each looks for himself.
const TICK_NS: u64 = 5_000_000;
/// How often the first does: at first, and at last. In between, after as long as he has waited
/// already.
const TICK_FIRST_NS: u64 = 100_000;
const TICK_LAST_NS: u64 = 80_000_000;

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
    unsafe fn push_last(&mut self, node: *const Node) {
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
    /// As [`push_last`](Queue::push_last).
    unsafe fn push_first(&mut self, node: *const Node) {
        // SAFETY: the caller's; linked nodes are valid.
        unsafe {
            (*node).next.set(self.first);
            (*node).previous.set(null());
            match self.first.as_ref() {
                Some(first) => first.previous.set(node),
                None => self.last = node,
            }
        }
        self.first = node;
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

    /// Does anybody wait for `address`?
    fn knows(&self, address: usize) -> bool {
        let mut at = self.first;
        // SAFETY: linked nodes are valid.
        while let Some(node) = unsafe { at.as_ref() } {
            if node.address == address && !node.task.hub.is_closed() {
                return true;
            }
            at = node.next.get();
        }
        false
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

/// Who looks for himself whether there is still cause to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticks {
    Nobody,
    /// Who waits for others than us.
    Each,
    /// Who has nobody before him.
    First,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) why: &'static str,
    pub(super) address: usize,
    pub(super) bits: u32,
    pub(super) deadline: Deadline,
    pub(super) ticks: Ticks,
    /// Before all others, since he was the first already.
    pub(super) first: bool,
}

impl Wait {
    pub(super) fn at(why: &'static str, address: usize) -> Wait {
        Wait {
            why,
            address,
            bits: ALL_BITS,
            deadline: Deadline::NEVER,
            ticks: Ticks::Nobody,
            first: false,
        }
    }
}

impl Green<'_> {
    /// Waits to be woken, if `cause` says so when it can no longer be missed.
    pub(super) fn wait_at(&self, wait: Wait, cause: impl Fn() -> bool) -> Ended {
        self.wait_after(wait, cause, || true)
    }

    /// As [`wait_at`](Green::wait_at); before it parks, but when it would be woken already, it
    /// does `queued`, and where that says no, waits no more.
    pub(super) fn wait_after(
        &self,
        wait: Wait,
        cause: impl Fn() -> bool,
        queued: impl FnOnce() -> bool,
    ) -> Ended {
        let bucket = bucket(wait.address);
        let node = Node {
            address: wait.address,
            bits: wait.bits,
            task: self.task.counted(),
            woken: AtomicBool::new(false),
            next: Cell::new(null()),
            previous: Cell::new(null()),
        };
        let ticks = {
            let mut queue = lock(&bucket.queue);
            bucket.waiting.fetch_add(1, Ordering::SeqCst);
            full_barrier();
            if !cause() {
                bucket.waiting.fetch_sub(1, Ordering::SeqCst);
                return Ended::Changed;
            }
            let first = wait.first || !queue.knows(wait.address);
            // SAFETY: it lives on this stack, and leaves the queue before this function ends; a
            // stack that never gets there is never freed.
            unsafe {
                match wait.first {
                    true => queue.push_first(&node),
                    false => queue.push_last(&node),
                }
            }
            wait.ticks == Ticks::Each || wait.ticks == Ticks::First && first
        };
        let ended = if queued() {
            self.await_wake(&node, wait, ticks, cause)
        } else {
            leave(bucket, &node).unwrap_or(Ended::Changed)
        };
        bucket.waiting.fetch_sub(1, Ordering::SeqCst);
        if ended != Ended::Woken && ticks && wait.ticks == Ticks::First {
            // Whoever comes next has to look for himself from now on.
            wake_at(wait.address, 1, ALL_BITS);
        }
        ended
    }

    fn await_wake(&self, node: &Node, wait: Wait, ticks: bool, cause: impl Fn() -> bool) -> Ended {
        // Any OS thread may be the one that wakes us.
        let _awaits_others = HubHandle::new(&self.hub.shared);
        let begin = self.hub.now();
        loop {
            if node.woken.load(Ordering::Acquire) {
                return Ended::Woken;
            }
            let over = wait.deadline.now() <= self.hub.now();
            if over || ticks && !cause() {
                let left = leave(bucket(wait.address), node);
                return match over {
                    true => left.unwrap_or(Ended::TimedOut),
                    false => Ended::Woken,
                };
            }
            let waited = self.hub.now().saturating_sub(begin);
            let pause = match wait.ticks {
                Ticks::First => waited.clamp(TICK_FIRST_NS, TICK_LAST_NS),
                Ticks::Each | Ticks::Nobody => TICK_NS,
            };
            let tick = ticks.then(|| self.deadline_in(pause)).flatten();
            let look = self.next_look(&wait.deadline);
            let until = [tick, look].into_iter().flatten().min();
            self.park_on(Why::Helper(wait.why), until);
        }
    }
}

/// Takes a node out of its queue; `Woken` if somebody else has done so.
fn leave(bucket: &Bucket, node: &Node) -> Option<Ended> {
    let mut queue = lock(&bucket.queue);
    if node.woken.load(Ordering::Acquire) {
        return Some(Ended::Woken);
    }
    // SAFETY: nobody has woken it, so it is in the queue.
    unsafe { queue.unlink(node) };
    None
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

/// In a forked child: those who wait are its parent's.
pub(super) fn forget_all() {
    for bucket in &TABLE {
        bucket.waiting.store(0, Ordering::Relaxed);
    }
}
