//! Crates that bring threads of their own: pools, servers, executors, children.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_millis(300);

/// Runs `work` once, and then so many times at once: the same results, in no longer than three
/// times the time of one.
fn assert_at_once<T, F>(what: &str, count: usize, work: F, result: fn(usize) -> T)
where
    T: PartialEq + std::fmt::Debug + Send + 'static,
    F: Fn(usize) -> T + Clone + Send + 'static,
{
    let (first, single) = many(1, work.clone());
    assert_eq!(first[0], result(0), "{what}");
    let (all, took) = many(count, work);
    let expected: Vec<_> = (0..count).map(result).collect();
    assert_eq!(all, expected, "{what}");
    eprintln!("{what}: one {single:?}, {count} at once {took:?}");
    assert!(
        took < single * 3,
        "{what}: one {single:?}, {count} {took:?}"
    );
}

fn path(n: usize) -> String {
    format!("/{n}")
}

/// The body of what is answered to a request for `/n`.
fn get(address: SocketAddr, n: usize) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{n} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    body.to_owned()
}

#[test]
fn rayon_computes_with_workers_that_wait() {
    on_one_os_thread(|| {
        use rayon::prelude::*;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(100).build();
        let pool = Arc::new(pool.unwrap());
        let work = move |n: usize| {
            let doubled: Vec<_> = (0..10).into_par_iter().map(|m| 2 * m).collect();
            let nap = pool.install(|| {
                thread::sleep(DELAY);
                rayon::join(|| n, || 1)
            });
            doubled.iter().sum::<usize>() + nap.0 + nap.1
        };
        assert_at_once("rayon", 100, work, |n| 91 + n);
    });
}

#[test]
fn flume_passes_on_what_threads_send() {
    on_one_os_thread(|| {
        for bound in [Some(0), Some(1), None] {
            let (sender, receiver) = bound.map_or_else(flume::unbounded, flume::bounded);
            let sum = Arc::new(AtomicUsize::new(0));
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let (receiver, sum) = (receiver.clone(), Arc::clone(&sum));
                    thread::spawn(move || {
                        receiver.iter().for_each(|n: usize| {
                            sum.fetch_add(n, Ordering::Relaxed);
                        });
                    })
                })
                .collect();
            many(100, move |n| sender.send(n).unwrap());
            receivers.into_iter().for_each(|one| one.join().unwrap());
            assert_eq!(sum.load(Ordering::Relaxed), 4950, "{bound:?}");
        }
    });
}

#[test]
fn tiny_http_serves_a_hundred_guests_at_once() {
    on_one_os_thread(|| {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let address = server.server_addr().to_ip().unwrap();
        for _ in 0..100 {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    thread::sleep(DELAY);
                    let answer = tiny_http::Response::from_string(request.url());
                    request.respond(answer).unwrap();
                }
            });
        }
        assert_at_once("tiny_http", 100, move |n| get(address, n), path);
    });
}

#[test]
fn smol_blocks_in_each_greenlet_on_one_reactor() {
    on_one_os_thread(|| {
        let address = http_server(DELAY);
        let work = move |n| {
            smol::block_on(async move {
                use smol::io::{AsyncReadExt, AsyncWriteExt};
                let request = format!("GET /{n} HTTP/1.1\r\n\r\n");
                let mut stream = smol::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = vec![0; 200];
                let length = stream.read(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                smol::Timer::after(DELAY).await;
                answer.split_once("\r\n\r\n").unwrap().1.to_owned()
            })
        };
        assert_at_once("smol", 100, work, path);
    });
}

#[test]
fn duct_forks_from_greenlets() {
    on_one_os_thread(|| {
        let work = |n| {
            let echo = duct::cmd!("sh", "-c", format!("sleep 0.6; echo {n}"));
            echo.pipe(duct::cmd!("cat")).read().unwrap()
        };
        assert_at_once("duct", 20, work, |n| n.to_string());
    });
}
