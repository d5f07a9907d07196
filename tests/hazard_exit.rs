//! The end of the process, from wherever `exit` is called: the destructors of thread-locals run on
//! top of what stands still, and nothing goes on that stands inside of one. In a patched program,
//! with the feature `monkey`, greenlets have thread-locals of their own.

mod hazard_support;

use hazard_support::bounded;
use std::cell::{Cell, RefCell};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use greenroom::fiber::{self, Fiber};
use greenroom::generator::{Generator, Yielder};
use greenroom::{scope, spawn, spawn_local, yield_now};
use hazard_support::{HOUR, alone, ms};

const STATUS: i32 = 7;

/// Whether `TEXT` of some thread is gone.
static GONE: AtomicBool = AtomicBool::new(false);

struct Text(&'static str);

impl Text {
    fn be_used(&self) {
        let gone = GONE.load(Ordering::Relaxed);
        if gone || self.0 != "a text" {
            eprintln!("a thread-local was used when it was gone");
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        GONE.store(true, Ordering::Relaxed);
        self.0 = "nothing";
    }
}

/// Parks when it is dropped.
struct Parks;

impl Drop for Parks {
    fn drop(&mut self) {
        println!("parks");
        (0..3).for_each(|_| yield_now());
        greenroom::sleep(ms(1));
        println!("has parked");
    }
}

type Body = Generator<(), (), ()>;

thread_local! {
    static KEPT: RefCell<Option<Body>> = const { RefCell::new(None) };
    static PARKS_FIRST: Parks = const { Parks };
    static TEXT: Text = const { Text("a text") };
    static PARKS_LAST: Parks = const { Parks };
    static TOUCHED: Cell<bool> = const { Cell::new(false) };
}

/// Stands inside of `TEXT`, and uses it when it goes on or unwinds.
fn stands_in_text(pause: impl Fn()) {
    struct Uses<'a>(&'a Text);
    impl Drop for Uses<'_> {
        fn drop(&mut self) {
            self.0.be_used();
        }
    }
    TEXT.with(|text| {
        let uses = Uses(text);
        loop {
            pause();
            uses.0.be_used();
        }
    });
}

fn generator_in_text() -> Body {
    let body = |yielder: &Yielder<(), ()>, ()| stands_in_text(|| yielder.suspend(()));
    let mut generator = Generator::new(body).unwrap();
    generator.next();
    generator
}

/// Runs `body`, which calls `exit`, in a process of its own.
fn exits(test: &str, body: fn()) {
    let output = alone(test, || {
        #[cfg(feature = "monkey")]
        greenroom::monkey::patch_all().unwrap();
        body();
        unreachable!("it exits");
    });
    let Some(Output {
        status,
        stderr,
        stdout,
    }) = output
    else {
        return;
    };
    let (errors, text) = (
        String::from_utf8_lossy(&stderr),
        String::from_utf8_lossy(&stdout),
    );
    assert_eq!(status.code(), Some(STATUS), "{status}: {errors}\n{text}");
    assert_eq!(errors, "");
    assert_eq!(
        text.matches("has parked").count(),
        text.matches("parks\n").count()
    );
}

fn exit() -> ! {
    std::process::exit(STATUS)
}

/// A generator that was made before the thread-local that it stands in is destroyed after it.
fn exit_with_generator() {
    KEPT.with(|_| ());
    KEPT.set(Some(generator_in_text()));
    exit();
}

#[test]
fn by_a_greenlet_whose_generator_stands_in_a_thread_local() {
    let _bound = bounded();
    exits(
        "by_a_greenlet_whose_generator_stands_in_a_thread_local",
        || {
            spawn(exit_with_generator).join().unwrap();
        },
    );
}

#[test]
fn by_a_local_greenlet_whose_generator_stands_in_a_thread_local() {
    let _bound = bounded();
    exits(
        "by_a_local_greenlet_whose_generator_stands_in_a_thread_local",
        || {
            spawn_local(exit_with_generator).join().unwrap();
        },
    );
}

#[test]
fn by_the_root_whose_generator_stands_in_a_thread_local() {
    let _bound = bounded();
    exits(
        "by_the_root_whose_generator_stands_in_a_thread_local",
        || {
            greenroom::hub::current();
            exit_with_generator();
        },
    );
}

#[test]
fn in_a_scope_and_in_an_inner_hub() {
    let _bound = bounded();
    exits("in_a_scope_and_in_an_inner_hub", || {
        spawn(|| {
            scope(|s| {
                s.spawn(|| greenroom::run(exit_with_generator));
            });
        })
        .join()
        .unwrap();
    });
}

/// Others that share the thread-locals stand inside of one, and would run if a destructor parked.
fn exit_beside_others() {
    PARKS_FIRST.with(|_| ());
    drop(spawn_local(|| stands_in_text(yield_now)));
    yield_now();
    PARKS_LAST.with(|_| ());
    exit();
}

#[test]
fn by_a_greenlet_that_shares_its_thread_locals() {
    let _bound = bounded();
    exits("by_a_greenlet_that_shares_its_thread_locals", || {
        spawn(exit_beside_others).join().unwrap();
    });
}

#[test]
fn by_the_root_that_shares_its_thread_locals() {
    let _bound = bounded();
    exits("by_the_root_that_shares_its_thread_locals", || {
        drop(spawn_local(|| ()));
        exit_beside_others();
    });
}

/// Its destructors may park: others have other thread-locals.
#[test]
fn by_a_greenlet_with_destructors_that_park() {
    let _bound = bounded();
    exits("by_a_greenlet_with_destructors_that_park", || {
        drop(spawn(|| stands_in_text(yield_now)));
        let parked = spawn(|| greenroom::sleep(HOUR));
        let exits = spawn(|| {
            PARKS_FIRST.with(|_| ());
            yield_now();
            exit();
        });
        let result = exits.join();
        unreachable!("{result:?} {parked:?}");
    });
}

#[test]
fn by_a_killed_greenlet_with_destructors_that_park() {
    let _bound = bounded();
    exits("by_a_killed_greenlet_with_destructors_that_park", || {
        struct Exits;
        impl Drop for Exits {
            fn drop(&mut self) {
                PARKS_FIRST.with(|_| ());
                exit();
            }
        }
        let killed = spawn(|| {
            let _exits = Exits;
            greenroom::sleep(HOUR);
        });
        yield_now();
        killed.kill();
        killed.join().unwrap();
    });
}

/// The generator that is dropped is the one that runs.
fn exit_in_kept_generator() {
    greenroom::hub::current();
    KEPT.with(|_| ());
    let body = |yielder: &Yielder<(), ()>, ()| {
        yielder.suspend(());
        TEXT.with(|_| exit());
    };
    KEPT.set(Some(Generator::new(body).unwrap()));
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.as_mut().unwrap();
        (kept.next(), kept.next())
    });
}

#[test]
fn by_a_generator_that_is_in_a_thread_local() {
    let _bound = bounded();
    exits(
        "by_a_generator_that_is_in_a_thread_local",
        exit_in_kept_generator,
    );
}

#[test]
fn by_a_generator_that_is_in_a_thread_local_of_a_greenlet() {
    let _bound = bounded();
    exits(
        "by_a_generator_that_is_in_a_thread_local_of_a_greenlet",
        || {
            spawn(exit_in_kept_generator).join().unwrap();
        },
    );
}

/// It is made by the very resume in which it is dropped.
#[test]
fn by_a_generator_at_its_first_resume() {
    let _bound = bounded();
    exits("by_a_generator_at_its_first_resume", || {
        greenroom::hub::current();
        spawn_local(|| {
            KEPT.with(|_| ());
            let body = |_: &Yielder<(), ()>, ()| {
                TOUCHED.set(true);
                exit();
            };
            KEPT.set(Some(Generator::new(body).unwrap()));
            KEPT.with_borrow_mut(|kept| kept.as_mut().unwrap().next());
        })
        .join()
        .unwrap();
    });
}

#[test]
fn by_a_fiber() {
    let _bound = bounded();
    thread_local! {
        static FIBERS: RefCell<Vec<Fiber<()>>> = const { RefCell::new(Vec::new()) };
    }
    exits("by_a_fiber", || {
        spawn(|| {
            FIBERS.with(|_| ());
            let main = fiber::current();
            let stands = Fiber::new(move |()| stands_in_text(|| main.switch(()).unwrap()));
            stands.switch(()).unwrap();
            let exits = Fiber::new(|()| exit());
            FIBERS.with_borrow_mut(|fibers| fibers.extend([stands, exits.clone()]));
            exits.switch(()).unwrap();
        })
        .join()
        .unwrap();
    });
}

/// No destructors of thread-locals run.
#[test]
fn quickly() {
    let _bound = bounded();
    unsafe extern "C" {
        fn quick_exit(status: i32) -> !;
    }
    exits("quickly", || {
        spawn(|| {
            KEPT.with(|_| ());
            KEPT.set(Some(generator_in_text()));
            PARKS_FIRST.with(|_| ());
            // SAFETY: it may be called at any time.
            unsafe { quick_exit(STATUS) }
        })
        .join()
        .unwrap();
    });
}

/// The test's own thread ends: what was left parked there stays where it is.
#[test]
fn by_the_end_of_the_thread_that_has_the_hub() {
    let _bound = bounded();
    let test = "by_the_end_of_the_thread_that_has_the_hub";
    let output = alone(test, || {
        #[cfg(feature = "monkey")]
        greenroom::monkey::patch_all().unwrap();
        drop(spawn(|| {
            KEPT.with(|_| ());
            KEPT.set(Some(generator_in_text()));
            stands_in_text(yield_now);
        }));
        drop(spawn_local(|| stands_in_text(yield_now)));
        yield_now();
        PARKS_LAST.with(|_| ());
    });
    if let Some(Output { status, stderr, .. }) = output {
        assert_eq!(
            (status.code(), &*String::from_utf8_lossy(&stderr)),
            (Some(0), "")
        );
    }
}
