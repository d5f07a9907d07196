//! A kill or a limit that a wait has met without being unwound is told, in whatever way it was
//! met; one that nothing has met is not.

mod bounded;

use bounded::bounded;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenroom::sync::{Event, Mutex};
use greenroom::{
    Greenlet, foreign, joinall, killall, scope, shield, sim, sleep, spawn_local, wait,
    with_timeout, with_timeout_late,
};

const LONG: Duration = Duration::from_secs(3600);
/// Long enough for a greenlet to begin.
const MOMENT: Duration = Duration::from_millis(1);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn in_sim(test: impl Fn()) {
    (1..=5).for_each(|seed| sim::run(seed, &test));
}

/// Is counted when it is dropped.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_sleep_cut_short_is_elapsed_and_the_value_is_dropped_at_once() {
    let _bound = bounded();
    in_sim(|| {
        let dropped = Rc::new(Cell::new(0));
        let make = || {
            foreign(|| sleep(LONG));
            Counted(Rc::clone(&dropped))
        };
        assert!(with_timeout(s(1), make).is_err());
        assert_eq!(dropped.get(), 1);
        let (elapsed, late) = with_timeout_late(s(1), make).map(drop).unwrap_err();
        assert_eq!((elapsed.limit(), dropped.get()), (s(1), 1));
        drop(late.expect("it came late"));
        assert_eq!(dropped.get(), 2);
    });
}

#[test]
fn a_wait_that_goes_on_beyond_the_limit_is_elapsed_and_one_that_ends_before_is_not() {
    let _bound = bounded();
    in_sim(|| {
        let lock = Rc::new(Mutex::new(()));
        let hold = |time| {
            let (lock, held) = (Rc::clone(&lock), Rc::new(Event::new()));
            let is_held = Rc::clone(&held);
            let holder = spawn_local(move || {
                let _held = lock.lock().unwrap();
                is_held.set();
                sleep(time);
            });
            held.wait();
            holder
        };
        let take = || foreign(|| drop(lock.lock().unwrap()));
        let late = hold(s(10));
        assert!(with_timeout(s(5), take).is_err());
        late.join().unwrap();
        let in_time = hold(s(3));
        assert!(with_timeout(s(5), take).is_ok());
        in_time.join().unwrap();
    });
}

#[test]
fn what_no_wait_has_met_is_success() {
    let _bound = bounded();
    in_sim(|| {
        // A kill that comes while it computes.
        let me = Rc::new(Cell::new(None::<Greenlet<u32>>));
        let theirs = Rc::clone(&me);
        let computes = spawn_local(move || {
            let me = theirs.take().unwrap();
            foreign(|| me.kill());
            theirs.set(Some(me));
            7
        });
        me.set(Some(computes));
        sleep(MOMENT);
        assert_eq!(me.take().unwrap().join().unwrap(), 7);
        // A shield that is left at the very end.
        let shielded = spawn_local(|| foreign(|| shield(|| sleep(s(2)))));
        sleep(MOMENT);
        shielded.kill();
        shielded.join().unwrap();
        assert!(with_timeout(s(1), || foreign(|| shield(|| sleep(s(2))))).is_ok());
    });
}

#[test]
fn limits_match_by_identity() {
    let _bound = bounded();
    in_sim(|| {
        let nap = || foreign(|| sleep(LONG));
        // The outer one is over first: the inner one is in time.
        let outer = with_timeout_late(s(1), || with_timeout(s(2), nap));
        assert_eq!(outer.unwrap_err().1, Some(Ok(())));
        // The inner one is over first: the outer one is in time.
        let outer = with_timeout(s(2), || with_timeout(s(1), nap));
        assert!(outer.unwrap().is_err());
        // Both are over when a wait meets them.
        let outer = with_timeout_late(s(2), || {
            with_timeout(s(1), || {
                foreign(|| shield(|| sleep(s(3))));
                nap();
            })
        });
        assert!(outer.unwrap_err().1.unwrap().is_err());
        // One that is over does not spoil what is done after it.
        assert!(with_timeout(s(1), nap).is_err());
        assert!(with_timeout(s(1), || foreign(|| sleep(Duration::from_millis(1)))).is_ok());
    });
}

#[test]
fn a_kill_that_a_wait_has_met_is_told_by_whatever_waits_for_the_end() {
    let _bound = bounded();
    in_sim(|| {
        let nap = || foreign(|| sleep(LONG));
        let victim = || {
            let victim = spawn_local(move || {
                nap();
                "so far"
            });
            sleep(MOMENT);
            victim.kill();
            victim
        };
        assert!(victim().join().unwrap_err().is_killed());
        let (error, late) = victim().join_late().unwrap_err();
        assert_eq!((error.is_killed(), late), (true, Some("so far")));
        let joined = victim().join_timeout(s(1)).unwrap();
        assert!(joined.unwrap_err().is_killed());
        let all = joinall([victim(), victim()]);
        assert!(
            all.iter()
                .all(|one| one.as_ref().is_err_and(|error| error.is_killed()))
        );
        let two = [victim(), victim()];
        assert_eq!(wait(&two).ready().len(), 2);
        assert!(two.map(Greenlet::join).iter().all(Result::is_err));
        let two = [victim(), victim()];
        killall(&two, None);
        assert!(two.map(Greenlet::join).iter().all(Result::is_err));
        assert!(greenroom::block_on(victim()).unwrap_err().is_killed());
        scope(|scope| {
            let child = scope.spawn(nap);
            sleep(MOMENT);
            child.kill();
            assert!(child.join().unwrap_err().is_killed());
            let child = scope.spawn(|| {
                nap();
                5
            });
            sleep(MOMENT);
            child.kill();
            assert_eq!(child.join_late().unwrap_err().1, Some(5));
        });
    });
}

#[test]
fn a_kill_within_a_pool_and_a_scope_is_told() {
    let _bound = bounded();
    in_sim(|| {
        let pool = greenroom::pool::Pool::new(2);
        let worker = pool.spawn(|| {
            foreign(|| sleep(LONG));
            1
        });
        sleep(MOMENT);
        worker.kill();
        assert!(worker.join().unwrap_err().is_killed());
        let owner = spawn_local(|| {
            foreign(|| {
                scope(|scope| {
                    scope.spawn(|| sleep(LONG));
                });
            });
        });
        sleep(MOMENT);
        owner.kill();
        assert!(owner.join().unwrap_err().is_killed());
        let outcome = with_timeout(s(1), || {
            foreign(|| {
                scope(|scope| {
                    scope.spawn(|| sleep(LONG));
                });
            });
        });
        assert!(outcome.is_err());
    });
}

#[test]
fn what_is_lent_when_a_wait_meets_the_end_is_not_lent_again() {
    let _bound = bounded();
    use greenroom::pool::Resources;
    in_sim(|| {
        let made = AtomicU32::new(0);
        let make = move || Ok(made.fetch_add(1, Ordering::Relaxed) + 1);
        let pool = Rc::new(Resources::<u32, ()>::new(1, make));
        let theirs = Rc::clone(&pool);
        let use_it = move |time| {
            let lent = theirs.get().unwrap();
            foreign(|| sleep(time));
            *lent
        };
        assert_eq!(with_timeout(s(2), || use_it(s(1))), Ok(1));
        assert_eq!(with_timeout(s(2), || use_it(s(1))), Ok(1), "in time");
        assert!(with_timeout(s(1), || use_it(LONG)).is_err());
        assert_eq!((pool.idle(), use_it(s(1))), (0, 2));
        let killed = use_it.clone();
        let victim = spawn_local(move || killed(LONG));
        sleep(MOMENT);
        victim.kill();
        assert!(victim.join().unwrap_err().is_killed());
        assert_eq!((pool.idle(), use_it(s(1))), (0, 3));
    });
}

#[test]
fn what_the_end_of_a_greenlet_meets_does_not_change_its_result() {
    let _bound = bounded();
    thread_local! {
        static FINISHED: Cell<bool> = const { Cell::new(false) };
    }
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            foreign(|| sleep(s(2)));
            FINISHED.set(true);
        }
    }
    greenroom::green_local! {
        static VALUE: Parks = Parks;
    }
    in_sim(|| {
        let greenlet = spawn_local(|| {
            VALUE.with(|_| ());
            "in time"
        });
        sleep(s(1));
        greenlet.kill();
        assert_eq!(greenlet.join().unwrap(), "in time");
    });
}

#[test]
fn errors_that_are_ignored_are_held_back() {
    let _bound = bounded();
    in_sim(|| {
        let ignores = spawn_local(|| {
            let begin = greenroom::now();
            let mut naps = 0;
            while greenroom::now() - begin < s(10) {
                foreign(|| sleep(LONG));
                naps += 1;
            }
            naps
        });
        sleep(MOMENT);
        ignores.kill();
        let naps = ignores.join_late().unwrap_err().1.unwrap();
        assert!((100..200).contains(&naps), "{naps} in ten seconds");
    });
}
