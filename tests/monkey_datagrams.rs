//! Unix datagrams to a receiver whose queue is full.

mod monkey_support;

use monkey_support::bounded;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{green, ms, native, on_one_os_thread, os_thread, parks};

/// A socket with an abstract address that nothing else uses.
fn receiver() -> (UnixDatagram, SocketAddr) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenroom-datagrams-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    (UnixDatagram::bind_addr(&address).unwrap(), address)
}

/// A socket that is connected to nothing, after it has filled the queue of `to`.
fn full(to: &SocketAddr) -> UnixDatagram {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to_addr(b"fills", to).is_ok() {}
    sender.set_nonblocking(false).unwrap();
    sender
}

/// What this OS thread has used of the processor.
fn used() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Takes everything until it has seen `last` as often as it is sent.
fn take_until(receiver: &UnixDatagram, last: &[u8], times: usize) -> Vec<Vec<u8>> {
    let (mut all, mut seen) = (Vec::new(), 0);
    receiver
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    while seen < times {
        let mut buffer = [0; 16];
        let length = receiver.recv(&mut buffer).unwrap();
        seen += usize::from(&buffer[..length] == last);
        all.push(buffer[..length].to_vec());
    }
    all
}

#[test]
fn who_waits_for_room_uses_no_processor_and_goes_on_when_there_is_some() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let (receiver, address) = receiver();
            drop(full(&address));
            let senders = [(); 5].map(|()| {
                let address = address.clone();
                thread::spawn(move || {
                    let sender = UnixDatagram::unbound().unwrap();
                    for number in 0..40u8 {
                        sender.send_to_addr(&[number], &address).unwrap();
                    }
                    sender.send_to_addr(b"last", &address).unwrap();
                })
            });
            // A peer of its own that is connected, but not to the sender.
            let connected = UnixDatagram::unbound().unwrap();
            connected.connect_addr(&address).unwrap();
            let connected = thread::spawn(move || connected.send(b"connected").unwrap());
            thread::sleep(ms(100));
            let before = used();
            thread::sleep(ms(1000));
            let spent = used() - before;
            assert!(spent < ms(150), "{spent:?} of a second");
            let all = take_until(&receiver, b"last", 5);
            let count = |text: &[u8]| all.iter().filter(|one| *one == text).count();
            assert!((0..40).all(|number| count(&[number]) == 5));
            assert_eq!(count(b"connected"), 1);
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            connected.join().unwrap();
        });
    });
}

#[test]
fn room_made_by_another_os_thread_is_seen() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (receiver, address) = receiver();
        let sender = full(&address);
        let far = monkey_support::later(move || {
            take_until(&receiver, b"late", 1);
        });
        assert_eq!(
            parks(move || sender.send_to_addr(b"late", &address).unwrap()),
            4
        );
        far.join().unwrap();
    });
}

/// Fails as natively: at the timeout, and when the receiver goes.
fn ends() -> Vec<(ErrorKind, bool)> {
    let (receiver, address) = receiver();
    let sender = full(&address);
    sender.set_write_timeout(Some(ms(200))).unwrap();
    let begin = Instant::now();
    let late = sender.send_to_addr(b"x", &address).unwrap_err();
    let took = begin.elapsed();
    let mut results = vec![(late.kind(), took >= ms(190) && took < ms(2000))];

    sender.set_write_timeout(None).unwrap();
    let closes = os_thread(move || {
        thread::sleep(ms(100));
        drop(receiver);
    });
    let gone = sender.send_to_addr(b"x", &address).unwrap_err();
    results.push((gone.kind(), true));
    closes.join().unwrap();

    sender.set_nonblocking(true).unwrap();
    let (_receiver, address) = self::receiver();
    while sender.send_to_addr(b"fills", &address).is_ok() {}
    let begin = Instant::now();
    let full = sender.send_to_addr(b"x", &address).unwrap_err();
    results.push((full.kind(), begin.elapsed() < ms(100)));
    results
}

#[test]
fn it_fails_as_it_does_natively() {
    let _bound = bounded();
    let without = native(ends);
    on_one_os_thread(move || assert_eq!(green(ends), without));
}

/// Large datagrams fill the sender's own buffer first.
#[test]
fn the_senders_own_buffer_may_be_full_as_well() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let receivers = [(); 6].map(|()| receiver());
            let sender = UnixDatagram::unbound().unwrap();
            let addresses = receivers.each_ref().map(|(_, address)| address.clone());
            let sends = thread::spawn(move || {
                for round in 0..60 {
                    sender
                        .send_to_addr(&[1; 60_000], &addresses[round % 6])
                        .unwrap();
                }
            });
            thread::sleep(ms(100));
            for round in 0..60 {
                let mut buffer = vec![0; 60_000];
                assert_eq!(receivers[round % 6].0.recv(&mut buffer).unwrap(), 60_000);
            }
            sends.join().unwrap();
        });
    });
}

#[test]
fn a_full_receiver_does_not_hold_up_what_goes_elsewhere() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let ((slow, to_slow), (fast, to_fast)) = (receiver(), receiver());
            let sender = full(&to_slow);
            // The socket is known to the hub as well once somebody has waited for it.
            sender.set_read_timeout(Some(ms(1))).unwrap();
            assert_eq!(
                sender.recv(&mut [0]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            let waits = sender.try_clone().unwrap();
            let waits = thread::spawn(move || waits.send_to_addr(b"late", &to_slow).unwrap());
            thread::sleep(ms(20));
            sender.send_to_addr(b"soon", &to_fast).unwrap();
            assert_eq!(take_until(&fast, b"soon", 1).len(), 1);
            take_until(&slow, b"late", 1);
            assert_eq!(waits.join().unwrap(), 4);
        });
    });
}
