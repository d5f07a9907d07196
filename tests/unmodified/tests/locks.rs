//! Locks and channels that know threads only: between greenlets of one OS thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::Duration;
use unmodified::*;

#[test]
fn sleeps() {
    let nap = Duration::from_millis(500);
    on_one_os_thread(move || {
        let sleep = move |n| {
            thread::sleep(nap);
            n
        };
        assert_same_and_side_by_side("std::thread::sleep", Mode::ALL, sleep, |n| n);
    });
}

#[test]
fn locks_of_std_between_a_thousand() {
    on_one_os_thread(|| {
        let make = || {
            let (count, all_in) = (Mutex::new(0), Condvar::new());
            let shared = Arc::new((count, all_in, Barrier::new(MANY), RwLock::new(0)));
            let once = Arc::new(OnceLock::new());
            move |n: usize| {
                let (count, all_in, barrier, sum) = &*shared;
                let mut seen = count.lock().unwrap();
                // Held across a park, now and then.
                if n.is_multiple_of(100) {
                    thread::sleep(Duration::from_millis(1));
                }
                *seen += 1;
                if *seen == MANY {
                    all_in.notify_all();
                }
                drop(all_in.wait_while(seen, |count| *count < MANY).unwrap());
                *sum.write().unwrap() += n;
                barrier.wait();
                let made_by_one = *once.get_or_init(|| {
                    thread::sleep(Duration::from_millis(5));
                    7
                });
                (*sum.read().unwrap(), made_by_one)
            }
        };
        for mode in Mode::ALL {
            let (results, took) = mode.many(MANY, make());
            assert!(
                results.iter().all(|result| *result == (499_500, 7)),
                "{mode:?}"
            );
            eprintln!("std's locks, by {mode:?}: {took:.2?}");
        }
        assert!(
            natively(MANY, make())
                .0
                .iter()
                .all(|result| *result == (499_500, 7))
        );
    });
}

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
                thread::yield_now();
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
                thread::sleep(Duration::from_millis(20));
                drop(seen);
            }
        });
        assert!(all < Duration::from_secs(1), "{all:?}");
    });
}

/// A server takes no more than so many connections.
const POOL: usize = 10;

/// Connections to an echo server.
#[derive(Debug)]
struct Manager(SocketAddr);

impl r2d2::ManageConnection for Manager {
    type Connection = TcpStream;
    type Error = std::io::Error;

    fn connect(&self) -> Result<TcpStream, std::io::Error> {
        TcpStream::connect(self.0)
    }

    fn is_valid(&self, connection: &mut TcpStream) -> Result<(), std::io::Error> {
        connection.take_error().map(drop)
    }

    fn has_broken(&self, _: &mut TcpStream) -> bool {
        false
    }
}

#[test]
fn a_pool_of_ten_serves_a_thousand() {
    let server = echo_server(Duration::from_millis(20));
    on_one_os_thread(move || {
        let make = move || {
            let pool = r2d2::Pool::builder().max_size(POOL as u32);
            let pool = pool.build(Manager(server)).unwrap();
            move |n: usize| {
                let mut connection = pool.get().expect("a connection in time");
                assert!(pool.state().connections <= POOL as u32);
                connection.write_all(&n.to_be_bytes()).unwrap();
                let mut back = [0; 8];
                connection.read_exact(&mut back).unwrap();
                usize::from_be_bytes(back)
            }
        };
        // A hundred rounds of ten at once: three times as long as that, at most.
        let proof = Proof::of("r2d2, 10 connections").turns(MANY / POOL);
        proof.modes(Mode::WITH_IDENTITY).run_each(make, |n| n);
    });
}

#[test]
fn errors_of_a_pool() {
    let server = echo_server(Duration::ZERO);
    on_one_os_thread(move || {
        let said = same_failures(Mode::WITH_IDENTITY, move || {
            let pool = |to| {
                let pool = r2d2::Pool::builder().max_size(1);
                pool.connection_timeout(Duration::from_millis(100))
                    .build(Manager(to))
            };
            let refused = pool(NOBODY.parse().unwrap()).unwrap_err();
            let pool = pool(server).unwrap();
            let _the_only_one = pool.get().unwrap();
            vec![
                ("refused", told(refused)),
                ("late", told(pool.get().unwrap_err())),
            ]
        });
        assert!(said[0].1.contains("os error 111"), "{said:?}");
        assert!(said[1].1.starts_with("timed out"), "{said:?}");
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

/// Two at a time are enough to go wrong.
const NEEDS_IDENTITY: &[Case<Mode>] = &[
    ("std::sync::mpsc", |mode| {
        let (sender, receiver) = mpsc::channel();
        let ends = Arc::new((Mutex::new(sender), Mutex::new(receiver)));
        let (got, _) = mode.many(2, move |n| {
            if n == 0 {
                return ends.1.lock().unwrap().recv().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
            ends.0.lock().unwrap().send(7).unwrap();
            7
        });
        assert_eq!(got, [7, 7]);
    }),
    ("crossbeam-channel", |mode| {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let (got, _) = mode.many(2, move |n| {
            if n == 0 {
                return receiver.recv().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
            sender.send(7).unwrap();
            7
        });
        assert_eq!(got, [7, 7]);
    }),
    ("std::thread::park", |mode| {
        let parked = Mutex::new(Vec::new());
        let parked = Arc::new(parked);
        mode.many(3, move |n| {
            if n < 2 {
                parked.lock().unwrap().push(thread::current());
                return thread::park();
            }
            thread::sleep(Duration::from_millis(10));
            parked
                .lock()
                .unwrap()
                .iter()
                .for_each(thread::Thread::unpark);
        });
    }),
    ("parking_lot, contended", |mode| {
        let lock = Arc::new(parking_lot::Mutex::new(0));
        let theirs = Arc::clone(&lock);
        mode.many(20, move |_| {
            let mut count = theirs.lock();
            thread::sleep(Duration::from_millis(1));
            *count += 1;
        });
        assert_eq!(*lock.lock(), 20);
    }),
    ("tokio, a runtime in each", |mode| {
        let (numbers, _) = mode.many(2, |n| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().build().unwrap();
            runtime.block_on(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                n
            })
        });
        assert_eq!(numbers, [0, 1]);
    }),
    ("r2d2, contended", |mode| {
        let server = greenroom::monkey::native(|| echo_server(Duration::from_millis(5)));
        let pool = r2d2::Pool::builder()
            .max_size(2)
            .build(Manager(server))
            .unwrap();
        mode.many(20, move |_| {
            let mut connection = pool.get().unwrap();
            connection.write_all(b"x").unwrap();
            connection.read_exact(&mut [0]).unwrap();
        });
    }),
    ("reqwest::blocking", |mode| {
        let server = greenroom::monkey::native(|| http_server(Duration::from_millis(50)));
        let client = reqwest::blocking::Client::new();
        let (texts, _) = mode.many(4, move |n| {
            let response = client.get(format!("http://{server}/{n}")).send();
            response.expect("an answer").text().expect("a body")
        });
        assert_eq!(texts, ["/0", "/1", "/2", "/3"]);
    }),
];

#[test]
fn what_tells_threads_apart_needs_thread_locals_for_each() {
    only_with_identity(
        "what_tells_threads_apart_needs_thread_locals_for_each",
        NEEDS_IDENTITY,
    );
}
