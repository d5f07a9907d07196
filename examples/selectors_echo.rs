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

fn main() -> io::Result<()> {
    let Args { clients, quiet } = Args::parse();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let begin = Instant::now();
    let talks = spawn(move || talk(address, clients, quiet));
    let (echoes, bytes) = Server::new(listener, quiet)?.serve(clients)?;
    let talked = talks.join().expect("the clients do not panic");
    talked.map_err(|error| {
        let hint = format!("{clients} clients: {error} (see `ulimit -n`: each takes two)");
        io::Error::new(error.kind(), hint)
    })?;
    println!("{clients} clients, {echoes} echoes, {bytes} bytes");
    if quiet {
        println!("in {:.3} s", begin.elapsed().as_secs_f64());
    }
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
    bytes: usize,
}

impl Server {
    fn new(listener: TcpListener, quiet: bool) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let selector = DefaultSelector::new()?;
        selector.register(&listener, Events::READ, Server::accept as Callback)?;
        let connections = HashMap::new();
        let (gone, echoes, bytes) = (0, 0, 0);
        Ok(Server {
            selector,
            listener,
            connections,
            quiet,
            gone,
            echoes,
            bytes,
        })
    }

    /// Serves until so many clients have come and gone.
    fn serve(mut self, clients: usize) -> io::Result<(usize, usize)> {
        while self.gone < clients {
            for (key, _events) in self.selector.select(None)? {
                let callback = *key.data;
                callback(&mut self, key.fd)?;
            }
        }
        Ok((self.echoes, self.bytes))
    }

    fn accept(&mut self, _: RawFd) -> io::Result<()> {
        let (connection, address) = self.listener.accept()?;
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
            connection.write_all(&data[..count])?; // it is short: hope it won't block
            let text = String::from_utf8_lossy(&data[..count]);
            self.say(format_args!("echoing {text:?} to fd={fd}"));
            self.echoes += 1;
            self.bytes += count;
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
    let sockets: io::Result<Vec<TcpStream>> =
        (0..clients).map(|_| TcpStream::connect(server)).collect();
    let sockets = sockets?;
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
