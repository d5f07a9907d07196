//! What gevent's own tests ask of its monitor and its tree of greenlets: behaviours 122 and 123 of
//! our list, re-written in our words after the test that each names, not copied.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::hub::{self, assert_switches};
use greenroom::inspect::{GreenletState, Watchdog, run_info, run_info_here};
use greenroom::{Builder, sim};
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread;

fn text_of(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    *payload.downcast::<String>().unwrap()
}

greenroom::green_local! {
    static OWN: u8 = 1;
    static ANOTHER: u8 = 2;
}

// 123: test__util.py TestTree.test_tree
#[test]
fn the_tree_shows_who_was_spawned_by_whom_and_what_they_do() {
    let _bound = bounded();
    sim::run(123, || {
        let named = |name: &str| Builder::new().name(name.into());
        let parent = named("parent")
            .spawn(move || {
                let child = named("child").spawn(|| {
                    OWN.with(|_| ANOTHER.with(|_| ()));
                    greenroom::sleep(ms(60_000));
                });
                named("late").spawn(greenroom::thread::park).unwrap();
                child.unwrap().join().unwrap();
            })
            .unwrap();
        let unstarted = greenroom::spawn_later(ms(60_000), || ());
        greenroom::sleep(ms(1500));
        let info = run_info_here();
        let text = info.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].ends_with(": 4 greenlets"), "{text}");
        assert!(lines[1].contains("': runs"), "{text}");
        let begins = |line: &str, branch: &str, what: &[&str]| {
            assert!(line.starts_with(branch), "{text}");
            what.iter()
                .for_each(|what| assert!(line.contains(what), "{what}:\n{text}"));
        };
        let child = "' : waits for the end of a sleep, for 1.500s now; 2 locals; 1.500s old";
        let child = child.replace("' :", "':");
        begins(
            lines[2],
            "  |-- greenlet #",
            &["'parent': waits for greenlet #"],
        );
        begins(lines[3], "  |   |-- greenlet #", &["'child", &child]);
        begins(
            lines[4],
            "  |   `-- greenlet #",
            &["'late': waits for an unpark"],
        );
        begins(
            lines[5],
            "  `-- greenlet #",
            &[": not started yet; 1.500s old"],
        );
        assert!(lines[3].contains("spawned at tests/gevent_inspect.rs:"));
        parent.kill();
        unstarted.kill();
        info.greenlets().for_each(|one| assert!(!one.killed));
    });
}

// 123: test__util.py TestTree, finished parents
#[test]
fn a_parent_that_has_finished_still_holds_its_children_together() {
    let _bound = bounded();
    sim::run(123, || {
        let spawner = greenroom::spawn(|| {
            (0..2).for_each(|_| drop(greenroom::spawn(|| greenroom::sleep(ms(10)))));
        });
        let gone = spawner.id();
        spawner.join().unwrap();
        let info = run_info_here();
        let of = |id| {
            info.greenlets()
                .filter(move |one| one.spawner == Some(id))
                .count()
        };
        assert_eq!(of(gone), 2);
        let parent = info.greenlets().find(|one| one.id == gone).unwrap();
        assert_eq!(parent.state, GreenletState::Finished);
        let text = info.to_string();
        assert!(
            text.contains(&format!("greenlet #{gone}: has finished\n")),
            "{text}"
        );
        assert_eq!(text.matches("-- greenlet #").count(), 2, "{text}");
        assert!(
            text.contains(": 2 greenlets\n"),
            "the finished one is not counted: {text}"
        );
    });
}

#[test]
fn json_is_read_back_as_what_it_tells() {
    let _bound = bounded();
    sim::run(123, || {
        let strange = "quote\" back\\slash \n tab\t bell\u{7} \u{7f} ümlaut 🐎";
        let greenlet = Builder::new()
            .name(strange.into())
            .spawn(greenroom::thread::park);
        let greenlet = greenlet.unwrap();
        greenroom::sleep(ms(2));
        greenlet.kill();
        let info = run_info_here();
        let json: serde_json::Value = serde_json::from_str(&info.to_json()).unwrap();
        let greenlets = json["hubs"][0]["greenlets"].as_array().unwrap();
        assert_eq!(greenlets.len(), 2);
        let (root, one) = (&greenlets[0], &greenlets[1]);
        assert_eq!(root["is_root"], true);
        assert_eq!(root["state"], "running");
        assert_eq!(root["waits_for"], serde_json::Value::Null);
        assert_eq!(one["name"], strange);
        assert_eq!(one["id"], greenlet.id().to_string());
        assert_eq!(one["spawner"], root["id"]);
        assert_eq!(one["killed"], true);
        assert_eq!(one["age_ns"], 2_000_000);
        let place = one["spawned_at"].as_str().unwrap();
        assert!(place.starts_with("tests/gevent_inspect.rs:"));
        greenlet.join().unwrap_err();
    });
}

#[test]
fn of_very_many_greenlets_the_number_is_told() {
    let _bound = bounded();
    sim::run(123, || {
        (0..1500).for_each(|_| drop(greenroom::spawn(|| greenroom::sleep(ms(1)))));
        let text = run_info_here().to_string();
        assert_eq!(text.lines().count(), 1002);
        assert!(
            text.ends_with("  ... and 501 more\n"),
            "{}",
            &text[text.len() - 60..]
        );
    });
}

#[test]
fn a_long_chain_of_spawners_is_drawn_without_a_recursion() {
    let _bound = bounded();
    fn chain(left: u32) {
        if left > 0 {
            greenroom::spawn(move || chain(left - 1)).join().unwrap();
        }
    }
    sim::run(123, || {
        let first = greenroom::spawn(|| chain(5_000));
        (0..5_010).for_each(|_| greenroom::yield_now());
        let info = run_info_here();
        assert!(info.to_string().contains(" more\n") || first.is_finished());
        first.join().unwrap();
    });
}

#[test]
fn all_hubs_answer_and_a_blocked_one_is_told_of() {
    let _bound = bounded();
    let (sender, receiver) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let told = sender.clone();
    let parked = thread::spawn(move || {
        greenroom::spawn(|| greenroom::sleep(LONG));
        told.send((hub::current(), greenroom::current())).unwrap();
        greenroom::thread::park();
    });
    let (there, root) = receiver.recv().unwrap();
    let blocked = thread::spawn(move || {
        sender.send((hub::current(), greenroom::current())).unwrap();
        wait.recv().unwrap_err();
    });
    let (busy, _) = receiver.recv().unwrap();
    let asker = greenroom::spawn(|| run_info(ms(200)));
    let info = asker.join().unwrap();
    let hub_of = |number| info.hubs.iter().find(|hub| hub.number == number).unwrap();
    assert!(hub_of(there.number()).answered);
    assert_eq!(hub_of(there.number()).greenlets.len(), 2);
    assert!(!hub_of(busy.number()).answered);
    assert!(hub_of(hub::current().number()).answered);
    assert!(
        info.to_string()
            .contains(&format!("hub {}: no answer", busy.number()))
    );
    drop(go_on);
    root.unpark();
    parked.join().unwrap();
    blocked.join().unwrap();
    let info = run_info(ms(200));
    assert!(
        info.hubs.iter().all(|hub| hub.number != there.number()),
        "it is gone"
    );
}

#[test]
fn who_was_spawned_from_another_hub_names_its_spawner() {
    let _bound = bounded();
    let here = hub::current();
    let me = greenroom::current().id();
    let other = thread::spawn(move || {
        let spawned = greenroom::spawn(move || {
            let sent = here.spawn(|| greenroom::sleep(ms(60_000)));
            (greenroom::current().id(), sent)
        });
        spawned.join().unwrap()
    });
    let (spawner, sent) = other.join().unwrap();
    greenroom::sleep(ms(2));
    let info = run_info_here();
    let one = info.greenlets().find(|one| one.id == sent.id()).unwrap();
    assert_eq!(one.spawner, Some(spawner));
    assert_ne!(spawner, me);
    assert!(
        info.to_string()
            .contains(&format!("  greenlet #{}: waits", sent.id()))
    );
    sent.kill();
}

#[test]
fn a_thread_without_a_hub_has_nothing_to_tell() {
    let _bound = bounded();
    let info = thread::spawn(run_info_here).join().unwrap();
    assert!(info.hubs.is_empty());
    assert_eq!(info.to_json(), r#"{"hubs":[]}"#);
    assert_eq!(info.to_string(), "");
}

// 122: test__util.py TestAssertSwitches
#[test]
fn assert_switches_is_content_with_who_parks_and_not_with_who_blocks() {
    let _bound = bounded();
    assert_eq!(assert_switches(LONG, || 5), 5);
    let naps = || (0..12).for_each(|_| greenroom::sleep(ms(100)));
    assert_switches(ms(1000), naps);
    let text = text_of(|| assert_switches(ms(20), || thread::sleep(ms(40))));
    assert!(text.contains("the hub was blocked for "), "{text}");
    assert!(text.contains("at most 20ms"), "{text}");
    let text = text_of(|| {
        assert_switches(ms(20), || {
            greenroom::sleep(ms(1));
            thread::sleep(ms(40));
            greenroom::sleep(ms(1));
        });
    });
    assert!(text.contains("without a switch"), "{text}");
}

#[test]
fn assert_switches_does_not_blame_for_what_others_do() {
    let _bound = bounded();
    let other = greenroom::spawn(|| thread::sleep(ms(1200)));
    assert_switches(ms(800), || other.join().unwrap());
    let said = panic::catch_unwind(|| assert_switches(LONG, || panic::panic_any("its own")));
    assert_eq!(said.unwrap_err().downcast_ref(), Some(&"its own"));
}

/// A watchdog, and what it tells of this thread's hub.
fn watch(
    limit: u64,
) -> (
    Watchdog,
    mpsc::Receiver<(greenroom::GreenletId, Option<String>)>,
) {
    let (sender, told) = mpsc::channel();
    let own = hub::current().number();
    let watchdog = Watchdog::with_callback(ms(limit), move |blocked| {
        if blocked.hub == own {
            assert!(blocked.blocked_for >= ms(20));
            let _ = sender.send((blocked.greenlet, blocked.name.clone()));
        }
    });
    // It has to reach a hub that runs already.
    greenroom::sleep(ms(50));
    (watchdog.unwrap(), told)
}

// 122: test__hub.py TestPeriodicMonitoringThread.test_blocking_this_thread
#[test]
fn the_watchdog_tells_who_blocks_a_hub_while_it_does() {
    let _bound = bounded();
    let (watchdog, told) = watch(30);
    let hog = Builder::new().name("hog".into());
    let hog = hog.spawn(move || {
        let begin = std::time::Instant::now();
        let heard = told.recv_timeout(LONG).unwrap();
        (heard, begin.elapsed(), told)
    });
    let hog = hog.unwrap();
    let id = hog.id();
    let (heard, after, told) = hog.join().unwrap();
    assert_eq!(heard, (id, Some("hog".into())));
    assert!(after >= ms(20), "{after:?}");
    // The root as well, when there are greenlets that have to wait for it.
    let waits = greenroom::spawn(|| greenroom::sleep(LONG));
    greenroom::yield_now();
    told.try_iter().count();
    let heard = told.recv_timeout(LONG).unwrap();
    assert_eq!(heard.0, greenroom::current().id());
    waits.kill();
    drop(watchdog);
    thread::sleep(ms(60));
    told.try_iter().count();
    thread::sleep(ms(100));
    assert!(told.try_recv().is_err(), "it has stopped");
}

// 122: test__hub.py test_previous_trace, "does not report idle"
#[test]
fn the_watchdog_is_silent_about_who_sleeps_or_switches_or_keeps_nobody_waiting() {
    let _bound = bounded();
    let (_watchdog, told) = watch(500);
    greenroom::sleep(ms(1200));
    let spinner = greenroom::spawn(|| {
        let begin = std::time::Instant::now();
        while begin.elapsed() < ms(1200) {
            greenroom::yield_now();
        }
    });
    spinner.join().unwrap();
    thread::sleep(ms(1200));
    assert!(told.try_recv().is_err());
}

#[test]
fn a_watchdog_with_a_callback_that_panics_goes_on() {
    let _bound = bounded();
    let (sender, told) = mpsc::channel();
    let own = hub::current().number();
    let watchdog = Watchdog::with_callback(ms(20), move |blocked| {
        if blocked.hub == own {
            sender.send(()).unwrap();
            panic!("the callback fails");
        }
    });
    greenroom::sleep(ms(50));
    let hog = greenroom::spawn(move || (0..2).for_each(|_| told.recv_timeout(LONG).unwrap()));
    hog.join().unwrap();
    drop(watchdog);
}

#[test]
fn a_watchdog_without_a_limit_is_refused() {
    let _bound = bounded();
    let error = Watchdog::start(ms(0)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    drop(Watchdog::start(std::time::Duration::MAX).unwrap());
}
