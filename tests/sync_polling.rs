//! A loop of operations that never wait does not keep the other greenlets of its thread from
//! running, and can be killed; where nothing may switch, such operations do not.
mod gevent_support;

use gevent_support::bounded;
use greenroom::pool::Pool;
use greenroom::sync::mpsc::{channel, sync_channel};
use greenroom::sync::{
    Arc, AsyncResult, BoundedSemaphore, Channel, Condvar, Event, JoinableQueue, LazyLock,
    LifoQueue, Mutex, Once, OnceLock, PriorityQueue, Queue, RLock, RwLock, Semaphore,
};
use greenroom::{Deadline, hub, spawn, spawn_local, thread, threadpool, wait_any_timeout};
use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

const NO_TIME: Duration = Duration::ZERO;
/// Far more than an operation may be repeated before others run.
const MANY: usize = 100_000;

/// A loop, by its name, and one turn of it.
type Poll = (&'static str, Box<dyn FnMut()>);

fn poll(name: &'static str, turn: impl FnMut() + 'static) -> Poll {
    (name, Box::new(turn))
}

/// What finds nothing each time.
fn in_vain() -> Vec<Poll> {
    [
        of_channels(),
        of_queues(),
        of_locks(),
        of_results(),
        of_others(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_channels() -> Vec<Poll> {
    let (sender, receiver) = channel::<u8>();
    let (sync_sender, sync_receiver) = sync_channel::<u8>(1);
    sync_sender.send(1).unwrap();
    let (tx, rx) = channel::<u8>();
    let (hand, hand_too) = (Channel::<u8>::new(), Channel::<u8>::new());
    vec![
        poll("mpsc::Receiver::try_recv", move || {
            let _ = &sender;
            assert!(receiver.try_recv().is_err());
        }),
        poll("mpsc::Receiver::recv_timeout", move || {
            let _ = &tx;
            assert!(rx.recv_timeout(NO_TIME).is_err());
        }),
        poll("mpsc::SyncSender::try_send", move || {
            let _ = &sync_receiver;
            assert!(sync_sender.try_send(2).is_err());
        }),
        poll("Channel::try_get", move || assert!(hand.try_get().is_err())),
        poll("Channel::try_put", move || {
            assert!(hand_too.try_put(1).is_err());
        }),
    ]
}

fn of_queues() -> Vec<Poll> {
    let full = Queue::bounded(0);
    let (queue, lifo) = (Queue::<u8>::new(), LifoQueue::<u8>::new());
    let (heap, peeked) = (PriorityQueue::<u8>::new(), Queue::<u8>::new());
    let tasks = JoinableQueue::from_iter([1]);
    vec![
        poll("Queue::try_put", move || assert!(full.try_put(1).is_err())),
        poll("Queue::try_get", move || assert!(queue.try_get().is_err())),
        poll("Queue::try_peek", move || {
            assert!(peeked.try_peek().is_err());
        }),
        poll("LifoQueue::get_timeout", move || {
            assert!(lifo.get_timeout(NO_TIME).is_err());
        }),
        poll("PriorityQueue::try_get", move || {
            assert!(heap.try_get().is_err());
        }),
        poll("JoinableQueue::join_timeout", move || {
            assert!(!tasks.join_timeout(NO_TIME));
        }),
    ]
}

fn of_locks() -> Vec<Poll> {
    let (locked, written) = (Arc::new(Mutex::new(())), Arc::new(RwLock::new(())));
    std::mem::forget((locked.lock(), written.write()));
    let (locked_too, written_too) = (Arc::clone(&locked), Arc::clone(&written));
    let (taken, bounded_taken) = (Semaphore::new(0), BoundedSemaphore::new(1));
    std::mem::forget(bounded_taken.acquire());
    let changed = Condvar::new();
    vec![
        poll("Mutex::try_lock", move || {
            assert!(locked.try_lock().is_err());
        }),
        poll("Mutex::try_lock_for", move || {
            assert!(locked_too.try_lock_for(NO_TIME).is_err());
        }),
        poll("RwLock::try_read", move || {
            assert!(written.try_read().is_err());
        }),
        poll("RwLock::try_write", move || {
            assert!(written_too.try_write().is_err());
        }),
        poll("Semaphore::try_acquire", move || {
            assert!(taken.try_acquire().is_none());
        }),
        poll("BoundedSemaphore::acquire_timeout", move || {
            assert!(bounded_taken.acquire_timeout(NO_TIME).is_none());
        }),
        poll("Condvar::wait_timeout", move || {
            let lock = Mutex::new(());
            drop(changed.wait_timeout(lock.lock().unwrap(), NO_TIME));
        }),
    ]
}

fn of_results() -> Vec<Poll> {
    let (event, event_too) = (Event::new(), Event::new());
    let (result, result_too) = (AsyncResult::<u8>::new(), AsyncResult::<u8>::new());
    let (once, cell) = (Once::new(), OnceLock::<u8>::new());
    let lazy: LazyLock<u8> = LazyLock::new(|| 1);
    vec![
        poll("Event::is_set", move || assert!(!event.is_set())),
        poll("Event::wait_timeout", move || {
            assert!(!event_too.wait_timeout(NO_TIME));
        }),
        poll("AsyncResult::is_set", move || assert!(!result.is_set())),
        poll("AsyncResult::try_get", move || {
            assert_eq!(result_too.try_get(), None);
        }),
        poll("Once::is_completed", move || assert!(!once.is_completed())),
        poll("OnceLock::get", move || assert_eq!(cell.get(), None)),
        poll("LazyLock::get", move || {
            assert_eq!(LazyLock::get(&lazy), None);
        }),
    ]
}

fn of_others() -> Vec<Poll> {
    let parked = Rc::new(spawn(thread::park));
    let parked_too = Rc::clone(&parked);
    let pool = Pool::new(1);
    assert!(pool.try_spawn(thread::park).is_ok());
    let later = Deadline::after(Duration::from_secs(3600));
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let job = threadpool::spawn(move || ended.recv());
    vec![
        poll("Greenlet::is_finished", move || {
            assert!(!parked.is_finished());
        }),
        poll("wait_any_timeout", move || {
            assert_eq!(wait_any_timeout(&[&*parked_too], NO_TIME), None);
        }),
        poll("Pool::try_spawn", move || {
            assert!(pool.try_spawn(|| ()).is_err());
        }),
        poll("Deadline::has_passed", move || assert!(!later.has_passed())),
        poll("Job::is_finished", move || {
            let _ = &end;
            assert!(!job.is_finished());
        }),
        poll("park_timeout", || thread::park_timeout(NO_TIME)),
        a_nonblocking_read(),
    ]
}

fn a_nonblocking_read() -> Poll {
    let (mut reader, writer) = greenroom::os::unix::net::UnixStream::pair().unwrap();
    reader.set_nonblocking(true).unwrap();
    poll("a read that would block", move || {
        let _ = &writer;
        let error = reader.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    })
}

/// What succeeds each time.
fn in_plenty() -> Vec<Poll> {
    let (sender, receiver) = channel::<u8>();
    let queue = Queue::<u8>::new();
    let (lock, free) = (RLock::new(()), Mutex::new(()));
    let permits = Semaphore::new(1);
    vec![
        poll("mpsc::Sender::send", move || {
            let _ = &receiver;
            sender.send(1).unwrap();
        }),
        poll("Queue::try_put", move || queue.try_put(1).unwrap()),
        poll("Mutex::try_lock, free", move || drop(free.try_lock())),
        poll("RLock::try_lock", move || {
            assert!(lock.try_lock().is_some())
        }),
        poll("Semaphore::try_acquire, free", move || {
            assert!(permits.try_acquire().is_some());
        }),
    ]
}

#[test]
fn a_loop_that_never_waits_lets_its_neighbour_run() {
    let _bound = bounded();
    for (name, mut turn) in in_vain().into_iter().chain(in_plenty()) {
        let has_run = Rc::new(Cell::new(false));
        let theirs = Rc::clone(&has_run);
        let neighbour = spawn_local(move || theirs.set(true));
        let turns = (0..MANY).take_while(|_| !has_run.get());
        let turns = turns.map(|_| turn()).count();
        assert!(turns < MANY, "{name} has kept its neighbour from running");
        neighbour.join().unwrap();
    }
}

#[test]
fn a_loop_that_never_waits_is_killed() {
    let _bound = bounded();
    for (name, mut turn) in in_vain().into_iter().chain(in_plenty()) {
        let endless = spawn_local(move || (0..MANY).for_each(|_| turn()));
        greenroom::yield_now();
        endless.kill();
        assert!(
            endless.join().is_err_and(|error| error.is_killed()),
            "{name}"
        );
    }
}

#[test]
fn a_channel_that_is_filled_without_a_pause_stays_small() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let producer = spawn_local(move || {
        while count.get() < MANY && sender.send(()).is_ok() {
            count.set(count.get() + 1);
        }
    });
    let mut backlog_max = 0;
    for received in 0..MANY {
        receiver.recv().unwrap();
        backlog_max = backlog_max.max(sent.get() - received);
    }
    producer.join().unwrap();
    assert!(backlog_max < 1000, "{backlog_max} items were waiting");
}

/// Sends more often than it takes for others to run.
struct Sends(greenroom::sync::mpsc::Sender<u8>);

impl Drop for Sends {
    fn drop(&mut self) {
        (0..1000).for_each(|n| self.0.send(n as u8).unwrap());
    }
}

#[test]
fn a_destructor_that_sends_during_an_unwind_is_not_left() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let has_run = Rc::new(Cell::new(false));
    let theirs = Rc::clone(&has_run);
    let neighbour = spawn_local(move || theirs.set(true));
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        let _sends = Sends(sender);
        panic!("on purpose");
    }));
    assert!(unwound.is_err() && !has_run.get());
    assert_eq!(receiver.try_iter().take(1000).count(), 1000);
    neighbour.join().unwrap();
}

#[test]
fn what_a_hub_calls_sends_without_a_switch() {
    let _bound = bounded();
    let (sender, receiver) = channel();
    let subscription = hub::subscribe(move |_| (0..200).for_each(|_| sender.send(()).unwrap()));
    let greenlets = (0..10).map(|_| spawn(greenroom::yield_now));
    greenroom::joinall(greenlets.collect::<Vec<_>>());
    drop(subscription);
    assert!(receiver.iter().count() >= 10 * 200);
}

#[test]
fn a_thread_without_a_hub_polls_as_ever() {
    let _bound = bounded();
    let count = std::thread::spawn(|| {
        let (sender, receiver) = channel();
        (0..1000).for_each(|n| sender.send(n).unwrap());
        receiver.try_iter().count()
    });
    assert_eq!(count.join().unwrap(), 1000);
}
