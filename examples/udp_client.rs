//! Sends one datagram, and waits for the answer: the other end of `udp_server`.
//!
//! ```text
//! cargo run --example udp_client 127.0.0.1:9000 hello
//! ```
//!
//! A datagram may be lost, so it is sent again when no answer comes, a few times.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use greenroom::net::{SocketAddr, UdpSocket};

/// Sends MESSAGE to SERVER and prints the answer.
#[derive(Parser)]
struct Args {
    /// Address and port of the server
    server: SocketAddr,
    /// What to send
    message: String,
    /// Times to send it before giving up
    #[arg(long, default_value_t = 3)]
    tries: u32,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let here = match args.server {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(here)?;
    socket.connect(args.server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = [0; 65_535];
    for _ in 0..args.tries {
        socket.send(args.message.as_bytes())?;
        match socket.recv(&mut answer) {
            Ok(length) => {
                println!("{}", String::from_utf8_lossy(&answer[..length]));
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context(args.server),
        }
    }
    anyhow::bail!("{}: no answer after {} tries", args.server, args.tries)
}
