//! Pools under random orders, kills and timeouts: whatever happens, no place is lost or made up.
mod sim_support;

use greenroom::pool::{Pool, Resources};
use greenroom::{Greenlet, with_timeout};
use sim_support::bounded;
use sim_support::{Census, Seen, each_seed, ms};
use std::cell::Cell;
use std::rc::Rc;

/// Numbers that differ from seed to seed, as the order of the greenlets does.
struct Dice(Cell<u64>);

impl Dice {
    fn new() -> Dice {
        let yields = Rc::new(Cell::new(0u64));
        let drawn: Vec<Greenlet<()>> = (0..8u64)
            .map(|n| {
                let yields = Rc::clone(&yields);
                greenroom::spawn_local(move || yields.set(yields.get() * 8 + n))
            })
            .collect();
        greenroom::joinall(drawn);
        Dice(Cell::new(yields.get() | 1))
    }

    fn below(&self, end: u64) -> u64 {
        let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005);
        self.0.set(next.wrapping_add(1_442_695_040_888_963_407));
        (self.0.get() >> 33) % end
    }
}

#[test]
fn a_pool_never_has_too_many_and_never_loses_a_place() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let dice = Dice::new();
        let size = 1 + dice.below(3) as usize;
        let pool = Pool::new(size);
        let (inside, most) = (Census::default(), Rc::new(Cell::new(0)));
        let clients: Vec<Greenlet<bool>> = (0..12)
            .map(|_| {
                let (pool, census, most) = (pool.clone(), inside.clone(), Rc::clone(&most));
                let (nap, limit) = (dice.below(4), ms(1 + dice.below(6)));
                greenroom::spawn_local(move || {
                    let work = move || {
                        let counted = census.one();
                        most.set(census.alive().max(most.get()));
                        greenroom::sleep(ms(nap));
                        drop(counted);
                    };
                    let spawned = with_timeout(limit, || pool.spawn_local(work).join().is_ok());
                    spawned.unwrap_or(false)
                })
            })
            .collect();
        for _ in 0..dice.below(6) {
            greenroom::sleep(ms(dice.below(3)));
            let victim = dice.below(12) as usize;
            clients[victim].kill();
            if let Some(one) = pool.greenlets().first().filter(|_| dice.below(2) == 0) {
                pool.kill_one(one.id());
                seen.note("a worker was killed");
            }
        }
        for result in greenroom::joinall(clients) {
            seen.note(match result {
                Ok(true) => "done",
                Ok(false) => "timed out or killed in the pool",
                Err(_) => "a client was killed",
            });
        }
        pool.join();
        assert!(most.get() <= size, "{} at a time of {size}", most.get());
        assert_eq!(
            (pool.len(), pool.free_count(), pool.waiting()),
            (0, size, 0)
        );
        assert_eq!(inside.alive(), 0);
    });
    seen.expect(&[
        "a worker was killed",
        "done",
        "timed out or killed in the pool",
        "a client was killed",
    ]);
}

#[test]
fn resources_are_never_more_than_allowed_and_none_is_lost() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let dice = Dice::new();
        let max = 1 + dice.below(3) as usize;
        let (things, fails) = (Census::default(), Cell::new(0));
        let made = things.clone();
        let maker = std::sync::atomic::AtomicU64::new(dice.below(5));
        let pool = Resources::new(max, move || {
            greenroom::sleep(ms(1));
            let turn = maker.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if turn % 5 == 4 {
                Err("refused")
            } else {
                Ok(made.one())
            }
        });
        let pool = Rc::new(pool.idle_limit(ms(4)));
        let most = Rc::new(Cell::new(0));
        let clients: Vec<Greenlet<&'static str>> = (0..12)
            .map(|_| {
                let (pool, things, most) = (Rc::clone(&pool), things.clone(), Rc::clone(&most));
                let (nap, limit) = (dice.below(4), ms(1 + dice.below(8)));
                let breaks = dice.below(4) == 0;
                greenroom::spawn_local(move || {
                    let used = with_timeout(limit, || match pool.get() {
                        Err(_) => "not made",
                        Ok(lent) => {
                            most.set(things.alive().max(most.get()));
                            greenroom::sleep(ms(nap));
                            if breaks {
                                lent.discard();
                            }
                            "used"
                        }
                    });
                    used.unwrap_or("timed out")
                })
            })
            .collect();
        for _ in 0..dice.below(5) {
            greenroom::sleep(ms(dice.below(3)));
            clients[dice.below(12) as usize].kill();
        }
        for result in greenroom::joinall(clients) {
            let what = result.unwrap_or("killed");
            fails.set(fails.get() + u32::from(what != "used"));
            seen.note(what);
        }
        assert!(most.get() <= max, "{} things of {max}", most.get());
        assert_eq!(pool.lent_count(), 0);
        assert_eq!(pool.idle(), things.alive());
        pool.close();
        assert_eq!(things.alive(), 0);
    });
    seen.expect(&["used", "not made", "timed out", "killed"]);
}

#[test]
fn imap_hands_out_each_item_once_whatever_happens_to_the_workers() {
    let _bound = bounded();
    each_seed(|| {
        let dice = Dice::new();
        let pool = Pool::new(1 + dice.below(4) as usize);
        let naps: Vec<(u64, u64)> = (0..10).map(|n| (n, dice.below(5))).collect();
        let work = |(n, nap): (u64, u64)| {
            greenroom::sleep(ms(nap));
            n
        };
        let killer = pool.clone();
        let kills = dice.below(4);
        let kills = greenroom::spawn_local(move || {
            for _ in 0..kills {
                greenroom::sleep(ms(2));
                killer
                    .greenlets()
                    .first()
                    .map(|one| killer.kill_one(one.id()));
            }
        });
        let ahead = dice.below(6) as usize;
        let ordered: Vec<_> = pool.imap(naps.clone(), work).ahead(ahead).collect();
        for (position, result) in ordered.into_iter().enumerate() {
            match result {
                Ok(n) => assert_eq!(n, position as u64),
                Err(error) => assert!(error.is_killed()),
            }
        }
        let results: Vec<_> = pool.imap_unordered(naps, work).ahead(ahead).collect();
        assert_eq!(results.len(), 10);
        let mut numbers: Vec<u64> = results.into_iter().flatten().collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() >= 7, "at most three were killed: {numbers:?}");
        kills.join().unwrap();
    });
}
