//! What std has on nightly only, under its names.
mod gevent_support;

use gevent_support::{bounded, ms};
use greenroom::net::{TcpListener, TcpStream};
use greenroom::os::linux::net::TcpStreamExt;
use greenroom::os::unix::net::{UnixDatagram, UnixStream};
use greenroom::sync::mpsc::{self, RecvTimeoutError, SendTimeoutError, TrySendError, sync_channel};
use greenroom::sync::{
    Arc, MappedMutexGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard, Mutex, MutexGuard,
    ReentrantLock, RwLock, RwLockReadGuard, RwLockWriteGuard, mpmc, oneshot,
};
use greenroom::{Deadline, now, sim, sleep, spawn, wait_any, yield_now};
use std::cell::Cell;
use std::io::{Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

fn panics(f: impl FnOnce()) {
    assert!(panic::catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_mapped_guard_holds_its_lock() {
    let _bound = bounded();
    let mutex = Mutex::new((1, [2, 3]));
    let part = MutexGuard::map(mutex.lock().unwrap(), |pair| &mut pair.1);
    let mut item = MappedMutexGuard::map(part, |list| &mut list[1]);
    assert!(mutex.try_lock().is_err());
    *item += 1;
    assert_eq!(
        (format!("{item}"), format!("{item:?}")),
        ("4".into(), "4".into())
    );
    drop(item);
    assert_eq!(*mutex.try_lock().unwrap(), (1, [2, 4]));

    let lock = RwLock::new((1, "text"));
    let read = RwLockReadGuard::map(lock.read().unwrap(), |pair| &pair.1);
    let byte = MappedRwLockReadGuard::map(read, |text| &text.as_bytes()[0]);
    assert!(lock.try_write().is_err() && lock.try_read().is_ok());
    assert_eq!(*byte, b't');
    drop(byte);
    let written = RwLockWriteGuard::map(lock.write().unwrap(), |pair| &mut pair.0);
    let mut written = MappedRwLockWriteGuard::map(written, |number| number);
    assert!(lock.try_read().is_err());
    *written = 5;
    drop(written);
    assert_eq!(lock.into_inner().unwrap(), (5, "text"));
}

#[test]
fn a_part_that_is_not_found_gives_the_guard_back() {
    let _bound = bounded();
    let mutex = Mutex::new(vec![1]);
    let guard = MutexGuard::filter_map(mutex.lock().unwrap(), |list| list.get_mut(1)).unwrap_err();
    assert!(mutex.try_lock().is_err());
    let item = MutexGuard::filter_map(guard, |list| list.first_mut()).unwrap();
    let item = MappedMutexGuard::filter_map(item, |_| None::<&mut i32>).unwrap_err();
    assert_eq!(*item, 1);
    drop(item);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_panic_while_mapping_releases_and_poisons_what_writes() {
    let _bound = bounded();
    let mutex = Mutex::new(1);
    panics(|| {
        let _never = MutexGuard::map(mutex.lock().unwrap(), |_| -> &mut i32 {
            panic!("on purpose")
        });
    });
    assert!(
        mutex.is_poisoned()
            && mutex.try_lock().is_err_and(|error| {
                matches!(error, greenroom::sync::TryLockError::Poisoned(_))
            })
    );
    mutex.clear_poison();
    panics(|| {
        let _part = MutexGuard::map(mutex.lock().unwrap(), |number| number);
        panic!("on purpose");
    });
    assert!(mutex.is_poisoned());

    let lock = RwLock::new(1);
    panics(|| {
        let _part = RwLockReadGuard::map(lock.read().unwrap(), |number| number);
        panic!("on purpose");
    });
    assert!(lock.try_write().is_ok(), "a reader does not poison");
    panics(|| {
        let _part = RwLockWriteGuard::map(lock.write().unwrap(), |number| number);
        panic!("on purpose");
    });
    assert!(lock.is_poisoned());
}

#[test]
fn a_kill_with_a_mapped_guard_held_hands_the_lock_on() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new((1, 2)));
    let theirs = Arc::clone(&mutex);
    let holder = spawn(move || {
        let _part = MutexGuard::map(theirs.lock().unwrap(), |pair| &mut pair.0);
        greenroom::thread::park();
    });
    yield_now();
    let theirs = Arc::clone(&mutex);
    let waiter = spawn(move || theirs.lock().unwrap().1);
    yield_now();
    holder.kill();
    assert_eq!(waiter.join().unwrap(), 2);
}

#[test]
fn a_mapped_read_guard_is_covariant() {
    let _bound = bounded();
    fn shorter<'a, 'b, 'long: 'b>(
        guard: MappedRwLockReadGuard<'a, &'long str>,
    ) -> MappedRwLockReadGuard<'a, &'b str> {
        guard
    }
    let lock = RwLock::new(("static", 1));
    let guard = RwLockReadGuard::map(lock.read().unwrap(), |pair| &pair.0);
    assert_eq!(*shorter(guard), "static");
}

#[test]
fn a_value_is_read_and_changed_in_one_call() {
    let _bound = bounded();
    let (mutex, lock) = (Mutex::new(String::from("a")), RwLock::new(1));
    assert_eq!(mutex.get_cloned().unwrap(), "a");
    mutex.set("b".into()).unwrap();
    assert_eq!(mutex.replace("c".into()).unwrap(), "b");
    lock.set(2).unwrap();
    assert_eq!(
        (lock.replace(3).unwrap(), lock.get_cloned().unwrap()),
        (2, 3)
    );
    panics(|| {
        let _held = (mutex.lock(), lock.write());
        panic!("on purpose");
    });
    assert!(mutex.get_cloned().is_err() && lock.get_cloned().is_err());
    assert_eq!(mutex.set("d".into()).unwrap_err().into_inner(), "d");
    assert_eq!(lock.replace(4).unwrap_err().into_inner(), 4);
    mutex.clear_poison();
    assert_eq!(mutex.into_inner().unwrap(), "c");
}

#[test]
fn a_former_value_is_dropped_when_the_lock_is_free() {
    let _bound = bounded();
    struct Locks(Option<Arc<Mutex<Locks>>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            if let Some(mutex) = &self.0 {
                assert!(mutex.try_lock().is_ok());
            }
        }
    }
    let mutex = Arc::new(Mutex::new(Locks(None)));
    mutex.set(Locks(Some(Arc::clone(&mutex)))).unwrap();
    mutex.set(Locks(None)).unwrap();
}

#[test]
fn a_send_with_a_limit_gives_the_item_back() {
    let _bound = bounded();
    for bound in [0, 1] {
        let (sender, receiver) = sync_channel(bound);
        (0..bound).for_each(|_| sender.send(0).unwrap());
        let late = sender.send_timeout(7, ms(1)).unwrap_err();
        assert_eq!(late, SendTimeoutError::Timeout(7));
        assert_eq!(late.to_string(), "timed out waiting on send operation");
        let getter = spawn(move || {
            sleep(ms(1));
            (receiver.recv().unwrap(), receiver)
        });
        sender.send_timeout(8, Duration::from_secs(60)).unwrap();
        drop(getter.join().unwrap());
        let gone = sender.send_timeout(9, ms(1)).unwrap_err();
        assert_eq!(gone, SendTimeoutError::Disconnected(9));
    }
}

#[test]
fn a_reentrant_lock_is_under_its_name() {
    let _bound = bounded();
    let lock = ReentrantLock::new(Cell::new(1));
    let (one, other) = (lock.lock(), lock.try_lock().unwrap());
    one.set(other.get() + 1);
    assert_eq!(lock.lock().get(), 2);
}

#[test]
fn unix_sockets_peek_and_tell_their_peer() {
    let _bound = bounded();
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let (mut some, mut all) = ([0; 2], [0; 4]);
    let peeker = spawn(move || {
        assert_eq!(there.peek(&mut some).unwrap(), 2);
        there.read_exact(&mut all).unwrap();
        (some, all)
    });
    yield_now();
    here.write_all(b"abcd").unwrap();
    assert_eq!(peeker.join().unwrap(), (*b"ab", *b"abcd"));
    let cred = here.peer_cred().unwrap();
    assert_eq!(cred.pid, Some(std::process::id() as i32));
    // SAFETY: these take nothing.
    assert_eq!((cred.uid, cred.gid), unsafe {
        (libc::geteuid(), libc::getegid())
    });

    let (one, other) = UnixDatagram::pair().unwrap();
    one.send(b"datagram").unwrap();
    let mut buffer = [0; 16];
    assert_eq!(other.peek(&mut buffer).unwrap(), 8);
    assert_eq!(other.peek_from(&mut buffer).unwrap().0, 8);
    assert_eq!(other.recv(&mut buffer).unwrap(), 8);
    assert_eq!(&buffer[..8], b"datagram");
}

#[test]
fn options_of_a_connection_are_as_they_were_set() {
    let _bound = bounded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(stream.linger().unwrap(), None);
    for linger in [Some(Duration::from_secs(2)), Some(Duration::ZERO), None] {
        stream.set_linger(linger).unwrap();
        assert_eq!(stream.linger().unwrap(), linger);
    }
    for limit in [Duration::from_secs(1), Duration::ZERO] {
        stream.set_deferaccept(limit).unwrap();
        assert_eq!(stream.deferaccept().unwrap(), limit);
    }
}

#[test]
fn a_connection_that_lingers_for_no_time_is_reset() {
    let _bound = bounded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let error = accepted.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn each_item_is_received_by_one_of_the_receivers() {
    let _bound = bounded();
    let (sender, receiver) = mpmc::channel();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.into_iter().collect::<Vec<_>>())
        })
        .collect();
    // And one on another OS thread.
    let theirs = receiver.clone();
    let thread = std::thread::spawn(move || theirs.iter().collect::<Vec<_>>());
    assert!(receiver.same_channel(&receiver.clone()) && !receiver.is_disconnected());
    drop(receiver);
    for n in 0..1000 {
        sender.send(n).unwrap();
        yield_now();
    }
    drop(sender);
    let mut all = thread.join().unwrap();
    receivers
        .into_iter()
        .for_each(|one| all.extend(one.join().unwrap()));
    all.sort_unstable();
    assert!(all.into_iter().eq(0..1000));
}

#[test]
fn both_ends_of_an_mpmc_channel_tell_how_full_it_is() {
    let _bound = bounded();
    let (sender, receiver) = mpmc::sync_channel(2);
    assert_eq!((sender.capacity(), receiver.capacity()), (Some(2), Some(2)));
    assert!(sender.is_empty() && !receiver.is_full());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert!(sender.is_full() && receiver.is_full() && receiver.len() == 2);
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    drop(receiver);
    assert!(sender.is_disconnected());
    assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));

    let (sender, receiver) = mpmc::sync_channel::<u8>(0);
    assert!(sender.is_empty() && sender.is_full() && receiver.is_empty() && receiver.is_full());
    assert_eq!((sender.len(), receiver.capacity()), (0, Some(0)));
    let (other, unbounded) = mpmc::channel::<u8>();
    assert_eq!(
        (other.capacity(), other.is_full(), unbounded.is_full()),
        (None, false, false)
    );
    assert!(!sender.same_channel(&other) && other.same_channel(&other.clone()));
}

#[test]
fn waits_at_an_mpmc_channel_end_at_their_limit() {
    let _bound = bounded();
    sim::run(1, || {
        for bound in [0, 1] {
            let (sender, receiver) = mpmc::sync_channel(bound);
            let begin = now();
            let late = receiver.recv_deadline(begin + ms(30));
            assert_eq!(
                (late, now() - begin),
                (Err(RecvTimeoutError::Timeout), ms(30))
            );
            assert_eq!(receiver.recv_timeout(ms(5)), Err(RecvTimeoutError::Timeout));
            (0..bound).for_each(|_| sender.send(0).unwrap());
            let begin = now();
            let late = sender.send_deadline(7, begin + ms(30));
            assert_eq!(
                (late, now() - begin),
                (Err(SendTimeoutError::Timeout(7)), ms(30))
            );
            // A moment that is over is no reason not to take what is there.
            if bound > 0 {
                assert_eq!(receiver.recv_deadline(begin), Ok(0));
                assert_eq!(sender.send_deadline(8, begin), Ok(()));
            }
            drop(receiver);
            let gone = sender.send_timeout(9, ms(1));
            assert_eq!(gone, Err(SendTimeoutError::Disconnected(9)));
        }
    });
}

#[test]
fn a_receiver_that_was_killed_leaves_the_item_to_another() {
    let _bound = bounded();
    let (sender, receiver) = mpmc::channel();
    let theirs = receiver.clone();
    let first = spawn(move || theirs.recv());
    yield_now();
    let second = spawn(move || receiver.recv());
    yield_now();
    first.kill();
    assert!(first.join().unwrap_err().is_killed());
    sender.send(1).unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
}

#[test]
fn a_oneshot_delivers_one_item_or_says_why_not() {
    let _bound = bounded();
    let (sender, receiver) = oneshot::channel();
    let waits = spawn(move || receiver.recv());
    yield_now();
    sender.send(1).unwrap();
    assert_eq!(waits.join().unwrap(), Ok(1));

    let (sender, receiver) = oneshot::channel::<u8>();
    let waits = spawn(move || receiver.recv());
    yield_now();
    drop(sender);
    assert_eq!(waits.join().unwrap(), Err(mpmc::RecvError));

    let (sender, receiver) = oneshot::channel::<u8>();
    let error = receiver.try_recv().unwrap_err();
    assert_eq!(error.to_string(), "receiving on an empty oneshot channel");
    let oneshot::TryRecvError::Empty(receiver) = error else {
        panic!("the sender is there");
    };
    assert_eq!(wait_any(&[&receiver, &Deadline::after(ms(1))]), 1);
    drop(sender);
    assert_eq!(wait_any(&[&receiver, &Deadline::after(ms(1000))]), 0);
    let error = receiver.try_recv().unwrap_err();
    assert_eq!(error.to_string(), "receiving on a closed oneshot channel");
    assert_eq!(format!("{error:?}"), "TryRecvError(..)");

    let (sender, receiver) = oneshot::channel();
    drop(receiver);
    assert_eq!(sender.send("back").unwrap_err().0, "back");
}

#[test]
fn a_oneshot_gives_its_receiver_back_at_the_limit() {
    let _bound = bounded();
    sim::run(1, || {
        let (sender, receiver) = oneshot::channel();
        let begin = now();
        let Err(oneshot::RecvTimeoutError::Timeout(receiver)) = receiver.recv_timeout(ms(30))
        else {
            panic!("nothing was sent");
        };
        assert_eq!(now() - begin, ms(30));
        spawn(move || {
            sleep(ms(5));
            sender.send(1).unwrap();
        });
        assert_eq!(receiver.recv_deadline(begin + ms(60)).unwrap(), 1);
        assert_eq!(now() - begin, ms(35));
    });
}

#[test]
fn the_ends_of_channels_cross_an_unwind_as_those_of_std_do() {
    let _bound = bounded();
    fn crosses<T: panic::UnwindSafe + panic::RefUnwindSafe>(_: &T) {}
    let (one, other) = mpmc::channel::<Cell<u8>>();
    crosses(&one);
    crosses(&other);
    let (one, other) = oneshot::channel::<Cell<u8>>();
    crosses(&one);
    crosses(&other);
    let (one, other) = mpsc::channel::<Cell<u8>>();
    crosses(&one);
    crosses(&other);
    crosses(&sync_channel::<Cell<u8>>(1).0);
}
