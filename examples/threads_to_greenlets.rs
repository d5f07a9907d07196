//! A chat server with a thread for each guest, and one line that lets it hold thousands of them.
//!
//! ```text
//! cargo run --release --features monkey --example threads_to_greenlets
//! cargo run --release --features monkey --example threads_to_greenlets -- --connections 10000
//! cargo run --release --features monkey --example threads_to_greenlets -- --real-threads
//! ```
//!
//! Read `serve`, `host` and `say`: std and nothing but std, written as on the first day, and as
//! one is told not to write it, since so many threads are too much for a machine. Nothing of it
//! was changed. But `main` has one line more, `patch_all`. From there on `thread::spawn` makes
//! greenlets, and what blocks (a read, a lock, a channel) parks one of them and lets the others
//! run: all of them on one OS thread.
//!
//! To show it, the program starts itself once more: the guests, threads as well, and as green. So
//! each process has one end of each connection, and its limit of descriptors holds for as many.
//! They come in; then somebody says a word, and everybody is to hear it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};

use clap::Parser;

/// A chat server of std's threads, and a great many guests.
#[derive(Parser)]
struct Args {
    /// How many guests come
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Leave the patch out, to compare: an OS thread for each, 2000 connections at most
    #[arg(long)]
    real_threads: bool,
    /// Be the guests of the server at this address
    #[arg(long, hide = true)]
    attend: Option<SocketAddr>,
}

const WELCOME: &str = "welcome\n";
const WORD: &str = "hello to all of you\n";
const AT_THE_DOOR: u32 = 100;

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args) -> io::Result<()> {
    check_limits(args)?;
    if !args.real_threads {
        greenroom::monkey::patch_all()?;
    }
    if let Some(server) = args.attend {
        return attend_all(server, args.connections);
    }
    let door = TcpListener::bind("127.0.0.1:0")?;
    let address = door.local_addr()?;
    Builder::new().spawn(move || serve(door))?;
    show(address, args)
}

/// Everybody who is in, by address.
type Room = Mutex<HashMap<SocketAddr, Arc<TcpStream>>>;

/// A thread for each guest.
fn serve(door: TcpListener) {
    let room = Arc::new(Room::default());
    for guest in door.incoming().flatten() {
        let room = Arc::clone(&room);
        if let Err(error) = Builder::new().spawn(move || host(guest, &room)) {
            eprintln!("no thread for a guest, who is sent away: {error}");
        }
    }
}

/// Passes on what a guest says, from its coming to its leaving.
fn host(guest: TcpStream, room: &Room) -> io::Result<()> {
    guest.set_write_timeout(Some(Duration::from_secs(5)))?;
    let (address, guest) = (guest.peer_addr()?, Arc::new(guest));
    room.lock().unwrap().insert(address, Arc::clone(&guest));
    (&*guest).write_all(WELCOME.as_bytes())?;
    for line in BufReader::new(&*guest).lines().map_while(Result::ok) {
        say(room, &format!("{line}\n"));
    }
    room.lock().unwrap().remove(&address);
    Ok(())
}

/// Tells everybody. The lock keeps lines whole; who takes nothing for 5 s is shown out.
fn say(room: &Room, line: &str) {
    room.lock().unwrap().retain(|_, guest| {
        let told = (&**guest).write_all(line.as_bytes());
        told.or_else(|_| guest.shutdown(Shutdown::Both)).is_ok()
    });
}

/// A guest, who tells `news` of being in, and of having heard the word.
fn attend(server: SocketAddr, news: &Sender<io::Result<()>>) -> io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect(server)?);
    for expected in [WELCOME, WORD] {
        let mut line = String::new();
        server.read_line(&mut line)?;
        if line != expected {
            return Err(io::Error::other(format!("a guest heard {line:?}")));
        }
        // It fails if another guest has failed, and nobody waits for news any more.
        let _ = news.send(Ok(()));
    }
    Ok(())
}

/// Has all guests come, and tells, in a line each, when they are in and how many heard the word.
fn attend_all(server: SocketAddr, connections: u32) -> io::Result<()> {
    let (sender, news) = mpsc::channel();
    for already in 0..connections {
        let sender = sender.clone();
        let guest = move || attend(server, &sender).or_else(|error| sender.send(Err(error)));
        Builder::new().spawn(guest)?;
        // std's listeners have 128 wait at the door, and others try again in 1 s.
        if already >= AT_THE_DOOR {
            news.recv().expect("a guest tells")?;
        }
    }
    for _ in 0..connections.min(AT_THE_DOOR) {
        news.recv().expect("a guest tells")?;
    }
    println!("in");
    println!(
        "{}",
        news.iter().take(connections as usize).flatten().count()
    );
    Ok(())
}

/// Has all guests come, and somebody say the word; prints what it took.
fn show(server: SocketAddr, args: &Args) -> io::Result<()> {
    let memory = || status("VmRSS:") + status("VmPTE:");
    let (begin, before) = (Instant::now(), memory());
    let connections = args.connections.to_string();
    let mut guests = Command::new(std::env::current_exe()?);
    guests.args([
        "--attend",
        &server.to_string(),
        "--connections",
        &connections,
    ]);
    guests.args(args.real_threads.then_some("--real-threads"));
    let mut guests = guests.stdout(Stdio::piped()).spawn()?;
    let news = guests.stdout.take().expect("it is piped");
    let mut news = BufReader::new(news).lines();
    let mut next = || {
        news.next()
            .unwrap_or(Err(io::Error::other("the guests have left")))
    };
    next()?;
    println!("connections {connections}, in {:.2?}", begin.elapsed());
    println!("OS threads  {}", status("Threads:"));
    let each = memory().saturating_sub(before) / u64::from(args.connections);
    println!("memory      {each} kB for each, in the server");

    let begin = Instant::now();
    let mut speaker = TcpStream::connect(server)?;
    speaker.write_all(WORD.as_bytes())?;
    println!("heard by    {}, in {:.2?}", next()?, begin.elapsed());
    guests.wait().map(drop)
}

/// A number that the kernel tells of this process: its own stacks for OS threads are in none.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number")
}

/// Raises the limit of descriptors as far as it goes. Is that enough for one end of each?
fn check_limits(args: &Args) -> io::Result<()> {
    let (connections, spare) = (u64::from(args.connections), 24);
    // SAFETY: `limit` is one, for the first call to fill and for the second to read.
    let most = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        limit.rlim_max
    };
    let fit = most.saturating_sub(spare);
    let refusal = if args.real_threads && connections > 2000 {
        String::from("--real-threads: 2000 connections at most")
    } else if connections > fit {
        format!("the hard limit of descriptors (ulimit -Hn) is {most}: for {fit} connections")
    } else {
        return Ok(());
    };
    Err(io::Error::other(refusal))
}
