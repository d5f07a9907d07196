//! The first step with `select`: one loop for all connections, which serves whoever speaks.
//!
//! ```text
//! cargo run --example select_first_step
//! ```
//!
//! `select` parks until one of the descriptors in a list is ready, and says which. The listening
//! socket is one of them: that it can be read means that somebody wants to connect. Two clients
//! come, speak and leave; then the program ends.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::select;
use greenroom::{joinall, spawn};

/// The first step with `select`: one loop for all connections, which serves whoever speaks.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let clients = ["123", "456"].map(|text| spawn(move || client(address, text)));
    serve(server, clients.len())?;
    for result in joinall(clients) {
        result.expect("a client does not panic")?;
    }
    Ok(())
}

/// Serves until so many clients have come and gone.
fn serve(server: TcpListener, mut clients_left: usize) -> io::Result<()> {
    server.set_nonblocking(true)?;
    let listening = server.as_raw_fd();
    let mut inputs: Vec<RawFd> = vec![listening];
    let mut connections: HashMap<RawFd, TcpStream> = HashMap::new();

    while clients_left > 0 {
        let (readable, writable, exceptional) = select(&inputs, &[], &inputs, None)?;
        println!("{readable:?} {writable:?} {exceptional:?}");
        for fd in readable {
            if fd == listening {
                let (connection, address) = server.accept()?;
                println!("new connection: {address}");
                // From now on it is watched as well. To read from it at once would be wrong:
                // it has not said anything yet.
                inputs.push(connection.as_raw_fd());
                connections.insert(connection.as_raw_fd(), connection);
                continue;
            }
            let mut data = [0; 1024];
            match (&connections[&fd]).read(&mut data)? {
                // The end is a thing to be read, too: without this `select` would tell of it
                // for ever.
                0 => {
                    println!("closed: {fd}");
                    inputs.retain(|other| *other != fd);
                    connections.remove(&fd);
                    clients_left -= 1;
                }
                count => println!("received: {:?}", String::from_utf8_lossy(&data[..count])),
            }
        }
    }
    Ok(())
}

fn client(server: SocketAddr, text: &str) -> io::Result<()> {
    TcpStream::connect(server)?.write_all(text.as_bytes())
}
