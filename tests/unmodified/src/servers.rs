//! Servers on OS threads of their own, which take their time.

use greenroom::net::{TcpListener, TcpStream};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A server on an OS thread of its own: `serve` is called for each connection, in a greenlet.
pub fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        sender.send(listener.local_addr().unwrap()).unwrap();
        loop {
            let (peer, _) = listener.accept().expect("connections come");
            let serve = serve.clone();
            drop(greenroom::spawn(move || serve(peer)));
        }
    });
    receiver.recv().expect("the server has a port")
}

/// Answers each request on a connection with its path, after `delay`.
pub fn answer(mut peer: impl Read + Write, delay: Duration) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = peer.read(&mut byte) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).unwrap_or("?");
        greenroom::sleep(delay);
        let length = path.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
        if peer.write_all(answer.as_bytes()).is_err() {
            return;
        }
        head.clear();
    }
}

/// An HTTP server that takes `delay` for each answer.
pub fn http_server(delay: Duration) -> SocketAddr {
    server(move |peer| answer(Buffered::new(peer), delay))
}

/// Reads in larger pieces than it is asked for, writes at once.
pub struct Buffered {
    peer: TcpStream,
    buffer: Box<[u8]>,
    unread: std::ops::Range<usize>,
}

impl Buffered {
    pub fn new(peer: TcpStream) -> Buffered {
        Buffered {
            peer,
            buffer: vec![0; 4096].into(),
            unread: 0..0,
        }
    }
}

impl Read for Buffered {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.unread.is_empty() {
            self.unread = 0..self.peer.read(&mut self.buffer)?;
        }
        let length = into.len().min(self.unread.len());
        into[..length].copy_from_slice(&self.buffer[self.unread.start..][..length]);
        self.unread.start += length;
        Ok(length)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.peer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends back what comes, after `delay` each time.
pub fn echo_server(delay: Duration) -> SocketAddr {
    server(move |mut peer| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = peer.read(&mut buffer) {
            greenroom::sleep(delay);
            if peer.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    })
}

/// Takes whoever comes, and says nothing for `delay`.
pub fn silent_server(delay: Duration) -> SocketAddr {
    server(move |_peer| greenroom::sleep(delay))
}

/// Reads something, and closes, as whoever has not liked what he read.
pub fn closing_server() -> SocketAddr {
    server(|mut peer| {
        let _ = peer.read(&mut [0; 4096]);
        greenroom::sleep(Duration::from_millis(50));
    })
}

/// Closes as soon as something has come, which it leaves unread: that resets the connection.
pub fn resetting_server() -> SocketAddr {
    server(|peer| drop(peer.peek(&mut [0])))
}

/// Where nobody listens. A port of the kind that is given out could be somebody's by now.
pub const NOBODY: &str = "127.0.0.1:1";
