//! Counterpart of `echo_server`, on plain OS threads: sends messages, checks what comes back.
//!
//! ```text
//! cargo run --release --example echo_server 7777 &
//! cargo run --release --example echo_client 127.0.0.1:7777 --connections 100
//! ```
//!
//! It uses nothing of greenroom, so that it can judge it; `benches/syscalls.sh` uses it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;

/// Talks to an echo server.
#[derive(Parser)]
struct Args {
    /// Address of the server, HOST:PORT
    server: String,
    /// Connections, one OS thread for each
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Messages per connection
    #[arg(long, default_value_t = 1000)]
    messages: usize,
    /// Bytes per message
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let all_connected = Barrier::new(args.connections + 1);
    let seconds = thread::scope(|s| {
        let clients: Vec<_> = (0..args.connections)
            .map(|_| s.spawn(|| client(&args, &all_connected)))
            .collect();
        all_connected.wait();
        let begin = Instant::now();
        for client in clients {
            let ended = client.join().expect("a client does not panic");
            ended.with_context(|| format!("server {}", args.server))?;
        }
        anyhow::Ok(begin.elapsed().as_secs_f64())
    })?;
    let messages = args.connections * args.messages;
    let rate = messages as f64 / seconds;
    println!("{messages} messages in {seconds:.3} s: {rate:.0} per second");
    Ok(())
}

fn client(args: &Args, all_connected: &Barrier) -> io::Result<()> {
    let connected = TcpStream::connect(&args.server);
    // Also by those that have failed, or the others would wait for ever.
    all_connected.wait();
    let mut stream = connected?;
    stream.set_nodelay(true)?;
    let mut answer = vec![0; args.bytes];
    for number in 0..args.messages {
        let message = vec![number as u8; args.bytes];
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if answer != message {
            return Err(io::Error::other("something else came back"));
        }
    }
    Ok(())
}
