//! The whole of a server with `select`: readable, writable and exceptional connections.
//!
//! ```text
//! cargo run --example select_exceptional
//! ```
//!
//! The third list is for what is out of the ordinary. With TCP that is one thing only: urgent
//! data, which is sent past the queue. Here the second client sends some, and for that is thrown
//! out. What most people expect to find in that list, a connection that broke, is told as
//! readable: the read says what happened.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::select;
use greenroom::spawn;

/// The whole of a server with `select`: readable, writable and exceptional connections.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let script = spawn(move || polite(address).and_then(|()| impolite(address)));
    Server::new(server, 2).serve()?;
    script.join().expect("the clients do not panic")?;
    Ok(())
}

/// Says something, and hears the same.
fn polite(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"This is the message.")?;
    let mut echo = [0; 20];
    stream.read_exact(&mut echo)
}

/// Sends urgent data, and is thrown out.
fn impolite(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    let urgent = b"!";
    // SAFETY: the socket is open, and one byte is sent from a buffer of one byte.
    unsafe { libc::send(stream.as_raw_fd(), urgent.as_ptr().cast(), 1, libc::MSG_OOB) };
    // The end, or a reset: either way it is over.
    let _ = stream.read(&mut [0]);
    Ok(())
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// What is still to be sent.
    queue: VecDeque<Vec<u8>>,
}

struct Server {
    listener: TcpListener,
    /// From which we expect to read, and to which we expect to write.
    inputs: Vec<RawFd>,
    outputs: Vec<RawFd>,
    connections: HashMap<RawFd, Connection>,
    clients_left: usize,
}

impl Server {
    fn new(listener: TcpListener, clients: usize) -> Server {
        Server {
            inputs: vec![listener.as_raw_fd()],
            listener,
            outputs: Vec::new(),
            connections: HashMap::new(),
            clients_left: clients,
        }
    }

    /// Serves until all clients have come and gone.
    fn serve(mut self) -> io::Result<()> {
        println!("starting up on {}", self.listener.local_addr()?);
        while self.clients_left > 0 {
            println!("\nwaiting for the next event");
            let lists = select(&self.inputs, &self.outputs, &self.inputs, None)?;
            let (readable, writable, exceptional) = lists;
            for fd in readable {
                match fd == self.listener.as_raw_fd() {
                    true => self.accept()?,
                    false => self.read(fd),
                }
            }
            writable.into_iter().for_each(|fd| self.write(fd));
            exceptional.into_iter().for_each(|fd| self.except(fd));
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let (stream, address) = self.listener.accept()?;
        println!("new connection from {address}");
        stream.set_nonblocking(true)?;
        let (fd, queue) = (stream.as_raw_fd(), VecDeque::new());
        let connection = Connection {
            stream,
            address,
            queue,
        };
        self.connections.insert(fd, connection);
        self.inputs.push(fd);
        Ok(())
    }

    fn read(&mut self, fd: RawFd) {
        let connection = self
            .connections
            .get_mut(&fd)
            .expect("it is among the inputs");
        let address = connection.address;
        let mut data = [0; 1024];
        match connection.stream.read(&mut data) {
            // It is only a hint that there was something.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => {
                println!("closing {address} after reading no data");
                self.close(fd);
            }
            Ok(count) => {
                let text = String::from_utf8_lossy(&data[..count]);
                println!("received {text:?} from {address}");
                connection.queue.push_back(data[..count].to_vec());
                if !self.outputs.contains(&fd) {
                    self.outputs.push(fd);
                }
            }
        }
    }

    fn write(&mut self, fd: RawFd) {
        // The list was made before `read` may have closed it; so below.
        let Some(connection) = self.connections.get_mut(&fd) else {
            return;
        };
        let address = connection.address;
        let Some(message) = connection.queue.pop_front() else {
            println!("output queue for {address} is empty");
            self.outputs.retain(|output| *output != fd);
            return;
        };
        println!(
            "sending {:?} to {address}",
            String::from_utf8_lossy(&message)
        );
        if connection.stream.write_all(&message).is_err() {
            self.close(fd);
        }
    }

    fn except(&mut self, fd: RawFd) {
        if let Some(connection) = self.connections.get(&fd) {
            println!("handling exceptional condition for {}", connection.address);
            self.close(fd);
        }
    }

    fn close(&mut self, fd: RawFd) {
        self.inputs.retain(|input| *input != fd);
        self.outputs.retain(|output| *output != fd);
        self.connections.remove(&fd);
        self.clients_left -= 1;
    }
}
