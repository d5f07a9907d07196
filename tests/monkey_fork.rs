//! fork(2) in greenlets that own their thread-locals.
#![cfg(all(feature = "monkey", target_arch = "x86_64", target_env = "gnu"))]

mod monkey_support;

use monkey_support::bounded;
use std::cell::Cell;
use std::ffi::c_int;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use monkey_support::{kernel_id, ms, on_one_os_thread};

/// How long a child may live.
const CHILD_SECONDS_MAX: u32 = 20;

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(0) };
}

/// Runs `body` in a child that is forked by `fork`, and says how it ended.
fn in_child(fork: impl FnOnce() -> libc::pid_t, body: impl FnOnce() -> c_int) -> ExitStatus {
    match fork() {
        0 => {
            // SAFETY: plain numbers; the child ends here, without its parent's exit handlers.
            unsafe {
                libc::alarm(CHILD_SECONDS_MAX);
                libc::_exit(body());
            }
        }
        child => status_of(child),
    }
}

fn status_of(child: libc::pid_t) -> ExitStatus {
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: a place for the status.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(ended, child);
    ExitStatus::from_raw(status)
}

fn fork() -> libc::pid_t {
    // SAFETY: what the children below do is plain code, and glibc lets them allocate.
    unsafe { libc::fork() }
}

#[test]
fn a_child_goes_on_with_the_greenlets_own_thread_locals() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let greenlets = (7..10).map(|n| {
            greenroom::spawn(move || {
                OWN.set(n);
                in_child(fork, || OWN.get() as c_int).code()
            })
        });
        let codes = greenroom::joinall(greenlets.collect::<Vec<_>>());
        let codes: Vec<_> = codes.into_iter().map(Result::unwrap).collect();
        assert_eq!(codes, [Some(7), Some(8), Some(9)]);
    });
}

#[test]
fn a_child_begins_without_a_hub_and_may_have_a_new_one() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let body = || {
            let begun = Arc::new(AtomicI32::new(0));
            let both = [(); 2].map(|()| {
                let begun = Arc::clone(&begun);
                greenroom::spawn(move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(ms(20));
                    // Both, unless the first has blocked the second.
                    begun.load(Ordering::Relaxed)
                })
            });
            let said = greenroom::joinall(both).into_iter();
            said.map(Result::unwrap).sum::<i32>()
        };
        let forks = greenroom::spawn(move || in_child(fork, body));
        assert_eq!(forks.join().unwrap().code(), Some(4));
    });
}

#[test]
fn a_child_may_make_os_threads_and_fork_again() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let body = || {
            let threads: Vec<_> = (0..4)
                .map(|_| monkey_support::os_thread(kernel_id))
                .collect();
            let ids = threads.into_iter().map(|one| one.join().unwrap());
            let apart = ids.filter(|id| *id != kernel_id()).count();
            let grandchild = in_child(fork, || 5);
            apart as c_int * 10 + grandchild.code().unwrap_or(9)
        };
        let forks = greenroom::spawn(move || in_child(fork, body));
        assert_eq!(forks.join().unwrap().code(), Some(45));
    });
}

#[test]
fn a_thread_that_is_a_greenlet_may_fork() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let forks = thread::spawn(|| in_child(fork, || 6));
        assert_eq!(forks.join().unwrap().code(), Some(6));
    });
}

#[test]
fn a_fork_for_a_terminal_works_as_well() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let forks = greenroom::spawn(|| {
            let mut terminal = 0;
            let name = std::ptr::null_mut();
            // SAFETY: a place for the descriptor; the rest may be null.
            let fork = || unsafe {
                libc::forkpty(&raw mut terminal, name, std::ptr::null(), std::ptr::null())
            };
            let status = in_child(fork, || 8);
            // SAFETY: forkpty has made it.
            unsafe { libc::close(terminal) };
            status
        });
        assert_eq!(forks.join().unwrap().code(), Some(8));
    });
}

#[test]
fn children_with_something_to_do_before_exec() {
    let _bound = bounded();
    on_one_os_thread(|| {
        let commands = (0..20).map(|n: i32| {
            greenroom::spawn(move || {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("sleep 0.1; exit {n}")]);
                // SAFETY: it does nothing, but has std fork for itself.
                unsafe { command.pre_exec(|| Ok(())) };
                command.status().unwrap().code()
            })
        });
        let codes = greenroom::joinall(commands.collect::<Vec<_>>());
        for (n, code) in codes.into_iter().enumerate() {
            assert_eq!(code.unwrap(), Some(n as i32));
        }
    });
}

#[test]
fn a_command_for_another_user() {
    let _bound = bounded();
    // SAFETY: takes nothing.
    if unsafe { libc::getuid() } != 0 {
        eprintln!("skipped: only root may become somebody else");
        return;
    }
    on_one_os_thread(|| {
        let runs = greenroom::spawn(|| {
            let mut command = Command::new("id");
            command.arg("-u").uid(65534).gid(65534);
            command.output().unwrap().stdout
        });
        assert_eq!(runs.join().unwrap(), b"65534\n");
    });
}

#[test]
fn a_failed_fork_says_why() {
    let _bound = bounded();
    on_one_os_thread(|| {
        // In a child, which may not fork: the limit is not this program's.
        let body = || {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: a valid limit; user 65534 has no rights to lose.
            let limited = unsafe {
                libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) == 0
                    && (libc::getuid() != 0 || libc::setuid(65534) == 0)
            };
            let failed = fork() == -1 && monkey_support::errno() == libc::EAGAIN;
            c_int::from(limited && failed)
        };
        let forks = greenroom::spawn(move || in_child(fork, body));
        assert_eq!(forks.join().unwrap().code(), Some(1));
    });
}
