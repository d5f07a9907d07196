//! A model of the latch: its opener wakes all, and they see what it did before.

use std::sync::Arc;

use loom::thread;

use super::Latch;
use crate::bounded::bounded;
use crate::sys::atomic::modelled::{Watched, explore};

struct Job {
    done: Latch,
    result: Watched,
}

impl Job {
    fn wait(&self) {
        assert!(self.done.wait_on("", None));
        assert_eq!(self.result.read(), 1);
    }
}

#[test]
fn those_who_wait_are_woken_and_see_the_result() {
    let _bound = bounded();
    explore("those_who_wait_are_woken_and_see_the_result", 2, || {
        let job = Arc::new(Job {
            done: Latch::default(),
            result: Watched::new(),
        });
        let theirs = Arc::clone(&job);
        let opener = thread::spawn(move || {
            theirs.result.add();
            theirs.done.open();
        });
        let theirs = Arc::clone(&job);
        let other = thread::spawn(move || theirs.wait());
        job.wait();
        opener.join().expect("it does not panic");
        other.join().expect("it does not panic");
    });
}
