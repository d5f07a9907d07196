//! Every lock against a model of it, with kills and timeouts at random: a thousand seeds each.
//!
//! A wake that is lost shows as a deadlock, which the simulation tells at once; one that is
//! stolen shows in the model. Caught when `src/sync` is broken on purpose (tried, and restored):
//! a lock that is free while it is handed over, a permit that was not had and is given back, a
//! kill that poisons. What needs two threads is in `src/sync/exploration.rs`.
mod sim_support;

use greenroom::sync::{
    AsyncResult, Barrier, BoundedSemaphore, Condvar, Event, Mutex, Once, OnceLock, RLock, RwLock,
    Semaphore,
};
use greenroom::{Greenlet, sim, sleep, spawn_local, with_timeout, yield_now};
use sim_support::bounded;
use sim_support::{each_seed, ms};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Chance, from the seed of the simulation.
#[derive(Clone)]
struct Dice(Rc<Cell<u64>>);

impl Dice {
    fn new() -> Dice {
        Dice(Rc::new(Cell::new(sim::seed() ^ 0x9e37_79b9_7f4a_7c15)))
    }

    /// From 0 to `sides - 1`.
    fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    /// No time, or a few milliseconds, of which there are so few that many end together.
    fn time(&self) -> Duration {
        ms(self.roll(4))
    }

    fn pause(&self) {
        match self.roll(3) {
            0 => (),
            1 => yield_now(),
            _ => sleep(self.time()),
        }
    }
}

/// A few greenlets that do `body` a few times, with their number and the dice.
fn cast(dice: &Dice, body: impl Fn(u64, &Dice) + Clone + 'static) -> Vec<Greenlet<()>> {
    let actor = |number| {
        let (dice, body) = (dice.clone(), body.clone());
        spawn_local(move || {
            for _ in 0..1 + dice.roll(4) {
                body(number, &dice);
                dice.pause();
            }
        })
    };
    (0..2 + dice.roll(5)).map(actor).collect()
}

/// Kills some of them at some time.
fn strike(dice: &Dice, actors: &[Greenlet<()>]) {
    for _ in 0..dice.roll(5) {
        sleep(dice.time());
        actors[dice.roll(actors.len() as u64) as usize].kill();
    }
}

/// Waits for all; a panic in one is a panic here.
fn end(actors: Vec<Greenlet<()>>) {
    for ended in greenroom::joinall(actors) {
        if let Err(error) = ended
            && !error.is_killed()
        {
            panic!("an actor: {error}");
        }
    }
}

/// In one of three ways: for ever, with a limit of its own, with one from outside.
fn in_some_way<T>(
    dice: &Dice,
    for_ever: impl FnOnce() -> T,
    limited: impl FnOnce(Duration) -> Option<T>,
) -> Option<T> {
    match dice.roll(3) {
        0 => Some(for_ever()),
        1 => limited(dice.time()),
        _ => with_timeout(dice.time(), for_ever).ok(),
    }
}

/// Counts while it lives, also when it is dropped by a kill.
struct Inside<'a>(&'a Cell<usize>);

impl<'a> Inside<'a> {
    fn of_at_most(max: usize, count: &'a Cell<usize>) -> Inside<'a> {
        assert!(count.get() < max, "more than {max} have it");
        count.set(count.get() + 1);
        Inside(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Those who wait, oldest first, by the model.
#[derive(Default)]
struct Line(RefCell<VecDeque<u64>>);

/// A place in a [`Line`].
struct Place<'a>(&'a Line, u64);

impl Line {
    fn join(&self, number: u64) -> Place<'_> {
        self.0.borrow_mut().push_back(number);
        Place(self, number)
    }
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        self.0.0.borrow().front() == Some(&self.1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().retain(|other| *other != self.1);
    }
}

#[test]
fn a_mutex_is_had_by_one_at_a_time_in_the_order_of_arrival() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((Mutex::new(()), Cell::new(0), Line::default()));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |number, dice| {
            let (mutex, inside, line) = &*theirs;
            let place = line.join(number);
            let lock = || mutex.lock().expect("kills and timeouts poison nothing");
            let guard = in_some_way(dice, lock, |limit| mutex.try_lock_for(limit).ok());
            if let Some(_guard) = guard {
                assert!(place.is_first(), "somebody was overtaken");
                drop(place);
                let _inside = Inside::of_at_most(1, inside);
                dice.pause();
            }
        });
        strike(&dice, &actors);
        drop(shared.0.lock());
        end(actors);
        assert!(shared.0.try_lock().is_ok());
    });
}

#[test]
fn a_reentrant_lock_is_had_by_one_at_a_time() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((RLock::new(Cell::new(0)), Line::default()));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |number, dice| {
            let (lock, line) = &*theirs;
            let place = line.join(number);
            let guard = in_some_way(dice, || lock.lock(), |limit| lock.try_lock_for(limit));
            if let Some(guard) = guard {
                assert!(place.is_first(), "somebody was overtaken");
                drop(place);
                let _inside = Inside::of_at_most(1, &guard);
                let _again = (dice.roll(2) == 0).then(|| lock.lock());
                dice.pause();
            }
        });
        strike(&dice, &actors);
        end(actors);
        assert!(!shared.0.is_locked());
    });
}

#[test]
fn a_rwlock_is_had_by_readers_or_by_one_writer() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((RwLock::new(()), Cell::new(0), Cell::new(0)));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |_, dice| {
            let (lock, readers, writers) = &*theirs;
            if dice.roll(3) > 0 {
                let read = || lock.read().unwrap();
                if let Some(_guard) = in_some_way(dice, read, |limit| lock.try_read_for(limit).ok())
                {
                    let _inside = Inside::of_at_most(usize::MAX, readers);
                    assert_eq!(writers.get(), 0);
                    dice.pause();
                    assert_eq!(writers.get(), 0);
                }
            } else {
                let write = || lock.write().unwrap();
                if let Some(guard) =
                    in_some_way(dice, write, |limit| lock.try_write_for(limit).ok())
                {
                    let inside = Inside::of_at_most(1, writers);
                    assert_eq!(readers.get(), 0);
                    dice.pause();
                    assert_eq!(readers.get(), 0);
                    drop(inside);
                    if dice.roll(2) == 0 {
                        let _reader = greenroom::sync::RwLockWriteGuard::downgrade(guard);
                        let _inside = Inside::of_at_most(usize::MAX, readers);
                        dice.pause();
                    }
                }
            }
        });
        strike(&dice, &actors);
        drop(shared.0.read());
        end(actors);
        assert!(shared.0.try_write().is_ok());
    });
}

#[test]
fn a_semaphore_gives_no_more_permits_than_there_are_and_loses_none() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let permits = 1 + dice.roll(3) as usize;
        let shared = Rc::new((Semaphore::new(permits), Cell::new(0)));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |_, dice| {
            let (semaphore, inside) = &*theirs;
            if dice.roll(4) == 0 {
                in_some_way(
                    dice,
                    || semaphore.wait(),
                    |limit| semaphore.wait_timeout(limit).then_some(()),
                );
                return;
            }
            let acquire = || semaphore.acquire();
            let permit = in_some_way(dice, acquire, |limit| semaphore.acquire_timeout(limit));
            if let Some(_permit) = permit {
                let _inside = Inside::of_at_most(permits, inside);
                dice.pause();
            }
        });
        strike(&dice, &actors);
        drop(shared.0.acquire());
        end(actors);
        assert_eq!(shared.0.permits(), permits);
    });
}

#[test]
fn a_permit_goes_to_who_has_waited_longest_unless_it_has_gone() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((BoundedSemaphore::new(1), Line::default()));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |number, dice| {
            let (semaphore, line) = &*theirs;
            let place = line.join(number);
            let acquire = || semaphore.acquire();
            let permit = in_some_way(dice, acquire, |limit| semaphore.acquire_timeout(limit));
            if let Some(permit) = permit {
                assert!(place.is_first(), "somebody was overtaken");
                drop(place);
                dice.pause();
                permit.forget();
                semaphore.release().unwrap();
                assert!(semaphore.permits() <= 1);
            }
        });
        // Whoever is killed with a permit that it releases by hand has lost it: so no kills.
        end(actors);
        assert_eq!(shared.0.permits(), 1);
    });
}

/// Those who wait for an event now, and those who have been woken and not run yet.
#[derive(Default)]
struct Awaited {
    event: Event,
    waiting: RefCell<BTreeSet<u64>>,
    woken: RefCell<BTreeSet<u64>>,
}

/// Takes a number out of both when it is dropped, as by a kill.
struct Waits<'a>(&'a Awaited, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(&self.1);
        self.0.woken.borrow_mut().remove(&self.1);
    }
}

#[test]
fn an_event_wakes_all_who_wait_and_nobody_else() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new(Awaited::default());
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |number, dice| {
            if theirs.event.is_set() {
                return theirs.event.wait();
            }
            theirs.waiting.borrow_mut().insert(number);
            let _waits = Waits(&theirs, number);
            let wait = || theirs.event.wait();
            let limited = |limit| theirs.event.wait_timeout(limit).then_some(());
            let was_set = in_some_way(dice, wait, limited).is_some();
            assert_eq!(was_set, theirs.woken.borrow().contains(&number));
        });
        for _ in 0..1 + dice.roll(4) {
            dice.pause();
            let now = std::mem::take(&mut *shared.waiting.borrow_mut());
            shared.woken.borrow_mut().extend(now);
            shared.event.set();
            if dice.roll(2) == 0 {
                dice.pause();
            }
            shared.event.clear();
        }
        strike(&dice, &actors);
        // For those who come late.
        let now = std::mem::take(&mut *shared.waiting.borrow_mut());
        shared.woken.borrow_mut().extend(now);
        shared.event.set();
        end(actors);
        assert!(shared.woken.borrow().is_empty());
    });
}

#[test]
fn a_result_reaches_all_who_wait_for_it() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((AsyncResult::new(), Cell::new(false)));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |_, dice| {
            let (result, set) = &*theirs;
            let before = set.get();
            let value = in_some_way(dice, || result.get(), |limit| result.get_timeout(limit));
            assert!(value.is_none_or(|value| value == 7 && set.get()));
            assert!(value.is_some() || !before, "there was a value to be had");
        });
        strike(&dice, &actors);
        shared.1.set(true);
        shared.0.set(7);
        end(actors);
    });
}

#[test]
fn a_notification_is_used_by_one_who_lives() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        // Goods, and what has been taken of them.
        let shared = Rc::new((Mutex::new(0_u32), Condvar::new(), Cell::new(0)));
        let theirs = Rc::clone(&shared);
        let consumers = cast(&dice, move |_, dice| {
            let (goods, filled, taken) = &*theirs;
            let take = || {
                let guard = goods.lock().unwrap();
                *filled.wait_while(guard, |goods| *goods == 0).unwrap() -= 1;
            };
            let limited = |limit| {
                let guard = goods.lock().unwrap();
                let waited = filled.wait_timeout_while(guard, limit, |goods| *goods == 0);
                let (mut guard, result) = waited.unwrap();
                (!result.timed_out()).then(|| *guard -= 1)
            };
            if in_some_way(dice, take, limited).is_some() {
                taken.set(taken.get() + 1);
            }
        });
        let theirs = Rc::clone(&shared);
        let made = Rc::new(Cell::new(0));
        let count = Rc::clone(&made);
        let producers = cast(&dice, move |_, dice| {
            let mut goods = theirs.0.lock().unwrap();
            if dice.roll(4) == 0 {
                *goods += 2;
                count.set(count.get() + 2);
                theirs.1.notify_all();
            } else {
                *goods += 1;
                count.set(count.get() + 1);
                theirs.1.notify_one();
            }
            // Who has been notified waits for the lock now, and may be killed meanwhile.
            dice.pause();
            drop(goods);
        });
        strike(&dice, &consumers);
        end(producers);
        sleep(ms(1000));
        // All is quiet: nobody waits while there is something to be had.
        let left = *shared.0.lock().unwrap();
        let waiting = consumers.iter().filter(|one| !one.is_finished()).count();
        assert!(left == 0 || waiting == 0, "{left} are left, {waiting} wait");
        // The rest is for those who came late, so that all end.
        *shared.0.lock().unwrap() += 1000;
        shared.1.notify_all();
        end(consumers);
        let left = *shared.0.lock().unwrap();
        assert_eq!(made.get() + 1000, shared.2.get() + left);
    });
}

#[test]
fn at_a_barrier_as_many_meet_as_were_asked_for() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let count = 1 + dice.roll(3) as usize;
        let shared = Rc::new((Barrier::new(count), Cell::new(0), Cell::new(0)));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |_, dice| {
            let (barrier, leaders, others) = &*theirs;
            match in_some_way(dice, || barrier.wait(), |limit| barrier.wait_timeout(limit)) {
                Some(result) if result.is_leader() => leaders.set(leaders.get() + 1),
                Some(_) => others.set(others.get() + 1),
                None => (),
            }
        });
        let killed = dice.roll(2) == 0;
        if killed {
            strike(&dice, &actors);
        }
        sleep(ms(1000));
        let (leaders, others) = (shared.1.get(), shared.2.get());
        // Who is killed when all have met may not have seen it.
        assert!(others <= leaders * (count - 1));
        assert!(killed || others == leaders * (count - 1));
        let waiting = actors.iter().filter(|one| !one.is_finished()).count();
        assert!(waiting < count, "{waiting} wait at a barrier of {count}");
        greenroom::killall(&actors, None);
        end(actors);
    });
}

#[test]
fn what_is_done_once_is_begun_again_when_it_is_killed_and_done_once() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let shared = Rc::new((Once::new(), Cell::new(0), Cell::new(0)));
        let theirs = Rc::clone(&shared);
        let actors = cast(&dice, move |_, dice| {
            let (once, running, done) = &*theirs;
            let call = || {
                once.call_once(|| {
                    let _inside = Inside::of_at_most(1, running);
                    sleep(dice.time());
                    done.set(done.get() + 1);
                });
            };
            let called = in_some_way(dice, call, |limit| with_timeout(limit, call).ok());
            assert!(called.is_none() || once.is_completed());
        });
        strike(&dice, &actors);
        shared.0.call_once(|| shared.2.set(shared.2.get() + 1));
        end(actors);
        assert_eq!(shared.2.get(), 1);
    });
}

#[test]
fn a_value_that_is_made_once_is_the_same_for_all() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let cell = Rc::new(OnceLock::new());
        let theirs = Rc::clone(&cell);
        let actors = cast(&dice, move |number, dice| {
            let make = || {
                *theirs.get_or_init(|| {
                    sleep(dice.time());
                    number
                })
            };
            let seen = in_some_way(dice, make, |limit| with_timeout(limit, make).ok());
            assert!(seen.is_none() || seen.as_ref() == theirs.get());
        });
        strike(&dice, &actors);
        let last = *cell.get_or_init(|| 99);
        end(actors);
        assert_eq!(cell.get(), Some(&last));
    });
}
