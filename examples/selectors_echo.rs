//! An echo server on a selector: each descriptor is registered with the function to call when it
//! is ready.
//!
//! ```text
//! cargo run --example selectors_echo                                     4 clients
//! cargo run --release --example selectors_echo -- --clients 3000 --quiet
//! ```
//!
//! The clients connect all at first. Then all send a part of the message, and all read the echo;
//! three parts. However many are registered, a call of `select` costs what is ready.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use clap::Parser;
use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::select::Events;
use greenroom::selectors::DefaultSelector;
use greenroom::spawn;

const MESSAGES: [&str; 3] = ["This is the message. ", "It will be sent ", "in parts."];

/// An echo server on a selector, and its clients.
#[derive(Parser)]
struct Args {
    /// Number of clients; each takes two descriptors
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Print the sums only
    #[arg(long)]
    quiet: bool,
}

fn main() -> anyhow::Result<()> {
    let Args { clients, quiet } = Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let begin = Instant::now();
    let server = Server::new(listener, quiet)?;
    let serving = spawn(move || server.serve(clients));
    talk(address, clients, quiet)?;
    let echoes = serving.join().expect("the server does not panic")?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{clients} clients, {echoes} echoes in {seconds:.3} s");
    Ok(())
}

/// What to call when a descriptor is ready.
type Callback = fn(&mut Server, RawFd) -> io::Result<()>;

struct Server {
    selector: DefaultSelector<Callback>,
    listener: TcpListener,
    connections: HashMap<RawFd, TcpStream>,
    quiet: bool,
    gone: usize,
    echoes: usize,
}

impl Server {
    fn new(listener: TcpListener, quiet: bool) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let selector = DefaultSelector::new()?;
        selector.register(&listener, Events::READ, Server::accept as Callback)?;
        Ok(Server {
            selector,
            listener,
            connections: HashMap::new(),
            quiet,
            gone: 0,
            echoes: 0,
        })
    }

    /// Serves until so many clients have come and gone.
    fn serve(mut self, clients: usize) -> io::Result<usize> {
        while self.gone < clients {
            for (key, _events) in self.selector.select(None)? {
                let callback = *key.data;
                callback(&mut self, key.fd)?;
            }
        }
        Ok(self.echoes)
    }

    fn accept(&mut self, _: RawFd) -> io::Result<()> {
        let (connection, address) = self.listener.accept().map_err(hint)?;
        let fd = connection.as_raw_fd();
        self.say(format_args!("accepted fd={fd} from {address}"));
        connection.set_nonblocking(true)?;
        self.selector
            .register(fd, Events::READ, Server::read as Callback)?;
        self.connections.insert(fd, connection);
        Ok(())
    }

    fn read(&mut self, fd: RawFd) -> io::Result<()> {
        let mut connection = &self.connections[&fd];
        let mut data = [0; 1000];
        let count = connection.read(&mut data)?;
        if count > 0 {
            connection.write_all(&data[..count])?; // so little won't block
            let text = String::from_utf8_lossy(&data[..count]);
            self.say(format_args!("echoing {text:?} to fd={fd}"));
            self.echoes += 1;
        } else {
            self.say(format_args!("closing fd={fd}"));
            self.selector.unregister(fd)?;
            self.connections.remove(&fd);
            self.gone += 1;
        }
        Ok(())
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        if !self.quiet {
            println!("{what}");
        }
    }
}

/// All clients, in one greenlet, one step after the other.
fn talk(server: SocketAddr, clients: usize, quiet: bool) -> io::Result<()> {
    println!("connecting to {server}");
    let connect = |_| TcpStream::connect(server).map_err(hint);
    let sockets = (0..clients).map(connect).collect::<io::Result<Vec<_>>>()?;
    let say = |socket: &TcpStream, what: &str, message: &str| {
        if !quiet {
            println!("{}: {what} {message:?}", socket.local_addr()?);
        }
        io::Result::Ok(())
    };
    for message in MESSAGES {
        for mut socket in &sockets {
            say(socket, "sending", message)?;
            socket.write_all(message.as_bytes())?;
        }
        for mut socket in &sockets {
            let mut data = vec![0; message.len()];
            socket.read_exact(&mut data)?;
            say(socket, "received", &String::from_utf8_lossy(&data))?;
        }
    }
    Ok(())
}

/// What is most likely to go wrong with thousands of clients.
fn hint(error: io::Error) -> io::Error {
    let text = format!("{error} (each client takes two descriptors: see `ulimit -n`)");
    io::Error::new(error.kind(), text)
}
