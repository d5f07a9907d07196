//! What greenlet's own tests ask of switches by hand: behaviours 25, 124 and 125 of our list,
//! re-written in our words after the test that each names, not copied; and the same for
//! generators.
mod gevent_support;

use gevent_support::{Notes, bounded, ms};
use greenroom::fiber::{Fiber, FiberError, current};
use greenroom::generator::{self, Generator, GeneratorState, Yielder};
use greenroom::hub::{self, Event};
use greenroom::io::{Read, Write};
use greenroom::os::unix::net::UnixStream;
use greenroom::{sim, with_timeout};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Says when it is dropped.
struct Bell<F: Fn(&'static str)>(F);

impl<F: Fn(&'static str)> Drop for Bell<F> {
    fn drop(&mut self) {
        (self.0)("dropped");
    }
}

/// What a panic carried, if it was text.
#[track_caller]
fn text_of(f: impl FnOnce()) -> &'static str {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    payload
        .downcast_ref::<&'static str>()
        .expect("it carries text")
}

// 125: test_greenlet.py test_two_children, test_two_recursive_children
#[test]
fn a_fiber_runs_to_its_end_and_its_parent_goes_on() {
    let _bound = bounded();
    let notes = Notes::new();
    let pen = notes.pen();
    let child = Fiber::new(move |n: u32| {
        pen("child");
        n + 1
    });
    assert!(!child.is_active() && !child.is_dead());
    assert_eq!(child.switch(1).unwrap(), 2);
    assert!(!child.is_active() && child.is_dead());
    assert_eq!(notes.read(), ["child"]);
}

// 125: test_greenlet.py test_dealloc, "a switch to the dead delivers to the parent"
#[test]
fn what_is_switched_to_the_dead_goes_to_their_nearest_living_ancestor() {
    let _bound = bounded();
    let grandparent = Fiber::new(|n: u32| {
        let parent = Fiber::new(|n| n);
        let child = Fiber::new(|n| n);
        child.set_parent(&parent).unwrap();
        assert_eq!(parent.switch(n).unwrap(), n, "ended at once");
        assert_eq!(child.switch(n + 1).unwrap(), n + 1, "both have ended");
        assert_eq!(child.switch(n + 2).unwrap(), n + 2);
        n + 3
    });
    assert_eq!(grandparent.switch(10).unwrap(), 13);
    assert_eq!(grandparent.switch(99).unwrap(), 99, "main is never dead");
}

// 125: test_greenlet.py test_switch_to_another_thread: here, another greenlet; another thread is
// an error of the compiler.
#[test]
fn nobody_switches_to_the_fibers_of_another_greenlet() {
    let _bound = bounded();
    let foreign = greenroom::spawn_local(|| Fiber::new(|n: u32| n));
    let foreign = foreign.join().unwrap();
    assert!(matches!(foreign.switch(1), Err(FiberError::OtherGreenlet)));
    let ours = Fiber::new(|n: u32| n);
    let refused = ours.set_parent(&foreign);
    assert!(matches!(refused, Err(FiberError::OtherGreenlet)));
}

// 125: test_greenlet.py test_set_parent, test_instance_dict
#[test]
fn nobody_is_the_ancestor_of_itself() {
    let _bound = bounded();
    let family: Vec<_> = (0..3).map(|_| Fiber::new(|n: u32| n)).collect();
    family[1].set_parent(&family[0]).unwrap();
    family[2].set_parent(&family[1]).unwrap();
    for child in &family {
        let refused = family[0].set_parent(child);
        assert!(matches!(refused, Err(FiberError::Cycle)));
    }
    assert_eq!(family[2].parent(), Some(family[1].clone()));
    let main = current::<u32>();
    assert!(matches!(main.set_parent(&family[0]), Err(FiberError::Main)));
}

// 125: test_greenlet.py test_dealloc_switch_args_not_lost, test_throw.py test_kill
#[test]
fn a_fiber_that_is_dropped_in_a_switch_runs_its_destructors() {
    let _bound = bounded();
    let notes = Notes::new();
    let (pen, main) = (notes.pen(), current());
    let fiber = Fiber::new(move |()| {
        let _bell = Bell(pen);
        main.switch(()).unwrap();
        unreachable!("nobody switches back");
    });
    fiber.switch(()).unwrap();
    let twin = fiber.clone();
    drop(fiber);
    assert_eq!(notes.read(), [""; 0]);
    drop(twin);
    assert_eq!(notes.read(), ["dropped"]);
}

#[test]
fn the_destructors_of_a_dropped_fiber_may_park_and_may_not_switch() {
    let _bound = bounded();
    sim::run(125, || {
        let notes = Notes::new();
        let (pen, main) = (notes.pen(), current());
        let fiber = Fiber::new(move |()| {
            let back = main.clone();
            let _bell = Bell(move |what| {
                greenroom::sleep(ms(5));
                let refused = back.switch(()).is_err();
                pen(if refused { what } else { "switched" });
            });
            main.switch(()).unwrap();
        });
        fiber.switch(()).unwrap();
        let before = greenroom::now();
        drop(fiber);
        assert_eq!(greenroom::now() - before, ms(5));
        assert_eq!(notes.read(), ["dropped"]);
        assert_eq!(hub::stats().stacks_live, 0);
    });
}

// 125: test_throw.py test_throw_goes_to_original_parent
#[test]
fn a_panic_goes_from_a_fiber_to_its_parent() {
    let _bound = bounded();
    let parent = Fiber::new(|()| {
        let child = Fiber::new(|()| panic::panic_any("from the child"));
        let said = text_of(|| child.switch(()).unwrap());
        assert!(child.is_dead());
        panic::panic_any(said)
    });
    let said = text_of(|| parent.switch(()).unwrap());
    assert_eq!(said, "from the child");
    assert!(parent.is_dead());
}

// 125: test_throw.py test_class, test_throw_exception_not_lost
#[test]
fn what_is_thrown_appears_where_the_fiber_stands() {
    let _bound = bounded();
    let main = current();
    let fiber = Fiber::new(move |_| {
        let thrown = panic::catch_unwind(AssertUnwindSafe(|| main.switch(1)));
        assert_eq!(thrown.unwrap_err().downcast_ref(), Some(&"thrown"));
        2
    });
    assert_eq!(fiber.switch(0).unwrap(), 1);
    assert_eq!(fiber.throw(Box::new("thrown")).unwrap(), 2);
}

// 125: test_throw.py test_kill, test_throw_goes_to_original_parent3
#[test]
fn exit_ends_a_fiber_quietly_and_its_parent_is_told() {
    let _bound = bounded();
    let notes = Notes::new();
    let (pen, main) = (notes.pen(), current());
    let standing = Fiber::new(move |()| {
        let _bell = Bell(pen);
        main.switch(()).unwrap();
    });
    standing.switch(()).unwrap();
    assert!(matches!(standing.exit(), Err(FiberError::Exited)));
    assert!(standing.is_dead());
    assert_eq!(notes.read(), ["dropped"]);
    assert!(matches!(standing.exit(), Err(FiberError::Exited)), "dead");
    let unbegun = Fiber::new(|()| unreachable!());
    assert!(matches!(unbegun.exit(), Err(FiberError::Exited)));
    assert!(unbegun.is_dead());
    let own = Fiber::new(|()| drop(current::<()>().exit()));
    assert!(matches!(own.switch(()), Err(FiberError::Exited)));
}

// 125: test_throw.py test_throw_goes_to_original_parent, for the dead
#[test]
fn what_is_thrown_at_the_dead_or_unbegun_panics_in_the_parent() {
    let _bound = bounded();
    let dead = Fiber::new(|()| ());
    dead.switch(()).unwrap();
    for fiber in [dead, Fiber::new(|()| unreachable!())] {
        let said = text_of(|| drop(fiber.throw(Box::new("thrown"))));
        assert_eq!(said, "thrown");
        assert!(fiber.is_dead());
    }
}

#[test]
fn a_parent_that_has_not_begun_begins_with_the_result_of_its_child() {
    let _bound = bounded();
    let parent = Fiber::new(|n: u32| n * 10);
    let child = Fiber::new(|n| n + 1);
    child.set_parent(&parent).unwrap();
    assert_eq!(child.switch(1).unwrap(), 20);
    let unset = Fiber::unset();
    let child = Fiber::new(|n: u32| n);
    child.set_parent(&unset).unwrap();
    assert!(matches!(child.switch(1), Err(FiberError::Unset)));
    assert!(unset.is_dead(), "it could not begin, so main is told");
}

#[test]
fn a_switch_to_oneself_returns_at_once() {
    let _bound = bounded();
    assert_eq!(current().switch(5).unwrap(), 5);
    let fiber = Fiber::new(|n: u32| current().switch(n + 1).unwrap());
    assert_eq!(fiber.switch(1).unwrap(), 2);
}

#[test]
fn what_has_begun_is_given_nothing_else_to_run() {
    let _bound = bounded();
    let main = current();
    let fiber = Fiber::new(move |()| main.switch(()).unwrap());
    fiber.set_stack_size(32 * 1024).unwrap();
    fiber.switch(()).unwrap();
    assert!(matches!(fiber.set_run(|()| ()), Err(FiberError::Started)));
    let refused = fiber.set_stack_size(1 << 20);
    assert!(matches!(refused, Err(FiberError::Started)));
}

#[test]
fn a_fiber_without_a_stack_can_be_switched_to_again() {
    let _bound = bounded();
    let fiber = Fiber::new(|n: u32| n);
    fiber.set_stack_size(usize::MAX).unwrap();
    let refused = fiber.switch(1).unwrap_err();
    assert!(matches!(refused, FiberError::NoStack(_)), "{refused}");
    fiber.set_stack_size(32 * 1024).unwrap();
    assert_eq!(fiber.switch(1).unwrap(), 1);
}

#[test]
fn a_fiber_that_parks_parks_its_greenlet_and_is_killed_with_it() {
    let _bound = bounded();
    sim::run(125, || {
        let notes = Notes::new();
        let pen = notes.pen();
        let napper = greenroom::spawn_local(move || {
            let fiber = Fiber::new(move |n: u32| {
                let _bell = Bell(pen);
                greenroom::sleep(ms(10));
                current().parent().unwrap().switch(n + 1).unwrap();
                greenroom::thread::park();
                n
            });
            assert_eq!(fiber.switch(1).unwrap(), 2);
            fiber.switch(0).unwrap();
        });
        let before = greenroom::now();
        greenroom::sleep(ms(20));
        assert_eq!(greenroom::now() - before, ms(20), "others ran meanwhile");
        assert_eq!(notes.read(), [""; 0]);
        napper.kill();
        assert!(napper.join().unwrap_err().is_killed());
        assert_eq!(notes.read(), ["dropped"]);
        assert_eq!(hub::stats().stacks_live, 0);
    });
}

#[test]
fn a_timeout_of_main_ends_in_main() {
    let _bound = bounded();
    sim::run(125, || {
        let main = current();
        let sleeper = Fiber::new(|()| greenroom::sleep(ms(1000)));
        let late = with_timeout(ms(10), || sleeper.switch(()).unwrap());
        assert!(late.is_err());
        assert!(sleeper.is_dead());
        let stays = Fiber::new(move |()| {
            let refused = with_timeout(ms(10), || main.switch(()));
            assert!(matches!(refused, Ok(Err(FiberError::Limited))));
        });
        stays.switch(()).unwrap();
    });
}

// 124: test_tracing.py test_greenlet_tracing
#[test]
fn switches_by_hand_are_told_in_their_order() {
    let _bound = bounded();
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let (one, two) = (Fiber::unset(), Fiber::unset());
    let (to_one, to_two) = (one.downgrade(), two.clone());
    one.set_run(move |()| to_two.switch(()).unwrap()).unwrap();
    two.set_run(move |()| to_one.upgrade().unwrap().switch(()).unwrap())
        .unwrap();
    let subscription = hub::subscribe(move |event| {
        if let Event::Transferred {
            from, to, thrown, ..
        } = event
        {
            noted.lock().unwrap().push((*from, *to, *thrown));
        }
    });
    one.switch(()).unwrap();
    let _ = two.exit();
    drop(subscription);
    Fiber::new(|()| ()).switch(()).unwrap();
    let (a, b) = (one.id(), two.id());
    assert!(a.is_some() && b.is_some() && a != b);
    let expected = [
        (None, a, false),
        (a, b, false),
        (b, a, false),
        (a, None, false),
        (None, b, true),
        (b, None, true),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}

// 124: test_tracing.py test_exception_disables_tracing. 25: TestDeadPropertyDuringSwitch
#[test]
fn a_tracer_that_panics_hears_no_more_and_the_switch_goes_on() {
    let _bound = bounded();
    thread_local! {
        static TARGET: RefCell<Option<Fiber<u32>>> = const { RefCell::new(None) };
    }
    let heard = Arc::new(AtomicU32::new(0));
    let fiber = Fiber::new(|n: u32| n);
    TARGET.set(Some(fiber.clone()));
    let count = Arc::clone(&heard);
    let _subscription = hub::subscribe(move |event| {
        if let Event::Transferred { .. } = event {
            TARGET.with_borrow(|target| assert!(!target.as_ref().unwrap().is_dead()));
            count.fetch_add(1, Ordering::Relaxed);
            panic!("the tracer fails");
        }
    });
    assert_eq!(fiber.switch(1).unwrap(), 1);
    assert_eq!(heard.load(Ordering::Relaxed), 1);
    drop(TARGET.take());
}

#[test]
fn a_generator_may_read_a_socket_between_two_yields() {
    let _bound = bounded();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let lines = greenroom::spawn_local(move || {
        let bytes = Generator::new(move |yielder: &Yielder<(), u8>, ()| {
            let mut byte = [0];
            while theirs.read(&mut byte).unwrap() == 1 {
                yielder.suspend(byte[0]);
            }
        });
        bytes.unwrap().collect::<Vec<u8>>()
    });
    for byte in *b"slow" {
        greenroom::sleep(ms(1));
        ours.write_all(&[byte]).unwrap();
    }
    drop(ours);
    assert_eq!(lines.join().unwrap(), b"slow");
}

#[test]
fn a_generator_of_the_root_may_park_as_well() {
    let _bound = bounded();
    sim::run(1, || {
        let naps = Generator::new(|yielder: &Yielder<(), u64>, ()| {
            for n in 1..=3 {
                greenroom::sleep(ms(n));
                yielder.suspend(n);
            }
        });
        let before = greenroom::now();
        assert_eq!(naps.unwrap().sum::<u64>(), 6);
        assert_eq!(greenroom::now() - before, ms(6));
    });
}

#[test]
fn a_generator_moves_from_greenlet_to_greenlet() {
    let _bound = bounded();
    sim::run(2, || {
        let count = Generator::new(|yielder: &Yielder<(), u64>, ()| {
            for n in 0.. {
                greenroom::sleep(ms(1));
                yielder.suspend(n);
            }
        });
        let count = Rc::new(RefCell::new(count.unwrap()));
        for expected in 0..5 {
            let count = Rc::clone(&count);
            let next = greenroom::spawn_local(move || count.borrow_mut().next());
            assert_eq!(next.join().unwrap(), Some(expected));
        }
    });
}

#[test]
fn a_panic_of_the_body_goes_to_who_resumes_and_ends_it() {
    let _bound = bounded();
    let mut fails = Generator::new(|yielder: &Yielder<(), ()>, ()| {
        yielder.suspend(());
        panic::panic_any("in the body");
    })
    .unwrap();
    fails.next();
    assert_eq!(text_of(|| _ = fails.resume(())), "in the body");
    assert!(fails.is_done());
    assert_eq!(fails.next(), None);
}

#[test]
fn a_generator_that_is_dropped_half_way_unwinds_and_its_destructors_may_park() {
    let _bound = bounded();
    sim::run(3, || {
        let notes = Notes::new();
        let pen = notes.pen();
        let mut endless = Generator::new(move |yielder: &Yielder<(), ()>, ()| {
            let _bell = Bell(move |what| {
                greenroom::sleep(ms(7));
                pen(what);
            });
            loop {
                yielder.suspend(());
            }
        })
        .unwrap();
        endless.next();
        let before = greenroom::now();
        drop(endless);
        assert_eq!(notes.read(), ["dropped"]);
        assert_eq!(greenroom::now() - before, ms(7));
        assert_eq!(hub::stats().stacks_live, 0);
    });
}

#[test]
fn a_generator_that_was_never_resumed_never_runs() {
    let _bound = bounded();
    let owned = Rc::new(());
    let theirs = Rc::clone(&owned);
    let never = Generator::new(move |_: &Yielder<(), ()>, ()| unreachable!("{theirs:?}"));
    drop(never.unwrap());
    assert_eq!(Rc::strong_count(&owned), 1);
}

#[test]
fn a_body_that_swallows_its_end_meets_it_again_at_its_next_yield() {
    let _bound = bounded();
    let swallowed = Rc::new(Cell::new(0));
    let count = Rc::clone(&swallowed);
    let mut stubborn = Generator::new(move |yielder: &Yielder<(), ()>, ()| {
        yielder.suspend(());
        loop {
            let caught = panic::catch_unwind(AssertUnwindSafe(|| yielder.suspend(())));
            count.set(count.get() + 1);
            if caught.is_err() && count.get() == 3 {
                return;
            }
        }
    })
    .unwrap();
    stubborn.next();
    stubborn.next();
    drop(stubborn);
    assert_eq!(swallowed.get(), 3);
}

// Without the panic count at hand it ends the process.
#[cfg(not(greenroom_no_panic_swap))]
#[test]
fn a_generator_that_yields_in_a_destructor_while_it_ends_is_leaked() {
    let _bound = bounded();
    greenroom::run(|| {
        let mut stuck = Generator::new(|yielder: &Yielder<(), ()>, ()| {
            let _bell = Bell(|_| yielder.suspend(()));
            yielder.suspend(());
        })
        .unwrap();
        stuck.next();
        let live = hub::stats().stacks_live;
        drop(stuck);
        assert!(!std::thread::panicking(), "its unwinding is not ours");
        assert_eq!(hub::stats().stacks_live, live);
    });
}

#[test]
fn a_generator_may_be_dropped_by_a_destructor_that_unwinds() {
    let _bound = bounded();
    let notes = Notes::new();
    let pen = notes.pen();
    let said = text_of(|| {
        let mut inner = Generator::new(move |yielder: &Yielder<(), ()>, ()| {
            let _bell = Bell(pen);
            yielder.suspend(());
        })
        .unwrap();
        inner.next();
        panic::panic_any("outer");
    });
    assert_eq!(said, "outer");
    assert_eq!(notes.read(), ["dropped"]);
}

#[test]
fn a_kill_of_the_greenlet_unwinds_the_body_first() {
    let _bound = bounded();
    let notes = Notes::new();
    let pen = notes.pen();
    let reader = greenroom::spawn_local(move || {
        let mut waits = Generator::new(move |_: &Yielder<(), ()>, ()| {
            let _bell = Bell(pen);
            greenroom::thread::park();
        })
        .unwrap();
        waits.next();
    });
    greenroom::yield_now();
    reader.kill();
    assert!(reader.join().unwrap_err().is_killed());
    assert_eq!(notes.read(), ["dropped"]);
}

#[test]
fn a_timeout_of_the_body_stays_in_the_body() {
    let _bound = bounded();
    sim::run(4, || {
        let mut limited = Generator::new(|yielder: &Yielder<(), bool>, ()| {
            let late = with_timeout(ms(5), || greenroom::sleep(ms(60)));
            yielder.suspend(late.is_err());
            with_timeout(ms(5), || yielder.suspend(true)).unwrap();
        })
        .unwrap();
        assert_eq!(limited.next(), Some(true));
        let refused = panic::catch_unwind(AssertUnwindSafe(|| limited.next()));
        let text = refused.unwrap_err();
        let text = text.downcast_ref::<String>().unwrap();
        assert!(text.contains("with_timeout"), "{text}");
    });
}

#[test]
fn only_the_body_yields() {
    let _bound = bounded();
    let excuse = |yields: &dyn Fn(&Yielder<(), ()>)| {
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            generator::scoped(|yielder, ()| yields(yielder), |mut one| one.next())
        }));
        assert!(caught.is_err());
    };
    excuse(&|yielder| {
        greenroom::scope(|s| s.spawn(|| yielder.suspend(())).join().unwrap());
    });
    excuse(&|yielder| greenroom::run(|| yielder.suspend(())));
    excuse(&|yielder| {
        let inner = |_: &Yielder<(), ()>, ()| yielder.suspend(());
        generator::scoped(inner, |mut one| one.next()).unwrap();
    });
    assert!(!std::thread::panicking());
}

#[test]
fn below_a_foreign_call_a_generator_yields_and_is_not_unwound() {
    let _bound = bounded();
    greenroom::run(|| {
        let notes = Notes::new();
        let pen = notes.pen();
        let mut callback = Generator::new(move |yielder: &Yielder<(), u32>, ()| {
            let _bell = Bell(pen);
            greenroom::foreign(|| yielder.suspend(1));
            yielder.suspend(2);
        })
        .unwrap();
        assert_eq!(callback.next(), Some(1));
        assert!(with_timeout(ms(1), || greenroom::sleep(ms(60_000))).is_err());
        drop(callback);
        assert_eq!(notes.read(), [""; 0], "it is leaked");
    });
}

#[test]
fn a_scope_in_a_generator_goes_on_while_it_stands_and_ends_with_it() {
    let _bound = bounded();
    sim::run(5, || {
        let ticks = Cell::new(0);
        let seen = generator::scoped(
            |yielder, ()| {
                greenroom::scope(|s| {
                    s.spawn(|| {
                        loop {
                            greenroom::sleep(ms(1));
                            ticks.set(ticks.get() + 1);
                        }
                    });
                    yielder.suspend(());
                });
            },
            |mut one| {
                one.next();
                greenroom::sleep(ms(10));
                ticks.get()
            },
        );
        assert!(seen.unwrap() >= 9);
        let ended = ticks.get();
        greenroom::sleep(ms(10));
        assert_eq!(ticks.get(), ended);
    });
}

#[test]
fn throw_is_caught_where_the_body_stands() {
    let _bound = bounded();
    let mut catches = Generator::new(|yielder: &Yielder<(), u8>, ()| {
        let thrown = panic::catch_unwind(AssertUnwindSafe(|| yielder.suspend(1)));
        thrown.is_err()
    })
    .unwrap();
    assert_eq!(catches.resume(()), GeneratorState::Yielded(1));
    let state = catches.throw(Box::new("oh"));
    assert_eq!(state, GeneratorState::Complete(true));
    let unbegun = Generator::new(|_: &Yielder<(), ()>, ()| unreachable!());
    let mut unbegun: Generator<(), (), ()> = unbegun.unwrap();
    assert_eq!(text_of(|| _ = unbegun.throw(Box::new("oh"))), "oh");
    assert!(unbegun.is_done());
}

#[test]
fn a_generator_runs_on_a_thread_that_ends() {
    let _bound = bounded();
    thread_local! {
        static KEPT: RefCell<Option<Generator<(), u8, ()>>> = const { RefCell::new(None) };
    }
    let (sender, ended) = std::sync::mpsc::channel();
    let keeps = move || {
        let generator = Generator::new(move |yielder: &Yielder<(), u8>, ()| {
            let _bell = Bell(move |what| sender.send(what).unwrap());
            yielder.suspend(1);
        });
        let mut generator = generator.unwrap();
        generator.next();
        KEPT.set(Some(generator));
    };
    std::thread::spawn(keeps).join().unwrap();
    assert_eq!(ended.recv(), Ok("dropped"));
}

#[test]
fn ten_thousand_generators_leave_nothing_behind() {
    let _bound = bounded();
    greenroom::run(|| {
        for n in 0..10_000u32 {
            let count =
                move |yielder: &Yielder<(), u32>, ()| (0..n).for_each(|n| yielder.suspend(n));
            let some = Generator::new(count).unwrap();
            assert_eq!(some.take(3).count(), n.min(3) as usize);
        }
        assert_eq!(hub::stats().stacks_live, 0);
    });
}
