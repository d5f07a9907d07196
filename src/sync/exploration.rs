//! Every order of the atomic steps of two or three threads on a lock, with a few interruptions.
//!
//! The threads are greenlets, and each atomic operation, internal lock and park of the code under
//! test stops before it takes effect (`steps`); who goes on is planned (`hub::sim::script`). So
//! it is the real code that is explored, in all orders in which one thread after the other takes
//! a step; what weaker memory than that allows is not. A wake that comes before its park is kept,
//! as it is between threads; a wake that is lost shows as a deadlock.
//!
//! Caught when the code is broken on purpose (tried, and restored): see each test.

use crate::bounded::bounded;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::raw_mutex::RawMutex;
use super::raw_rwlock::{Access, RawRwLock};
use super::raw_semaphore::RawSemaphore;
use super::steps::step;
use super::{Barrier, Condvar, Event, Mutex, Once};
use crate::greenlet::{Greenlet, sleep, spawn_local};
use crate::hub::sim::script::each_order;
use crate::sim;

/// Runs `scenario` in all orders with so many interruptions.
#[track_caller]
fn explore(interruptions_max: usize, scenario: impl Fn()) {
    // The one makes the orders too many; the other has a kill block the only OS thread there is.
    if cfg!(any(greenroom_spurious_wakes, greenroom_no_panic_swap)) {
        return;
    }
    let orders = each_order(interruptions_max, || sim::run(0, &scenario));
    // Far fewer would mean that nothing was explored.
    assert!(orders > 100, "{orders} orders only");
}

/// The deadline of who gives up as soon as it has looked.
fn at_once() -> Option<u64> {
    Some(0)
}

fn never() -> Option<u64> {
    None
}

type Thread = Rc<Greenlet<()>>;

fn thread<S: 'static>(shared: &Rc<S>, body: impl FnOnce(&S) + 'static) -> Thread {
    let shared = Rc::clone(shared);
    Rc::new(spawn_local(move || body(&shared)))
}

fn killer_of(victim: &Thread) -> Thread {
    let victim = Rc::clone(victim);
    Rc::new(spawn_local(move || {
        step();
        victim.kill();
    }))
}

/// Waits until nobody can go on, which is when virtual time passes.
fn until_quiet() {
    sleep(Duration::from_millis(1));
}

/// All have ended by themselves or by a kill.
#[track_caller]
fn end<const N: usize>(threads: [Thread; N]) {
    until_quiet();
    assert!(
        threads.iter().all(|thread| thread.is_finished()),
        "a wake was lost"
    );
    for thread in threads.into_iter().filter_map(Rc::into_inner) {
        let ended = thread.join();
        assert!(ended.is_ok() || ended.is_err_and(|error| error.is_killed()));
    }
}

/// What a lock guards: who is inside.
#[derive(Default)]
struct Room {
    readers: Cell<usize>,
    writers: Cell<usize>,
}

/// Leaves again when it is dropped, as by a kill.
struct Inside<'a>(&'a Cell<usize>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Room {
    fn enter(&self, access: Access) -> Inside<'_> {
        let others = match access {
            Access::Read => self.writers.get(),
            Access::Write => self.writers.get() + self.readers.get(),
        };
        assert_eq!(others, 0, "they were not to meet");
        let counted = match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
        };
        counted.set(counted.get() + 1);
        Inside(counted)
    }
}

fn use_mutex((mutex, room): &(RawMutex, Room), deadline: fn() -> Option<u64>) {
    if mutex.lock("", deadline) {
        let inside = room.enter(Access::Write);
        step();
        drop(inside);
        mutex.unlock();
    }
}

fn mutex() -> Rc<(RawMutex, Room)> {
    Rc::new((RawMutex::new(), Room::default()))
}

// Caught: `unlock` that stores FREE instead of comparing; `lock_slowly` that does not look again.
#[test]
fn a_mutex_is_had_by_one_of_three() {
    let _bound = bounded();
    explore(2, || {
        let shared = mutex();
        end([(); 3].map(|()| thread(&shared, |shared| use_mutex(shared, never))));
        assert!(shared.0.try_lock());
    });
}

// Caught: a `Place` that does not pass on; a kill that leaves its place in the list.
#[test]
fn a_mutex_outlives_a_kill_of_one_who_waits_for_it() {
    let _bound = bounded();
    explore(3, || {
        let shared = mutex();
        let victim = thread(&shared, |shared| {
            shared.0.lock("", never);
            // From here on there is no park.
            shared.0.unlock();
        });
        let other = thread(&shared, |shared| {
            shared.0.lock("", never);
            step();
            shared.0.unlock();
        });
        let killer = killer_of(&victim);
        end([victim, other, killer]);
        assert!(shared.0.try_lock());
    });
}

// Caught: one who was handed the lock as its time was up, and goes without it.
#[test]
fn a_mutex_outlives_one_who_gives_up_waiting_for_it() {
    let _bound = bounded();
    explore(2, || {
        let shared = mutex();
        let patient = || thread(&shared, |shared| use_mutex(shared, never));
        let hasty = thread(&shared, |shared| use_mutex(shared, at_once));
        end([patient(), hasty, patient()]);
        assert!(shared.0.try_lock());
    });
}

fn take_and_give(semaphore: &RawSemaphore, deadline: fn() -> Option<u64>) {
    if semaphore.take(deadline) {
        step();
        assert!(semaphore.give());
    }
}

// Caught: `give` that adds its permit although somebody has begun to wait.
#[test]
fn a_permit_is_not_lost_among_three() {
    let _bound = bounded();
    explore(2, || {
        let shared = Rc::new(RawSemaphore::new(1, 1));
        let patient = || thread(&shared, |shared| take_and_give(shared, never));
        let hasty = thread(&shared, |shared| take_and_give(shared, at_once));
        end([patient(), hasty, patient()]);
        assert_eq!(shared.permits(), 1);
    });
}

// Caught: a look that takes; a hand-over that stops at one who looks.
#[test]
fn a_permit_is_shown_to_who_looks_and_had_by_who_takes() {
    let _bound = bounded();
    explore(2, || {
        let shared = Rc::new(RawSemaphore::new(0, 9));
        let looks = thread(&shared, |shared| assert!(shared.look(never)));
        let takes = thread(&shared, |shared| assert!(shared.take(never)));
        let gives = thread(&shared, |shared| {
            assert!(shared.give());
            assert!(shared.give());
        });
        end([looks, takes, gives]);
        assert_eq!(shared.permits(), 1);
    });
}

// Caught: a `Place` that does not pass on.
#[test]
fn a_permit_is_not_lost_with_one_who_is_killed() {
    let _bound = bounded();
    explore(1, || {
        let shared = Rc::new(RawSemaphore::new(0, 9));
        let takes = || {
            thread(&shared, |shared| {
                shared.take(never);
                shared.give();
            })
        };
        let (victim, other) = (takes(), takes());
        let killer = killer_of(&victim);
        let gives = thread(&shared, |shared| assert!(shared.give()));
        end([victim, other, killer, gives]);
        assert_eq!(shared.permits(), 1);
    });
}

fn use_rwlock((lock, room): &(RawRwLock, Room), access: Access, deadline: fn() -> Option<u64>) {
    if lock.lock(access, deadline) {
        let inside = room.enter(access);
        step();
        drop(inside);
        lock.unlock(access);
    }
}

fn rwlock() -> Rc<(RawRwLock, Room)> {
    Rc::new((RawRwLock::new(), Room::default()))
}

// Caught: an `unlock` that admits nobody.
#[test]
fn readers_and_writers_do_not_meet() {
    let _bound = bounded();
    for last in [Access::Read, Access::Write] {
        explore(2, || {
            let shared = rwlock();
            let user = |access| thread(&shared, move |shared| use_rwlock(shared, access, never));
            end([user(Access::Read), user(Access::Write), user(last)]);
            assert!(shared.0.try_lock(Access::Write));
        });
    }
}

// Caught: one who gives up and leaves the mark that somebody waits.
#[test]
fn readers_do_not_wait_for_a_writer_that_gave_up() {
    let _bound = bounded();
    explore(2, || {
        let shared = rwlock();
        // For good, as far as this is concerned.
        assert!(shared.0.try_lock(Access::Read));
        let writer = thread(&shared, |shared| use_rwlock(shared, Access::Write, at_once));
        let reader = || thread(&shared, |shared| use_rwlock(shared, Access::Read, never));
        end([reader(), writer, reader()]);
        assert!(shared.0.try_lock(Access::Read));
        shared.0.unlock(Access::Read);
        shared.0.unlock(Access::Read);
        assert!(shared.0.try_lock(Access::Write));
    });
}

// Caught: a `downgrade` that admits nobody.
#[test]
fn readers_come_in_when_a_writer_becomes_one() {
    let _bound = bounded();
    explore(2, || {
        let shared = rwlock();
        let writer = thread(&shared, |(lock, room)| {
            lock.lock(Access::Write, never);
            drop(room.enter(Access::Write));
            lock.downgrade();
            drop(room.enter(Access::Read));
        });
        let reader = thread(&shared, |shared| use_rwlock(shared, Access::Read, never));
        let late = thread(&shared, |shared| use_rwlock(shared, Access::Write, at_once));
        end([writer, reader, late]);
        shared.0.unlock(Access::Read);
        assert!(shared.0.try_lock(Access::Write));
    });
}

// Caught: a `wait` that looks before it locks the list, and not again.
#[test]
fn an_event_that_is_set_keeps_nobody() {
    let _bound = bounded();
    explore(2, || {
        let shared = Rc::new(Event::new());
        let waits = || thread(&shared, Event::wait);
        let sets = thread(&shared, |event| {
            event.set();
            event.clear();
            event.set();
        });
        end([waits(), sets, waits()]);
    });
}

type Goods = (Mutex<u32>, Condvar);

fn take_one((goods, filled): &Goods) {
    let guard = goods.lock().unwrap();
    let mut guard = filled.wait_while(guard, |goods| *goods == 0).unwrap();
    *guard -= 1;
}

fn put_one((goods, filled): &Goods) {
    let mut guard = goods.lock().unwrap();
    *guard += 1;
    filled.notify_one();
    step();
    drop(guard);
}

// Caught: a wait that releases the mutex before it stands in the list.
#[test]
fn a_notification_is_not_lost() {
    let _bound = bounded();
    explore(1, || {
        let shared = Rc::new(Goods::default());
        end([
            thread(&shared, take_one),
            thread(&shared, put_one),
            thread(&shared, take_one),
            thread(&shared, put_one),
        ]);
    });
}

// Caught: one who is killed before it has the mutex again, and keeps its notification.
#[test]
fn a_notification_is_not_lost_with_one_who_is_killed() {
    let _bound = bounded();
    explore(2, || {
        let shared = Rc::new(Goods::default());
        let (victim, other) = (thread(&shared, take_one), thread(&shared, take_one));
        until_quiet();
        let killer = killer_of(&victim);
        let puts = thread(&shared, put_one);
        until_quiet();
        let left = *shared.0.lock().unwrap();
        let waits = !other.is_finished();
        assert!(left == 0 || !waits, "{left} are left, and somebody waits");
        put_one(&shared);
        end([victim, other, killer, puts]);
    });
}

// Caught: an attempt that is killed and leaves the others waiting.
#[test]
fn what_is_killed_while_it_is_done_is_done_by_the_next() {
    let _bound = bounded();
    explore(3, || {
        let shared = Rc::new((Once::new(), Cell::new(0)));
        let call = |(once, done): &(Once, Cell<u32>)| {
            once.call_once(|| {
                sleep(Duration::from_nanos(1));
                done.set(done.get() + 1);
            });
        };
        let (victim, other) = (thread(&shared, call), thread(&shared, call));
        let killer = killer_of(&victim);
        end([victim, other, killer]);
        assert_eq!(shared.1.get(), 1);
    });
}

// Caught: a last comer that does not count itself.
#[test]
fn all_who_meet_at_a_barrier_go_on() {
    let _bound = bounded();
    explore(2, || {
        let shared = Rc::new(Barrier::new(3));
        let meet = || {
            thread(&shared, |barrier| {
                barrier.wait();
            })
        };
        end([meet(), meet(), meet()]);
    });
}
