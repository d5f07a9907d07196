//! A server that polls: `accept` does not wait, so the program asks again and again.
//!
//! ```text
//! cargo run --example nonblocking_server
//! cargo run --example nonblocking_server -- --pause-ms 4000
//! ```
//!
//! In between it could do something else. The price: many calls for nothing, and a client that
//! comes just after one of them waits until the next. Every other example of a server here shows
//! how to have neither.

use std::io::{self, Read, Write};
use std::time::Duration;

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::{sleep, spawn};

/// A server that polls, and its client.
#[derive(Parser)]
struct Args {
    /// Milliseconds between two attempts to accept
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
}

fn main() -> anyhow::Result<()> {
    let pause = Duration::from_millis(Args::parse().pause_ms);
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    server.set_nonblocking(true)?;
    let client = spawn(move || client(address, pause));
    loop {
        println!("waiting client connection .......");
        match server.accept() {
            Ok((mut connection, address)) => {
                println!("+++ {address}");
                let mut message = [0; 1024];
                // The connection is a blocking one: here the greenlet waits, and only it.
                let count = connection.read(&mut message)?;
                println!("{}", String::from_utf8_lossy(&message[..count]));
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                println!("{error}");
                sleep(pause);
            }
            Err(error) => return Err(error.into()),
        }
    }
    client.join().expect("the client does not panic")?;
    Ok(())
}

/// Comes when the server has asked twice already.
fn client(server: SocketAddr, pause: Duration) -> io::Result<()> {
    sleep(pause + pause / 2);
    let mut stream = TcpStream::connect(server)?;
    println!("hello");
    stream.write_all(b"hello")
}
