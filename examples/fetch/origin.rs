//! A web site on loopback, served by greenlets: slow pages, and three that misbehave.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::green;
use crate::green::net::{TcpListener, TcpStream};

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many bytes.
    Good { bytes: usize },
    /// Status 404.
    Missing,
    /// The connection is reset.
    Resets,
    /// Nothing ever comes.
    Silent,
}

/// A page and how long it lets one wait.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) delay: Duration,
}

/// The same pages at every run: `count` of them, 1 B to 2 MB, 20 to 300 ms.
pub(crate) fn pages(count: usize) -> Vec<Page> {
    let mut seed: u64 = 2015;
    let mut random = |below: u64| {
        seed ^= seed << 13; // xorshift
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut pages: Vec<Page> = (1..=count)
        .map(|n| {
            // One in four may be really slow.
            let slower = if n % 4 == 0 { 281 } else { 181 };
            let delay = Duration::from_millis(20 + random(slower));
            let bytes = match n {
                1 => 1,
                2 => 2_000_000,
                // As many small pages as large ones, in powers of two.
                _ => (1 << random(19)) + random(1000) as usize,
            };
            Page {
                path: format!("/page/{n}"),
                kind: Kind::Good { bytes },
                delay,
            }
        })
        .collect();
    for (at, path, kind) in [
        (count / 4, "/missing", Kind::Missing),
        (count / 2, "/resets", Kind::Resets),
        (count * 3 / 4, "/silent", Kind::Silent),
    ] {
        let delay = Duration::from_millis(50);
        pages.insert(
            at,
            Page {
                path: path.into(),
                kind,
                delay,
            },
        );
    }
    pages
}

/// Serves the pages from now on, and tells where.
pub(crate) fn serve(pages: Vec<Page>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let pages: Arc<[Page]> = pages.into();
    green::spawn(move || {
        loop {
            match listener.accept() {
                Ok((visitor, _)) => {
                    let pages = Arc::clone(&pages);
                    green::spawn(move || answer(visitor, &pages));
                }
                // Out of files, most likely: others have to finish first.
                Err(_) => green::sleep(Duration::from_millis(10)),
            }
        }
    });
    Ok(addr)
}

/// One connection, one request. The visitor may leave at any time: not our concern.
fn answer(visitor: TcpStream, pages: &[Page]) -> io::Result<()> {
    // A look is enough to know the page. What is not read yet makes the difference below.
    let mut head = [0; 256];
    let seen = visitor.peek(&mut head)?;
    let head = String::from_utf8_lossy(&head[..seen]);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = pages.iter().find(|page| page.path == path);

    if let Some(page) = page {
        green::sleep(page.delay);
    }
    match page.map(|page| page.kind) {
        // To close a socket with bytes unread is to reset the connection.
        Some(Kind::Resets) => Ok(()),
        Some(Kind::Silent) => {
            read_head(&visitor)?;
            (&visitor).read(&mut [0]).map(|_| ()) // until the visitor gives up
        }
        Some(Kind::Good { bytes }) => respond(&visitor, "200 OK", &body(bytes)),
        Some(Kind::Missing) | None => respond(&visitor, "404 Not Found", b"no such page"),
    }
}

fn respond(mut visitor: &TcpStream, status: &str, body: &[u8]) -> io::Result<()> {
    read_head(visitor)?;
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    visitor.write_all(head.as_bytes())?;
    visitor.write_all(body)
}

/// Reads up to the blank line.
fn read_head(visitor: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(visitor.take(64 << 10)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    Ok(())
}

fn body(bytes: usize) -> Vec<u8> {
    b"greenroom ".iter().copied().cycle().take(bytes).collect()
}
