//! A model of the lock: one thread at a time, and each sees what the one before it did.

use std::sync::Arc;

use loom::thread;

use super::Brief;
use crate::bounded::bounded;
use crate::sys::atomic::modelled::explore;

#[test]
fn two_threads_have_it_one_after_the_other() {
    let _bound = bounded();
    explore("two_threads_have_it_one_after_the_other", 3, || {
        let lock = Arc::new(Brief::new(0));
        // Made here, as the threads would not agree on who has made it.
        *lock.lock() += 1;
        let theirs = Arc::clone(&lock);
        let other = thread::spawn(move || {
            *theirs.lock() += 1;
            *theirs.lock() += 1;
        });
        *lock.lock() += 1;
        assert!(*lock.lock() >= 2);
        other.join().expect("it does not panic");
        assert_eq!(*lock.lock(), 4);
    });
}
