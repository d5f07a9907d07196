//! Thousands of connections of plain `std::net` that wait in a patched program, at no cost.
mod monkey_support;

use monkey_support::bounded;
use monkey_support::ms;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// As many as are asked for, or as the limit of descriptors allows. Their other ends are held by
/// a process of its own.
const CONNECTIONS: usize = 10_000;
/// Tells that process where to connect to, and how often.
const GUESTS: &str = "GREENROOM_IDLE_GUESTS";

#[test]
fn thousands_of_idle_connections_use_no_processor() {
    let _bound = bounded();
    if let Ok(guests) = std::env::var(GUESTS) {
        return be_the_guests(&guests);
    }
    greenroom::monkey::patch_all().unwrap();
    let connections = CONNECTIONS.min(raise_descriptor_limit() - 100);
    assert!(connections >= 400, "{connections} connections tell little");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut guests = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "thousands_of_idle_connections_use_no_processor"])
        .env(GUESTS, format!("{address} {connections}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let waiting: Vec<_> = (0..connections)
        .map(|_| {
            let (mut far, _) = listener.accept().unwrap();
            far.write_all(b"!").unwrap();
            greenroom::spawn(move || far.read(&mut [0; 16]).unwrap())
        })
        .collect();
    // What waits for long is looked at once, after 100 ms.
    greenroom::sleep(ms(1500));
    let before = processor_time();
    greenroom::sleep(ms(2000));
    let used = processor_time() - before;
    guests.stdin.take().unwrap().write_all(b"go").unwrap();
    assert!(used < ms(40), "{connections} of them: {used:?} in 2 s");
    for read in greenroom::joinall(waiting) {
        assert_eq!(read.unwrap(), 0);
    }
    assert!(guests.wait().unwrap().success());
    println!("{connections} idle connections: {used:?} of the processor in 2 s");
}

/// Connects, and stays until it is told to go, or who is to tell it has gone.
fn be_the_guests(what: &str) {
    raise_descriptor_limit();
    let (address, count) = what.split_once(' ').unwrap();
    let count: usize = count.parse().unwrap();
    let held: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // Not faster than they are accepted: who finds the backlog full waits for a second.
            assert_eq!(stream.read(&mut [0]).unwrap(), 1);
            stream
        })
        .collect();
    let _ = std::io::stdin().read(&mut [0; 2]);
    drop(held);
}

/// Raises the limit as far as it may be raised, and says how far that is.
fn raise_descriptor_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: one rlimit is read and written.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    usize::try_from(limit.rlim_max)
        .unwrap_or(usize::MAX)
        .min(1 << 20)
}

/// What this process has used so far, in all its threads.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one timespec is written.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
