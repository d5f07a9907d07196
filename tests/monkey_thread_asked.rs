//! What others ask of a thread and do to it while it runs, is joined, is detached, and has ended:
//! the same for greenlets under the patch as for OS threads without it.
#![cfg(all(feature = "monkey", target_arch = "x86_64", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use libc::{pthread_t, timespec};
use monkey_support::{green, native};

// In glibc, not in the crate libc.
unsafe extern "C" {
    fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    fn pthread_timedjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        moment: *const timespec,
    ) -> c_int;
    fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: libc::clockid_t,
        moment: *const timespec,
    ) -> c_int;
    fn pthread_attr_getstack(
        attributes: *const libc::pthread_attr_t,
        lowest: *mut *mut c_void,
        bytes: *mut usize,
    ) -> c_int;
    fn pthread_attr_getdetachstate(
        attributes: *const libc::pthread_attr_t,
        state: *mut c_int,
    ) -> c_int;
}

/// What is asked, and what was answered.
type Answers = Vec<(&'static str, c_int)>;

/// A thread that works until it is told to end, and then returns 7.
#[derive(Default)]
struct Worker {
    id: AtomicUsize,
    started: AtomicBool,
    told: AtomicBool,
    /// An address on its stack.
    local: AtomicUsize,
    /// Joins the thread with this id before it ends, if there is one.
    joins: AtomicUsize,
    joined: AtomicUsize,
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

fn pause() {
    // SAFETY: a plain number.
    unsafe { libc::usleep(1000) };
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        pause();
    }
}

extern "C" fn work(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `Worker::start` passes one that lives for ever.
    let worker = unsafe { &*argument.cast::<Worker>() };
    let local = 0u8;
    worker
        .local
        .store((&raw const local).addr(), Ordering::SeqCst);
    worker.started.store(true, Ordering::SeqCst);
    wait_for(&worker.told);
    let other = worker.joins.load(Ordering::SeqCst);
    if other != 0 {
        // SAFETY: one that is joined by nobody else.
        let joined = unsafe { libc::pthread_join(other as pthread_t, null_mut()) };
        worker.joined.store(joined as usize + 1, Ordering::SeqCst);
    }
    std::ptr::without_provenance_mut(7)
}

impl Worker {
    fn start() -> &'static Worker {
        let worker: &Worker = Box::leak(Box::default());
        let mut id = 0;
        let argument = (&raw const *worker).cast_mut().cast();
        // SAFETY: a place for the thread; the routine gets what it expects.
        let made = unsafe { libc::pthread_create(&mut id, null(), work, argument) };
        assert_eq!(made, 0);
        worker.id.store(id as usize, Ordering::SeqCst);
        worker
    }

    fn id(&self) -> pthread_t {
        self.id.load(Ordering::SeqCst) as pthread_t
    }

    fn end(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    fn join(&self) -> c_int {
        let mut value = null_mut();
        // SAFETY: its owner knows that it is there; a place for the value.
        let joined = unsafe { libc::pthread_join(self.id(), &mut value) };
        assert!(joined != 0 || value.addr() == 7);
        joined
    }

    fn name(&self) -> (c_int, String) {
        name_of(self.id())
    }

    /// The answers to all that may be asked of a thread.
    fn ask(&self) -> Answers {
        let id = self.id();
        let before = SIGNALS.load(Ordering::SeqCst);
        // SAFETY: places for the answers; the thread is known to libc, or to us.
        unsafe {
            let (mut param, mut policy, mut clock) = (zeroed(), 0, 0);
            let long = c"sixteen letters.";
            let mut small = [0; 15];
            let mut answers = vec![
                ("pthread_kill 0", libc::pthread_kill(id, 0)),
                ("pthread_kill", libc::pthread_kill(id, libc::SIGUSR1)),
                ("bad signal", libc::pthread_kill(id, 1000)),
                ("getname", self.name().0),
                (
                    "small",
                    libc::pthread_getname_np(id, small.as_mut_ptr(), 15),
                ),
                ("long name", libc::pthread_setname_np(id, long.as_ptr())),
                (
                    "setname",
                    libc::pthread_setname_np(id, c"fifteen letters".as_ptr()),
                ),
                ("same name", c_int::from(self.name().1 == "fifteen letters")),
                ("empty name", libc::pthread_setname_np(id, c"".as_ptr())),
                ("is empty", c_int::from(self.name().1.is_empty())),
                (
                    "getschedparam",
                    libc::pthread_getschedparam(id, &mut policy, &mut param),
                ),
                ("getcpuclockid", libc::pthread_getcpuclockid(id, &mut clock)),
            ];
            for _ in 0..200 {
                if SIGNALS.load(Ordering::SeqCst) > before {
                    break;
                }
                pause();
            }
            let signals = SIGNALS.load(Ordering::SeqCst) - before;
            answers.push(("signals", signals as c_int));
            answers
        }
    }

    /// What pthread_getattr_np says, and whether its stack is in there.
    fn attributes(&self) -> Answers {
        // SAFETY: as above.
        unsafe {
            let (mut asked, mut lowest, mut bytes, mut state) = (zeroed(), null_mut(), 0, -1);
            let code = libc::pthread_getattr_np(self.id(), &mut asked);
            pthread_attr_getstack(&asked, &mut lowest, &mut bytes);
            pthread_attr_getdetachstate(&asked, &mut state);
            libc::pthread_attr_destroy(&mut asked);
            let stack = lowest.addr()..lowest.addr() + bytes;
            let inside = stack.contains(&self.local.load(Ordering::SeqCst));
            vec![
                ("getattr", code),
                ("stack", c_int::from(inside)),
                ("detached", state),
            ]
        }
    }

    fn join_until(&self, seconds: i64, ns: i64) -> c_int {
        let moment = timespec {
            tv_sec: seconds,
            tv_nsec: ns,
        };
        // SAFETY: as above.
        unsafe { pthread_timedjoin_np(self.id(), null_mut(), &moment) }
    }

    fn join_in_vain(&self) -> Answers {
        // SAFETY: a place for the time.
        let now = unsafe {
            let mut now = zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &mut now);
            now
        };
        let zero = timespec { ..now };
        // SAFETY: as above.
        let (tried, strange) = unsafe {
            let tried = pthread_tryjoin_np(self.id(), null_mut());
            let strange = pthread_clockjoin_np(self.id(), null_mut(), 99, &zero);
            (tried, strange)
        };
        vec![
            ("tryjoin", tried),
            ("a clock that is none", strange),
            ("timedjoin at 0", self.join_until(0, 0)),
            ("timedjoin before time", self.join_until(-5, 0)),
            ("timedjoin a second ago", self.join_until(now.tv_sec - 1, 0)),
            ("timedjoin in a second", self.join_until(now.tv_sec + 2, 0)),
        ]
    }
}

fn name_of(id: pthread_t) -> (c_int, String) {
    let mut name = [1 as c_char; 16];
    // SAFETY: room for the name.
    let code = unsafe { libc::pthread_getname_np(id, name.as_mut_ptr(), 16) };
    if code != 0 {
        return (code, String::new());
    }
    // SAFETY: it ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    (code, name.to_string_lossy().into_owned())
}

/// Runs `scene` on OS threads, then under the patch, and compares what came of it. One at a time:
/// all count signals.
fn same(scene: fn() -> Vec<Answers>) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let handler: extern "C" fn(c_int) = count;
    // SAFETY: the handler adds to a number.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
    let natively = native(scene);
    let patched = green(scene);
    assert_eq!(patched, natively);
}

#[test]
fn while_it_runs_and_while_another_joins_it() {
    let _bound = bounded();
    same(|| {
        let worker = Worker::start();
        // Its stack is known before it has started, too.
        let early = vec![worker.attributes()[0]];
        wait_for(&worker.started);
        let before = [worker.ask(), worker.attributes(), worker.join_in_vain()];
        let joiner = Worker::start();
        joiner.joins.store(worker.id() as usize, Ordering::SeqCst);
        joiner.end();
        wait_for(&joiner.started);
        (0..20).for_each(|_| pause());
        let during = [worker.ask(), worker.attributes()];
        // SAFETY: it is known.
        let more = vec![("tryjoin", unsafe {
            pthread_tryjoin_np(worker.id(), null_mut())
        })];
        worker.end();
        let joined = joiner.join();
        let ended = vec![
            ("joined", joined),
            ("it", joiner.joined.load(Ordering::SeqCst) as c_int - 1),
        ];
        let all = [early].into_iter().chain(before).chain(during);
        all.chain([more, ended]).collect()
    });
}

#[test]
fn when_it_has_ended_and_nobody_has_joined_it() {
    let _bound = bounded();
    same(|| {
        let worker = Worker::start();
        worker.end();
        let mut clock = 0;
        // SAFETY: it is known until it is joined.
        while unsafe { libc::pthread_getcpuclockid(worker.id(), &mut clock) } == 0 {
            pause();
        }
        let mut answers = worker.ask();
        // There is no name to give it, so libc has none to compare.
        answers.retain(|(what, _)| *what != "is empty");
        let joined = vec![("timedjoin", worker.join_until(-5, 0))];
        vec![answers, joined]
    });
}

#[test]
fn when_it_is_detached() {
    let _bound = bounded();
    same(|| {
        let worker = Worker::start();
        wait_for(&worker.started);
        // SAFETY: it is known, and runs until it is told to end.
        let detached = unsafe {
            vec![
                ("detach", libc::pthread_detach(worker.id())),
                ("again", libc::pthread_detach(worker.id())),
                ("join", worker.join()),
                ("tryjoin", pthread_tryjoin_np(worker.id(), null_mut())),
                ("timedjoin", worker.join_until(0, 0)),
            ]
        };
        let all = vec![detached, worker.ask(), worker.attributes()];
        worker.end();
        (0..20).for_each(|_| pause());
        all
    });
}

/// As the manual says; glibc 2.36 waits for ever.
#[test]
fn a_second_join_is_refused_and_so_is_one_of_each_other() {
    let _bound = bounded();
    green(|| {
        let [one, other] = [Worker::start(), Worker::start()];
        one.joins.store(other.id() as usize, Ordering::SeqCst);
        one.end();
        wait_for(&one.started);
        (0..20).for_each(|_| pause());
        assert_eq!(other.join(), libc::EINVAL);
        assert_eq!(other.join_until(0, 0), libc::EINVAL);
        // SAFETY: it is known. This leaves the thread to the one that joins it.
        assert_eq!(unsafe { libc::pthread_detach(other.id()) }, 0);
        other.joins.store(one.id() as usize, Ordering::SeqCst);
        other.end();
        assert_eq!(one.join(), 0);
        let told = |worker: &Worker| worker.joined.load(Ordering::SeqCst) as c_int - 1;
        assert_eq!((told(one), told(other)), (0, libc::EDEADLK));
    });
}

#[test]
fn a_thread_has_the_name_of_the_one_that_made_it_until_it_has_its_own() {
    let _bound = bounded();
    same(|| {
        let inherits = |maker: pthread_t| {
            let worker = Worker::start();
            let same = worker.name() == name_of(maker);
            worker.end();
            assert_eq!(worker.join(), 0);
            c_int::from(same)
        };
        // SAFETY: takes nothing.
        let here = unsafe { libc::pthread_self() };
        let first = inherits(here);
        let named = std::thread::Builder::new().name("a name of more than fifteen".into());
        let named = named.spawn(move || {
            // SAFETY: takes nothing.
            let here = unsafe { libc::pthread_self() };
            let (code, name) = name_of(here);
            assert_eq!(name, "a name of more ");
            (code, inherits(here))
        });
        let (code, second) = named.unwrap().join().unwrap();
        vec![vec![("code", code), ("first", first), ("second", second)]]
    });
}
