//! Values of the user's in containers of ours: their `Ord`, `Waker` and `Drop` may panic, park and
//! call the container again. So may a subscriber to the events of a hub.
mod hazard_support;

use greenroom::fiber::Fiber;
use greenroom::generator::Generator;
use greenroom::hub::{self, Event};
use greenroom::sync::{Arc, AsyncResult, PriorityQueue, Queue, mpsc};
use greenroom::threadpool::ThreadPool;
use greenroom::{generator, joinall, sleep, spawn, yield_now};
use hazard_support::{HOUR, OnDrop, bounded, ms};
use std::cell::{Cell, RefCell};
use std::future::IntoFuture;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};

#[test]
fn a_destructor_that_panics_strands_no_other_job_that_is_taken_back() {
    let _bound = bounded();
    let pool = ThreadPool::new(1).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
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

/// Its destructor panics.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor, on purpose");
    }
}

/// Its destructor parks, and waits for a greenlet.
struct Busy;

impl Drop for Busy {
    fn drop(&mut self) {
        yield_now();
        sleep(ms(1));
        spawn(yield_now).join().unwrap();
    }
}

/// Whether `f` panics. The payload is not dropped: it may be a bomb.
fn panics<T>(f: impl FnOnce() -> T) -> bool {
    let caught = panic::catch_unwind(AssertUnwindSafe(f));
    caught.map_err(std::mem::forget).is_err()
}

#[track_caller]
fn all_is_well() {
    assert_eq!(spawn(|| 7).join().unwrap(), 7);
    assert!(hub::wait_idle(Some(ms(10_000))));
    assert_eq!(hub::stats().greenlets, 0);
}

greenroom::tree_local! {
    static ONE: Bomb = Bomb;
    static TWO: Bomb = Bomb;
    static THREE: Busy = Busy;
}

#[test]
fn each_value_of_a_tree_may_panic() {
    let _bound = bounded();
    let parent = spawn(|| {
        ONE.with(|_| TWO.with(|_| THREE.with(|_| ())));
        drop(spawn(|| TWO.with(|_| yield_now())));
        6
    });
    assert_eq!(parent.join().unwrap(), 6);
    all_is_well();
}

#[test]
fn all_items_are_dropped_though_several_panic() {
    let _bound = bounded();
    let (sender, receiver) = mpsc::channel();
    (0..4).for_each(|_| sender.send(Bomb).unwrap());
    assert!(panics(|| drop(receiver)), "that panic has a caller");
    // Their owner unwinds, by a kill.
    let (sender, receiver) = mpsc::channel();
    let owner = spawn(move || {
        let _kept = receiver;
        sleep(HOUR);
    });
    yield_now();
    (0..2).for_each(|_| sender.send(Bomb).unwrap());
    owner.kill();
    assert!(owner.join().unwrap_err().is_killed());
    all_is_well();
}

#[test]
fn items_of_a_queue_that_was_shut_down_may_panic_in_who_unwinds() {
    let _bound = bounded();
    let queue = Arc::new(Queue::new());
    (0..2).for_each(|_| queue.put(Bomb).unwrap());
    let theirs = Arc::clone(&queue);
    let look = |_: &Bomb| -> () {
        yield_now();
        panic!("a look, on purpose")
    };
    let looker = spawn(move || theirs.peek_with(look));
    yield_now();
    let left = queue.shutdown(true);
    assert!(left.is_empty(), "they are in the looker's hands");
    assert!(looker.join().unwrap_err().is_panic());
    // A result that nobody has taken.
    let owner = spawn(|| {
        let _result = spawn(|| Bomb);
        yield_now();
        panic!("an owner, on purpose")
    });
    let ended: Result<(), _> = owner.join();
    assert!(ended.unwrap_err().is_panic());
    all_is_well();
}

#[test]
fn a_queue_that_is_asked_from_within_its_peek_panics() {
    let _bound = bounded();
    for items in [1, 2] {
        let asks = move || {
            let queue = Queue::new();
            (0..items).for_each(|item| queue.put(item).unwrap());
            // The thread may get its hub in the middle of the look.
            let ask = |_: &i32| {
                spawn(yield_now).join().unwrap();
                queue.get()
            };
            assert!(panics(|| queue.peek_with(ask)));
            assert_eq!(queue.get(), Ok(0));
        };
        std::thread::spawn(asks).join().unwrap();
        spawn(asks).join().unwrap();
    }
}

#[test]
fn a_future_may_give_its_thread_a_hub() {
    let _bound = bounded();
    let thread = std::thread::spawn(|| {
        let napping = async { spawn(|| sleep(ms(1))).await.unwrap() };
        greenroom::block_on(napping);
        greenroom::block_on(async { spawn(|| 5).await.unwrap() })
    });
    assert_eq!(thread.join().unwrap(), 5);
}

#[test]
fn what_a_closure_owns_may_park_though_it_never_starts() {
    let _bound = bounded();
    let kept = Busy;
    let never = move || drop(kept);
    let builder = || greenroom::Builder::new().stack_size(usize::MAX / 4);
    let greenlet = builder().spawn_on(&hub::current(), never);
    assert!(!greenlet.join().unwrap_err().is_killed());
    let kept = Busy;
    assert!(builder().spawn(move || drop(kept)).is_err());
    let kept = Busy;
    let killed = spawn(move || drop(kept));
    killed.kill();
    assert!(killed.join().unwrap_err().is_killed());
    all_is_well();
}

#[test]
fn a_generator_that_never_begins_hands_on_what_is_thrown() {
    let _bound = bounded();
    let kept = Bomb;
    let body = move |_: &generator::Yielder<(), ()>, ()| drop(kept);
    let mut generator = Generator::new(body).unwrap();
    assert!(panics(|| generator.throw(Box::new(Bomb))));
    assert!(generator.is_done());
}

thread_local! {
    static TARGET: RefCell<Option<Fiber<u32>>> = const { RefCell::new(None) };
}

#[test]
fn a_subscriber_may_switch_to_the_fiber_that_is_switched_to() {
    let _bound = bounded();
    let first = Fiber::new(|n: u32| n + 1);
    TARGET.set(Some(first.clone()));
    let subscription = hub::subscribe(|_| {
        TARGET.take().map(|fiber| fiber.switch(100).unwrap());
    });
    // By then it is dead, and its parent, the caller, gets the value.
    assert_eq!(first.switch(1).unwrap(), 1);
    drop(subscription);
    assert_eq!(Fiber::new(|n: u32| n + 10).switch(5).unwrap(), 15);
}

type Act = fn();

const ACTS: &[(&str, Act)] = &[
    ("panics with a bomb", || panic::panic_any(Bomb)),
    ("parks", || {
        sleep(ms(1));
        yield_now();
        greenroom::idle();
    }),
    ("limits", || {
        let _late = greenroom::with_timeout(ms(1), || sleep(ms(2)));
        greenroom::shield(yield_now);
        greenroom::foreign(yield_now);
    }),
    ("spawns and kills", || {
        drop(spawn(yield_now));
        spawn(yield_now).kill();
        drop(greenroom::spawn_local(yield_now));
    }),
    ("runs another hub", || {
        let inner = || spawn(yield_now).join().unwrap();
        greenroom::run(inner);
        greenroom::sim::run(1, inner);
    }),
    ("subscribes", || {
        SUBSCRIPTIONS.with_borrow_mut(|all| all.push(hub::subscribe(|_| ())));
    }),
    ("unsubscribes", || drop(SUBSCRIPTIONS.take())),
    ("keeps a generator", || {
        let make = || {
            let endless = |yielder: &generator::Yielder<(), u32>, ()| {
                for n in 0.. {
                    let _met = greenroom::with_timeout(ms(1), yield_now);
                    yielder.suspend(n);
                }
            };
            Generator::new(endless).unwrap()
        };
        let mut generator = GENERATOR.take().unwrap_or_else(make);
        assert!(generator.next().is_some());
        GENERATOR.set(Some(generator));
    }),
    ("waits", || {
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        assert_eq!(queue.get(), Ok(1));
        queue.get_timeout(ms(1)).unwrap_err();
        greenroom::scope(|_| ());
        greenroom::block_on(async {});
        assert_eq!(greenroom::threadpool::call(|| 1).unwrap(), 1);
    }),
    ("looks", || {
        let _looked = (hub::dump(), hub::stats(), greenroom::current());
        hub::wait_idle(Some(ms(1)));
    }),
];

thread_local! {
    static SUBSCRIPTIONS: RefCell<Vec<hub::Subscription>> = const { RefCell::new(Vec::new()) };
    static GENERATOR: RefCell<Option<Generator<(), u32, ()>>> = const { RefCell::new(None) };
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Has a subscriber do this at the first events of one kind, while greenlets borrow.
fn with_subscriber(kind: u8, act: Act) {
    LEFT.set(20);
    let subscription = hub::subscribe(move |event| {
        let this = match event {
            Event::Spawned { .. } => 0,
            Event::Switched { .. } => 1,
            Event::Transferred { .. } => 2,
            _ => 3,
        };
        // What it spawns is an event again.
        if this == kind && LEFT.get() > 0 {
            LEFT.set(LEFT.get() - 1);
            act();
        }
    });
    SUBSCRIPTIONS.with_borrow_mut(|all| all.push(subscription));
    let text = String::from("borrowed");
    let measure = |n| {
        let body = |yielder: &generator::Yielder<(), usize>, ()| {
            yielder.suspend(n);
            yield_now();
            yielder.suspend(text.len());
        };
        generator::scoped(body, |generator| generator.sum::<usize>()).unwrap()
    };
    let sum = greenroom::scope(|s| {
        let all = [1, 2, 3].map(|n| s.spawn(move || measure(n)));
        all.map(|one| one.join().unwrap()).iter().sum::<usize>()
    });
    assert_eq!(sum, 30);
    let sleeper = spawn(|| sleep(HOUR));
    yield_now();
    sleeper.kill();
    assert!(sleeper.join().unwrap_err().is_killed());
    drop(SUBSCRIPTIONS.take());
}

#[test]
fn a_subscriber_may_do_anything_at_any_event() {
    let _bound = bounded();
    for kind in 0..4 {
        for (what, act) in ACTS {
            let here = move || {
                with_subscriber(kind, *act);
                spawn(move || with_subscriber(kind, *act)).join().unwrap();
                greenroom::run(|| with_subscriber(kind, *act));
                drop(GENERATOR.take());
                all_is_well();
            };
            let ended = std::thread::spawn(here).join();
            assert!(ended.is_ok(), "at an event of kind {kind} it {what}");
        }
    }
}
