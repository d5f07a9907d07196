//! Who waits for an object, in the order of arrival.
//!
//! ```text
//!            grant_first, grant_all
//!   Waiting ------------------------> Granted
//!      |                                 |
//!      |             remove              |
//!      +-----------> Free <--------------+
//!                  used again
//! ```
//!
//! A list is kept under the short lock of its object. Whoever waits is a node in a slab; those
//! in `Waiting` are chained by index, oldest first. So to come, to be granted and to leave from
//! the middle cost the same whatever the number of waiters, and nothing is allocated once the
//! slab is large enough.
//!
//! A granted node keeps its place until its owner, who may have been killed meanwhile, has taken
//! it out: no grant is ever lost between the one who gives and the one who has yet to run. If
//! that one's OS thread ends first, who waits takes it out (`bury`), and passes the grant on.

use std::panic::{self, AssertUnwindSafe};

use super::steps;
use crate::greenlet::Ready;
use crate::hub::waker::{self, Waker};
use crate::hub::{TaskRef, ended, with_hub};
use crate::sys::sleeper::Sleeper;

/// Stands for no hub.
const NO_HUB: u64 = u64::MAX;
/// Stands for no node.
const NONE: u32 = u32::MAX;
/// A slab of more nodes than this is given back when nobody is left in it.
const KEPT_MAX: usize = 64;

/// How the one who waits is told of a grant: to be done when no lock is held any more.
///
/// Two words, which travel in registers. What is written to memory in parts and then read as a
/// whole keeps the processor waiting for longer than a switch takes.
#[must_use = "who has been granted something must be told"]
#[derive(Debug)]
pub(crate) enum Notice {
    /// A greenlet is parked.
    Green(TaskRef),
    /// An OS thread is.
    Native(Sleeper),
    /// It waits for this among others.
    Ready(Box<Ready>),
    /// It is a future that is to be polled again.
    Poll(Box<std::task::Waker>),
}

const _: () = assert!(size_of::<Option<Notice>>() == 2 * size_of::<usize>());

impl Notice {
    /// For whoever runs now.
    #[inline]
    pub(crate) fn to_me() -> Notice {
        Notice::from(Waker::current())
    }

    #[inline]
    pub(crate) fn tell(self) {
        match self {
            Notice::Green(task) => steps::wake(Waker::Green(task)),
            other => other.tell_others(),
        }
    }

    #[inline(never)]
    fn tell_others(self) {
        match self {
            Notice::Green(task) => steps::wake(Waker::Green(task)),
            Notice::Native(thread) => steps::wake(Waker::Native(thread)),
            Notice::Ready(ready) => ready.call(),
            Notice::Poll(waker) => waker.wake(),
        }
    }

    /// Whether it ends a park, and nothing else.
    #[inline]
    fn wakes(&self) -> bool {
        matches!(self, Notice::Green(_) | Notice::Native(_))
    }

    #[inline]
    fn prefetch(&self) {
        if let Notice::Green(task) = self {
            waker::prefetch(task);
        }
    }

    /// The number of the hub of whom it wakes, if he has one.
    #[inline]
    fn hub(&self) -> u64 {
        match self {
            Notice::Green(task) => task.hub.number,
            _ => NO_HUB,
        }
    }

    /// Whether it is for a greenlet of this OS thread's hub.
    #[inline]
    fn is_for_this_hub(&self) -> bool {
        matches!(self, Notice::Green(task) if with_hub(|hub| hub.is_some_and(|hub| hub.owns(task))))
    }

    /// Whether who is to be told never runs again, since the OS thread of its hub has ended.
    #[inline]
    fn is_for_the_dead(&self) -> bool {
        matches!(self, Notice::Green(task) if task.hub.is_closed())
    }
}

impl From<Waker> for Notice {
    #[inline]
    fn from(waker: Waker) -> Notice {
        match waker {
            Waker::Green(task) => Notice::Green(task),
            Waker::Native(thread) => Notice::Native(thread),
        }
    }
}

/// How many wakes ahead a task is fetched.
const AHEAD: usize = 4;

/// Tells all, in this order.
pub(crate) fn tell_all(notices: Vec<Notice>) {
    let mut panicked = None;
    let mut notices = notices.into_iter();
    while let Some(notice) = notices.next() {
        // In a crowd, memory is what a wake waits for.
        if let Some(later) = notices.as_slice().get(AHEAD) {
            later.prefetch();
        }
        if notice.wakes() {
            notice.tell();
            continue;
        }
        // Code of others, which may panic: then it goes on panicking when all have been told.
        let told = panic::catch_unwind(AssertUnwindSafe(|| notice.tell()));
        if let Err(payload) = told {
            // Of more than one the last is handed on; the others may panic when dropped.
            std::mem::forget(panicked.replace(payload));
        }
    }
    if let Some(payload) = panicked {
        panic::resume_unwind(payload);
    }
}

/// The right to one node, to be handed in to [`WaitList::remove`].
#[must_use = "a node that is not removed is never used again"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// What a waiter has left with.
#[derive(Debug)]
pub(crate) struct Left<P> {
    pub(crate) granted: bool,
    pub(crate) payload: P,
}

/// See the head of this file. `P` is what a waiter brings along, and finds when it has been
/// granted what it waited for.
#[derive(Debug)]
pub(crate) struct WaitList<P = ()> {
    nodes: Vec<Node<P>>,
    first: u32,
    last: u32,
    free: u32,
    /// Those who wait. Counts are as short as indices, since there is a list in every lock.
    waiting: u32,
    /// Those who have been granted something and woken, and have not taken it yet.
    woken: u32,
    /// Nodes that are not free.
    used: u32,
}

const _: () = assert!(size_of::<WaitList>() <= 48);

#[derive(Debug)]
struct Node<P> {
    /// There while it waits.
    notice: Option<Notice>,
    state: State,
    /// The hub of whom has been woken.
    hub: u64,
    /// Towards those who came earlier.
    previous: u32,
    /// Towards those who came later; in a free node, the next free one.
    next: u32,
    payload: Option<P>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waiting,
    /// It waits for other things as well and may take its time.
    Granted,
    /// It has been granted something and woken for it.
    Woken,
}

impl<P> Node<P> {
    /// Whether its OS thread has ended without it.
    fn is_of_the_dead(&self) -> bool {
        match self.state {
            State::Waiting => self.notice.as_ref().is_some_and(Notice::is_for_the_dead),
            State::Woken => ended::is(self.hub),
            State::Free | State::Granted => false,
        }
    }
}

/// What [`WaitList::bury`] has found.
pub(crate) struct Buried<P> {
    /// What those had brought along who had been granted something: to be passed on.
    pub(crate) granted: Vec<P>,
    /// Whether there were others.
    pub(crate) ungranted: bool,
}

impl<P> WaitList<P> {
    pub(crate) const fn new() -> WaitList<P> {
        WaitList {
            nodes: Vec::new(),
            first: NONE,
            last: NONE,
            free: NONE,
            waiting: 0,
            woken: 0,
            used: 0,
        }
    }

    /// Does nobody wait? Those who have been granted something don't.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting as usize
    }

    /// How many have been woken with a grant that they have not taken yet.
    pub(crate) fn woken(&self) -> usize {
        self.woken as usize
    }

    /// Puts a waiter behind all others.
    #[inline(always)]
    pub(crate) fn push(&mut self, payload: P, notice: Notice) -> Key {
        if self.free == NONE {
            self.grow();
        }
        let (index, previous) = (self.free, self.last);
        // Field by field: a node that is built first and moved then takes twice as long.
        let node = self.node_mut(index);
        let next_free = node.next;
        node.previous = previous;
        node.next = NONE;
        node.payload = Some(payload);
        node.state = State::Waiting;
        node.notice = Some(notice);
        self.free = next_free;
        match previous {
            NONE => self.first = index,
            last => self.node_mut(last).next = index,
        }
        self.last = index;
        self.waiting += 1;
        self.used += 1;
        Key(index)
    }

    /// Makes a node that is free.
    #[cold]
    fn grow(&mut self) {
        let index = u32::try_from(self.nodes.len()).ok();
        let index = index.filter(|index| *index != NONE);
        self.free = index.expect("4 billion waiters don't fit into memory");
        self.nodes.push(Node {
            notice: None,
            state: State::Free,
            hub: NO_HUB,
            previous: NONE,
            next: NONE,
            payload: None,
        });
    }

    /// What the one who has waited longest has brought along, of those who can still be told.
    #[inline]
    pub(crate) fn first_mut(&mut self) -> Option<&mut P> {
        self.pass_over_the_dead();
        if self.first == NONE {
            return None;
        }
        self.node_mut(self.first).payload.as_mut()
    }

    /// Grants the one who has waited longest what it waits for: the one that `first_mut` shows.
    #[inline]
    pub(crate) fn grant_first(&mut self) -> Option<Notice> {
        let first = self.first;
        (first != NONE).then(|| self.grant(first))
    }

    /// As both in one go: grants the one who has waited longest, of those who can still be told,
    /// after `note` has changed what it has brought along.
    #[inline(always)]
    pub(crate) fn grant_first_with(&mut self, note: impl FnOnce(&mut P)) -> Option<Notice> {
        self.pass_over_the_dead();
        let index = self.first;
        let node = self.nodes.get_mut(index as usize)?;
        node.payload.as_mut().map(note);
        Some(self.grant(index))
    }

    /// As [`WaitList::grant_first`], without a look at it before.
    #[inline]
    pub(crate) fn grant_first_living(&mut self) -> Option<Notice> {
        self.pass_over_the_dead();
        self.grant_first()
    }

    /// What the one who has waited longest has brought along, if it is a greenlet of this OS
    /// thread's hub.
    #[inline(always)]
    pub(crate) fn first_of_this_hub(&self) -> Option<&P> {
        let node = self.nodes.get(self.first as usize)?;
        let here = node.notice.as_ref().is_some_and(Notice::is_for_this_hub);
        node.payload.as_ref().filter(|_| here)
    }

    /// Takes the one out who has waited longest, and who is told by other means than this list of
    /// what it gets.
    #[inline(always)]
    pub(crate) fn take_first(&mut self) -> Option<(P, Notice)> {
        let (index, free) = (self.first, self.free);
        let node = self.nodes.get_mut(index as usize)?;
        let (notice, payload) = (node.notice.take()?, node.payload.take()?);
        node.state = State::Free;
        self.first = std::mem::replace(&mut node.next, free);
        match self.first {
            NONE => self.last = NONE,
            next => self.node_mut(next).previous = NONE,
        }
        self.free = index;
        self.waiting -= 1;
        self.one_less();
        Some((payload, notice))
    }

    /// Whether anybody has been granted something and not taken it yet.
    #[inline]
    pub(crate) fn is_any_granted(&self) -> bool {
        self.used > self.waiting
    }

    /// Takes out all whose OS thread has ended without them, be they granted or not.
    #[cold]
    pub(crate) fn bury(&mut self) -> Buried<P> {
        let mut buried = Buried {
            granted: Vec::new(),
            ungranted: false,
        };
        for index in 0..self.nodes.len() {
            // The last to be taken out takes the slab along.
            if self.nodes.get(index).is_some_and(Node::is_of_the_dead) {
                let left = self.remove(Key(index as u32));
                match left.granted {
                    true => buried.granted.push(left.payload),
                    false => buried.ungranted = true,
                }
            }
        }
        buried
    }

    /// Takes out those in front whose OS thread has ended without them: what they were granted
    /// would be lost. They never run again, so their keys are never handed in.
    #[inline]
    fn pass_over_the_dead(&mut self) {
        while self.first_is_dead() {
            self.drop_first();
        }
    }

    #[inline]
    fn first_is_dead(&self) -> bool {
        let first = self.nodes.get(self.first as usize);
        first.is_some_and(|node| node.notice.as_ref().is_some_and(Notice::is_for_the_dead))
    }

    #[cold]
    fn drop_first(&mut self) {
        drop(self.take(Key(self.first)));
    }

    /// Grants all, and returns their notices in the order of their arrival.
    pub(crate) fn grant_all(&mut self) -> Vec<Notice> {
        let mut notices = Vec::with_capacity(self.len());
        while let Some(notice) = self.grant_first() {
            notices.push(notice);
        }
        notices
    }

    #[inline(always)]
    fn grant(&mut self, index: u32) -> Notice {
        self.unlink(index);
        let node = self.node_mut(index);
        let notice = node.notice.take();
        let notice = notice.expect("only those who wait are in the chain");
        if notice.wakes() {
            node.state = State::Woken;
            node.hub = notice.hub();
            self.woken += 1;
        } else {
            node.state = State::Granted;
        }
        notice
    }

    #[inline]
    pub(crate) fn is_granted(&self, key: &Key) -> bool {
        let state = self.nodes[key.0 as usize].state;
        matches!(state, State::Granted | State::Woken)
    }

    /// Takes a waiter out, wherever it stands.
    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Left<P> {
        self.take(key).0
    }

    /// As [`remove`](WaitList::remove), with its notice if it has not been granted anything: for
    /// one that is user code, and to be dropped when no lock is held any more.
    #[inline(always)]
    pub(crate) fn take(&mut self, key: Key) -> (Left<P>, Option<Notice>) {
        let index = key.0;
        let state = self.node_mut(index).state;
        let mut untold = None;
        if state == State::Woken {
            self.woken -= 1;
        } else {
            assert!(state != State::Free, "a key is good for one removal");
            if state == State::Waiting {
                self.unlink(index);
                untold = self.node_mut(index).notice.take();
            }
        }
        let free = self.free;
        let node = self.node_mut(index);
        node.state = State::Free;
        node.next = free;
        let payload = node.payload.take().expect("it is there until the removal");
        self.free = index;
        self.one_less();
        let granted = state != State::Waiting;
        (Left { granted, payload }, untold)
    }

    #[inline(always)]
    fn one_less(&mut self) {
        self.used -= 1;
        if self.used == 0 && self.nodes.capacity() > KEPT_MAX {
            self.give_back();
        }
    }

    #[cold]
    fn give_back(&mut self) {
        self.nodes = Vec::new();
        self.free = NONE;
    }

    #[inline(always)]
    fn unlink(&mut self, index: u32) {
        let node = self.node_mut(index);
        let (previous, next) = (node.previous, node.next);
        match previous {
            NONE => self.first = next,
            previous => self.node_mut(previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.node_mut(next).previous = previous,
        }
        self.waiting -= 1;
    }

    #[inline(always)]
    fn node_mut(&mut self, index: u32) -> &mut Node<P> {
        &mut self.nodes[index as usize]
    }
}

impl<P> Default for WaitList<P> {
    fn default() -> WaitList<P> {
        WaitList::new()
    }
}

#[cfg(test)]
mod tests;
