//! Standard output and standard error: their locks are between greenlets, and what is written goes
//! through std's buffer.
//!
//! What a test prints is looked at from outside: it runs itself once more in a process of its own.
mod gevent_support;

use gevent_support::{bounded, is_alone, ms, passes_alone};
use greenroom::io::{self, Write};
use greenroom::process::{Command, Stdio};
use greenroom::{shield, sleep, spawn, thread, with_timeout, yield_now};
use std::os::fd::{AsFd, AsRawFd};

/// What the test of that name has printed, in its own process.
fn printed(test: &str) -> String {
    String::from_utf8(passes_alone(test).stdout).unwrap()
}

#[test]
fn greenlets_do_not_write_into_what_another_holds() {
    let _bound = bounded();
    if !is_alone() {
        let printed = printed("greenlets_do_not_write_into_what_another_holds");
        assert!(
            printed.contains("<111>") && printed.contains("<222>"),
            "{printed}"
        );
        return;
    }
    let _bound = bounded();
    let writers = [1, 2].map(|n| {
        spawn(move || {
            let mut out = io::stdout().lock();
            write!(out, "<").unwrap();
            for _ in 0..3 {
                write!(out, "{n}").unwrap();
                yield_now();
            }
            writeln!(out, ">").unwrap();
        })
    });
    let written = greenroom::joinall(writers);
    assert!(written.iter().all(Result::is_ok));
}

#[test]
fn std_and_we_share_one_buffer_which_the_end_of_the_process_flushes() {
    let _bound = bounded();
    if !is_alone() {
        let test = "std_and_we_share_one_buffer_which_the_end_of_the_process_flushes";
        let output = gevent_support::alone(test);
        assert_eq!(output.status.code(), Some(7));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.ends_with("abc"), "{printed}");
        return;
    }
    std::io::stdout().write_all(b"a").unwrap();
    io::stdout().write_all(b"b").unwrap();
    std::io::stdout().write_all(b"c").unwrap();
    greenroom::process::exit(7);
}

#[test]
fn the_holder_may_write_and_lock_again() {
    let _bound = bounded();
    let _held = io::stderr().lock();
    let mut again = io::stderr().lock();
    again.flush().unwrap();
    io::stderr().flush().unwrap();
    (&io::stderr()).write_all(b"").unwrap();
}

#[test]
fn who_is_killed_with_a_lock_held_or_waited_for_leaves_it_free() {
    let _bound = bounded();
    let holder = spawn(|| {
        let _held = io::stdout().lock();
        thread::park();
    });
    yield_now();
    let waiter = spawn(|| drop(io::stdout().lock()));
    yield_now();
    assert!(with_timeout(ms(1), || io::stdout().lock()).is_err());
    waiter.kill();
    assert!(waiter.join().unwrap_err().is_killed());
    holder.kill();
    assert!(holder.join().unwrap_err().is_killed());
    drop(io::stdout().lock());
}

#[test]
fn the_lock_of_one_handle_is_not_that_of_the_other() {
    let _bound = bounded();
    let _held = shield(|| io::stdout().lock());
    spawn(|| drop(io::stderr().lock())).join().unwrap();
}

#[test]
fn an_os_thread_waits_for_a_greenlet() {
    let _bound = bounded();
    let held = io::stderr().lock();
    let (got, has_got) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        drop(io::stderr().lock());
        got.send(()).unwrap();
    });
    sleep(ms(20));
    assert!(has_got.try_recv().is_err());
    drop(held);
    has_got.recv().unwrap();
    other.join().unwrap();
}

#[test]
fn a_value_that_parks_while_it_is_printed_blocks_nobody() {
    let _bound = bounded();
    struct Slow;
    impl std::fmt::Display for Slow {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            sleep(ms(5));
            // std's lock is free meanwhile, also for other OS threads.
            let locks = || drop(std::io::stderr().lock());
            std::thread::spawn(locks).join().unwrap();
            f.write_str("")
        }
    }
    let _bound = bounded();
    write!(io::stderr(), "{Slow}").unwrap();
}

#[test]
fn an_error_of_a_value_is_an_error_of_the_write() {
    let _bound = bounded();
    struct Fails;
    impl std::fmt::Display for Fails {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let error = write!(io::stderr(), "{Fails}").unwrap_err();
    assert_eq!(error.to_string(), "formatter error");
}

#[test]
fn handles_name_their_descriptors_and_go_to_children() {
    let _bound = bounded();
    assert_eq!(io::stdout().as_raw_fd(), 1);
    assert_eq!(io::stderr().lock().as_fd().as_raw_fd(), 2);
    let to_stderr = Stdio::from(io::stderr());
    let mut child = Command::new("true").stdout(to_stderr).spawn().unwrap();
    assert!(child.wait().unwrap().success());
}
