//! The locks of pthreads as C has them.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use libc::{clockid_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, timespec};

unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        moment: *const timespec,
    ) -> c_int;
    fn pthread_cond_clockwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        moment: *const timespec,
    ) -> c_int;
    fn pthread_rwlock_clockrdlock(
        lock: *mut pthread_rwlock_t,
        clock: clockid_t,
        moment: *const timespec,
    ) -> c_int;
    fn pthread_rwlock_clockwrlock(
        lock: *mut pthread_rwlock_t,
        clock: clockid_t,
        moment: *const timespec,
    ) -> c_int;
}

unsafe extern "C" {
    pub(crate) fn mtx_lock(mutex: *mut c_void) -> c_int;
    pub(crate) fn mtx_timedlock(mutex: *mut c_void, moment: *const timespec) -> c_int;
    pub(crate) fn mtx_unlock(mutex: *mut c_void) -> c_int;
    pub(crate) fn cnd_wait(condition: *mut c_void, mutex: *mut c_void) -> c_int;
    pub(crate) fn cnd_timedwait(
        condition: *mut c_void,
        mutex: *mut c_void,
        moment: *const timespec,
    ) -> c_int;
    pub(crate) fn cnd_signal(condition: *mut c_void) -> c_int;
    pub(crate) fn cnd_broadcast(condition: *mut c_void) -> c_int;
}

/// Makes them such that several processes may use them.
pub(crate) fn init_shared(mutex: *mut pthread_mutex_t, condition: *mut pthread_cond_t) {
    let (mut of_mutex, mut of_condition) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let shared = libc::PTHREAD_PROCESS_SHARED;
    // SAFETY: the attributes are initialised first, and the tests have just made both.
    unsafe {
        libc::pthread_mutexattr_init(of_mutex.as_mut_ptr());
        libc::pthread_mutexattr_setpshared(of_mutex.as_mut_ptr(), shared);
        assert_eq!(libc::pthread_mutex_init(mutex, of_mutex.as_ptr()), 0);
        libc::pthread_condattr_init(of_condition.as_mut_ptr());
        libc::pthread_condattr_setpshared(of_condition.as_mut_ptr(), shared);
        assert_eq!(libc::pthread_cond_init(condition, of_condition.as_ptr()), 0);
    }
}

/// The moment that is so far from now.
pub(crate) fn from_now(clock: clockid_t, time: Duration) -> timespec {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for a time.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut now) }, 0);
    let then = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + time;
    timespec {
        tv_sec: then.as_secs() as libc::time_t,
        tv_nsec: then.subsec_nanos().into(),
    }
}

#[derive(Debug)]
pub(crate) struct Mutex(Box<UnsafeCell<pthread_mutex_t>>);

// SAFETY: a pthread mutex is for several threads, and stays where it is.
unsafe impl Send for Mutex {}
// SAFETY: as above.
unsafe impl Sync for Mutex {}

impl Mutex {
    pub(crate) fn normal() -> Mutex {
        Mutex(Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)))
    }

    fn with(set: impl FnOnce(*mut libc::pthread_mutexattr_t)) -> Mutex {
        let mutex = Mutex::normal();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised first, and the mutex is new.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            set(attributes.as_mut_ptr());
            assert_eq!(
                libc::pthread_mutex_init(mutex.0.get(), attributes.as_ptr()),
                0
            );
        }
        mutex
    }

    pub(crate) fn of_kind(kind: c_int) -> Mutex {
        // SAFETY: initialised attributes.
        Mutex::with(|attributes| unsafe {
            libc::pthread_mutexattr_settype(attributes, kind);
        })
    }

    pub(crate) fn robust() -> Mutex {
        // SAFETY: initialised attributes.
        Mutex::with(|attributes| unsafe {
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST);
        })
    }

    pub(crate) fn with_priorities() -> Mutex {
        // SAFETY: initialised attributes.
        Mutex::with(|attributes| unsafe {
            libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_INHERIT);
        })
    }

    pub(crate) fn raw(&self) -> *mut pthread_mutex_t {
        self.0.get()
    }

    pub(crate) fn lock_raw(&self) -> c_int {
        // SAFETY: a valid mutex, here and below.
        unsafe { libc::pthread_mutex_lock(self.raw()) }
    }

    pub(crate) fn lock(&self) {
        assert_eq!(self.lock_raw(), 0);
    }

    pub(crate) fn try_lock(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_trylock(self.raw()) }
    }

    pub(crate) fn timed_lock(&self, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_timedlock(self.raw(), &moment) }
    }

    pub(crate) fn clock_lock(&self, clock: clockid_t, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_mutex_clocklock(self.raw(), clock, &moment) }
    }

    pub(crate) fn unlock_raw(&self) -> c_int {
        // SAFETY: as above; the tests lock it before.
        unsafe { libc::pthread_mutex_unlock(self.raw()) }
    }

    pub(crate) fn unlock(&self) {
        assert_eq!(self.unlock_raw(), 0);
    }
}

#[derive(Debug)]
pub(crate) struct Condition(Box<UnsafeCell<pthread_cond_t>>);

// SAFETY: a condition variable is for several threads, and stays where it is.
unsafe impl Send for Condition {}
// SAFETY: as above.
unsafe impl Sync for Condition {}

impl Condition {
    pub(crate) fn new() -> Condition {
        Condition(Box::new(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER)))
    }

    pub(crate) fn with_clock(clock: clockid_t) -> Condition {
        let condition = Condition::new();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised first, and the variable is new.
        unsafe {
            libc::pthread_condattr_init(attributes.as_mut_ptr());
            libc::pthread_condattr_setclock(attributes.as_mut_ptr(), clock);
            assert_eq!(
                libc::pthread_cond_init(condition.0.get(), attributes.as_ptr()),
                0
            );
        }
        condition
    }

    pub(crate) fn raw(&self) -> *mut pthread_cond_t {
        self.0.get()
    }

    pub(crate) fn wait(&self, mutex: &Mutex) -> c_int {
        // SAFETY: valid ones, and the tests hold the mutex, here and below.
        unsafe { libc::pthread_cond_wait(self.0.get(), mutex.raw()) }
    }

    pub(crate) fn timed_wait(&self, mutex: &Mutex, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_cond_timedwait(self.0.get(), mutex.raw(), &moment) }
    }

    pub(crate) fn clock_wait(&self, mutex: &Mutex, clock: clockid_t, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_cond_clockwait(self.0.get(), mutex.raw(), clock, &moment) }
    }

    pub(crate) fn signal(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_cond_signal(self.0.get()) }, 0);
    }

    pub(crate) fn broadcast(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_cond_broadcast(self.0.get()) }, 0);
    }
}

#[derive(Debug)]
pub(crate) struct RwLock(Box<UnsafeCell<pthread_rwlock_t>>);

// SAFETY: a read-write lock is for several threads, and stays where it is.
unsafe impl Send for RwLock {}
// SAFETY: as above.
unsafe impl Sync for RwLock {}

impl RwLock {
    pub(crate) fn new() -> RwLock {
        RwLock(Box::new(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER)))
    }

    pub(crate) fn read(&self) -> c_int {
        // SAFETY: a valid lock, here and below.
        unsafe { libc::pthread_rwlock_rdlock(self.0.get()) }
    }

    pub(crate) fn write(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_rwlock_wrlock(self.0.get()) }
    }

    pub(crate) fn read_until(&self, clock: clockid_t, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_rwlock_clockrdlock(self.0.get(), clock, &moment) }
    }

    pub(crate) fn write_until(&self, clock: clockid_t, moment: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_rwlock_clockwrlock(self.0.get(), clock, &moment) }
    }

    pub(crate) fn unlock(&self) {
        // SAFETY: as above; the tests lock it before.
        assert_eq!(unsafe { libc::pthread_rwlock_unlock(self.0.get()) }, 0);
    }
}
