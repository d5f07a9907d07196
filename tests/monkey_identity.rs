//! Greenlets that own their thread-locals: what takes the OS thread for the thread of execution
//! takes each of them for one.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod bounded;

use bounded::bounded;
use greenroom::{joinall, scope, spawn, spawn_local, yield_now};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

fn turn_on() {
    greenroom::monkey::patch(&[greenroom::monkey::Part::Identity])
        .expect("it works on this machine");
}

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(7) };
    static TEXT: RefCell<String> = RefCell::new(String::from("first"));
}

#[test]
fn each_greenlet_has_its_own_thread_locals() {
    let _bound = bounded();
    turn_on();
    COUNT.set(100);
    let greenlets = (0..10).map(|n| {
        spawn(move || {
            let first = COUNT.get();
            COUNT.set(n);
            yield_now();
            (first, COUNT.get())
        })
    });
    let seen: Vec<_> = joinall(greenlets).into_iter().map(Result::unwrap).collect();
    assert_eq!(seen, (0..10).map(|n| (7, n)).collect::<Vec<_>>());
    assert_eq!(COUNT.get(), 100, "the root has the OS thread's");
}

#[test]
fn what_is_not_send_shares_its_spawners() {
    let _bound = bounded();
    turn_on();
    let seen = spawn(|| {
        COUNT.set(1);
        let local = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&local);
        spawn_local(move || {
            theirs.set(COUNT.get());
            COUNT.set(2);
        })
        .join()
        .unwrap();
        let after_local = COUNT.get();
        scope(|s| {
            s.spawn(|| COUNT.set(3));
        });
        (local.get(), after_local, COUNT.get())
    });
    assert_eq!(seen.join().unwrap(), (1, 2, 3));
}

#[test]
fn a_child_may_outlive_the_spawner_that_it_shares_with() {
    let _bound = bounded();
    turn_on();
    let child = spawn(|| {
        COUNT.set(5);
        let child = spawn_local(|| {
            yield_now();
            yield_now();
            TEXT.with_borrow_mut(|text| text.push('!'));
            (COUNT.get(), TEXT.with_borrow(|text| text.clone()))
        });
        yield_now();
        child
    });
    // The handle of what shares is joined elsewhere.
    let child = child.join().unwrap();
    assert_eq!(child.join().unwrap(), (5, "first!".into()));
}

#[test]
fn a_borrow_of_a_thread_local_may_be_held_across_a_park() {
    let _bound = bounded();
    turn_on();
    let greenlets = (0..100).map(|n| {
        spawn(move || {
            TEXT.with_borrow_mut(|text| {
                text.push_str(&n.to_string());
                yield_now();
                text.clone()
            })
        })
    });
    for (n, text) in joinall(greenlets).into_iter().enumerate() {
        assert_eq!(text.unwrap(), format!("first{n}"));
    }
}

#[test]
fn std_takes_each_for_a_thread() {
    let _bound = bounded();
    turn_on();
    let here = thread::current().id();
    let one = spawn(|| (thread::current().id(), thread::current().id()));
    let two = spawn(|| thread::current().id());
    let ((first, again), other) = (one.join().unwrap(), two.join().unwrap());
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_ne!(first, here);
}

#[test]
fn destructors_run_before_the_joiner_goes_on_and_may_park() {
    let _bound = bounded();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            yield_now();
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static VALUE: Parks = const { Parks });
    turn_on();
    let greenlets: Vec<_> = (0..200).map(|_| spawn(|| VALUE.with(|_| ()))).collect();
    joinall(greenlets);
    assert_eq!(DROPS.load(Ordering::Relaxed), 200);
}

#[test]
fn a_killed_greenlet_runs_its_destructors_too_and_none_is_unwound() {
    let _bound = bounded();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Sleeps;
    impl Drop for Sleeps {
        fn drop(&mut self) {
            greenroom::sleep(std::time::Duration::from_millis(5));
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static VALUE: Sleeps = const { Sleeps });
    turn_on();
    let sleeper = spawn(|| {
        VALUE.with(|_| ());
        greenroom::thread::park();
    });
    yield_now();
    sleeper.kill();
    yield_now();
    sleeper.kill();
    assert!(sleeper.join().unwrap_err().is_killed());
    assert_eq!(DROPS.load(Ordering::Relaxed), 1);
}

#[test]
fn pthread_keys_are_its_own_and_their_destructors_run() {
    let _bound = bounded();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn count(value: *mut libc::c_void) {
        DROPS.fetch_add(value as usize, Ordering::Relaxed);
    }
    turn_on();
    let mut key = 0;
    // SAFETY: the key is written to, and the destructor takes any value.
    let made = unsafe { libc::pthread_key_create(&mut key, Some(count)) };
    assert_eq!(made, 0);
    let greenlets = (0..10).map(|_| {
        // SAFETY: the key was made above; its values are numbers.
        spawn(move || unsafe {
            let before = libc::pthread_getspecific(key) as usize;
            libc::pthread_setspecific(key, std::ptr::without_provenance(1));
            yield_now();
            (before, libc::pthread_getspecific(key) as usize)
        })
    });
    for seen in joinall(greenlets) {
        assert_eq!(seen.unwrap(), (0, 1));
    }
    assert_eq!(DROPS.load(Ordering::Relaxed), 10);
}

#[test]
fn errno_stays_with_its_greenlet() {
    let _bound = bounded();
    turn_on();
    let greenlets = [libc::ENOTTY, libc::EPERM].map(|number| {
        // SAFETY: errno is the calling thread's own.
        spawn(move || unsafe {
            *libc::__errno_location() = number;
            yield_now();
            *libc::__errno_location()
        })
    });
    let seen: Vec<_> = joinall(greenlets).into_iter().map(Result::unwrap).collect();
    assert_eq!(seen, [libc::ENOTTY, libc::EPERM]);
}

#[test]
fn a_panic_in_one_is_none_in_another() {
    let _bound = bounded();
    turn_on();
    struct Parks(Arc<Mutex<Vec<bool>>>);
    impl Drop for Parks {
        fn drop(&mut self) {
            yield_now();
            self.0.lock().unwrap().push(thread::panicking());
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (theirs, others) = (Arc::clone(&seen), Arc::clone(&seen));
    let unwinds = spawn(move || {
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            let _parks = Parks(theirs);
            panic::resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
    });
    let innocent = spawn(move || others.lock().unwrap().push(thread::panicking()));
    unwinds.join().unwrap();
    innocent.join().unwrap();
    assert_eq!(*seen.lock().unwrap(), [false, true]);
}

#[test]
fn recursive_locks_of_c_exclude_greenlets() {
    let _bound = bounded();
    turn_on();
    let lock = Arc::new(Recursive::new());
    let (theirs, ours) = (Arc::clone(&lock), Arc::clone(&lock));
    let holder = spawn(move || {
        let twice = (theirs.try_lock(), theirs.try_lock());
        yield_now();
        theirs.unlock();
        theirs.unlock();
        twice
    });
    let other = spawn(move || ours.try_lock());
    assert_eq!(holder.join().unwrap(), (0, 0));
    assert_eq!(other.join().unwrap(), libc::EBUSY);
}

/// A pthread mutex that its owner may lock again.
struct Recursive(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is for several threads.
unsafe impl Sync for Recursive {}
// SAFETY: as above; it is initialised in place and never moved out of its Arc.
unsafe impl Send for Recursive {}

impl Recursive {
    fn new() -> Recursive {
        Recursive(std::cell::UnsafeCell::new(
            libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
        ))
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: the mutex is initialised.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    fn unlock(&self) {
        // SAFETY: as above, and the caller holds it.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }
}

#[test]
fn two_greenlets_may_each_be_inside_of_tokio() {
    let _bound = bounded();
    turn_on();
    let greenlets = (0..3).map(|n| {
        spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                yield_now();
                n
            })
        })
    });
    let seen: Vec<_> = joinall(greenlets).into_iter().map(Result::unwrap).collect();
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn an_inner_hub_has_greenlets_of_its_own_within_a_greenlet() {
    let _bound = bounded();
    turn_on();
    let seen = spawn(|| {
        COUNT.set(1);
        let inner = greenroom::run(|| {
            let own = spawn(|| COUNT.get());
            let shared = spawn_local(|| COUNT.get());
            (own.join().unwrap(), shared.join().unwrap(), COUNT.get())
        });
        yield_now();
        (inner, COUNT.get())
    });
    assert_eq!(seen.join().unwrap(), ((7, 1, 1), 1));
}

#[test]
fn greenlets_from_other_threads_have_their_own_as_well() {
    let _bound = bounded();
    turn_on();
    COUNT.set(50);
    let here = greenroom::hub::current();
    let sent = thread::spawn(move || here.spawn(|| COUNT.get()).join().unwrap());
    greenroom::sleep(std::time::Duration::from_millis(20));
    while !sent.is_finished() {
        greenroom::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(sent.join().unwrap(), 7);
}

#[test]
fn memory_stays_level_over_a_hundred_thousand() {
    let _bound = bounded();
    turn_on();
    let round = |count: usize| {
        for _ in 0..count / 100 {
            let greenlets = (0..100).map(|n| {
                spawn(move || {
                    let text = vec![n; 300];
                    TEXT.with_borrow_mut(|own| own.push('x'));
                    yield_now();
                    text.len()
                })
            });
            joinall(greenlets.collect::<Vec<_>>());
        }
    };
    round(10_000);
    let before = resident_kilobytes();
    round(100_000);
    let after = resident_kilobytes();
    assert!(after < before + 4096, "{before} KiB before, {after} after");
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// A value that is used by who stands in it, and notes if that was too late.
struct Lent;

thread_local! {
    static LENT_IS_GONE: Cell<bool> = const { Cell::new(false) };
    static RESUMES: Resumes = const { Resumes(RefCell::new(None)) };
    static LENT: Lent = const { Lent };
    static AT_END: Cell<Option<fn()>> = const { Cell::new(None) };
    static ENDS: Ends = const { Ends };
}
static LATE_USES: AtomicUsize = AtomicUsize::new(0);

impl Lent {
    fn be_used(&self) {
        LATE_USES.fetch_add(LENT_IS_GONE.get().into(), Ordering::Relaxed);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT_IS_GONE.set(true);
    }
}

struct Resumes(RefCell<Option<greenroom::generator::Generator<(), (), ()>>>);

impl Drop for Resumes {
    fn drop(&mut self) {
        let kept = self.0.take();
        kept.into_iter().flatten().for_each(drop);
    }
}

/// Calls what is in `AT_END`.
struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        AT_END.take().into_iter().for_each(|call| call());
    }
}

#[test]
fn a_generator_that_is_kept_in_them_does_not_run_on_at_their_end() {
    let _bound = bounded();
    struct Uses<'a>(&'a Lent);
    impl Drop for Uses<'_> {
        fn drop(&mut self) {
            self.0.be_used();
        }
    }
    turn_on();
    let keeps = spawn(|| {
        RESUMES.with(|_| ());
        let body = |yielder: &greenroom::generator::Yielder<(), ()>, ()| {
            LENT.with(|lent| {
                let _uses = Uses(lent);
                yielder.suspend(());
                lent.be_used();
            });
        };
        let mut generator = greenroom::generator::Generator::new(body).unwrap();
        assert!(generator.next().is_some());
        RESUMES.with(|resumes| resumes.0.replace(Some(generator)));
    });
    keeps.join().unwrap();
    assert_eq!(LATE_USES.load(Ordering::Relaxed), 0);
}

#[test]
fn who_is_spawned_at_their_end_does_not_share_them_but_in_a_scope() {
    let _bound = bounded();
    static CAME: AtomicUsize = AtomicUsize::new(0);
    turn_on();
    let ends = spawn(|| {
        ENDS.with(|_| ());
        AT_END.set(Some(|| {
            // It would outlive them.
            let lost = spawn_local(|| ()).join().unwrap_err();
            assert!(lost.not_started_because().is_some());
            let within = scope(|s| s.spawn(|| spawn_local(|| ()).join().is_err()).join());
            assert!(within.unwrap());
            assert_eq!(spawn(|| 7).join().unwrap(), 7);
            CAME.fetch_add(1, Ordering::Relaxed);
        }));
    });
    ends.join().unwrap();
    assert_eq!(CAME.load(Ordering::Relaxed), 1);
}
