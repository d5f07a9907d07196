//! Who comes out first: the first in, the last in, or the smallest.

use std::collections::VecDeque;

use crate::sync::waitlist::Notice;

/// What a queue keeps its items in.
pub(in crate::sync) trait Order: Default {
    type Item;

    /// Whether taking or looking compares items, which is foreign code: it may panic, park, or
    /// use the very queue. Then the order is taken out of the queue for it.
    const COMPARES: bool = false;

    /// Whether a putter stands by its item until it is taken.
    const RENDEZVOUS: bool = false;

    /// Whether an item may go past the order, to somebody who waits while there is nothing in it.
    const HANDS_OVER: bool = !Self::COMPARES && !Self::RENDEZVOUS;

    /// Adds an item. Never compares.
    fn push(&mut self, item: Self::Item);

    /// Adds an item that has been taken and not used: to be the next.
    fn unpop(&mut self, item: Self::Item) {
        self.push(item);
    }

    /// Takes the next.
    fn pop(&mut self) -> Option<Self::Item>;

    /// Looks at the next.
    fn front(&mut self) -> Option<&Self::Item>;

    fn len(&self) -> usize;

    /// Takes all, in the order in which they would come out where that takes no comparing.
    fn drain(&mut self) -> Vec<Self::Item>;

    /// The queue is closed: gives up to `count` items back to those who stand by them, who are
    /// to be told.
    fn refuse(&mut self, _count: usize) -> Vec<Notice> {
        Vec::new()
    }
}

/// First in, first out.
pub(in crate::sync) struct Fifo<T>(VecDeque<T>);

impl<T> Default for Fifo<T> {
    fn default() -> Fifo<T> {
        Fifo(VecDeque::new())
    }
}

impl<T> Order for Fifo<T> {
    type Item = T;

    #[inline]
    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn unpop(&mut self, item: T) {
        self.0.push_front(item);
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn front(&mut self) -> Option<&T> {
        self.0.front()
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    fn drain(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0).into()
    }
}

/// Last in, first out.
pub(in crate::sync) struct Lifo<T>(Vec<T>);

impl<T> Default for Lifo<T> {
    fn default() -> Lifo<T> {
        Lifo(Vec::new())
    }
}

impl<T> Order for Lifo<T> {
    type Item = T;

    #[inline]
    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn front(&mut self) -> Option<&T> {
        self.0.last()
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    fn drain(&mut self) -> Vec<T> {
        let mut items = std::mem::take(&mut self.0);
        items.reverse();
        items
    }
}

/// The smallest first; of equal ones, the one that came first.
///
/// ```text
///   entries: | a binary heap ........ | added since, in the order of arrival |
///             0                        heaped                                len
/// ```
///
/// Items only ever change places in the vector, so a comparison that panics loses none. It
/// leaves `heaped` at 0, and the heap is built again when the next item is wanted.
pub(in crate::sync) struct Heap<T> {
    entries: Vec<Entry<T>>,
    heaped: usize,
    /// Numbers the arrivals.
    arrivals: u64,
}

struct Entry<T> {
    item: T,
    arrival: u64,
}

impl<T> Default for Heap<T> {
    fn default() -> Heap<T> {
        Heap {
            entries: Vec::new(),
            heaped: 0,
            arrivals: 0,
        }
    }
}

impl<T: Ord> Heap<T> {
    fn precedes(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.entries[one], &self.entries[other]);
        let by_item = one.item.cmp(&other.item);
        by_item.then(one.arrival.cmp(&other.arrival)).is_lt()
    }

    /// Makes a heap of all entries.
    fn heap_up(&mut self) {
        let done = std::mem::take(&mut self.heaped);
        for new in done..self.entries.len() {
            self.sift_up(new);
        }
        self.heaped = self.entries.len();
    }

    fn sift_up(&mut self, mut child: usize) {
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.precedes(child, parent) {
                break;
            }
            self.entries.swap(child, parent);
            child = parent;
        }
    }

    /// Lets the first entry sink, among the first `len`.
    fn sift_down(&mut self, len: usize) {
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= len {
                break;
            }
            let right = left + 1;
            let least = if right < len && self.precedes(right, left) {
                right
            } else {
                left
            };
            if !self.precedes(least, parent) {
                break;
            }
            self.entries.swap(least, parent);
            parent = least;
        }
    }
}

impl<T: Ord> Order for Heap<T> {
    type Item = T;

    const COMPARES: bool = true;

    fn push(&mut self, item: T) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.entries.push(Entry { item, arrival });
    }

    fn pop(&mut self) -> Option<T> {
        self.heap_up();
        let last = self.entries.len().checked_sub(1)?;
        self.heaped = 0;
        self.entries.swap(0, last);
        self.sift_down(last);
        self.heaped = last;
        self.entries.pop().map(|entry| entry.item)
    }

    fn front(&mut self) -> Option<&T> {
        self.heap_up();
        self.entries.first().map(|entry| &entry.item)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn drain(&mut self) -> Vec<T> {
        self.heaped = 0;
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().map(|entry| entry.item).collect()
    }
}
