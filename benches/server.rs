//! Claim: a `StreamServer` serves at the price of an accept loop written by hand.
//!
//! Both ends run on this thread, so half of what is measured is the clients. What is compared is
//! the same but for the server.

mod common;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, cpu, pin};
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::server::{Spawn, StreamServer};

const WORD: [u8; 64] = [1; 64];

fn main() -> ExitCode {
    let mut bench = Bench::start();
    pin();
    let conns = bench.size(100, 5);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let hand = listener.local_addr().expect("its address");
    let by_hand = greenroom::spawn(move || {
        loop {
            if let Ok((stream, peer)) = listener.accept() {
                drop(greenroom::spawn(move || echo(stream, peer)));
            }
        }
    });
    let server = StreamServer::bind("127.0.0.1:0", echo).expect("a server");
    server.start().expect("a server");
    let pooled = StreamServer::builder("127.0.0.1:0").spawn(Spawn::Pool(10_000));
    let pooled = pooled.bind(echo).expect("a server");
    pooled.start().expect("a server");

    let mut crowds = [hand, server.address(), pooled.address()].map(|at| Crowd::enter(at, conns));
    let [by_hand_crowd, server_crowd, pooled_crowd] = &mut crowds;
    let claim = Claim::demand("echo, StreamServer : by hand", 1.05);
    bench.compare(claim, &mut |n| server_crowd.talk(n), &mut |n| {
        by_hand_crowd.talk(n)
    });
    let claim = Claim::demand("echo, with a pool : by hand", 1.05);
    bench.compare(claim, &mut |n| pooled_crowd.talk(n), &mut |n| {
        by_hand_crowd.talk(n)
    });
    let claim = Claim::information("connect, echo, close : by hand");
    bench.compare(claim, &mut |n| visits(server.address(), n), &mut |n| {
        visits(hand, n)
    });
    let claim = Claim::information("the same with a pool : by hand");
    bench.compare(claim, &mut |n| visits(pooled.address(), n), &mut |n| {
        visits(hand, n)
    });

    by_hand.kill();
    bench.finish()
}

fn echo(mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn word(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(&WORD)?;
    stream.read_exact(&mut [0; WORD.len()])
}

/// Clients that are connected.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    fn enter(address: SocketAddr, count: usize) -> Crowd {
        let connect = |_| TcpStream::connect(address).expect("a connection");
        Crowd((0..count).map(connect).collect())
    }

    /// `words` there and back, on all connections at a time.
    fn talk(&mut self, words: u64) -> Duration {
        let each = words.div_ceil(self.0.len() as u64);
        let spent = cpu(|| {
            greenroom::scope(|s| {
                for stream in &self.0 {
                    s.spawn(move || (0..each).try_for_each(|_| word(stream)).expect("an echo"));
                }
            });
        });
        spent.mul_f64(words as f64 / (each * self.0.len() as u64) as f64)
    }
}

/// One after the other.
fn visits(address: SocketAddr, count: u64) -> Duration {
    cpu(|| {
        for _ in 0..count {
            let stream = TcpStream::connect(address).expect("a connection");
            word(&stream).expect("an echo");
        }
    })
}
