//! A kill or a timeout at every single park of a scenario.
//!
//! The scenario is run once to count its parks, then once for each of them, with the same seed:
//! up to the strike the runs are the same, so that every park is hit.
//!
//! Caught when `src` is broken on purpose (tried, and restored): a timer that outlives its park,
//! a short read near the end of a stream that counts as "no more to have".
mod sim_support;

use greenroom::net::{Shutdown, TcpListener, TcpStream};
use greenroom::sim::{self, Faults};
use greenroom::{Greenlet, scope, sleep, spawn, spawn_later, spawn_local, with_timeout};
use sim_support::bounded;
use sim_support::{Census, assert_nothing_is_left, bytes, ms};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 30;
const DAY: Duration = Duration::from_secs(86_400);

/// What a run has shown.
#[derive(Debug, Default)]
struct Outcome {
    parks: u64,
    killed: usize,
    timed_out: usize,
    complete: bool,
}

/// Who runs with a limit of a day.
#[derive(Clone, Copy, PartialEq)]
enum Limited {
    Nobody,
    Server,
    Client,
    Everybody,
}

type Bytes = Rc<RefCell<Vec<u8>>>;

fn serve(listener: TcpListener, received: &Bytes, echoed: &Bytes) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    let mut buf = [0; 300];
    while let Ok(count @ 1..) = stream.read(&mut buf) {
        received.borrow_mut().extend(&buf[..count]);
        let mut rest = &buf[..count];
        while let Ok(moved @ 1..) = stream.write(rest) {
            echoed.borrow_mut().extend(&rest[..moved]);
            rest = &rest[moved..];
            if rest.is_empty() {
                break;
            }
        }
    }
}

/// Ends the stream also when its writer is killed.
struct HangUp<'a>(&'a TcpStream);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

fn ask(census: &Census, text: &[u8], sent: &Bytes, got: &Bytes) {
    let Ok(stream) = TcpStream::connect("10.0.0.1:1") else {
        return;
    };
    let stream = &stream;
    // What a scope's greenlets borrow is sent to them, so no Rc: numbers and lists come back.
    let (written, read) = scope(|s| {
        let writer = s.spawn(move || {
            let _own = census.one();
            let _hang_up = HangUp(stream);
            let mut rest = text;
            while let Ok(moved @ 1..) = (&*stream).write(&rest[..rest.len().min(400)]) {
                rest = &rest[moved..];
                sleep(ms(1));
                if rest.is_empty() {
                    break;
                }
            }
            text.len() - rest.len()
        });
        let mut read = Vec::new();
        let _own = census.one();
        let mut buf = [0; 250];
        while let Ok(count @ 1..) = (&*stream).read(&mut buf) {
            read.extend(&buf[..count]);
            got.borrow_mut().extend(&buf[..count]);
        }
        (writer.join(), read)
    });
    if let Ok(written) = written {
        sent.borrow_mut().extend(&text[..written]);
        assert!(text[..written].starts_with(&read));
    }
}

/// A server, a client with a scope of two, a sleeper, one that starts late, one that joins.
fn scenario(limited: Limited) -> Outcome {
    sim::faults(Faults::light());
    let census = Census::default();
    let [received, echoed, sent, got]: [Bytes; 4] = Default::default();
    let text = bytes(sim::seed(), 1500);
    let listener = TcpListener::bind("10.0.0.1:1").unwrap();
    let limit = |this: Limited| {
        if limited == this || limited == Limited::Everybody {
            DAY
        } else {
            DAY * 1000
        }
    };
    let (one, a, b, day) = (
        census.one(),
        received.clone(),
        echoed.clone(),
        limit(Limited::Server),
    );
    let server = spawn_local(move || {
        let _own = one;
        with_timeout(day, || serve(listener, &a, &b)).is_err()
    });
    let (own, c, d, day) = (
        census.clone(),
        sent.clone(),
        got.clone(),
        limit(Limited::Client),
    );
    let theirs = text.clone();
    let client = spawn_local(move || {
        let _own = own.one();
        with_timeout(day, || ask(&own, &theirs, &c, &d)).is_err()
    });
    let own = census.one();
    let sleeper: Greenlet<bool> = spawn(move || {
        let _own = own;
        (0..3).for_each(|_| sleep(ms(7)));
        false
    });
    let own = census.one();
    let late = spawn_later(ms(5), move || {
        let _own = own;
        sleeper.join().is_err() && sim::parks() == 0
    });
    let (mut killed, mut timed_out) = (0, 0);
    for greenlet in [server, client, late] {
        match greenlet.join() {
            Ok(late) => timed_out += usize::from(late),
            Err(end) => killed += usize::from(end.is_killed()),
        }
    }
    let parks = sim::parks();
    assert_nothing_is_left();
    assert_eq!(census.alive(), 0, "a destructor did not run");
    assert!(text.starts_with(&sent.borrow()));
    let stages = [&text, &received.borrow(), &echoed.borrow(), &got.borrow()].map(Vec::clone);
    assert_conserved(&stages);
    Outcome {
        parks,
        killed,
        timed_out,
        complete: stages[3] == text,
    }
}

/// Each stage has a beginning of what the stage before it had.
fn assert_conserved(stages: &[Vec<u8>]) {
    for pair in stages.windows(2) {
        assert!(
            pair[0].starts_with(&pair[1]),
            "bytes were changed or invented"
        );
    }
}

/// Runs the scenario untouched, then with `strike` at each park.
fn strike_everywhere(limited: Limited, strike: impl Fn(u64)) -> Vec<Outcome> {
    let mut all = Vec::new();
    for seed in 0..SEEDS {
        let calm = sim::run(seed, || scenario(limited));
        assert!(
            calm.complete && calm.killed + calm.timed_out == 0,
            "{calm:?}"
        );
        assert!(calm.parks > 8, "too few parks to show anything: {calm:?}");
        for park in 1..=calm.parks {
            all.push(sim::run(seed, || {
                strike(park);
                scenario(limited)
            }));
        }
    }
    all
}

#[test]
fn a_kill_at_every_park() {
    let _bound = bounded();
    let outcomes = strike_everywhere(Limited::Nobody, sim::kill_at_park);
    let killed = outcomes.iter().filter(|one| one.killed == 1).count();
    // Some strike those of whom the scenario only sees that they are gone, some come too late.
    assert!(
        killed * 4 > outcomes.len(),
        "{killed} of {}",
        outcomes.len()
    );
    // A client that was killed before it connected leaves its server to the server's own limit.
    assert!(outcomes.iter().all(|one| one.timed_out <= one.killed));
}

#[test]
fn a_timeout_at_every_park() {
    let _bound = bounded();
    for limited in [Limited::Server, Limited::Client, Limited::Everybody] {
        let outcomes = strike_everywhere(limited, |park| sim::elapse_at_park(park, DAY));
        let timed_out = outcomes.iter().filter(|one| one.timed_out > 0).count();
        assert!(
            timed_out * 4 > outcomes.len(),
            "{timed_out} of {}",
            outcomes.len()
        );
        assert!(outcomes.iter().all(|one| one.killed == 0));
    }
}
