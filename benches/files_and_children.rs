//! Claims: to have a thread do something costs what it costs with std's channels; children that
//! run at once take as long as the machine takes for them, not one after the other.

mod common;

use std::io::{Read, Seek, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use common::{Bench, Claim, wall};
use greenroom::{fs, process, threadpool};

const CHILDREN: u64 = 100;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    greenroom::run(|| {
        jobs(&mut bench);
        files(&mut bench);
        children(&mut bench);
        spawns(&mut bench);
    });
    bench.finish()
}

fn times(count: u64, mut f: impl FnMut()) -> Duration {
    wall(|| (0..count).for_each(|_| f()))
}

fn jobs(bench: &mut Bench) {
    let (ask, questions) = channel::<Sender<u8>>();
    let worker = thread::spawn(move || questions.iter().for_each(|answer| answer.send(1).unwrap()));
    let mut calls = |count| times(count, || assert_eq!(threadpool::call(|| 1).unwrap(), 1));
    let mut channels = |count| {
        times(count, || {
            let (answer, reply): (_, Receiver<u8>) = channel();
            ask.send(answer).unwrap();
            assert_eq!(reply.recv().unwrap(), 1);
        })
    };
    let claim = Claim::stretch("threadpool::call : std mpsc, there and back", 1.5);
    bench.compare(claim, &mut calls, &mut channels);
    drop(ask);
    worker.join().unwrap();
}

fn files(bench: &mut Bench) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, [7; 4096]).unwrap();
    let mut ours = fs::File::open(&path).unwrap();
    let mut theirs = std::fs::File::open(&path).unwrap();
    let mut page = [0; 4096];
    let mut cached = |count| {
        times(count, || {
            ours.rewind().unwrap();
            ours.read_exact(&mut page).unwrap();
        })
    };
    let mut page = [0; 4096];
    let mut blocking = |count| {
        times(count, || {
            theirs.rewind().unwrap();
            theirs.read_exact(&mut page).unwrap();
        })
    };
    let claim = Claim::stretch("seek + read of a cached page : std", 1.5);
    bench.compare(claim, &mut cached, &mut blocking);

    let mut options = std::fs::File::options();
    let mut theirs = options.write(true).open(&path).unwrap();
    let mut ours = fs::File::from(theirs.try_clone().unwrap());
    let mut writes = |count| times(count, || ours.write_all(&[7; 4096]).unwrap());
    let mut blocking = |count| times(count, || theirs.write_all(&[7; 4096]).unwrap());
    let rounds = bench.size(11, 2);
    let claim = Claim::information("write of a page, a job : std");
    bench.compare_in(rounds, claim, &mut writes, &mut blocking);
}

fn children(bench: &mut Bench) {
    let nap = ["-c", "sleep 0.02; echo x"];
    let mut at_once = |count| {
        times(count, || {
            let output = move || process::Command::new("sh").args(nap).output().unwrap();
            let all: Vec<_> = (0..CHILDREN).map(|_| greenroom::spawn(output)).collect();
            for output in greenroom::joinall(all) {
                assert_eq!(output.unwrap().stdout, b"x\n");
            }
        })
    };
    let mut serially = |count| {
        times(count, || {
            for _ in 0..CHILDREN {
                let output = std::process::Command::new("sh").args(nap).output().unwrap();
                assert_eq!(output.stdout, b"x\n");
            }
        })
    };
    let rounds = bench.size(5, 1);
    let claim = Claim::stretch("100 children of 20 ms, at once : one by one", 0.2);
    bench.compare_in(rounds, claim, &mut at_once, &mut serially);
}

/// For how long a spawn blocks the OS thread, against all that there is to a short child.
fn spawns(bench: &mut Bench) {
    let mut spawn = |count| {
        let spawned = (0..count).map(|_| {
            let mut child = None;
            let took = wall(|| child = process::Command::new("true").spawn().ok());
            assert!(child.unwrap().wait().unwrap().success());
            took
        });
        spawned.sum()
    };
    let mut live = |count| {
        times(count, || {
            let status = std::process::Command::new("true").status();
            assert!(status.unwrap().success());
        })
    };
    let rounds = bench.size(11, 2);
    let claim = Claim::information("spawn, which blocks : a whole life, std");
    bench.compare_in(rounds, claim, &mut spawn, &mut live);
}
