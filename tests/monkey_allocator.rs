//! T11: an allocator that calls what is patched, on every occasion, and so comes to the hooks
//! before `main`, before they have found libc's functions, and in the middle of everything.

mod monkey_support;

use monkey_support::bounded;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom::{monkey, yield_now};
use monkey_support::{ms, os_thread};

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(former: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(former: *mut c_void);
}

/// The allocator's lock, which all threads and greenlets want at the same time.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a pthread mutex is for several threads.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
/// Touched by who holds the lock, and at no time by two.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);
static CALLS_BEFORE_MAIN: AtomicUsize = AtomicUsize::new(0);
static EXCLUDED: AtomicBool = AtomicBool::new(true);

/// Calls that are patched and do not wait, and then `work` under the lock.
fn visit<T>(work: impl FnOnce() -> T) -> T {
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    let word = 0u32;
    // SAFETY: errno is kept, no descriptor is a real one, no wait is long; the lock is valid.
    unsafe {
        let errno = *libc::__errno_location();
        libc::read(-1, null_mut(), 0);
        libc::poll(null_mut(), 0, 0);
        libc::nanosleep(&bad, null_mut());
        libc::syscall(libc::SYS_futex, &raw const word, libc::FUTEX_WAKE, 1);
        libc::close(-1);
        libc::pthread_mutex_lock(LOCK.0.get());
        let alone = INSIDE.fetch_add(1, Ordering::Relaxed) == 0;
        let result = work();
        // Others come to want the lock meanwhile.
        if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
            (0..200).for_each(|_| std::hint::spin_loop());
        }
        INSIDE.fetch_sub(1, Ordering::Relaxed);
        libc::pthread_mutex_unlock(LOCK.0.get());
        if !alone {
            EXCLUDED.store(false, Ordering::Relaxed);
        }
        *libc::__errno_location() = errno;
        result
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's, here and below.
    visit(|| unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: as above.
    visit(|| unsafe { __libc_calloc(count, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(former: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as above.
    visit(|| unsafe { __libc_realloc(former, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(former: *mut c_void) {
    // SAFETY: as above.
    visit(|| unsafe { __libc_free(former) });
}

/// Runs before `main`, and before std is set up.
extern "C" fn construct(_: c_int, _: *mut *mut u8, _: *mut *mut u8) {
    let text = std::hint::black_box(vec![1u8; 1000]);
    drop(text);
    CALLS_BEFORE_MAIN.store(CALLS.load(Ordering::Relaxed), Ordering::Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCT: extern "C" fn(c_int, *mut *mut u8, *mut *mut u8) = construct;

/// Allocates and frees, and parks now and then.
fn work(rounds: usize) -> usize {
    let mut all = BTreeMap::new();
    for round in 0..rounds {
        all.insert(round, vec![round as u8; 1 << (round % 12)]);
        if round % 7 == 0 {
            yield_now();
        }
        if round % 3 == 0 {
            all.remove(&(round / 2));
        }
    }
    all.values().map(Vec::len).sum()
}

#[test]
fn hooks_are_ready_before_main() {
    let _bound = bounded();
    assert!(CALLS_BEFORE_MAIN.load(Ordering::Relaxed) > 0);
    monkey::verify().unwrap();
}

#[test]
fn an_allocator_that_calls_them_parks_nobody_in_the_middle() {
    let _bound = bounded();
    let expected = work(300);
    let hubs = [(); 2].map(|()| {
        os_thread(move || {
            monkey::patch_all().unwrap();
            let shared = Arc::new(Mutex::new(0));
            let greenlets = (0..50).map(|_| {
                let shared = Arc::clone(&shared);
                greenroom::spawn(move || {
                    let sum = work(300);
                    let mut count = shared.lock().unwrap();
                    std::thread::sleep(Duration::from_micros(10));
                    *count += 1;
                    sum
                })
            });
            for sum in greenroom::joinall(greenlets) {
                assert_eq!(sum.unwrap(), expected);
            }
            assert_eq!(*shared.lock().unwrap(), 50);
        })
    });
    let plain = os_thread(move || work(3000));
    for hub in hubs {
        hub.join().unwrap();
    }
    plain.join().unwrap();
    assert!(EXCLUDED.load(Ordering::Relaxed));
    // The lock was wanted by two at a time, or nothing is shown; who waited for it blocked.
    let report = monkey::report();
    let symbol = report.symbol("pthread_mutex_lock").unwrap();
    assert!(symbol.bypassed() > 0, "{report}");
    assert_eq!(symbol.parks(), 0, "{report}");
    other_locks_may_be_held_across_a_park();
}

/// All who want it belong to one OS thread.
fn other_locks_may_be_held_across_a_park() {
    os_thread(|| {
        monkey::patch_all().unwrap();
        let lock = Arc::new(Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        let greenlets = (0..10).map(|_| {
            let lock = Arc::clone(&lock);
            // SAFETY: a valid lock.
            greenroom::spawn(move || unsafe {
                assert_eq!(libc::pthread_mutex_lock(lock.0.get()), 0);
                greenroom::sleep(ms(1));
                assert_eq!(libc::pthread_mutex_unlock(lock.0.get()), 0);
            })
        });
        for done in greenroom::joinall(greenlets) {
            done.unwrap();
        }
    })
    .join()
    .unwrap();
}

// SAFETY: as `Sync`; it is not moved while it is used.
unsafe impl Send for Lock {}
