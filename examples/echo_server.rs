//! A TCP server that sends back what it gets: one greenlet for each connection.
//!
//! ```text
//! cargo run --release --example echo_server 7777
//! nc 127.0.0.1 7777
//! ```
//!
//! Nothing here looks asynchronous, yet one OS thread serves thousands of connections: a `read`
//! that finds nothing parks its greenlet until the kernel has something for it.

use std::io::{self, Read, Write};

use anyhow::Context;
use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Sends back whatever comes in.
#[derive(Parser)]
struct Args {
    /// Port to listen on, at 127.0.0.1; 0 takes any that is free
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept() {
            // The handle is dropped, so the greenlet runs on by itself. A connection that is
            // reset ends its own greenlet and nothing else.
            Ok((stream, _)) => drop(greenroom::spawn(|| echo(stream))),
            // Out of descriptors, say. The listener pauses before it reports that, so this
            // does not spin; connections wait in the queue until others have been closed.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
