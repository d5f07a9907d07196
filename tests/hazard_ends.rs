//! The end of an OS thread: its thread-locals go one after the other, and nothing may run on that
//! stands inside of one. Row 14 of the register of hazards.

use hazard_support::bounded;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

mod hazard_support;

use greenroom::fiber::{self, Fiber};
use greenroom::generator::Generator;
use greenroom::{spawn, spawn_local, yield_now};

/// Says when it is gone, and may do something just before that.
struct Noted {
    gone: &'static AtomicBool,
    before: Cell<fn()>,
}

impl Noted {
    const fn new(gone: &'static AtomicBool) -> Noted {
        let before = Cell::new((|| ()) as fn());
        Noted { gone, before }
    }

    /// Notes in `uses` if it is used when it is gone.
    fn be_used(&self, uses: &AtomicUsize) {
        uses.fetch_add(self.gone.load(Ordering::Relaxed).into(), Ordering::Relaxed);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.before.get()();
        self.gone.store(true, Ordering::Relaxed);
    }
}

fn on_a_thread(f: impl FnOnce() + Send + 'static) {
    thread::spawn(f).join().expect("it does not panic");
}

fn let_others_run() {
    (0..3).for_each(|_| yield_now());
    greenroom::sleep(std::time::Duration::from_millis(1));
}

#[test]
fn who_parks_in_the_destructor_of_a_thread_local_lets_nobody_run_who_stands_in_another() {
    let _bound = bounded();
    static GONE: AtomicBool = AtomicBool::new(false);
    static USES: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PARKS: Noted = const { Noted::new(&GONE) };
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    on_a_thread(|| {
        drop(spawn(|| ()).join());
        PARKS.with(|parks| parks.before.set(let_others_run));
        let stands = || {
            LENT.with(|lent| {
                loop {
                    (yield_now(), lent.be_used(&USES)).1
                }
            })
        };
        drop(spawn(stands));
        yield_now();
    });
    assert!(GONE.load(Ordering::Relaxed));
    assert_eq!(USES.load(Ordering::Relaxed), 0);
}

/// Made by the greenlet itself, it is the first to go.
#[test]
fn a_thread_local_whose_destructor_parks_is_not_used_meanwhile() {
    let _bound = bounded();
    static ENDS: AtomicBool = AtomicBool::new(false);
    static GONE: AtomicBool = AtomicBool::new(false);
    static USES: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    on_a_thread(|| {
        let stands = || {
            LENT.with(|lent| {
                lent.before.set(|| {
                    ENDS.store(true, Ordering::Relaxed);
                    let_others_run();
                });
                loop {
                    yield_now();
                    USES.fetch_add(ENDS.load(Ordering::Relaxed).into(), Ordering::Relaxed);
                }
            })
        };
        drop(spawn(stands));
        yield_now();
    });
    assert!(GONE.load(Ordering::Relaxed));
    assert_eq!(USES.load(Ordering::Relaxed), 0);
}

/// A generator whose body stands inside of a thread-local, and uses that when it unwinds.
fn standing_in(
    lent: &'static thread::LocalKey<Noted>,
    uses: &'static AtomicUsize,
) -> Generator<(), (), ()> {
    struct Uses<'a>(&'a Noted, &'static AtomicUsize);
    impl Drop for Uses<'_> {
        fn drop(&mut self) {
            self.0.be_used(self.1);
        }
    }
    let body = move |yielder: &greenroom::generator::Yielder<(), ()>, ()| {
        lent.with(|lent| {
            let uses = Uses(lent, uses);
            loop {
                yielder.suspend(());
                uses.0.be_used(uses.1);
            }
        })
    };
    let mut generator = Generator::new(body).expect("there is a stack");
    assert!(generator.next().is_some());
    generator
}

#[test]
fn a_generator_that_is_kept_in_a_thread_local_is_not_unwound_at_the_end() {
    let _bound = bounded();
    static GONE: AtomicBool = AtomicBool::new(false);
    static USES: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static KEPT: RefCell<Option<Generator<(), (), ()>>> = const { RefCell::new(None) };
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    on_a_thread(|| {
        KEPT.set(None);
        KEPT.set(Some(standing_in(&LENT, &USES)));
    });
    assert!(GONE.load(Ordering::Relaxed));
    assert_eq!(USES.load(Ordering::Relaxed), 0);
}

#[test]
fn the_same_after_a_run_without_a_hub_around_it() {
    let _bound = bounded();
    static GONE: AtomicBool = AtomicBool::new(false);
    static USES: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static KEPT: RefCell<Option<Generator<(), (), ()>>> = const { RefCell::new(None) };
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    on_a_thread(|| {
        KEPT.set(None);
        KEPT.set(Some(greenroom::run(|| standing_in(&LENT, &USES))));
    });
    assert!(GONE.load(Ordering::Relaxed));
    assert_eq!(USES.load(Ordering::Relaxed), 0);
}

#[test]
fn what_can_be_resumed_says_at_the_end_that_it_can_not() {
    let _bound = bounded();
    static GONE: AtomicBool = AtomicBool::new(false);
    static USES: AtomicUsize = AtomicUsize::new(0);
    static LOOKED: AtomicBool = AtomicBool::new(false);
    type Standing = (Generator<(), (), ()>, Fiber<u8>);
    struct Looks(RefCell<Option<Standing>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            let (mut generator, fiber) = self.0.take().expect("it was set");
            assert!(generator.next().is_none());
            assert!(Generator::<(), (), ()>::new(|_, ()| ()).is_err());
            assert!(fiber.switch(2).is_err());
            let lost = spawn_local(|| ()).join().expect_err("there is no hub");
            assert!(lost.not_started_because().is_some());
            LOOKED.store(true, Ordering::Relaxed);
        }
    }
    thread_local! {
        static KEPT: Looks = const { Looks(RefCell::new(None)) };
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    on_a_thread(|| {
        KEPT.with(|_| ());
        let main = Rc::new(fiber::current::<u8>());
        let fiber = Fiber::new(move |first| main.switch(first).unwrap_or(0));
        assert_eq!(fiber.switch(1).ok(), Some(1));
        KEPT.with(|kept| kept.0.replace(Some((standing_in(&LENT, &USES), fiber))));
    });
    assert!(GONE.load(Ordering::Relaxed) && LOOKED.load(Ordering::Relaxed));
    assert_eq!(USES.load(Ordering::Relaxed), 0);
}

#[test]
fn a_local_of_the_root_says_at_the_end_that_it_is_gone() {
    let _bound = bounded();
    static ASKED: AtomicBool = AtomicBool::new(false);
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(LOCAL.try_with(|_| ()).is_err());
            ASKED.store(true, Ordering::Relaxed);
        }
    }
    greenroom::green_local! {
        static LOCAL: String = String::from("made");
    }
    thread_local! {
        static ASK: Asks = const { Asks };
    }
    on_a_thread(|| {
        ASK.with(|_| ());
        LOCAL.with(|_| ());
    });
    assert!(ASKED.load(Ordering::Relaxed));
}

/// The destructors of the OS thread's thread-locals then run on the stack of a greenlet.
#[test]
fn an_exit_in_a_greenlet_lets_nobody_run_who_stands_in_a_thread_local() {
    let _bound = bounded();
    static GONE: AtomicBool = AtomicBool::new(false);
    static ENDS: AtomicBool = AtomicBool::new(false);
    thread_local! {
        static LENT: Noted = const { Noted::new(&GONE) };
    }
    let test = "an_exit_in_a_greenlet_lets_nobody_run_who_stands_in_a_thread_local";
    let output = hazard_support::alone(test, || {
        let stands = || {
            LENT.with(|lent| {
                lent.before.set(|| {
                    ENDS.store(true, Ordering::Relaxed);
                    let_others_run();
                });
                loop {
                    yield_now();
                    assert!(!ENDS.load(Ordering::Relaxed));
                }
            })
        };
        drop(spawn(stands));
        spawn(|| std::process::exit(7)).join().expect("it exits");
    });
    let Some(output) = output else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
