//! An OS thread ends, and a greenlet of it with it, just when that one has been granted something.
//! It never runs again: what it was granted goes to others.

mod bounded;

use bounded::bounded;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::pool::Pool;
use greenroom::sync::{Condvar, Mutex, Queue, RwLock, Semaphore};
use greenroom::threadpool::Builder;
use greenroom::{run, spawn, yield_now};

const LIMIT: Duration = Duration::from_secs(10);

/// An OS thread, one greenlet of which is in `wait`; it ends when it is told to, without having
/// let that one run again.
fn first_in_line(wait: impl FnOnce() + Send + 'static) -> impl FnOnce() {
    let (parked, is_parked) = mpsc::channel();
    let (end, is_to_end) = mpsc::channel::<()>();
    let dies = thread::spawn(move || {
        drop(spawn(move || {
            wait();
            unreachable!("its hub stands still");
        }));
        yield_now();
        parked.send(()).unwrap();
        assert!(is_to_end.recv().is_err());
    });
    is_parked.recv().unwrap();
    move || {
        drop(end);
        dies.join().unwrap();
    }
}

/// Has `wait` begin on a plain OS thread, in a root and in a greenlet; what is returned waits for
/// the end of all.
fn others_in_line(wait: impl Fn() + Send + Sync + 'static) -> impl FnOnce() {
    let wait = Arc::new(wait);
    let (done, all_done) = mpsc::channel();
    for kind in 0..3 {
        let (wait, done) = (Arc::clone(&wait), done.clone());
        thread::spawn(move || {
            match kind {
                0 => wait(),
                1 => run(|| wait()),
                _ => run(|| spawn(move || wait()).join().unwrap()),
            }
            done.send(()).unwrap();
        });
    }
    thread::sleep(Duration::from_millis(30));
    move || {
        for _ in 0..3 {
            all_done.recv_timeout(LIMIT).expect("it was passed on");
        }
    }
}

/// What `hold` holds is granted to who is first in line, when it is dropped, and who then is gone.
/// It is to reach others who wait behind; and those who come later, by `wait` or by `take`, which
/// does not wait.
fn goes_on<G>(
    hold: impl Fn() -> G,
    wait: impl Fn() + Clone + Send + Sync + 'static,
    take: impl Fn() -> bool,
) {
    let die_with_it = |held: G, and_others: bool| {
        let end = first_in_line(wait.clone());
        let others_are_done = and_others.then(|| others_in_line(wait.clone()));
        drop(held);
        end();
        others_are_done.into_iter().for_each(|done| done());
    };
    die_with_it(hold(), true);
    die_with_it(hold(), false);
    others_in_line(wait.clone())();
    die_with_it(hold(), false);
    assert!(take(), "it is free");
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_mutex_goes_on_to_others() {
    let _bound = bounded();
    static MUTEX: Mutex<()> = Mutex::new(());
    let wait = || drop(MUTEX.lock());
    goes_on(|| MUTEX.lock(), wait, || MUTEX.try_lock().is_ok());
}

#[test]
fn a_lock_to_read_goes_on_to_others() {
    let _bound = bounded();
    static LOCK: RwLock<()> = RwLock::new(());
    let wait = || drop(LOCK.read());
    goes_on(|| LOCK.write(), wait, || LOCK.try_write().is_ok());
}

#[test]
fn a_lock_to_write_goes_on_to_others() {
    let _bound = bounded();
    static LOCK: RwLock<()> = RwLock::new(());
    let wait = || drop(LOCK.write());
    goes_on(|| LOCK.read(), wait, || LOCK.try_read().is_ok());
}

#[test]
fn a_permit_goes_on_to_others() {
    let _bound = bounded();
    static SEMAPHORE: Semaphore = Semaphore::new(1);
    let wait = || drop(SEMAPHORE.acquire());
    let hold = || SEMAPHORE.acquire();
    goes_on(hold, wait, || SEMAPHORE.try_acquire().is_some());
}

#[test]
fn an_item_goes_on_to_others() {
    let _bound = bounded();
    let queue = Arc::new(Queue::new());
    queue.put(7).unwrap();
    let theirs = Arc::clone(&queue);
    let wait = move || theirs.put(theirs.get().unwrap()).unwrap();
    let hold = || {
        let (item, queue) = (queue.get().unwrap(), &queue);
        OnDrop(move || queue.put(item).unwrap())
    };
    goes_on(hold, wait, || queue.try_get().is_ok());
}

#[test]
fn room_in_a_queue_goes_on_to_others() {
    let _bound = bounded();
    let queue = Arc::new(Queue::bounded(1));
    let theirs = Arc::clone(&queue);
    let wait = move || {
        theirs.put(7).unwrap();
        assert_eq!(theirs.get(), Ok(7));
    };
    let hold = || {
        queue.put(7).unwrap();
        OnDrop(|| assert_eq!(queue.get(), Ok(7)))
    };
    goes_on(hold, wait, || queue.try_put(7).is_ok());
}

#[test]
fn a_notification_goes_on_to_others() {
    let _bound = bounded();
    static CONDITION: Condvar = Condvar::new();
    static TOLD: Mutex<bool> = Mutex::new(false);
    let wait = || {
        let mut told = TOLD.lock().unwrap();
        while !*told {
            told = CONDITION.wait(told).unwrap();
        }
        CONDITION.notify_one();
    };
    let end = first_in_line(wait);
    let others_are_done = others_in_line(wait);
    *TOLD.lock().unwrap() = true;
    CONDITION.notify_one();
    end();
    others_are_done();
}

#[test]
fn a_place_in_a_pool_goes_on_to_others() {
    let _bound = bounded();
    let pool = Arc::new(Pool::new(1));
    let theirs = Arc::clone(&pool);
    let wait = move || drop(theirs.spawn(|| ()).join());
    let hold = || {
        let holds = pool.spawn(greenroom::thread::park);
        let mut holds = Some(holds);
        OnDrop(move || {
            let holds = holds.take().unwrap();
            holds.thread().unpark();
            holds.join().unwrap();
        })
    };
    goes_on(hold, wait, || pool.try_spawn(|| ()).is_ok());
}

/// The line of those who have a job for a pool that is full.
#[test]
fn room_in_a_thread_pool_goes_on_to_others() {
    let _bound = bounded();
    let pool = Arc::new(Builder::new().size(1).backlog(0).build().unwrap());
    let theirs = Arc::clone(&pool);
    let wait = move || drop(theirs.spawn(|| ()));
    let hold = || {
        let (held, release) = mpsc::channel::<()>();
        let job = pool.spawn(move || release.recv().is_err());
        let mut both = Some((held, job));
        OnDrop(move || {
            let (held, job) = both.take().unwrap();
            drop(held);
            assert!(job.join().unwrap());
        })
    };
    goes_on(hold, wait, || pool.try_spawn(|| ()).is_ok());
}

/// Who waits behind does not wait for those in front who never run again, nor are these counted.
#[test]
fn those_who_never_run_again_leave_the_line() {
    let _bound = bounded();
    static LOCK: RwLock<()> = RwLock::new(());
    let reads = LOCK.read().unwrap();
    let end = first_in_line(|| drop(LOCK.write()));
    let others_are_done = others_in_line(|| drop(LOCK.read()));
    end();
    others_are_done();
    drop(reads);

    let pool = Arc::new(Pool::new(1));
    let stays = pool.spawn(greenroom::thread::park);
    let wait = |pool: &Arc<Pool>| {
        let pool = Arc::clone(pool);
        move || drop(pool.spawn(|| ()).join())
    };
    let others_are_done = others_in_line(wait(&pool));
    for _ in 0..50 {
        first_in_line(wait(&pool))();
    }
    let start = Instant::now();
    while pool.waiting() > 3 {
        assert!(start.elapsed() < LIMIT, "{} in line", pool.waiting());
        thread::sleep(Duration::from_millis(1));
    }
    stays.thread().unpark();
    stays.join().unwrap();
    others_are_done();
}
