//! What a review has found: each test stands for a way that safe code once had into trouble.
mod hazard_support;

use greenroom::{green_local, sleep, spawn, spawn_local, thread, tree_local, yield_now};
use hazard_support::{HOUR, OnDrop, alone_and_well, bounded, ms};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Says on which OS thread it was dropped.
struct Tells(Cell<Option<Sender<ThreadId>>>);

impl Drop for Tells {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send(std::thread::current().id()).unwrap();
        }
    }
}

green_local! {
    static OWN: Tells = Tells(Cell::new(None));
}
tree_local! {
    static SHARED: Tells = Tells(Cell::new(None));
}

/// Makes a local value of its greenlet when it is dropped.
struct MakesLocals {
    own: Sender<ThreadId>,
    shared: Sender<ThreadId>,
}

impl Drop for MakesLocals {
    fn drop(&mut self) {
        OWN.with(|own| own.0.set(Some(self.own.clone())));
        SHARED.with(|shared| shared.0.set(Some(self.shared.clone())));
    }
}

#[test]
fn locals_that_the_destructor_of_a_result_makes_are_dropped_on_their_own_thread() {
    let _bound = bounded();
    let (own, own_told) = channel();
    let (shared, shared_told) = channel();
    let detached = spawn(move || MakesLocals { own, shared });
    let name = detached.thread().clone();
    drop(detached);
    yield_now();
    // The last that knows the greenlet is elsewhere.
    std::thread::spawn(move || drop(name)).join().unwrap();
    let here = std::thread::current().id();
    assert_eq!(own_told.try_recv(), Ok(here));
    assert_eq!(shared_told.try_recv(), Ok(here));
}

#[test]
fn a_greenlet_that_parks_unwinding_leaves_the_roots_own_unwinding_alone() {
    let _bound = bounded();
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        let _parks = OnDrop(|| {
            let other = spawn(|| {
                let _parks = OnDrop(|| sleep(ms(30)));
                panic::resume_unwind(Box::new("on purpose"));
            });
            sleep(ms(10));
            drop(other);
        });
        panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(unwound.is_err());
    sleep(ms(60));
    // Nobody can wake it: the root is to be told, not to sleep for good.
    let forever = panic::catch_unwind(|| spawn(thread::park).join().is_ok());
    let message = forever.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("would block forever"), "{message}");
}

#[test]
fn an_iteration_goes_on_in_another_greenlet() {
    let _bound = bounded();
    let greenlets = [spawn(|| ()), spawn(|| sleep(ms(20)))];
    let mut iteration = greenroom::iwait(&greenlets);
    assert!(iteration.next().is_some());
    greenroom::scope(|s| {
        let rest = s.spawn(move || iteration.collect::<Vec<_>>().len());
        assert_eq!(rest.join().unwrap(), 1);
    });
}

#[test]
fn a_socket_that_outlives_many_hubs_keeps_no_descriptors_of_theirs() {
    let _bound = bounded();
    use std::io::{Read, Write};
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (near, far) = greenroom::os::unix::net::UnixStream::pair().unwrap();
    let before = open();
    for _ in 0..50 {
        greenroom::run(|| {
            greenroom::scope(|s| {
                s.spawn(|| (&near).read_exact(&mut [0]).unwrap());
                yield_now();
                (&far).write_all(b"x").unwrap();
            });
        });
    }
    assert!(open() <= before + 8, "{} more", open() - before);
}

/// Entries in the epoll sets of this process.
fn watched() -> usize {
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = infos.filter_map(|info| std::fs::read_to_string(info.unwrap().path()).ok());
    let count = |text: String| text.lines().filter(|line| line.starts_with("tfd:")).count();
    texts.map(count).sum()
}

#[test]
fn a_cancelled_wait_leaves_nothing_in_the_epoll_set() {
    let _bound = bounded();
    alone_and_well("a_cancelled_wait_leaves_nothing_in_the_epoll_set", || {
        let (reader, _writer) = std::io::pipe().unwrap();
        let wait = || {
            greenroom::scope(|s| {
                let waiter = s.spawn(|| greenroom::io::wait_readable(&reader));
                yield_now();
                assert_eq!(greenroom::io::cancel_waits(&reader), 1);
                assert!(waiter.join().unwrap().is_err());
            });
        };
        spawn(|| ()).join().unwrap();
        let before = watched();
        wait();
        assert_eq!(watched(), before);
    });
}

/// Sends what it is told to nobody in particular, by way of the hub.
struct LogsToSocket(greenroom::net::UdpSocket);

impl log::Log for LogsToSocket {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = self.0.send(record.args().to_string().as_bytes());
        sleep(ms(1));
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_may_use_the_hub() {
    let _bound = bounded();
    alone_and_well("a_logger_may_use_the_hub", || {
        let socket = greenroom::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        log::set_logger(Box::leak(Box::new(LogsToSocket(socket)))).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let (reader, _writer) = std::io::pipe().unwrap();
        greenroom::scope(|s| {
            let waiter = s.spawn(|| greenroom::io::wait_readable(&reader));
            yield_now();
            assert_eq!(greenroom::io::cancel_waits(&reader), 1);
            assert!(waiter.join().unwrap().is_err());
        });
    });
}

/// Sleeps, as one that writes to a socket may, and then panics.
struct Hostile;

impl log::Log for Hostile {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        sleep(ms(1));
        assert!(record.level() != log::Level::Error, "no errors, please");
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_that_unwinds_does_not_tear_the_end_of_a_greenlet() {
    let _bound = bounded();
    alone_and_well(
        "a_logger_that_unwinds_does_not_tear_the_end_of_a_greenlet",
        || {
            log::set_logger(&Hostile).unwrap();
            log::set_max_level(log::LevelFilter::Trace);
            let panics = OnDrop(|| panic!("a destructor, on purpose"));
            let killed = spawn_local(move || drop(panics));
            killed.kill();
            assert!(killed.join().unwrap_err().is_killed());
            assert_eq!(greenroom::hub::stats().greenlets, 0);
        },
    );
}

#[test]
fn a_logger_that_unwinds_does_not_end_a_scope_before_its_greenlets() {
    let _bound = bounded();
    const NAME: &str = "a_logger_that_unwinds_does_not_end_a_scope_before_its_greenlets";
    alone_and_well(NAME, || {
        log::set_logger(&Hostile).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let borrowed = [7; 100];
            let unwound = panic::catch_unwind(|| {
                greenroom::scope(|s| {
                    s.spawn(|| {
                        greenroom::shield(thread::park);
                        borrowed.len()
                    });
                });
            });
            sender.send(unwound.is_err()).unwrap();
        });
        // It stands still, as long as it may: to go on would be to free what is borrowed.
        let waited = ended.recv_timeout(ms(500));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    });
}

/// Spawns a last greenlet when it is dropped.
struct Heir;

impl Drop for Heir {
    fn drop(&mut self) {
        spawn(|| sleep(HOUR));
    }
}

#[test]
fn what_a_destructor_spawns_at_the_end_of_a_run_is_killed_as_well() {
    let _bound = bounded();
    let begin = Instant::now();
    greenroom::run(|| {
        spawn(|| {
            let _heir = Heir;
            sleep(HOUR);
        });
        yield_now();
    });
    assert!(begin.elapsed() < Duration::from_secs(3));
}
