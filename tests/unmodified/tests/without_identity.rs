//! Patched, but for what lets greenlets own their thread-locals: as on machines where they can't.
//! Nothing in this program has identity, so that what `spawn` makes shares them too.

use greenroom::monkey::{Part, patch};
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_millis(500);
const HUNDRED: usize = 100;

const PARTS: &[Part] = &[
    Part::Socket,
    Part::File,
    Part::Poll,
    Part::Time,
    Part::Dns,
    Part::Futex,
    Part::Process,
];

/// The promise, for a hundred.
fn assert_side_by_side<T, F>(what: &'static str, work: F, result: fn(usize) -> T)
where
    T: PartialEq + Debug + Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    on_one_os_thread_with(
        || patch(PARTS),
        move || {
            thread_local!(static SHARED: Cell<usize> = const { Cell::new(0) });
            let count = |_| SHARED.set(SHARED.get() + 1);
            many(2, count);
            assert_eq!(SHARED.get(), 2, "all share what the OS thread has");
            let proof = Proof::of(what).modes(&[Mode::Spawn]).count(HUNDRED);
            proof.run(work, result);
        },
    );
}

fn path(n: usize) -> String {
    format!("/{n}")
}

#[test]
fn std_net() {
    let server = echo_server(DELAY);
    let echo = move |n: usize| {
        let mut stream = TcpStream::connect(("localhost", server.port())).unwrap();
        stream.write_all(&n.to_be_bytes()).unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        usize::from_be_bytes(back)
    };
    assert_side_by_side("std::net", echo, |n| n);
}

#[test]
fn ureq() {
    let server = http_server(DELAY);
    let get = move |n| {
        let mut response = ureq::get(format!("http://{server}/{n}")).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    };
    assert_side_by_side("ureq", get, path);
}

#[test]
fn children() {
    let run = |n: usize| {
        let script = format!("sleep 1; echo {n}");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_side_by_side("std::process::Command", run, |n| format!("{n}\n"));
}

#[test]
fn redis() {
    let Ok(url) = std::env::var("REDIS_URL") else {
        return eprintln!("SKIPPED: REDIS_URL names no server");
    };
    let wait = move |n| {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let list = format!("greenroom:{}:without", std::process::id());
        let popped = redis::Commands::blpop(&mut connection, list, DELAY.as_secs_f64());
        let popped: Option<(String, String)> = popped.unwrap();
        (n, popped)
    };
    assert_side_by_side("redis", wait, |n| (n, None));
}

#[cfg(feature = "curl")]
#[test]
fn libcurl() {
    let server = http_server(DELAY);
    let status = move |n| {
        let mut easy = curl::easy::Easy::new();
        easy.url(&format!("http://{server}/{n}")).unwrap();
        let mut length = 0;
        let mut transfer = easy.transfer();
        let take = |data: &[u8]| {
            length += data.len();
            Ok(data.len())
        };
        transfer.write_function(take).unwrap();
        transfer.perform().unwrap();
        drop(transfer);
        length
    };
    assert_side_by_side("libcurl", status, |n| path(n).len());
}

#[cfg(feature = "libpq")]
#[test]
fn libpq() {
    let Ok(url) = std::env::var("POSTGRES_URL") else {
        return eprintln!("SKIPPED: POSTGRES_URL names no server");
    };
    let url = std::ffi::CString::new(url).unwrap();
    let query = move |n: usize| {
        let text = std::ffi::CString::new(format!("select {n}, pg_sleep(1)")).unwrap();
        // SAFETY: C strings that outlive the calls; each handle is used until it is freed.
        unsafe {
            let connection = pq_sys::PQconnectdb(url.as_ptr());
            let result = pq_sys::PQexec(connection, text.as_ptr());
            assert_eq!(pq_sys::PQntuples(result), 1);
            let value = std::ffi::CStr::from_ptr(pq_sys::PQgetvalue(result, 0, 0));
            let number = value.to_str().unwrap().parse().unwrap();
            pq_sys::PQclear(result);
            pq_sys::PQfinish(connection);
            number
        }
    };
    assert_side_by_side("libpq", query, |n| n);
}
