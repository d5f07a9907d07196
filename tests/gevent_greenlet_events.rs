//! What gevent's own tests ask of spawn callbacks, switch traces, locals of a spawn tree, small
//! ids and deep recursion: behaviours 22 to 26 of our list, and the trace of 124, re-written in
//! our words after the test that each names, not copied.
mod gevent_support;

use gevent_support::bounded;
use gevent_support::{LONG, alone, both, is_alone, ms};
use greenroom::hub::{self, Event};
use greenroom::{Greenlet, GreenletId, sim};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

type Log<T> = Arc<Mutex<Vec<T>>>;

/// Listens to this hub; `note` chooses what is kept.
fn listen<T: Send + 'static>(
    note: impl Fn(&Event<'_>) -> Option<T> + Send + 'static,
) -> (hub::Subscription, Log<T>) {
    let log = Log::default();
    let ours = Arc::clone(&log);
    let subscription = hub::subscribe(move |event| ours.lock().unwrap().extend(note(event)));
    (subscription, log)
}

fn spawned(event: &Event<'_>) -> Option<GreenletId> {
    match event {
        Event::Spawned { id, .. } => Some(*id),
        _ => None,
    }
}

fn switched(event: &Event<'_>) -> Option<(GreenletId, GreenletId)> {
    match event {
        Event::Switched { from, to, .. } => Some((*from, *to)),
        _ => None,
    }
}

// 22: test__greenlet.py test_add_spawn_callback
#[test]
fn a_subscriber_hears_of_every_spawn_until_its_subscription_is_dropped() {
    let _bound = bounded();
    sim::run(22, || {
        let (subscription, log) = listen(spawned);
        let mut ids = vec![
            greenroom::spawn(|| ()).id(),
            greenroom::spawn_local(|| ()).id(),
            greenroom::spawn_later(ms(5), || ()).id(),
            greenroom::Builder::new().spawn(|| ()).unwrap().id(),
        ];
        greenroom::scope(|scope| ids.push(scope.spawn(|| ()).thread().id()));
        let remote = hub::current().spawn(|| ());
        ids.push(remote.id());
        remote.join().unwrap();
        assert_eq!(*log.lock().unwrap(), ids);

        drop(subscription);
        greenroom::spawn(|| ()).join().unwrap();
        assert_eq!(log.lock().unwrap().len(), ids.len());
    });
}

// 22: what the callback is told
#[test]
fn a_spawn_is_told_with_the_name_and_the_place_of_the_greenlet() {
    let _bound = bounded();
    let (_subscription, log) = listen(|event| match event {
        Event::Spawned { name, location, .. } => {
            Some((name.map(String::from), location.file(), location.line()))
        }
        _ => None,
    });
    let named = greenroom::Builder::new().name("clerk".into());
    let line = line!() + 1;
    drop(named.spawn(|| ()));
    assert_eq!(
        *log.lock().unwrap(),
        [(Some("clerk".into()), file!(), line)]
    );
}

// 22: the same, for the end
#[test]
fn an_end_is_told_once_whatever_it_was() {
    let _bound = bounded();
    sim::run(22, || {
        let (_subscription, log) = listen(|event| match event {
            Event::Finished { id, .. } => Some(*id),
            _ => None,
        });
        let greenlets = [
            greenroom::spawn(|| ()),
            greenroom::spawn(|| std::panic::resume_unwind(Box::new("an error"))),
            greenroom::spawn(|| greenroom::sleep(LONG)),
            greenroom::spawn_later(LONG, || ()),
        ];
        greenroom::sleep(ms(1));
        assert_eq!(log.lock().unwrap().len(), 2);
        greenroom::killall(&greenlets, None);
        greenroom::sleep(ms(1));
        let told: HashSet<_> = log.lock().unwrap().iter().copied().collect();
        assert_eq!(told, greenlets.iter().map(Greenlet::id).collect());
        assert_eq!(log.lock().unwrap().len(), 4);
    });
}

// 22: callbacks are removed, also by themselves
#[test]
fn a_subscription_can_be_dropped_by_its_own_callback() {
    let _bound = bounded();
    thread_local! {
        static SLOT: Cell<Option<hub::Subscription>> = const { Cell::new(None) };
    }
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    SLOT.set(Some(hub::subscribe(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        drop(SLOT.take());
    })));
    greenroom::spawn(|| ()).join().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&calls), 1, "what it captured is dropped");
}

// 22: the listener ends with its hub, or before
#[test]
fn a_subscription_may_outlive_its_hub_and_hears_of_no_other() {
    let _bound = bounded();
    let captured = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&captured);
    let subscription = greenroom::run(|| {
        let subscription = hub::subscribe(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        greenroom::spawn(|| ()).join().unwrap();
        subscription
    });
    let heard = captured.load(Ordering::Relaxed);
    assert!(heard > 0);
    greenroom::spawn(|| ()).join().unwrap();
    assert_eq!(captured.load(Ordering::Relaxed), heard);
    drop(subscription);
    assert_eq!(Arc::strong_count(&captured), 1);
}

// 22: what a callback does is not told to it, or it would never end
#[test]
fn a_callback_may_spawn_and_subscribe() {
    let _bound = bounded();
    type Made = Vec<(Greenlet<i32>, hub::Subscription)>;
    thread_local! {
        static MADE: RefCell<Made> = const { RefCell::new(Vec::new()) };
    }
    let subscription = hub::subscribe(|event| {
        if let Event::Spawned { .. } = event {
            let more = (greenroom::spawn(|| 1), hub::subscribe(|_| ()));
            MADE.with_borrow_mut(|made| made.push(more));
        }
    });
    greenroom::spawn(|| ()).join().unwrap();
    drop(subscription);
    let made = MADE.take();
    assert_eq!(made.len(), 1);
    for (greenlet, _) in made {
        assert_eq!(greenlet.join().unwrap(), 1);
    }
}

// 23: test__greenlet.py test_tree_locals
#[test]
fn tree_locals_are_shared_down_the_tree_and_separate_between_trees() {
    let _bound = bounded();
    greenroom::tree_local! {
        static WORK: RefCell<Vec<u32>> = RefCell::default();
    }
    let note = |number| WORK.with(|work| work.borrow_mut().push(number));
    let tree = move |first: u32| {
        greenroom::spawn(move || {
            note(first);
            let child = greenroom::spawn(move || {
                note(first + 1);
                let grandchild = greenroom::spawn(move || note(first + 2));
                grandchild.join().unwrap();
            });
            child.join().unwrap();
            WORK.with(|work| work.borrow().clone())
        })
    };
    sim::run(23, || {
        note(0);
        let (one, other) = (tree(10), tree(20));
        assert_eq!(one.join().unwrap(), [10, 11, 12]);
        assert_eq!(other.join().unwrap(), [20, 21, 22]);
        WORK.with(|work| assert_eq!(*work.borrow(), [0], "the root shares with nobody"));
    });
}

// 23: where a tree begins, for which gevent has the dictionary of the topmost greenlet
#[test]
fn a_tree_begins_with_the_first_use_of_each_key() {
    let _bound = bounded();
    greenroom::tree_local! {
        static EARLY: Cell<u32> = Cell::new(0);
        static LATE: Cell<u32> = Cell::new(0)
    }
    let top = greenroom::spawn(|| {
        EARLY.with(|early| early.set(1));
        let child = greenroom::spawn(|| {
            LATE.with(|late| late.set(2));
            let grandchild = greenroom::spawn(|| (EARLY.with(Cell::get), LATE.with(Cell::get)));
            grandchild.join().unwrap()
        });
        (child.join().unwrap(), LATE.with(Cell::get))
    });
    assert_eq!(top.join().unwrap(), ((1, 2), 0));
}

// 23: the values end with their tree
#[test]
fn a_tree_local_lives_until_the_last_of_its_tree_has_ended() {
    let _bound = bounded();
    struct Loud(Cell<Option<std::sync::mpsc::Sender<()>>>);
    impl Drop for Loud {
        fn drop(&mut self) {
            let sender = self.0.take().expect("it was set");
            sender.send(()).unwrap();
        }
    }
    greenroom::tree_local! {
        static LOUD: Loud = Loud(Cell::new(None));
    }
    sim::run(23, || {
        let (sender, dropped) = std::sync::mpsc::channel();
        let top = greenroom::spawn(move || {
            LOUD.with(|loud| loud.0.set(Some(sender)));
            drop(greenroom::spawn(|| greenroom::sleep(ms(10))));
        });
        top.join().unwrap();
        assert!(dropped.try_recv().is_err());
        greenroom::sleep(ms(20));
        assert!(dropped.try_recv().is_ok());
    });
}

// 23: from one hub to another only by hand
#[test]
fn tree_locals_do_not_cross_to_another_hub() {
    let _bound = bounded();
    greenroom::tree_local! {
        static HERE: Cell<u32> = Cell::new(0);
    }
    let outer = greenroom::spawn(|| {
        HERE.with(|here| here.set(5));
        let there = hub::current();
        let sent = there.spawn(|| HERE.with(Cell::get)).join().unwrap();
        let value = HERE.with(Cell::get);
        let by_hand = there.spawn(move || {
            HERE.with(|here| here.set(value));
            HERE.with(Cell::get)
        });
        (sent, by_hand.join().unwrap())
    });
    assert_eq!(outer.join().unwrap(), (0, 5));
}

// 24: test___ident.py
#[test]
fn minimal_ids_are_small_unique_among_the_living_and_used_again() {
    let _bound = bounded();
    sim::run(24, || {
        let minimal = |greenlet: &Greenlet<()>| greenlet.thread().minimal_id().unwrap();
        assert_eq!(greenroom::current().minimal_id(), Some(0));
        let sleepers: Vec<_> = (0..10)
            .map(|_| greenroom::spawn(|| greenroom::sleep(LONG)))
            .collect();
        let ids: HashSet<_> = sleepers.iter().map(minimal).collect();
        assert_eq!(ids, (1..=10).collect());

        let freed = minimal(&sleepers[4]);
        greenroom::killall([&sleepers[4]], None);
        let next = greenroom::spawn(|| assert_ne!(greenroom::current().minimal_id(), Some(0)));
        assert_eq!(minimal(&next), freed);
        assert_ne!(next.id(), sleepers[4].id(), "the other id is for ever");
        next.join().unwrap();
    });
}

// 25: test__greenlet.py TestDeadPropertyDuringSwitch
#[test]
fn the_target_of_a_switch_has_not_finished_while_the_switch_is_told() {
    let _bound = bounded();
    let watched: Arc<Mutex<Option<Greenlet<()>>>> = Arc::default();
    let theirs = Arc::clone(&watched);
    let (_subscription, log) = listen(move |event| {
        let watched = theirs.lock().unwrap();
        let greenlet = watched.as_ref()?;
        let (_, to) = switched(event)?;
        (to == greenlet.id()).then(|| greenlet.is_finished())
    });
    let greenlet = greenroom::spawn(greenroom::yield_now);
    *watched.lock().unwrap() = Some(greenlet);
    greenroom::idle();
    assert_eq!(*log.lock().unwrap(), [false, false]);
    assert!(watched.lock().unwrap().as_ref().unwrap().is_finished());
}

// 124: greenlet's test_tracing.py
#[test]
fn two_greenlets_that_take_turns_are_told_in_order() {
    let _bound = bounded();
    let root = greenroom::current().id();
    let (subscription, log) = listen(switched);
    let spawn = || greenroom::spawn(greenroom::yield_now);
    let (a, b) = (spawn(), spawn());
    greenroom::joinall([a, b].map(|greenlet| {
        let id = greenlet.id();
        greenroom::spawn(move || greenlet.join().map(|()| id).unwrap())
    }));
    drop(subscription);
    let log = std::mem::take(&mut *log.lock().unwrap());
    let (a, b) = (log[0].1, log[1].1);
    assert_eq!(log[0], (root, a));
    assert_eq!(log[1], (a, b));
    assert!(log.windows(2).all(|two| two[0].1 == two[1].0), "{log:?}");
    assert_eq!(log.last().unwrap().1, root);
    let of_both = log.iter().map(|(_, to)| *to);
    let of_both: Vec<_> = of_both.filter(|to| [a, b].contains(to)).collect();
    assert_eq!(of_both, [a, b, a, b]);
}

// 124: greenlet's test_tracing.py, an exception in the tracer removes it
#[test]
fn a_callback_that_panics_is_not_called_again_and_harms_nobody() {
    let _bound = bounded();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let _bad = hub::subscribe(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("in a subscriber");
    });
    let (_good, log) = listen(spawned);
    let values = greenroom::joinall([greenroom::spawn(|| 1), greenroom::spawn(|| 2)]);
    assert_eq!(values.into_iter().flatten().sum::<i32>(), 3);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(log.lock().unwrap().len(), 2);
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + frame[1]
}

// 26: test__greenlet.py test_recursion_error. A stack can't be unwound once it is full, so here
// the process says whose it was and ends; in a process of its own.
#[test]
fn endless_recursion_ends_with_the_name_of_the_greenlet_and_an_abort() {
    let _bound = bounded();
    use std::os::unix::process::ExitStatusExt;
    if is_alone() {
        let named = greenroom::Builder::new().name("bottomless".into());
        let endless = named.stack_size(64 * 1024).spawn(|| recurse(0)).unwrap();
        unreachable!("{:?}", endless.join());
    }
    let output = alone("endless_recursion_ends_with_the_name_of_the_greenlet_and_an_abort");
    assert_eq!(
        output.status.signal(),
        Some(libc::SIGABRT),
        "{}",
        both(&output)
    );
    let text = both(&output);
    assert!(text.contains("'bottomless'"), "{text}");
    assert!(text.contains("overflow"), "{text}");
}
