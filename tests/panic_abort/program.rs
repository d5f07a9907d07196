//! What a kill and a timeout do where nothing can unwind: built with panic = "abort".

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenroom::io::pipe;

const ECANCELED: Option<i32> = Some(125);

/// A kill comes as ECANCELED, again and again, and the greenlet ends by itself.
fn a_killed_read_fails() {
    let (mut reader, _writer) = pipe().unwrap();
    let greenlet = greenroom::spawn(move || {
        let first = reader.read(&mut [0]).unwrap_err().raw_os_error();
        let second = reader.read(&mut [0]).unwrap_err().raw_os_error();
        (first, second)
    });
    greenroom::yield_now();
    greenlet.kill();
    let (killed, late) = greenlet.join_late().unwrap_err();
    assert!(killed.is_killed());
    assert_eq!(late.unwrap(), (ECANCELED, ECANCELED));
}

fn a_killed_sleep_ends_early() {
    let greenlet = greenroom::spawn(|| greenroom::sleep(Duration::from_secs(60)));
    greenroom::yield_now();
    let begin = Instant::now();
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn a_greenlet_killed_before_it_starts_never_runs() {
    let greenlet = greenroom::spawn(|| unreachable!("it was killed"));
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
}

fn a_timed_out_read_fails() {
    let (mut reader, _writer) = pipe().unwrap();
    let limit = Duration::from_millis(5);
    let outcome = greenroom::with_timeout_late(limit, || reader.read(&mut [0]));
    let (elapsed, late) = outcome.unwrap_err();
    assert_eq!(elapsed.limit(), limit);
    let error = late.expect("the closure returns by itself").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// A join can't fail, so the killed joiner waits on, without burning the processor.
fn a_killed_join_waits_on() {
    let slow = greenroom::spawn(|| greenroom::sleep(Duration::from_millis(20)));
    let joiner = greenroom::spawn(move || slow.join().is_ok());
    greenroom::yield_now();
    joiner.kill();
    let before = greenroom::hub::stats().switches;
    let (killed, late) = joiner.join_late().unwrap_err();
    assert!(killed.is_killed());
    assert_eq!(late, Some(true));
    assert!(greenroom::hub::stats().switches - before < 10, "a spin");
}

/// Nothing cuts the destructors off that are left at the end of a greenlet.
fn destructors_at_the_end_park_after_a_kill() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            let before = Instant::now();
            greenroom::sleep(Duration::from_millis(10));
            let slept = before.elapsed() >= Duration::from_millis(10);
            ENDED.fetch_add(slept.into(), Ordering::Relaxed);
        }
    }
    greenroom::green_local! {
        static KEPT: Parks = Parks;
    }
    let parks = Parks;
    let never_begun = greenroom::spawn(move || drop(parks));
    never_begun.kill();
    assert!(never_begun.join().unwrap_err().is_killed());
    let with_local = greenroom::spawn(|| KEPT.with(|_| ()));
    let detached = greenroom::spawn(|| {
        greenroom::yield_now();
        Parks
    });
    greenroom::yield_now();
    detached.kill();
    drop(detached);
    with_local.kill();
    with_local.join().unwrap();
    greenroom::hub::wait_idle(None);
    assert_eq!(ENDED.load(Ordering::Relaxed), 3);
}

fn main() {
    assert!(cfg!(panic = "abort"));
    destructors_at_the_end_park_after_a_kill();
    a_killed_read_fails();
    a_killed_sleep_ends_early();
    a_greenlet_killed_before_it_starts_never_runs();
    a_timed_out_read_fails();
    a_killed_join_waits_on();
    println!("all as documented");
}
