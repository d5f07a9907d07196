//! Thousands of connections of plain `std::net` that wait in a patched program, at no cost.
mod monkey_support;

use monkey_support::ms;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// As many as are asked for, or as the limit of descriptors allows: each connection takes two.
const CONNECTIONS: usize = 9_900;

#[test]
fn thousands_of_idle_connections_use_no_processor() {
    greenroom::monkey::patch_all().unwrap();
    let connections = CONNECTIONS.min((raise_descriptor_limit() - 100) / 2);
    assert!(connections >= 400, "{connections} connections tell little");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut near = Vec::new();
    let waiting: Vec<_> = (0..connections)
        .map(|_| {
            near.push(TcpStream::connect(address).unwrap());
            let (mut far, _) = listener.accept().unwrap();
            greenroom::spawn(move || far.read(&mut [0; 16]).unwrap())
        })
        .collect();
    // What waits for long is looked at once, after 100 ms.
    greenroom::sleep(ms(1500));
    let before = processor_time();
    greenroom::sleep(ms(2000));
    let used = processor_time() - before;
    assert!(used < ms(40), "{connections} of them: {used:?} in 2 s");
    drop(near);
    for read in greenroom::joinall(waiting) {
        assert_eq!(read.unwrap(), 0);
    }
    println!("{connections} idle connections: {used:?} of the processor in 2 s");
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
