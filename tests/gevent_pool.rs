//! What gevent's own tests ask of groups and pools: behaviours 77 to 85 of our list, re-written in
//! our words after the test that each names, not copied; and what eventlet's and r2d2's users
//! expect of a pool of connections.
mod gevent_support;

use gevent_support::{Notes, bounded, ms};
use greenroom::pool::{GetError, Group, Pool, Resources};
use greenroom::{Greenlet, hub, sim, with_timeout};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

fn nap(millis: u64) -> impl FnOnce() + Send + 'static {
    move || greenroom::sleep(ms(millis))
}

/// Runs `f` in virtual time; it must leave nothing behind.
fn in_sim(f: impl FnOnce()) {
    sim::run(77, || {
        f();
        assert!(hub::wait_idle(None), "{}", hub::dump());
        assert_eq!(hub::stats().stacks_live, 0);
    });
}

fn took(f: impl FnOnce()) -> Duration {
    let before = greenroom::now();
    f();
    greenroom::now() - before
}

// 77: test__pool.py TestSpawn
#[test]
fn a_spawn_into_a_full_pool_waits_for_one_to_end() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(nap(10));
        assert!(pool.is_full() && !first.is_finished());
        assert_eq!(took(|| drop(pool.spawn(nap(10)))), ms(10));
        assert!(first.is_finished());
        assert_eq!(pool.len(), 1);
    });
}

// 78: test__pool.py PoolBasicTests.test_add, test_add_can_be_timed
#[test]
fn a_full_pool_gives_the_closure_back_at_once_or_in_time() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(1);
        drop(pool.spawn(nap(100)));
        let back = pool.try_spawn(|| 7).unwrap_err();
        assert_eq!(back(), 7);
        assert_eq!(
            took(|| assert!(pool.spawn_timeout(ms(20), || 8).is_err())),
            ms(20)
        );
        let other = greenroom::spawn(nap(200));
        assert!(!pool.try_add(other.thread()));
        // An outer timeout works inside, and nobody has come in.
        assert!(with_timeout(ms(20), || pool.add(other.thread())).is_err());
        assert_eq!((pool.len(), pool.waiting()), (1, 0));
        pool.add(other.thread());
        assert!(pool.contains(other.id()));
        assert!(pool.spawn_timeout(ms(500), || ()).is_ok());
    });
}

// 79: test__pool.py test_discard
#[test]
fn a_discard_frees_the_place_exactly_once() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(nap(10));
        assert!(pool.discard(first.id()));
        assert!(!pool.discard(first.id()));
        assert_eq!((pool.free_count(), pool.len()), (1, 0));
        let second = pool.try_spawn(nap(50)).ok().unwrap();
        first.join().unwrap();
        assert_eq!(
            pool.free_count(),
            0,
            "the end of the first frees nothing more"
        );
        second.join().unwrap();
        assert_eq!(pool.free_count(), 1);
    });
}

// 80: test__pool.py test_reentrant
#[test]
fn what_a_worker_asks_of_its_own_pool_it_does_itself() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let worker = pool.spawn_local(move || {
            let applied = inner.apply(|| inner.apply(|| 1).unwrap() + 1).unwrap();
            let mapped: i32 = inner.map(1..=3, |n| n).into_iter().flatten().sum();
            let lazily: i32 = inner.imap(1..=3, |n| n).flatten().sum();
            let unordered: i32 = inner.imap_unordered(1..=3, |n| n).flatten().sum();
            (applied, mapped, lazily, unordered)
        });
        assert_eq!(worker.join().unwrap(), (2, 6, 6, 6));
    });
}

#[test]
fn a_worker_that_maps_in_its_pool_uses_what_room_there_is() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(3);
        let inner = pool.clone();
        let worker = pool.spawn_local(move || {
            // Two by the others, one by itself.
            took(|| drop(inner.map(0..3, |_| greenroom::sleep(ms(10)))))
        });
        assert_eq!(worker.join().unwrap(), ms(10));
    });
}

// gevent #368: everything blocked
#[test]
fn workers_that_all_wait_to_spawn_in_their_pool_are_told() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(2);
        let nested = |pool: &Pool| {
            let inner = pool.clone();
            pool.spawn_local(move || inner.spawn(|| 5).join().unwrap())
        };
        let both = [nested(&pool), nested(&pool)];
        let results: Vec<_> = greenroom::joinall(both);
        let failed: Vec<_> = results
            .iter()
            .filter_map(|one| one.as_ref().err())
            .collect();
        assert_eq!(failed.len(), 1, "it makes room for the other one");
        let text = failed[0].downcast_ref::<String>().unwrap();
        assert!(text.contains("a pool of 2 is full"), "{text}");
        assert!(results.iter().any(|one| matches!(one, Ok(5))));
    });
}

// 81: test__pool.py test_imap, test_imap_unordered, test_empty
#[test]
fn imap_is_in_order_and_imap_unordered_as_they_are_done() {
    let _bound = bounded();
    in_sim(|| {
        let slowly = |n: u64| {
            greenroom::sleep(ms(n));
            n
        };
        let pool = Pool::new(3);
        let ordered: Vec<u64> = pool.imap([10, 1, 2], slowly).flatten().collect();
        assert_eq!(ordered, [10, 1, 2]);
        let unordered: Vec<u64> = pool.imap_unordered([10, 1, 2], slowly).flatten().collect();
        assert_eq!(unordered, [1, 2, 10]);
        assert!(pool.imap([], slowly).next().is_none());
        assert!(pool.imap_unordered([], slowly).next().is_none());
        assert!(pool.map([0u64; 0], slowly).is_empty());
        let mapped: Vec<u64> = pool.map([10, 1, 2], slowly).into_iter().flatten().collect();
        assert_eq!(mapped, [10, 1, 2]);
    });
}

// 82: test__pool.py TestErrorInHandler
#[test]
fn an_item_that_fails_is_an_error_in_its_place_and_the_others_go_on() {
    let _bound = bounded();
    in_sim(|| {
        let fails_at_2 = |n: u32| if n == 2 { panic::panic_any(n) } else { n };
        let kinds = |result: Result<u32, greenroom::JoinError>| match result {
            Ok(n) => n,
            Err(error) => error.downcast_ref::<u32>().unwrap() * 100,
        };
        let pool = Pool::new(2);
        let seen: Vec<u32> = pool.imap(1..5, fails_at_2).map(kinds).collect();
        assert_eq!(seen, [1, 200, 3, 4]);
        let mut seen: Vec<u32> = pool.imap_unordered(1..5, fails_at_2).map(kinds).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 3, 4, 200]);
        let mapped: Vec<u32> = pool.map(1..5, fails_at_2).into_iter().map(kinds).collect();
        assert_eq!(mapped, [1, 200, 3, 4]);
        assert!(
            pool.apply(|| panic::panic_any("oh"))
                .map(|()| 0)
                .unwrap_err()
                .is_panic()
        );
        assert_eq!(pool.free_count(), 2);
    });
}

// 82: test__pool.py TestErrorInIterator
#[test]
fn an_iterator_of_items_that_fails_fails_at_the_reader() {
    let _bound = bounded();
    in_sim(|| {
        let items = || (1..).inspect(|n| assert!(*n != 3, "the items fail"));
        let pool = Pool::new(1);
        let mut results = pool.imap(items(), |n: u32| n);
        assert_eq!(results.next().unwrap().unwrap(), 1);
        assert_eq!(results.next().unwrap().unwrap(), 2);
        assert!(panic::catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
        assert_eq!(
            results.next().unwrap().unwrap(),
            4,
            "asked again it goes on"
        );
        drop(results);
        let mapped = panic::catch_unwind(AssertUnwindSafe(|| pool.map(items(), |n| n)));
        assert!(mapped.is_err());
        assert_eq!(pool.len(), 0);
    });
}

// 83: test__pool.py test_imap_unordered_bounded_queue
#[test]
fn imap_takes_no_more_items_than_it_may_be_ahead() {
    let _bound = bounded();
    in_sim(|| {
        let taken = Rc::new(Cell::new(0u32));
        let count = |taken: &Rc<Cell<u32>>| {
            let taken = Rc::clone(taken);
            (0..100u32).inspect(move |_| taken.set(taken.get() + 1))
        };
        let pool = Pool::new(10);
        let mut results = pool.imap(count(&taken), |n| n).ahead(1);
        assert_eq!(taken.get(), 0, "lazy");
        for read in 0..5 {
            assert_eq!(results.next().unwrap().unwrap(), read);
            greenroom::sleep(ms(1));
            assert_eq!(taken.get(), read + 1);
        }
        drop(results);
        taken.set(0);
        let mut results = pool.imap_unordered(count(&taken), |n| n).ahead(2);
        for read in 1..6 {
            results.next().unwrap().unwrap();
            greenroom::sleep(ms(1));
            assert!(
                taken.get() <= read + 2,
                "{} taken, {read} read",
                taken.get()
            );
        }
        let zero: Vec<u32> = pool.imap(0..3, |n| n).ahead(0).flatten().collect();
        assert_eq!(zero, [0, 1, 2]);
    });
}

#[test]
fn results_that_nobody_wants_any_more_are_not_worked_for() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(4);
        let mut results = pool.imap_unordered(1.., |n: u64| greenroom::sleep(ms(n * 1000)));
        results.next().unwrap().unwrap();
        drop(results);
        assert!(took(|| pool.join()) < ms(1000));
    });
}

// 84: test__pool.py test_terminate; test__greenletset.py test_kill_fires_once
#[test]
fn kill_ends_all_those_who_come_meanwhile_too_and_each_once() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(3);
        let notes = Notes::new();
        for _ in 0..2 {
            drop(pool.spawn(nap(60_000)));
        }
        let pen = notes.pen();
        let stubborn = pool.spawn_local(move || {
            let caught = panic::catch_unwind(|| greenroom::sleep(ms(60_000)));
            pen(caught.is_err());
        });
        let late = pool.clone();
        let comes_in = greenroom::spawn_local(move || late.spawn(nap(60_000)).join());
        greenroom::yield_now();
        assert!(took(|| assert_eq!(pool.kill(Some(ms(5000))), 0)) < ms(500));
        stubborn.join().unwrap();
        assert_eq!(notes.read(), [true]);
        assert!(comes_in.join().unwrap().unwrap_err().is_killed());
        assert!(pool.is_empty());
        assert_eq!(pool.spawn(|| 1).join().unwrap(), 1, "it is usable still");
    });
}

#[test]
fn a_kill_that_takes_too_long_tells_how_many_are_left() {
    let _bound = bounded();
    in_sim(|| {
        let group = Group::new();
        drop(group.spawn(|| greenroom::shield(|| greenroom::sleep(ms(100)))));
        drop(group.spawn(nap(60_000)));
        greenroom::yield_now();
        let mut left = 0;
        assert_eq!(took(|| left = group.kill(Some(ms(10)))), ms(10));
        assert_eq!(left, 1);
        group.join();
    });
}

#[test]
fn one_of_a_group_is_killed_and_the_others_live() {
    let _bound = bounded();
    in_sim(|| {
        let group = Group::new();
        let greenlets: Vec<Greenlet<()>> = (0..3).map(|_| group.spawn(nap(50))).collect();
        assert!(group.kill_one(greenlets[1].id()));
        let ends = greenroom::joinall(greenlets);
        let killed: Vec<bool> = ends.iter().map(Result::is_err).collect();
        assert_eq!(killed, [false, true, false]);
        let gone = greenroom::spawn(|| ());
        assert!(!group.kill_one(gone.id()));
        gone.join().unwrap();
    });
}

// 85: test__pool.py test_join
#[test]
fn join_is_true_when_the_pool_was_empty_and_false_in_time() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(2);
        let before = hub::stats().switches;
        pool.join();
        assert!(pool.join_timeout(ms(0)));
        assert_eq!(
            hub::stats().switches,
            before,
            "there was nothing to wait for"
        );
        drop(pool.spawn(nap(10)));
        assert_eq!(took(|| assert!(!pool.join_timeout(ms(3)))), ms(3));
        assert_eq!(took(|| assert!(pool.join_timeout(ms(100)))), ms(7));
    });
}

#[test]
fn nobody_joins_the_pool_that_it_is_in() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(2);
        let inner = pool.clone();
        let error = pool.spawn_local(move || inner.join()).join().unwrap_err();
        assert!(error.is_panic());
    });
}

#[test]
fn a_group_forgets_who_has_ended_and_names_who_has_not() {
    let _bound = bounded();
    in_sim(|| {
        let group = Group::new();
        let (short, long) = (group.spawn(nap(1)), group.spawn(nap(10)));
        greenroom::sleep(ms(5));
        let ids: Vec<_> = group.greenlets().iter().map(|one| one.id()).collect();
        assert_eq!(ids, [long.id()]);
        assert!(group.contains(long.id()) && !group.contains(short.id()));
        group.add(short.thread());
        assert!(!group.contains(short.id()), "it has ended");
        group.add(long.thread());
        group.add(long.thread());
        assert_eq!(group.len(), 1);
        group.join();
        assert!(group.is_empty());
    });
}

// eventlet: GreenPool.resize, waiting
#[test]
fn a_pool_that_grows_lets_those_who_wait_in_and_one_that_shrinks_waits() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(0);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                greenroom::spawn_local(move || drop(pool.spawn(nap(10))))
            })
            .collect();
        greenroom::sleep(ms(1));
        assert_eq!((pool.waiting(), pool.len()), (3, 0));
        assert!(!pool.wait_available(Some(ms(1))));
        pool.resize(2);
        greenroom::sleep(ms(1));
        assert_eq!((pool.waiting(), pool.len(), pool.free_count()), (1, 2, 0));
        pool.resize(1);
        greenroom::sleep(ms(15));
        assert_eq!((pool.waiting(), pool.len(), pool.size()), (0, 1, 1));
        pool.resize(usize::MAX);
        assert!(pool.wait_available(None));
        greenroom::joinall(waiters);
    });
}

#[test]
fn map_and_apply_borrow() {
    let _bound = bounded();
    in_sim(|| {
        let words = vec![String::from("a"), String::from("bc")];
        let total = Cell::new(0);
        let pool = Pool::new(2);
        pool.map(&words, |word| total.set(total.get() + word.len()));
        pool.apply(|| total.set(total.get() * 10)).unwrap();
        assert_eq!(total.get(), 30);
        drop(words);
    });
}

#[test]
fn a_map_that_times_out_has_ended_what_it_began() {
    let _bound = bounded();
    in_sim(|| {
        let alive = Cell::new(0);
        let pool = Pool::new(2);
        let late = with_timeout(ms(5), || {
            pool.map(0..10, |_| {
                alive.set(alive.get() + 1);
                let end = End(&alive);
                greenroom::sleep(ms(1000));
                drop(end);
            })
        });
        struct End<'a>(&'a Cell<i32>);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        assert!(late.is_err());
        assert_eq!((alive.get(), pool.len(), pool.free_count()), (0, 0, 2));
    });
}

#[test]
fn reports_name_the_place_of_the_caller() {
    let _bound = bounded();
    in_sim(|| {
        let pool = Pool::new(4);
        let mut lazily = pool.imap(0..1, |_| greenroom::sleep(ms(5)));
        let look = || {
            hub::dump()
                .matches("spawned at tests/gevent_pool.rs")
                .count()
        };
        let report = greenroom::spawn_local(move || {
            greenroom::sleep(ms(1));
            look()
        });
        lazily.next();
        assert_eq!(report.join().unwrap(), 2);
        let dumps = pool.map(0..1, |_| hub::dump());
        let dump = dumps.into_iter().flatten().next().unwrap();
        assert!(dump.contains("spawned at tests/gevent_pool.rs"), "{dump}");
    });
}

#[test]
fn a_pool_is_shared_by_hubs() {
    let _bound = bounded();
    let pool = Pool::new(3);
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (pool, most) = (pool.clone(), Arc::clone(&most));
            thread::spawn(move || {
                let work = |_| {
                    let now = most.0.fetch_add(1, Ordering::SeqCst) + 1;
                    most.1.fetch_max(now, Ordering::SeqCst);
                    greenroom::yield_now();
                    most.0.fetch_sub(1, Ordering::SeqCst);
                };
                pool.map(0..2_000, work)
                    .into_iter()
                    .for_each(Result::unwrap);
            })
        })
        .collect();
    threads.into_iter().for_each(|one| one.join().unwrap());
    assert!(most.1.load(Ordering::SeqCst) <= 3);
    assert_eq!((pool.len(), pool.free_count()), (0, 3));
}

/// Numbered things, and how many of them there are.
fn numbered(
    max: usize,
) -> (
    Resources<Thing, &'static str>,
    Rc<Cell<usize>>,
    Arc<AtomicUsize>,
) {
    let alive = Arc::new(AtomicUsize::new(0));
    let (count, made) = (Arc::clone(&alive), AtomicUsize::new(0));
    let pool = Resources::new(max, move || {
        count.fetch_add(1, Ordering::SeqCst);
        let number = made.fetch_add(1, Ordering::SeqCst);
        Ok(Thing(number, Arc::clone(&count)))
    });
    (pool, Rc::default(), alive)
}

struct Thing(usize, Arc<AtomicUsize>);

impl Drop for Thing {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

// eventlet: pools.Pool, db_pool; r2d2
#[test]
fn a_thing_that_is_given_back_is_lent_again_the_last_first() {
    let _bound = bounded();
    in_sim(|| {
        let (pool, _, alive) = numbered(3);
        let (a, b) = (pool.get().unwrap(), pool.get().unwrap());
        assert_eq!((a.0, b.0, pool.lent_count(), pool.idle()), (0, 1, 2, 0));
        drop(b);
        drop(a);
        assert_eq!((pool.lent_count(), pool.idle()), (0, 2));
        assert_eq!(pool.get().unwrap().0, 0);
        pool.get().unwrap().discard();
        assert_eq!((pool.idle(), alive.load(Ordering::SeqCst)), (1, 1));
    });
}

#[test]
fn who_wants_one_too_many_waits_in_the_order_of_coming() {
    let _bound = bounded();
    in_sim(|| {
        let (pool, ..) = numbered(1);
        let pool = Rc::new(pool);
        let notes = Notes::new();
        let lent = pool.get().unwrap();
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (pool, pen) = (Rc::clone(&pool), notes.pen());
                let waiter = greenroom::spawn_local(move || {
                    let _lent = pool.get().unwrap();
                    pen(n);
                    greenroom::sleep(ms(1));
                });
                greenroom::sleep(ms(1));
                waiter
            })
            .collect();
        assert!(matches!(pool.try_get(), Err(GetError::Exhausted)));
        let late = pool.get_timeout(ms(5)).map(|lent| lent.0);
        assert_eq!(late, Err(GetError::Exhausted));
        waiters[0].kill();
        greenroom::sleep(ms(1));
        drop(lent);
        greenroom::joinall(waiters);
        assert_eq!(notes.read(), [1, 2]);
        assert_eq!(pool.lent_count(), 0);
    });
}

#[test]
fn things_that_are_old_or_long_unused_or_broken_go() {
    let _bound = bounded();
    in_sim(|| {
        let (pool, _, alive) = numbered(2);
        let pool = pool.idle_limit(ms(10)).age_limit(ms(25));
        drop(pool.get().unwrap());
        greenroom::sleep(ms(9));
        assert_eq!(pool.get().unwrap().0, 0, "used in time");
        greenroom::sleep(ms(10));
        assert_eq!(pool.get().unwrap().0, 1, "unused for too long");
        for _ in 0..3 {
            greenroom::sleep(ms(8));
            drop(pool.get().unwrap());
        }
        assert_eq!(pool.get().unwrap().0, 1);
        greenroom::sleep(ms(1));
        assert_eq!(pool.get().unwrap().0, 2, "too old");
        greenroom::sleep(ms(10));
        assert_eq!((pool.prune(), pool.idle()), (1, 0));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        let (pool, ..) = numbered(2);
        let pool = pool.check(|thing| thing.0 % 2 == 1);
        let both = (pool.get().unwrap(), pool.get().unwrap());
        drop(both);
        assert_eq!(pool.get().unwrap().0, 1);
        pool.get().unwrap().discard();
        assert_eq!(pool.get().unwrap().0, 2, "a new one is not checked");
    });
}

#[test]
fn a_maker_that_fails_panics_or_is_killed_takes_no_place() {
    let _bound = bounded();
    in_sim(|| {
        let turn = AtomicUsize::new(0);
        let pool = Resources::new(1, move || match turn.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no route"),
            1 => panic!("the maker panics"),
            2 => {
                greenroom::sleep(ms(60_000));
                Ok(0)
            }
            n => Ok(n),
        });
        assert_eq!(pool.get().unwrap_err(), GetError::Create("no route"));
        assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(pool.get()))).is_err());
        assert!(with_timeout(ms(5), || drop(pool.get())).is_err());
        assert_eq!(*pool.try_get().unwrap(), 3);
    });
}

#[test]
fn a_thing_in_the_hands_of_who_unwinds_is_not_lent_again() {
    let _bound = bounded();
    in_sim(|| {
        let (pool, _, alive) = numbered(1);
        let pool = Rc::new(pool);
        let theirs = Rc::clone(&pool);
        let holder = greenroom::spawn_local(move || {
            let _lent = theirs.get().unwrap();
            greenroom::sleep(ms(60_000));
        });
        greenroom::sleep(ms(1));
        holder.kill();
        holder.join().unwrap_err();
        assert_eq!((pool.idle(), pool.lent_count()), (0, 0));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert_eq!(pool.get().unwrap().0, 1);
    });
}

#[test]
fn a_pool_that_is_closed_tells_those_who_wait_and_keeps_nothing() {
    let _bound = bounded();
    in_sim(|| {
        let (pool, _, alive) = numbered(1);
        let pool = Rc::new(pool);
        let lent = pool.get().unwrap();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let pool = Rc::clone(&pool);
                greenroom::spawn_local(move || matches!(pool.get(), Err(GetError::Closed)))
            })
            .collect();
        greenroom::sleep(ms(1));
        pool.close();
        pool.close();
        let told = greenroom::joinall(waiters);
        assert!(told.into_iter().all(Result::unwrap));
        assert!(matches!(pool.try_get(), Err(GetError::Closed)));
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(lent);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}
