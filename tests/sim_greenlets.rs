//! Kills, joins, waits and timers in simulations, each with a thousand seeds.
//!
//! What each catches when `src` is broken on purpose (tried, and restored):
//! * `park_task` does not cancel its timer: `kills_at_random_moments` and others, by the leak
//!   check.
//! * `kill` does not wake, or strikes once only: `killall_counts_who_withstands`.
//! * a sleep that believes its first wake: `nested_timeouts_end_where_they_belong`.
//! * `iwait` takes the last that came: `waits_return_what_a_model_says`.
//! * the timer of a late start outlives a kill: `kills_at_random_moments`.
mod sim_support;

use greenroom::net::{TcpListener, TcpStream};
use greenroom::sim::{self, Faults};
use greenroom::{
    Greenlet, iwait, joinall, killall, shield, sleep, spawn, spawn_later, spawn_local, wait,
    with_timeout, yield_now,
};
use sim_support::bounded;
use sim_support::{Census, Seen, Shared, each_seed, ms};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::panic;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn sleeps_end_in_order_and_on_time() {
    let _bound = bounded();
    each_seed(|| {
        let begin = greenroom::now();
        let ended: Rc<RefCell<Vec<u64>>> = Rc::default();
        let sleepers = (0..100).map(|_| {
            let length = 1 + sim::random(1000);
            let ended = ended.clone();
            spawn_local(move || {
                sleep(ms(length));
                assert_eq!(greenroom::now() - begin, ms(length), "not on time");
                ended.borrow_mut().push(length);
            })
        });
        let sleepers: Vec<_> = sleepers.collect();
        joinall(sleepers).into_iter().for_each(|one| one.unwrap());
        assert_eq!(ended.borrow().len(), 100);
        assert!(ended.borrow().is_sorted(), "out of order");
    });
}

/// Readers, writers, sleepers and joiners, some of them not started yet, are killed at any time:
/// all end, all that they owned is dropped, once.
#[test]
fn kills_at_random_moments() {
    let _bound = bounded();
    each_seed(|| {
        let census = Census::default();
        let listener = TcpListener::bind("10.0.0.1:1").unwrap();
        let mut victims: Vec<Greenlet<()>> = Vec::new();
        for n in 0..2 {
            let near = TcpStream::connect("10.0.0.1:1").unwrap();
            let far = listener.accept().unwrap().0;
            let (own, kept) = (census.one(), census.clone());
            victims.push(spawn(move || {
                let _own = own;
                let mut buf = [0; 512];
                while let Ok(1..) = (&far).read(&mut buf) {
                    let _here = kept.one();
                    sleep(ms(1));
                }
            }));
            let own = census.one();
            victims.push(spawn_later(ms(n * sim::random(600)), move || {
                let _own = own;
                while (&near).write_all(&[1; 20_000]).is_ok() {}
            }));
        }
        let own = census.one();
        victims.push(spawn(move || {
            let _own = own;
            sleep(Duration::from_secs(1_000_000));
        }));
        let (own, sleeper) = (census.one(), spawn(|| sleep(ms(30))));
        victims.push(spawn(move || {
            let _own = own;
            sleeper.join().unwrap();
        }));
        sim::faults([Faults::none(), Faults::light(), Faults::heavy()][sim::seed() as usize % 3]);
        while victims.iter().any(|one| !one.is_finished()) {
            let victim = &victims[sim::random(victims.len() as u64) as usize];
            match sim::random(3) {
                0 => sleep(ms(sim::random(20))),
                1 => yield_now(),
                _ => victim.kill(),
            }
        }
        for victim in victims {
            assert!(victim.join().map_or_else(|end| end.is_killed(), |()| true));
        }
        assert!(census.ever() >= 6);
        assert_eq!(census.alive(), 0, "destructors did not run");
    });
}

/// When greenlets end and how, against a sorted list.
#[test]
fn waits_return_what_a_model_says() {
    let _bound = bounded();
    each_seed(|| {
        // Distinct moments, so that there is one right order.
        let mut lengths: Vec<u64> = (1..=8).map(|n| n * 10).collect();
        for last in (1..lengths.len()).rev() {
            lengths.swap(last, sim::random(last as u64 + 1) as usize);
        }
        let greenlets: Vec<_> = lengths
            .iter()
            .map(|&length| {
                spawn(move || {
                    sleep(ms(length));
                    if length % 20 == 0 {
                        // As a panic does, without its noise.
                        panic::resume_unwind(Box::new("every other one panics"));
                    }
                    length
                })
            })
            .collect();
        let length_of = |greenlet: &Greenlet<u64>| {
            let at = greenlets.iter().position(|one| one.id() == greenlet.id());
            lengths[at.unwrap()]
        };
        let begin = greenroom::now();
        let (count, limit) = (1 + sim::random(8) as usize, sim::random(90));
        let expected: Vec<u64> = (1..=8).map(|n| n * 10).collect();
        let other = spawn_waiter(&greenlets, expected.clone());
        let slow = spawn_slow_waiter(&greenlets, lengths.clone(), expected.clone());

        let ready = wait(&greenlets).count(count).timeout(ms(limit)).ready();
        let ready: Vec<_> = ready.into_iter().map(length_of).collect();
        let due = expected.iter().filter(|length| **length <= limit).count();
        // At the very moment of the limit both are right.
        let borderline = due - usize::from(limit % 10 == 0 && due > 0);
        assert!(
            ready[..] == expected[..due.min(count)]
                || ready[..] == expected[..borderline.min(count)],
            "{ready:?} of {expected:?} until {limit}"
        );
        let all: Vec<_> = iwait(&greenlets).map(length_of).collect();
        let (mut sorted, rest) = (all.clone(), &all[due.min(all.len())..]);
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "each comes once");
        assert!(rest.is_sorted(), "those that were awaited come in order");
        assert_eq!(greenroom::now() - begin, ms(80));
        let results = joinall(greenlets);
        for (result, length) in results.into_iter().zip(lengths) {
            match result {
                Ok(value) => assert_eq!((value, length % 20 != 0), (length, true)),
                Err(error) => assert!(error.is_panic() && length % 20 == 0),
            }
        }
        other.join().unwrap();
        slow.join().unwrap();
    });
}

/// One that falls behind still sees them in the order in which they ended.
fn spawn_slow_waiter(
    greenlets: &[Greenlet<u64>],
    lengths: Vec<u64>,
    expected: Vec<u64>,
) -> Greenlet<()> {
    let refs: Vec<_> = greenlets.iter().map(|one| one.thread().clone()).collect();
    spawn(move || {
        let mut order = Vec::new();
        for ended in iwait(&refs) {
            let at = refs.iter().position(|one| one.id() == ended.id());
            order.push(lengths[at.unwrap()]);
            sleep(ms(25));
        }
        assert_eq!(order, expected);
    })
}

/// Another greenlet waits for the same ones, and is told of each at its moment.
fn spawn_waiter(greenlets: &[Greenlet<u64>], expected: Vec<u64>) -> Greenlet<()> {
    let refs: Vec<_> = greenlets.iter().map(|one| one.thread().clone()).collect();
    let begin = greenroom::now();
    spawn(move || {
        let moments: Vec<u64> = iwait(&refs)
            .map(|_| (greenroom::now() - begin).as_millis() as u64)
            .collect();
        assert_eq!(moments, expected, "each is told at its moment");
    })
}

#[test]
fn killall_counts_who_withstands() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let census = Census::default();
        let limit = 1 + 2 * sim::random(20);
        let shields: Vec<u64> = (0..6).map(|_| 2 * sim::random(20)).collect();
        let greenlets: Vec<_> = shields
            .iter()
            .map(|&length| {
                let own = census.one();
                spawn(move || {
                    let _own = own;
                    if length > 0 {
                        shield(|| sleep(ms(length)));
                    } else {
                        // One who swallows the kill meets it again.
                        let _ = panic::catch_unwind(|| sleep(ms(100_000)));
                    }
                    sleep(ms(100_000));
                })
            })
            .collect();
        // Who has not started yet never does, shield or not.
        let started = sim::random(2) == 1;
        if started {
            sleep(Duration::from_nanos(1));
        }
        let alive = killall(&greenlets, Some(ms(limit)));
        let expected = shields.iter().filter(|length| **length > limit).count();
        assert_eq!(alive, if started { expected } else { 0 });
        seen.note(if alive > 0 { "some" } else { "none" });
        assert_eq!(killall(&greenlets, None), 0);
        assert_eq!(census.alive(), 0);
        for greenlet in greenlets {
            assert!(greenlet.join().unwrap_err().is_killed());
        }
    });
    seen.expect(&["some", "none"]);
}

/// Timeouts within timeouts around sleeps: the first that is due ends its own scope, no other.
#[test]
fn nested_timeouts_end_where_they_belong() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let timed_out = Shared::default();
        let greenlets = (0..5).map(|_| {
            let timed_out = timed_out.clone();
            spawn_local(move || {
                let [outer, inner, first, second] = [(); 4].map(|()| 1 + sim::random(20));
                // Odd and even: no two are due at once.
                let (outer, inner) = (2 * outer + 1, 2 * inner + 1);
                let begin = greenroom::now();
                let passed = || (greenroom::now() - begin).as_millis() as u64;
                let nap = 2 * first;
                let result = with_timeout(ms(outer), || {
                    let result = with_timeout(ms(inner), || sleep(ms(nap)));
                    let until = nap.min(inner);
                    assert_eq!((result.is_err(), passed()), (inner < nap, until));
                    sleep(ms(2 * second));
                });
                let end = nap.min(inner) + 2 * second;
                assert_eq!(passed(), end.min(outer));
                // Equal moments are possible here; the sleep is looked at first.
                assert!(result.is_err() == (outer < end) || outer == end);
                timed_out.set(timed_out.get() + u64::from(result.is_err()));
            })
        });
        let greenlets: Vec<_> = greenlets.collect();
        joinall(greenlets).into_iter().for_each(|one| one.unwrap());
        seen.note(if timed_out.get() > 0 {
            "late"
        } else {
            "in time"
        });
    });
    seen.expect(&["late", "in time"]);
}
