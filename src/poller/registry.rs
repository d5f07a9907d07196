//! Who waits for which descriptor, and what the kernel said of it last. Pure: no system calls.
//!
//! Invariants:
//! * A key names slot and generation; a key of a descriptor that is gone names nothing.
//! * The first in a queue of waiters is the only one that may try; it leaves the queue when its
//!   operation is over, and the next is woken if there may be more to have. So waiters are
//!   served in the order of arrival, and one event wakes one waiter, not the herd.
//! * `ready` is cleared by "would block", and by a short transfer unless the end is near.

use std::collections::VecDeque;

use crate::sys::epoll::Readiness;

/// The direction somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// Names one registration, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The key as the 64 bits that epoll carries.
    pub(crate) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn of_token(token: u64) -> Key {
        Key {
            slot: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// Waiters in order of arrival. Nearly always none or one: then nothing is allocated.
#[derive(Debug)]
enum Waiters<W> {
    None,
    One(W),
    #[allow(clippy::box_collection, reason = "keeps a slot within one cache line")]
    Many(Box<VecDeque<W>>),
}

impl<W: Copy + PartialEq> Waiters<W> {
    #[inline]
    fn first(&self) -> Option<W> {
        match self {
            Waiters::None => None,
            Waiters::One(waiter) => Some(*waiter),
            Waiters::Many(waiters) => waiters.front().copied(),
        }
    }

    #[inline]
    fn push(&mut self, waiter: W) {
        *self = match std::mem::replace(self, Waiters::None) {
            Waiters::None => Waiters::One(waiter),
            Waiters::One(first) => Waiters::Many(Box::new(VecDeque::from([first, waiter]))),
            Waiters::Many(mut waiters) => {
                waiters.push_back(waiter);
                Waiters::Many(waiters)
            }
        };
    }

    fn contains(&self, waiter: W) -> bool {
        match self {
            Waiters::None => false,
            Waiters::One(other) => *other == waiter,
            Waiters::Many(waiters) => waiters.contains(&waiter),
        }
    }

    #[inline]
    fn remove(&mut self, waiter: W) -> bool {
        match self {
            Waiters::One(other) if *other == waiter => {
                *self = Waiters::None;
                true
            }
            Waiters::Many(waiters) => {
                let position = waiters.iter().position(|other| *other == waiter);
                let found = position
                    .and_then(|position| waiters.remove(position))
                    .is_some();
                if waiters.is_empty() {
                    *self = Waiters::None;
                }
                found
            }
            _ => false,
        }
    }

    fn drain_into(&mut self, all: &mut Vec<W>) {
        match std::mem::replace(self, Waiters::None) {
            Waiters::None => {}
            Waiters::One(waiter) => all.push(waiter),
            Waiters::Many(waiters) => all.extend(*waiters),
        }
    }
}

/// One direction of one descriptor.
#[derive(Debug)]
struct Side<W> {
    ready: bool,
    waiters: Waiters<W>,
}

impl<W> Side<W> {
    fn new() -> Side<W> {
        Side {
            ready: true,
            waiters: Waiters::None,
        }
    }
}

/// One cache line, for a thousand connections are a thousand of these.
#[repr(align(64))]
#[derive(Debug)]
struct Slot<W> {
    generation: u32,
    /// The descriptor while in use; the next vacant slot, as `-2 - slot`, otherwise.
    fd: i32,
    /// Hang-up, half-close, error or urgent data was seen: short reads prove nothing now.
    closing: bool,
    read: Side<W>,
    write: Side<W>,
}

impl<W> Slot<W> {
    #[inline]
    fn side(&mut self, interest: Interest) -> &mut Side<W> {
        match interest {
            Interest::Read => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }
}

/// The end of the list of vacant slots.
const NO_SLOT: i32 = -1;

/// The table of registrations.
#[derive(Debug)]
pub(crate) struct Registry<W> {
    slots: Vec<Slot<W>>,
    vacant: i32,
    live: usize,
    waiting: usize,
}

impl<W: Copy + PartialEq> Registry<W> {
    pub(crate) fn new() -> Registry<W> {
        Registry {
            slots: Vec::new(),
            vacant: NO_SLOT,
            live: 0,
            waiting: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Notes a new descriptor. Both directions count as ready until an attempt shows otherwise.
    pub(crate) fn insert(&mut self, fd: i32) -> Key {
        self.live += 1;
        if self.vacant == NO_SLOT {
            let slot = self.slots.len() as u32;
            let (read, write) = (Side::new(), Side::new());
            self.slots.push(Slot {
                generation: 0,
                fd,
                closing: false,
                read,
                write,
            });
            return Key {
                slot,
                generation: 0,
            };
        }
        let slot = (-2 - self.vacant) as u32;
        let entry = &mut self.slots[slot as usize];
        self.vacant = std::mem::replace(&mut entry.fd, fd);
        entry.closing = false;
        entry.read.ready = true;
        entry.write.ready = true;
        Key {
            slot,
            generation: entry.generation,
        }
    }

    /// Forgets a descriptor; gives back who waited for it, in order, readers first.
    pub(crate) fn remove(&mut self, key: Key) -> Vec<W> {
        let mut orphans = Vec::new();
        let Some(entry) = self.slot(key) else {
            return orphans;
        };
        entry.read.waiters.drain_into(&mut orphans);
        entry.write.waiters.drain_into(&mut orphans);
        // u32::MAX is left out: the poller's doorbell has it.
        entry.generation = (entry.generation + 1) % u32::MAX;
        self.slots[key.slot as usize].fd =
            std::mem::replace(&mut self.vacant, -2 - key.slot as i32);
        self.live -= 1;
        self.waiting -= orphans.len();
        orphans
    }

    /// Is this key's descriptor still registered?
    #[cfg(test)]
    pub(crate) fn contains(&self, key: Key) -> bool {
        let slot = self.slots.get(key.slot as usize);
        slot.is_some_and(|slot| slot.generation == key.generation && slot.fd >= 0)
    }

    /// The registrations of a descriptor, by its number.
    pub(crate) fn keys_of(&self, fd: i32) -> Vec<Key> {
        let slots = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.fd == fd);
        slots
            .map(|(slot, entry)| Key {
                slot: slot as u32,
                generation: entry.generation,
            })
            .collect()
    }

    /// May `waiter` try its operation now: is there a chance, and is it its turn?
    /// `None` when the key is stale.
    #[inline]
    pub(crate) fn may_try(&mut self, key: Key, interest: Interest, waiter: W) -> Option<bool> {
        let side = self.slot(key)?.side(interest);
        let first = side.waiters.first();
        Some(side.ready && first.is_none_or(|first| first == waiter))
    }

    /// Appends `waiter` to the queue, unless it is in it already.
    #[inline]
    pub(crate) fn enqueue(&mut self, key: Key, interest: Interest, waiter: W) {
        let Some(slot) = self.slot(key) else { return };
        let side = slot.side(interest);
        if !side.waiters.contains(waiter) {
            side.waiters.push(waiter);
            self.waiting += 1;
        }
    }

    /// Takes `waiter` out of the queue, its operation being over one way or another; gives back
    /// who may try next.
    #[inline]
    pub(crate) fn leave(&mut self, key: Key, interest: Interest, waiter: W) -> Option<W> {
        let side = self.slot(key)?.side(interest);
        let left = side.waiters.remove(waiter);
        let next = if side.ready {
            side.waiters.first()
        } else {
            None
        };
        self.waiting -= usize::from(left);
        next
    }

    /// "Would block": nothing more to have until the next event.
    #[inline]
    pub(crate) fn exhausted(&mut self, key: Key, interest: Interest) {
        if let Some(slot) = self.slot(key) {
            slot.side(interest).ready = false;
        }
    }

    /// Fewer bytes than asked for: nothing more to have either, unless the end is near, which
    /// is told once only and must still be found.
    #[inline]
    pub(crate) fn short_transfer(&mut self, key: Key, interest: Interest) {
        if let Some(slot) = self.slot(key)
            && !slot.closing
        {
            slot.side(interest).ready = false;
        }
    }

    /// Notes an event; hands the first waiter of each ready direction to `wake`. An event of a
    /// registration that is gone is dropped.
    #[inline]
    pub(crate) fn fire(&mut self, key: Key, readiness: Readiness, wake: &mut impl FnMut(W)) {
        let Some(slot) = self.slot(key) else { return };
        slot.closing |= readiness.closing;
        let sides = [
            (readiness.readable, &mut slot.read),
            (readiness.writable, &mut slot.write),
        ];
        for (_, side) in sides.into_iter().filter(|(ready, _)| *ready) {
            side.ready = true;
            if let Some(first) = side.waiters.first() {
                wake(first);
            }
        }
    }

    #[inline]
    fn slot(&mut self, key: Key) -> Option<&mut Slot<W>> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        (slot.generation == key.generation && slot.fd >= 0).then_some(slot)
    }
}

#[cfg(test)]
mod tests;
