//! Closures and results that are larger than a stack, or aligned to more than its guard is long.

mod bounded;

use bounded::bounded;
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenroom::fiber::Fiber;
use greenroom::generator::{self, Generator};
use greenroom::pool::{Group, Pool};
use greenroom::{Builder, hub, run, scope, spawn, spawn_later, spawn_local, yield_now};

/// More than the whole slot of a greenlet, guard and all.
const BYTES: usize = if cfg!(debug_assertions) {
    1100 << 10
} else {
    300 << 10
};
/// Of the victim's stack, which lies beside.
const VICTIM_BYTES: usize = BYTES / 3;
/// A large closure is copied where it is made and where it is passed on: so few times fit.
const THREAD_BYTES: usize = 8 * BYTES;

struct Large([u8; BYTES]);

impl Large {
    fn new() -> Large {
        Large(black_box([0xab; BYTES]))
    }

    fn check(&self) -> usize {
        assert!(self.0.iter().all(|byte| *byte == 0xab));
        self.0.len()
    }
}

/// Aligned to twice the length of a guard.
#[repr(align(131072))]
struct Aligned(u8);

impl Aligned {
    fn check(&self) -> usize {
        assert_eq!(black_box(&raw const *self) as usize % (128 << 10), 0);
        assert_eq!(self.0, 7);
        BYTES
    }
}

/// On a thread of a known size: how often a closure is copied must not hang on the harness.
fn on_thread(body: impl FnOnce() + Send + 'static) {
    on_thread_of(THREAD_BYTES, body);
}

fn on_thread_of(bytes: usize, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(bytes).spawn(body);
    thread.unwrap().join().unwrap();
}

/// All ways from a closure to another stack.
macro_rules! each_way {
    ($value:expr) => {
        on_thread(|| {
            let value = $value;
            assert_eq!(spawn(move || value.check()).join().unwrap(), BYTES);
        });
        on_thread(|| {
            let value = $value;
            assert_eq!(spawn_local(move || value.check()).join().unwrap(), BYTES);
        });
        on_thread(|| {
            let value = $value;
            let later = spawn_later(Duration::from_millis(1), move || value.check());
            assert_eq!(later.join().unwrap(), BYTES);
        });
        on_thread(|| {
            let value = $value;
            let built = Builder::new().spawn(move || value.check()).unwrap();
            assert_eq!(built.join().unwrap(), BYTES);
        });
        on_thread_of(2 * THREAD_BYTES, || {
            let value = $value;
            assert_eq!(
                scope(|s| s.spawn(move || value.check()).join()).unwrap(),
                BYTES
            );
        });
        on_thread(|| {
            let value = $value;
            let mut one = Generator::new(move |y, ()| y.suspend(value.check())).unwrap();
            assert_eq!(one.next(), Some(BYTES));
        });
        on_thread(|| {
            let value = $value;
            let body = move |y: &generator::Yielder<(), usize>, ()| y.suspend(value.check());
            assert_eq!(
                generator::scoped(body, |mut one| one.next()).unwrap(),
                Some(BYTES)
            );
        });
        on_thread(|| {
            let value = $value;
            let fiber = Fiber::new(move |()| assert_eq!(value.check(), BYTES));
            fiber.switch(()).unwrap();
        });
        on_thread(|| {
            let value = $value;
            assert_eq!(
                Pool::new(1).spawn(move || value.check()).join().unwrap(),
                BYTES
            );
        });
        on_thread(|| {
            let value = $value;
            assert_eq!(
                Group::new().spawn(move || value.check()).join().unwrap(),
                BYTES
            );
        });
        on_thread(|| {
            let value = $value;
            let (sender, receiver) = mpsc::channel();
            let (over, ended) = mpsc::channel::<()>();
            let there = thread::spawn(move || {
                sender.send(hub::current()).unwrap();
                while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    greenroom::sleep(Duration::from_millis(1));
                }
            });
            let sent = receiver.recv().unwrap().spawn(move || value.check());
            assert_eq!(sent.join().unwrap(), BYTES);
            drop(over);
            there.join().unwrap();
        });
        on_thread(|| {
            let value = $value;
            let never = spawn(move || value.check());
            never.kill();
            assert!(never.join().unwrap_err().is_killed());
        });
    };
}

#[test]
fn a_closure_may_be_larger_than_its_stack() {
    let _bound = bounded();
    each_way!(Large::new());
}

#[test]
fn a_closure_may_be_aligned_to_more_than_its_stack() {
    let _bound = bounded();
    each_way!(Aligned(7));
}

#[test]
fn a_large_closure_leaves_the_stacks_beside_it_alone() {
    let _bound = bounded();
    on_thread_of(2 * THREAD_BYTES, || {
        run(|| {
            let over = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&over);
            let victim = spawn(move || {
                let bytes = [const { AtomicU8::new(7) }; VICTIM_BYTES];
                let kept = || bytes.iter().all(|byte| byte.load(Relaxed) == 7);
                thread::scope(|s| {
                    // All the while, from another thread.
                    let watcher = s.spawn(|| {
                        while !seen.load(Relaxed) {
                            assert!(kept());
                        }
                    });
                    greenroom::thread::park();
                    watcher.join().unwrap();
                });
                kept()
            });
            yield_now();
            for _ in 0..5 {
                let large = Large::new();
                assert_eq!(spawn(move || large.check()).join().unwrap(), BYTES);
                let large = Large::new();
                let mut one = Generator::new(move |y, ()| y.suspend(large.check())).unwrap();
                assert_eq!(one.next(), Some(BYTES));
            }
            over.store(true, Relaxed);
            victim.thread().unpark();
            assert!(victim.join().unwrap());
        });
    });
}

#[test]
fn a_result_may_be_large_or_aligned() {
    let _bound = bounded();
    on_thread_of(8 * THREAD_BYTES, || {
        let roomy = || Builder::new().stack_size(16 * BYTES);
        run(|| {
            let large = roomy().spawn(Large::new).unwrap();
            // One that is used again lies beside it.
            assert_eq!(spawn(|| 1).join().unwrap(), 1);
            assert_eq!(large.join().unwrap().check(), BYTES);
            let aligned = roomy().spawn(|| Aligned(7)).unwrap();
            assert_eq!(aligned.join().unwrap().check(), BYTES);
            for _ in 0..3 {
                #[repr(align(64))]
                struct Line(u8);
                let line = spawn(|| Line(3)).join().unwrap();
                assert_eq!((&raw const line as usize % 64, line.0), (0, 3));
            }
        });
    });
}

#[test]
fn a_large_closure_is_dropped_once() {
    let _bound = bounded();
    on_thread_of(8 * THREAD_BYTES, || {
        struct Counted<'a>(&'a Cell<u32>, Large);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.1.check();
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = Cell::new(0);
        let counted = || Counted(&drops, Large::new());
        scope(|s| {
            let one = counted();
            assert_eq!(s.spawn(move || one.1.check()).join().unwrap(), BYTES);
            assert_eq!(drops.get(), 1);
            let two = counted();
            s.spawn(move || two.1.check()).kill();
        });
        assert_eq!(drops.get(), 2);
        let three = counted();
        let unwound = generator::scoped(
            move |y: &generator::Yielder<(), usize>, ()| {
                y.suspend(three.1.check());
                panic!("in the body");
            },
            |mut one| {
                assert_eq!(
                    one.resume(()),
                    generator::GeneratorState::<_, ()>::Yielded(BYTES)
                );
                catch_unwind(AssertUnwindSafe(|| one.resume(()))).is_err()
            },
        );
        assert!(unwound.unwrap());
        assert_eq!(drops.get(), 3);
    });
}
