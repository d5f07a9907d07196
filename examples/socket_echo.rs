//! An echo server of sockets and greenlets, and three clients that talk to it at the same time.
//!
//! ```text
//! cargo run --example socket_echo
//! ```
//!
//! Each connection is handed to a greenlet, which reads and writes as if it were alone. The
//! clients are greenlets as well, of the same OS thread. (`echo_server` and `echo_client` are the
//! same as two programs.)

use std::io::{self, Read, Write};
use std::time::Duration;

use clap::Parser;
use greenroom::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use greenroom::{joinall, sleep, spawn};

/// An echo server of sockets and greenlets, and three clients that talk to it at the same time.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = spawn(move || serve(&listener));
    let clients = ["one", "two", "three"].map(|name| spawn(move || client(address, name)));
    for result in joinall(clients) {
        result.expect("a client does not panic")?;
    }
    // It waits for the next client, and would for ever.
    server.kill();
    Ok(())
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (connection, _address) = listener.accept()?;
        spawn(move || {
            if let Err(error) = handle_request(&connection) {
                println!("{error}");
            }
        });
    }
}

fn handle_request(mut connection: &TcpStream) -> io::Result<()> {
    let mut data = [0; 1024];
    loop {
        let count = connection.read(&mut data)?;
        if count == 0 {
            return connection.shutdown(Shutdown::Write);
        }
        println!("recv: {:?}", String::from_utf8_lossy(&data[..count]));
        connection.write_all(&data[..count])?;
    }
}

fn client(server: SocketAddr, name: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    for number in 1..=2 {
        let message = format!("{name} {number}");
        stream.write_all(message.as_bytes())?;
        let mut data = vec![0; message.len()];
        stream.read_exact(&mut data)?;
        println!("Received {:?}", String::from_utf8_lossy(&data));
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
