//! Wakes, parks, kills and timeouts in random orders. Rows 8, 11, 33 and 36 of the register of
//! hazards.
mod hazard_support;

use greenroom::{GreenletRef, hub, is_cancellation, shield, sim, sleep, spawn_local, thread};
use greenroom::{with_timeout, yield_now};
use hazard_support::{Count, Held, OnDrop, bounded, ms};
use proptest::prelude::*;
use std::cell::RefCell;
use std::panic;
use std::rc::Rc;

/// What a greenlet does, one after the other.
#[derive(Clone, Debug)]
enum Step {
    Park,
    ParkTimeout(u64),
    Sleep(u64),
    Yield,
    /// A park that is broken off.
    Timeout(u64),
    /// The inner limit is beyond the outer one, or is not.
    Nested(u64, u64),
    Shielded(u64),
    /// Swallows a kill, if it meets one.
    Swallow(u64),
    /// A destructor that parks, on the way of an unwind.
    DropParks(u64),
    Unpark(usize),
}

/// What is done to the greenlets meanwhile.
#[derive(Clone, Debug)]
enum Act {
    Unpark(usize),
    Kill(usize),
    Yield,
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Park),
        Just(Step::Yield),
        (0..9_u64).prop_map(Step::ParkTimeout),
        (0..9_u64).prop_map(Step::Sleep),
        (0..9_u64).prop_map(Step::Timeout),
        (0..9_u64, 0..9_u64).prop_map(|(outer, inner)| Step::Nested(outer, inner)),
        (0..9_u64).prop_map(Step::Shielded),
        (0..9_u64).prop_map(Step::Swallow),
        (0..9_u64).prop_map(Step::DropParks),
        (0..GREENLETS).prop_map(Step::Unpark),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..GREENLETS).prop_map(Act::Unpark),
        1 => (0..GREENLETS).prop_map(Act::Kill),
        2 => Just(Act::Yield),
        2 => (0..9_u64).prop_map(Act::Sleep),
    ]
}

const GREENLETS: usize = 5;

/// How a greenlet's steps went: a kill ends them early.
fn take_steps(steps: &[Step], all: &RefCell<Vec<GreenletRef>>, swallowed: &Count) {
    for step in steps {
        let before = greenroom::now();
        match *step {
            Step::Park => thread::park(),
            Step::ParkTimeout(limit) => thread::park_timeout(ms(limit)),
            Step::Sleep(time) => {
                sleep(ms(time));
                assert!(greenroom::now() - before >= ms(time), "woke too early");
            }
            Step::Yield => yield_now(),
            Step::Timeout(limit) => {
                let late = with_timeout(ms(limit), || sleep(ms(50)));
                assert_eq!(late.map_err(|late| late.limit()), Err(ms(limit)));
                assert_eq!(greenroom::now() - before, ms(limit), "late");
            }
            Step::Nested(outer, inner) => {
                let late = with_timeout(ms(outer), || with_timeout(ms(inner), || sleep(ms(50))));
                match late {
                    Err(late) => assert!(late.limit() == ms(outer) && outer <= inner),
                    Ok(late) => assert!(late.is_err() && inner < outer),
                }
            }
            Step::Shielded(time) => {
                shield(|| sleep(ms(time)));
                assert!(
                    greenroom::now() - before >= ms(time),
                    "a shield let it through"
                );
            }
            Step::Swallow(time) => {
                let caught = panic::catch_unwind(|| sleep(ms(time)));
                if let Err(payload) = caught {
                    assert!(is_cancellation(&*payload));
                    swallowed.add();
                }
            }
            Step::DropParks(time) => {
                let _drop = OnDrop(|| shield(|| sleep(ms(time))));
                sleep(ms(time));
            }
            Step::Unpark(other) => {
                if let Some(other) = all.borrow().get(other) {
                    other.unpark();
                }
            }
        }
        assert!(greenroom::now() >= before);
    }
}

fn play(seed: u64, programs: &[Vec<Step>], acts: &[Act]) {
    let before = Held::now();
    let (drops, swallowed) = (Count::default(), Count::default());
    let all = Rc::new(RefCell::new(Vec::new()));
    let greenlets: Vec<_> = programs
        .iter()
        .map(|steps| {
            let (steps, all) = (steps.clone(), Rc::clone(&all));
            let (guard, swallowed) = (drops.guard(), swallowed.clone());
            spawn_local(move || {
                let _guard = guard;
                take_steps(&steps, &all, &swallowed);
            })
        })
        .collect();
    *all.borrow_mut() = greenlets.iter().map(|one| one.thread().clone()).collect();
    let mut killed = vec![false; greenlets.len()];
    for act in acts {
        match *act {
            Act::Unpark(n) => greenlets[n].thread().unpark(),
            Act::Kill(n) => {
                killed[n] |= !greenlets[n].is_finished();
                greenlets[n].kill();
            }
            Act::Yield => yield_now(),
            Act::Sleep(time) => sleep(ms(time)),
        }
    }
    // Each park that is left gets its unpark, so all come to their end by themselves.
    let parks = programs.iter().map(Vec::len).max().unwrap_or(0);
    for _ in 0..=parks {
        greenlets.iter().for_each(|one| one.thread().unpark());
        sleep(ms(200));
    }
    for (n, greenlet) in greenlets.into_iter().enumerate() {
        assert!(
            greenlet.is_finished(),
            "greenlet {n} hangs:\n{}",
            hub::dump()
        );
        match greenlet.join() {
            Ok(()) => {}
            Err(error) => assert!(error.is_killed() && killed[n], "greenlet {n}: {error}"),
        }
    }
    assert_eq!(drops.get(), programs.len(), "with seed {seed}");
    if !killed.contains(&true) {
        assert_eq!(swallowed.get(), 0, "nobody was killed");
    }
    all.borrow_mut().clear();
    assert_eq!(before, Held::now());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_order_of_wakes_parks_kills_and_timeouts_ends_well(
        seed in any::<u64>(),
        programs in prop::collection::vec(prop::collection::vec(step(), 0..8), GREENLETS),
        acts in prop::collection::vec(act(), 0..40),
    ) {
        let _bound = bounded();
        sim::run(seed, || play(seed, &programs, &acts));
    }
}
