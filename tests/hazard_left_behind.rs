//! What OS threads leave behind that end with parked greenlets: these and their stacks, which
//! something may point to, and nothing else. No descriptor, whoever still knows the hub; and nobody
//! writes to one that is closed, and perhaps another's by then.

mod hazard_support;

use hazard_support::bounded;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use greenroom::GreenletRef;
use greenroom::net::{TcpListener, TcpStream};
use hazard_support::{HOUR, alone_and_well, descriptors, ms};

/// An OS thread that ends with a greenlet parked; its name.
fn ends_with_one_parked() -> thread::JoinHandle<GreenletRef> {
    thread::spawn(|| {
        let parked = greenroom::spawn(|| greenroom::sleep(HOUR));
        greenroom::yield_now();
        parked.thread().clone()
    })
}

#[test]
fn threads_leave_no_descriptors_behind() {
    let _bound = bounded();
    alone_and_well("threads_leave_no_descriptors_behind", || {
        drop(ends_with_one_parked().join().unwrap());
        let before = descriptors();
        let names: Vec<_> = (0..50)
            .map(|_| ends_with_one_parked().join().unwrap())
            .collect();
        assert_eq!(descriptors(), before, "with their names kept");
        names.iter().for_each(GreenletRef::unpark);
        let hubs: Vec<_> = (0..50)
            .map(|_| thread::spawn(greenroom::hub::current).join().unwrap())
            .collect();
        assert_eq!(descriptors(), before, "with their hubs' handles kept");
        for hub in &hubs {
            assert!(hub.spawn(|| ()).join().is_err());
        }
        let withstands = || {
            let name = ends_with_one_parked();
            greenroom::run(|| drop(greenroom::spawn(|| ())));
            name.join().unwrap()
        };
        drop(thread::spawn(withstands).join().unwrap());
        assert_eq!(descriptors(), before, "with an inner hub");
    });
}

#[test]
fn a_stream_keeps_nothing_of_a_hub_that_has_ended() {
    let _bound = bounded();
    alone_and_well("a_stream_keeps_nothing_of_a_hub_that_has_ended", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut here = TcpStream::connect(address).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let before = descriptors();
        for _ in 0..10 {
            there = thread::spawn(move || {
                greenroom::spawn(move || {
                    let waited = greenroom::with_timeout(ms(5), || there.read(&mut [0]));
                    assert!(waited.is_err(), "it is registered there");
                    there
                })
                .join()
                .unwrap()
            })
            .join()
            .unwrap();
            assert_eq!(descriptors(), before);
        }
        here.write_all(b"x").unwrap();
        assert_eq!(there.read(&mut [0]).unwrap(), 1);
    });
}

/// Threads that wake the greenlets of a hub as it ends, and one that takes what numbers are free at
/// once: a bell that rang late would be eight bytes in one of its pipes.
#[test]
fn a_late_wake_writes_to_no_other_descriptor() {
    let _bound = bounded();
    const ROUNDS: usize = 400;
    alone_and_well("a_late_wake_writes_to_no_other_descriptor", || {
        let over = Arc::new(AtomicBool::new(false));
        let taker = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let pipes: Vec<_> = (0..4).map(|_| std::io::pipe().unwrap()).collect();
                    thread::yield_now();
                    for (mut reader, writer) in pipes {
                        drop(writer);
                        assert_eq!(
                            reader.read(&mut [0; 8]).unwrap(),
                            0,
                            "somebody else wrote here"
                        );
                    }
                }
            })
        };
        let (tell, told) = channel::<GreenletRef>();
        let waker = thread::spawn(move || {
            for name in told {
                for _ in 0..200 {
                    name.unpark();
                }
            }
        });
        for round in 0..ROUNDS {
            let tell = tell.clone();
            let ends = thread::spawn(move || {
                let parked = greenroom::spawn(greenroom::thread::park);
                let endless = greenroom::spawn(|| greenroom::sleep(HOUR));
                tell.send(endless.thread().clone()).unwrap();
                tell.send(parked.thread().clone()).unwrap();
                // Asleep for some of the wakes, and ended for the rest.
                greenroom::sleep(std::time::Duration::from_micros(round as u64 % 100));
            });
            ends.join().unwrap();
        }
        drop(tell);
        waker.join().unwrap();
        over.store(true, Ordering::Relaxed);
        taker.join().unwrap();
    });
}

/// A descriptor that is closed elsewhere is taken out of the epoll set of a hub that ends.
#[test]
fn a_late_close_touches_no_other_epoll_set() {
    let _bound = bounded();
    const ROUNDS: usize = 200;
    alone_and_well("a_late_close_touches_no_other_epoll_set", || {
        let before = descriptors();
        for _ in 0..ROUNDS {
            let (mut reader, writer) = greenroom::io::pipe().unwrap();
            let (give, take) = channel();
            let ends = thread::spawn(move || {
                let waits = greenroom::spawn(move || {
                    let waited = greenroom::with_timeout(ms(1), || reader.read(&mut [0]));
                    assert!(waited.is_err());
                    give.send(reader).unwrap();
                    greenroom::sleep(HOUR);
                });
                while !waits.is_finished() && greenroom::hub::stats().registrations == 0 {
                    greenroom::sleep(ms(1));
                }
                greenroom::sleep(ms(1));
            });
            let closes = thread::spawn(move || drop(take.recv()));
            ends.join().unwrap();
            closes.join().unwrap();
            drop(OwnedFd::from(writer));
        }
        assert_eq!(descriptors(), before);
    });
}
