//! Selectors in simulations: random kills and timeouts lose no wake, and all kinds agree.
mod sim_support;

use greenroom::net::{TcpListener, TcpStream};
use greenroom::select::Events;
use greenroom::selectors::{
    EpollSelector, Kind, PollSelector, SelectSelector, Selector, SelectorKey,
};
use greenroom::{Greenlet, sim, sleep, spawn, with_timeout, yield_now};
use sim_support::bounded;
use sim_support::{assert_nothing_is_left, ms, seeds};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The same numbers at every run with a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.set_nonblocking(true).unwrap();
    (near, far)
}

/// Takes what can be had from all that is told, for ever.
fn take_all<K: Kind>(selector: &Selector<TcpStream, K>, limit: Duration, taken: &AtomicUsize) {
    loop {
        // A limit around it now and then: the wait is then unwound, and begun again.
        let told = with_timeout(3 * limit / 2, || selector.select(Some(limit)));
        for (key, _events) in told.ok().into_iter().flatten().flatten() {
            let mut buffer = [0; 3];
            match (&*key.data).read(&mut buffer) {
                Ok(count) => drop(taken.fetch_add(count, Relaxed)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

fn nothing_is_lost<K: Kind + Send + 'static>(new: impl Fn() -> Selector<TcpStream, K>) {
    const PAIRS: usize = 4;
    const BYTES: usize = 40;
    for seed in 0..seeds() / 5 {
        sim::run(seed, || {
            let mut random = Random(seed);
            let selector = Arc::new(new());
            let taken = Arc::new(AtomicUsize::new(0));
            let worker = |limit: u64| -> Greenlet<()> {
                let (selector, taken) = (Arc::clone(&selector), Arc::clone(&taken));
                spawn(move || take_all(&selector, ms(limit + 1), &taken))
            };
            let mut workers: Vec<_> = (0..3).map(|_| worker(random.below(50))).collect();
            let writers: Vec<TcpStream> = (0..PAIRS)
                .map(|_| {
                    let (near, far) = pair();
                    selector
                        .register(near.as_raw_fd(), Events::READ, near)
                        .unwrap();
                    far
                })
                .collect();
            for _ in 0..BYTES {
                let mut writer = &writers[random.below(PAIRS as u64) as usize];
                writer.write_all(b"x").unwrap();
                match random.below(4) {
                    0 => yield_now(),
                    1 => sleep(ms(random.below(20))),
                    2 => {
                        let victim = random.below(workers.len() as u64) as usize;
                        workers[victim].kill();
                        workers[victim] = worker(random.below(50));
                    }
                    _ => {}
                }
            }
            sleep(Duration::from_secs(1));
            assert_eq!(taken.load(Relaxed), BYTES);
            greenroom::killall(&workers, None);
            drop((workers, selector, writers));
            assert_nothing_is_left();
        });
    }
}

#[test]
fn epoll_loses_nothing_to_kills_and_timeouts() {
    let _bound = bounded();
    nothing_is_lost(|| EpollSelector::new().unwrap());
}

#[test]
fn poll_loses_nothing_to_kills_and_timeouts() {
    let _bound = bounded();
    nothing_is_lost(|| PollSelector::new().unwrap());
}

#[test]
fn select_loses_nothing_to_kills_and_timeouts() {
    let _bound = bounded();
    nothing_is_lost(|| SelectSelector::new().unwrap());
}

/// What a selector tells now, READ and WRITE only, which all tell alike.
fn told<K: Kind>(selector: &Selector<usize, K>) -> BTreeMap<usize, Events> {
    let told = selector.select(Some(Duration::ZERO)).unwrap();
    let plain = |(key, events): (SelectorKey<usize>, Events)| {
        (*key.data, events & (Events::READ | Events::WRITE))
    };
    told.into_iter().map(plain).collect()
}

#[test]
fn all_kinds_agree_and_with_a_model() {
    let _bound = bounded();
    const PAIRS: usize = 5;
    for seed in 0..seeds() / 5 {
        sim::run(seed, || {
            let mut random = Random(seed);
            let epoll = EpollSelector::new().unwrap();
            let poll = PollSelector::new().unwrap();
            let select = SelectSelector::new().unwrap();
            let pairs: Vec<_> = (0..PAIRS).map(|_| pair()).collect();
            // Bytes that wait at each socket, and what it is watched for.
            let mut waiting = [0; PAIRS];
            let mut watched: [Option<Events>; PAIRS] = [None; PAIRS];
            for _ in 0..60 {
                let index = random.below(PAIRS as u64) as usize;
                let (near, far) = &pairs[index];
                let wish = [Events::READ, Events::WRITE, Events::READ | Events::WRITE]
                    [random.below(3) as usize];
                match (random.below(4), watched[index]) {
                    (0, _) => {
                        (&*far).write_all(b"x").unwrap();
                        waiting[index] += 1;
                    }
                    (1, _) if waiting[index] > 0 => {
                        (&*near).read_exact(&mut [0]).unwrap();
                        waiting[index] -= 1;
                    }
                    (2, None) => {
                        epoll.register(near, wish, index).unwrap();
                        poll.register(near, wish, index).unwrap();
                        select.register(near, wish, index).unwrap();
                        watched[index] = Some(wish);
                    }
                    (2, Some(_)) => {
                        epoll.unregister(near).unwrap();
                        poll.unregister(near).unwrap();
                        select.unregister(near).unwrap();
                        watched[index] = None;
                    }
                    (3, Some(_)) => {
                        epoll.modify(near, wish).unwrap();
                        poll.modify(near, wish).unwrap();
                        select.modify(near, wish).unwrap();
                        watched[index] = Some(wish);
                    }
                    _ => {}
                }
                let ready = |index: usize| {
                    let wish = watched[index]?;
                    let unreadable = match waiting[index] {
                        0 => Events::READ,
                        _ => Events::empty(),
                    };
                    Some((index, wish - unreadable)).filter(|(_, ready)| !ready.is_empty())
                };
                let model: BTreeMap<_, _> = (0..PAIRS).filter_map(ready).collect();
                assert_eq!(told(&epoll), model);
                assert_eq!(told(&poll), model);
                assert_eq!(told(&select), model);
            }
        });
    }
}
