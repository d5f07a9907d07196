//! Threads that are greenlets beside one that never calls libc: what is started or woken runs, so
//! that what waits for it by a loop does not wait for ever. And it costs few switches.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod monkey_support;

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;

use monkey_support::{bounded, ms, on_one_os_thread};

/// More than any wait for a thread takes, and not too much memory.
const MANY_SENDS: usize = 5_000_000;

#[test]
fn a_loop_of_sends_lets_the_receiver_run() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (sender, receiver) = mpsc::channel();
        let takes_one = thread::spawn(move || receiver.recv());
        let refused = (0..MANY_SENDS).any(|number| sender.send(number).is_err());
        assert!(refused, "the receiver never ran");
        assert_eq!(takes_one.join().unwrap(), Ok(0));
    });
}

#[test]
fn a_loop_of_sends_and_looks_gets_its_answers() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (asks, asked) = mpsc::channel();
        let (answers, answered) = mpsc::channel();
        let loops = thread::spawn(move || {
            // By then it is waited for.
            thread::sleep(ms(1));
            let mut sum = 0;
            for _ in 0..MANY_SENDS {
                sum += answered.try_iter().sum::<i32>();
                if sum >= 6 || asks.send(()).is_err() {
                    break;
                }
            }
            sum
        });
        for () in &asked {
            if answers.send(2).is_err() {
                break;
            }
        }
        assert!(loops.join().unwrap() >= 6);
    });
}

/// Whether `flag` is set while nothing is called.
fn spins_until(flag: &AtomicBool) -> bool {
    (0..100_000_000).any(|_| {
        std::hint::spin_loop();
        flag.load(Ordering::Relaxed)
    })
}

#[test]
fn a_thread_runs_beside_a_creator_that_spins() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let began = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&began);
        let sets = thread::spawn(move || theirs.store(true, Ordering::Relaxed));
        assert!(spins_until(&began));
        sets.join().unwrap();
    });
}

/// A thread that parks, and sets the flag when it was unparked.
fn parked() -> (thread::JoinHandle<()>, Arc<AtomicBool>) {
    let (began, unparked) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let theirs = (Arc::clone(&began), Arc::clone(&unparked));
    let parks = thread::spawn(move || {
        theirs.0.wait();
        thread::park();
        theirs.1.store(true, Ordering::Relaxed);
    });
    began.wait();
    // The barrier lets both go; the park comes next.
    thread::sleep(ms(1));
    (parks, unparked)
}

#[test]
fn who_is_woken_runs_beside_what_never_calls_again() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (parks, unparked) = parked();
        parks.thread().unpark();
        assert!(spins_until(&unparked));
        parks.join().unwrap();
    });
}

struct Unparks(thread::Thread, Arc<AtomicBool>);
impl Drop for Unparks {
    fn drop(&mut self) {
        self.0.unpark();
        let ran = self.1.load(Ordering::Relaxed);
        assert!(!ran || !thread::panicking());
    }
}

#[test]
fn a_wake_switches_to_nobody_where_that_could_do_harm() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (parks, unparked) = parked();
        greenroom::monkey::native(|| parks.thread().unpark());
        assert!(!unparked.load(Ordering::Relaxed), "native");
        parks.join().unwrap();

        let (parks, unparked) = parked();
        let unparks = Unparks(parks.thread().clone(), Arc::clone(&unparked));
        let unwinds = panic::catch_unwind(AssertUnwindSafe(|| {
            let _unparks = unparks;
            panic::resume_unwind(Box::new(()));
        }));
        assert!(
            unwinds.is_err() && !unparked.load(Ordering::Relaxed),
            "unwinding"
        );
        parks.join().unwrap();

        let (parks, unparked) = parked();
        greenroom::shield(|| parks.thread().unpark());
        assert!(!unparked.load(Ordering::Relaxed), "shielded");
        parks.join().unwrap();

        // It shares the thread-locals of the root.
        let (parks, unparked) = parked();
        let handle = parks.thread().clone();
        let ran = greenroom::spawn_local(move || {
            handle.unpark();
            unparked.load(Ordering::Relaxed)
        });
        assert!(!ran.join().unwrap(), "shares");
        parks.join().unwrap();
    });
}

const ROUNDS: usize = 2000;

#[test]
fn wakes_cost_few_switches() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let turn = Arc::new((Mutex::new(0), Condvar::new()));
        let before = greenroom::hub::stats().switches;
        let players = [0, 1].map(|mine| {
            let turn = Arc::clone(&turn);
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let theirs = turn
                        .1
                        .wait_while(turn.0.lock().unwrap(), |now| *now % 2 != mine);
                    *theirs.unwrap() += 1;
                    turn.1.notify_one();
                }
            })
        });
        players.into_iter().for_each(|one| one.join().unwrap());
        let switches = greenroom::hub::stats().switches - before;
        assert!(switches < 2 * ROUNDS as u64 * 11 / 10, "{switches}");
    });
}
