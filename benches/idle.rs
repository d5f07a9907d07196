//! Claim: 100,000 greenlets that wait use no CPU while they do.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::net::UdpSocket;

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let number = bench.size(100_000, 1000);
    let watch = bench.size(Duration::from_secs(2), Duration::from_millis(50));
    // Half of the descriptors that this process may have; all others sleep.
    let readers = (descriptors_max() / 2).min(number / 2);
    for _ in 0..readers {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("as many ports as descriptors");
        greenroom::spawn(move || socket.recv(&mut [0; 16]));
    }
    for _ in readers..number {
        greenroom::spawn(|| greenroom::sleep(HOUR));
    }
    greenroom::yield_now();
    let stats = greenroom::hub::stats();
    assert_eq!(
        (stats.waiting, stats.timers),
        (readers, number - readers),
        "all are parked"
    );

    let used = cpu(|| greenroom::sleep(watch));
    let polls = greenroom::hub::stats().polls - stats.polls;
    println!(
        "{readers} in recv, {} asleep; {polls} polls in {watch:?}",
        number - readers
    );
    let (used, watched) = (used.as_nanos() as f64, watch.as_nanos() as f64);
    // A thousandth of one CPU.
    let claim = Claim::new("CPU while 100,000 wait : time", 0.001, 0.0001);
    bench.row(claim, used, watched, used / watched);
    // The greenlets end with the process.
    bench.finish()
}

fn descriptors_max() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for the calls to fill and to read.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}
