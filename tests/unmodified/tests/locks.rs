//! Locks and channels that know threads only: between greenlets of one OS thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use unmodified::*;

#[test]
fn std_mpsc_the_receiver_first() {
    on_one_os_thread(|| {
        let pairs: Vec<_> = (0..MANY).map(|_| mpsc::channel()).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let receiving: Vec<_> = receivers
            .into_iter()
            .map(|receiver| greenroom::spawn(move || receiver.recv().unwrap()))
            .collect();
        greenroom::yield_now();
        let sending = greenroom::spawn(move || {
            let senders = senders.into_iter().enumerate();
            senders.for_each(|(n, sender)| sender.send(n).unwrap());
        });
        let received = greenroom::joinall(receiving)
            .into_iter()
            .map(Result::unwrap);
        assert_eq!(received.collect::<Vec<_>>(), (0..MANY).collect::<Vec<_>>());
        sending.join().unwrap();
    });
}

#[test]
fn crossbeam_channels_bounded_unbounded_and_rendezvous() {
    on_one_os_thread(|| {
        for bound in [Some(0), Some(1), None] {
            let (sender, receiver) = match bound {
                Some(bound) => crossbeam_channel::bounded(bound),
                None => crossbeam_channel::unbounded(),
            };
            let sum = Arc::new(AtomicUsize::new(0));
            let receiving: Vec<_> = (0..4)
                .map(|_| {
                    let (receiver, sum) = (receiver.clone(), Arc::clone(&sum));
                    greenroom::spawn(move || {
                        receiver.iter().for_each(|n| {
                            sum.fetch_add(n, Ordering::Relaxed);
                        });
                    })
                })
                .collect();
            drop(receiver);
            let sender = Arc::new(sender);
            let (_, _) = many(100, move |n| sender.send(n).unwrap());
            greenroom::joinall(receiving);
            assert_eq!(sum.load(Ordering::Relaxed), 4950, "{bound:?}");
        }
    });
}

#[test]
fn crossbeam_select_waits_for_the_first_of_two() {
    on_one_os_thread(|| {
        let (early, first) = crossbeam_channel::bounded(0);
        let (_late, second) = crossbeam_channel::bounded::<i32>(0);
        let sends = greenroom::spawn(move || {
            greenroom::sleep(Duration::from_millis(5));
            early.send(1).unwrap();
        });
        crossbeam_channel::select! {
            recv(first) -> value => assert_eq!(value, Ok(1)),
            recv(second) -> _ => unreachable!("nobody sends there"),
        }
        sends.join().unwrap();
    });
}

#[test]
fn parking_lot_locks_under_contention() {
    on_one_os_thread(|| {
        let shared = Arc::new((parking_lot::Mutex::new(0), parking_lot::Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waits = greenroom::spawn(move || {
            let mut count = theirs.0.lock();
            theirs.1.wait_while(&mut count, |count| *count < 10 * MANY);
            *count
        });
        many(MANY, move |_| {
            for _ in 0..10 {
                let mut count = shared.0.lock();
                let seen = *count;
                std::thread::yield_now();
                *count = seen + 1;
            }
            shared.1.notify_all();
        });
        assert_eq!(waits.join().unwrap(), 10 * MANY);
    });
}

#[test]
fn a_parking_lot_rwlock_lets_readers_in_together() {
    on_one_os_thread(|| {
        let lock = Arc::new(parking_lot::RwLock::new(0));
        let (_, all) = many(100, move |n| {
            if n % 10 == 0 {
                *lock.write() += 1;
            } else {
                let seen = lock.read();
                std::thread::sleep(Duration::from_millis(20));
                drop(seen);
            }
        });
        assert!(all < Duration::from_secs(1), "{all:?}");
    });
}

#[test]
fn a_pool_of_ten_serves_a_thousand() {
    struct Manager;
    impl r2d2::ManageConnection for Manager {
        type Connection = u32;
        type Error = std::io::Error;
        fn connect(&self) -> Result<u32, std::io::Error> {
            Ok(7)
        }
        fn is_valid(&self, _: &mut u32) -> Result<(), std::io::Error> {
            Ok(())
        }
        fn has_broken(&self, _: &mut u32) -> bool {
            false
        }
    }
    on_one_os_thread(|| {
        let pool = r2d2::Pool::builder().max_size(10).build(Manager).unwrap();
        let (sevens, _) = many(MANY, move |_| {
            let connection = pool.get().expect("a connection in time");
            std::thread::sleep(Duration::from_millis(1));
            *connection
        });
        assert_eq!(sevens.iter().sum::<u32>(), 7 * MANY as u32);
    });
}

#[test]
fn each_greenlet_may_block_on_a_tokio_runtime_of_its_own() {
    on_one_os_thread(|| {
        let (numbers, all) = many(100, |n| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                n
            })
        });
        assert_eq!(numbers.iter().sum::<usize>(), 4950);
        assert!(all < Duration::from_secs(2), "{all:?}");
    });
}
