//! What gevent's own tests ask of child processes (test__subprocess.py, test__monkey_sigchld*.py):
//! behaviour 120 of our list and section 1.12, re-written in our words, not copied.
mod gevent_support;

use gevent_support::{LONG, bounded, is_alone, ms, passes_alone};
use greenroom::io::{self, Read, Write};
use greenroom::process::{Child, Command, Stdio};
use greenroom::{
    Greenlet, hub, iwait, joinall, sleep, spawn, spawn_local, wait, with_timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// All three streams are pipes.
fn piped(script: &str) -> Child {
    let mut command = sh(script);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn napper(seconds: f32) -> Child {
    Command::new("sleep")
        .arg(seconds.to_string())
        .spawn()
        .unwrap()
}

/// Notes that it runs, each millisecond, until it is killed.
fn ticker() -> (Greenlet<()>, Rc<Cell<u32>>) {
    let ticks = Rc::<Cell<u32>>::default();
    let theirs = Rc::clone(&ticks);
    let ticker = spawn_local(move || {
        loop {
            theirs.set(theirs.get() + 1);
            sleep(ms(1));
        }
    });
    (ticker, ticks)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// 1.12: the waits are cooperative.
#[test]
fn others_run_while_a_child_is_waited_for() {
    let _bound = bounded();
    let (ticker, ticks) = ticker();
    assert!(napper(0.05).wait().unwrap().success());
    assert!(ticks.get() >= 3);
    ticks.set(0);
    assert!(sh("sleep 0.05; echo x").output().unwrap().stdout == b"x\n");
    assert!(ticks.get() >= 3);
    ticker.kill();
}

// 120
#[test]
fn children_are_waited_for_together_with_others_of_their_kind() {
    let _bound = bounded();
    let mut children = [napper(60.0), napper(0.01), napper(60.0)];
    let first: Vec<_> = iwait(&children).count(1).map(Child::id).collect();
    assert_eq!(first, [children[1].id()]);
    assert!(wait([&children[0]]).timeout(ms(5)).ready().is_empty());
    children.iter_mut().for_each(|child| child.kill().unwrap());
    assert_eq!(wait(&children).timeout(LONG).ready().len(), 3);
    assert!(children[1].wait().unwrap().success());
    assert_eq!(wait(&children[..2]).ready().len(), 2, "reaped or not");
    for mut child in children {
        child.wait().unwrap();
    }
}

#[test]
fn a_wait_that_is_left_early_leaves_nothing_behind() {
    let _bound = bounded();
    greenroom::run(|| {
        let before = hub::stats();
        let mut child = napper(60.0);
        assert!(wait([&child]).timeout(ms(2)).ready().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(child);
        yield_now();
        let after = hub::stats();
        assert_eq!(after.greenlets, before.greenlets);
        assert_eq!(after.registrations, before.registrations);
    });
}

// 120: communicate with 64 KB and more, both ways.
#[test]
fn megabytes_in_both_directions_do_not_lock_up() {
    let _bound = bounded();
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut child = piped("tee /dev/stderr");
    let output = child.communicate(&input).unwrap();
    assert!(output.status.success());
    assert!(output.stdout == input);
    assert!(output.stderr == input);
}

#[test]
fn both_outputs_are_drained_at_the_same_time() {
    let _bound = bounded();
    for script in [
        "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero",
        "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2",
    ] {
        let output = sh(script).output().unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
        assert_eq!(output.stderr.len(), 1_000_000);
    }
}

// 120: a timeout keeps the output.
#[test]
fn what_was_read_before_a_timeout_is_not_lost() {
    let _bound = bounded();
    let mut child = piped("echo one; echo two >&2; sleep 0.1; echo three");
    assert!(with_timeout(ms(30), || child.communicate(b"")).is_err());
    let output = child.communicate(b"").unwrap();
    assert_eq!(output.stdout, b"one\nthree\n");
    assert_eq!(output.stderr, b"two\n");
}

#[test]
fn input_that_was_not_written_before_a_timeout_is_written_later() {
    let _bound = bounded();
    let input = vec![b'x'; 1_000_000];
    let mut child = piped("sleep 0.05; cat");
    assert!(with_timeout(ms(5), || child.communicate(&input)).is_err());
    let output = child.communicate(b"y").unwrap();
    assert_eq!(output.stdout.len(), 1_000_001);
    assert_eq!(output.stdout.last(), Some(&b'y'));
}

#[test]
fn a_killed_communicate_leaves_no_greenlet_and_the_child_alone() {
    let _bound = bounded();
    let before = hub::stats().greenlets;
    let child = Rc::new(RefCell::new(piped(
        "echo on; echo err >&2; sleep 0.1; echo off",
    )));
    let theirs = Rc::clone(&child);
    let talking = spawn_local(move || theirs.borrow_mut().communicate(b"").map(drop));
    sleep(ms(20));
    talking.kill();
    assert!(talking.join().unwrap_err().is_killed());
    assert_eq!(hub::stats().greenlets, before);
    let output = child.borrow_mut().communicate(b"").unwrap();
    assert_eq!(output.stdout, b"on\noff\n");
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn a_child_that_does_not_want_its_input_is_no_error() {
    let _bound = bounded();
    let output = piped("exec <&-; echo done")
        .communicate(&[0; 1_000_000])
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
}

#[test]
fn input_without_a_pipe_for_it_is_a_clear_error() {
    let _bound = bounded();
    let mut child = sh("exit 0").spawn().unwrap();
    let error = child.communicate(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("not piped"));
    child.wait().unwrap();
}

// 1.12: wait(timeout).
#[test]
fn a_wait_with_a_limit_ends_with_it_and_can_be_repeated() {
    let _bound = bounded();
    let mut child = napper(60.0);
    let begin = Instant::now();
    assert_eq!(child.wait_timeout(ms(20)).unwrap(), None);
    assert!(begin.elapsed() >= ms(19));
    assert_eq!(child.wait_timeout(ms(0)).unwrap(), None);
    assert!(with_timeout(ms(5), || child.wait()).is_err());
    child.kill().unwrap();
    let status = child.wait_timeout(std::time::Duration::MAX).unwrap();
    assert_eq!(status, Some(child.wait().unwrap()));
    assert_eq!(
        child.wait_timeout(ms(0)).unwrap(),
        status,
        "once reaped, at once"
    );
}

#[test]
fn a_killed_wait_leaves_the_child_alone() {
    let _bound = bounded();
    let child = Rc::new(RefCell::new(napper(60.0)));
    let theirs = Rc::clone(&child);
    let waiting = spawn_local(move || theirs.borrow_mut().wait().map(drop));
    yield_now();
    waiting.kill();
    assert!(waiting.join().unwrap_err().is_killed());
    assert_eq!(child.borrow_mut().try_wait().unwrap(), None);
    child.borrow_mut().kill().unwrap();
    child.borrow_mut().wait().unwrap();
}

// 1.12: reads of a pipe are cooperative.
#[test]
fn one_reads_while_another_writes_to_the_child() {
    let _bound = bounded();
    let mut child = piped("cat");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let reader = spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    for word in ["one ", "two ", "three"] {
        stdin.write_all(word.as_bytes()).unwrap();
        yield_now();
    }
    drop(stdin);
    assert_eq!(reader.join().unwrap().unwrap(), "one two three");
    child.wait().unwrap();
}

#[test]
fn children_form_a_pipeline() {
    let _bound = bounded();
    let mut first = sh("head -c 500000 /dev/zero")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let between = first.stdout.take().unwrap();
    let count = Command::new("wc")
        .arg("-c")
        .stdin(between)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), "500000");
    assert!(first.wait().unwrap().success());
}

#[test]
fn our_pipes_serve_as_standard_streams() {
    let _bound = bounded();
    let (reader, mut writer) = io::pipe().unwrap();
    let (mut output, input) = io::pipe().unwrap();
    let mut child = Command::new("cat")
        .stdin(reader)
        .stdout(input)
        .spawn()
        .unwrap();
    writer.write_all(b"through").unwrap();
    drop(writer);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    child.wait().unwrap();
}

// 120: no fd leak.
#[test]
fn no_descriptor_is_left_open() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("no_descriptor_is_left_open");
        return;
    }
    let round = || {
        assert!(piped("cat").communicate(b"x").unwrap().status.success());
        assert!(sh("exit 0").output().unwrap().status.success());
        assert!(Command::new("/does/not/exist").output().is_err());
        let mut child = napper(60.0);
        drop(wait([&child]).timeout(ms(1)).ready());
        child.kill().unwrap();
        child.wait().unwrap();
        yield_now();
    };
    round();
    let before = descriptors();
    (0..10).for_each(|_| round());
    assert_eq!(descriptors(), before);
}

#[test]
fn a_child_gets_none_of_our_descriptors() {
    let _bound = bounded();
    let mut other = napper(60.0);
    let _pipe = io::pipe().unwrap();
    yield_now();
    // What std's own child gets it has from whoever started this process.
    let count = ["-c", "ls /proc/self/fd | wc -l"];
    let theirs = std::process::Command::new("sh").args(count).output();
    assert_eq!(
        sh(count[1]).output().unwrap().stdout,
        theirs.unwrap().stdout
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

static CHLD: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_chld(_: i32) {
    CHLD.fetch_add(1, Ordering::SeqCst);
}

// 120: SIGCHLD handlers still run.
#[test]
fn handlers_of_sigchld_are_left_alone() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("handlers_of_sigchld_are_left_alone");
        return;
    }
    // SAFETY: the handler only adds to an atomic.
    unsafe { libc::signal(libc::SIGCHLD, count_chld as *const () as libc::sighandler_t) };
    for _ in 0..3 {
        assert!(sh("exit 0").status().unwrap().success());
    }
    assert_eq!(CHLD.load(Ordering::SeqCst), 3);
}

#[test]
fn a_child_that_somebody_else_has_reaped_is_an_error_and_no_hang() {
    let _bound = bounded();
    let mut child = sh("exit 7").spawn().unwrap();
    let id = child.id() as libc::pid_t;
    // SAFETY: null says that the status is not wanted.
    assert_eq!(unsafe { libc::waitpid(id, std::ptr::null_mut(), 0) }, id);
    assert_eq!(wait([&child]).timeout(LONG).ready().len(), 1);
    assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    assert_eq!(
        child.try_wait().unwrap_err().raw_os_error(),
        Some(libc::ECHILD)
    );
}

#[test]
fn where_sigchld_is_ignored_the_end_is_heard_of_all_the_same() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("where_sigchld_is_ignored_the_end_is_heard_of_all_the_same");
        return;
    }
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let begin = Instant::now();
    let error = napper(0.03).wait().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "as with std");
    assert!(begin.elapsed() >= ms(29));
}

#[test]
fn a_thousand_children_at_once() {
    let _bound = bounded();
    let waiters: Vec<_> = (0..1000)
        .map(|n| {
            let mut child = sh(&format!("exit {}", n % 7))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            spawn(move || child.wait().unwrap().code())
        })
        .collect();
    let codes: Vec<_> = joinall(waiters)
        .into_iter()
        .map(|code| code.unwrap().unwrap())
        .collect();
    assert!(codes.into_iter().eq((0..1000).map(|n| n % 7)));
}

// gevent's children belong to the main thread's hub (#688).
#[test]
fn children_work_on_every_hub_and_on_plain_threads() {
    let _bound = bounded();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            std::thread::spawn(move || {
                let output = move || sh(&format!("echo {n}")).output().unwrap().stdout;
                match n % 2 {
                    0 => spawn(output).join().unwrap(),
                    _ => output(),
                }
            })
        })
        .collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("{n}\n").into_bytes());
    }
}

#[test]
fn a_child_made_on_one_hub_is_waited_for_on_another() {
    let _bound = bounded();
    // It ends when told to: when a timed one ends, a busy machine may not have looked yet.
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    assert!(child.wait_timeout(ms(1)).unwrap().is_none());
    let elsewhere = std::thread::spawn(move || {
        let waiter = spawn(move || child.wait());
        let waiter = waiter.join_timeout(ms(1)).expect_err("its stdin is open");
        drop(stdin);
        waiter.join().unwrap()
    });
    assert!(elsewhere.join().unwrap().unwrap().success());
}
