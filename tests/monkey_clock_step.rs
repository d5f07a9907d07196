//! Waits until a moment of the real-time clock end when the clock is set beyond it.
//!
//! No test may set the machine's clock. So this program's own clock_gettime stands before libc's,
//! and adds to the time what a test has set the clock by.
#![cfg(all(feature = "monkey", target_arch = "x86_64", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, ETIMEDOUT, clockid_t, pthread_t, timespec};
use monkey_support::{errno, green, ms};

unsafe extern "C" {
    fn pthread_timedjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        moment: *const timespec,
    ) -> c_int;
}

/// Seconds by which the clock has been set.
static STEP: AtomicI64 = AtomicI64::new(0);

/// # Safety
/// As clock_gettime(2).
// SAFETY: the name is libc's and so are the types: it replaces that function for this program.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let read = libc::syscall(libc::SYS_clock_gettime, clock, time);
        if read == 0 && clock == CLOCK_REALTIME {
            (*time).tv_sec += STEP.load(Ordering::SeqCst);
        }
        read as c_int
    }
}

const HOUR: i64 = 3600;

/// One clock, one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_seconds(clock: clockid_t, seconds: i64) -> timespec {
    // SAFETY: a place for the time.
    unsafe {
        let mut now = zeroed();
        assert_eq!(clock_gettime(clock, &mut now), 0);
        now.tv_sec += seconds;
        now
    }
}

extern "C" fn sleeps_long(_: *mut c_void) -> *mut c_void {
    // SAFETY: a plain number.
    unsafe { libc::sleep(1000) };
    null_mut()
}

fn failed(result: c_int) -> c_int {
    if result < 0 { errno() } else { result }
}

type Wait = fn(&timespec) -> c_int;

// SAFETY of all: new objects, which live as long as the wait.
const WAITS: [(&str, Wait); 8] = [
    ("pthread_cond_timedwait", |until| {
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        let mut condition = libc::PTHREAD_COND_INITIALIZER;
        // SAFETY: see above.
        unsafe {
            libc::pthread_mutex_lock(&mut mutex);
            libc::pthread_cond_timedwait(&mut condition, &mut mutex, until)
        }
    }),
    ("pthread_mutex_timedlock", |until| {
        let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
        // SAFETY: see above.
        unsafe {
            libc::pthread_mutex_lock(&mut mutex);
            libc::pthread_mutex_timedlock(&mut mutex, until)
        }
    }),
    ("pthread_rwlock_timedwrlock", |until| {
        unsafe extern "C" {
            fn pthread_rwlock_timedwrlock(
                lock: *mut libc::pthread_rwlock_t,
                moment: *const timespec,
            ) -> c_int;
        }
        let mut lock = libc::PTHREAD_RWLOCK_INITIALIZER;
        // SAFETY: see above.
        unsafe {
            libc::pthread_rwlock_rdlock(&mut lock);
            pthread_rwlock_timedwrlock(&mut lock, until)
        }
    }),
    ("sem_timedwait", |until| {
        // SAFETY: see above.
        unsafe {
            let mut semaphore = zeroed();
            libc::sem_init(&mut semaphore, 0, 0);
            failed(libc::sem_timedwait(&mut semaphore, until))
        }
    }),
    ("futex", |until| {
        let word = AtomicU32::new(0);
        let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
        let operation = operation | libc::FUTEX_PRIVATE_FLAG;
        let none = null::<u32>();
        // SAFETY: see above.
        failed(unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                operation,
                0,
                until,
                none,
                !0u32,
            )
        } as c_int)
    }),
    ("clock_nanosleep", |until| {
        let flags = libc::TIMER_ABSTIME;
        // SAFETY: see above.
        unsafe { libc::clock_nanosleep(CLOCK_REALTIME, flags, until, null_mut()) }
    }),
    ("pthread_timedjoin_np", |until| {
        let mut made = 0;
        // SAFETY: a place for the thread, which is left behind.
        unsafe {
            libc::pthread_create(&mut made, null(), sleeps_long, null_mut());
            pthread_timedjoin_np(made, null_mut(), until)
        }
    }),
    ("pthread_timedjoin_np of an OS thread", |until| {
        let mut made = 0;
        // SAFETY: as above.
        greenroom::monkey::native(|| unsafe {
            let create = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr());
            let create: extern "C" fn(
                *mut pthread_t,
                *const libc::pthread_attr_t,
                extern "C" fn(*mut c_void) -> *mut c_void,
                *mut c_void,
            ) -> c_int = std::mem::transmute(create);
            create(&mut made, null(), sleeps_long, null_mut())
        });
        // SAFETY: as above.
        unsafe { pthread_timedjoin_np(made, null_mut(), until) }
    }),
];

/// Waits for all of these at once, and what each returned.
fn begin(seconds: i64) -> Vec<(&'static str, thread::JoinHandle<c_int>)> {
    let until = in_seconds(CLOCK_REALTIME, seconds);
    let waits = WAITS.map(|(name, wait)| (name, thread::spawn(move || wait(&until))));
    thread::sleep(ms(50));
    waits.into()
}

fn unfinished(waits: &[(&'static str, thread::JoinHandle<c_int>)]) -> Vec<&'static str> {
    let waits = waits.iter().filter(|(_, wait)| !wait.is_finished());
    waits.map(|(name, _)| *name).collect()
}

fn end(waits: Vec<(&'static str, thread::JoinHandle<c_int>)>) {
    for _ in 0..1000 {
        if unfinished(&waits).is_empty() {
            break;
        }
        thread::sleep(ms(20));
    }
    assert_eq!(unfinished(&waits), [""; 0]);
    for (name, wait) in waits {
        let expected = if name == "clock_nanosleep" {
            0
        } else {
            ETIMEDOUT
        };
        assert_eq!((name, wait.join().unwrap()), (name, expected));
    }
}

#[test]
fn a_step_forward_ends_the_waits() {
    let _bound = bounded();
    let _alone = alone();
    green(|| {
        let waits = begin(HOUR);
        assert_eq!(unfinished(&waits).len(), WAITS.len());
        STEP.fetch_add(2 * HOUR, Ordering::SeqCst);
        end(waits);
    });
}

#[test]
fn a_step_back_makes_them_longer() {
    let _bound = bounded();
    let _alone = alone();
    green(|| {
        let waits = begin(1);
        STEP.fetch_sub(HOUR, Ordering::SeqCst);
        thread::sleep(ms(2500));
        assert_eq!(unfinished(&waits).len(), WAITS.len());
        STEP.fetch_add(HOUR, Ordering::SeqCst);
        end(waits);
    });
}

#[test]
fn a_wait_by_the_monotonic_clock_is_not_concerned() {
    let _bound = bounded();
    let _alone = alone();
    green(|| {
        let until = in_seconds(CLOCK_MONOTONIC, HOUR);
        let sleeper = thread::spawn(move || {
            // SAFETY: a valid moment.
            unsafe {
                libc::clock_nanosleep(CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, null_mut())
            }
        });
        thread::sleep(ms(20));
        STEP.fetch_add(2 * HOUR, Ordering::SeqCst);
        thread::sleep(ms(1500));
        assert!(!sleeper.is_finished());
    });
}
