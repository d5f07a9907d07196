//! An HTTP server on a selector, which is told to stop while it runs.
//!
//! ```text
//! cargo run --example selectors_http             fetches its own page twice, then stops
//! cargo run --example selectors_http -- 8080     then: curl -i http://127.0.0.1:8080/
//! ```
//!
//! The selector's loop runs in a greenlet of its own. With a port, the root waits for the word
//! "quit" on standard input, and says so by a flag; the loop looks at it once a second, when
//! `select` returns with nothing.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use greenroom::select::Events;
use greenroom::selectors::DefaultSelector;
use greenroom::spawn;

const PAGE: &str = "<html>\n<head><title></title></head>\n<body>\nWelcome!\n</body>\n</html>\n";

/// An HTTP server with one page.
#[derive(Parser)]
struct Args {
    /// Port to listen on, at 127.0.0.1; without one, the visitors are part of the program
    port: Option<u16>,
}

/// What a descriptor is here for. The selector's data owns the sockets.
enum Role {
    Server(TcpListener),
    Visitor(TcpStream),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    let server =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let address = server.local_addr()?;
    println!("listening on {address}");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let serving = spawn(move || serve(server, &stopped));
    match args.port {
        None => (0..2).try_for_each(|_| visit(address))?,
        Some(_) => {
            println!(">>");
            let mut lines = greenroom::io::stdin().lock().lines();
            while lines
                .next()
                .transpose()?
                .is_some_and(|line| line.trim() != "quit")
            {
                println!(">>");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    serving.join().expect("the server does not panic")?;
    Ok(())
}

fn serve(server: TcpListener, stop: &AtomicBool) -> io::Result<()> {
    server.set_nonblocking(true)?;
    let selector = DefaultSelector::new()?;
    selector.register(server.as_raw_fd(), Events::READ, Role::Server(server))?;
    while !stop.load(Ordering::Relaxed) {
        let ready = selector.select(Some(Duration::from_secs(1)))?;
        println!("{} ready", ready.len());
        for (key, _events) in ready {
            match &*key.data {
                Role::Server(server) => {
                    let (visitor, address) = server.accept()?;
                    visitor.set_nonblocking(true)?;
                    let fd = visitor.as_raw_fd();
                    println!("New client {address} accepted. fd={fd}");
                    selector.register(fd, Events::READ, Role::Visitor(visitor))?;
                }
                Role::Visitor(visitor) => {
                    // One request for each connection: whatever comes of it, that was all.
                    if let Err(error) = answer(visitor) {
                        println!("fd={}: {error}", key.fd);
                    }
                    selector.unregister(key.fd)?;
                }
            }
        }
    }
    println!("stopped");
    Ok(())
}

fn answer(mut visitor: &TcpStream) -> io::Result<()> {
    let mut request = [0; 1024];
    let count = visitor.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..count]);
    let mut words = request.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a request"));
    };
    println!("{method} {path}\n{}", "=".repeat(30));
    let headers = [
        ("Content-Type", String::from("text/html; charset=UTF-8")),
        ("Content-Length", PAGE.len().to_string()),
        ("Server", String::from("GreenServer")),
        ("Connection", String::from("close")),
    ];
    println!("{headers:?}");
    let mut response = String::from("HTTP/1.1 201 Created\r\n");
    for (name, value) in headers {
        response += &format!("{name}: {value}\r\n");
    }
    visitor.write_all((response + "\r\n" + PAGE).as_bytes())
}

fn visit(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /welcome HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    println!("{}", response.replace('\r', ""));
    Ok(())
}
