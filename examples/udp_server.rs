//! Answers each datagram with how many bytes it had.
//!
//! ```text
//! cargo run --example udp_server 9000
//! cargo run --example udp_client 127.0.0.1:9000 hello
//! ```

use std::io;

use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, UdpSocket};
use greenroom::server::DatagramServer;

/// Answers each datagram with how many bytes it had.
#[derive(Parser)]
struct Args {
    /// Port to receive on, at 127.0.0.1; 0 takes any that is free
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, Args::parse().port));
    let server = DatagramServer::bind(address, answer)?;
    server.start()?;
    println!("listening on {}", server.address());
    server.serve_forever()?;
    Ok(())
}

fn answer(data: &[u8], peer: SocketAddr, socket: &UdpSocket) -> io::Result<()> {
    let text = String::from_utf8_lossy(data);
    println!("{peer}: {text}");
    let answer = format!("Received {} bytes", data.len());
    socket.send_to(answer.as_bytes(), peer).map(drop)
}
