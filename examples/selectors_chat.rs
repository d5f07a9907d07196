//! A group chat on a selector: what one says, all hear.
//!
//! ```text
//! cargo run --example selectors_chat             three guests talk, then leave
//! cargo run --example selectors_chat -- 9999     then: nc 127.0.0.1 9999, several times
//! ```
//!
//! The selector is the list of guests: who is registered with `Role::Guest` hears everything. A
//! guest leaves by saying "quit", or by closing the connection.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use greenroom::select::Events;
use greenroom::selectors::{DefaultSelector, SelectorKey};
use greenroom::{sleep, spawn};

/// A group chat.
#[derive(Parser)]
struct Args {
    /// Port to listen on, at 127.0.0.1; without one, the guests are part of the program
    port: Option<u16>,
}

/// What a descriptor is here for. The selector's data owns the sockets.
enum Role {
    Door(TcpListener),
    Guest(TcpStream, SocketAddr),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    let door = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on {}", door.local_addr()?);
    if args.port.is_some() {
        return Ok(serve(door, usize::MAX)?);
    }
    let address = door.local_addr()?;
    let talk = spawn(move || talk(address));
    serve(door, 3)?;
    talk.join().expect("the guests do not panic")?;
    Ok(())
}

/// Serves until so many guests have come and gone.
fn serve(door: TcpListener, mut guests_left: usize) -> io::Result<()> {
    door.set_nonblocking(true)?;
    let selector = DefaultSelector::new()?;
    selector.register(door.as_raw_fd(), Events::READ, Role::Door(door))?;
    while guests_left > 0 {
        for (key, _events) in selector.select(None)? {
            match &*key.data {
                Role::Door(door) => accept(&selector, door)?,
                Role::Guest(stream, address) => {
                    if !hear(&selector, &key, stream, *address)? {
                        guests_left -= 1;
                    }
                }
            }
        }
    }
    Ok(())
}

fn accept(selector: &DefaultSelector<Role>, door: &TcpListener) -> io::Result<()> {
    let (stream, address) = door.accept()?;
    println!("{address} comes in");
    stream.set_nonblocking(true)?;
    selector.register(
        stream.as_raw_fd(),
        Events::READ,
        Role::Guest(stream, address),
    )?;
    Ok(())
}

/// Passes on what a guest says; false when the guest leaves.
fn hear(
    selector: &DefaultSelector<Role>,
    key: &SelectorKey<Role>,
    mut stream: &TcpStream,
    address: SocketAddr,
) -> io::Result<bool> {
    let mut data = [0; 1024];
    let count = stream.read(&mut data).unwrap_or(0);
    let text = String::from_utf8_lossy(&data[..count]);
    let text = text.trim_end();
    if count == 0 || text == "quit" {
        // What is unregistered comes back, and closes its socket when it is dropped.
        selector.unregister(key.fd)?;
        println!("{address} is quit");
        return Ok(false);
    }
    let message = format!("{} {address} data = {text}\n", time_of_day());
    print!("{message}");
    for other in selector.get_map().values() {
        if let Role::Guest(stream, _) = &*other.data {
            // Who can't take it, or has just gone, misses it.
            let _ = (&*stream).write_all(message.as_bytes());
        }
    }
    Ok(true)
}

/// HH:MM:SS, in UTC.
fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs() % 86_400);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// Three guests; two speak, all listen.
fn talk(door: SocketAddr) -> io::Result<()> {
    let guests: io::Result<Vec<TcpStream>> = (0..3).map(|_| TcpStream::connect(door)).collect();
    let mut guests = guests?;
    // Until all have been let in; nobody hears what was said before.
    sleep(Duration::from_millis(100));
    for (speaker, text) in [(0, "hello"), (1, "hello to you")] {
        guests[speaker].write_all(text.as_bytes())?;
        for (number, mut guest) in guests.iter().enumerate() {
            let mut heard = [0; 1024];
            let count = guest.read(&mut heard)?;
            print!(
                "guest {number} hears: {}",
                String::from_utf8_lossy(&heard[..count])
            );
        }
    }
    guests[0].write_all(b"quit")
}
