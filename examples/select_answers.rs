//! A server that answers several clients in turn, by hand: `select` says who has asked.
//!
//! ```text
//! cargo run --example select_answers             two clients ask, the answers are ready
//! cargo run --example select_answers -- 9904     nc 127.0.0.1 9904 asks, you answer
//! ```
//!
//! With a port it serves until standard input ends (Ctrl-D). While it waits for your answer the
//! other clients wait, too: that is what one loop for all costs.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use greenroom::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use greenroom::select::select;
use greenroom::{joinall, spawn};

/// Answers clients in turn.
#[derive(Parser)]
struct Args {
    /// Port to listen on, at 127.0.0.1; without one, the clients are part of the program
    port: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    let server =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    if args.port.is_some() {
        println!("listening on {}", server.local_addr()?);
        let lines = || greenroom::io::stdin().lock().lines().next().transpose();
        return Ok(serve(&server, usize::MAX, lines)?);
    }
    let address = server.local_addr()?;
    let questions = ["What is the time?", "Who is there?"];
    let clients = questions.map(|question| spawn(move || client(address, question)));
    let mut answers = VecDeque::from(["Late.", "Only me."].map(String::from));
    serve(&server, clients.len(), || Ok(answers.pop_front()))?;
    for result in joinall(clients) {
        result.expect("a client does not panic")?;
    }
    Ok(())
}

/// Serves until so many clients have gone, or nobody answers any more.
fn serve(
    server: &TcpListener,
    mut clients_left: usize,
    mut answer: impl FnMut() -> io::Result<Option<String>>,
) -> io::Result<()> {
    let listening = server.as_raw_fd();
    let mut inputs: Vec<RawFd> = vec![listening];
    let mut connections: HashMap<RawFd, TcpStream> = HashMap::new();
    while clients_left > 0 {
        let (readable, _, _) = select(&inputs, &[], &[], Some(Duration::from_secs(5)))?;
        println!(">> {} ready", readable.len());
        for fd in readable {
            if fd == listening {
                let (connection, address) = server.accept()?;
                println!("{address} has come");
                inputs.push(connection.as_raw_fd());
                connections.insert(connection.as_raw_fd(), connection);
                continue;
            }
            let number = inputs.iter().position(|input| *input == fd);
            let number = number.expect("only what is in the list is told");
            let mut question = [0; 1024];
            let count = (&connections[&fd]).read(&mut question).unwrap_or(0);
            if count == 0 {
                println!("client No. {number} has gone");
                inputs.retain(|input| *input != fd);
                connections.remove(&fd);
                clients_left -= 1;
                continue;
            }
            println!("{}", String::from_utf8_lossy(&question[..count]).trim_end());
            println!("answer client No. {number}>>>");
            let Some(answer) = answer()? else {
                return Ok(());
            };
            (&connections[&fd]).write_all(answer.as_bytes())?;
        }
    }
    Ok(())
}

fn client(server: SocketAddr, question: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(question.as_bytes())?;
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer)?;
    println!("{question} {}", String::from_utf8_lossy(&answer[..count]));
    Ok(())
}
