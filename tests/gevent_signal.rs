//! What gevent's own tests ask of signals (test__signal.py): behaviour 121 of our list, re-written
//! in our words, not copied. Each test has a signal of its own, for all share one process.
mod gevent_support;

use gevent_support::{LONG, bounded, is_alone, ms, passes_alone};
use greenroom::io::{self, BufRead, BufReader, Read, Write};
use greenroom::os::unix::net::UnixStream;
use greenroom::os::unix::process::ExitStatusExt;
use greenroom::process::{Command, Stdio};
use greenroom::signal::{self, Handler, Signal, Signals};
use greenroom::{hub, iwait, joinall, sleep, spawn, spawn_local, wait, with_timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

fn real_time(index: u8) -> Signal {
    Signal::real_time(index).unwrap()
}

fn send(signal: Signal) {
    signal::send(std::process::id(), signal).unwrap();
}

fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(ms(1));
    }
}

/// A handler that counts.
fn counter(signal: Signal) -> (Handler, Rc<Cell<usize>>) {
    let count = Rc::<Cell<usize>>::default();
    let theirs = Rc::clone(&count);
    let handler = signal::on(signal, move || theirs.set(theirs.get() + 1)).unwrap();
    (handler, count)
}

/// The present disposition: 0 for the default, 1 for "ignore", or the address of a handler.
fn disposition(signal: Signal) -> usize {
    // SAFETY: nothing is changed; the zeroed action is there to be written.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        assert_eq!(
            libc::sigaction(signal.number(), std::ptr::null(), &mut found),
            0
        );
        found.sa_sigaction
    }
}

fn set_disposition(signal: Signal, to: usize) {
    // SAFETY: the handlers of this file only touch atomics.
    unsafe { libc::signal(signal.number(), to) };
}

// 121
#[test]
fn a_handler_runs_in_a_greenlet_stays_installed_and_can_be_cancelled() {
    let _bound = bounded();
    let root = greenroom::current().id();
    let ran_in = Rc::<RefCell<Vec<_>>>::default();
    let theirs = Rc::clone(&ran_in);
    let note = move || theirs.borrow_mut().push(greenroom::current().id());
    let handler = signal::on(real_time(0), note).unwrap();
    for round in 1..=3 {
        send(real_time(0));
        until(|| ran_in.borrow().len() == round);
    }
    assert!(ran_in.borrow().iter().all(|id| *id != root));
    // Something is to be there still for the signal that comes after the cancel.
    let (_other, count) = counter(real_time(0));
    handler.cancel();
    send(real_time(0));
    until(|| count.get() == 1);
    assert_eq!(ran_in.borrow().len(), 3);
}

// 121: it also runs while the root waits for something else.
#[test]
fn a_handler_runs_whatever_the_others_wait_for() {
    let _bound = bounded();
    let (mut reader, mut writer) = io::pipe().unwrap();
    let handler = signal::on(real_time(1), move || writer.write_all(b"x").unwrap()).unwrap();
    let us = std::process::id();
    let sender = thread::spawn(move || {
        thread::sleep(ms(5));
        signal::send(us, real_time(1)).unwrap();
    });
    reader.read_exact(&mut [0]).unwrap();
    sender.join().unwrap();
    drop(handler);
}

#[test]
fn calls_come_one_after_the_other_and_none_is_lost() {
    let _bound = bounded();
    let (calls, inside) = (Rc::<Cell<u32>>::default(), Rc::<Cell<u32>>::default());
    let (count, within) = (Rc::clone(&calls), Rc::clone(&inside));
    let slow = move || {
        assert_eq!(within.replace(1), 0);
        sleep(ms(2));
        within.set(0);
        count.set(count.get() + 1);
    };
    let handler = signal::on(real_time(2), slow).unwrap();
    (0..10).for_each(|_| send(real_time(2)));
    until(|| calls.get() > 0);
    assert!(handler.pending() > 0);
    until(|| calls.get() == 10);
    assert_eq!(handler.pending(), 0);
}

#[test]
fn a_handler_that_panics_stays() {
    let _bound = bounded();
    let calls = Rc::<Cell<u32>>::default();
    let count = Rc::clone(&calls);
    let handler = signal::on(real_time(3), move || {
        count.set(count.get() + 1);
        assert_ne!(count.get(), 1, "on purpose");
    });
    let handler = handler.unwrap();
    for round in 1..=3 {
        send(real_time(3));
        until(|| calls.get() == round);
    }
    drop(handler);
}

#[test]
fn a_handler_may_take_itself_away() {
    let _bound = bounded();
    let handler = Rc::<RefCell<Option<Handler>>>::default();
    let (theirs, calls) = (Rc::clone(&handler), Rc::<Cell<u32>>::default());
    let count = Rc::clone(&calls);
    let once = move || {
        drop(theirs.take());
        sleep(ms(1));
        count.set(count.get() + 1);
    };
    let before = hub::stats().greenlets;
    *handler.borrow_mut() = Some(signal::on(real_time(4), once).unwrap());
    send(real_time(4));
    until(|| calls.get() == 1);
    until(|| hub::stats().greenlets == before);
    assert_eq!(disposition(real_time(4)), libc::SIG_DFL);
}

#[test]
fn signals_are_waited_for_counted_and_taken() {
    let _bound = bounded();
    let (one, two) = (real_time(5), real_time(6));
    let signals = Signals::new(&[two, one, two]).unwrap();
    assert_eq!(signals.wait_timeout(ms(2)).unwrap(), None);
    assert_eq!(signals.try_wait(), None);
    (0..3).for_each(|_| send(one));
    send(two);
    until(|| signals.pending() == 4);
    assert_eq!(signals.wait().unwrap(), one);
    assert_eq!(signals.try_wait(), Some(one));
    assert_eq!(
        signals.iter().take(2).collect::<Vec<_>>(),
        [one, two],
        "none is missing"
    );
    assert_eq!(signals.pending(), 0);
}

#[test]
fn several_who_wait_get_one_each() {
    let _bound = bounded();
    let signals = Rc::new(Signals::new(&[real_time(7)]).unwrap());
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let signals = Rc::clone(&signals);
            spawn_local(move || signals.wait().unwrap())
        })
        .collect();
    yield_now();
    let dies = &waiters[0];
    dies.kill();
    yield_now();
    (0..2).for_each(|_| send(real_time(7)));
    let results = joinall(waiters);
    assert!(results[0].is_err(), "it was killed, and has taken none");
    assert!(results[1..].iter().all(Result::is_ok));
}

#[test]
fn signals_are_waited_for_together_with_others_of_their_kind() {
    let _bound = bounded();
    let both = [8, 9].map(|index| Signals::new(&[real_time(index)]).unwrap());
    assert!(wait(&both).timeout(ms(2)).ready().is_empty());
    send(real_time(9));
    let first = iwait(&both).next().unwrap();
    assert!(std::ptr::eq(first, &both[1]));
    assert_eq!(first.pending(), 1, "it is not taken by that");
    assert_eq!(wait([first]).ready().len(), 1);
    assert!(with_timeout(ms(2), || both[0].wait()).is_err());
}

// Ours: gevent has one loop for signals.
#[test]
fn each_hub_gets_what_it_has_asked_for() {
    let _bound = bounded();
    let (sender, receiver) = mpsc::channel();
    let (started, ready) = mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (sender, started) = (sender.clone(), started.clone());
            thread::spawn(move || {
                let me = thread::current().id();
                let (count, done) = (Rc::<Cell<u32>>::default(), Rc::<Cell<u32>>::default());
                done.set(5);
                let theirs = Rc::clone(&count);
                let note = move || {
                    theirs.set(theirs.get() + 1);
                    sender.send((me, thread::current().id())).unwrap();
                };
                let _handler = signal::on(real_time(10), note).unwrap();
                started.send(()).unwrap();
                until(|| count == done);
            })
        })
        .collect();
    (0..3).for_each(|_| ready.recv().unwrap());
    (0..5).for_each(|_| send(real_time(10)));
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let told: Vec<_> = receiver.try_iter().collect();
    assert_eq!(told.len(), 15);
    assert!(told.iter().all(|(asked, got)| asked == got));
    assert_eq!(disposition(real_time(10)), libc::SIG_DFL);
}

#[test]
fn plain_threads_wait_as_well() {
    let _bound = bounded();
    let signals = Arc::new(Signals::new(&[real_time(11)]).unwrap());
    let theirs = Arc::clone(&signals);
    let (sender, receiver) = mpsc::channel();
    let waiter = thread::spawn(move || {
        assert_eq!(theirs.wait_timeout(ms(2)).unwrap(), None);
        sender.send(()).unwrap();
        (theirs.wait().unwrap(), theirs.wait().unwrap())
    });
    receiver.recv().unwrap();
    send(real_time(11));
    thread::sleep(ms(5));
    send(real_time(11));
    assert_eq!(waiter.join().unwrap(), (real_time(11), real_time(11)));
    drop(signals);
}

#[test]
fn the_last_to_go_puts_the_former_disposition_back() {
    let _bound = bounded();
    let signal = real_time(12);
    for former in [libc::SIG_IGN, libc::SIG_DFL] {
        set_disposition(signal, former);
        let one = Signals::new(&[signal]).unwrap();
        let (two, _) = counter(signal);
        assert!(disposition(signal) > 1);
        drop(one);
        assert!(disposition(signal) > 1);
        two.cancel();
        assert_eq!(disposition(signal), former);
    }
}

static FORMER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn former(_: i32) {
    FORMER.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_handler_that_was_there_before_is_called_as_well() {
    let _bound = bounded();
    let signal = real_time(13);
    set_disposition(signal, former as *const () as usize);
    let signals = Signals::new(&[signal]).unwrap();
    send(signal);
    assert_eq!(signals.wait().unwrap(), signal);
    until(|| FORMER.load(Ordering::SeqCst) == 1);
    drop(signals);
    assert_eq!(disposition(signal), former as *const () as usize);
    send(signal);
    until(|| FORMER.load(Ordering::SeqCst) == 2);
}

/// The handler that `chains` was installed over.
static BELOW: AtomicUsize = AtomicUsize::new(0);
static CHAINED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn chains(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    CHAINED.fetch_add(1, Ordering::SeqCst);
    let below = std::ptr::with_exposed_provenance::<()>(BELOW.load(Ordering::SeqCst));
    type Informed = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    // SAFETY: the test has put the handler there that it has found, which is of this kind.
    let below: Informed = unsafe { std::mem::transmute(below) };
    below(number, info, context);
}

#[test]
fn one_that_was_installed_over_ours_is_left_and_calls_no_circle() {
    let _bound = bounded();
    let signal = real_time(14);
    let first = Signals::new(&[signal]).unwrap();
    BELOW.store(disposition(signal), Ordering::SeqCst);
    // SAFETY: a zeroed action is one; the handler calls the one that was there before.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = chains as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(signal.number(), &action, std::ptr::null_mut());
    }
    send(signal);
    assert_eq!(first.wait().unwrap(), signal);
    drop(first);
    assert_eq!(disposition(signal), chains as *const () as usize);
    // Now ours stands both above and below that one.
    let second = Signals::new(&[signal]).unwrap();
    send(signal);
    assert_eq!(second.wait().unwrap(), signal);
    until(|| CHAINED.load(Ordering::SeqCst) >= 2);
}

#[test]
fn several_at_once_may_become_one_and_are_never_none() {
    let _bound = bounded();
    let signals = Signals::new(&[Signal::WINCH]).unwrap();
    (0..100).for_each(|_| send(Signal::WINCH));
    assert_eq!(signals.wait().unwrap(), Signal::WINCH);
    assert!(signals.pending() < 100);
}

#[test]
fn what_can_not_be_handled_is_a_clear_error() {
    let _bound = bounded();
    let says = |number: i32, what: &str| {
        let error = Signal::new(number).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what), "{error}");
    };
    says(libc::SIGKILL, "SIGKILL can't be listened for: the kernel");
    says(libc::SIGSTOP, "SIGSTOP");
    for fault in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
    ] {
        says(fault, "fault");
    }
    says(0, "no signal 0");
    says(65, "no signal 65");
    says(-1, "no signal -1");
    says(i32::MIN, "from 1 to 64");
    says(33, "C library");
    assert!(
        Signal::real_time(200)
            .unwrap_err()
            .to_string()
            .contains("SIGRTMIN+200")
    );
    let none = Signals::new(&[]).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::InvalidInput);
    let nobody = signal::send(u32::MAX, Signal::TERM).unwrap_err();
    assert_eq!(nobody.raw_os_error(), Some(libc::ESRCH));
    assert!(
        signal::send(0, Signal::TERM).is_err(),
        "not to the whole group"
    );
}

#[test]
fn signals_have_names() {
    let _bound = bounded();
    assert_eq!(Signal::INT.to_string(), "SIGINT");
    assert_eq!(format!("{:?}", real_time(3)), "SIGRTMIN+3");
    assert_eq!(Signal::new(16).unwrap().to_string(), "signal 16");
    assert_eq!(Signal::try_from(libc::SIGUSR1).unwrap(), Signal::USR1);
    assert_eq!(Signal::USR1.number(), libc::SIGUSR1);
}

#[test]
fn io_never_fails_because_of_a_signal() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("io_never_fails_because_of_a_signal");
        return;
    }
    let (_handler, count) = counter(Signal::USR1);
    // SAFETY: takes nothing.
    let us = unsafe { libc::pthread_self() };
    let over = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&over);
    let storm = thread::spawn(move || {
        while !theirs.load(Ordering::SeqCst) {
            // SAFETY: that thread waits for the end of this one.
            unsafe { libc::pthread_kill(us, libc::SIGUSR1) };
            thread::sleep(std::time::Duration::from_micros(50));
        }
    });
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let echo = spawn(move || {
        let mut buffer = [0; 100];
        while let Ok(count @ 1..) = there.read(&mut buffer) {
            sleep(ms(1));
            there.write_all(&buffer[..count]).unwrap();
        }
    });
    for _ in 0..50 {
        here.write_all(b"x").unwrap();
        here.read_exact(&mut [0]).unwrap();
        assert_eq!(Command::new("true").status().unwrap().code(), Some(0));
        greenroom::threadpool::call(|| ()).unwrap();
    }
    here.set_read_timeout(Some(ms(20))).unwrap();
    assert_eq!(
        here.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(here);
    echo.join().unwrap();
    assert!(count.get() > 10);
    over.store(true, Ordering::SeqCst);
    storm.join().unwrap();
}

// gevent's `ref`, which is off for signals.
#[test]
fn wait_idle_waits_for_handlers_that_run_and_for_no_others() {
    let _bound = bounded();
    let (begun, done) = (Rc::<Cell<bool>>::default(), Rc::<Cell<bool>>::default());
    let (start, end) = (Rc::clone(&begun), Rc::clone(&done));
    let handler = signal::on(real_time(15), move || {
        start.set(true);
        sleep(ms(10));
        end.set(true);
    });
    let handler = handler.unwrap();
    assert!(hub::wait_idle(Some(LONG)), "with nothing to do");
    send(real_time(15));
    until(|| begun.get());
    assert!(hub::wait_idle(Some(LONG)));
    assert!(done.get());
    drop(handler);
    assert!(hub::wait_idle(Some(LONG)));
}

#[test]
fn the_end_of_a_run_ends_its_handlers() {
    let _bound = bounded();
    let signal = real_time(16);
    let handler = greenroom::run(|| counter(signal).0);
    drop(handler);
    assert_eq!(disposition(signal), libc::SIG_DFL);
}

// 121, from outside: a server that ends as it was asked to.
#[test]
fn sigterm_and_sigint_are_events() {
    let _bound = bounded();
    if is_alone() {
        let signals = Signals::new(&[Signal::INT, Signal::TERM]).unwrap();
        println!("\nready");
        println!("{} came", signals.wait().unwrap());
        return;
    }
    for (signal, expected) in [(Signal::TERM, "SIGTERM came"), (Signal::INT, "SIGINT came")] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["sigterm_and_sigint_are_events", "--exact", "--nocapture"]);
        again
            .env("GREENROOM_TEST_CHILD", "1")
            .stdout(Stdio::piped());
        let mut child = again.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"));
        signal::send(child.id(), signal).unwrap();
        assert!(lines.any(|line| line.unwrap() == expected));
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_signal_that_nobody_listens_for_ends_a_child_as_ever() {
    let _bound = bounded();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    signal::send(child.id(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_forked_child_starts_without_registrations() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_forked_child_starts_without_registrations");
        return;
    }
    let signals = Signals::new(&[Signal::USR1]).unwrap();
    // SAFETY: the child uses only what this test is about, and ends without returning.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let clean = disposition(Signal::USR1) == libc::SIG_DFL && signals.pending() == 0;
        let refused = signals.wait().is_err();
        drop(signals);
        let own = Signals::new(&[Signal::USR1]).unwrap();
        send(Signal::USR1);
        let heard = own.wait().unwrap() == Signal::USR1 && own.pending() == 0;
        drop(own);
        let put_back = disposition(Signal::USR1) == libc::SIG_DFL;
        // SAFETY: takes a number, and does not return.
        unsafe { libc::_exit(i32::from(!(clean && refused && heard && put_back))) };
    }
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(
        signals.wait_timeout(ms(2)).unwrap(),
        None,
        "the child's is not ours"
    );
    send(Signal::USR1);
    assert_eq!(signals.wait().unwrap(), Signal::USR1);
}

#[test]
fn registrations_leave_nothing_open() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("registrations_leave_nothing_open");
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = || {
        let signals = Signals::new(&[Signal::USR1, Signal::USR2]).unwrap();
        let (_handler, count) = counter(Signal::USR1);
        drop(wait([&signals]).timeout(ms(1)).ready());
        send(Signal::USR1);
        assert_eq!(signals.wait().unwrap(), Signal::USR1);
        until(|| count.get() == 1);
        drop((signals, _handler));
        assert!(hub::wait_idle(Some(LONG)));
        sleep(ms(1));
    };
    round();
    let (before, greenlets) = (descriptors(), hub::stats().greenlets);
    (0..20).for_each(|_| round());
    assert_eq!(descriptors(), before);
    assert_eq!(hub::stats().greenlets, greenlets);
}

#[test]
fn many_registrations_come_and_go_in_a_storm() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("many_registrations_come_and_go_in_a_storm");
        return;
    }
    let keep = Signals::new(&[Signal::USR1]).unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..300 {
                    let signals = Signals::new(&[Signal::USR1]).unwrap();
                    send(Signal::USR1);
                    assert_eq!(signals.wait().unwrap(), Signal::USR1);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(keep.pending() > 0);
}
