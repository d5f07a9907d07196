//! `std::sync`, name for name: what std's own tests ask of its locks, re-written in our words,
//! with greenlets for threads; and that a kill or a timeout poisons nothing.
mod gevent_support;

use gevent_support::{bounded, ms};
use greenroom::sync::{
    Arc, Barrier, BoundedSemaphore, Condvar, Event, LazyLock, Mutex, MutexGuard, Once, OnceLock,
    RLock, RwLock, RwLockWriteGuard, Semaphore, TryLockError,
};
use greenroom::{sim, sleep, spawn, thread, with_timeout, yield_now};
use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNTER: Mutex<u32> = Mutex::new(0);
static TABLE: RwLock<Vec<u32>> = RwLock::new(Vec::new());
static CHANGED: Condvar = Condvar::new();
static START: Once = Once::new();
static NAME: OnceLock<String> = OnceLock::new();
static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..4).map(|n| n * n).collect());
static MEETING: Barrier = Barrier::new(1);
static READY: Event = Event::new();
static SEATS: Semaphore = Semaphore::new(2);
static LOANS: BoundedSemaphore = BoundedSemaphore::new(2);
static DEPTH: RLock<()> = RLock::new(());

/// What a panic said.
#[track_caller]
fn message_of(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().unwrap().to_string(),
    }
}

#[test]
fn all_can_be_statics() {
    let _bound = bounded();
    *COUNTER.lock().unwrap() += 1;
    TABLE.write().unwrap().push(1);
    CHANGED.notify_all();
    START.call_once(|| READY.set());
    READY.wait();
    assert!(MEETING.wait().is_leader());
    assert_eq!(
        (NAME.get_or_init(|| "Ada".into()).len(), SQUARES[3]),
        (3, 9)
    );
    drop((SEATS.acquire(), LOANS.acquire(), DEPTH.lock()));
    assert_eq!(*COUNTER.lock().unwrap(), 1);
}

#[test]
fn all_go_between_threads_and_through_a_catch_unwind() {
    let _bound = bounded();
    fn shared<T: Send + Sync + UnwindSafe + RefUnwindSafe + ?Sized>() {}
    fn sent<T: Send>() {}
    shared::<Mutex<Cell<u8>>>();
    shared::<Mutex<dyn Debug + Send>>();
    shared::<RwLock<u8>>();
    shared::<RLock<Cell<u8>>>();
    shared::<Once>();
    shared::<OnceLock<u8>>();
    shared::<LazyLock<u8>>();
    fn across<T: Send + Sync>() {}
    across::<Condvar>();
    across::<Barrier>();
    across::<Event>();
    across::<Semaphore>();
    across::<greenroom::sync::Permit<'static>>();
    across::<greenroom::sync::AsyncResult<u8>>();
    sent::<RwLock<Cell<u8>>>();
    fn sync<T: Sync>() {}
    sync::<MutexGuard<'static, u8>>();
    sync::<RwLockWriteGuard<'static, u8>>();
}

#[test]
fn what_is_unsized_is_locked_as_well() {
    let _bound = bounded();
    let mutex: &Mutex<[i32]> = &Mutex::new([1, 2, 3]);
    mutex.lock().unwrap()[0] = 4;
    let lock: &RwLock<[i32]> = &RwLock::new([1, 2, 3]);
    lock.write().unwrap()[2] = 4;
    assert_eq!(
        (&*mutex.lock().unwrap(), &*lock.read().unwrap()),
        (&[4, 2, 3][..], &[1, 2, 4][..])
    );
}

#[test]
fn they_look_as_std_ones_do() {
    let _bound = bounded();
    assert_eq!(
        format!("{:?}", Mutex::new(1)),
        format!("{:?}", std::sync::Mutex::new(1))
    );
    assert_eq!(
        format!("{:?}", RwLock::new(1)),
        format!("{:?}", std::sync::RwLock::new(1))
    );
    assert_eq!(
        format!("{:?}", OnceLock::from(1)),
        format!("{:?}", std::sync::OnceLock::from(1))
    );
    let (ours, theirs) = (Mutex::new(1), std::sync::Mutex::new(1));
    let (our_guard, their_guard) = (ours.lock().unwrap(), theirs.lock().unwrap());
    assert!(format!("{ours:?}").contains("<locked>"));
    assert_eq!(
        format!("{our_guard:?} {our_guard}"),
        format!("{their_guard:?} {their_guard}")
    );
    let (ours, theirs) = (LazyLock::new(|| 1), std::sync::LazyLock::new(|| 1));
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!(*ours + *theirs, 2);
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn a_panic_with_a_mutex_held_poisons_it_for_all() {
    let _bound = bounded();
    let mutex = Arc::new(Mutex::new(1));
    let theirs = Arc::clone(&mutex);
    let unlucky = thread::spawn(move || {
        let mut guard = theirs.lock().unwrap();
        *guard = 2;
        panic!("with the lock held");
    });
    assert!(unlucky.join().unwrap_err().is_panic());
    assert!(mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 2);
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(
        mutex.try_lock_for(ms(1)),
        Err(TryLockError::Poisoned(_))
    ));
    let mut mutex = Arc::into_inner(mutex).unwrap();
    assert_eq!(**mutex.get_mut().unwrap_err().get_ref(), 2);
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 2);
}

#[test]
fn a_poisoned_mutex_that_is_cleared_is_as_good_as_new() {
    let _bound = bounded();
    let mutex = Mutex::new(());
    message_of(|| {
        let _guard = mutex.lock();
        panic!("with the lock held");
    });
    mutex.clear_poison();
    assert!(!mutex.is_poisoned() && mutex.lock().is_ok());
}

#[test]
fn a_kill_with_a_lock_held_poisons_nothing() {
    let _bound = bounded();
    let locks = Arc::new((Mutex::new(()), RwLock::new(())));
    let theirs = Arc::clone(&locks);
    let holder = spawn(move || {
        let _guards = (theirs.0.lock(), theirs.1.write());
        thread::park();
    });
    yield_now();
    assert!(locks.0.try_lock().is_err());
    holder.kill();
    assert!(holder.join().unwrap_err().is_killed());
    assert!(locks.0.try_lock().is_ok() && locks.1.try_write().is_ok());
}

#[test]
fn a_timeout_with_a_lock_held_poisons_nothing() {
    let _bound = bounded();
    sim::run(1, || {
        let (mutex, lock) = (Mutex::new(()), RwLock::new(()));
        let late = with_timeout(ms(5), || {
            let _guards = (mutex.lock(), lock.write());
            sleep(ms(10));
        });
        assert!(late.is_err());
        assert!(mutex.lock().is_ok() && lock.write().is_ok());
    });
}

#[test]
fn a_panic_poisons_also_after_a_timeout_that_was_caught() {
    let _bound = bounded();
    sim::run(2, || {
        let mutex = Mutex::new(());
        assert!(with_timeout(ms(1), || sleep(ms(2))).is_err());
        // Swallowed by hand: it was caught, and is gone.
        let swallowed = with_timeout(ms(1), || {
            panic::catch_unwind(|| sleep(ms(2))).unwrap_err();
        });
        assert!(swallowed.is_ok());
        message_of(|| {
            let _guard = mutex.lock();
            panic!("with the lock held");
        });
        assert!(mutex.is_poisoned());
    });
}

#[test]
fn a_lock_that_a_destructor_takes_in_an_unwind_is_not_poisoned() {
    let _bound = bounded();
    struct Locks<'a>(&'a Mutex<u32>);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let mutex = Mutex::new(0);
    message_of(|| {
        let _locks = Locks(&mutex);
        panic!("without the lock");
    });
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn a_writer_that_panics_poisons_and_a_reader_does_not() {
    let _bound = bounded();
    let lock = RwLock::new(());
    message_of(|| {
        let _reader = lock.read();
        panic!("reading");
    });
    assert!(!lock.is_poisoned());
    message_of(|| {
        let _writer = lock.write();
        panic!("writing");
    });
    assert!(lock.read().is_err() && lock.try_write().is_err() && lock.is_poisoned());
    lock.clear_poison();
    assert!(lock.read().is_ok());
}

#[test]
fn a_reader_waits_behind_a_writer_that_waits_and_comes_in_when_that_gives_up() {
    let _bound = bounded();
    sim::run(3, || {
        let lock = Arc::new(RwLock::new(()));
        let _reader = lock.read().unwrap();
        let theirs = Arc::clone(&lock);
        let writer = spawn(move || theirs.try_write_for(ms(5)).is_err());
        yield_now();
        assert!(lock.try_read().is_err(), "it would pass by the writer");
        let begin = greenroom::now();
        drop(lock.read());
        assert_eq!(greenroom::now() - begin, ms(5));
        assert!(writer.join().unwrap());
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in() {
    let _bound = bounded();
    let lock = Arc::new(RwLock::new(1));
    let mut writer = lock.write().unwrap();
    let theirs = Arc::clone(&lock);
    let reader = spawn(move || *theirs.read().unwrap());
    yield_now();
    *writer = 2;
    let ours = RwLockWriteGuard::downgrade(writer);
    assert_eq!(reader.join().unwrap(), 2);
    assert_eq!(*ours, 2);
}

#[test]
fn a_condvar_takes_its_waiters_through_a_handshake() {
    let _bound = bounded();
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let theirs = Arc::clone(&pair);
    let other = thread::spawn(move || {
        for turn in (1..10).step_by(2) {
            let mut count = theirs
                .1
                .wait_while(theirs.0.lock().unwrap(), |n| *n != turn)
                .unwrap();
            *count += 1;
            theirs.1.notify_one();
        }
    });
    for turn in (0..10).step_by(2) {
        let mut count = pair
            .1
            .wait_while(pair.0.lock().unwrap(), |n| *n != turn)
            .unwrap();
        *count += 1;
        pair.1.notify_one();
    }
    other.join().unwrap();
    assert_eq!(*pair.0.lock().unwrap(), 10);
}

#[test]
fn a_condvar_says_whether_its_limit_came_first() {
    let _bound = bounded();
    sim::run(4, || {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let (mutex, condvar) = &*pair;
        let (guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), ms(5)).unwrap();
        assert!(result.timed_out());
        let waited = condvar
            .wait_timeout_while(guard, ms(5), |done| !*done)
            .unwrap();
        assert!(waited.1.timed_out());
        drop(waited);
        let theirs = Arc::clone(&pair);
        drop(spawn(move || {
            *theirs.0.lock().unwrap() = true;
            theirs.1.notify_one();
        }));
        let guard = mutex.lock().unwrap();
        let (guard, result) = condvar
            .wait_timeout_while(guard, ms(5), |done| !*done)
            .unwrap();
        assert!(*guard && !result.timed_out());
    });
}

#[test]
fn a_condvar_hands_on_that_the_mutex_was_poisoned_meanwhile() {
    let _bound = bounded();
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let theirs = Arc::clone(&pair);
    let waiter = spawn(move || theirs.1.wait(theirs.0.lock().unwrap()).is_err());
    yield_now();
    message_of(|| {
        let _guard = pair.0.lock();
        panic!("with the lock held");
    });
    pair.1.notify_all();
    assert!(waiter.join().unwrap());
}

#[test]
fn a_barrier_lets_all_go_with_one_leader_again_and_again() {
    let _bound = bounded();
    let barrier = Arc::new(Barrier::new(5));
    for _ in 0..3 {
        let meet = |_| {
            let barrier = Arc::clone(&barrier);
            spawn(move || barrier.wait().is_leader())
        };
        let met = greenroom::joinall((0..4).map(meet).collect::<Vec<_>>().into_iter().chain([{
            let barrier = Arc::clone(&barrier);
            spawn(move || barrier.wait().is_leader())
        }]));
        assert_eq!(
            met.into_iter().filter(|met| *met.as_ref().unwrap()).count(),
            1
        );
    }
    assert!(Barrier::new(0).wait().is_leader());
}

#[test]
fn who_is_killed_at_a_barrier_is_not_there() {
    let _bound = bounded();
    let barrier = Arc::new(Barrier::new(2));
    let theirs = Arc::clone(&barrier);
    let killed = spawn(move || theirs.wait().is_leader());
    yield_now();
    killed.kill();
    assert!(killed.join().is_err());
    assert!(barrier.wait_timeout(ms(1)).is_none());
}

#[test]
fn what_is_done_once_is_done_before_any_caller_goes_on() {
    let _bound = bounded();
    let once = Arc::new((Once::new(), AtomicUsize::new(0)));
    let call = |_| {
        let once = Arc::clone(&once);
        spawn(move || {
            once.0.call_once(|| {
                yield_now();
                once.1.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(once.1.load(Ordering::Relaxed), 1);
        })
    };
    let calls: Vec<_> = (0..10).map(call).collect();
    assert!(
        greenroom::joinall(calls)
            .into_iter()
            .all(|call| call.is_ok())
    );
}

#[test]
fn what_panics_when_it_is_done_once_poisons_until_it_is_forced() {
    let _bound = bounded();
    let once = Once::new();
    message_of(|| once.call_once(|| panic!("first")));
    let again = message_of(|| once.call_once(|| unreachable!()));
    assert_eq!(again, "Once instance has previously been poisoned");
    message_of(|| once.wait());
    message_of(|| once.call_once_force(|state| panic!("poisoned: {}", state.is_poisoned())));
    once.call_once_force(|state| assert!(state.is_poisoned()));
    once.call_once(|| unreachable!());
    once.wait();
}

#[test]
fn what_is_killed_when_it_is_done_once_is_as_if_not_begun() {
    let _bound = bounded();
    let once = Arc::new(Once::new());
    let theirs = Arc::clone(&once);
    let killed = spawn(move || theirs.call_once(thread::park));
    yield_now();
    let theirs = Arc::clone(&once);
    let next = spawn(move || {
        let mut ran = false;
        theirs.call_once(|| ran = true);
        ran
    });
    yield_now();
    assert!(!next.is_finished());
    killed.kill();
    assert!(next.join().unwrap(), "who waited for it does it");
}

#[test]
fn a_once_lock_is_written_once_and_tried_again_after_a_panic() {
    let _bound = bounded();
    let cell = OnceLock::new();
    message_of(|| _ = cell.get_or_init(|| panic!("first")));
    assert_eq!(
        (cell.get(), cell.set(3), cell.set(4)),
        (None, Ok(()), Err(4))
    );
    assert_eq!(cell, cell.clone());
    let mut cell = cell;
    *cell.get_mut().unwrap() += 1;
    assert_eq!((cell.take(), cell.get()), (Some(4), None));
    assert_eq!(cell.into_inner(), None);
    assert_eq!(*OnceLock::from(5).wait(), 5);
}

#[test]
fn a_lazy_lock_whose_making_was_cut_short_is_poisoned() {
    let _bound = bounded();
    let lazy: LazyLock<u8, _> = LazyLock::new(|| panic!("first"));
    message_of(|| _ = LazyLock::force(&lazy));
    let again = message_of(|| _ = LazyLock::force(&lazy));
    assert_eq!(again, "LazyLock instance has previously been poisoned");
    assert!(LazyLock::get(&lazy).is_none());
    sim::run(5, || {
        let slow = LazyLock::new(|| sleep(ms(10)));
        assert!(with_timeout(ms(1), || LazyLock::force(&slow)).is_err());
        message_of(|| *LazyLock::force(&slow));
    });
}
