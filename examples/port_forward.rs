//! Forwards TCP connections: whoever connects to LISTEN talks to TARGET.
//!
//! ```text
//! cargo run --example port_forward 127.0.0.1:8080 example.org:80
//! curl -H 'Host: example.org' http://127.0.0.1:8080/
//! ```
//!
//! Each connection has two greenlets, one for each direction, which borrow both sockets: the
//! scope they are spawned in does not end before they have. When one side has said all it has to
//! say, the other is told (half-close) and may still answer. After Ctrl-C the open connections may
//! end first.

use std::io;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use greenroom::net::{Shutdown, TcpStream};
use greenroom::server::StreamServer;
use greenroom::signal::{self, Signal};

/// After a signal, open connections may go on for so long.
const GRACE: Duration = Duration::from_secs(5);

/// Forwards TCP connections from LISTEN to TARGET.
#[derive(Parser)]
struct Args {
    /// Address and port to listen on; port 0 takes any that is free
    listen: String,
    /// Host and port to forward to
    target: String,
}

fn main() -> anyhow::Result<()> {
    let Args { listen, target } = Args::parse();
    let server = StreamServer::bind(&listen, move |client, peer| {
        match forward(&client, &target) {
            Ok((sent, received)) => println!("{peer}: {sent} bytes there, {received} back"),
            Err(error) => eprintln!("{peer}: {error:#}"),
        }
    })
    .with_context(|| format!("LISTEN is {listen}"))?;
    server.start()?;
    println!("listening on {}", server.address());
    let signal = signal::wait(&[Signal::INT, Signal::TERM])?;
    println!("{signal}: nobody new; who is here may stay for {GRACE:?}");
    let cut_off = server.stop(Some(GRACE));
    println!("bye; {cut_off} connections were cut off");
    Ok(())
}

/// Returns how many bytes went to the target and how many came back.
fn forward(client: &TcpStream, target: &str) -> anyhow::Result<(u64, u64)> {
    let server =
        TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    greenroom::scope(|s| {
        let there = s.spawn(|| pump(client, &server));
        let back = pump(&server, client);
        let there = there.join().expect("a pump returns its errors");
        Ok((there?, back?))
    })
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<u64> {
    let copied = io::copy(&mut from, &mut to);
    // An error ends both directions: whoever is still reading there finds the end.
    let (from_ends, to_ends) = match &copied {
        Ok(_) => (Shutdown::Read, Shutdown::Write),
        Err(_) => (Shutdown::Both, Shutdown::Both),
    };
    // Fails only if the connection is gone already.
    let _ = from.shutdown(from_ends);
    let _ = to.shutdown(to_ends);
    copied
}
