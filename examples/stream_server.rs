//! The echo server once more, by `StreamServer`: on several cores if wanted.
//!
//! ```text
//! cargo run --release --example stream_server 7777 --hubs 2
//! nc 127.0.0.1 7777
//! ```
//!
//! What `echo_server` does by hand is done for us: accepting, a greenlet for each connection,
//! errors told and got over, an end with a deadline.

use std::io::{self, Read, Write};

use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, TcpStream};
use greenroom::server::{Spawn, StreamServer};

/// Sends back whatever comes in.
#[derive(Parser)]
struct Args {
    /// Port to listen on, at 127.0.0.1; 0 takes any that is free
    port: u16,
    /// OS threads, each with a hub of its own; without it, the main thread serves
    #[arg(long)]
    hubs: Option<usize>,
    /// Give each of them a socket of its own
    #[arg(long)]
    reuse_port: bool,
    /// The most connections at a time
    #[arg(long)]
    pool: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let mut builder = StreamServer::builder(address)
        .name("echo")
        .reuse_port(args.reuse_port);
    if let Some(hubs) = args.hubs {
        builder = builder.hubs(hubs);
    }
    if let Some(places) = args.pool {
        builder = builder.spawn(Spawn::Pool(places));
    }
    let server = builder.bind(echo)?;
    server.start()?;
    println!("listening on {}", server.address());
    server.serve_forever()?;
    Ok(())
}

fn echo(mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
