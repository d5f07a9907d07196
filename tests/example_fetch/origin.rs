//! Origin servers on plain sockets and OS threads, good ones and bad ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Accepts for as long as the test runs, one thread for each visitor; gives the port.
pub(crate) fn accept(visit: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind to loopback");
    let port = listener.local_addr().expect("a bound address").port();
    let visit = Arc::new(visit);
    thread::spawn(move || {
        for visitor in listener.incoming().flatten() {
            let visit = Arc::clone(&visit);
            thread::spawn(move || visit(visitor));
        }
    });
    port
}

/// Serves HTTP: `answer` gets the path and writes the whole response; gives the base URL.
pub(crate) fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let port = accept(move |mut visitor| {
        let path = read_head(&mut visitor);
        answer(&path, &mut visitor);
    });
    format!("http://127.0.0.1:{port}")
}

/// Serves the path itself as the body of every page.
pub(crate) fn serve_paths() -> String {
    serve(|path, visitor| respond(visitor, "200 OK", "", path.as_bytes()))
}

/// Reads up to the blank line, and no further; gives the path.
pub(crate) fn read_head(visitor: &mut impl Read) -> String {
    let mut lines = BufReader::with_capacity(1, visitor).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines
        .next()
        .and_then(Result::ok)
        .is_some_and(|line| !line.is_empty())
    {}
    first.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Writes a whole response; `headers` are full lines. A visitor who left is no error.
pub(crate) fn respond(visitor: &mut impl Write, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
    let _ = visitor
        .write_all(head.as_bytes())
        .and_then(|()| visitor.write_all(body));
}

/// Writes a redirect.
pub(crate) fn redirect(visitor: &mut impl Write, to: &str) {
    respond(visitor, "302 Found", &format!("Location: {to}\r\n"), b"");
}

/// Writes until the visitor has had enough.
pub(crate) fn write_for_ever(visitor: &mut impl Write, chunk: &[u8]) {
    while visitor.write_all(chunk).is_ok() {}
}

/// Where nobody listens: an address of loopback that is nobody's.
pub(crate) const REFUSING: &str = "127.9.9.9:1";
