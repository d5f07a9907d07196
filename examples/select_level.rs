//! `select` is level-triggered: what is ready is told again and again, until it is dealt with.
//!
//! ```text
//! cargo run --example select_level
//! ```
//!
//! A client has connected. The server is told so, does not accept, and is told so again. Once it
//! has accepted there is nothing left to tell, and the next `select` runs into its time limit.

use std::time::{Duration, Instant};

use clap::Parser;
use greenroom::net::{TcpListener, TcpStream};
use greenroom::select::select;

const LIMIT: Duration = Duration::from_millis(200);

/// `select` is level-triggered.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let server = TcpListener::bind("127.0.0.1:0")?;
    let _client = TcpStream::connect(server.local_addr()?)?;

    let listening = [&server];
    for round in 1..=4 {
        let begin = Instant::now();
        let (readable, _, _) = select(&listening, &[], &[], Some(LIMIT))?;
        for server in &readable {
            println!("hello");
            if round == 3 {
                server.accept()?;
                println!("accepted");
            }
        }
        let waited = match begin.elapsed() >= LIMIT {
            true => "after the time limit",
            false => "at once",
        };
        println!(">>>>>> {} ready, {waited}", readable.len());
    }
    Ok(())
}
