//! Claim: a wait through a selector costs what is ready, not what is registered.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::select::Events;
use greenroom::selectors::{DefaultSelector, Kind, PollSelector, Selector};

/// Descriptors with something to read in each round.
const ACTIVE: usize = 10;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let many = bench.size(3000, 100);
    let few = Rc::new(Crowd::new(ACTIVE));
    let all = Rc::new(Crowd::new(many));

    let epoll_few = few.register(DefaultSelector::new().expect("a selector needs a descriptor"));
    let epoll_all = all.register(DefaultSelector::new().expect("a selector needs a descriptor"));
    let claim = Claim::new("select, 10 of 3,000 ready : 10 of 10", 1.25, 1.1);
    bench.compare(
        claim,
        &mut |count| all.rounds(&epoll_all, count),
        &mut |count| few.rounds(&epoll_few, count),
    );
    let claim = Claim::new("park + select, 10 of 3,000 : 10 of 10", 1.25, 1.1);
    bench.compare(
        claim,
        &mut |count| all.parked_rounds(&epoll_all, count),
        &mut |count| few.parked_rounds(&epoll_few, count),
    );

    let poll_few = few.register(PollSelector::new().expect("it needs nothing"));
    let poll_all = all.register(PollSelector::new().expect("it needs nothing"));
    let claim = Claim::information("PollSelector, 10 of 3,000 ready : 10 of 10");
    bench.compare(
        claim,
        &mut |count| all.rounds(&poll_all, count),
        &mut |count| few.rounds(&poll_few, count),
    );
    bench.finish()
}

/// Socket pairs, of which every so many-th is written to.
struct Crowd {
    pairs: Vec<(UnixStream, UnixStream)>,
}

impl Crowd {
    fn new(count: usize) -> Crowd {
        let pair = |_| UnixStream::pair().expect("as many descriptors as the system allows");
        let pairs = (0..count).map(pair).collect();
        Crowd { pairs }
    }

    fn register<K: Kind>(&self, selector: Selector<usize, K>) -> Selector<usize, K> {
        for (index, (reader, _)) in self.pairs.iter().enumerate() {
            let registered = selector.register(reader, Events::READ, index);
            registered.expect("nobody has registered it before");
        }
        selector
    }

    fn write(&self) {
        for (_, writer) in self.pairs.iter().step_by(self.pairs.len() / ACTIVE) {
            (&*writer).write_all(b"x").expect("its reader is there");
        }
    }

    fn read<K: Kind>(&self, selector: &Selector<usize, K>) {
        let mut left = ACTIVE;
        while left > 0 {
            for (key, _) in selector.select(None).expect("nobody closes it") {
                let mut reader = &self.pairs[*key.data].0;
                reader
                    .read_exact(&mut [0])
                    .expect("it was told to be ready");
                left -= 1;
            }
        }
    }

    /// What is waited for is there already.
    fn rounds<K: Kind>(&self, selector: &Selector<usize, K>, count: u64) -> Duration {
        cpu(|| {
            for _ in 0..count {
                self.write();
                self.read(selector);
            }
        })
    }

    /// It is written only when the one who waits has parked.
    fn parked_rounds<K: Kind>(
        self: &Rc<Crowd>,
        selector: &Selector<usize, K>,
        count: u64,
    ) -> Duration {
        cpu(|| {
            for _ in 0..count {
                let crowd = Rc::clone(self);
                let writer = greenroom::spawn_local(move || crowd.write());
                self.read(selector);
                writer.join().expect("it only writes");
            }
        })
    }
}
