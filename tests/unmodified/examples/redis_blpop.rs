//! A hundred greenlets wait in BLPOP on one OS thread, and the crate redis knows nothing of it.
//!
//! ```text
//! redis-server --save '' &
//! cd tests/unmodified && cargo run --example redis_blpop
//! REDIS_URL=redis://10.0.0.7:6379 cargo run --example redis_blpop
//! ```
//!
//! BLPOP waits, on the server's side, until somebody pushes something to a list. The crate sends
//! it and reads the answer from a std socket, which blocks the OS thread: the second of a hundred
//! would be sent when the first was answered. After `patch_all` that read parks its greenlet, so
//! all hundred wait at once, and whoever pushes has its turn too.

use greenroom::{joinall, monkey, spawn};
use redis::{Client, Commands, Connection, InfoDict, RedisError, RedisResult};
use std::io;
use std::time::{Duration, Instant};

const WAITERS: usize = 100;
/// After so many seconds a waiter gives up.
const PATIENCE_S: f64 = 20.0;

fn main() {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    if let Err(error) = run(&url) {
        eprintln!("error: the Redis server at {url}: {error}");
        eprintln!("Start one by `redis-server --save ''`, or say in REDIS_URL where one is.");
        std::process::exit(1);
    }
}

fn run(url: &str) -> RedisResult<()> {
    monkey::patch_all()?;
    let client = Client::open(url)?;
    let mut pusher = client.get_connection()?;
    // A list of this run's own; it is gone when all is popped.
    let list = format!("greenroom:redis_blpop:{}", std::process::id());

    let begin = Instant::now();
    let wait = || {
        let (client, list) = (client.clone(), list.clone());
        spawn(move || pop(&client, &list))
    };
    let waiters: Vec<_> = (0..WAITERS).map(|_| wait()).collect();
    await_blocked(&mut pusher, WAITERS)?;
    println!("greenlets in BLPOP  {WAITERS}, in {:.2?}", begin.elapsed());
    println!("OS threads          {}", os_threads()?);

    let begin = Instant::now();
    for number in 0..WAITERS {
        let _: usize = pusher.rpush(&list, number)?;
    }
    let popped = joinall(waiters).into_iter();
    let popped = popped.map(|number| number.expect("it does not panic"));
    let mut popped: Vec<usize> = popped.collect::<RedisResult<_>>()?;
    popped.sort_unstable();
    assert!(popped.into_iter().eq(0..WAITERS), "each has one number");
    println!("pushed and popped   {WAITERS}, in {:.2?}", begin.elapsed());
    Ok(())
}

/// Plain redis, as one writes it for a thread.
fn pop(client: &Client, list: &str) -> RedisResult<usize> {
    let mut connection = client.get_connection()?;
    let popped: Option<(String, usize)> = connection.blpop(list, PATIENCE_S)?;
    let (_, number) = popped.ok_or_else(|| RedisError::from(io::Error::other("no push came")))?;
    Ok(number)
}

/// Waits until the server says that so many clients wait, for 10 s at most.
fn await_blocked(pusher: &mut Connection, count: usize) -> RedisResult<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        let info: InfoDict = redis::cmd("INFO").arg("clients").query(pusher)?;
        if info.get::<usize>("blocked_clients") >= Some(count) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::other(format!("{count} don't wait after 10 s")).into())
}

fn os_threads() -> io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    Ok(line.unwrap_or("?").trim().into())
}
