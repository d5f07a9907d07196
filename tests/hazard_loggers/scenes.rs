//! How each message is brought about.

use super::{LOUD, SEEN, is_panicking_logger};
use crate::hazard_support::{HOUR, OnDrop, ms};
use greenroom::fiber::{Fiber, current};
use greenroom::generator::{self, Generator, Yielder};
use greenroom::inspect::Watchdog;
use greenroom::io::{Read, cancel_waits};
use greenroom::net::{TcpListener, TcpStream};
use greenroom::os::unix::net::UnixStream;
use greenroom::server::StreamServer;
use greenroom::{GreenletRef, foreign, hub, run, shield, sim, sleep, spawn, thread, yield_now};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Waits for an OS thread to be gone, its thread-locals included, and parks.
fn join(thread: std::thread::JoinHandle<()>) {
    let joined = greenroom::threadpool::call(move || thread.join().is_ok());
    assert!(joined.unwrap());
}

/// Runs `f` on an OS thread, and lets the greenlets of this one run until it has ended.
fn on_a_thread(f: impl FnOnce() + Send + 'static) {
    join(std::thread::spawn(f));
}

/// Runs `f`, which never returns, on an OS thread that is left alone.
fn for_ever(f: impl FnOnce() + Send + 'static) {
    static RETURNED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(move || {
        f();
        RETURNED.store(true, Ordering::Relaxed);
    });
    sleep(ms(50));
    assert!(!RETURNED.load(Ordering::Relaxed), "it must not go on");
}

fn bomb() -> OnDrop<impl FnMut() + Send + use<>> {
    OnDrop(|| panic!("a destructor, on purpose"))
}

pub(super) fn a_thread_that_ends() {
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            assert_eq!(greenroom::with_timeout(ms(5), || 7), Ok(7));
            hub::stack_census(true);
            assert!(spawn(|| ()).join().is_err());
        }
    }
    thread_local! {
        static AT_END: AtEnd = const { AtEnd };
    }
    on_a_thread(|| {
        // Made before the hub, so that it outlives that.
        AT_END.with(|_| ());
        spawn(|| ()).join().unwrap();
    });
}

fn parent() -> Fiber<()> {
    current().parent().unwrap()
}

/// Leaves for the parent, and panics when it is unwound there.
fn leave(parent: Fiber<()>) {
    let left = panic::catch_unwind(AssertUnwindSafe(|| parent.switch(())));
    assert!(left.is_ok(), "on purpose");
}

pub(super) fn a_fiber_that_panics() {
    let fiber = Fiber::new(|()| leave(parent()));
    fiber.switch(()).unwrap();
    drop(fiber);
    assert!(current::<()>().is_current());
}

pub(super) fn a_stubborn_fiber() {
    let fiber = Fiber::new(|()| foreign(|| leave(parent())));
    fiber.switch(()).unwrap();
    drop(fiber);
    assert!(current::<()>().is_current());
}

pub(super) fn a_generator_that_panics() {
    let mut generator = Generator::new(|yielder: &Yielder<(), u8>, ()| {
        let left = panic::catch_unwind(AssertUnwindSafe(|| yielder.suspend(1)));
        assert!(left.is_ok(), "on purpose");
    });
    assert_eq!(generator.as_mut().unwrap().next(), Some(1));
}

pub(super) fn a_stubborn_generator() {
    let mut generator =
        Generator::new(|yielder: &Yielder<(), u8>, ()| foreign(|| yielder.suspend(1))).unwrap();
    assert_eq!(generator.next(), Some(1));
    drop(generator);
}

pub(super) fn a_stubborn_generator_that_borrows() {
    for_ever(|| {
        let body = |yielder: &Yielder<(), u8>, ()| foreign(|| yielder.suspend(1));
        let _ = generator::scoped(body, |mut generator| generator.next());
    });
}

pub(super) fn a_local_that_panics() {
    greenroom::green_local! {
        static LOCAL: OnDrop<fn()> = OnDrop(|| panic!("a destructor, on purpose"));
    }
    spawn(|| LOCAL.with(|_| ())).join().unwrap();
}

pub(super) fn a_scope_that_stands_still() {
    for_ever(|| {
        let borrowed = [7; 100];
        greenroom::scope(|s| {
            s.spawn(|| {
                shield(thread::park);
                borrowed.len()
            });
        });
    });
}

pub(super) fn a_scope_that_waits_for_long() {
    // Nobody outside of the simulation runs in it: not the holder of the gate either.
    sleep(ms(30));
    let elapsed = sim::run(1, || {
        greenroom::with_timeout(ms(1), || {
            greenroom::scope(|s| drop(s.spawn(|| shield(|| sleep(HOUR)))));
        })
    });
    assert!(elapsed.is_err());
}

pub(super) fn failures_that_come_late() {
    let failed = greenroom::try_scope(|s| {
        let late = |text: &'static str| shield(|| sleep(ms(text.len() as u64)));
        s.spawn(move || {
            late("two");
            Err::<(), _>("two")
        });
        s.spawn(move || -> Result<(), &str> {
            late("three");
            panic!("three")
        });
        sleep(ms(1));
        Err::<(), _>("one")
    });
    assert_eq!(failed, Err("one"));
}

pub(super) fn a_run_that_is_withstood() {
    let before = hub::current().number();
    let ran = panic::catch_unwind(|| {
        sim::run(1, || {
            drop(spawn(|| shield(|| sleep(HOUR))));
            sleep(ms(1));
        });
    });
    assert_eq!(
        ran.is_err(),
        is_panicking_logger(),
        "that panic has a caller"
    );
    assert_eq!(hub::current().number(), before);
}

pub(super) fn a_thread_with_a_parked_greenlet() {
    on_a_thread(|| {
        drop(spawn(thread::park));
        yield_now();
    });
}

pub(super) fn a_subscriber_that_panics() {
    let _subscription = hub::subscribe(|_| panic!("a subscriber, on purpose"));
    assert_eq!(spawn(|| 1).join().unwrap(), 1);
}

pub(super) fn a_generator_without_its_hub() {
    let mut generator = run(|| {
        let body = |yielder: &Yielder<(), u8>, ()| yielder.suspend(1);
        let mut generator = Generator::new(body).unwrap();
        assert_eq!(generator.next(), Some(1));
        generator
    });
    assert_eq!(generator.next(), None);
    assert!(generator.is_done());
}

pub(super) fn a_descriptor_nobody_watches() {
    let (near, _far) = UnixStream::pair().unwrap();
    let near = Arc::new(near);
    let theirs = Arc::clone(&near);
    let (sender, root) = mpsc::channel::<GreenletRef>();
    let waiter = std::thread::spawn(move || {
        let reading = Arc::clone(&theirs);
        let reader = spawn(move || (&*reading).read(&mut [0]).is_err());
        yield_now();
        assert_eq!(cancel_waits(&*theirs), 1);
        assert!(reader.join().unwrap());
        drop(theirs);
        sender.send(greenroom::current()).unwrap();
        thread::park();
    });
    let root = loop {
        match root.try_recv() {
            Ok(root) => break root,
            Err(_) => sleep(ms(1)),
        }
    };
    drop(Arc::into_inner(near).expect("the last one"));
    root.unpark();
    join(waiter);
}

pub(super) fn a_closure_for_a_hub_that_is_gone() {
    let gone = std::thread::spawn(hub::current).join().unwrap();
    let bomb = bomb();
    let lost = gone.spawn(move || drop(bomb)).join().unwrap_err();
    assert!(lost.not_started_because().is_some());
}

/// Descriptors that are epoll sets.
fn sets() -> BTreeSet<RawFd> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_set = |path: &std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_str() == Some("anon_inode:[eventpoll]"))
    };
    let paths = entries.map(|entry| entry.path()).filter(is_set);
    paths
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect()
}

pub(super) fn a_hub_without_its_set() {
    on_a_thread(|| {
        let before = sets();
        spawn(|| ()).join().unwrap();
        let set = *sets().difference(&before).next().unwrap();
        let other = fs::File::open("/dev/null").unwrap();
        // SAFETY: both are open; what is lost is an epoll set, whose users expect any error.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), set) }, set);
        sleep(ms(15));
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

pub(super) fn a_stuck_root_in_c() {
    for_ever(|| {
        spawn(|| ()).join().unwrap();
        foreign(thread::park);
    });
}

pub(super) fn a_blocked_hub() {
    let barks = Watchdog::with_callback(ms(5), |_| panic!("a callback, on purpose")).unwrap();
    let begin = Instant::now();
    // Others that look for it: what it says comes from its own thread.
    while !SEEN
        .lock()
        .unwrap()
        .iter()
        .any(|text| text.contains("the callback of"))
    {
        assert!(begin.elapsed() < Duration::from_secs(30));
        spawn(|| std::thread::sleep(ms(40))).join().unwrap();
    }
    drop(barks);
}

fn limit(resource: libc::__rlimit_resource_t, now: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the calls.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = now;
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
        before
    }
}

pub(super) fn an_accept_without_descriptors() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    spawn(|| ()).join().unwrap();
    let lowest = fs::File::open("/dev/null").unwrap().as_raw_fd();
    let before = limit(libc::RLIMIT_NOFILE, lowest as u64);
    assert_eq!(
        listener.accept().unwrap_err().raw_os_error(),
        Some(libc::EMFILE)
    );
    limit(libc::RLIMIT_NOFILE, before);
    listener.accept().unwrap();
}

pub(super) fn a_handler_that_fails() {
    let handler = |_: TcpStream, _| -> std::io::Result<()> {
        thread_local! {
            static COUNT: Cell<u32> = const { Cell::new(0) };
        }
        COUNT.set(COUNT.get() + 1);
        assert!(COUNT.get() > 1, "on purpose");
        Err(std::io::Error::other("on purpose"))
    };
    let builder = StreamServer::builder("127.0.0.1:0").name("server");
    let server = builder.bind(handler).unwrap();
    server.start().unwrap();
    for _ in 0..3 {
        let mut client = TcpStream::connect(server.address()).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    server.stop(None);
    assert_eq!(server.stats().active, 0);
}

pub(super) fn more_slabs_than_are_known() {
    let leak = || {
        run(|| {
            let body = |yielder: &Yielder<(), u8>, ()| yielder.suspend(1);
            let mut generator = Generator::with_stack_size(64 * 1024, body).unwrap();
            assert_eq!(generator.next(), Some(1));
            std::mem::forget(generator);
        });
    };
    LOUD.store(false, Ordering::Relaxed);
    (0..4090).for_each(|_| leak());
    LOUD.store(true, Ordering::Relaxed);
    (0..10).for_each(|_| leak());
}

pub(super) fn a_pool_that_can_not_grow() {
    const STACK: usize = 1 << 30;
    let pool = greenroom::threadpool::Builder::new()
        .size(2)
        .stack_size(STACK);
    let pool = pool.build().unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let first = pool.spawn(move || receiver.recv().is_err());
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let before = limit(libc::RLIMIT_AS, pages * 4096 + (STACK as u64) / 2);
    let second = pool.spawn(|| 2);
    limit(libc::RLIMIT_AS, before);
    drop(sender);
    assert!(first.join().unwrap());
    assert_eq!(second.join().unwrap(), 2);
}

pub(super) fn a_result_nobody_wants() {
    let pool = greenroom::threadpool::ThreadPool::new(1).unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    drop(pool.spawn(move || {
        let _ = receiver.recv();
        bomb()
    }));
    drop(sender);
    assert_eq!(pool.spawn(|| 1).join().unwrap(), 1);
}
