//! Fetches from slow servers with an HTTP client that knows nothing of greenlets: ureq.
//!
//! ```text
//! cargo run --release --features monkey --example fetch_unmodified -- --count 100 --delay-ms 100
//! ```
//!
//! Three runs of the same code on one OS thread. One after the other, it takes the sum of the
//! delays. In greenlets it takes just as long, since each request blocks the thread. In greenlets
//! and with the patch it takes as long as one of them.
//!
//! The servers are OS threads of this program on loopback, in a process of their own so that
//! nothing of them is patched either.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

/// Fetches one after the other, in greenlets, and in greenlets of a patched program.
#[derive(Parser)]
struct Args {
    /// How many requests a run makes
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Milliseconds that a server takes for its answer
    #[arg(long, default_value_t = 100)]
    delay_ms: u64,
    /// Be the server, until standard input ends
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let delay = Duration::from_millis(args.delay_ms);
    if args.serve {
        return Ok(serve(delay)?);
    }
    let mut origin = Origin::start(args.delay_ms)?;
    let address = origin.address()?;
    let run = |name: &str, all: &dyn Fn() -> Vec<String>| {
        let begin = Instant::now();
        let bodies = all();
        assert_eq!(bodies.len(), args.count);
        assert!(
            bodies
                .iter()
                .enumerate()
                .all(|(i, body)| *body == format!("this is /{i}"))
        );
        println!("{name}: {} ms", begin.elapsed().as_millis());
    };
    let greenlets = || {
        let all = (0..args.count).map(|i| greenroom::spawn(move || fetch(address, i)));
        let all = greenroom::joinall(all).into_iter();
        all.map(|body| body.expect("no panic")).collect()
    };
    run("one after the other", &|| {
        (0..args.count).map(|i| fetch(address, i)).collect()
    });
    run("in greenlets", &greenlets);
    greenroom::monkey::patch_all()?;
    run("in greenlets, patched", &greenlets);
    Ok(())
}

/// Plain ureq, as one finds it in its documentation.
fn fetch(origin: SocketAddr, number: usize) -> String {
    let mut response = ureq::get(format!("http://{origin}/{number}"))
        .call()
        .expect("an answer");
    response.body_mut().read_to_string().expect("a text")
}

/// The server, in a process of its own. It ends with us.
struct Origin(Child);

impl Origin {
    fn start(delay_ms: u64) -> io::Result<Origin> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", "--delay-ms", &delay_ms.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map(Origin)
    }

    fn address(&mut self) -> io::Result<SocketAddr> {
        let stdout = self.0.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        line.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It fails if it has ended already, which is just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One OS thread per connection, and an answer after `delay`.
fn serve(delay: Duration) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, delay));
        }
    });
    // Whoever started us has ended when this does.
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn answer(stream: TcpStream, delay: Duration) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    thread::sleep(delay);
    let path = request.split(' ').nth(1).unwrap_or("/");
    let body = format!("this is {path}");
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    (&stream).write_all((head + &body).as_bytes())
}
