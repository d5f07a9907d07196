//! Bodies that catch their unwind and go on: the code that ends them goes on as well, after so
//! many tries, and what can't be unwound is leaked. Rows 7 and 8 of the register of hazards.

mod hazard_support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;

use greenroom::fiber::{self, Fiber};
use greenroom::generator::{self, Generator, Yielder};
use greenroom::{run, spawn_local};
use hazard_support::{Count, alone, alone_and_well, bounded, ms};

/// Yields for ever, whatever it unwinds with; notes how often.
fn stubborn(yielder: &Yielder<(), ()>, tries: &Cell<u32>) -> ! {
    loop {
        let _ = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
        tries.set(tries.get() + 1);
    }
}

fn stacks() -> usize {
    greenroom::hub::stats().stacks_live
}

#[test]
fn a_generator_that_catches_its_unwind_is_given_up() {
    let _bound = bounded();
    run(|| {
        let before = stacks();
        let tries = Rc::new(Cell::new(0));
        let noted = Rc::clone(&tries);
        let mut generator =
            Generator::new(move |yielder, ()| -> () { stubborn(yielder, &noted) }).unwrap();
        generator.next();
        drop(generator);
        assert!((1..1000).contains(&tries.get()), "{} tries", tries.get());
        assert_eq!(stacks(), before + 1, "its stack is leaked");
        greenroom::spawn(|| ()).join().unwrap();
    });
}

#[test]
fn a_generator_that_catches_its_unwind_a_few_times_ends() {
    let _bound = bounded();
    run(|| {
        let before = stacks();
        let count = Count::default();
        let guard = count.guard();
        let mut generator = Generator::new(move |yielder: &Yielder<(), ()>, ()| {
            let _guard = guard;
            for _ in 0..50 {
                let _ = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
            }
        })
        .unwrap();
        generator.next();
        drop(generator);
        assert_eq!((count.get(), stacks()), (1, before));
    });
}

/// What it yields in is refused there, with a panic; which it catches as well.
#[test]
fn a_generator_that_withstands_inside_of_a_timeout_is_given_up() {
    let _bound = bounded();
    run(|| {
        let mut generator = Generator::new(|yielder: &Yielder<(), ()>, ()| -> () {
            let _ = catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
            let hour = hazard_support::HOUR;
            let _ = greenroom::with_timeout(hour, || stubborn(yielder, &Cell::new(0)));
        })
        .unwrap();
        generator.next();
        drop(generator);
        // Its limit is not that of whoever has dropped it.
        greenroom::sleep(ms(1));
    });
}

#[test]
fn a_fiber_that_catches_its_unwind_is_given_up() {
    let _bound = bounded();
    run(|| {
        let before = stacks();
        let main = fiber::current();
        let fiber = Fiber::new(move |()| {
            loop {
                let _ = catch_unwind(AssertUnwindSafe(|| main.switch(())));
            }
        });
        fiber.switch(()).unwrap();
        drop(fiber);
        assert_eq!(stacks(), before + 1, "its stack is leaked");
    });
}

/// A killed greenlet ends its generators, and so itself; `run` waits for that.
#[test]
fn run_ends_greenlets_with_such_generators() {
    let _bound = bounded();
    let ended = Rc::new(Cell::new(false));
    let noted = Rc::clone(&ended);
    run(|| {
        spawn_local(move || {
            let _noted = hazard_support::OnDrop(move || noted.set(true));
            let mut generator =
                Generator::new(|yielder, ()| -> () { stubborn(yielder, &Cell::new(0)) }).unwrap();
            generator.next();
            greenroom::sleep(hazard_support::HOUR);
        });
        greenroom::yield_now();
    });
    assert!(ended.get());
}

/// Virtual time stands still while somebody can run: the limit must not be measured by it alone.
#[test]
fn a_simulation_ends_with_greenlets_that_withstand_their_kill() {
    let _bound = bounded();
    greenroom::sim::run(1, || {
        spawn_local(|| {
            loop {
                let _ = catch_unwind(greenroom::yield_now);
            }
        });
        greenroom::yield_now();
    });
}

/// Neither to return nor to unwind would be sound: the greenlet stands still. All others go on.
#[test]
fn a_scoped_generator_that_can_not_be_unwound_stops_its_greenlet_only() {
    let _bound = bounded();
    alone_and_well(
        "a_scoped_generator_that_can_not_be_unwound_stops_its_greenlet_only",
        || {
            let borrowed = String::from("borrowed");
            let stands = spawn_local(move || {
                generator::scoped(
                    |yielder: &Yielder<(), ()>, ()| -> () {
                        assert_eq!(borrowed, "borrowed");
                        stubborn(yielder, &Cell::new(0))
                    },
                    |mut generator| generator.next(),
                )
                .unwrap()
            });
            let others = spawn_local(|| (0..10).for_each(|_| greenroom::sleep(ms(1))));
            others.join().unwrap();
            stands.kill();
            greenroom::sleep(ms(1));
            assert!(!stands.is_finished());
        },
    );
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn what_is_given_up_is_logged() {
    let _bound = bounded();
    let test = "what_is_given_up_is_logged";
    let output = alone(test, || {
        log::set_logger(&Lines).unwrap();
        log::set_max_level(log::LevelFilter::Error);
        let mut generator =
            Generator::new(|yielder, ()| -> () { stubborn(yielder, &Cell::new(0)) }).unwrap();
        generator.next();
        drop(generator);
        let lines = LINES.lock().unwrap();
        assert!(
            lines.iter().any(|line| line.contains("can't be unwound")),
            "{lines:?}"
        );
    });
    assert!(output.is_none_or(|output| output.status.success()));
}
