//! Every sequence of steps that three waiters and their neighbours can take, up to a length.
//!
//! All that threads do to a queue they do under its lock, one step after the other. So to try all
//! sequences of steps is to try all that threads can do. A step is what happens between a lock and
//! its release: to put or get without waiting, to get into a line, to be unwound out of it, to
//! come for what one was promised, to close.
//!
//! After each step: what is promised is there, nobody waits for what is free, and everything that
//! was put is in exactly one place.

use crate::bounded::bounded;
use std::collections::HashSet;

use super::order::{Fifo, Order};
use super::slot::{Slot, Wish};
use super::store::State;
use crate::hub::waker::Waker;
use crate::sync::waitlist::{Key, Notice};

/// One who may wait.
#[derive(Default)]
enum Waiter {
    #[default]
    Idle,
    /// In line for an item, told already or not, to come for it.
    Getting(Key),
    /// In line for an item, handed or promised it already or not.
    Awaiting(Key, Box<Slot<usize>>),
    /// In line for room.
    Putting(Key),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    TryPut,
    /// On another hub than that of those who wait.
    TryPutFromAfar,
    TryGet,
    /// The waiter gets into the line for an item, if it would have to wait.
    WaitToGet(usize),
    WaitToPut(usize),
    /// The waiter runs: takes what it was promised, if it was.
    Run(usize),
    /// The waiter is killed, or its time is up, whether it was promised something or not.
    Leave(usize),
    Widen,
    Close,
    Drain,
}

const WAITERS: usize = 3;

fn steps() -> Vec<Step> {
    let mut all = vec![
        Step::TryPut,
        Step::TryPutFromAfar,
        Step::TryGet,
        Step::Widen,
        Step::Close,
        Step::Drain,
    ];
    for waiter in 0..WAITERS {
        all.extend([
            Step::WaitToPut(waiter),
            Step::Run(waiter),
            Step::Leave(waiter),
        ]);
        all.push(Step::WaitToGet(waiter));
    }
    all
}

/// A queue, its waiters, and what has become of the items.
struct Model {
    state: State<Fifo<usize>>,
    waiters: [Waiter; WAITERS],
    /// Whether getters wait with a slot, or for a promise.
    slots: bool,
    put: usize,
    got: Vec<usize>,
    /// How many items were handed over and have come back.
    back: usize,
}

impl Model {
    fn new(slots: bool) -> Model {
        Model {
            state: State::new(1),
            waiters: Default::default(),
            slots,
            put: 0,
            got: Vec::new(),
            back: 0,
        }
    }

    fn settle(&mut self) {
        // Whom to wake is not tried here: a waiter may run at any time.
        drop(self.state.serve());
    }

    fn push(&mut self) {
        drop(self.state.accept(self.put));
        self.put += 1;
        self.settle();
    }

    fn push_from_afar(&mut self) {
        self.state.push(self.put);
        self.put += 1;
        self.settle();
    }

    fn take(&mut self) {
        let item = self.state.order.pop();
        self.got.push(item.expect("there is what was promised"));
        self.settle();
    }

    /// `false` when the step makes no sense now.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::TryPut if !self.state.closed && self.state.room() > 0 => self.push(),
            Step::TryPutFromAfar if !self.state.closed && self.state.room() > 0 => {
                self.push_from_afar();
            }
            Step::TryGet if self.state.spare() > 0 => self.take(),
            Step::WaitToGet(who) => return self.wait_to_get(who),
            Step::WaitToPut(who) => return self.wait_to_put(who),
            Step::Run(who) => return self.run(who),
            Step::Leave(who) => return self.leave(who),
            Step::Widen if self.state.bound == 1 => {
                self.state.bound = 2;
                self.settle();
            }
            Step::Close if !self.state.closed => {
                self.state.closed = true;
                self.settle();
            }
            Step::Drain if !self.state.drained => {
                self.state.closed = true;
                self.state.drained = true;
                self.state.promised = 0;
                let left = self.state.order.drain();
                self.got.extend(left);
                self.settle();
            }
            _ => return false,
        }
        true
    }

    fn wait_to_get(&mut self, who: usize) -> bool {
        let idle = matches!(self.waiters[who], Waiter::Idle);
        let waits = self.state.spare() == 0 && !self.state.is_over();
        if idle && waits {
            let notice = Notice::to_me();
            let getters = &mut self.state.lists.getters;
            self.waiters[who] = if self.slots {
                let slot = Box::new(Slot::new());
                // SAFETY: it stays in its box until it has left the line.
                let address = unsafe { slot.address() };
                Waiter::Awaiting(getters.push(Wish::slot(address), notice), slot)
            } else {
                Waiter::Getting(getters.push(Wish::promise(), notice))
            };
        }
        idle && waits
    }

    fn wait_to_put(&mut self, who: usize) -> bool {
        let idle = matches!(self.waiters[who], Waiter::Idle);
        let waits = self.state.room() == 0 && !self.state.closed;
        if idle && waits {
            let notice = Notice::Native(crate::sys::sleeper::Sleeper::current());
            let key = self.state.lists.putters.push(false, notice);
            self.waiters[who] = Waiter::Putting(key);
        }
        idle && waits
    }

    fn run(&mut self, who: usize) -> bool {
        match std::mem::take(&mut self.waiters[who]) {
            Waiter::Getting(key) if self.state.lists.getters.is_granted(&key) => {
                let wish = self.state.lists.getters.remove(key).payload;
                if wish.promised && !self.state.drained {
                    self.state.promised -= 1;
                    self.take();
                }
            }
            Waiter::Awaiting(key, slot) => match slot.take() {
                Some(item) => self.got.push(item),
                None => {
                    self.waiters[who] = Waiter::Getting(key);
                    let over = self.run(who);
                    if let Waiter::Getting(key) = std::mem::take(&mut self.waiters[who]) {
                        self.waiters[who] = Waiter::Awaiting(key, slot);
                    }
                    return over;
                }
            },
            Waiter::Putting(key) if self.state.lists.putters.is_granted(&key) => {
                if self.state.lists.putters.remove(key).payload {
                    self.state.allotted -= 1;
                    if !self.state.closed {
                        self.push();
                    }
                }
            }
            other => {
                self.waiters[who] = other;
                return false;
            }
        }
        true
    }

    fn leave(&mut self, who: usize) -> bool {
        match std::mem::take(&mut self.waiters[who]) {
            Waiter::Idle => return false,
            Waiter::Getting(key) => {
                let left = self.state.lists.getters.remove(key);
                if left.granted && left.payload.promised {
                    self.state.give_promise_back();
                }
            }
            Waiter::Awaiting(key, slot) => match slot.take() {
                Some(item) => {
                    self.back += 1;
                    self.got.extend(self.state.take_back(item).err());
                }
                None => {
                    self.waiters[who] = Waiter::Getting(key);
                    return self.leave(who);
                }
            },
            Waiter::Putting(key) => {
                let left = self.state.lists.putters.remove(key);
                if left.granted && left.payload {
                    self.state.allotted -= 1;
                }
            }
        }
        self.settle();
        true
    }

    fn check(&self, path: &[Step]) {
        let state = &self.state;
        let (getters, putters) = (&state.lists.getters, &state.lists.putters);
        let held = state.len();
        let full = |waiter: &&Waiter| matches!(waiter, Waiter::Awaiting(_, slot) if slot.is_full());
        let handed = self.waiters.iter().filter(full).count();
        let rules = [
            ("a promise is kept", state.promised <= held),
            (
                "the bound is kept",
                held + state.allotted <= state.bound + self.back,
            ),
            (
                "nobody waits for what is free",
                getters.is_empty() || state.spare() == 0,
            ),
            (
                "nobody waits for free room",
                putters.is_empty() || state.room() == 0,
            ),
            (
                "nobody waits for ever",
                getters.is_empty() || !state.is_over(),
            ),
            (
                "nobody waits to put in vain",
                putters.is_empty() || !state.closed,
            ),
            (
                "nothing is lost or doubled",
                self.put == self.got.len() + held + handed,
            ),
            (
                // Who was handed an item may run later than the next.
                "first in, first out",
                self.slots || self.got.is_sorted(),
            ),
        ];
        for (rule, holds) in rules {
            assert!(holds, "{rule}: not after {path:?}");
        }
    }

    /// All that later steps can depend on.
    fn fingerprint(&self) -> Vec<usize> {
        let state = &self.state;
        let flags = usize::from(state.closed) + 2 * usize::from(state.drained);
        let mut print = vec![
            state.len(),
            state.bound,
            state.promised,
            state.allotted,
            flags,
        ];
        for waiter in &self.waiters {
            print.push(match waiter {
                Waiter::Idle => 0,
                Waiter::Getting(key) => 1 + usize::from(state.lists.getters.is_granted(key)),
                Waiter::Putting(key) => 3 + usize::from(state.lists.putters.is_granted(key)),
                Waiter::Awaiting(_, slot) if slot.is_full() => 5,
                Waiter::Awaiting(key, _) => 6 + usize::from(state.lists.getters.is_granted(key)),
            });
        }
        print
    }
}

#[test]
fn no_sequence_of_steps_loses_a_wake_or_an_item() {
    let _bound = bounded();
    // Where there is a hub, its root waits as a greenlet does.
    crate::greenlet::run(|| no_sequence_loses_anything(true));
}

#[test]
fn nor_does_one_where_getters_come_for_their_items() {
    let _bound = bounded();
    no_sequence_loses_anything(false);
}

fn no_sequence_loses_anything(slots: bool) {
    const LENGTH_MAX: usize = 9;
    let steps = steps();
    let mut paths = vec![Vec::new()];
    let mut seen = HashSet::new();
    let mut tried = 0;
    for _ in 0..LENGTH_MAX {
        let mut longer = Vec::new();
        for path in paths {
            for step in &steps {
                // Played again from the start: a state can't be copied.
                let mut model = Model::new(slots);
                for past in &path {
                    assert!(model.step(*past));
                }
                if !model.step(*step) {
                    continue;
                }
                tried += 1;
                let mut path = path.clone();
                path.push(*step);
                model.check(&path);
                // Two paths to one fingerprint may differ in who waits in front of whom.
                let line = order_of_arrival(&path);
                if seen.insert((model.fingerprint(), line)) {
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    assert!(tried > 10_000, "only {tried} steps were tried");
}

/// Who has got into a line last, second last and so on.
fn order_of_arrival(path: &[Step]) -> Vec<usize> {
    let mut order = Vec::new();
    for step in path.iter().rev() {
        if let Step::WaitToGet(who) | Step::WaitToPut(who) = step
            && !order.contains(who)
        {
            order.push(*who);
        }
    }
    order
}

#[test]
fn a_task_that_was_woken_is_gone_when_it_has_ended() {
    let _bound = bounded();
    use crate::greenlet::{spawn, yield_now};
    use std::sync::Arc;
    let queue = Arc::new(super::Queue::new());
    let theirs = Arc::clone(&queue);
    let getter = spawn(move || {
        let Waker::Green(task) = Waker::current() else {
            unreachable!("it is a greenlet");
        };
        (theirs.get(), theirs.get(), task)
    });
    for item in 0..2 {
        yield_now();
        queue.put(item).unwrap();
    }
    let (first, second, task) = getter.join().unwrap();
    assert_eq!((first, second), (Ok(0), Ok(1)));
    assert_eq!(task.counts(), 1, "it has kept itself");
}
