//! The locks of C next to other processes, which share them or are forked while they are waited
//! for, and under their names of C11.

#[path = "monkey_support/locks.rs"]
mod locks;
mod monkey_support;

use monkey_support::bounded;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom::yield_now;
use libc::ETIMEDOUT;
use locks::{Condition, Mutex, from_now};
use monkey_support::{green, ms, parks};

/// Memory that a forked child shares with its parent, zeroed.
fn shared<T>() -> &'static T {
    let (protection, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new memory, never unmapped, of types that may be zeros.
    unsafe {
        let at = libc::mmap(null_mut(), size_of::<T>(), protection, kind, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast::<T>()
    }
}

/// Runs `f` in a forked child.
fn in_child(f: impl FnOnce()) -> impl FnOnce() {
    // SAFETY: the child makes plain calls only, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        f();
        // SAFETY: takes a number.
        unsafe { libc::_exit(0) };
    }
    move || {
        let mut status = -1;
        // SAFETY: there is room for the status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }
}

#[test]
fn a_forked_child_unlocks_and_signals_as_without_the_patch() {
    let _bound = bounded();
    green(|| {
        let mutex = Rc::new(Mutex::normal());
        mutex.lock();
        let theirs = Rc::clone(&mutex);
        let waiter = greenroom::spawn_local(move || {
            theirs.lock();
            theirs.unlock();
        });
        yield_now();
        let child = in_child(|| {
            let pair = (Mutex::normal(), Condition::new());
            mutex.unlock();
            mutex.lock();
            pair.0.lock();
            let clock = libc::CLOCK_REALTIME;
            assert_eq!(
                pair.1.timed_wait(&pair.0, from_now(clock, ms(1))),
                ETIMEDOUT
            );
            pair.1.broadcast();
            pair.0.unlock();
        });
        child();
        assert!(!waiter.is_finished());
        mutex.unlock();
        waiter.join().unwrap();
    });
}

#[test]
fn what_processes_share_is_waited_for_without_blocking() {
    let _bound = bounded();
    struct Both {
        mutex: std::cell::UnsafeCell<libc::pthread_mutex_t>,
        condition: std::cell::UnsafeCell<libc::pthread_cond_t>,
        told: AtomicUsize,
    }
    let both = shared::<Both>();
    let (mutex, condition) = (both.mutex.get(), both.condition.get());
    locks::init_shared(mutex, condition);
    let ended = in_child(|| {
        // SAFETY: valid ones, in memory that both processes have.
        unsafe {
            libc::pthread_mutex_lock(mutex);
            both.told.store(1, Ordering::Release);
            libc::usleep(30_000);
            libc::pthread_mutex_unlock(mutex);
            while both.told.load(Ordering::Acquire) != 2 {
                libc::usleep(1000);
            }
            libc::usleep(30_000);
            libc::pthread_mutex_lock(mutex);
            both.told.store(3, Ordering::Release);
            libc::pthread_cond_signal(condition);
            libc::pthread_mutex_unlock(mutex);
        }
    });
    while both.told.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let told = move || both.told.load(Ordering::Acquire);
    // SAFETY: as above.
    parks(move || unsafe {
        assert_eq!(libc::pthread_mutex_lock(both.mutex.get()), 0);
        both.told.store(2, Ordering::Release);
        while told() == 2 {
            let (condition, mutex) = (both.condition.get(), both.mutex.get());
            assert_eq!(libc::pthread_cond_wait(condition, mutex), 0);
        }
        assert_eq!(libc::pthread_mutex_unlock(both.mutex.get()), 0);
    });
    ended();
}

#[test]
fn those_of_c11_are_the_same() {
    let _bound = bounded();
    green(|| {
        let (mutex, condition) = (Arc::new(Mutex::normal()), Arc::new(Condition::new()));
        let (theirs, told) = (Arc::clone(&mutex), Arc::clone(&condition));
        let stage = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&stage);
        // SAFETY: they are laid out alike, and the mutex is held.
        let waiter = greenroom::spawn(move || unsafe {
            assert_eq!(locks::mtx_lock(theirs.raw().cast()), 0);
            let wait = locks::cnd_wait(told.raw().cast(), theirs.raw().cast());
            let soon = from_now(libc::CLOCK_REALTIME, ms(5));
            let late = locks::cnd_timedwait(told.raw().cast(), theirs.raw().cast(), &soon);
            seen.store(1, Ordering::Relaxed);
            while seen.load(Ordering::Relaxed) == 1 {
                greenroom::sleep(ms(1));
            }
            assert_eq!(locks::mtx_unlock(theirs.raw().cast()), 0);
            (wait, late)
        });
        yield_now();
        // SAFETY: as above.
        unsafe {
            let (mutex, condition) = (mutex.raw().cast(), condition.raw().cast());
            assert_eq!(locks::mtx_lock(mutex), 0);
            assert_eq!(locks::cnd_signal(condition), 0);
            assert_eq!(locks::mtx_unlock(mutex), 0);
            while stage.load(Ordering::Relaxed) == 0 {
                greenroom::sleep(ms(1));
            }
            let soon = from_now(libc::CLOCK_REALTIME, ms(5));
            const TIMED_OUT: i32 = 4;
            assert_eq!(locks::mtx_timedlock(mutex, &soon), TIMED_OUT);
            stage.store(2, Ordering::Relaxed);
            assert_eq!(waiter.join().unwrap(), (0, TIMED_OUT));
            assert_eq!(locks::cnd_broadcast(condition), 0);
        }
    });
}
