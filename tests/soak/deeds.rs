//! What the greenlets of a soak do. Each deed cleans up after itself, and knows what must hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom::io::{self, Read, Write};
use greenroom::net::{Shutdown, TcpStream, UdpSocket};
use greenroom::os::unix::net::UnixStream;
use greenroom::server::{Spawn, StreamServer};
use greenroom::{is_cancellation, joinall, killall, scope, shield, sleep, spawn, spawn_later};
use greenroom::{with_timeout, yield_now};

use crate::dice::Dice;
use crate::world::{PERMITS, World};

/// What planned panics carry.
pub(crate) const PLANNED: &str = "as planned";

pub(crate) type Deed = fn(&mut Dice, &Arc<World>);

/// Name, weight, and what is done.
pub(crate) const DEEDS: [(&str, usize, Deed); 14] = [
    ("talk", 20, talk),
    ("half-close", 8, half_close),
    ("reset", 6, reset),
    ("slow", 2, dawdle),
    ("break-off", 4, break_off),
    ("kill", 10, kill),
    ("timeout", 10, time_out),
    ("tree", 6, tree),
    ("scope", 6, borrow),
    ("lock", 10, lock),
    ("permit", 10, permit),
    ("send-over", 6, send_over),
    ("datagram", 6, datagram),
    ("server", 1, serve),
];

fn bytes(dice: &mut Dice) -> Vec<u8> {
    let length = 1 + (dice.below(60_000) >> dice.below(12));
    let first = dice.next() as u8 | 128;
    (0..length)
        .map(|n| first.wrapping_add(n as u8) | 128)
        .collect()
}

/// Sends and gets back, in the way of the dice; an error is that of the connection.
fn exchange(dice: &mut Dice, mut stream: impl Read + Write, world: &World) -> io::Result<()> {
    let data = bytes(dice);
    // No more than both sides have room for, or all would wait for each other.
    for piece in data.chunks(4096) {
        stream.write_all(piece)?;
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back)?;
        if back != piece {
            world.fault("something else came back".into());
        }
        if dice.one_in(8) {
            sleep(dice.pause(500));
        }
    }
    Ok(())
}

fn talk(dice: &mut Dice, world: &Arc<World>) {
    let done = TcpStream::connect(world.echo).and_then(|stream| {
        stream.set_nodelay(true)?;
        (0..1 + dice.below(3)).try_for_each(|_| exchange(dice, &stream, world))
    });
    if let Err(error) = done {
        world.fault(format!("a talk has failed: {error}"));
    }
}

fn half_close(dice: &mut Dice, world: &Arc<World>) {
    let data = bytes(dice);
    let done = TcpStream::connect(world.echo).and_then(|stream| {
        scope(|s| {
            let writer = s.spawn(|| {
                (&stream).write_all(&data)?;
                stream.shutdown(Shutdown::Write)
            });
            let mut back = Vec::new();
            (&stream).read_to_end(&mut back)?;
            writer.join().expect("a writer returns its errors")?;
            Ok(back == data)
        })
    });
    match done {
        Ok(true) => {}
        Ok(false) => world.fault("something else came back before the end".into()),
        Err(error) => world.fault(format!("a half-close has failed: {error}")),
    }
}

/// Leaves unread what came, so that the kernel resets the connection.
fn reset(dice: &mut Dice, world: &Arc<World>) {
    if let Ok(mut stream) = TcpStream::connect(world.echo) {
        let _ = stream.write_all(&bytes(dice));
        sleep(dice.pause(2000));
    }
}

fn dawdle(dice: &mut Dice, world: &Arc<World>) {
    let Ok(mut stream) = TcpStream::connect(world.echo) else {
        return;
    };
    for _ in 0..dice.below(10) {
        let (mut byte, sent) = ([0], [dice.next() as u8 | 128]);
        sleep(dice.pause(20_000));
        if stream
            .write_all(&sent)
            .and_then(|()| stream.read_exact(&mut byte))
            .is_err()
        {
            world.fault("a slow talk has failed".into());
        }
    }
}

/// The server is the one that ends it, or that falls.
fn break_off(dice: &mut Dice, world: &Arc<World>) {
    let word: &[u8] = if dice.one_in(2) { b"!drop" } else { b"!panic" };
    if let Ok(mut stream) = TcpStream::connect(world.echo) {
        let _ = stream.write_all(word);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn kill(dice: &mut Dice, world: &Arc<World>) {
    let victims: Vec<_> = (0..1 + dice.below(4))
        .map(|_| {
            let (mut theirs, world) = (Dice::new(dice.next(), 1), Arc::clone(world));
            let deed = DEEDS[theirs.below(5)].2;
            let delay = theirs.pause(1000);
            let body = move || {
                if theirs.one_in(4) {
                    shield(|| sleep(theirs.pause(2000)));
                }
                // Its destructor parks while it unwinds.
                let _parks = OnDrop(theirs.pause(500));
                loop {
                    deed(&mut theirs, &world);
                }
            };
            if delay.is_zero() {
                spawn(body)
            } else {
                spawn_later(delay, body)
            }
        })
        .collect();
    sleep(dice.pause(4000));
    killall(&victims, Some(Duration::from_secs(20)));
    for victim in victims {
        match victim.join_timeout(Duration::from_secs(1)) {
            Ok(Err(error)) if error.is_killed() => {}
            Ok(_) => world.fault("a killed greenlet has ended otherwise".into()),
            Err(alive) => world.fault(format!("{alive:?} has withstood its kill")),
        }
    }
}

struct OnDrop(Duration);

impl Drop for OnDrop {
    fn drop(&mut self) {
        sleep(self.0);
    }
}

fn time_out(dice: &mut Dice, world: &Arc<World>) {
    let (outer, inner) = (dice.pause(4000), dice.pause(4000));
    let result = with_timeout(outer, || {
        let deed = DEEDS[dice.below(5)].2;
        let inside = with_timeout(inner, || deed(dice, world));
        // Swallows what is not its own, and meets it again.
        let caught = catch_unwind(AssertUnwindSafe(|| sleep(Duration::from_millis(1))));
        if let Err(payload) = &caught
            && !is_cancellation(&**payload)
        {
            world.fault("a sleep has panicked".into());
        }
        inside
    });
    if let Err(late) = result
        && late.limit() != outer
    {
        world.fault("somebody else's timeout was delivered".into());
    }
}

fn tree(dice: &mut Dice, world: &Arc<World>) {
    fn grow(depth: usize, seed: u64) -> usize {
        let mut dice = Dice::new(seed, depth as u64);
        let children = (0..if depth == 0 { 0 } else { 3 }).map(|_| {
            let seed = dice.next();
            spawn(move || grow(depth - 1, seed))
        });
        let children: Vec<_> = children.collect();
        if dice.one_in(2) {
            sleep(dice.pause(300));
        } else {
            yield_now();
        }
        1 + joinall(children).into_iter().flatten().sum::<usize>()
    }
    if grow(3, dice.next()) != 40 {
        world.fault("a tree has lost a leaf".into());
    }
}

fn borrow(dice: &mut Dice, world: &Arc<World>) {
    let count = AtomicUsize::new(0);
    let panics = dice.one_in(4);
    let pauses: Vec<_> = (0..5).map(|_| dice.pause(1000)).collect();
    let result = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            for pause in &pauses {
                let count = &count;
                s.spawn(move || {
                    sleep(*pause);
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
            if panics {
                std::panic::panic_any(PLANNED);
            }
        });
    }));
    match result {
        Ok(()) if !panics && count.into_inner() == pauses.len() => {}
        Err(payload) if is_cancellation(&*payload) => std::panic::resume_unwind(payload),
        Err(payload) if panics && payload.downcast_ref::<&str>() == Some(&PLANNED) => {}
        _ => world.fault("a scope has ended before its greenlets".into()),
    }
}

fn lock(dice: &mut Dice, world: &Arc<World>) {
    let change = |dice: &mut Dice| {
        let mut pair = world
            .pair
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let whole = pair.0 == pair.1;
        pair.0 += 1;
        let first = pair.0;
        if dice.one_in(3) {
            // Others must not see it, and a kill must not leave it so.
            shield(|| sleep(dice.pause(100)));
        }
        let alone = pair.0 == first;
        pair.1 = pair.0;
        if !whole || !alone {
            world.fault("two had the lock".into());
        }
    };
    if dice.one_in(3) {
        let _ = with_timeout(dice.pause(500), || change(dice));
    } else {
        change(dice);
    }
}

fn permit(dice: &mut Dice, world: &Arc<World>) {
    struct Held<'a>(&'a World);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.holders.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let hold = |dice: &mut Dice| {
        let _permit = if dice.one_in(4) {
            match world.permits.acquire_timeout(dice.pause(500)) {
                Some(permit) => permit,
                None => return,
            }
        } else {
            world.permits.acquire()
        };
        let holders = world.holders.fetch_add(1, Ordering::SeqCst) + 1;
        let _held = Held(world);
        if holders > PERMITS as u64 {
            world.fault(format!("{holders} have one of {PERMITS} permits"));
        }
        sleep(dice.pause(300));
    };
    if dice.one_in(3) {
        let _ = with_timeout(dice.pause(500), || hold(dice));
    } else {
        hold(dice);
    }
}

/// A greenlet on another hub, perhaps killed on its way.
fn send_over(dice: &mut Dice, world: &Arc<World>) {
    let hub = {
        let hubs = world.hubs.lock().unwrap();
        let chosen = dice.below(hubs.len().max(1));
        hubs.get(chosen).cloned()
    };
    let Some(hub) = hub else { return };
    let (seed, theirs) = (dice.next(), Arc::clone(world));
    let sent = hub.spawn(move || {
        let mut dice = Dice::new(seed, 3);
        DEEDS[dice.below(2)].2(&mut dice, &theirs);
        seed
    });
    if dice.one_in(3) {
        sleep(dice.pause(500));
        sent.kill();
        let _ = sent.join();
    } else {
        match sent.join() {
            Ok(back) if back == seed => {}
            // That hub has ended, or is about to.
            Err(error) if error.not_started_because().is_some() => {}
            other => world.fault(format!("sent over: {other:?}")),
        }
    }
}

fn datagram(dice: &mut Dice, world: &Arc<World>) {
    let done = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        socket.connect(world.datagrams)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (mut data, mut back) = (bytes(dice), vec![0; 60_001]);
        data.truncate(1000);
        socket.send(&data)?;
        match socket.recv(&mut back) {
            // Lost: that is what they are.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(length) if back[..length] == data => Ok(()),
            Ok(_) => Err(io::Error::other("another datagram came back")),
            Err(error) => Err(error),
        }
    });
    if let Err(error) = done {
        world.fault(format!("a datagram: {error}"));
    }
}

/// A server of one's own, for a moment, that is stopped in the middle.
fn serve(dice: &mut Dice, world: &Arc<World>) {
    let mut builder = StreamServer::builder("127.0.0.1:0");
    match dice.below(4) {
        0 => builder = builder.spawn(Spawn::Pool(1 + dice.below(3))),
        1 => builder = builder.spawn(Spawn::Inline),
        2 => builder = builder.hubs(1 + dice.below(2)),
        _ => {}
    }
    let server = builder.bind(|stream: TcpStream, _| {
        let (here, mut there) = UnixStream::pair()?;
        io::copy(&mut &stream, &mut &here)?;
        drop(here);
        io::copy(&mut there, &mut &stream)
    });
    let started = server.and_then(|server| server.start().map(|()| server));
    let server = match started {
        Ok(server) => server,
        Err(error) => return world.fault(format!("a server has not started: {error}")),
    };
    let clients: Vec<_> = (0..dice.below(6))
        .map(|_| {
            let (address, mut theirs) = (server.address(), Dice::new(dice.next(), 4));
            spawn(move || {
                let Ok(mut stream) = TcpStream::connect(address) else {
                    return;
                };
                let _ = stream.write_all(&vec![1; theirs.below(2000)]);
                sleep(theirs.pause(2000));
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            })
        })
        .collect();
    sleep(dice.pause(2000));
    if dice.one_in(3) {
        server.stop_accepting();
        yield_now();
        let _ = server.start_accepting();
    }
    server.stop(Some(dice.pause(2000)));
    if server.stats().active > 0 {
        world.fault(format!("guests left: {server:?}"));
    }
    joinall(clients);
}
