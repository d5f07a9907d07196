//! What gevent's own tests ask of the hub, its loop and sleep: behaviours 27 to 36 and 40 to 43
//! and 46 of our list, re-written in our words after the test that each names, not copied.
//! Those that need a process of their own (37 to 39, 44, 45) stand in `gevent_hub_process.rs`.
mod gevent_support;

use gevent_support::{LONG, Notes, bounded, ms};
use greenroom::hub::{self, Event};
use greenroom::io::{Read, Write};
use greenroom::os::unix::net::UnixStream;
use greenroom::{sim, with_timeout};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Keeps its OS thread busy for as long, without parking.
fn burn(millis: u64) {
    let begin = Instant::now();
    while begin.elapsed() < ms(millis) {
        std::hint::spin_loop();
    }
}

/// A greenlet that yields in an endless loop, as long as the guard lives.
fn spinner() -> impl Drop {
    struct Stop(greenroom::Greenlet<()>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.kill();
        }
    }
    let endless = || loop {
        greenroom::yield_now();
    };
    Stop(greenroom::spawn(endless))
}

/// What a panic said.
#[track_caller]
fn message_of(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => panic!("not text: {:?}", payload.downcast_ref::<&str>()),
    }
}

// 27: test__core_callback.py. `run_callback` is `HubHandle::spawn` here.
#[test]
fn what_is_sent_to_a_hub_is_pending_until_the_hub_runs_it() {
    let _bound = bounded();
    let sent = hub::current().spawn(|| 7);
    assert!(!sent.is_finished());
    greenroom::idle();
    assert!(sent.is_finished());
    assert_eq!(sent.join().unwrap(), 7);
}

// 27: test__core_callback.py, `stop()`
#[test]
fn what_is_sent_to_a_hub_can_be_killed_before_it_arrives() {
    let _bound = bounded();
    let owned = Arc::new(());
    let theirs = Arc::clone(&owned);
    let sent = hub::current().spawn(move || unreachable!("{theirs:?}"));
    sent.thread().unpark();
    sent.kill();
    assert!(sent.join().unwrap_err().is_killed());
    assert_eq!(Arc::strong_count(&owned), 1);
}

// 28: test__loop_callback.py, test__nondefaultloop.py
#[test]
fn wait_idle_runs_what_was_sent_and_returns_when_nothing_is_left() {
    let _bound = bounded();
    sim::run(28, || {
        assert!(hub::wait_idle(None));
        let notes = Notes::new();
        let pen = notes.pen();
        drop(hub::current().spawn(move || {
            greenroom::sleep(ms(10));
            pen("done");
        }));
        assert!(hub::wait_idle(None));
        assert_eq!(notes.read(), ["done"]);
        assert!(hub::wait_idle(None));
    });
}

// 29: test__order.py TestSleep0
#[test]
fn two_greenlets_that_sleep_for_no_time_take_turns() {
    let _bound = bounded();
    let notes = Notes::new();
    let greenlets = [1, 2].map(|number| {
        let pen = notes.pen();
        greenroom::spawn(move || {
            pen(format!("{number}A"));
            greenroom::sleep(ms(0));
            pen(format!("{number}B"));
        })
    });
    greenroom::joinall(greenlets);
    assert_eq!(notes.read(), ["1A", "2A", "1B", "2B"]);
}

// 30: test__sleep0.py
#[test]
fn an_endless_loop_of_yields_is_interrupted_by_a_timeout() {
    let _bound = bounded();
    let begin = Instant::now();
    let endless = with_timeout(ms(10), || {
        loop {
            greenroom::sleep(ms(0));
        }
    });
    let elapsed: Result<(), _> = endless;
    assert!(elapsed.is_err());
    assert!(begin.elapsed() >= ms(10));
}

// 31: gevent, the switch interval
#[test]
fn timers_and_descriptors_are_served_though_somebody_spins() {
    let _bound = bounded();
    let _spinner = spinner();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = greenroom::spawn(move || {
        let mut byte = [0];
        theirs.read_exact(&mut byte).map(|()| byte)
    });
    let begin = Instant::now();
    greenroom::sleep(ms(10));
    assert!(begin.elapsed() < ms(2000), "{:?}", begin.elapsed());
    ours.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), *b"x");
    assert!(begin.elapsed() < ms(4000), "{:?}", begin.elapsed());
}

// 32: test__hub_join.py, test__hub_join_timeout.py
#[test]
fn wait_idle_is_false_at_its_limit_true_at_the_end_and_can_be_repeated() {
    let _bound = bounded();
    sim::run(32, || {
        drop(greenroom::spawn(|| greenroom::sleep(ms(100))));
        let before = greenroom::now();
        assert!(!hub::wait_idle(Some(ms(10))));
        assert_eq!(greenroom::now() - before, ms(10));
        assert!(!hub::wait_idle(Some(ms(10))));
        assert!(hub::wait_idle(Some(ms(1000))));
        assert_eq!(greenroom::now() - before, ms(100));
        assert!(hub::wait_idle(Some(ms(1000))));
        assert_eq!(
            greenroom::now() - before,
            ms(100),
            "there was nothing to wait for"
        );
        assert_eq!(
            greenroom::spawn(|| 1).join().unwrap(),
            1,
            "the hub is usable still"
        );
    });
}

// 32: test__hub_join.py, with `ref=False`. What does not hold the hub here is a timeout that was
// left behind.
#[test]
fn a_timeout_that_is_over_holds_nobody() {
    let _bound = bounded();
    sim::run(32, || {
        with_timeout(LONG, || greenroom::sleep(ms(1))).unwrap();
        let before = greenroom::now();
        assert!(hub::wait_idle(None));
        assert_eq!(greenroom::now(), before);
        assert_eq!(hub::stats().timers, 0);
    });
}

// 33: test__hub.py TestExceptionInMainloop, in a callback and in a timer
#[test]
fn panics_in_what_the_hub_starts_leave_it_going() {
    let _bound = bounded();
    sim::run(33, || {
        let failing = [
            hub::current().spawn(|| panic!("sent from outside")),
            greenroom::spawn_later(ms(1), || panic!("in a timer")),
        ];
        greenroom::sleep(ms(10));
        for greenlet in failing {
            let error: Result<(), _> = greenlet.join();
            assert!(error.unwrap_err().is_panic());
        }
        greenroom::spawn(|| greenroom::sleep(ms(1))).join().unwrap();
    });
}

// 34: test__hub.py TestHandleError, a broken error handler. What handles errors here is the
// panic hook and the payload's own destructor.
#[test]
fn a_payload_that_panics_when_it_is_dropped_does_not_stop_the_hub() {
    let _bound = bounded();
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic::resume_unwind(Box::new("a broken handler"));
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let bomb = Bomb(Arc::clone(&dropped));
        drop(greenroom::spawn(move || {
            panic::resume_unwind(Box::new(bomb));
        }));
    }
    greenroom::idle();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert_eq!(greenroom::spawn(|| 1).join().unwrap(), 1);
    assert_eq!(hub::stats().greenlets, 0);
}

// 35: test__server.py TestNoneSpawn. gevent raises BlockingSwitchOutError; the one place where
// user code runs inside the hub here is a subscriber to its events, and there it just blocks.
#[test]
fn what_would_park_inside_the_hub_blocks_its_thread_instead() {
    let _bound = bounded();
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let other = greenroom::spawn(move || {
        for _ in 0..3 {
            counted.fetch_add(1, Ordering::Relaxed);
            greenroom::yield_now();
        }
    });
    let seen = Arc::new(Mutex::new(None));
    let (told, watched) = (Arc::clone(&seen), Arc::clone(&turns));
    let subscription = hub::subscribe(move |event| {
        if let Event::Switched { .. } = event
            && told.lock().unwrap().is_none()
        {
            let (begin, before) = (Instant::now(), watched.load(Ordering::Relaxed));
            greenroom::yield_now();
            greenroom::sleep(ms(5));
            greenroom::idle();
            let others = watched.load(Ordering::Relaxed) - before;
            *told.lock().unwrap() = Some((begin.elapsed() >= ms(5), others));
        }
    });
    other.join().unwrap();
    drop(subscription);
    assert_eq!(
        *seen.lock().unwrap(),
        Some((true, 0)),
        "it waited, and nobody ran meanwhile"
    );
    assert_eq!(turns.load(Ordering::Relaxed), 3);
}

// 35: the same in a simulation, where a block costs no real time either
#[test]
fn what_would_park_inside_the_hub_passes_virtual_time() {
    let _bound = bounded();
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    sim::run(35, || {
        let slept = Arc::new(Mutex::new(None));
        let told = Arc::clone(&slept);
        let _subscription = hub::subscribe(move |_| {
            let before = greenroom::now();
            let mut told = told.lock().unwrap();
            if told.is_none() {
                greenroom::sleep(DAY);
                *told = Some(greenroom::now() - before);
            }
        });
        greenroom::spawn(|| ()).join().unwrap();
        assert_eq!(*slept.lock().unwrap(), Some(DAY));
    });
}

// 36: test__queue.py test_peek_empty: nothing is left that could wake the root
#[test]
fn a_wait_that_can_never_end_panics_with_a_list_of_who_waits_for_what() {
    let _bound = bounded();
    let waiting = greenroom::Builder::new().name("forgotten".into());
    let line = line!() + 1;
    let waiting = waiting.spawn(greenroom::thread::park).unwrap();
    let id = waiting.id();
    let text = message_of(|| drop(waiting.join()));
    assert!(text.contains("would block forever"), "{text}");
    assert!(
        text.contains(&format!("the root waits for greenlet #{id} to finish")),
        "{text}"
    );
    assert!(text.contains("'forgotten': waits for an unpark"), "{text}");
    assert!(
        text.contains(&format!("spawned at {}:{line}:", file!())),
        "{text}"
    );
}

// 36: test__semaphore.py, a cycle
#[test]
fn greenlets_that_wait_for_each_other_are_found_out() {
    let _bound = bounded();
    let (send, receive) = std::sync::mpsc::channel::<greenroom::Greenlet<()>>();
    let one = greenroom::spawn(move || {
        greenroom::yield_now();
        let other = receive.try_recv().unwrap();
        drop(other.join());
    });
    let name = one.id();
    let other = greenroom::spawn(move || drop(one.join()));
    let others = other.id();
    send.send(other).unwrap();
    let text = message_of(greenroom::thread::park);
    assert!(
        text.contains(&format!("waits for greenlet #{name} to finish")),
        "{text}"
    );
    assert!(
        text.contains(&format!("waits for greenlet #{others} to finish")),
        "{text}"
    );
    // The hub has survived that.
    assert_eq!(greenroom::spawn(|| 1).join().unwrap(), 1);
}

// 36: not while another thread could wake us (gevent #2124)
#[test]
fn a_wait_that_another_thread_can_end_is_not_declared_endless() {
    let _bound = bounded();
    let me = greenroom::current();
    let other = std::thread::spawn(move || {
        std::thread::sleep(ms(30));
        me.unpark();
    });
    greenroom::thread::park();
    other.join().unwrap();
}

// 40: test__core_async.py
#[test]
fn another_thread_wakes_a_hub_that_sleeps() {
    let _bound = bounded();
    let me = greenroom::current();
    let other = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        let at = Instant::now();
        me.unpark();
        at
    });
    greenroom::thread::park_timeout(LONG);
    let woken_at = Instant::now();
    assert!(woken_at - other.join().unwrap() < ms(2000));

    let there = hub::current();
    let other = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        there.spawn(|| 5).join().unwrap()
    });
    let begin = Instant::now();
    let joined = greenroom::spawn(move || {
        while !other.is_finished() {
            greenroom::sleep(ms(5));
        }
        other.join().unwrap()
    });
    assert_eq!(joined.join().unwrap(), 5);
    assert!(begin.elapsed() < ms(5000));
}

// 41: test__core_timer.py TestTimerResolution
#[test]
fn timers_keep_their_time_beside_traffic_on_descriptors() {
    let _bound = bounded();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let echo = greenroom::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).is_ok() {
            theirs.write_all(&byte).unwrap();
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let asker = greenroom::spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            ours.write_all(b"?").unwrap();
            ours.read_exact(&mut [0]).unwrap();
            rounds += 1;
        }
        rounds
    });
    for _ in 0..5 {
        let begin = Instant::now();
        greenroom::sleep(ms(10));
        let took = begin.elapsed();
        assert!(took >= ms(10) && took < ms(2000), "{took:?}");
    }
    over.store(true, Ordering::Relaxed);
    assert!(asker.join().unwrap() > 0);
    echo.join().unwrap();
}

// 42: test__api_timeout.py test_*_calls_update_now, gevent #97
#[test]
fn a_sleep_after_a_computation_is_measured_from_its_call() {
    let _bound = bounded();
    greenroom::sleep(ms(1));
    burn(60);
    let begin = Instant::now();
    greenroom::sleep(ms(40));
    assert!(begin.elapsed() >= ms(40), "{:?}", begin.elapsed());
}

// 42: the same for a timeout
#[test]
fn a_timeout_after_a_computation_is_measured_from_its_call() {
    let _bound = bounded();
    greenroom::sleep(ms(1));
    burn(600);
    let outcome = with_timeout(ms(500), || greenroom::sleep(ms(1)));
    assert_eq!(outcome, Ok(()));
}

// 43: test__core_watcher.py, test__socket_close.py. gevent allows one waiter for a watcher and
// raises ConcurrentObjectUseError; here they queue, and are served in that order.
#[test]
fn several_readers_of_one_descriptor_are_served_in_the_order_of_arrival() {
    let _bound = bounded();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Arc::new(theirs);
    let notes = Notes::new();
    let readers = [1, 2, 3].map(|number| {
        let (theirs, pen) = (Arc::clone(&theirs), notes.pen());
        greenroom::spawn(move || {
            let mut byte = [0];
            (&*theirs).read_exact(&mut byte).unwrap();
            pen((number, byte[0]));
        })
    });
    greenroom::yield_now();
    for byte in b"abc" {
        (&ours).write_all(&[*byte]).unwrap();
        greenroom::sleep(ms(1));
    }
    greenroom::joinall(readers);
    assert_eq!(notes.read(), [(1, b'a'), (2, b'b'), (3, b'c')]);
}

// 46: a wake that is meant for something else
#[test]
fn an_unpark_does_not_end_idle_before_its_time() {
    let _bound = bounded();
    let me = greenroom::current();
    let worker = greenroom::spawn(move || {
        me.unpark();
        (0..10).for_each(|_| greenroom::yield_now());
    });
    greenroom::idle();
    assert!(worker.is_finished());
}

// 46: a timeout around it does
#[test]
fn idle_ends_at_the_limit_around_it() {
    let _bound = bounded();
    let _spinner = spinner();
    assert!(with_timeout(ms(10), greenroom::idle).is_err());
}

// 46: test__issue639.py
#[test]
fn idle_returns_when_ready_work_is_done() {
    let _bound = bounded();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let notes = Notes::new();
    let pen = notes.pen();
    let reader = greenroom::spawn(move || {
        (&theirs).read_exact(&mut [0]).unwrap();
        pen("read");
    });
    greenroom::yield_now();
    ours.write_all(b"x").unwrap();
    let pen = notes.pen();
    let worker = greenroom::spawn(move || {
        (0..10).for_each(|_| greenroom::yield_now());
        pen("worked");
    });
    let sleeper = greenroom::spawn(|| greenroom::sleep(LONG));
    greenroom::idle();
    assert!(reader.is_finished() && worker.is_finished());
    assert!(!sleeper.is_finished(), "what only waits is not waited for");
    let mut seen = notes.read();
    seen.sort();
    assert_eq!(seen, ["read", "worked"]);
    sleeper.kill();
}

// 32: also from a greenlet
#[test]
fn a_greenlet_can_wait_for_all_others() {
    let _bound = bounded();
    greenroom::run(|| {
        let waiter = greenroom::spawn(|| greenroom::hub::wait_idle(None));
        greenroom::spawn(|| greenroom::sleep(std::time::Duration::from_millis(2)));
        assert!(waiter.join().unwrap());
    });
}
