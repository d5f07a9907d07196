//! The registry against a model that is too simple to be wrong: lists.
//!
//! Caught when broken on purpose (tried, and restored): `slot` without its check of generations,
//! `short_transfer` without its check of `closing`, `leave` that names nobody next, `push` at the
//! front, `fire` that wakes all, `remove` that forgets to count `waiting` down.

use super::*;
use crate::bounded::bounded;
use proptest::prelude::*;

/// One direction of a descriptor, as the model has it.
#[derive(Clone, Debug, Default)]
struct Direction {
    ready: bool,
    queue: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    fd: i32,
    closing: bool,
    sides: [Direction; 2],
}

#[derive(Clone, Debug)]
enum Step {
    Insert(i32),
    Remove(usize),
    Try(usize, bool, u8),
    Enqueue(usize, bool, u8),
    Leave(usize, bool, u8),
    Exhausted(usize, bool),
    Short(usize, bool),
    Fire(usize, bool, bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..12usize;
    let on = (which.clone(), any::<bool>(), 0..6u8);
    let side = (which.clone(), any::<bool>());
    prop_oneof![
        3 => (0..4i32).prop_map(Step::Insert),
        1 => which.clone().prop_map(Step::Remove),
        4 => on.clone().prop_map(|(n, read, who)| Step::Try(n, read, who)),
        6 => on.clone().prop_map(|(n, read, who)| Step::Enqueue(n, read, who)),
        4 => on.prop_map(|(n, read, who)| Step::Leave(n, read, who)),
        2 => side.clone().prop_map(|(n, read)| Step::Exhausted(n, read)),
        3 => side.prop_map(|(n, read)| Step::Short(n, read)),
        5 => (which, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(n, read, write, closing)| Step::Fire(n, read, write, closing)),
    ]
}

fn interest(read: bool) -> Interest {
    if read {
        Interest::Read
    } else {
        Interest::Write
    }
}

/// The registry and its model, side by side.
struct Both {
    registry: Registry<u8>,
    live: Vec<Entry>,
    /// Every key there ever was, also those whose descriptors are gone.
    keys: Vec<Key>,
}

impl Both {
    fn new() -> Both {
        Both {
            registry: Registry::new(),
            live: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn key(&self, any: usize) -> Option<Key> {
        // From the newest: of a dozen keys some are stale and some are good.
        let count = self.keys.len();
        (count > 0).then(|| self.keys[count - 1 - any % count])
    }

    fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        self.live.iter_mut().find(|entry| entry.key == key)
    }

    fn side(&mut self, key: Key, read: bool) -> Option<&mut Direction> {
        let entry = self.entry(key)?;
        Some(&mut entry.sides[usize::from(!read)])
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Insert(fd) => self.insert(fd),
            Step::Remove(any) => self.with(any, Both::remove),
            Step::Try(any, read, who) => self.with(any, |both, key| both.attempt(key, read, who)),
            Step::Enqueue(any, read, who) => self.with(any, |both, key| {
                both.registry.enqueue(key, interest(read), who);
                if let Some(side) = both.side(key, read)
                    && !side.queue.contains(&who)
                {
                    side.queue.push(who);
                }
                Ok(())
            }),
            Step::Leave(any, read, who) => self.with(any, |both, key| both.leave(key, read, who)),
            Step::Exhausted(any, read) => self.with(any, |both, key| {
                both.registry.exhausted(key, interest(read));
                if let Some(side) = both.side(key, read) {
                    side.ready = false;
                }
                Ok(())
            }),
            Step::Short(any, read) => self.with(any, |both, key| {
                both.registry.short_transfer(key, interest(read));
                if let Some(entry) = both.entry(key).filter(|entry| !entry.closing) {
                    entry.sides[usize::from(!read)].ready = false;
                }
                Ok(())
            }),
            Step::Fire(any, read, write, closing) => self.with(any, |both, key| {
                let readiness = Readiness {
                    readable: read,
                    writable: write,
                    closing,
                };
                both.fire(key, readiness)
            }),
        }
    }

    fn with(
        &mut self,
        any: usize,
        f: impl FnOnce(&mut Both, Key) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        self.key(any).map_or(Ok(()), |key| f(self, key))
    }

    fn insert(&mut self, fd: i32) -> Result<(), TestCaseError> {
        let key = self.registry.insert(fd);
        prop_assert!(!self.keys.contains(&key), "a key came twice");
        let fresh = Direction {
            ready: true,
            ..Direction::default()
        };
        self.keys.push(key);
        self.live.push(Entry {
            key,
            fd,
            closing: false,
            sides: [fresh.clone(), fresh],
        });
        Ok(())
    }

    fn remove(&mut self, key: Key) -> Result<(), TestCaseError> {
        let orphans = self.registry.remove(key);
        let position = self.live.iter().position(|entry| entry.key == key);
        let expected = position.map(|position| {
            let [read, write] = self.live.swap_remove(position).sides;
            [read.queue, write.queue].concat()
        });
        prop_assert_eq!(orphans, expected.unwrap_or_default());
        Ok(())
    }

    fn attempt(&mut self, key: Key, read: bool, who: u8) -> Result<(), TestCaseError> {
        let may = self.registry.may_try(key, interest(read), who);
        let expected = self.side(key, read).map(|side| {
            let first = side.queue.first().is_none_or(|first| *first == who);
            side.ready && first
        });
        prop_assert_eq!(may, expected);
        Ok(())
    }

    fn leave(&mut self, key: Key, read: bool, who: u8) -> Result<(), TestCaseError> {
        let next = self.registry.leave(key, interest(read), who);
        let expected = self.side(key, read).and_then(|side| {
            side.queue.retain(|other| *other != who);
            side.queue.first().copied().filter(|_| side.ready)
        });
        prop_assert_eq!(next, expected);
        Ok(())
    }

    fn fire(&mut self, key: Key, readiness: Readiness) -> Result<(), TestCaseError> {
        let mut woken = Vec::new();
        self.registry
            .fire(key, readiness, &mut |who| woken.push(who));
        let mut expected = Vec::<u8>::new();
        if let Some(entry) = self.entry(key) {
            entry.closing |= readiness.closing;
            let ready = [readiness.readable, readiness.writable];
            for (side, _) in entry
                .sides
                .iter_mut()
                .zip(ready)
                .filter(|(_, ready)| *ready)
            {
                side.ready = true;
                expected.extend(side.queue.first());
            }
        }
        prop_assert_eq!(
            woken,
            expected,
            "one event wakes the first of each direction"
        );
        Ok(())
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.registry.len(), self.live.len());
        let queued = |entry: &Entry| {
            entry
                .sides
                .iter()
                .map(|side| side.queue.len())
                .sum::<usize>()
        };
        let waiting: usize = self.live.iter().map(queued).sum();
        prop_assert_eq!(self.registry.waiting(), waiting);
        for key in &self.keys {
            let lives = self.live.iter().any(|entry| entry.key == *key);
            prop_assert_eq!(self.registry.contains(*key), lives);
            prop_assert_eq!(Key::of_token(key.token()), *key);
        }
        for fd in 0..4 {
            let mut expected: Vec<_> = self.live.iter().filter(|entry| entry.fd == fd).collect();
            expected.sort_by_key(|entry| entry.key.slot);
            let expected: Vec<_> = expected.iter().map(|entry| entry.key).collect();
            prop_assert_eq!(self.registry.keys_of(fd), expected);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn behaves_as_lists_do(steps in proptest::collection::vec(step(), 1..150)) {
        let _bound = bounded();
        let mut both = Both::new();
        for step in steps {
            both.apply(step)?;
            both.agree()?;
        }
    }

    /// As the sources use it: waiters come, are woken, take what there is and leave, or give up.
    /// Whenever something is ready and somebody waits, the first of them has been woken.
    #[test]
    fn nobody_is_forgotten(
        steps in proptest::collection::vec((0..6u8, 0..4u8), 1..300),
    ) {
        let _bound = bounded();
        let mut registry = Registry::new();
        let key = registry.insert(3);
        let read = Interest::Read;
        registry.exhausted(key, read);
        let (mut available, mut taken, mut served) = (0u32, 0u32, Vec::new());
        let (mut queue, mut woken) = (Vec::new(), Vec::new());
        for (who, what) in steps {
            match what {
                0 => {
                    let event = Readiness { readable: true, writable: false, closing: false };
                    available += 1;
                    registry.fire(key, event, &mut |who| woken.push(who));
                }
                1 if !queue.contains(&who) => {
                    queue.push(who);
                    registry.enqueue(key, read, who);
                    // Whoever comes while something is ready tries before it parks.
                    woken.push(who);
                }
                2 => {
                    let gone = queue.iter().position(|other| *other == who);
                    if gone.map(|at| queue.remove(at)).is_some() {
                        woken.extend(registry.leave(key, read, who));
                    }
                }
                _ => {
                    let Some(who) = woken.pop() else { continue };
                    if !queue.contains(&who) || registry.may_try(key, read, who) != Some(true) {
                        continue;
                    }
                    if available == 0 {
                        registry.exhausted(key, read);
                        continue;
                    }
                    prop_assert_eq!(queue.first(), Some(&who), "served out of turn");
                    available -= 1;
                    taken += 1;
                    served.push(queue.remove(0));
                    woken.extend(registry.leave(key, read, who));
                }
            }
            if let Some(first) = queue.first()
                && registry.may_try(key, read, *first) == Some(true)
                && available > 0
            {
                prop_assert!(woken.contains(first), "{} waits for ever", first);
            }
        }
        prop_assert_eq!(served.len() as u32, taken);
    }
}

#[test]
fn the_doorbells_token_is_no_key() {
    let _bound = bounded();
    let mut registry = Registry::<u8>::new();
    let key = registry.insert(0);
    registry.remove(key);
    registry.slots[0].generation = u32::MAX - 1;
    let last = registry.insert(0);
    assert_ne!(last.token() >> 32, u64::from(u32::MAX));
    registry.remove(last);
    assert_eq!(registry.insert(0).generation, 0, "MAX is left out");
}
