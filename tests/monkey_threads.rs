//! `std::thread` on greenlets: written for OS threads, and run on one.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::monkey;
use monkey_support::{kernel_id, on_one_os_thread};

#[test]
fn threads_are_greenlets_of_one_os_thread() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let here = kernel_id();
        let threads: Vec<_> = (0..100).map(|_| thread::spawn(kernel_id)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), here);
        }
    });
}

#[test]
fn they_have_names_and_ids_of_their_own() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let builder = thread::Builder::new().name("worker".into());
        let named = builder
            .spawn(|| {
                let this = thread::current();
                (this.name().map(String::from), this.id())
            })
            .unwrap();
        let id = named.thread().id();
        assert_eq!(named.join().unwrap(), (Some("worker".into()), id));
        assert_ne!(id, thread::current().id());
    });
}

#[test]
fn a_panic_is_what_the_join_returns() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let failed = thread::spawn(|| -> () { std::panic::resume_unwind(Box::new(7)) });
        let payload = failed.join().unwrap_err();
        assert_eq!(payload.downcast_ref::<i32>(), Some(&7));
    });
}

#[test]
fn sleeps_go_on_side_by_side() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let begin = Instant::now();
        let sleepers: Vec<_> = (0..50)
            .map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(100))))
            .collect();
        sleepers.into_iter().for_each(|one| one.join().unwrap());
        assert!(begin.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn park_and_unpark_name_the_one_that_is_meant() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let parked: Vec<_> = (0..10)
            .map(|n| {
                let order = Arc::clone(&order);
                thread::spawn(move || {
                    thread::park();
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5));
        for one in parked.iter().rev() {
            one.thread().unpark();
            thread::sleep(Duration::from_millis(2));
        }
        parked.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(*order.lock().unwrap(), (0..10).rev().collect::<Vec<_>>());
    });
}

#[test]
fn channels_work_in_all_their_forms() {
    let _bound = bounded();
    on_one_os_thread(|| {
        // The receiver first.
        let (sender, receiver) = mpsc::channel();
        let receives = thread::spawn(move || receiver.iter().sum::<i32>());
        thread::sleep(Duration::from_millis(5));
        (1..=100).for_each(|n| sender.send(n).unwrap());
        drop(sender);
        assert_eq!(receives.join().unwrap(), 5050);
        for bound in [0, 1] {
            let (sender, receiver) = mpsc::sync_channel(bound);
            let sends = thread::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap()));
            assert_eq!(
                receiver.iter().collect::<Vec<_>>(),
                (0..100).collect::<Vec<_>>()
            );
            sends.join().unwrap();
        }
        let (sender, receiver) = mpsc::channel::<()>();
        let limit = Duration::from_millis(10);
        let timeout = receiver.recv_timeout(limit);
        assert_eq!(timeout, Err(mpsc::RecvTimeoutError::Timeout));
        drop(sender);
    });
}

#[test]
fn locks_conditions_and_barriers_are_right_under_contention() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let count = Arc::new((Mutex::new(0), Condvar::new()));
        let barrier = Arc::new(Barrier::new(20));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let (count, barrier) = (Arc::clone(&count), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    for _ in 0..10 {
                        let mut held = count.0.lock().unwrap();
                        let seen = *held;
                        thread::yield_now();
                        *held = seen + 1;
                    }
                    count.1.notify_one();
                })
            })
            .collect();
        let held = count.0.lock().unwrap();
        let held = count.1.wait_while(held, |count| *count < 200).unwrap();
        assert_eq!(*held, 200);
        drop(held);
        threads.into_iter().for_each(|one| one.join().unwrap());
    });
}

#[test]
fn scoped_threads_borrow() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let text = String::from("borrowed");
        let count = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    thread::sleep(Duration::from_millis(2));
                    count.fetch_add(text.len(), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(count.into_inner(), 80);
    });
}

#[test]
fn thread_locals_and_their_destructors_are_per_thread() {
    let _bound = bounded();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Noisy;
    impl Drop for Noisy {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static VALUE: (Cell<u32>, Noisy) = const { (Cell::new(0), Noisy) });
    on_one_os_thread(|| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                thread::spawn(move || {
                    VALUE.with(|value| value.0.set(n));
                    thread::yield_now();
                    VALUE.with(|value| value.0.get())
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), n as u32);
        }
        assert_eq!(DROPS.load(Ordering::Relaxed), 100);
    });
}

#[test]
fn a_detached_thread_runs_on_and_its_block_is_used_again() {
    let _bound = bounded();
    on_one_os_thread(|| {
        static RAN: AtomicUsize = AtomicUsize::new(0);
        for _ in 0..1000 {
            drop(thread::spawn(|| RAN.fetch_add(1, Ordering::Relaxed)));
        }
        while RAN.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
    });
}

#[test]
fn one_that_is_killed_before_it_runs_still_lets_its_joiner_go() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let joined = greenroom::run(|| thread::spawn(|| 7));
        // `run` has killed what was left; the thread has begun all the same, and ended.
        assert_eq!(joined.join().unwrap(), 7);
    });
}

#[test]
fn threads_of_other_os_threads_join_them() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (sender, receiver) = mpsc::channel();
        let green = thread::spawn(|| thread::sleep(Duration::from_millis(20)));
        let real = monkey::native(|| {
            thread::spawn(move || {
                let joined = green.join().is_ok();
                sender.send(joined).unwrap();
            })
        });
        assert!(receiver.recv().unwrap());
        real.join().unwrap();
    });
}

#[test]
fn a_server_with_a_thread_for_each_connection_needs_one_os_thread() {
    let _bound = bounded();
    const CLIENTS: usize = 300;
    on_one_os_thread(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for peer in listener.incoming() {
                let mut peer = peer.unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(length @ 1..) = peer.read(&mut buffer) {
                        peer.write_all(&buffer[..length]).unwrap();
                    }
                });
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let text = format!("client {n}");
                    let mut back = vec![0; text.len()];
                    for _ in 0..3 {
                        stream.write_all(text.as_bytes()).unwrap();
                        thread::sleep(Duration::from_millis(5));
                        stream.read_exact(&mut back).unwrap();
                        assert_eq!(back, text.as_bytes());
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}
