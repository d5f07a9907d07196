//! Destructors at the end of a greenlet: each runs once and to its end, on the greenlet's own
//! stack, also after a kill; and what they make is destroyed as well. Origin of the rules for
//! keys: std's `thread_local!`, and its tests.

mod hazard_support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use greenroom::{AccessError, Greenlet, LocalKey};
use greenroom::{green_local, run, scope, spawn, spawn_later, spawn_local, tree_local};
use hazard_support::{HOUR, OnDrop, bounded, ms};

/// Parks in its destructor, and counts how far that has come.
struct Parks(Rc<Cell<usize>>, Rc<Cell<usize>>);

impl Drop for Parks {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        (0..3).for_each(|_| greenroom::sleep(ms(1)));
        greenroom::yield_now();
        self.1.set(self.1.get() + 1);
    }
}

/// Destructors that have begun, and those that have come to their end.
#[derive(Default)]
struct Count {
    begun: Rc<Cell<usize>>,
    ended: Rc<Cell<usize>>,
}

impl Count {
    fn parks(&self) -> Parks {
        Parks(Rc::clone(&self.begun), Rc::clone(&self.ended))
    }

    #[track_caller]
    fn assert_once(&self) {
        assert_eq!((self.begun.get(), self.ended.get()), (1, 1));
    }
}

fn kill_and_join(greenlet: Greenlet<()>) {
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
}

#[test]
fn the_destructor_of_a_local_value_may_park_after_a_kill() {
    let _bound = bounded();
    green_local! {
        static KEPT: RefCell<Option<Parks>> = RefCell::new(None);
    }
    let _bound = bounded();
    run(|| {
        let count = Count::default();
        let parks = count.parks();
        let greenlet = spawn_local(move || {
            KEPT.set(Some(parks));
            greenroom::sleep(HOUR);
        });
        greenroom::yield_now();
        kill_and_join(greenlet);
        count.assert_once();
    });
}

#[test]
fn the_destructor_of_a_shared_value_may_park_after_a_kill() {
    let _bound = bounded();
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Notes;
    impl Drop for Notes {
        fn drop(&mut self) {
            greenroom::sleep(ms(1));
            ENDED.fetch_add(1, Ordering::Relaxed);
        }
    }
    tree_local! {
        static SHARED: Notes = Notes;
    }
    let _bound = bounded();
    run(|| {
        let greenlet = spawn(|| SHARED.with(|_| greenroom::sleep(HOUR)));
        greenroom::yield_now();
        kill_and_join(greenlet);
        assert_eq!(ENDED.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn what_a_closure_owns_that_never_began_may_park_after_a_kill() {
    let _bound = bounded();
    run(|| {
        let count = Count::default();
        let parks = count.parks();
        kill_and_join(spawn_local(move || drop(parks)));
        count.assert_once();

        let count = Count::default();
        let parks = count.parks();
        scope(|s| {
            let child = s.spawn(move || drop(parks));
            child.kill();
            assert!(child.join().unwrap_err().is_killed());
            count.assert_once();
        });

        let count = Count::default();
        let parks = count.parks();
        let pool = greenroom::pool::Pool::new(1);
        let greenlet = pool.spawn_local(move || drop(parks));
        assert_eq!(pool.kill(Some(HOUR)), 0);
        assert!(greenlet.join().unwrap_err().is_killed());
        count.assert_once();
    });
}

#[test]
fn what_a_closure_owns_that_was_to_begin_later_may_park_after_a_kill() {
    let _bound = bounded();
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    run(|| {
        let parks = OnDrop(|| {
            greenroom::sleep(ms(1));
            ENDED.fetch_add(1, Ordering::Relaxed);
        });
        let later = spawn_later(HOUR, move || drop(parks));
        greenroom::sleep(ms(1));
        kill_and_join(later);
        assert_eq!(ENDED.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_result_that_nobody_wants_may_park_after_a_kill() {
    let _bound = bounded();
    run(|| {
        let count = Count::default();
        let parks = count.parks();
        let detached = spawn_local(move || {
            greenroom::shield(|| greenroom::sleep(ms(5)));
            parks
        });
        greenroom::yield_now();
        detached.kill();
        drop(detached);
        greenroom::hub::wait_idle(None);
        count.assert_once();
    });
}

#[test]
fn a_link_may_park_after_a_kill() {
    let _bound = bounded();
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    run(|| {
        let greenlet = spawn(|| greenroom::sleep(HOUR));
        drop(greenlet.link(|_| {
            greenroom::sleep(ms(1));
            ENDED.fetch_add(1, Ordering::Relaxed);
        }));
        greenroom::yield_now();
        kill_and_join(greenlet);
        greenroom::hub::wait_idle(None);
        assert_eq!(ENDED.load(Ordering::Relaxed), 1);
    });
}

/// A limit of its own does end a wait of a destructor.
#[test]
fn a_timeout_within_such_a_destructor_is_kept() {
    let _bound = bounded();
    static ELAPSED: AtomicUsize = AtomicUsize::new(0);
    run(|| {
        let waits = OnDrop(|| {
            let waited = greenroom::with_timeout(ms(2), || greenroom::sleep(HOUR));
            ELAPSED.fetch_add(waited.is_err().into(), Ordering::Relaxed);
        });
        kill_and_join(spawn(move || drop(waits)));
        assert_eq!(ELAPSED.load(Ordering::Relaxed), 1);
    });
}

/// Asks for a key when it is dropped, and says what it got.
struct Asks {
    key: fn() -> Result<(), AccessError>,
    tell: Sender<Result<(), AccessError>>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        self.tell.send((self.key)()).unwrap();
    }
}

type Asked = RefCell<Option<Asks>>;

green_local! {
    static OWN: Asked = RefCell::new(None);
}
tree_local! {
    static SHARED: Asked = RefCell::new(None);
}

fn ask_own() -> Result<(), AccessError> {
    OWN.try_with(|_| ())
}

fn ask_shared() -> Result<(), AccessError> {
    SHARED.try_with(|_| ())
}

#[test]
fn a_key_is_gone_while_its_value_is_destroyed() {
    let _bound = bounded();
    let ask = |tell: &Sender<_>| {
        let (own, shared) = (tell.clone(), tell.clone());
        move || {
            OWN.set(Some(Asks {
                key: ask_own,
                tell: own,
            }));
            let asks = Asks {
                key: ask_shared,
                tell: shared,
            };
            SHARED.with(|place| place.replace(Some(asks)));
        }
    };
    let (tell, told) = channel();
    spawn(ask(&tell)).join().unwrap();
    // Outside of greenlets likewise, with a hub and without.
    thread::spawn(ask(&tell)).join().unwrap();
    let with_hub = ask(&tell);
    thread::spawn(move || spawn(with_hub).join().unwrap())
        .join()
        .unwrap();
    let root = ask(&tell);
    thread::spawn(|| (spawn(|| ()).join().unwrap(), root()).1)
        .join()
        .unwrap();
    drop(tell);
    let answers: Vec<_> = told.into_iter().collect();
    assert_eq!(answers.len(), 8);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
}

#[test]
fn to_use_a_key_that_is_gone_panics() {
    let _bound = bounded();
    thread_local! {
        static PANICKED: Cell<bool> = const { Cell::new(false) };
    }
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            PANICKED.set(std::panic::catch_unwind(|| USES.with(|_| ())).is_err());
        }
    }
    green_local! {
        static USES: Uses = Uses;
    }
    let _bound = bounded();
    spawn(|| USES.with(|_| ())).join().unwrap();
    assert!(PANICKED.get());
}

thread_local! {
    static ORDER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes its name when it is dropped, and uses another key.
struct Notes(char, fn());

impl Drop for Notes {
    fn drop(&mut self) {
        ORDER.with_borrow_mut(|order| order.push(self.0));
        (self.1)();
    }
}

green_local! {
    static FIRST: Notes = Notes('1', || touch(&MADE_LATE));
    static SECOND: Notes = Notes('2', || FIRST.with(|first| assert_eq!(first.0, '1')));
    static MADE_LATE: Notes = Notes('l', || {
        MADE_LAST.with(|_| assert!(FIRST.try_with(|_| ()).is_err()));
    });
    static MADE_ONCE_MORE: Notes = Notes('m', || ());
}
tree_local! {
    static MADE_LAST: Notes = Notes('t', || touch(&MADE_ONCE_MORE));
}

fn touch(key: &'static LocalKey<Notes>) {
    key.with(|_| ());
}

#[test]
fn the_last_made_goes_first_and_what_destructors_make_goes_as_well() {
    let _bound = bounded();
    run(|| {
        spawn_local(|| (touch(&FIRST), touch(&SECOND)).1)
            .join()
            .unwrap();
        assert_eq!(ORDER.take(), "21ltm");
    });
}

/// Values are not Send: one that a destructor or a link has made late must not be dropped by the
/// last handle, on whatever OS thread that is.
#[test]
fn what_is_made_late_is_dropped_on_its_own_thread() {
    let _bound = bounded();
    struct Here(thread::ThreadId, Sender<thread::ThreadId>);
    impl Drop for Here {
        fn drop(&mut self) {
            assert_eq!(self.0, thread::current().id());
            self.1.send(thread::current().id()).unwrap();
        }
    }
    green_local! {
        static LATE: RefCell<Option<Here>> = RefCell::new(None);
    }
    let _bound = bounded();
    let (tell, told) = channel();
    let here = thread::current().id();
    run(|| {
        let greenlet = spawn(|| ());
        let name = greenlet.thread().clone();
        drop(greenlet.link(move |_| LATE.set(Some(Here(here, tell)))));
        greenlet.join().unwrap();
        greenroom::hub::wait_idle(None);
        thread::spawn(move || drop(name)).join().unwrap();
    });
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [here]);
}

/// The hub is in the middle of nothing when it says that a greenlet has ended: its values are
/// gone, and what a subscriber uses are the OS thread's.
#[test]
fn a_subscriber_at_the_end_uses_no_value_of_the_greenlet() {
    let _bound = bounded();
    green_local! {
        static SEEN: Cell<usize> = Cell::new(0);
    }
    let _bound = bounded();
    run(|| {
        let before = SEEN.get();
        let subscription = greenroom::hub::subscribe(|event| {
            if let greenroom::hub::Event::Finished { .. } = event {
                SEEN.set(SEEN.get() + 1);
            }
        });
        spawn(|| SEEN.set(100)).join().unwrap();
        drop(subscription);
        assert_eq!(SEEN.get(), before + 1);
    });
}
