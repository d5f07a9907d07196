//! The token of `park` and `unpark` belongs to the user: no wait of the library takes it, and none
//! leaves one behind. On threads without a hub it is std's token, in greenlets our own.

mod hazard_support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use greenroom::hub::HubHandle;
use greenroom::sync::{
    AsyncResult, Barrier, Condvar, Event, Mutex, Once, Queue, RLock, RwLock, Semaphore, mpsc,
};
use hazard_support::{bounded, ms};

const FAR: Duration = Duration::from_secs(30);

/// A wait of the library, to be ended by what it returns, elsewhere and a little later.
type Wait = fn(&HubHandle);

/// Runs `f` on another OS thread, once the caller waits, or nearly so.
fn soon(f: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(ms(5));
        f();
    });
}

const WAITS: &[(&str, Wait)] = &[
    ("join", |hub| {
        hub.spawn(|| greenroom::sleep(ms(5))).join().unwrap()
    }),
    ("joinall", |hub| {
        let pair = [1, 2].map(|_| hub.spawn(|| greenroom::sleep(ms(5))));
        assert_eq!(greenroom::joinall(pair).len(), 2);
    }),
    ("event", |_| {
        let event = Arc::new(Event::new());
        let theirs = Arc::clone(&event);
        soon(move || theirs.set());
        event.wait();
    }),
    ("mutex", |_| held(|lock: &Mutex<()>| drop(lock.lock()))),
    ("reentrant lock", |_| {
        held(|lock: &RLock<()>| drop(lock.lock()))
    }),
    ("read lock", |_| held_for_writing(|lock| drop(lock.read()))),
    ("write lock", |_| {
        held_for_writing(|lock| drop(lock.write()))
    }),
    ("condition", |_| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&pair);
        soon(move || {
            *theirs.0.lock().unwrap() = true;
            theirs.1.notify_all();
        });
        let guard = pair.0.lock().unwrap();
        drop(pair.1.wait_while(guard, |set| !*set).unwrap());
    }),
    ("barrier", |_| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = Arc::clone(&barrier);
        soon(move || {
            theirs.wait();
        });
        barrier.wait();
    }),
    ("once", |_| {
        let once = Arc::new(Once::new());
        let (theirs, runs) = (Arc::clone(&once), begins());
        let begun = Arc::clone(&runs);
        thread::spawn(move || {
            theirs.call_once(|| {
                begun.wait();
                thread::sleep(ms(5));
            });
        });
        runs.wait();
        once.call_once(|| unreachable!("it is done already"));
    }),
    ("semaphore", |_| {
        let permits = Arc::new(Semaphore::new(0));
        let theirs = Arc::clone(&permits);
        soon(move || theirs.release());
        permits.acquire().forget();
    }),
    ("queue", |_| {
        let queue = Arc::new(Queue::new());
        let theirs = Arc::clone(&queue);
        soon(move || theirs.put(1).unwrap());
        assert_eq!(queue.get().unwrap(), 1);
    }),
    ("room in a queue", |_| {
        let queue = Arc::new(Queue::bounded(1));
        queue.put(1).unwrap();
        let theirs = Arc::clone(&queue);
        soon(move || assert_eq!(theirs.get().unwrap(), 1));
        queue.put(2).unwrap();
    }),
    ("channel of std's kind", |_| {
        let (sender, receiver) = mpsc::channel();
        soon(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv().unwrap(), 1);
    }),
    ("result", |_| {
        let result = Arc::new(AsyncResult::new());
        let theirs = Arc::clone(&result);
        soon(move || theirs.set(1));
        assert_eq!(result.get(), 1);
    }),
    ("job", |_| {
        let pool = greenroom::threadpool::ThreadPool::new(1).unwrap();
        assert_eq!(
            pool.spawn(|| (thread::sleep(ms(5)), 1).1).join().unwrap(),
            1
        );
    }),
    ("future", |hub| {
        let greenlet = hub.spawn(|| greenroom::sleep(ms(5)));
        greenroom::block_on(greenlet).unwrap();
    }),
    ("timeout", |_| assert!(!Event::new().wait_timeout(ms(5)))),
    ("sleep", |_| greenroom::sleep(ms(5))),
];

/// Where a thread says that it has begun. Not a channel of std's: these do take the token.
fn begins() -> Arc<std::sync::Barrier> {
    Arc::new(std::sync::Barrier::new(2))
}

/// Waits for what is held elsewhere.
fn held<L: Default + Lock + Send + Sync + 'static>(wait: impl FnOnce(&L)) {
    let lock = Arc::new(L::default());
    let (theirs, runs) = (Arc::clone(&lock), begins());
    let begun = Arc::clone(&runs);
    thread::spawn(move || {
        theirs.hold(&mut || {
            begun.wait();
            thread::sleep(ms(5));
        });
    });
    runs.wait();
    wait(&lock);
}

fn held_for_writing(wait: impl FnOnce(&RwLock<()>)) {
    held(wait);
}

trait Lock {
    fn hold(&self, meanwhile: &mut dyn FnMut());
}

impl Lock for Mutex<()> {
    fn hold(&self, meanwhile: &mut dyn FnMut()) {
        let _guard = self.lock();
        meanwhile();
    }
}

impl Lock for RLock<()> {
    fn hold(&self, meanwhile: &mut dyn FnMut()) {
        let _guard = self.lock();
        meanwhile();
    }
}

impl Lock for RwLock<()> {
    fn hold(&self, meanwhile: &mut dyn FnMut()) {
        let _guard = self.write();
        meanwhile();
    }
}

/// Calls `f` with the hub of another OS thread.
fn with_hub_elsewhere(f: impl FnOnce(&HubHandle)) {
    let (tell, told) = channel();
    let hub = thread::spawn(move || {
        tell.send((greenroom::hub::current(), greenroom::current()))
            .unwrap();
        greenroom::thread::park();
    });
    let (handle, root) = told.recv().unwrap();
    f(&handle);
    root.unpark();
    hub.join().unwrap();
}

/// Checks one wait: `unpark` and `park` are those of the kind of thread that this is.
fn check((what, wait): (&str, Wait), hub: &HubHandle, unpark: fn(), park: fn(Duration)) {
    wait(hub);
    let before = Instant::now();
    park(ms(3));
    let least = ms(3).saturating_sub(ms(1));
    assert!(before.elapsed() >= least, "{what} has left a token behind");
    unpark();
    wait(hub);
    let before = Instant::now();
    park(FAR);
    assert!(before.elapsed() < FAR / 2, "{what} has taken the token");
}

fn check_all(hub: &HubHandle, unpark: fn(), park: fn(Duration)) {
    for wait in WAITS {
        check(*wait, hub, unpark, park);
    }
}

#[test]
fn a_wait_on_a_thread_without_a_hub_leaves_the_token_of_std_alone() {
    let _bound = bounded();
    with_hub_elsewhere(|hub| {
        for wait in WAITS {
            let hub = hub.clone();
            let plain = move || {
                check(
                    *wait,
                    &hub,
                    || thread::current().unpark(),
                    thread::park_timeout,
                )
            };
            thread::spawn(plain).join().unwrap();
        }
    });
}

#[test]
fn a_wait_of_a_greenlet_leaves_its_token_alone() {
    let _bound = bounded();
    with_hub_elsewhere(|hub| {
        let hub = hub.clone();
        let (unpark, park) = (
            || greenroom::current().unpark(),
            greenroom::thread::park_timeout,
        );
        greenroom::run(move || {
            check_all(&hub, unpark, park);
            greenroom::spawn(move || check_all(&hub, unpark, park))
                .join()
                .unwrap();
        });
    });
}

#[test]
fn a_wait_on_a_hub_leaves_the_token_of_its_os_thread_alone() {
    let _bound = bounded();
    with_hub_elsewhere(|hub| {
        let hub = hub.clone();
        greenroom::run(move || {
            check_all(&hub, || thread::current().unpark(), thread::park_timeout)
        });
    });
}
