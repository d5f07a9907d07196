//! What C asks of a thread and does to it, when the thread is a greenlet.
#![cfg(all(feature = "monkey", target_arch = "x86_64", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use monkey_support::{kernel_id, ms, on_one_os_thread};

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut c_void) -> !;
}

// In glibc, not in the crate libc.
unsafe extern "C" {
    fn pthread_setschedprio(thread: libc::pthread_t, priority: c_int) -> c_int;
    fn pthread_getaffinity_np(
        thread: libc::pthread_t,
        bytes: usize,
        processors: *mut libc::cpu_set_t,
    ) -> c_int;
    fn pthread_setaffinity_np(
        thread: libc::pthread_t,
        bytes: usize,
        processors: *const libc::cpu_set_t,
    ) -> c_int;
    fn pthread_getname_np(thread: libc::pthread_t, name: *mut c_char, bytes: usize) -> c_int;
}

fn start(routine: extern "C" fn(*mut c_void) -> *mut c_void, n: usize) -> libc::pthread_t {
    let mut made = 0;
    // SAFETY: a place for the thread; the routines below take a number for a pointer.
    let result = unsafe {
        libc::pthread_create(
            &raw mut made,
            null(),
            routine,
            std::ptr::without_provenance_mut(n),
        )
    };
    assert_eq!(result, 0);
    made
}

fn join(made: libc::pthread_t) -> usize {
    let mut value = null_mut();
    // SAFETY: joinable, and a place for the value.
    assert_eq!(unsafe { libc::pthread_join(made, &raw mut value) }, 0);
    value.addr()
}

thread_local! {
    static LAST_WORDS: LastWords = const { LastWords(Cell::new(0)) };
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

struct LastWords(Cell<usize>);

impl Drop for LastWords {
    fn drop(&mut self) {
        ENDED.fetch_add(self.0.get(), Ordering::Relaxed);
    }
}

/// As deep as C code would be when it has had enough.
#[inline(never)]
fn exit_below(depth: usize, value: *mut c_void) -> *mut c_void {
    if depth == 0 {
        thread::sleep(ms(20));
        LAST_WORDS.with(|words| words.0.set(1));
        // SAFETY: nothing is to be dropped in these frames.
        unsafe { pthread_exit(value) }
    }
    std::hint::black_box(exit_below(depth - 1, value))
}

extern "C-unwind" fn exits(value: *mut c_void) -> *mut c_void {
    exit_below(10, value)
}

/// The same function: frames that are unwound by force need no more than nothing to drop.
fn exiting() -> extern "C" fn(*mut c_void) -> *mut c_void {
    // SAFETY: they differ in whether a caller has to expect a panic, which never comes.
    unsafe {
        std::mem::transmute::<
            extern "C-unwind" fn(*mut c_void) -> *mut c_void,
            extern "C" fn(*mut c_void) -> *mut c_void,
        >(exits)
    }
}

#[test]
fn a_thread_may_exit_from_any_depth() {
    let _bound = bounded();
    on_one_os_thread(|| {
        for _ in 0..2 {
            let threads: Vec<_> = (1..=20).map(|n| start(exiting(), n)).collect();
            for (n, made) in threads.into_iter().enumerate() {
                assert_eq!(join(made), n + 1);
            }
        }
        assert_eq!(
            ENDED.load(Ordering::Relaxed),
            40,
            "destructors of thread-locals"
        );
    });
}

extern "C" fn naps(value: *mut c_void) -> *mut c_void {
    thread::sleep(ms(50));
    value
}

#[test]
fn scheduling_is_that_of_the_os_thread_and_stays_so() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let asks = || {
            // SAFETY: takes nothing.
            let own = unsafe { libc::pthread_self() };
            let another = start(naps, 7);
            for thread in [own, another] {
                ask_all(thread);
            }
            assert_eq!(join(another), 7);
        };
        greenroom::spawn(asks).join().unwrap();
        thread::spawn(asks).join().unwrap();
    });
}

fn ask_all(thread: libc::pthread_t) {
    // SAFETY: plain structures of numbers, for which zeros will do; and a place for each answer.
    unsafe {
        let (mut policy, mut param) = (-1, std::mem::zeroed::<libc::sched_param>());
        assert_eq!(
            libc::pthread_getschedparam(thread, &mut policy, &mut param),
            0
        );
        assert_eq!(policy, libc::sched_getscheduler(0));
        assert_eq!(libc::pthread_setschedparam(thread, policy, &param), 0);
        assert_eq!(pthread_setschedprio(thread, 0), 0);

        let (mut before, mut asked) = (std::mem::zeroed(), std::mem::zeroed());
        let bytes = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, bytes, &mut before), 0);
        assert_eq!(pthread_getaffinity_np(thread, bytes, &mut asked), 0);
        assert_eq!(libc::CPU_COUNT(&asked), libc::CPU_COUNT(&before));
        let mut one = std::mem::zeroed();
        libc::CPU_SET(0, &mut one);
        assert_eq!(pthread_setaffinity_np(thread, bytes, &one), 0);
        assert_eq!(libc::sched_getaffinity(0, bytes, &mut asked), 0);
        assert!(
            libc::CPU_EQUAL(&asked, &before),
            "the other greenlets' affinity"
        );

        let (mut clock, mut time) = (0, std::mem::zeroed());
        assert_eq!(libc::pthread_getcpuclockid(thread, &mut clock), 0);
        assert_eq!(libc::clock_gettime(clock, &mut time), 0);

        let mut name = [1; 16];
        assert_eq!(pthread_getname_np(thread, name.as_mut_ptr(), 16), 0);
        assert_eq!(
            pthread_getname_np(thread, name.as_mut_ptr(), 15),
            libc::ERANGE
        );
        assert!(name.contains(&0));
        assert_eq!(libc::pthread_kill(thread, 0), 0);
    }
}

static SEEN_BY: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_os_thread(_: c_int) {
    SEEN_BY.store(kernel_id() as usize, Ordering::Relaxed);
}

#[test]
fn a_signal_to_a_thread_reaches_its_os_thread() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let handler: extern "C" fn(c_int) = note_os_thread;
        // SAFETY: the handler makes one system call and stores a number.
        unsafe { libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t) };
        let made = start(naps, 1);
        // SAFETY: joinable, so it is there.
        assert_eq!(unsafe { libc::pthread_kill(made, libc::SIGUSR2) }, 0);
        assert_eq!(SEEN_BY.load(Ordering::Relaxed), kernel_id() as usize);
        // SAFETY: as above; there is no such signal.
        assert_eq!(unsafe { libc::pthread_kill(made, 1000) }, libc::EINVAL);
        assert_eq!(join(made), 1);
    });
}
