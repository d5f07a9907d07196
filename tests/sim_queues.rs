//! Queues against a model, with kills and timeouts at random: every item that was put is got
//! once, nobody waits for what is there, nothing is left behind.
//!
//! Caught when `src` is broken on purpose (tried, and restored): a promise that is not passed on
//! by a getter who is killed, room that is not given back, an offer that is not withdrawn.
mod sim_support;

use greenroom::sync::{
    AnyQueue, Channel, Getter, JoinableQueue, LifoQueue, PriorityQueue, Putter, Queue,
};
use greenroom::{Deadline, Greenlet, sleep, spawn_local, wait_any, with_timeout, yield_now};
use sim_support::bounded;
use sim_support::{Seen, each_seed, ms};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What has become of the items.
#[derive(Default)]
struct Log {
    /// Put for certain.
    put: RefCell<BTreeSet<u32>>,
    /// The killed can't say whether their put was done.
    unsure: RefCell<BTreeSet<u32>>,
    got: RefCell<Vec<u32>>,
    next: Cell<u32>,
}

/// Draws from the seed: who runs first is drawn, so the count of those who ran is as well.
struct Dice(Cell<u64>);

impl Dice {
    fn new() -> Dice {
        // Several greenlets race; the order in which they come is the seed's.
        let order = Rc::new(Cell::new(0u64));
        let racers: Vec<_> = (0..12u64)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn_local(move || order.set(order.get().wrapping_mul(31).wrapping_add(n)))
            })
            .collect();
        greenroom::joinall(racers);
        Dice(Cell::new(order.get() | 1))
    }

    fn draw(&self, below: u64) -> u64 {
        let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005);
        self.0.set(next.wrapping_add(1_442_695_040_888_963_407));
        (self.0.get() >> 33) % below
    }
}

struct World<Q: AnyQueue<Item = u32>> {
    putter: Putter<Q>,
    getter: Getter<Q>,
    log: Log,
    dice: Dice,
}

impl<Q: AnyQueue<Item = u32> + 'static> World<Q> {
    fn put_some(&self) {
        for _ in 0..self.dice.draw(6) {
            let item = self.log.next.replace(self.log.next.get() + 1);
            let way = self.dice.draw(5);
            self.log.unsure.borrow_mut().insert(item);
            let put = match way {
                0 => self.putter.try_put(item).is_ok(),
                1 => self.putter.put_timeout(item, ms(self.dice.draw(4))).is_ok(),
                2 => {
                    let limit = ms(self.dice.draw(4));
                    // Put or not put, when it is broken off: not to be told.
                    match with_timeout(limit, || self.putter.put(item).is_ok()) {
                        Ok(put) => put,
                        Err(_) => continue,
                    }
                }
                _ => self.putter.put(item).is_ok(),
            };
            self.log.unsure.borrow_mut().remove(&item);
            if put {
                self.log.put.borrow_mut().insert(item);
            }
            self.rest();
        }
    }

    fn get_some(&self) {
        for _ in 0..self.dice.draw(6) {
            let got = match self.dice.draw(6) {
                0 => self.getter.try_get().ok(),
                1 => self.getter.get_timeout(ms(self.dice.draw(4))).ok(),
                2 => {
                    let limit = ms(self.dice.draw(4));
                    let got = with_timeout(limit, || self.getter.get());
                    got.ok().and_then(Result::ok)
                }
                3 => {
                    let late = Deadline::after(ms(self.dice.draw(4)));
                    match wait_any(&[&self.getter, &late]) {
                        0 => self.getter.try_get().ok(),
                        _ => None,
                    }
                }
                _ => self.getter.get().ok(),
            };
            self.log.got.borrow_mut().extend(got);
            self.rest();
        }
    }

    fn rest(&self) {
        match self.dice.draw(3) {
            0 => yield_now(),
            1 => sleep(ms(self.dice.draw(3))),
            _ => {}
        }
    }
}

fn storm<Q: AnyQueue<Item = u32> + 'static>(make: fn(u64) -> (Putter<Q>, Getter<Q>)) {
    let seen = Seen::default();
    each_seed(|| {
        let dice = Dice::new();
        let (putter, getter) = make(dice.draw(3));
        let log = Log::default();
        let world = Rc::new(World {
            putter,
            getter,
            log,
            dice,
        });
        let spawn = |work: fn(&World<Q>)| {
            let world = Rc::clone(&world);
            spawn_local(move || work(&world))
        };
        let mut crowd: Vec<Greenlet<()>> = Vec::new();
        for _ in 0..4 {
            crowd.push(spawn(World::put_some));
            crowd.push(spawn(World::get_some));
        }
        for _ in 0..3 {
            sleep(ms(world.dice.draw(3)));
            let victim = world.dice.draw(crowd.len() as u64) as usize;
            crowd[victim].kill();
        }
        sleep(ms(100));
        // Some wait for room that only these gets make; what is left then waits in vain.
        for _ in 0..50 {
            world.log.got.borrow_mut().extend(world.getter.try_iter());
            sleep(ms(5));
        }
        crowd.iter().for_each(Greenlet::kill);
        if greenroom::joinall(crowd).iter().any(Result::is_err) {
            seen.note("a kill");
        }
        check(&world, &seen);
    });
    seen.expect(&["a kill", "a put that was broken off"]);
}

fn check<Q: AnyQueue<Item = u32>>(world: &World<Q>, seen: &Seen) {
    let log = &world.log;
    let got = log.got.borrow();
    let once: BTreeSet<u32> = got.iter().copied().collect();
    assert_eq!(once.len(), got.len(), "something was got twice: {got:?}");
    let (put, unsure) = (log.put.borrow(), log.unsure.borrow());
    let lost: Vec<_> = put.difference(&once).collect();
    // A get that is unwound has taken nothing.
    assert!(lost.is_empty(), "lost: {lost:?}");
    let invented: Vec<_> = once
        .difference(&put)
        .filter(|item| !unsure.contains(item))
        .collect();
    assert!(
        invented.is_empty(),
        "got, though its put failed: {invented:?}"
    );
    if !unsure.is_empty() {
        seen.note("a put that was broken off");
    }
}

#[test]
fn a_storm_over_a_queue_loses_and_doubles_nothing() {
    let _bound = bounded();
    storm(|bound| match bound {
        0 => Queue::new().into_ends(),
        bound => Queue::bounded(bound as usize).into_ends(),
    });
}

#[test]
fn a_storm_over_a_stack_loses_and_doubles_nothing() {
    let _bound = bounded();
    storm(|bound| LifoQueue::bounded(bound as usize + 1).into_ends());
}

#[test]
fn a_storm_over_a_priority_queue_loses_and_doubles_nothing() {
    let _bound = bounded();
    storm(|bound| PriorityQueue::bounded(bound as usize + 1).into_ends());
}

#[test]
fn a_storm_over_a_joinable_queue_loses_and_doubles_nothing() {
    let _bound = bounded();
    storm(|bound| JoinableQueue::bounded(bound as usize + 1).into_ends());
}

#[test]
fn a_storm_over_a_channel_loses_and_doubles_nothing() {
    let _bound = bounded();
    storm(|_| Channel::new().into_ends());
}
