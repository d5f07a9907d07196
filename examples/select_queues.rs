//! `select` with message queues: what was received is sent back when the client can take it.
//!
//! ```text
//! cargo run --example select_queues
//! ```
//!
//! A loop for many must not wait for one of them. So nothing is sent on the spot: the data goes
//! into the connection's queue, the connection into the list of those to be written, and the next
//! `select` says when a write won't wait.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::select;
use greenroom::{joinall, spawn};

/// `select` with message queues.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let scripts: [&[&str]; 2] = [&["hello", "aa"], &["bbb"]];
    let clients = scripts.map(|script| spawn(move || client(address, script)));
    serve(server, clients.len())?;
    for result in joinall(clients) {
        result.expect("a client does not panic")?;
    }
    Ok(())
}

/// A connection, and what is still to be sent to it.
struct Connection {
    stream: TcpStream,
    queue: VecDeque<Vec<u8>>,
}

/// Serves until so many clients have come and gone.
fn serve(server: TcpListener, mut clients_left: usize) -> io::Result<()> {
    server.set_nonblocking(true)?;
    let listening = server.as_raw_fd();
    let mut inputs: Vec<RawFd> = vec![listening];
    let mut outputs: Vec<RawFd> = Vec::new();
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();

    while clients_left > 0 {
        let (readable, writable, exceptional) = select(&inputs, &outputs, &inputs, None)?;
        println!("{readable:?} {writable:?} {exceptional:?}");
        for fd in readable {
            if fd == listening {
                let (stream, address) = server.accept()?;
                println!("new connection: {address}");
                stream.set_nonblocking(true)?;
                let queue = VecDeque::new();
                inputs.push(stream.as_raw_fd());
                connections.insert(stream.as_raw_fd(), Connection { stream, queue });
                continue;
            }
            let connection = connections.get_mut(&fd).expect("it is among the inputs");
            let mut data = [0; 1024];
            match connection.stream.read(&mut data) {
                Ok(0) | Err(_) => {
                    println!("client gone: {fd}");
                    inputs.retain(|input| *input != fd);
                    outputs.retain(|output| *output != fd);
                    connections.remove(&fd);
                    clients_left -= 1;
                }
                Ok(count) => {
                    println!("received: {:?}", String::from_utf8_lossy(&data[..count]));
                    connection.queue.push_back(data[..count].to_vec());
                    outputs.push(fd);
                }
            }
        }
        for fd in writable {
            // Those that have just left are no longer there.
            let Some(connection) = connections.get_mut(&fd) else {
                continue;
            };
            if let Some(data) = connection.queue.pop_front() {
                connection.stream.write_all(&data)?;
            }
            // One entry for each message: the next message brings its own.
            let place = outputs.iter().position(|output| *output == fd);
            place.map(|place| outputs.swap_remove(place));
        }
    }
    Ok(())
}

/// Says each line of its script, and waits for each to come back.
fn client(server: SocketAddr, script: &[&str]) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    for line in script {
        stream.write_all(line.as_bytes())?;
        let mut data = vec![0; line.len()];
        stream.read_exact(&mut data)?;
        println!("Received {:?}", String::from_utf8_lossy(&data));
    }
    Ok(())
}
