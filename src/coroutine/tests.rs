//! What any way to switch has to keep: everything that the compiler believes to be kept.

use crate::bounded::bounded;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::{Coroutine, Suspender};
use crate::stack::Pool;

/// Runs `body` to its end, and calls `between` whenever it suspends.
fn run(body: impl FnOnce(Suspender), mut between: impl FnMut()) {
    let mut pool = Pool::new();
    let stack = pool.take(None).unwrap();
    // SAFETY: it is run to its end here, and does not unwind.
    let mut coroutine = unsafe { Coroutine::new(stack, body) };
    while !coroutine.resume() {
        between();
    }
    pool.give(coroutine.into_stack());
}

fn leave(suspender: Suspender) {
    // SAFETY: the tests call it on the stack of the coroutine that handed it out.
    unsafe { suspender.suspend() }
}

#[test]
fn body_and_resumer_take_turns() {
    let _bound = bounded();
    let said = RefCell::new(String::new());
    run(
        |suspender| {
            said.borrow_mut().push('a');
            leave(suspender);
            said.borrow_mut().push('b');
            leave(suspender);
            said.borrow_mut().push('c');
        },
        || said.borrow_mut().push('-'),
    );
    assert_eq!(said.into_inner(), "a-b-c");
}

/// More values than there are registers, of both kinds, live across `switch`; none may change.
#[inline(never)]
fn keep_many(seed: u64, switch: &mut dyn FnMut()) {
    let whole: [u64; 24] = std::array::from_fn(|i| black_box(seed + i as u64));
    let floats: [f64; 24] = std::array::from_fn(|i| black_box(seed as f64 + i as f64 / 3.0));
    let (mut sum, mut float_sum) = (0, 0.0);
    for round in 0..50 {
        switch();
        for i in 0..24 {
            sum += whole[i] * round;
            float_sum += floats[i];
        }
    }
    let expected: u64 = (0..50)
        .map(|round| (0..24).map(|i| (seed + i) * round).sum::<u64>())
        .sum();
    assert_eq!(sum, expected);
    let expected: f64 = floats.iter().sum::<f64>() * 50.0;
    assert!((float_sum - expected).abs() < 1e-6 * expected.abs());
}

#[test]
fn nothing_in_registers_is_lost_on_either_side() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let ended = Rc::new(Cell::new(0));
    let mut coroutines: Vec<_> = (0..3)
        .map(|seed| {
            let ended = Rc::clone(&ended);
            let body = move |suspender| {
                keep_many(1000 * seed, &mut || leave(suspender));
                ended.set(ended.get() + 1);
            };
            // SAFETY: it owns what it has, and ends below.
            unsafe { Coroutine::new(pool.take(None).unwrap(), body) }
        })
        .collect();
    keep_many(7, &mut || {
        coroutines.iter_mut().for_each(|one| assert!(!one.resume()));
    });
    for mut coroutine in coroutines {
        assert!(coroutine.resume());
        pool.give(coroutine.into_stack());
    }
    assert_eq!(ended.get(), 3);
}

#[test]
fn a_body_is_kept_at_its_alignment_and_dropped_once() {
    let _bound = bounded();
    #[repr(align(256))]
    struct Wide(Rc<()>, [u8; 300]);

    let count = Rc::new(());
    let wide = Wide(Rc::clone(&count), [7; 300]);
    run(
        move |suspender| {
            assert_eq!(&raw const wide as usize % 256, 0);
            leave(suspender);
            assert_eq!(wide.1, [7; 300]);
            assert_eq!(Rc::strong_count(&wide.0), 2);
        },
        || {},
    );
    assert_eq!(Rc::strong_count(&count), 1);
}

#[test]
fn calls_find_their_stack_aligned() {
    let _bound = bounded();
    // What is spilled to the stack by aligned instructions faults otherwise.
    #[repr(align(16))]
    struct Aligned([u8; 16]);

    #[inline(never)]
    fn deeper(depth: usize, suspender: Suspender) {
        let here = black_box(Aligned([1; 16]));
        assert_eq!(&raw const here as usize % 16, 0);
        leave(suspender);
        if depth > 0 {
            deeper(depth - 1, suspender);
        }
        assert_eq!(here.0, [1; 16]);
    }
    run(|suspender| deeper(20, suspender), || {});
}

#[test]
fn a_panic_is_caught_within_its_body() {
    let _bound = bounded();
    let caught = Cell::new(0);
    run(
        |suspender| {
            for _ in 0..3 {
                let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
                    leave(suspender);
                    panic::resume_unwind(Box::new(()));
                }));
                assert!(unwound.is_err());
                caught.set(caught.get() + 1);
            }
        },
        || {},
    );
    assert_eq!(caught.get(), 3);
}

#[test]
fn one_may_be_left_from_the_stack_of_another_that_it_runs() {
    let _bound = bounded();
    let said = RefCell::new(String::new());
    run(
        |outer| {
            run(
                |inner| {
                    said.borrow_mut().push('1');
                    leave(outer);
                    said.borrow_mut().push('2');
                    leave(inner);
                    said.borrow_mut().push('3');
                    leave(outer);
                    said.borrow_mut().push('4');
                },
                || said.borrow_mut().push('i'),
            );
        },
        || said.borrow_mut().push('o'),
    );
    assert_eq!(said.into_inner(), "1o2i3o4");
}

#[test]
fn a_backtrace_can_be_taken_within_a_body() {
    let _bound = bounded();
    #[inline(never)]
    fn who_asks_for_it() -> String {
        black_box(Backtrace::force_capture().to_string())
    }
    run(
        |suspender| {
            leave(suspender);
            let trace = who_asks_for_it();
            assert!(trace.contains("who_asks_for_it"), "{trace}");
            let ends_here = cfg!(target_arch = "x86_64")
                && !cfg!(any(feature = "sanitizer", greenroom_portable_switch));
            if ends_here {
                assert!(!trace.contains("resume"), "{trace}");
            }
        },
        || {},
    );
}

#[test]
#[should_panic(expected = "in use")]
fn the_stack_of_a_suspended_body_is_not_given_away() {
    let _bound = bounded();
    let mut pool = Pool::new();
    // SAFETY: it borrows nothing, and is leaked.
    let mut coroutine = unsafe { Coroutine::new(pool.take(None).unwrap(), leave) };
    assert!(!coroutine.resume());
    let _ = coroutine.into_stack();
}
