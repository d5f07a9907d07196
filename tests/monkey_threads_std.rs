//! What std promises of its threads, kept by greenlets, on one OS thread. After the cases of std's
//! own tests (library/std/tests/thread.rs and src/thread/tests.rs), in our words.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex, Once, OnceLock, RwLock, mpsc};
use std::thread::{self, Builder, ThreadId};
use std::time::{Duration, Instant};

use monkey_support::{kernel_id, ms, on_one_os_thread};

#[test]
fn a_park_with_a_limit_ends_by_itself() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let parks = thread::spawn(|| {
            let begin = Instant::now();
            thread::park_timeout(ms(20));
            begin.elapsed()
        });
        assert!(parks.join().unwrap() >= ms(20));
    });
}

#[test]
fn an_unpark_ends_a_park_with_a_limit() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let begin = Instant::now();
        let parks = thread::spawn(|| thread::park_timeout(Duration::from_secs(600)));
        thread::sleep(ms(5));
        parks.thread().unpark();
        parks.join().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60));
    });
}

#[test]
fn an_unpark_before_the_park_is_kept_and_two_count_as_one() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let goes = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&goes);
        let parks = thread::spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            thread::park();
            let begin = Instant::now();
            thread::park_timeout(ms(20));
            begin.elapsed()
        });
        parks.thread().unpark();
        parks.thread().unpark();
        goes.store(true, Ordering::Relaxed);
        assert!(parks.join().unwrap() >= ms(20));
    });
}

#[test]
fn one_may_unpark_itself() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let parks = || {
            thread::current().unpark();
            thread::park();
        };
        parks();
        thread::spawn(parks).join().unwrap();
    });
}

#[test]
fn an_unpark_of_one_that_has_ended_is_nothing() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let ended = thread::spawn(thread::current).join().unwrap();
        // Its block has a new owner meanwhile.
        let other = thread::spawn(|| thread::park_timeout(ms(20)));
        let begin = Instant::now();
        ended.unpark();
        other.join().unwrap();
        assert!(begin.elapsed() >= ms(19));
    });
}

#[test]
fn a_scope_waits_for_all_and_panics_if_one_did() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let ended = AtomicUsize::new(0);
        let scope = || {
            thread::scope(|s| {
                s.spawn(|| panic::resume_unwind(Box::new("mine")));
                for _ in 0..10 {
                    s.spawn(|| {
                        thread::sleep(ms(5));
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        };
        let payload = panic::catch_unwind(AssertUnwindSafe(scope)).unwrap_err();
        let text = payload.downcast_ref::<&str>();
        assert_eq!(text, Some(&"a scoped thread panicked"));
        assert_eq!(ended.into_inner(), 10);
    });
}

#[test]
fn a_panic_that_is_joined_in_its_scope_goes_no_further() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let joined = thread::scope(|s| {
            let fails = s.spawn(|| -> () { panic::resume_unwind(Box::new(7)) });
            fails.join().unwrap_err().downcast_ref::<i32>().copied()
        });
        assert_eq!(joined, Some(7));
    });
}

#[test]
fn a_scope_whose_own_body_panics_waits_first() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let ended = AtomicBool::new(false);
        let scope = || {
            thread::scope(|s| {
                s.spawn(|| {
                    thread::sleep(ms(5));
                    ended.store(true, Ordering::Relaxed);
                });
                panic::resume_unwind(Box::new(()));
            })
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(scope)).is_err());
        assert!(ended.into_inner());
    });
}

#[test]
fn scopes_nest_and_their_threads_spawn_more() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let count = AtomicUsize::new(0);
        let once = || count.fetch_add(1, Ordering::Relaxed);
        thread::scope(|outer| {
            for _ in 0..5 {
                outer.spawn(|| {
                    outer.spawn(once);
                    thread::scope(|inner| {
                        let named = Builder::new().name("inner".into());
                        let name = || thread::current().name().map(String::from);
                        let inner = named.spawn_scoped(inner, name).unwrap();
                        assert_eq!(inner.join().unwrap().as_deref(), Some("inner"));
                    });
                    once();
                });
            }
        });
        assert_eq!(count.into_inner(), 10);
    });
}

#[test]
fn a_name_is_seen_from_inside_and_outside_and_none_is_none() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let inside = || thread::current().name().map(String::from);
        for name in [Some("one"), Some("a name that the kernel would cut"), None] {
            let mut builder = Builder::new();
            if let Some(name) = name {
                builder = builder.name(name.into());
            }
            let named = builder.spawn(inside).unwrap();
            assert_eq!(named.thread().name(), name);
            assert_eq!(named.join().unwrap().as_deref(), name);
        }
    });
}

/// Calls itself until the stack is `bytes` deeper than `top`.
#[inline(never)]
fn dig(top: usize, bytes: usize) -> usize {
    let frame = black_box([1u8; 1024]);
    let depth = top - frame.as_ptr().addr();
    let deepest = if depth < bytes {
        dig(top, bytes)
    } else {
        depth
    };
    black_box(&frame);
    deepest
}

/// Uses as much of the stack as that, in a thread of this builder.
fn use_stack(builder: Builder, bytes: usize) {
    let digs = || {
        let top = 0u8;
        dig((&raw const top).addr(), bytes)
    };
    let digs = thread::scope(|s| builder.spawn_scoped(s, digs).unwrap().join());
    assert!(digs.unwrap() >= bytes);
}

#[test]
fn a_stack_that_is_asked_for_is_really_there() {
    let _bound = bounded();
    on_one_os_thread(|| {
        for megabytes in [1, 4, 64] {
            let bytes = megabytes << 20;
            use_stack(Builder::new().stack_size(bytes), bytes / 16 * 15);
        }
        // The least is what std and libc make of it.
        let least = Builder::new().stack_size(0).spawn(|| 7).unwrap();
        assert_eq!(least.join().unwrap(), 7);
    });
}

#[test]
fn std_gives_a_stack_of_two_megabytes() {
    let _bound = bounded();
    on_one_os_thread(|| use_stack(Builder::new(), (2 << 20) / 16 * 15));
}

#[test]
fn a_stack_beyond_all_memory_is_an_error() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let closure = Arc::new(());
        let theirs = Arc::clone(&closure);
        let spawned = Builder::new()
            .stack_size(1 << 50)
            .spawn(move || drop(theirs));
        assert!(spawned.is_err());
        assert_eq!(Arc::strong_count(&closure), 1, "the closure was dropped");
        thread::spawn(|| ()).join().unwrap();
    });
}

#[test]
fn the_machine_has_as_many_processors_as_before() {
    let _bound = bounded();
    let natively = thread::available_parallelism().unwrap();
    on_one_os_thread(move || {
        let asked = thread::spawn(thread::available_parallelism);
        assert_eq!(asked.join().unwrap().unwrap(), natively);
    });
}

#[test]
fn a_handle_tells_whether_it_is_finished_without_waiting() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (go, gone) = mpsc::channel();
        let waits = thread::spawn(move || gone.recv());
        assert!(!waits.is_finished());
        thread::sleep(ms(5));
        assert!(!waits.is_finished());
        go.send(()).unwrap();
        let begin = Instant::now();
        while !waits.is_finished() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        assert!(waits.join().unwrap().is_ok());
    });
}

#[test]
fn ids_are_unique_also_of_those_that_have_ended() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let id = || thread::current().id();
        let one_by_one = (0..500).map(|_| thread::spawn(id).join().unwrap());
        let mut ids: BTreeSet<String> = one_by_one.map(text).collect();
        let at_once: Vec<_> = (0..500).map(|_| thread::spawn(id)).collect();
        let handles: BTreeSet<_> = at_once.iter().map(|one| text(one.thread().id())).collect();
        let joined: BTreeSet<_> = at_once
            .into_iter()
            .map(|one| text(one.join().unwrap()))
            .collect();
        assert_eq!(joined, handles);
        ids.extend(joined);
        ids.insert(text(id()));
        assert_eq!(ids.len(), 1001);
    });
}

/// Ids have no order.
fn text(id: ThreadId) -> String {
    format!("{id:?}")
}

#[test]
fn a_destructor_of_a_thread_local_may_spawn_and_join() {
    let _bound = bounded();
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Spawns;
    impl Drop for Spawns {
        fn drop(&mut self) {
            let spawned = thread::spawn(|| {
                thread::sleep(ms(2));
                1
            });
            SEEN.fetch_add(spawned.join().unwrap(), Ordering::Relaxed);
        }
    }
    thread_local!(static VALUE: Spawns = const { Spawns });
    on_one_os_thread(|| {
        let threads: Vec<_> = (0..20)
            .map(|_| thread::spawn(|| VALUE.with(|_| ())))
            .collect();
        threads.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(SEEN.load(Ordering::Relaxed), 20, "joined before, not after");
    });
}

#[test]
fn a_destructor_may_begin_another_thread_local_and_that_one_ends_too() {
    let _bound = bounded();
    static ENDED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    struct Noisy(&'static str);
    impl Drop for Noisy {
        fn drop(&mut self) {
            if self.0 == "first" {
                SECOND.with(|_| ());
                let gone = FIRST.try_with(|_| ()).is_err();
                ENDED
                    .lock()
                    .unwrap()
                    .push(if gone { "gone" } else { "there" });
            }
            ENDED.lock().unwrap().push(self.0);
        }
    }
    thread_local! {
        static FIRST: Noisy = const { Noisy("first") };
        static SECOND: Noisy = const { Noisy("second") };
    }
    on_one_os_thread(|| {
        thread::spawn(|| FIRST.with(|_| ())).join().unwrap();
        assert_eq!(*ENDED.lock().unwrap(), ["gone", "first", "second"]);
    });
}

#[test]
fn a_borrow_of_a_thread_local_is_held_across_a_wait() {
    let _bound = bounded();
    thread_local!(static LIST: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    on_one_os_thread(|| {
        let threads: Vec<_> = (0..50)
            .map(|n| {
                thread::spawn(move || {
                    LIST.with_borrow_mut(|list| {
                        list.push(n);
                        thread::sleep(ms(2));
                        list.clone()
                    })
                })
            })
            .collect();
        for (n, one) in threads.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), [n]);
        }
    });
}

#[test]
fn threads_spawn_threads_to_any_depth() {
    let _bound = bounded();
    fn deep(depth: usize) -> usize {
        match depth {
            0 => 0,
            _ => 1 + thread::spawn(move || deep(depth - 1)).join().unwrap(),
        }
    }
    on_one_os_thread(|| assert_eq!(deep(200), 200));
}

#[test]
fn threads_spawn_threads_to_any_breadth() {
    let _bound = bounded();
    fn tree(depth: usize) -> usize {
        let children = (0..if depth == 0 { 0 } else { 5 })
            .map(|_| thread::spawn(move || tree(depth - 1)))
            .collect::<Vec<_>>();
        1 + children
            .into_iter()
            .map(|one| one.join().unwrap())
            .sum::<usize>()
    }
    on_one_os_thread(|| assert_eq!(tree(4), 1 + 5 + 25 + 125 + 625));
}

#[test]
fn ten_thousand_live_at_once() {
    let _bound = bounded();
    const MANY: usize = 10_000;
    on_one_os_thread(|| {
        let all_there = Arc::new(Barrier::new(MANY + 1));
        let alive = Arc::new(AtomicUsize::new(0));
        let here = kernel_id();
        let threads: Vec<_> = (0..MANY)
            .map(|n| {
                let (all_there, alive) = (Arc::clone(&all_there), Arc::clone(&alive));
                thread::spawn(move || {
                    alive.fetch_add(1, Ordering::Relaxed);
                    all_there.wait();
                    assert_eq!(alive.load(Ordering::Relaxed), MANY);
                    assert_eq!(kernel_id(), here);
                    n
                })
            })
            .collect();
        all_there.wait();
        let sum: usize = threads.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!(sum, MANY * (MANY - 1) / 2);
    });
}

#[test]
fn a_panic_poisons_the_lock_that_was_held_and_nothing_else() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let locks = Arc::new((Mutex::new(0), Mutex::new(0)));
        let theirs = Arc::clone(&locks);
        let fails = thread::spawn(move || {
            let _held = theirs.0.lock();
            thread::yield_now();
            panic::resume_unwind(Box::new(()));
        });
        let others = Arc::clone(&locks);
        let innocent = thread::spawn(move || {
            let _held = others.1.lock();
            thread::sleep(ms(5));
            thread::panicking()
        });
        assert!(fails.join().is_err());
        assert!(!innocent.join().unwrap());
        assert!(locks.0.is_poisoned() && !locks.1.is_poisoned());
    });
}

#[test]
fn what_is_made_once_is_made_by_one_while_the_others_wait() {
    let _bound = bounded();
    static MADE: AtomicUsize = AtomicUsize::new(0);
    fn make() -> usize {
        thread::sleep(ms(5));
        MADE.fetch_add(1, Ordering::Relaxed) + 1
    }
    static LAZY: LazyLock<usize> = LazyLock::new(make);
    static LOCK: OnceLock<usize> = OnceLock::new();
    static ONCE: Once = Once::new();
    on_one_os_thread(|| {
        let ask = || {
            ONCE.call_once(|| _ = make());
            (*LAZY, *LOCK.get_or_init(make))
        };
        let threads: Vec<_> = (0..20).map(|_| thread::spawn(ask)).collect();
        for one in threads {
            assert_eq!(one.join().unwrap(), (2, 3));
        }
    });
}

#[test]
fn readers_share_a_lock_and_a_writer_has_it_alone() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let (lock, readers) = (Arc::new(RwLock::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (lock, readers) = (Arc::clone(&lock), Arc::clone(&readers));
                thread::spawn(move || {
                    if n % 4 == 0 {
                        let mut held = lock.write().unwrap();
                        assert_eq!(readers.load(Ordering::Relaxed), 0);
                        let seen = *held;
                        thread::sleep(ms(1));
                        *held = seen + 1;
                        return 0;
                    }
                    let held = lock.read().unwrap();
                    let now = readers.fetch_add(1, Ordering::Relaxed) + 1;
                    let seen = *held;
                    thread::sleep(ms(1));
                    assert_eq!(*held, seen);
                    readers.fetch_sub(1, Ordering::Relaxed);
                    now
                })
            })
            .collect();
        let most = threads.into_iter().map(|one| one.join().unwrap()).max();
        assert!(most > Some(1), "readers were side by side");
        assert_eq!(*lock.read().unwrap(), 5);
    });
}

/// When dropped, has a worker end, and waits until it says so and is gone.
struct Pool {
    stop: mpsc::Sender<()>,
    stopped: mpsc::Receiver<()>,
    worker: Option<thread::JoinHandle<()>>,
}

impl Pool {
    fn new() -> Pool {
        let ((stop, stops), (says, stopped)) = (mpsc::channel(), mpsc::channel());
        let worker = thread::spawn(move || {
            stops.recv().unwrap();
            thread::sleep(ms(2));
            assert!(!thread::panicking());
            says.send(()).unwrap();
        });
        let worker = Some(worker);
        Pool {
            stop,
            stopped,
            worker,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        assert!(thread::panicking());
        self.stop.send(()).unwrap();
        let limit = Duration::from_secs(5);
        let stopped = self.stopped.recv_timeout(limit);
        assert!(thread::panicking());
        let ended = self.worker.take().unwrap().join();
        // A panic here would end the process.
        STOPPED.fetch_add(
            usize::from(stopped.is_ok() && ended.is_ok()),
            Ordering::Relaxed,
        );
    }
}

static STOPPED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_destructor_waits_for_others_while_its_thread_unwinds() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let fails = || {
            let _pool = Pool::new();
            panic::resume_unwind(Box::new(()));
        };
        let threads: Vec<_> = (0..10).map(|_| thread::spawn(fails)).collect();
        for one in threads {
            assert!(one.join().is_err());
        }
        assert_eq!(STOPPED.load(Ordering::Relaxed), 10);
        // So does the first of them, which has the OS thread's own thread-locals.
        assert!(panic::catch_unwind(AssertUnwindSafe(fails)).is_err());
        assert_eq!(STOPPED.load(Ordering::Relaxed), 11);
        assert!(!thread::panicking());
    });
}
