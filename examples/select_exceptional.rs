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

use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::select;
use greenroom::spawn;

fn main() -> io::Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let script = spawn(move || polite(address).and_then(|()| impolite(address)));
    Server::new(server).serve(2)?;
    script.join().expect("the clients do not panic")
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

struct Server {
    listener: TcpListener,
    /// Sockets from which we expect to read, and to which we expect to write.
    inputs: Vec<RawFd>,
    outputs: Vec<RawFd>,
    connections: HashMap<RawFd, (TcpStream, SocketAddr)>,
    /// What is to be sent.
    queues: HashMap<RawFd, VecDeque<Vec<u8>>>,
}

impl Server {
    fn new(listener: TcpListener) -> Server {
        Server {
            inputs: vec![listener.as_raw_fd()],
            listener,
            outputs: Vec::new(),
            connections: HashMap::new(),
            queues: HashMap::new(),
        }
    }

    /// Serves until so many clients have come and gone.
    fn serve(mut self, mut clients: usize) -> io::Result<()> {
        println!("starting up on {}", self.listener.local_addr()?);
        while clients > 0 {
            println!("\nwaiting for the next event");
            let lists = select(&self.inputs, &self.outputs, &self.inputs, None)?;
            let (readable, writable, exceptional) = lists;
            let before = self.inputs.len();
            let mut accepted = 0;
            for fd in readable {
                if fd == self.listener.as_raw_fd() {
                    self.accept()?;
                    accepted += 1;
                } else {
                    self.read(fd);
                }
            }
            writable.into_iter().for_each(|fd| self.write(fd));
            exceptional.into_iter().for_each(|fd| self.except(fd));
            clients -= before + accepted - self.inputs.len();
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let (connection, address) = self.listener.accept()?;
        println!("new connection from {address}");
        connection.set_nonblocking(true)?;
        let fd = connection.as_raw_fd();
        self.inputs.push(fd);
        self.queues.insert(fd, VecDeque::new());
        self.connections.insert(fd, (connection, address));
        Ok(())
    }

    fn read(&mut self, fd: RawFd) {
        let (connection, address) = &self.connections[&fd];
        let mut data = [0; 1024];
        match (&*connection).read(&mut data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => {
                println!("closing {address} after reading no data");
                self.close(fd);
            }
            Ok(count) => {
                let data = &data[..count];
                println!(
                    "received {:?} from {address}",
                    String::from_utf8_lossy(data)
                );
                let queue = self.queues.get_mut(&fd).expect("each connection has one");
                queue.push_back(data.to_vec());
                if !self.outputs.contains(&fd) {
                    self.outputs.push(fd);
                }
            }
        }
    }

    fn write(&mut self, fd: RawFd) {
        // It may have been closed since, by `read`.
        let Some((connection, address)) = self.connections.get(&fd) else {
            return;
        };
        match self.queues.get_mut(&fd).and_then(VecDeque::pop_front) {
            None => {
                println!("output queue for {address} is empty");
                self.outputs.retain(|output| *output != fd);
            }
            Some(message) => {
                println!(
                    "sending {:?} to {address}",
                    String::from_utf8_lossy(&message)
                );
                if (&*connection).write_all(&message).is_err() {
                    self.close(fd);
                }
            }
        }
    }

    fn except(&mut self, fd: RawFd) {
        let Some((_, address)) = self.connections.get(&fd) else {
            return;
        };
        println!("handling exceptional condition for {address}");
        self.close(fd);
    }

    fn close(&mut self, fd: RawFd) {
        self.inputs.retain(|input| *input != fd);
        self.outputs.retain(|output| *output != fd);
        self.queues.remove(&fd);
        self.connections.remove(&fd);
    }
}
