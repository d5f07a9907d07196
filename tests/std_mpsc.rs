//! What std asks of its own channels (library/std/tests/sync/mpsc.rs and mpsc_sync.rs), re-written
//! in our words, not copied, for greenlets of one hub and for OS threads.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::sync::mpsc::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError,
    TrySendError, channel, sync_channel,
};
use greenroom::{sim, sleep, spawn, yield_now};
use std::error::Error;
use std::sync::Arc;
use std::thread;

/// Sends, and waits for room or a hand.
type Sending<T> = Box<dyn Fn(T) -> Result<(), SendError<T>> + Send>;

/// Channels of all kinds.
fn all_kinds<T: Send + 'static>() -> Vec<(Sending<T>, Receiver<T>)> {
    let (sender, receiver) = channel();
    let send: Sending<T> = Box::new(move |item| sender.send(item));
    let mut kinds = vec![(send, receiver)];
    for bound in [0, 1, 3] {
        let (sender, receiver) = sync_channel(bound);
        kinds.push((Box::new(move |item| sender.send(item)), receiver));
    }
    kinds
}

#[test]
fn what_is_sent_is_received() {
    let _bound = bounded();
    for (send, receiver) in all_kinds() {
        let sender = spawn(move || send(1));
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(receiver.recv(), Err(RecvError));
    }
}

#[test]
fn what_is_sent_by_another_thread_is_received() {
    let _bound = bounded();
    for (send, receiver) in all_kinds() {
        let sender = thread::spawn(move || (0..1000).try_for_each(send));
        assert!(receiver.iter().eq(0..1000));
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn all_senders_of_a_shared_channel_are_heard() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || (0..500).for_each(|_| sender.send(1).unwrap()))
        })
        .collect();
    drop(sender);
    assert_eq!(receiver.iter().sum::<u32>(), 8 * 500);
    threads.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn sending_fails_when_the_receiver_is_gone() {
    let _bound = bounded();
    for (send, receiver) in all_kinds() {
        drop(receiver);
        assert_eq!(send("back"), Err(SendError("back")));
    }
    let (sender, receiver) = sync_channel(1);
    drop(receiver);
    assert_eq!(sender.try_send(1), Err(TrySendError::Disconnected(1)));
}

#[test]
fn sending_fails_when_the_receiver_goes_meanwhile() {
    let _bound = bounded();
    for (send, receiver) in all_kinds() {
        let sender = thread::spawn(move || while send(()).is_ok() {});
        receiver.recv().unwrap();
        drop(receiver);
        sender.join().unwrap();
    }
}

#[test]
fn receiving_fails_when_the_sender_goes_meanwhile() {
    let _bound = bounded();
    for (send, receiver) in all_kinds::<u8>() {
        let waiter = spawn(move || receiver.recv());
        yield_now();
        drop(send);
        assert_eq!(waiter.join().unwrap(), Err(RecvError));
    }
}

#[test]
fn what_is_left_is_received_after_the_last_sender_is_gone() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let second = sender.clone();
    sender.send(1).unwrap();
    drop(sender);
    second.send(2).unwrap();
    drop(second);
    assert!(receiver.into_iter().eq([1, 2]));
}

#[test]
fn what_is_left_is_dropped_with_the_receiver_not_with_the_sender() {
    let _bound = bounded();
    let item = Arc::new(());
    let (sender, receiver) = channel();
    sender.send(Arc::clone(&item)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&item), 1);
    assert!(sender.send(Arc::clone(&item)).is_err());
    assert_eq!(Arc::strong_count(&item), 1);
    let (sender, receiver) = sync_channel(2);
    sender.send(Arc::clone(&item)).unwrap();
    drop((sender, receiver));
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn trying_to_receive_tells_empty_from_disconnected() {
    let _bound = bounded();
    for bound in [None, Some(0), Some(1)] {
        let (senders, receiver) = match bound {
            None => {
                let (sender, receiver) = channel::<u8>();
                ((Some(sender), None), receiver)
            }
            Some(bound) => {
                let (sender, receiver) = sync_channel(bound);
                ((None, Some(sender)), receiver)
            }
        };
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(senders);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    }
}

#[test]
fn trying_to_send_tells_full_from_disconnected() {
    let _bound = bounded();
    let (sender, receiver) = sync_channel(1);
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(sender.try_send(3), Ok(()));
    drop(receiver);
    assert_eq!(sender.try_send(4), Err(TrySendError::Disconnected(4)));
}

#[test]
fn trying_to_send_from_hand_to_hand_needs_somebody_who_waits() {
    let _bound = bounded();
    let (sender, receiver) = sync_channel(0);
    assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
    let waiter = spawn(move || receiver.recv());
    yield_now();
    assert_eq!(sender.try_send(2), Ok(()));
    assert_eq!(waiter.join().unwrap(), Ok(2));
    assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
}

#[test]
fn sending_from_hand_to_hand_waits_for_the_hand() {
    let _bound = bounded();
    sim::run(0, || {
        let (sender, receiver) = sync_channel(0);
        let sending = spawn(move || sender.send(1));
        sleep(ms(10));
        assert!(!sending.is_finished());
        assert_eq!(receiver.recv(), Ok(1));
        assert_eq!(sending.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_full_channel_makes_its_sender_wait() {
    let _bound = bounded();
    sim::run(0, || {
        let (sender, receiver) = sync_channel(2);
        let sending = spawn(move || (0..4).try_for_each(|n| sender.send(n)));
        sleep(ms(10));
        assert!(!sending.is_finished());
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [2, 3]);
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn receiving_with_a_limit_tells_late_from_disconnected() {
    let _bound = bounded();
    sim::run(0, || {
        let (sender, receiver) = channel();
        let before = greenroom::now();
        assert_eq!(
            receiver.recv_timeout(ms(10)),
            Err(RecvTimeoutError::Timeout)
        );
        assert_eq!(greenroom::now() - before, ms(10));
        sender.send(1).unwrap();
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        let later = spawn(move || {
            sleep(ms(5));
            sender.send(2).unwrap();
        });
        assert_eq!(receiver.recv_timeout(ms(10)), Ok(2));
        later.join().unwrap();
        assert_eq!(
            receiver.recv_timeout(LONG),
            Err(RecvTimeoutError::Disconnected)
        );
    });
}

#[test]
fn many_limits_that_pass_while_others_send_lose_nothing() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let sending = thread::spawn(move || {
        for n in 0..300 {
            thread::sleep(std::time::Duration::from_micros(50));
            sender.send(n).unwrap();
        }
    });
    let mut got = Vec::new();
    loop {
        match receiver.recv_timeout(std::time::Duration::from_micros(20)) {
            Ok(n) => got.push(n),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    sending.join().unwrap();
    assert!(got.into_iter().eq(0..300));
}

#[test]
fn iterators_end_where_std_says() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    (0..5).for_each(|n| sender.send(n).unwrap());
    let broken_off: Vec<_> = receiver.iter().take_while(|n| *n < 2).collect();
    assert_eq!(broken_off, [0, 1]);
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        [3, 4],
        "the one that ended it is gone"
    );
    sender.send(5).unwrap();
    drop(sender);
    let mut borrowed = Vec::new();
    for n in &receiver {
        borrowed.push(n);
    }
    assert_eq!(borrowed, [5]);
    assert_eq!(receiver.into_iter().next(), None);
}

#[test]
fn a_channel_may_be_sent_through_a_channel() {
    let _bound = bounded();
    let (sender, receiver) = channel::<Receiver<u8>>();
    let (inner, inside) = channel();
    sender.send(inside).unwrap();
    inner.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap().recv(), Ok(7));
}

#[test]
fn a_hundred_thousand_messages_are_no_burden() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    (0..100_000).for_each(|n| sender.send(n).unwrap());
    (0..100_000).for_each(|n| assert_eq!(receiver.recv(), Ok(n)));
}

#[test]
fn the_errors_are_those_of_std() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    drop(receiver);
    let error: std::sync::mpsc::SendError<u8> = sender.send(1).unwrap_err();
    assert_eq!(error.to_string(), "sending on a closed channel");
    let boxed: Box<dyn Error> = Box::new(error);
    assert!(boxed.is::<SendError<u8>>());
}

#[test]
fn the_ends_go_where_they_go_in_std() {
    let _bound = bounded();
    fn send<T: Send>() {}
    fn share<T: Sync>() {}
    send::<Sender<u8>>();
    send::<SyncSender<u8>>();
    send::<Receiver<u8>>();
    share::<Sender<u8>>();
    share::<SyncSender<u8>>();
    let (sender, receiver) = channel::<u8>();
    let (sync_sender, _) = sync_channel::<u8>(0);
    let text = format!(
        "{sender:?} {sync_sender:?} {receiver:?} {:?}",
        receiver.iter()
    );
    assert!(
        text.starts_with("Sender { .. } SyncSender { .. } Receiver { .. }"),
        "{text}"
    );
}
