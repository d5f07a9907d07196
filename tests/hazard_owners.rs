//! Who owns a reentrant lock: each greenlet by itself, on inner hubs as well; and code that a
//! greenlet has called, on whatever stack or hub, is a part of it.

mod hazard_support;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use greenroom::generator::Generator;
use greenroom::sync::RLock;
use greenroom::{run, spawn, spawn_local};
use hazard_support::bounded;

/// Whether the lock can be had where this is called.
fn free(lock: &RLock<()>) -> bool {
    lock.try_lock().is_some()
}

#[test]
fn the_lock_of_a_root_excludes_the_root_of_a_greenlets_inner_hub() {
    let _bound = bounded();
    run(|| {
        let lock = Rc::new(RLock::new(()));
        let _guard = lock.lock();
        let theirs = Rc::clone(&lock);
        let tried = spawn_local(move || (free(&theirs), run(|| free(&theirs))));
        assert_eq!(tried.join().unwrap(), (false, false));
    });
}

#[test]
fn the_lock_of_a_greenlet_excludes_all_others_in_inner_hubs() {
    let _bound = bounded();
    run(|| {
        let lock = Arc::new(RLock::new(()));
        let theirs = Arc::clone(&lock);
        let holds = spawn_local(move || {
            let _guard = theirs.lock();
            greenroom::thread::park();
        });
        greenroom::yield_now();
        assert!(!run(|| free(&lock)));
        assert!(!run(|| run(|| free(&lock))));
        let theirs = Arc::clone(&lock);
        assert!(!run(|| spawn(move || free(&theirs)).join().unwrap()));
        let theirs = Arc::clone(&lock);
        let in_greenlet = spawn_local(move || run(|| free(&theirs)));
        assert!(!in_greenlet.join().unwrap());
        holds.thread().unpark();
        holds.join().unwrap();
        assert!(run(|| free(&lock)));
    });
}

#[test]
fn what_its_owner_has_called_may_take_the_lock_again() {
    let _bound = bounded();
    let check = || {
        let lock = Rc::new(RLock::new(()));
        let _guard = lock.lock();
        assert!(free(&lock));
        assert!(run(|| free(&lock)), "the root of an inner hub");
        assert!(run(|| run(|| free(&lock))), "and of one more");
        let theirs = Rc::clone(&lock);
        let mut body = Generator::new(move |yielder, ()| yielder.suspend(free(&theirs))).unwrap();
        assert_eq!(body.next(), Some(true));
        let theirs = Arc::new(RLock::new(()));
        run(|| std::mem::forget(theirs.lock()));
        assert!(free(&theirs), "it is held by what this has called");
    };
    thread::spawn(check).join().unwrap();
    spawn(check).join().unwrap();
    run(|| spawn(check).join().unwrap());
}

#[test]
fn a_thread_keeps_its_number_when_it_gets_a_hub() {
    let _bound = bounded();
    let check = || {
        let lock = Arc::new(RLock::new(()));
        let _guard = lock.lock();
        let theirs = Arc::clone(&lock);
        assert!(!spawn(move || free(&theirs)).join().unwrap());
        assert!(free(&lock));
        assert!(run(|| free(&lock)));
    };
    thread::spawn(check).join().unwrap();
}

#[test]
fn a_subscriber_is_a_part_of_nobody() {
    let _bound = bounded();
    run(|| {
        let lock = Arc::new(RLock::new(()));
        let guard = lock.lock();
        let (theirs, was_free) = (Arc::clone(&lock), Arc::new(AtomicBool::new(true)));
        let noted = Arc::clone(&was_free);
        let subscription = greenroom::hub::subscribe(move |_| {
            noted.store(free(&theirs), Ordering::Relaxed);
        });
        greenroom::yield_now();
        drop(subscription);
        assert!(!was_free.load(Ordering::Relaxed));
        drop(guard);
    });
}
