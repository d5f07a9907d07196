//! What gevent's own tests ask of the hub at the edges of a process: its death, the end of a
//! thread, a second hub, fork. Behaviours 34, 37 to 39, 44 and 45 of our list, re-written in our
//! words after the test that each names, not copied. Most run in a process of their own.
mod gevent_support;

use gevent_support::bounded;
use gevent_support::{LONG, alone, both, is_alone, ms, passes_alone};
use greenroom::hub;
use greenroom::io::{Read, Write};
use greenroom::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A child of fork(2).
struct Child(libc::pid_t);

/// Runs `child` in a child of fork(2), which ends with 0 if it returns true.
fn fork(child: impl FnOnce() -> bool) -> Child {
    // SAFETY: this process has one thread besides at most sleeping ones (the tests that fork run
    // alone), so no lock is held that the child could need; `alarm` bounds its life.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain numbers. `_exit` leaves out what belongs to the parent.
        unsafe {
            libc::alarm(30);
            libc::_exit(if child() { 0 } else { 1 });
        }
    }
    Child(pid)
}

impl Child {
    fn status(self) -> i32 {
        let mut status = 0;
        // SAFETY: it is our child, and `status` is there to be written.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(waited, self.0);
        status
    }
}

// 34: test__hub.py TestHandleError: a handler that blocks
#[test]
fn a_panic_hook_that_parks_blocks_and_the_hub_goes_on() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_panic_hook_that_parks_blocks_and_the_hub_goes_on");
        return;
    }
    std::panic::set_hook(Box::new(|_| greenroom::sleep(ms(5))));
    let other = greenroom::spawn(|| greenroom::sleep(ms(1)));
    let failing = greenroom::spawn(|| panic!("with a hook that sleeps"));
    assert!(failing.join().unwrap_err().is_panic());
    other.join().unwrap();
    drop(std::panic::take_hook());
}

// 37: test__systemerror.py. What is fatal to a process ends it from any greenlet.
#[test]
fn an_exit_in_a_greenlet_ends_the_process_with_its_code() {
    let _bound = bounded();
    if is_alone() {
        let _other = greenroom::spawn(|| greenroom::sleep(LONG));
        let fatal = greenroom::spawn(|| std::process::exit(7));
        unreachable!("{:?}", fatal.join());
    }
    let output = alone("an_exit_in_a_greenlet_ends_the_process_with_its_code");
    assert_eq!(output.status.code(), Some(7), "{}", both(&output));
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

// 38: test__hub_join.py test_join_in_new_thread_doesnt_leak_hub_or_greenlet
#[test]
fn threads_that_used_a_hub_leave_neither_descriptors_nor_stacks() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("threads_that_used_a_hub_leave_neither_descriptors_nor_stacks");
        return;
    }
    const THREADS: usize = 50;
    let use_hub = || {
        let greenlets = (0..20).map(|_| greenroom::spawn(|| greenroom::sleep(ms(1))));
        greenroom::joinall(greenlets.collect::<Vec<_>>());
        // One that is left over is killed by the end of a hub of its own.
        greenroom::run(|| drop(greenroom::spawn(|| greenroom::sleep(LONG))));
        assert!(entries("/proc/self/fd") > 3);
    };
    let run_threads = |count| (0..count).for_each(|_| std::thread::spawn(use_hub).join().unwrap());
    run_threads(5);
    let (fds, maps_before) = (entries("/proc/self/fd"), maps());
    run_threads(THREADS);
    assert_eq!(entries("/proc/self/fd"), fds);
    let grown = maps().saturating_sub(maps_before);
    assert!(grown < THREADS / 2, "{grown} more maps");
}

// 39: test__destroy.py, test__destroy_default_loop.py
#[test]
fn after_the_end_of_a_hub_there_is_a_fresh_one() {
    let _bound = bounded();
    let own = hub::current();
    let numbers = [1, 2].map(|answer| {
        greenroom::run(|| {
            assert_eq!(greenroom::spawn(move || answer).join().unwrap(), answer);
            drop(greenroom::spawn(|| greenroom::sleep(LONG)));
            hub::current()
        })
    });
    assert!(numbers[0].number() != numbers[1].number());
    assert!(numbers.iter().all(|gone| gone.is_closed()));
    let late = numbers[0].spawn(|| ());
    assert!(late.join().unwrap_err().not_started_because().is_some());

    assert_eq!(
        hub::current().number(),
        own.number(),
        "this thread's own is back"
    );
    assert_eq!(greenroom::spawn(|| 3).join().unwrap(), 3);
}

// 39: on a thread of its own, so that the end of the thread destroys it
#[test]
fn a_handle_of_a_hub_whose_thread_has_ended_says_so() {
    let _bound = bounded();
    let gone = std::thread::spawn(|| {
        greenroom::spawn(|| ()).join().unwrap();
        hub::current()
    });
    let gone = gone.join().unwrap();
    assert!(gone.is_closed());
    assert!(gone.spawn(|| 1).join().is_err());
}

// 44: test__issue1686.py
#[test]
fn a_pending_greenlet_runs_in_the_parent_and_not_in_the_forked_child() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_pending_greenlet_runs_in_the_parent_and_not_in_the_forked_child");
        return;
    }
    let ran = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&ran);
    let pending = greenroom::spawn(move || theirs.store(true, Ordering::Relaxed));
    let sleeping = greenroom::spawn(|| greenroom::sleep(ms(5)));
    let (mut reader, mut writer) = greenroom::io::pipe().unwrap();
    let child = fork(|| {
        let empty = hub::stats() == hub::Stats::default();
        let own = greenroom::spawn(|| 5).join().is_ok_and(|value| value == 5);
        greenroom::sleep(ms(20));
        greenroom::idle();
        let sent = writer.write_all(b"from the child").is_ok();
        empty && own && sent && !ran.load(Ordering::Relaxed)
    });
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the child");
    pending.join().unwrap();
    sleeping.join().unwrap();
    assert!(ran.load(Ordering::Relaxed));
    assert_eq!(child.status(), 0);
}

// 44: fork in a greenlet; the child has no hub to return to
#[test]
fn a_greenlet_that_forks_ends_the_child_when_it_returns_there() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_greenlet_that_forks_ends_the_child_when_it_returns_there");
        return;
    }
    let parent = std::process::id();
    let forking = greenroom::spawn(move || {
        // SAFETY: as in `fork` above; the child goes on below and ends when this returns.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            assert_ne!(std::process::id(), parent);
        }
        pid
    });
    let pid = forking.join().unwrap();
    assert_eq!(std::process::id(), parent, "the child never comes here");
    assert_eq!(Child(pid).status(), 0);
}

fn localhost() -> Option<SocketAddr> {
    ("localhost", 80).to_socket_addrs().ok()?.next()
}

// 45: test__issue230.py, test__core_fork.py
#[test]
fn a_lookup_in_a_forked_child_does_not_hang() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_lookup_in_a_forked_child_does_not_hang");
        return;
    }
    let look_up = || greenroom::spawn(localhost).join().unwrap();
    let here = look_up();
    assert!(here.is_some());
    // With the parent's helper threads idle, and not there in the child.
    let child = fork(|| look_up() == here && localhost() == here);
    assert_eq!(look_up(), here);
    assert_eq!(child.status(), 0);
}
