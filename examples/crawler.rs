//! A crawler, serial and parallel: the same function, called in turn and spawned.
//!
//! ```text
//! cargo run --example crawler                                 three slow pages of its own
//! cargo run --example crawler -- http://127.0.0.1:8000/x ...  yours
//! ```
//!
//! While one greenlet waits for its page, the others wait for theirs: so the parallel crawl takes
//! as long as the slowest page, the serial one as long as all together. This one speaks plain
//! HTTP in thirty lines; `fetch` is the crawler for real use.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use greenroom::net::{TcpListener, TcpStream};
use greenroom::{joinall, sleep, spawn};

/// Crawls pages, one by one and then all at once.
#[derive(Parser)]
struct Args {
    /// http://HOST[:PORT]/PATH; without any, three pages of a site inside this program
    urls: Vec<String>,
}

/// What the site has: path, bytes, and how long it takes to think.
const PAGES: [(&str, usize, u64); 3] = [
    ("/python", 48_844, 300),
    ("/yahoo", 529_760, 400),
    ("/github", 52_239, 200),
];

fn main() -> anyhow::Result<ExitCode> {
    let mut urls = Args::parse().urls;
    if urls.is_empty() {
        let site = TcpListener::bind("127.0.0.1:0")?;
        let address = site.local_addr()?;
        urls.extend(PAGES.map(|(path, ..)| format!("http://{address}{path}")));
        spawn(move || serve(&site));
    }

    let begin = Instant::now();
    let mut all_well = true;
    for url in &urls {
        all_well &= crawl(url);
    }
    println!("serial cost {:.3} s", begin.elapsed().as_secs_f64());

    let begin = Instant::now();
    let crawls: Vec<_> = urls
        .into_iter()
        .map(|url| spawn(move || crawl(&url)))
        .collect();
    for result in joinall(crawls) {
        all_well &= result.expect("a crawl returns its errors");
    }
    println!("parallel cost {:.3} s", begin.elapsed().as_secs_f64());
    Ok(match all_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Fetches a page and says how that went; `false` if it did not come.
fn crawl(url: &str) -> bool {
    println!("GET: {url}");
    let got = get(url);
    match &got {
        Ok(data) => println!("{} bytes received from {url}.", data.len()),
        Err(error) => eprintln!("{url}: {error}"),
    }
    got.is_ok()
}

/// The body of a page.
fn get(url: &str) -> io::Result<Vec<u8>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| invalid("only http:// is known here"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = match host.contains(':') {
        true => TcpStream::connect(host)?,
        false => TcpStream::connect((host, 80))?,
    };
    // HTTP/1.0: the answer ends when the connection does.
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let blank = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = blank.ok_or_else(|| invalid("that was no HTTP"))?;
    let body = answer.split_off(head + 4);
    let status = String::from_utf8_lossy(&answer);
    match status.lines().next().and_then(|line| line.split_once(' ')) {
        Some((_, status)) if status.starts_with('2') => Ok(body),
        Some((_, status)) => Err(io::Error::other(format!("the answer is {status}"))),
        None => Err(invalid("that was no HTTP")),
    }
}

/// The site: one greenlet for each visitor.
fn serve(site: &TcpListener) -> io::Result<()> {
    loop {
        let (visitor, _) = site.accept()?;
        spawn(move || answer(&visitor));
    }
}

fn answer(mut visitor: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(visitor).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // Up to the blank line, or what was not read would reset the connection.
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let Some((_, bytes, thinks)) = PAGES.iter().find(|(known, ..)| *known == path) else {
        return visitor.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n");
    };
    sleep(Duration::from_millis(*thinks));
    visitor.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
    visitor.write_all(&vec![b'x'; *bytes])
}
