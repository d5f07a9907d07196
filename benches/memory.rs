//! Claim: a parked greenlet that has really done something costs one page and its share of the
//! page tables, and a hundred thousand of them a handful of maps.

mod common;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim};

const PAGE: f64 = 4096.0;
const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let number = bench.size(100_000, 1000);
    let stdout = mute_stdout().expect("/dev/null is there");
    let spawn_parked = || greenroom::Builder::new().spawn(work_and_park);
    // What is made once and for all (the hub, buffers of stdout) is not counted.
    spawn_parked().expect("a stack");
    greenroom::yield_now();

    let (bytes, maps) = (used_bytes(), common::maps());
    for _ in 0..number {
        spawn_parked().expect("stacks for all");
    }
    greenroom::yield_now();
    assert_eq!(greenroom::hub::stats().timers, number + 1, "all are parked");
    let each = (used_bytes() - bytes) as f64 / number as f64;
    let more = common::maps().saturating_sub(maps) as f64;

    restore_stdout(stdout).expect("stdout comes back");
    let claim = Claim::new("bytes per parked greenlet : page", 1.25, 1.20);
    bench.row(claim, each, PAGE, each / PAGE);
    let claim = Claim::demand("more lines in /proc/self/maps : 64", 1.0);
    bench.row(claim, more, 64.0, more / 64.0);
    // The greenlets end with the process.
    bench.finish()
}

fn work_and_park() {
    let mut buffer = [0; 1024];
    let zeros = File::open("/dev/zero").and_then(|mut zero| zero.read(&mut buffer));
    println!(
        "{} zeros, the last is {}",
        zeros.expect("no end of zeros"),
        buffer[1023]
    );
    greenroom::sleep(HOUR);
}

fn used_bytes() -> u64 {
    common::status_bytes("VmRSS:") + common::status_bytes("VmPTE:")
}

/// Sends stdout to /dev/null; returns where it went before.
fn mute_stdout() -> io::Result<OwnedFd> {
    let null = File::options().write(true).open("/dev/null")?;
    // SAFETY: dup(2) takes no pointers; the new descriptor is owned by what is returned alone.
    let before = unsafe { OwnedFd::from_raw_fd(libc::dup(1)) };
    restore_stdout(null.into())?;
    Ok(before)
}

fn restore_stdout(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers, and descriptor 1 belongs to stdout before and after.
    match unsafe { libc::dup2(fd.as_raw_fd(), 1) } {
        1 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
