//! A model of the token: no wake is lost, whatever order the flags of the wakers have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::thread;

use super::Sleeper;
use crate::bounded::bounded;
use crate::sys::atomic::AtomicBool;
use crate::sys::atomic::modelled::explore;

#[test]
fn a_look_after_a_token_sees_what_its_wakers_wrote() {
    let _bound = bounded();
    explore("a_look_after_a_token_sees_what_its_wakers_wrote", 3, || {
        let me = Sleeper::current();
        let flags = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let wakers = flags.clone().map(|flag| {
            flag.load(Ordering::Relaxed);
            let me = me.clone();
            thread::spawn(move || {
                flag.store(true, Ordering::Relaxed);
                me.wake();
            })
        });
        for flag in flags {
            while !flag.load(Ordering::Relaxed) {
                me.sleep(u64::MAX);
            }
        }
        for waker in wakers {
            waker.join().expect("it does not panic");
        }
    });
}

#[test]
fn a_wake_that_comes_as_the_time_is_up_is_not_lost() {
    let _bound = bounded();
    explore("a_wake_that_comes_as_the_time_is_up_is_not_lost", 3, || {
        let me = Sleeper::current();
        let flag = Arc::new(AtomicBool::new(false));
        flag.load(Ordering::Relaxed);
        let (theirs, named) = (Arc::clone(&flag), me.clone());
        let waker = thread::spawn(move || {
            theirs.store(true, Ordering::Relaxed);
            named.wake();
        });
        me.sleep(0);
        while !flag.load(Ordering::Relaxed) {
            me.sleep(u64::MAX);
        }
        waker.join().expect("it does not panic");
    });
}
