//! Values of the user's in containers of ours: their `Ord`, `Waker` and `Drop` may panic, park and
//! call the container again.
mod hazard_support;

use greenroom::hub::{self, Event};
use greenroom::sync::{Arc, AsyncResult, PriorityQueue};
use greenroom::threadpool::ThreadPool;
use greenroom::{generator, joinall, spawn, yield_now};
use hazard_support::{OnDrop, bounded};
use std::future::IntoFuture;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};

#[test]
fn a_destructor_that_panics_strands_no_other_job_that_is_taken_back() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let running = pool.spawn(move || {
        begun.send(()).unwrap();
        receiver.recv().is_err()
    });
    begins.recv().unwrap();
    let bomb = OnDrop(|| panic!("a destructor, on purpose"));
    let first = pool.spawn(move || drop(bomb));
    let second = pool.spawn(|| ());
    let cleared = panic::catch_unwind(AssertUnwindSafe(|| pool.clear()));
    assert!(cleared.is_err(), "that panic has a caller");
    assert!(first.join().unwrap_err().is_killed());
    assert!(second.join().unwrap_err().is_killed());
    drop(sender);
    assert!(running.join().unwrap());
}

static COMPARED: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, PartialEq, Eq)]
struct Moody(u32);

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Moody) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moody {
    fn cmp(&self, other: &Moody) -> std::cmp::Ordering {
        yield_now();
        let count = COMPARED.fetch_add(1, Ordering::Relaxed);
        assert!(count > 60 || count % 7 != 3, "an Ord, on purpose");
        self.0.cmp(&other.0)
    }
}

#[test]
fn an_ord_that_parks_and_panics_loses_no_item() {
    let _bound = bounded();
    let queue = Arc::new(PriorityQueue::new());
    (0..20).for_each(|n| queue.put(Moody(n)).unwrap());
    let getters = (0..4).map(|_| {
        let queue = Arc::clone(&queue);
        spawn(move || {
            let mut got = Vec::new();
            while got.len() < 5 {
                let next = panic::catch_unwind(AssertUnwindSafe(|| queue.get()));
                got.extend(next.into_iter().flatten().map(|item| item.0));
            }
            got
        })
    });
    let got = joinall(getters.collect::<Vec<_>>());
    let mut got: Vec<u32> = got.into_iter().flatten().flatten().collect();
    got.sort_unstable();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
    assert_eq!(queue.len(), 0);
}

/// Panics when it is woken.
struct Grumpy;

impl Wake for Grumpy {
    fn wake(self: Arc<Self>) {
        panic!("a waker, on purpose");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_from_being_told() {
    let _bound = bounded();
    let result = Arc::new(AsyncResult::new());
    let waker = Waker::from(Arc::new(Grumpy));
    let mut future = pin!((&*result).into_future());
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let theirs = Arc::clone(&result);
    let waiter = spawn(move || theirs.get());
    yield_now();
    let set = panic::catch_unwind(AssertUnwindSafe(|| result.set(7)));
    assert!(set.is_err(), "that panic has a caller");
    assert_eq!(waiter.join().unwrap(), 7);
}

#[test]
fn a_subscriber_may_panic_at_any_event() {
    let _bound = bounded();
    for kind in 0..4 {
        let _subscription = hub::subscribe(move |event| {
            let this = match event {
                Event::Spawned { .. } => 0,
                Event::Switched { .. } => 1,
                Event::Transferred { .. } => 2,
                _ => 3,
            };
            assert!(this != kind, "a subscriber, on purpose");
        });
        let borrowed = [1, 2, 3];
        let sum = greenroom::scope(|s| s.spawn(|| borrowed.iter().sum::<i32>()).join());
        assert_eq!(sum.unwrap(), 6);
        let body = |yielder: &generator::Yielder<(), i32>, ()| {
            borrowed.iter().for_each(|n| yielder.suspend(*n));
        };
        let first = generator::scoped(body, |mut generator| generator.next());
        assert_eq!(first.unwrap(), Some(1));
    }
    assert_eq!(hub::stats().greenlets, 0);
}
