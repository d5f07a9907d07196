//! Queues where it is hard: foreign code inside, several OS threads, ends that go, crowds.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::sync::{
    AnyQueue, Arc, Channel, GetError, Getter, JoinableQueue, LifoQueue, PriorityQueue, PutError,
    Putter, Queue, TryGetError, TryPutError,
};
use greenroom::{hub, sim, sleep, spawn, yield_now};
use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

thread_local! {
    /// What comparing two items does to them who compare.
    static COMPARING: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// An item with an `Ord` of its own will.
#[derive(Debug, PartialEq, Eq)]
struct Wilful(u32);

impl Ord for Wilful {
    fn cmp(&self, other: &Wilful) -> Ordering {
        if let Some(call) = COMPARING.get() {
            call();
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Wilful {
    fn partial_cmp(&self, other: &Wilful) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn comparing<T>(call: fn(), then: impl FnOnce() -> T) -> T {
    COMPARING.set(Some(call));
    let done = panic::catch_unwind(AssertUnwindSafe(then));
    COMPARING.set(None);
    done.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

#[test]
fn an_ord_that_panics_loses_nothing_and_leaves_the_queue_in_order() {
    let _bound = bounded();
    let queue = PriorityQueue::from_iter([5, 3, 4, 1, 2].map(Wilful));
    for at in 1..20 {
        thread_local!(static LEFT: Cell<u32> = const { Cell::new(0) });
        LEFT.set(at);
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
            comparing(
                || {
                    LEFT.set(LEFT.get().wrapping_sub(1));
                    if LEFT.get() == 0 {
                        panic::resume_unwind(Box::new("compared once too often"));
                    }
                },
                || queue.get(),
            )
        }));
        if let Ok(taken) = panicked {
            queue.put(taken.unwrap()).unwrap();
        }
        assert_eq!(queue.len(), 5, "after a panic in comparison {at}");
    }
    assert!(queue.try_iter().eq([1, 2, 3, 4, 5].map(Wilful)));
}

#[test]
fn an_ord_that_panics_lets_the_next_getter_have_the_item() {
    let _bound = bounded();
    let queue = Arc::new(PriorityQueue::from_iter([2, 1].map(Wilful)));
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        comparing(|| panic::resume_unwind(Box::new(())), || queue.get())
    }));
    assert!(panicked.is_err());
    let theirs = Arc::clone(&queue);
    assert_eq!(spawn(move || theirs.get()).join().unwrap(), Ok(Wilful(1)));
}

#[test]
fn an_ord_that_parks_lets_others_park_and_puts_go_on() {
    let _bound = bounded();
    let queue = Arc::new(PriorityQueue::from_iter([3, 2, 1].map(Wilful)));
    let done = comparing(
        || sleep(ms(1)),
        || {
            let getters = [0, 1].map(|_| {
                let queue = Arc::clone(&queue);
                spawn(move || queue.get().unwrap().0)
            });
            yield_now();
            // The first is in the middle of it; a put need not wait for that, a try_get has to.
            queue.try_put(Wilful(0)).unwrap();
            assert_eq!(queue.len(), 4);
            let third = queue.try_get().unwrap().0;
            let mut got: Vec<_> = getters.into_iter().map(|one| one.join().unwrap()).collect();
            got.push(third);
            got.sort();
            got
        },
    );
    assert_eq!((done, queue.get()), (vec![0, 1, 2], Ok(Wilful(3))));
}

#[test]
fn a_getter_that_is_killed_in_the_middle_of_an_ord_loses_nothing() {
    let _bound = bounded();
    let queue = Arc::new(PriorityQueue::from_iter([3, 2, 1].map(Wilful)));
    comparing(
        || sleep(Duration::from_secs(60)),
        || {
            let theirs = Arc::clone(&queue);
            let getter = spawn(move || theirs.get());
            yield_now();
            getter.kill();
            assert!(getter.join().unwrap_err().is_killed());
        },
    );
    assert!(queue.try_iter().eq([1, 2, 3].map(Wilful)));
}

#[test]
fn a_get_from_within_a_peek_is_a_panic_and_no_deadlock() {
    let _bound = bounded();
    let queue = Queue::from_iter([1, 2]);
    let inside = panic::catch_unwind(|| queue.peek_with(|_| queue.get()));
    let text = *inside.unwrap_err().downcast::<&str>().unwrap();
    assert!(text.contains("from within"), "{text}");
    assert!(queue.try_iter().eq([1, 2]), "nothing is lost");
}

#[test]
fn a_peek_may_put_and_close() {
    let _bound = bounded();
    let queue = Queue::bounded(2);
    queue.put(1).unwrap();
    let looked = queue.peek_with(|first| {
        queue.try_put(first + 1).unwrap();
        assert_eq!(queue.try_put(9), Err(TryPutError::Full(9)));
        queue.close();
        queue.len()
    });
    assert_eq!(looked, Ok(2));
    assert!(queue.iter().eq([1, 2]));
}

#[test]
fn what_is_thrown_out_in_the_middle_of_a_peek_is_dropped_after_it() {
    let _bound = bounded();
    let queue = JoinableQueue::from_iter([1, 2]);
    let looked = queue.peek_with(|first| {
        queue.put(3).unwrap();
        assert_eq!(queue.shutdown(true), [3]);
        *first
    });
    assert_eq!(
        (looked, queue.len(), queue.get()),
        (Ok(1), 0, Err(GetError))
    );
    queue.join();
}

#[test]
fn a_peek_that_panics_or_is_killed_puts_everything_back() {
    let _bound = bounded();
    let queue = Arc::new(Queue::from_iter([1, 2]));
    let panicked = panic::catch_unwind(|| {
        let look = |_: &i32| -> () { panic::resume_unwind(Box::new(())) };
        queue.peek_with(look).is_ok()
    });
    assert!(panicked.is_err());
    let theirs = Arc::clone(&queue);
    let looker = spawn(move || theirs.peek_with(|_| sleep(LONG)));
    yield_now();
    let waiting = Arc::clone(&queue);
    let getter = spawn(move || waiting.get());
    yield_now();
    assert!(!getter.is_finished());
    looker.kill();
    assert_eq!(getter.join().unwrap(), Ok(1));
    assert!(looker.join().unwrap_err().is_killed());
    assert_eq!(queue.get(), Ok(2));
}

#[test]
fn a_get_with_a_limit_does_not_wait_longer_for_another_look_to_end() {
    let _bound = bounded();
    sim::run(0, || {
        let queue = Arc::new(Queue::from_iter([1]));
        let theirs = Arc::clone(&queue);
        let looker = spawn(move || theirs.peek_with(|_| sleep(ms(100))));
        sleep(ms(10));
        assert!(queue.get_timeout(ms(10)).is_err());
        looker.join().unwrap().unwrap();
        assert_eq!(queue.try_get(), Ok(1));
    });
}

/// Uses its own queue when it is dropped.
struct Entangled(Arc<Queue<Entangled>>, Arc<AtomicUsize>);

impl Drop for Entangled {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
        let _ = (self.0.len(), self.0.try_get().is_ok(), self.0.is_closed());
    }
}

#[test]
fn an_item_may_use_its_queue_when_it_is_dropped() {
    let _bound = bounded();
    let (queue, dropped) = (Arc::new(Queue::new()), Arc::new(AtomicUsize::new(0)));
    let item = || Entangled(Arc::clone(&queue), Arc::clone(&dropped));
    (0..10).for_each(|_| queue.put(item()).map_err(drop).unwrap());
    drop(queue.get());
    drop(queue.shutdown(true));
    assert!(queue.put(item()).is_err());
    assert_eq!(dropped.load(SeqCst), 11);
}

#[test]
fn what_is_left_in_a_queue_is_dropped_with_it() {
    let _bound = bounded();
    let one = Arc::new(());
    let queue = Queue::from_iter([Arc::clone(&one), Arc::clone(&one)]);
    let (putter, getter) = LifoQueue::from_iter([Arc::clone(&one)]).into_ends();
    drop(getter);
    assert_eq!(
        Arc::strong_count(&one),
        3,
        "with the last getter, not the last putter"
    );
    drop((queue, putter));
    assert_eq!(Arc::strong_count(&one), 1);
}

#[test]
fn the_last_of_either_end_closes_the_queue() {
    let _bound = bounded();
    let (putter, getter) = Queue::new().into_ends();
    let (second_putter, second_getter) = (putter.clone(), getter.clone());
    drop((putter, getter));
    second_putter.put(1).unwrap();
    assert_eq!(second_getter.get(), Ok(1));
    let waiter = spawn(move || second_getter.get());
    yield_now();
    drop(second_putter);
    assert_eq!(waiter.join().unwrap(), Err(GetError));

    let (putter, getter) = Queue::bounded(1).into_ends();
    putter.put(1).unwrap();
    let waiter = spawn(move || putter.put(2));
    yield_now();
    drop(getter);
    assert_eq!(waiter.join().unwrap(), Err(PutError(2)));
}

#[test]
fn a_bound_can_be_widened_narrowed_and_taken_away() {
    let _bound = bounded();
    let queue = Arc::new(Queue::bounded(1));
    queue.put(0).unwrap();
    let putters: Vec<_> = (1..4)
        .map(|n| {
            let queue = Arc::clone(&queue);
            spawn(move || queue.put(n))
        })
        .collect();
    yield_now();
    queue.resize(3);
    yield_now();
    let finished = putters.iter().filter(|one| one.is_finished()).count();
    assert_eq!((finished, queue.len()), (2, 3));
    queue.resize(1);
    assert_eq!(queue.len(), 3, "nothing is thrown out");
    assert_eq!((queue.get(), queue.get()), (Ok(0), Ok(1)));
    yield_now();
    assert_eq!(queue.len(), 1, "there is no room yet");
    queue.resize(None);
    greenroom::joinall(putters);
    assert!(queue.try_iter().eq([2, 3]));
    queue.resize(usize::MAX);
    assert_eq!(queue.capacity(), None);
}

#[test]
fn limits_of_nothing_and_of_eternity_are_taken_as_they_are() {
    let _bound = bounded();
    let queue = Queue::bounded(1);
    assert!(queue.get_timeout(Duration::ZERO).is_err());
    assert_eq!(queue.put_timeout(1, Duration::MAX), Ok(()));
    assert!(queue.put_timeout(2, Duration::ZERO).is_err());
    assert_eq!(queue.get_timeout(Duration::MAX), Ok(1));
    let channel = Channel::<u8>::new();
    assert!(channel.put_timeout(1, Duration::ZERO).is_err());
    assert!(channel.get_timeout(Duration::ZERO).is_err());
}

#[test]
fn a_consumer_whose_queue_never_runs_empty_lets_others_run_and_can_be_killed() {
    let _bound = bounded();
    let queue = Arc::new(Queue::new());
    let theirs = Arc::clone(&queue);
    let glutton = spawn(move || {
        loop {
            theirs.put(()).unwrap();
            theirs.get().unwrap();
        }
    });
    (0..10).for_each(|_| yield_now());
    glutton.kill();
    assert!(glutton.join().unwrap_err().is_killed());
}

#[test]
fn queues_are_send_and_sync_whatever_may_be_sent() {
    let _bound = bounded();
    fn check<T: Send + Sync>() {}
    check::<Queue<Cell<u8>>>();
    check::<LifoQueue<Cell<u8>>>();
    check::<PriorityQueue<Cell<u8>>>();
    check::<JoinableQueue<Cell<u8>>>();
    check::<Channel<Cell<u8>>>();
    check::<Putter<Queue<Cell<u8>>>>();
    check::<Getter<Channel<Cell<u8>>>>();
}

const EACH: u32 = 5_000;

/// Where somebody runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A plain OS thread.
    Thread,
    /// A greenlet on a hub of another OS thread.
    Hub,
}

fn at<T: Send + 'static>(
    place: Place,
    f: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || match place {
        Place::Thread => f(),
        Place::Hub => spawn(f).join().unwrap(),
    })
}

/// Two producers and two consumers, each on an OS thread of its own: every item arrives once.
fn duel<Q>(make: impl Fn() -> (Putter<Q>, Getter<Q>), ordered: bool)
where
    Q: AnyQueue<Item = (u32, u32)> + Send + Sync + 'static,
{
    let _bound = bounded();
    for place in [Place::Thread, Place::Hub] {
        let (putter, getter) = make();
        let producers = [0, 1].map(|who| {
            let putter = putter.clone();
            at(place, move || {
                (0..EACH).for_each(|n| putter.put((who, n)).unwrap())
            })
        });
        let consumers = [0, 1].map(|_| {
            let getter = getter.clone();
            at(place, move || getter.iter().collect::<Vec<_>>())
        });
        drop(putter);
        producers.into_iter().for_each(|one| one.join().unwrap());
        let mut all = Vec::new();
        for consumer in consumers {
            let got = consumer.join().unwrap();
            for who in [0, 1] {
                let of_one = got.iter().filter(|item| item.0 == who);
                let in_order = of_one.is_sorted_by_key(|item| item.1);
                assert!(in_order || !ordered, "{place:?}");
            }
            all.extend(got);
        }
        all.sort();
        let expected = (0..2).flat_map(|who| (0..EACH).map(move |n| (who, n)));
        assert!(all.into_iter().eq(expected), "{place:?}");
    }
}

#[test]
fn threads_and_hubs_duel_on_a_queue() {
    let _bound = bounded();
    duel(|| Queue::bounded(3).into_ends(), true);
    duel(|| Queue::new().into_ends(), true);
}

#[test]
fn threads_and_hubs_duel_on_the_other_orders() {
    let _bound = bounded();
    duel(|| LifoQueue::bounded(3).into_ends(), false);
    duel(|| PriorityQueue::bounded(3).into_ends(), false);
    duel(|| JoinableQueue::bounded(1).into_ends(), true);
}

#[test]
fn threads_and_hubs_duel_on_a_channel() {
    let _bound = bounded();
    duel(|| Channel::new().into_ends(), true);
}

#[test]
fn a_duel_with_limits_and_kills_loses_and_doubles_nothing() {
    let _bound = bounded();
    let (putter, getter) = Queue::bounded(2).into_ends();
    let stop = Arc::new(AtomicBool::new(false));
    let hurried = {
        let (getter, stop) = (getter.clone(), Arc::clone(&stop));
        thread::spawn(move || {
            let mut got = Vec::new();
            while !stop.load(SeqCst) {
                let one = getter.clone();
                // Killed while it waits, from within the hub of its own.
                let waiter = spawn(move || one.get());
                yield_now();
                waiter.kill();
                got.extend(waiter.join().ok().and_then(Result::ok));
                got.extend(getter.get_timeout(Duration::from_micros(20)).ok());
            }
            got
        })
    };
    let patient = thread::spawn(move || getter.iter().collect::<Vec<_>>());
    for n in 0..EACH {
        let mut item = n;
        while let Err(late) = putter.put_timeout(item, Duration::from_micros(10)) {
            item = late.into_inner();
        }
    }
    drop(putter);
    let mut all = patient.join().unwrap();
    stop.store(true, SeqCst);
    all.extend(hurried.join().unwrap());
    all.sort();
    assert!(all.into_iter().eq(0..EACH));
}

#[test]
fn a_crowd_whose_time_is_up_together_leaves_at_once() {
    let _bound = bounded();
    const CROWD: usize = if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    };
    sim::run(0, || {
        let queue = Arc::new(Queue::<u8>::new());
        let full = Arc::new(Channel::new());
        let begin = Instant::now();
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let (queue, full) = (Arc::clone(&queue), Arc::clone(&full));
                spawn(move || {
                    let late = queue.get_timeout(ms(10)).is_err();
                    late && full.put_timeout(1, ms(10)).is_err()
                })
            })
            .collect();
        assert!(crowd.into_iter().all(|one| one.join().unwrap()));
        // Squared, this would take minutes.
        assert!(begin.elapsed() < Duration::from_secs(50));
        assert_eq!((queue.len(), full.balance()), (0, 0));
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        assert_eq!(hub::stats().timers, 0);
    });
}

#[test]
fn a_queue_says_what_it_is() {
    let _bound = bounded();
    let queue = Queue::bounded(2);
    queue.put('x').unwrap();
    let text = format!("{queue:?}");
    assert!(
        text.contains("len: 1") && text.contains("capacity: Some(2)"),
        "{text}"
    );
    assert!(format!("{:?}", Channel::<u8>::new()).contains("balance: 0"));
    assert!(
        format!(
            "{:?}",
            queue
                .put_timeout('y', ms(0))
                .and(queue.put_timeout('z', ms(0)))
        )
        .contains("Timeout")
    );
}
