//! The same seed gives the same run; a failure names its seed, and the seed replays it.
mod sim_support;

use greenroom::net::{TcpListener, TcpStream, UdpSocket};
use greenroom::sim::{self, Faults};
use greenroom::{joinall, killall, sleep, spawn, with_timeout, yield_now};
use sim_support::bounded;
use sim_support::ms;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by who starts a process and by who compares traces. Between its fork and its exec a child
/// holds a copy of every descriptor, so that one closed here meanwhile hangs up only later.
static NO_FORKS: Mutex<()> = Mutex::new(());

fn no_forks() -> MutexGuard<'static, ()> {
    NO_FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that uses all that is drawn from the seed; returns its trace.
fn program(seed: u64) -> u64 {
    sim::run(seed, || {
        sim::name("server.example", [10, 0, 0, 1].into());
        let listener = TcpListener::bind("10.0.0.1:80").unwrap();
        let server = spawn(move || {
            loop {
                let Ok((mut stream, _)) = listener.accept() else {
                    continue;
                };
                spawn(move || {
                    let mut buf = [0; 100];
                    while let Ok(count @ 1..) = stream.read(&mut buf) {
                        if stream.write_all(&buf[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        sim::faults(Faults::heavy());
        let clients = (0..4u8).map(|n| {
            spawn(move || {
                let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
                let me = socket.local_addr().unwrap();
                let _ = socket.send_to(&[n; 10], me);
                let _ = with_timeout(ms(50), || socket.recv(&mut [0; 10]));
                let Ok(mut stream) = TcpStream::connect("server.example:80") else {
                    return;
                };
                let mut buf = [0; 40];
                for _ in 0..5 {
                    let asked = stream.write_all(&[n; 40]);
                    if asked.and_then(|()| stream.read_exact(&mut buf)).is_err() {
                        return;
                    }
                    sleep(ms(sim::random(10)));
                    yield_now();
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        joinall(clients).into_iter().for_each(|one| one.unwrap());
        killall([&server], None);
        sim::trace()
    })
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let _bound = bounded();
    let _alone = no_forks();
    let first: Vec<u64> = (0..200).map(program).collect();
    // Other descriptors, another heap, another time.
    let files: Vec<_> = (0..17).map(|_| File::open("/dev/null").unwrap()).collect();
    let heap: Vec<_> = (1..100).map(|n| vec![0u8; n * 100]).collect();
    std::thread::sleep(ms(3));
    let second: Vec<u64> = (0..200).map(program).collect();
    drop((files, heap));
    assert_eq!(first, second);
    let mut different = first.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), first.len(), "each seed is another run");
}

#[test]
fn another_process_has_the_same_trace() {
    let _bound = bounded();
    let output = child("prints_its_traces", None);
    let _alone = no_forks();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let traces = (0..20).map(|seed| format!("{:016x}", program(seed)));
    let expected = format!("<{}>", traces.collect::<Vec<_>>().join(" "));
    assert!(text.contains(&expected), "{text}\nis not\n{expected}");
}

#[test]
fn prints_its_traces() {
    let _bound = bounded();
    if !is_child() {
        return;
    }
    let traces = (0..20).map(|seed| format!("{:016x}", program(seed)));
    println!("<{}>", traces.collect::<Vec<_>>().join(" "));
}

/// Fails with some seeds: two greenlets that forget that they may be interrupted.
#[test]
fn has_a_race() {
    let _bound = bounded();
    if !is_child() {
        return;
    }
    for seed in 0..100 {
        sim::run(seed, || {
            let balance = std::sync::Arc::new(std::sync::Mutex::new(0));
            let both = [1, 2].map(|n| {
                let balance = balance.clone();
                spawn(move || {
                    let before = *balance.lock().unwrap();
                    if n == 1 || before > 0 {
                        yield_now();
                    }
                    *balance.lock().unwrap() = before + n;
                })
            });
            joinall(both).into_iter().for_each(|one| one.unwrap());
            let end = *balance.lock().unwrap();
            assert_eq!(end, 3, "lost an update; the trace is {:016x}", sim::trace());
        });
    }
}

/// Set for the processes that run one test of this file for another.
const CHILD: &str = "GREENROOM_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn child(test: &str, seed: Option<&str>) -> Output {
    let _alone = no_forks();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "");
    command
        .env("RUST_BACKTRACE", "0")
        .env_remove("GREENROOM_SEED");
    if let Some(seed) = seed {
        command.env("GREENROOM_SEED", seed);
    }
    command.output().unwrap()
}

/// The word after `before` in what a child said.
fn word_after(said: &str, before: &str) -> String {
    let at = said
        .find(before)
        .unwrap_or_else(|| panic!("{before}: {said}"));
    let rest = &said[at + before.len()..];
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_failure_names_its_seed_and_the_seed_replays_it() {
    let _bound = bounded();
    let first = child("has_a_race", None);
    assert!(!first.status.success(), "no seed has shown the race");
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    let seed = word_after(&said, "set GREENROOM_SEED=");
    let trace = word_after(&said, "the trace is ");

    let again = child("has_a_race", Some(&seed));
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(word_after(&said, "failed with seed "), format!("{seed};"));
    assert_eq!(word_after(&said, "the trace is "), trace);

    let other = (0..100).map(|seed: u64| seed.to_string());
    let calm = other
        .into_iter()
        .find(|seed| child("has_a_race", Some(seed)).status.success());
    assert!(calm.is_some(), "not every seed shows the race");
}

/// Passes, though a simulation of it fails.
#[test]
fn expects_a_failure() {
    let _bound = bounded();
    if !is_child() {
        return;
    }
    let failed = std::panic::catch_unwind(|| sim::run(3, || panic!("as expected")));
    let payload = failed.unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as expected"));
}

#[test]
fn a_test_harness_captures_the_seed() {
    let _bound = bounded();
    let child = |option: Option<&str>| {
        let _alone = no_forks();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["expects_a_failure", "--exact"]).args(option);
        command.env(CHILD, "").env_remove("GREENROOM_SEED");
        let output = command.env_remove("RUST_TEST_NOCAPTURE").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(child(Some("--nocapture")).contains("failed with seed 3"));
    assert!(!child(None).contains("failed with seed"));
}

#[test]
fn a_seed_that_cannot_be_printed_leaves_the_panic_as_it_is() {
    let _bound = bounded();
    let _alone = no_forks();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["expects_a_failure", "--exact", "--nocapture"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.env(CHILD, "").env_remove("GREENROOM_SEED");
    assert!(command.stderr(full).output().unwrap().status.success());
}

#[test]
fn a_seed_that_is_no_number_is_told() {
    let _bound = bounded();
    let output = child("has_a_race", Some("twelve"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'twelve' is not a number"));
}

#[test]
fn traces_do_not_depend_on_faults_that_are_switched_off() {
    let _bound = bounded();
    let run = |faults| {
        sim::run(5, || {
            sim::faults(faults);
            let naps = (0..5).map(|n| spawn(move || sleep(ms(n))));
            joinall(naps.collect::<Vec<_>>());
            sim::trace()
        })
    };
    assert_eq!(run(Faults::none()), run(Faults::none().reset(500).lose(9)));
}
