//! Timers: a 4-ary heap keyed by (deadline, sequence), with true cancellation.
//!
//! ```text
//!   heap   [ - - - (t, seq, slot) ][ 4 children ][ 4 ][ 4 ][ 4 ] ...   a cache line each
//!                  the earliest, at 3      |  ^
//!                                          v  | position
//!   slots  [ position | next vacant ] [ generation, payload ]    a Key names slot + generation
//! ```
//!
//! The children of `i` fill line `i - 2`, so the parent of `i` is `i / 4 + 2`.
//!
//! Why this one: measured against wheels, pairing heaps and trees, it arms and cancels in a few
//! nanoseconds at a million outstanding timers, keeps the exact order of deadlines, and is FIFO
//! among equal ones. At a million it is memory that a removal waits for: so siblings share a line,
//! the lines of the next generation are fetched ahead, and which of them is the earliest is found
//! without a branch, of which half would be mispredicted. The payload is generic: this room knows
//! nothing of tasks.

use crate::sys;

/// Children per node; see the head of this file.
const ARITY: usize = 4;
/// Where the earliest is: the last of its line, so that all others are with their siblings.
const ROOT: usize = ARITY - 1;

/// Names an armed timer. A key outlives its timer harmlessly: it then names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// Two words, so that it travels in registers, and four of them fill a cache line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: u64,
    /// Above, what orders equal deadlines; below, the slot.
    seq_and_slot: u64,
}

const _: () = assert!(size_of::<Siblings>() == 64);

impl Entry {
    fn new(deadline: u64, seq: u32, slot: u32) -> Entry {
        Entry {
            deadline,
            seq_and_slot: u64::from(seq) << 32 | u64::from(slot),
        }
    }

    #[inline]
    fn slot(&self) -> usize {
        self.seq_and_slot as u32 as usize
    }

    /// The sequence may wrap: only two with one deadline, armed 2^31 timers apart, would come in
    /// the wrong order.
    #[inline]
    fn before(&self, other: &Entry) -> bool {
        let earlier = (self.seq_and_slot.wrapping_sub(other.seq_and_slot) as i64) < 0;
        // All of it at once, without a branch.
        (self.deadline < other.deadline) | ((self.deadline == other.deadline) & earlier)
    }
}

/// Four siblings on a cache line of their own; what is vacant holds anything.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Siblings([Entry; ARITY]);

impl Siblings {
    const VACANT: Siblings = Siblings(
        [Entry {
            deadline: u64::MAX,
            seq_and_slot: u64::MAX,
        }; ARITY],
    );

    /// The index of the earliest, if there are all four.
    #[inline]
    fn earliest(&self) -> usize {
        let [a, b, c, d] = &self.0;
        let (left, right) = (usize::from(b.before(a)), 2 + usize::from(d.before(c)));
        let right_is_earlier = self.0[right % ARITY].before(&self.0[left]);
        left + usize::from(right_is_earlier) * (right - left)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    payload: Option<T>,
}

/// The end of the list of vacant slots.
const NO_SLOT: u32 = u32::MAX;

/// A set of timers. Time is a plain number; the same unit for all.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<Siblings>,
    len: usize,
    slots: Vec<Slot<T>>,
    /// For each slot: its position in the heap while armed, the next vacant slot otherwise. Apart
    /// from the rest, so that more of what each move in the heap writes to is in the cache.
    positions: Vec<u32>,
    vacant: u32,
    seq: u32,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Timers<T> {
        Timers {
            heap: Vec::new(),
            len: 0,
            slots: Vec::new(),
            positions: Vec::new(),
            vacant: NO_SLOT,
            seq: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        (self.len > 0).then(|| self.at(ROOT).deadline)
    }

    /// Arms a timer. Equal deadlines come due in the order of arming.
    pub(crate) fn arm(&mut self, deadline: u64, payload: T) -> Key {
        let slot = self.take_slot(payload);
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        let end = self.end();
        if end / ARITY == self.heap.len() {
            self.heap.push(Siblings::VACANT);
        }
        self.len += 1;
        self.rise(end, Entry::new(deadline, seq, slot));
        Key {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    /// Disarms a timer and gives its payload back; `None` when it is no longer armed.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.generation != key.generation || slot.payload.is_none() {
            return None;
        }
        Some(self.remove_at(self.positions[key.slot as usize] as usize))
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<T> {
        let is_due = self.next_deadline()? <= now;
        is_due.then(|| self.remove_at(ROOT))
    }

    fn take_slot(&mut self, payload: T) -> u32 {
        if self.vacant == NO_SLOT {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers");
            self.positions.push(0);
            self.slots.push(Slot {
                generation: 0,
                payload: Some(payload),
            });
            slot
        } else {
            let slot = self.vacant;
            self.vacant = self.positions[slot as usize];
            self.slots[slot as usize].payload = Some(payload);
            slot
        }
    }

    fn remove_at(&mut self, position: usize) -> T {
        let gone = self.at(position);
        sys::prefetch((&raw const self.slots[gone.slot()]).cast());
        self.len -= 1;
        let end = self.end();
        if position < end {
            // The last is late, as a rule: it comes from the bottom and returns to there. So the
            // hole goes all the way down first, which saves a comparison on each level.
            let last = self.at(end);
            let hole = self.sink(position);
            self.rise(hole, last);
        }
        self.heap.truncate(end.div_ceil(ARITY));
        let slot = &mut self.slots[gone.slot()];
        slot.generation = slot.generation.wrapping_add(1);
        self.positions[gone.slot()] = std::mem::replace(&mut self.vacant, gone.slot() as u32);
        slot.payload
            .take()
            .expect("a slot in the heap holds its payload")
    }

    /// Puts `entry` into its place at `position` or above.
    fn rise(&mut self, mut position: usize, entry: Entry) {
        while position > ROOT {
            let parent = position / ARITY + 2;
            if !entry.before(&self.at(parent)) {
                break;
            }
            self.put(position, self.at(parent));
            position = parent;
        }
        self.put(position, entry);
    }

    /// Fills the hole at `position` with the earliest below it, and so on: returns the hole at
    /// the bottom.
    fn sink(&mut self, mut position: usize) -> usize {
        let end = self.end();
        loop {
            let line = position - 2;
            let first = line * ARITY;
            if first + ARITY > end {
                break;
            }
            // The lines of their children are four in a row.
            let below = self.heap.as_ptr().wrapping_add(first - 2);
            (0..ARITY).for_each(|next| sys::prefetch(below.wrapping_add(next).cast()));
            let child = first + self.heap[line].earliest();
            self.put(position, self.at(child));
            position = child;
        }
        let youngest = (position - 2) * ARITY..end;
        let least = youngest.reduce(|least, child| {
            if self.at(child).before(&self.at(least)) {
                child
            } else {
                least
            }
        });
        if let Some(child) = least {
            self.put(position, self.at(child));
            position = child;
        }
        position
    }

    /// The position behind the last.
    fn end(&self) -> usize {
        ROOT + self.len
    }

    #[inline]
    fn at(&self, position: usize) -> Entry {
        self.heap[position / ARITY].0[position % ARITY]
    }

    #[inline]
    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position / ARITY].0[position % ARITY] = entry;
        self.positions[entry.slot()] = position as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use proptest::prelude::*;

    #[test]
    fn comes_due_in_order_of_deadline_then_of_arming() {
        let _bound = bounded();
        let mut timers = Timers::new();
        for (deadline, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            timers.arm(deadline, name);
        }
        assert_eq!(timers.pop_due(0), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(5)).collect();
        assert_eq!(due, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_key_of_an_earlier_timer_cancels_nothing() {
        let _bound = bounded();
        let mut timers = Timers::new();
        let first = timers.arm(1, "first");
        assert_eq!(timers.cancel(first), Some("first"));
        let second = timers.arm(1, "second");
        assert_eq!(first.slot, second.slot, "the slot is used again");
        assert_eq!(timers.cancel(first), None);
        assert_eq!(timers.pop_due(1), Some("second"));
        assert_eq!(timers.cancel(second), None);
    }

    #[test]
    fn equal_deadlines_stay_in_order_when_the_sequence_wraps() {
        let _bound = bounded();
        let mut timers = Timers::new();
        timers.seq = u32::MAX - 1;
        for name in ["a", "b", "c", "d"] {
            timers.arm(7, name);
        }
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(7)).collect();
        assert_eq!(due, ["a", "b", "c", "d"]);
    }

    #[test]
    fn never_is_the_last_of_all() {
        let _bound = bounded();
        let mut timers = Timers::new();
        timers.arm(u64::MAX, "never");
        timers.arm(u64::MAX - 1, "nearly never");
        assert_eq!(timers.pop_due(u64::MAX), Some("nearly never"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![0..50u64, Just(u64::MAX)].prop_map(Step::Arm),
            2 => any::<usize>().prop_map(Step::Cancel),
            1 => (0..10u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// The model: a sorted list of (deadline, sequence).
        #[test]
        fn behaves_as_a_sorted_list(steps in proptest::collection::vec(step(), 1..200)) {
            let _bound = bounded();
            let mut timers = Timers::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut keys = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Arm(delay) => {
                        let deadline = delay.saturating_add(now);
                        let name = keys.len();
                        keys.push(timers.arm(deadline, name));
                        model.push((deadline, name));
                        model.sort();
                    }
                    Step::Cancel(any) if !keys.is_empty() => {
                        let name = any % keys.len();
                        let position = model.iter().position(|(_, other)| *other == name);
                        let expected = position.map(|position| model.remove(position).1);
                        prop_assert_eq!(timers.cancel(keys[name]), expected);
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        while let Some(name) = timers.pop_due(now) {
                            prop_assert_eq!(name, model.remove(0).1);
                        }
                        prop_assert!(model.first().is_none_or(|(deadline, _)| *deadline > now));
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                let next = model.first().map(|(deadline, _)| *deadline);
                prop_assert_eq!(timers.next_deadline(), next);
            }
        }
    }
}
