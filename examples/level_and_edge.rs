//! epoll, level-triggered and edge-triggered: the same bytes, told differently.
//!
//! ```text
//! cargo run --example level_and_edge
//! ```
//!
//! Six bytes arrive, and the reader takes two at a time. *Level-triggered*, it is told as long as
//! there is something left. *Edge-triggered*, it is told once, when the bytes arrive: who does not
//! read on until nothing is left hears of the rest only when more arrives.

use std::io::{self, Read, Write};
use std::time::Duration;

use clap::Parser;
use greenroom::os::unix::net::UnixStream;
use greenroom::select::Events;
use greenroom::selectors::EpollSelector;

const SOON: Option<Duration> = Some(Duration::from_millis(20));

/// epoll, level-triggered and edge-triggered.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    println!("level-triggered:");
    read_two_at_a_time(Events::READ)?;
    println!("edge-triggered:");
    read_two_at_a_time(Events::READ | Events::EDGE)?;
    println!("edge-triggered, reading until nothing is left:");
    read_all_each_time()?;
    Ok(())
}

fn read_two_at_a_time(events: Events) -> io::Result<()> {
    let (mut reader, mut writer) = UnixStream::pair()?;
    let selector = EpollSelector::new()?;
    selector.register(&reader, events, ())?;
    writer.write_all(b"abcdef")?;
    while !selector.select(SOON)?.is_empty() {
        println!("  told; read {:?}", read_two(&mut reader)?);
    }
    println!("  not told any more");
    // What is left, if anything, comes to light with the next edge.
    writer.write_all(b"g")?;
    while !selector.select(SOON)?.is_empty() {
        println!("  told of more; read {:?}", read_two(&mut reader)?);
    }
    Ok(())
}

fn read_all_each_time() -> io::Result<()> {
    let (mut reader, mut writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    let selector = EpollSelector::new()?;
    selector.register(&reader, Events::READ | Events::EDGE, ())?;
    for text in ["abcdef", "g"] {
        writer.write_all(text.as_bytes())?;
        for (_key, _events) in selector.select(SOON)? {
            println!("  told");
            loop {
                match read_two(&mut reader) {
                    Ok(bytes) => println!("    read {bytes:?}"),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

fn read_two(reader: &mut UnixStream) -> io::Result<String> {
    let mut bytes = [0; 2];
    let count = reader.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}
