//! What the tests share: one OS thread, many greenlets on it, and servers that take their time.

use greenroom::net::{TcpListener, TcpStream};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How many at once.
pub const MANY: usize = 1000;

/// Runs `test` on an OS thread of its own, with everything patched.
pub fn on_one_os_thread(test: impl FnOnce() + Send + 'static) {
    // The caller has no hub, so this is a real thread.
    let real = thread::spawn(|| {
        greenroom::monkey::patch_all().expect("this machine can be patched");
        let before = os_thread();
        test();
        assert_eq!(os_thread(), before);
    });
    if let Err(panic) = real.join() {
        std::panic::resume_unwind(panic);
    }
}

fn os_thread() -> i64 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Runs `work` in `count` greenlets at once: what they returned, and the time it took.
pub fn many<T, F>(count: usize, work: F) -> (Vec<T>, Duration)
where
    T: Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    let begin = Instant::now();
    let greenlets: Vec<_> = (0..count)
        .map(|n| {
            let work = work.clone();
            greenroom::spawn(move || {
                let here = os_thread();
                let result = work(n);
                assert_eq!(os_thread(), here);
                result
            })
        })
        .collect();
    let results = greenroom::joinall(greenlets);
    let results = results.into_iter().map(|one| one.expect("none fails"));
    (results.collect(), begin.elapsed())
}

/// The promise: a thousand take no longer than three times one.
pub fn assert_side_by_side(what: &str, single: Duration, all: Duration) {
    eprintln!("{what}: one {single:?}, {MANY} at once {all:?}");
    assert!(all < single * 3, "{what}: one {single:?}, {MANY} {all:?}");
}

/// How long one call takes.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = call();
    (result, begin.elapsed())
}

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
    buffer: Vec<u8>,
    at: usize,
}

impl Buffered {
    pub fn new(peer: TcpStream) -> Buffered {
        Buffered {
            peer,
            buffer: Vec::new(),
            at: 0,
        }
    }
}

impl Read for Buffered {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.buffer.len() {
            self.buffer.resize(4096, 0);
            let length = self.peer.read(&mut self.buffer)?;
            self.buffer.truncate(length);
            self.at = 0;
        }
        let length = into.len().min(self.buffer.len() - self.at);
        into[..length].copy_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
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
