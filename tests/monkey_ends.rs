//! Ends in a patched program, where each greenlet has thread-locals of its own: the same rules as
//! in `hazard_destructors`.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use greenroom::{green_local, spawn, tree_local};
use monkey_support::{ms, os_thread};

/// Says on which OS thread it was dropped.
struct Tells(Cell<Option<Sender<u64>>>);

fn os_thread_id() -> u64 {
    // SAFETY: a plain question.
    unsafe { libc::syscall(libc::SYS_gettid) as u64 }
}

impl Drop for Tells {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send(os_thread_id()).unwrap();
        }
    }
}

/// Has the three kinds of locals make one another when they are destroyed.
struct Makes(RefCell<Option<Sender<u64>>>);

green_local! {
    static GREEN: Tells = Tells(Cell::new(None));
}
tree_local! {
    static TREE: Tells = Tells(Cell::new(None));
}
thread_local! {
    static MAKES: Makes = const { Makes(RefCell::new(None)) };
}

impl Drop for Makes {
    fn drop(&mut self) {
        let sender = self.0.take();
        GREEN.with(|green| green.0.set(sender.clone()));
        TREE.with(|tree| tree.0.set(sender));
    }
}

/// The last handle of the greenlet is let go of on another OS thread: it must find no value.
#[test]
fn what_the_destructors_of_thread_locals_make_is_dropped_on_its_own_os_thread() {
    let _bound = bounded();
    greenroom::monkey::patch_all().unwrap();
    let (tell, told) = channel();
    let greenlet = spawn(move || MAKES.with(|makes| makes.0.replace(Some(tell))));
    let name = greenlet.thread().clone();
    drop(greenlet.join());
    os_thread(move || drop(name)).join().unwrap();
    let here = os_thread_id();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [here, here]);
}

/// A link runs when all locals have been destroyed, and makes them anew.
#[test]
fn what_a_link_makes_is_dropped_on_its_own_os_thread() {
    let _bound = bounded();
    greenroom::monkey::patch_all().unwrap();
    let (tell, told) = channel();
    let greenlet = spawn(|| ());
    let name = greenlet.thread().clone();
    drop(greenlet.link(move |_| {
        MAKES.with(|makes| makes.0.replace(Some(tell)));
    }));
    greenlet.join().unwrap();
    greenroom::hub::wait_idle(Some(Duration::from_secs(10)));
    os_thread(move || drop(name)).join().unwrap();
    let here = os_thread_id();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [here, here]);
}

fn kill(greenlet: &greenroom::GreenletRef) {
    let group = greenroom::pool::Pool::new(1);
    group.add(greenlet);
    assert!(group.kill_one(greenlet.id()));
}

/// Of a thread, made by std: closures, results, and both kinds of locals.
#[test]
fn destructors_of_a_patched_thread_park_after_a_kill() {
    let _bound = bounded();
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            thread::sleep(ms(1));
            greenroom::sleep(ms(1));
            ENDED.fetch_add(1, Ordering::Relaxed);
        }
    }
    green_local! {
        static KEPT: RefCell<Option<Parks>> = RefCell::new(None);
    }
    thread_local! {
        static KEPT_BY_STD: RefCell<Option<Parks>> = const { RefCell::new(None) };
    }
    greenroom::monkey::patch_all().unwrap();
    let parks = Parks;
    let (tell, told) = channel();
    let keeps = thread::spawn(move || {
        tell.send(greenroom::current()).unwrap();
        let _on_the_stack = parks;
        KEPT.set(Some(Parks));
        KEPT_BY_STD.set(Some(Parks));
        // A kill is an errno within std's calls, and an unwind in ours.
        greenroom::sleep(Duration::from_secs(60));
    });
    kill(&told.recv().unwrap());
    assert!(keeps.join().is_err(), "it was unwound");
    assert_eq!(ENDED.load(Ordering::Relaxed), 3);
    let parks = Parks;
    let (tell, told) = channel::<()>();
    let never_begun = thread::spawn(move || drop((parks, tell)));
    drop(never_begun);
    assert!(told.recv().is_err());
    assert_eq!(ENDED.load(Ordering::Relaxed), 4);
}

/// OS threads that end with threads of std parked on them, which are greenlets.
#[test]
fn os_threads_leave_no_descriptors_behind() {
    let _bound = bounded();
    // Other tests of this file have descriptors of their own: each of 100 would leave two.
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    greenroom::monkey::patch_all().unwrap();
    let before = descriptors();
    for _ in 0..100 {
        let ends = || {
            drop(thread::spawn(|| thread::sleep(Duration::from_secs(99))));
            greenroom::yield_now();
            // On one of its own, unpatched threads have no hub.
            drop(spawn(|| {
                thread::spawn(|| thread::sleep(Duration::from_secs(99)))
            }));
            greenroom::yield_now();
        };
        os_thread(ends).join().unwrap();
    }
    assert!(
        descriptors() < before + 50,
        "{before} and then {}",
        descriptors()
    );
}
