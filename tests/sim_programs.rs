//! Programs on the simulated network, each with a thousand seeds, calm and under faults.
//!
//! What each catches when `src` is broken on purpose (tried, and restored):
//! * `Turn::drop` does not wake the next waiter: `readers_of_one_stream_share_it`.
//! * `Registry::short_transfer` ignores `closing`: `proxy_chain`,
//!   `readers_of_one_stream_share_it`.
//! * `Registry::exhausted` clears both directions: `proxy_chain`.
//! * a short write or read counts as "no more to have": `workers_pull_jobs`,
//!   `readers_of_one_stream_share_it`.
//! * timers fire without a look at the descriptors: `input_wins_over_a_timeout_in_the_same_turn`.
//! * `park_task` does not cancel its timer: nearly all, by the leak check.
mod sim_support;

use greenroom::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use greenroom::sim::{self, Faults};
use greenroom::{joinall, killall, sleep, spawn, spawn_local, with_timeout};
use sim_support::bounded;
use sim_support::{Seen, Shared, bytes, checksum, each_seed, ms};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// None, light or heavy, by the seed.
fn some_faults() -> Faults {
    [Faults::none(), Faults::light(), Faults::heavy()][sim::seed() as usize % 3]
}

/// Connects, and tries again when it is refused.
fn dial(address: &str) -> TcpStream {
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        }
        sleep(ms(1));
    }
}

/// Copies until the end; counts what was read and what was written.
fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    read: &Shared,
    written: &Shared,
) -> io::Result<()> {
    let mut buf = [0; 700];
    loop {
        let count = from.read(&mut buf)?;
        read.set(read.get() + count as u64);
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut rest = &buf[..count];
        while !rest.is_empty() {
            let moved = to.write(rest)?;
            written.set(written.get() + moved as u64);
            rest = &rest[moved..];
        }
    }
}

/// Accepts for ever and has `serve` called in a greenlet for each.
fn serve(address: &str, serve: impl Fn(TcpStream) + Clone + 'static) -> greenroom::Greenlet<()> {
    let listener = TcpListener::bind(address).unwrap();
    spawn_local(move || {
        loop {
            // EMFILE, when the faults say so.
            if let Ok((stream, _)) = listener.accept() {
                let serve = serve.clone();
                spawn_local(move || serve(stream));
            }
        }
    })
}

/// Sends a text and reads what comes back, both at once; returns what came and how it ended.
fn converse(stream: TcpStream, text: Vec<u8>) -> (Vec<u8>, io::Result<()>) {
    let theirs = stream.try_clone().unwrap();
    let writer = spawn(move || {
        (&theirs).write_all(&text)?;
        theirs.shutdown(Shutdown::Write)
    });
    let mut got = Vec::new();
    let mut buf = [0; 500];
    let ended = loop {
        match (&stream).read(&mut buf) {
            Ok(0) => break Ok(()),
            Ok(count) => got.extend(&buf[..count]),
            Err(error) => break Err(error),
        }
    };
    let wrote = writer.join().unwrap();
    (got, ended.and(wrote))
}

/// What came back is what was sent, or its beginning if the connection was reset.
fn check(sent: &[u8], got: &[u8], ended: io::Result<()>) {
    assert!(sent.starts_with(got), "bytes were changed or invented");
    match ended {
        Ok(()) => assert_eq!(checksum(got), checksum(sent)),
        Err(error) => assert!(
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            "{error}"
        ),
    }
}

#[test]
fn echo() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let (read, written) = (Shared::default(), Shared::default());
        let counters = (read.clone(), written.clone());
        let server = serve("10.0.0.1:7", move |stream| {
            let _ = pump(&stream, &stream, &counters.0, &counters.1);
        });
        sim::faults(some_faults());
        let clients = (0..3).map(|n| {
            spawn(move || {
                let sent = bytes(sim::seed() + n, 200 + sim::random(3000) as usize);
                let (got, ended) = converse(dial("10.0.0.1:7"), sent.clone());
                let complete = ended.is_ok();
                check(&sent, &got, ended);
                (got.len() as u64, complete)
            })
        });
        let clients: Vec<_> = clients.collect();
        let results: Vec<_> = joinall(clients).into_iter().map(Result::unwrap).collect();
        for (_, complete) in &results {
            seen.note(if *complete { "complete" } else { "reset" });
        }
        let got: u64 = results.iter().map(|(got, _)| got).sum();
        assert!(got <= written.get() && written.get() <= read.get());
        killall([&server], None);
    });
    seen.expect(&["complete", "reset"]);
}

#[test]
fn proxy_chain() {
    let _bound = bounded();
    each_seed(|| {
        let counts: [Shared; 4] = Default::default();
        let forward = |from: &str, to: &'static str| {
            let counts = counts.clone();
            serve(from, move |near| {
                let (near, far) = (Rc::new(near), Rc::new(dial(to)));
                let (near2, far2, counts2) = (near.clone(), far.clone(), counts.clone());
                let back = spawn_local(move || {
                    let _ = pump(&far2, &near2, &counts2[2], &counts2[3]);
                });
                if pump(&near, &far, &counts[0], &counts[1]).is_err() {
                    // One side was reset: so is the other.
                    let _ = far.shutdown(Shutdown::Both);
                    let _ = near.shutdown(Shutdown::Both);
                }
                back.join().unwrap();
            })
        };
        let echo = serve("10.0.0.3:1", |stream| {
            let _ = pump(&stream, &stream, &Shared::default(), &Shared::default());
        });
        let proxies = [
            forward("10.0.0.1:1", "10.0.0.2:1"),
            forward("10.0.0.2:1", "10.0.0.3:1"),
        ];
        sim::faults(some_faults().reset(0));
        let sent = bytes(sim::seed(), 100 + sim::random(4000) as usize);
        let (got, ended) = converse(dial("10.0.0.1:1"), sent.clone());
        ended.unwrap();
        assert_eq!(checksum(&got), checksum(&sent));
        let total = 2 * sent.len() as u64;
        assert_eq!(counts.map(|count| count.get()), [total; 4]);
        killall(&proxies, None);
        killall([&echo], None);
    });
}

/// A group of workers pulls jobs over the network; a job whose worker is cut off is done again.
#[test]
fn workers_pull_jobs() {
    let _bound = bounded();
    const JOBS: u8 = 20;
    each_seed(|| {
        let jobs: Rc<RefCell<VecDeque<u8>>> = Rc::new(RefCell::new((0..JOBS).collect()));
        let done = Rc::new(RefCell::new(Vec::new()));
        let (todo, results) = (jobs.clone(), done.clone());
        let dispatcher = serve("10.0.0.1:99", move |mut stream| {
            let next = || todo.borrow_mut().pop_front();
            while let Some(job) = next() {
                let mut answer = [0; 2];
                let asked = stream.write_all(&[job, !job]);
                match asked.and_then(|()| stream.read_exact(&mut answer)) {
                    Ok(()) => results.borrow_mut().push((job, answer)),
                    Err(_) => return todo.borrow_mut().push_back(job),
                }
            }
        });
        sim::faults(some_faults());
        let workers = (0..3).map(|_| {
            let done = done.clone();
            spawn_local(move || {
                while done.borrow().len() < usize::from(JOBS) {
                    let mut stream = dial("10.0.0.1:99");
                    let mut job = [0; 2];
                    while stream.read_exact(&mut job).is_ok() {
                        assert_eq!(job[0], !job[1]);
                        sleep(ms(sim::random(5)));
                        if stream.write_all(&[job[0], job[0].wrapping_mul(3)]).is_err() {
                            break;
                        }
                    }
                    sleep(ms(1));
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        joinall(workers).into_iter().for_each(|one| one.unwrap());
        let mut done = done.take();
        done.sort_unstable();
        let expected: Vec<_> = (0..JOBS).map(|n| (n, [n, n.wrapping_mul(3)])).collect();
        assert_eq!(done, expected, "each job is done once");
        killall([&dispatcher], None);
    });
}

/// Data and timeouts at the same moments: each round gives data or Elapsed, never both, and no
/// byte is lost. Data that is there at the moment of expiry wins.
#[test]
fn timeouts_that_race_with_data() {
    let _bound = bounded();
    const ROUNDS: u64 = 20;
    let seen = Seen::default();
    each_seed(|| {
        let listener = TcpListener::bind("10.0.0.1:1").unwrap();
        let mut near = TcpStream::connect("10.0.0.1:1").unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let begin = greenroom::now();
        let gaps: Vec<u64> = (0..ROUNDS).map(|_| sim::random(4)).collect();
        let sent_at: Vec<u64> = gaps
            .iter()
            .scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect();
        let mut writer_times = sent_at.clone();
        let writer = spawn(move || {
            for (n, at) in writer_times.drain(..).enumerate() {
                greenroom::sleep_until(begin + ms(at));
                near.write_all(&[n as u8]).unwrap();
            }
        });
        let mut got = Vec::new();
        let mut waited_to = 0;
        while got.len() < ROUNDS as usize {
            let limit = sim::random(4);
            let mut byte = [0];
            match with_timeout(ms(limit), || far.read_exact(&mut byte)) {
                Ok(read) => {
                    read.unwrap();
                    got.push(byte[0]);
                    seen.note("data");
                }
                Err(_) => {
                    assert_eq!(byte, [0], "a timeout took a byte with it");
                    seen.note("elapsed");
                }
            }
            let now = (greenroom::now() - begin).as_millis() as u64;
            assert!(now <= waited_to + limit, "later than the limit");
            // What was sent before this moment has been there when the wait ended.
            if byte == [0] && got.last() != Some(&0) {
                let there = sent_at.iter().filter(|at| **at < now).count();
                assert!(got.len() >= there, "a timeout won over data");
            }
            waited_to = now;
        }
        assert_eq!(got, (0..ROUNDS as u8).collect::<Vec<_>>());
        writer.join().unwrap();
    });
    seen.expect(&["data", "elapsed"]);
}

/// A read timeout of the socket that is due in the very turn in which the data comes.
#[test]
fn input_wins_over_a_timeout_in_the_same_turn() {
    let _bound = bounded();
    each_seed(|| {
        let listener = TcpListener::bind("10.0.0.1:1").unwrap();
        let near = TcpStream::connect("10.0.0.1:1").unwrap();
        let (far, _) = listener.accept().unwrap();
        // The root writes from a moment at which nobody has looked at the timers yet.
        let reader = spawn(move || {
            let mut byte = [0];
            with_timeout(ms(10), || (&far).read(&mut byte)).map(|read| read.unwrap())
        });
        sleep(ms(1));
        assert!(!reader.is_finished());
        sim::elapse_at_park(sim::parks() + 1, ms(9));
        // This greenlet writes, then its park makes the reader's timeout due.
        let writer = spawn(move || {
            (&near).write_all(b"x").unwrap();
            sleep(ms(100));
        });
        assert_eq!(reader.join().unwrap(), Ok(1));
        writer.join().unwrap();
    });
}

/// Several readers of one stream: what the kernel gives is shared among them, nobody is
/// forgotten, and whoever is killed while it waits passes its turn on.
#[test]
fn readers_of_one_stream_share_it() {
    let _bound = bounded();
    let seen = Seen::default();
    each_seed(|| {
        let listener = TcpListener::bind("10.0.0.1:1").unwrap();
        let mut near = TcpStream::connect("10.0.0.1:1").unwrap();
        let far = Rc::new(listener.accept().unwrap().0);
        let got: Rc<RefCell<Vec<u8>>> = Rc::default();
        let readers = (0..4).map(|_| {
            let (far, got) = (far.clone(), got.clone());
            spawn_local(move || {
                let mut bytes = [0; 3];
                loop {
                    match (&*far).read(&mut bytes).unwrap() {
                        0 => return,
                        count => got.borrow_mut().extend(&bytes[..count]),
                    }
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        sim::faults(some_faults().reset(0));
        let sent: Vec<u8> = (0..100).collect();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let count = (1 + sim::random(10) as usize).min(rest.len());
            near.write_all(&rest[..count]).unwrap();
            rest = &rest[count..];
            sleep(ms(sim::random(2)));
            if sim::random(10) == 0 && readers.iter().filter(|one| !one.is_finished()).count() > 1 {
                // Whoever it is: at least one goes on.
                let victim = readers.iter().find(|one| !one.is_finished()).unwrap();
                killall([victim], None);
            }
        }
        drop(near);
        for reader in readers {
            match reader.join() {
                Ok(()) => seen.note("end"),
                Err(end) if end.is_killed() => seen.note("killed"),
                Err(end) => panic!("{end}"),
            }
        }
        let mut got = got.take();
        got.sort_unstable();
        assert_eq!(got, sent);
    });
    seen.expect(&["end", "killed"]);
}

/// Questions over UDP with loss, asked until they are answered.
#[test]
fn datagrams_asked_again_until_answered() {
    let _bound = bounded();
    each_seed(|| {
        let server = UdpSocket::bind("10.0.0.1:53").unwrap();
        let answering = spawn(move || {
            let mut buf = [0; 8];
            loop {
                let (count, from) = server.recv_from(&mut buf).unwrap();
                buf[..count].reverse();
                server.send_to(&buf[..count], from).unwrap();
            }
        });
        sim::faults(some_faults().lose(300));
        let clients = (0..3u8).map(|n| {
            spawn(move || {
                let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
                socket.connect("10.0.0.1:53").unwrap();
                for round in 0..3 {
                    loop {
                        socket.send(&[n, round]).unwrap();
                        let mut buf = [0; 8];
                        let answer = with_timeout(ms(500), || socket.recv(&mut buf).unwrap());
                        // An earlier answer may come late.
                        if answer.is_ok_and(|count| buf[..count] == [round, n]) {
                            break;
                        }
                    }
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        joinall(clients).into_iter().for_each(|one| one.unwrap());
        killall([&answering], None);
    });
}
