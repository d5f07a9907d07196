//! Stopping greenlets from outside: kill, timeout, shield, and destructors that take their time.
//!
//! ```text
//! cargo run --example cancel
//! ```
//!
//! A greenlet is stopped where it waits: its stack unwinds as in a panic, only quietly. So what
//! it owns is dropped, and code that never heard of cancellation is still left tidy.

use std::time::Duration;

use clap::Parser;
use greenroom::{shield, sleep, spawn, with_timeout, yield_now};

const MOMENT: Duration = Duration::from_millis(20);
const FOREVER: Duration = Duration::from_secs(3600);

/// Says goodbye over a slow line: dropping it parks.
struct Session(&'static str);

impl Drop for Session {
    fn drop(&mut self) {
        sleep(MOMENT);
        println!("  session of {} closed", self.0);
    }
}

/// Stopping greenlets from outside.
#[derive(Parser)]
struct Args {}

fn main() {
    Args::parse();
    println!("kill:");
    let worker = spawn(|| {
        let _session = Session("the worker");
        sleep(FOREVER);
        unreachable!("a killed greenlet goes no further");
    });
    yield_now();
    worker.kill();
    // A kill only asks; the destructor above runs before the greenlet has ended.
    let error = worker.join().unwrap_err();
    println!(
        "  the worker {}",
        if error.is_killed() {
            "was killed"
        } else {
            "failed"
        }
    );

    println!("timeout:");
    let late = with_timeout(MOMENT, || {
        let _session = Session("the timeout");
        sleep(FOREVER);
    });
    println!("  {}", late.unwrap_err());
    let in_time = with_timeout(FOREVER, || {
        sleep(MOMENT);
        42
    });
    println!("  in time: {}", in_time.unwrap());

    println!("nested timeouts:");
    let outer = with_timeout(MOMENT, || {
        // Not our time is up but that of our caller: this one passes through.
        let inner = with_timeout(FOREVER, || sleep(FOREVER));
        println!("  never printed: {inner:?}");
    });
    println!("  the outer one: {}", outer.unwrap_err());

    println!("shield:");
    let payment = spawn(|| {
        shield(|| {
            println!("  taking the money");
            sleep(MOMENT);
            println!("  handing out the goods");
        });
        // The kill that came meanwhile is delivered here.
        sleep(FOREVER);
    });
    yield_now();
    payment.kill();
    let killed = payment.join().unwrap_err().is_killed();
    println!("  then killed: {killed}");

    println!("before the start:");
    let unborn = spawn(|| unreachable!("it never runs"));
    unborn.kill();
    println!("  {}", unborn.join().unwrap_err());
}
