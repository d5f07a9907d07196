//! An echo server with `Poll`, which remembers what to watch, and for what.
//!
//! ```text
//! cargo run --example poll_server
//! ```
//!
//! `select` is given three lists each time; a `Poll` is told of changes only, and answers with
//! pairs of descriptor and events. There is no limit of 1024 descriptors (nor has greenroom's
//! `select` one), but every call still looks at all of them.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::{Events, Poll};
use greenroom::{joinall, spawn};

/// A connection, and what is still to be sent to it.
struct Connection {
    stream: TcpStream,
    queue: VecDeque<Vec<u8>>,
}

/// An echo server with `Poll`, which remembers what to watch, and for what.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let clients = ["first", "second", "third"].map(|text| spawn(move || client(address, text)));
    serve(server, clients.len())?;
    for result in joinall(clients) {
        result.expect("a client does not panic")?;
    }
    Ok(())
}

/// Serves until so many clients have come and gone.
fn serve(server: TcpListener, mut clients_left: usize) -> io::Result<()> {
    let mut poll = Poll::new();
    poll.register(&server, Events::READ)?;
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();

    while clients_left > 0 {
        for (fd, events) in poll.poll(None)? {
            println!("descriptor {fd}: {events:?}");
            if fd == server.as_raw_fd() {
                let (stream, address) = server.accept()?;
                println!("new connection from {address}");
                stream.set_nonblocking(true)?;
                poll.register(&stream, Events::READ)?;
                let queue = VecDeque::new();
                connections.insert(stream.as_raw_fd(), Connection { stream, queue });
                continue;
            }
            let connection = connections.get_mut(&fd).expect("it is registered");
            match talk(connection, events) {
                // It is watched for writing only while there is something to write: nearly
                // always it could be written, and `poll` would never wait.
                Ok(true) => match connection.queue.is_empty() {
                    true => poll.modify(fd, Events::READ)?,
                    false => poll.modify(fd, Events::READ | Events::WRITE)?,
                },
                Ok(false) | Err(_) => {
                    println!("closing {fd}");
                    // Before it is closed: a `Poll` knows numbers, which come back.
                    poll.unregister(fd)?;
                    connections.remove(&fd);
                    clients_left -= 1;
                }
            }
        }
    }
    Ok(())
}

/// Does what can be done without waiting; false at the end of the connection.
fn talk(connection: &mut Connection, events: Events) -> io::Result<bool> {
    if events.is_readable() {
        let mut data = [0; 1024];
        match connection.stream.read(&mut data)? {
            0 => return Ok(false),
            count => connection.queue.push_back(data[..count].to_vec()),
        }
    }
    if events.contains(Events::WRITE)
        && let Some(data) = connection.queue.pop_front()
    {
        println!("echoing {:?}", String::from_utf8_lossy(&data));
        connection.stream.write_all(&data)?;
    }
    Ok(true)
}

fn client(server: SocketAddr, text: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(text.as_bytes())?;
    let mut echo = vec![0; text.len()];
    stream.read_exact(&mut echo)?;
    println!("Received {:?}", String::from_utf8_lossy(&echo));
    Ok(())
}
