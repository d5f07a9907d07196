//! What a reviewer who looks for unsoundness tries: memory of who is gone, and code of others.

mod bounded;

use bounded::bounded;
use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use greenroom::fiber::{Fiber, WeakFiber};
use greenroom::future::JoinFuture;
use greenroom::generator::{Generator, GeneratorState, Yielder};
use greenroom::hub::Subscription;
use greenroom::io::StdinLock;
use greenroom::sync::{AsyncResult, Channel, Condvar, LazyLock, OnceLock, Queue, Semaphore};
use greenroom::sync::{Mutex, MutexGuard, RLock, RLockGuard};
use greenroom::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use greenroom::threadpool::Builder;
use greenroom::{Greenlet, IWait, JoinError, ScopedGreenlet};
use greenroom::{run, spawn, with_timeout, yield_now};

/// A generator that stands still inside of `foreign` outlives the greenlet that began it.
#[test]
fn a_foreign_call_may_be_left_by_another_greenlet_than_entered_it() {
    let _bound = bounded();
    run(|| {
        let mut generator = Generator::new(|yielder, ()| {
            greenroom::foreign(|| yielder.suspend(1));
            2
        })
        .unwrap();
        let began = greenroom::spawn_local(move || {
            assert_eq!(generator.resume(()), GeneratorState::Yielded(1));
            generator
        });
        let mut generator = began.join().unwrap();
        // Its memory is another greenlet's now, which must not be taken for inside of a
        // foreign call, nor for less than outside.
        let next = spawn(|| {
            yield_now();
            greenroom::foreign(yield_now);
            greenroom::sleep(Duration::from_secs(60));
        });
        yield_now();
        assert_eq!(generator.resume(()), GeneratorState::Complete(2));
        yield_now();
        yield_now();
        next.kill();
        assert!(next.join().unwrap_err().is_killed());
        // Nor is who has ended it inside of one.
        let late = greenroom::with_timeout(Duration::from_millis(1), greenroom::thread::park);
        assert!(late.is_err());
    });
}

/// The wakers of async code are foreign code: one that panics keeps nobody else from hearing.
#[test]
fn a_result_reaches_all_although_one_of_them_panics_when_told() {
    let _bound = bounded();
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of a bad executor");
        }
    }
    run(|| {
        let result = Arc::new(AsyncResult::new());
        let mut bad = (&*result).into_future();
        let waker = Waker::from(Arc::new(Panics));
        let polled = Pin::new(&mut bad).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let theirs = Arc::clone(&result);
        let waiter = spawn(move || theirs.get());
        yield_now();
        let set = catch_unwind(AssertUnwindSafe(|| result.set(7)));
        assert!(set.is_err());
        let waited = waiter.join_timeout(Duration::from_secs(5));
        assert_eq!(waited.expect("it was told").unwrap(), 7);
    });
}

/// An OS thread may end while greenlets of it wait. They never run again, so what they wait for
/// must not be handed to them.
#[test]
fn what_is_waited_for_by_greenlets_of_a_thread_that_has_ended_goes_to_the_living() {
    let _bound = bounded();
    static MUTEX: Mutex<()> = Mutex::new(());
    static LOCK: RwLock<()> = RwLock::new(());
    static SEMAPHORE: Semaphore = Semaphore::new(0);
    static CONDITION: Condvar = Condvar::new();
    static BESIDE: Mutex<bool> = Mutex::new(false);
    let queue = Arc::new(Queue::new());
    let guard = MUTEX.lock().unwrap();
    let writes = LOCK.write().unwrap();
    let theirs = Arc::clone(&queue);
    let ended = thread::spawn(move || {
        drop(spawn(|| drop(MUTEX.lock())));
        drop(spawn(|| drop(LOCK.write())));
        drop(spawn(|| drop(SEMAPHORE.acquire())));
        drop(spawn(|| drop(CONDITION.wait(BESIDE.lock().unwrap()))));
        drop(spawn(move || theirs.get().is_ok_and(|item: u8| item > 0)));
        yield_now();
    });
    ended.join().unwrap();

    let limit = Duration::from_secs(5);
    drop(guard);
    assert!(MUTEX.try_lock_for(limit).is_ok(), "the mutex");
    drop(writes);
    assert!(LOCK.try_read_for(limit).is_ok(), "the lock to read");
    SEMAPHORE.release();
    assert!(SEMAPHORE.acquire_timeout(limit).is_some(), "the permit");
    queue.put(7).unwrap();
    assert_eq!(queue.get_timeout(limit), Ok(7), "the item");
    let waiter = thread::spawn(move || {
        let not_yet = |told: &mut bool| !*told;
        let waited = CONDITION.wait_timeout_while(BESIDE.lock().unwrap(), limit, not_yet);
        assert!(!waited.unwrap().1.timed_out(), "the condition");
    });
    thread::sleep(Duration::from_millis(50));
    *BESIDE.lock().unwrap() = true;
    CONDITION.notify_one();
    waiter.join().unwrap();
}

/// As above, in the line of those who want to give a job to a pool that is full.
#[test]
fn a_full_pool_takes_jobs_again_though_the_first_in_line_is_gone_with_its_thread() {
    let _bound = bounded();
    let pool = Builder::new().size(1).backlog(0).build().unwrap();
    let pool = Arc::new(pool);
    let (release, released) = mpsc::channel::<()>();
    let job = pool.spawn(move || released.recv().is_err());
    let theirs = Arc::clone(&pool);
    let ended = thread::spawn(move || {
        drop(spawn(move || drop(theirs.spawn(|| ()))));
        yield_now();
    });
    ended.join().unwrap();
    drop(release);
    assert!(job.join().unwrap());
    let taken = with_timeout(Duration::from_secs(5), || pool.spawn(|| 7).join().unwrap());
    assert_eq!(taken, Ok(7));
}

/// A wait that has been handed on still has the one who began it among those to be woken: also
/// when it is dropped on another hub, which can't take it out at once.
#[test]
fn a_wait_for_a_descriptor_that_is_dropped_on_an_inner_hub_wakes_nobody_who_is_gone() {
    let _bound = bounded();
    run(|| {
        let (mut here, there) = greenroom::os::unix::net::UnixStream::pair().unwrap();
        let readable: &'static _ = Box::leak(Box::new(greenroom::io::readable(Box::leak(
            Box::new(there),
        ))));
        let begun = greenroom::spawn_local(move || {
            let mut wait = greenroom::iwait([readable]).timeout(Duration::from_millis(1));
            assert!(wait.next().is_none());
            wait
        });
        let wait = begun.join().unwrap();
        let outer = greenroom::hub::current();
        run(move || {
            // More than the outer hub reads at a time.
            drop((0..3000).map(|_| outer.spawn(|| ())).collect::<Vec<_>>());
            drop(wait);
        });
        here.write_all(b"x").unwrap();
        yield_now();
        greenroom::sleep(Duration::from_millis(2));
    });
}

/// What must not leave its OS thread, or be shared with others, can't: checked by the compiler,
/// which finds two ways to read what does implement the trait, and then gives up.
#[test]
fn what_belongs_to_an_os_thread_or_hides_what_does_stays_there() {
    let _bound = bounded();
    macro_rules! never {
        ($trait:ident: $($type:ty),* $(,)?) => {
            $(const _: fn() = || {
                trait Ambiguous<A> {
                    fn is_not() {}
                }
                impl<T: ?Sized> Ambiguous<()> for T {}
                struct Implements;
                impl<T: ?Sized + $trait> Ambiguous<Implements> for T {}
                let _ = <$type as Ambiguous<_>>::is_not;
            };)*
        };
    }
    fn is_send_and_sync<T: Send + Sync>() {}
    type Local = Rc<u8>;

    never!(Send: MutexGuard<'static, u8>, RLockGuard<'static, u8>);
    never!(Send: RwLockReadGuard<'static, u8>, RwLockWriteGuard<'static, u8>);
    never!(Sync: MutexGuard<'static, Cell<u8>>, RLockGuard<'static, Cell<u8>>);
    never!(Sync: RwLockReadGuard<'static, Cell<u8>>, RwLock<Cell<u8>>);
    never!(Sync: Mutex<Local>, RwLock<Local>, RLock<Local>, Queue<Local>);
    never!(Sync: OnceLock<Cell<u8>>, LazyLock<Cell<u8>>, AsyncResult<Cell<u8>>);
    never!(Send: AsyncResult<Local>, AsyncResult<Cell<u8>>, Queue<Local>, Channel<Local>);
    never!(Send: Greenlet<Local>, JoinFuture<Local>, ScopedGreenlet<'static, u8>);
    never!(Send: Generator<(), (), ()>, Yielder<(), ()>, Fiber<u8>, WeakFiber<u8>);
    never!(Sync: Generator<(), (), ()>, Yielder<(), ()>, Fiber<u8>, WeakFiber<u8>);
    never!(Send: Subscription, IWait<'static, Greenlet<u8>>, StdinLock<'static>);

    is_send_and_sync::<(Mutex<Cell<u8>>, RLock<Cell<u8>>, Queue<Cell<u8>>)>();
    is_send_and_sync::<(Greenlet<Cell<u8>>, Condvar, Semaphore, JoinError)>();
}
