//! A result is dropped once, by the right one and in time, whoever lets go of its handle.

mod bounded;

use bounded::bounded;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use greenroom::{Greenlet, green_local, run, scope, spawn, spawn_local, yield_now};

/// Counts its drops, and says whether the last was on a greenlet.
#[derive(Clone, Default)]
struct Drops(Arc<(AtomicUsize, AtomicBool)>);

struct Dropped(Drops);

impl Drops {
    fn value(&self) -> Dropped {
        Dropped(self.clone())
    }

    fn count(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.0.fetch_add(1, Ordering::SeqCst);
        let on_greenlet = greenroom::hub::try_current().is_ok() && !is_root();
        self.0.0.1.store(on_greenlet, Ordering::SeqCst);
    }
}

fn is_root() -> bool {
    greenroom::current().minimal_id() == Some(0)
}

#[test]
fn the_result_of_a_detached_greenlet_is_dropped_on_it() {
    let _bound = bounded();
    let drops = Drops::default();
    let value = drops.clone();
    drop(spawn(move || value.value()));
    yield_now();
    assert_eq!(drops.count(), 1);
    assert!(drops.0.1.load(Ordering::SeqCst));
}

#[test]
fn one_detached_from_another_thread_drops_its_result_itself() {
    let _bound = bounded();
    run(|| {
        let drops = Drops::default();
        let value = drops.clone();
        let greenlet = spawn(move || value.value());
        thread::spawn(move || drop(greenlet)).join().unwrap();
        assert_eq!(drops.count(), 0);
        yield_now();
        assert_eq!(drops.count(), 1);
        assert!(drops.0.1.load(Ordering::SeqCst));
    });
}

#[test]
fn a_handle_dropped_after_the_end_drops_the_result() {
    let _bound = bounded();
    let drops = Drops::default();
    let (here, there) = (drops.clone(), drops.clone());
    let greenlets = [spawn(move || here.value()), spawn(move || there.value())];
    yield_now();
    assert_eq!(drops.count(), 0);
    let [here, there] = greenlets;
    drop(here);
    assert_eq!(drops.count(), 1);
    thread::spawn(move || drop(there)).join().unwrap();
    assert_eq!(drops.count(), 2);
}

#[test]
fn a_result_that_is_taken_is_not_dropped_again() {
    let _bound = bounded();
    let drops = Drops::default();
    let (here, there) = (drops.clone(), drops.clone());
    drop(spawn(move || here.value()).join().unwrap());
    assert_eq!(drops.count(), 1);
    run(|| {
        let greenlet = spawn(move || there.value());
        let joiner = thread::spawn(move || drop(greenlet.join().unwrap()));
        while !joiner.is_finished() {
            yield_now();
        }
    });
    assert_eq!(drops.count(), 2);
}

/// A handle that is let go of while the greenlet ends, on another CPU: always one drop.
#[test]
fn an_end_and_a_drop_at_the_same_time_drop_the_result_once() {
    let _bound = bounded();
    const ROUNDS: usize = 2_000;
    let drops = Drops::default();
    let (sender, receiver) = mpsc::channel::<Greenlet<Dropped>>();
    let start = Arc::new(Barrier::new(2));
    let there = Arc::clone(&start);
    let dropper = thread::spawn(move || {
        for (round, greenlet) in receiver.into_iter().enumerate() {
            there.wait();
            (0..round % 64).for_each(|_| std::hint::spin_loop());
            drop(greenlet);
        }
    });
    run(|| {
        for round in 0..ROUNDS {
            let value = drops.clone();
            sender.send(spawn(move || value.value())).unwrap();
            start.wait();
            (0..round % 61).for_each(|_| std::hint::spin_loop());
            yield_now();
        }
    });
    drop(sender);
    dropper.join().unwrap();
    assert_eq!(drops.count(), ROUNDS);
}

/// The handles of a task come and go on two threads while it starts, runs and ends.
#[test]
fn names_of_a_greenlet_may_be_dropped_anywhere_at_any_time() {
    let _bound = bounded();
    const ROUNDS: usize = 2_000;
    let (sender, receiver) = mpsc::channel();
    let dropper = thread::spawn(move || {
        receiver
            .into_iter()
            .for_each(|name: greenroom::GreenletRef| {
                drop(name.clone());
                name.unpark();
            });
    });
    run(|| {
        for round in 0..ROUNDS {
            let greenlet = spawn(|| greenroom::current().id());
            let name = greenlet.thread().clone();
            sender.send(name.clone()).unwrap();
            if round % 2 == 0 {
                assert_eq!(greenlet.join().unwrap(), name.id());
            } else {
                drop((greenlet, name));
                yield_now();
            }
        }
        assert_eq!(greenroom::hub::stats().greenlets, 0);
    });
    drop(sender);
    dropper.join().unwrap();
}

/// Its greenlet parks in a destructor of a local, after the result has been put: a handle that is
/// dropped meanwhile, by code that runs on another hub of the same thread, is seen in time.
#[test]
fn the_result_of_a_scoped_greenlet_is_dropped_before_its_scope_ends() {
    let _bound = bounded();
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            greenroom::thread::park();
        }
    }
    struct Notes<'a>(&'a Cell<bool>);
    impl Drop for Notes<'_> {
        fn drop(&mut self) {
            // Were its scope over, the root would run on here.
            yield_now();
            self.0.set(true);
        }
    }
    green_local! {
        static LAST: Parks = Parks;
    }
    let dropped = Cell::new(false);
    scope(|s| {
        let greenlet = s.spawn(|| {
            LAST.with(|_| ());
            Notes(&dropped)
        });
        yield_now();
        let name = greenlet.thread().clone();
        assert!(!greenlet.is_finished());
        run(|| drop(greenlet));
        assert!(!dropped.get(), "its own hub stands still meanwhile");
        name.unpark();
    });
    assert!(dropped.get());
}

#[test]
fn a_forgotten_handle_keeps_its_result_for_good() {
    let _bound = bounded();
    let drops = Drops::default();
    let value = drops.clone();
    scope(|s| std::mem::forget(s.spawn(move || value.value())));
    assert_eq!(drops.count(), 0);
}

#[test]
fn a_destructor_of_a_result_may_drop_the_last_handle_of_another() {
    let _bound = bounded();
    struct Chain(Option<Greenlet<Chain>>, Rc<Cell<usize>>);
    impl Drop for Chain {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            drop(self.0.take());
        }
    }
    let drops = Rc::new(Cell::new(0));
    let (inner, outer) = (Rc::clone(&drops), Rc::clone(&drops));
    drop(spawn_local(move || {
        Chain(Some(spawn_local(move || Chain(None, inner))), outer)
    }));
    yield_now();
    yield_now();
    assert_eq!(drops.get(), 2);
}

/// The handle is let go of where it was made, while the greenlet arrives, runs and ends elsewhere.
#[test]
fn a_greenlet_that_was_sent_may_be_detached_while_it_arrives() {
    let _bound = bounded();
    const ROUNDS: usize = 5_000;
    let drops = Drops::default();
    let (sender, receiver) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let hub = thread::spawn(move || {
        sender.send(greenroom::hub::current()).unwrap();
        while !stopped.load(Ordering::Acquire) {
            yield_now();
        }
        greenroom::hub::wait_idle(None);
    });
    let handle = receiver.recv().unwrap();
    for round in 0..ROUNDS {
        let value = drops.clone();
        let greenlet = handle.spawn(move || value.value());
        (0..round % 256).for_each(|_| std::hint::spin_loop());
        drop(greenlet);
    }
    stop.store(true, Ordering::Release);
    hub.join().unwrap();
    assert_eq!(drops.count(), ROUNDS);
}
