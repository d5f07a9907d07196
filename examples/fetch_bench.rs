//! What the fetcher costs: `fetch_bench URL N CONCURRENCY`.
//!
//! Fetches the same URL N times, over the transport of the `fetch` example, and prints one
//! line of JSON: `secs` on the clock, how many were `ok`, `cpu_s` of this process, and
//! `hwm_kb`, the most memory it ever had. The body has to be `Hello, World!`.

#[path = "fetch/buffers.rs"]
mod buffers;
#[path = "fetch/client.rs"]
#[allow(dead_code, reason = "no PEM file here")]
mod client;
#[path = "fetch/failure.rs"]
#[allow(dead_code, reason = "most reasons come from the rest of the example")]
mod failure;
#[path = "fetch/resolver.rs"]
mod resolver;
#[path = "fetch/transport.rs"]
mod transport;

use greenroom as green;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use ureq::tls::RootCerts;
use url::Url;

use client::{Client, Limits};

const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(30),
    body_max: 64 << 20,
    redirects_max: 0,
};

/// Fetches one URL many times and prints one line of JSON: what that took.
#[derive(Parser)]
struct Args {
    /// What to fetch; its body has to be `Hello, World!`
    url: Url,
    /// How many times
    count: usize,
    /// How many of them at once
    concurrency: usize,
}

fn main() {
    let Args {
        url,
        count,
        concurrency,
    } = Args::parse();
    let start = Instant::now();
    let client = Client::new(LIMITS, RootCerts::WebPki);
    let shared = Arc::new((client, url, AtomicUsize::new(0)));
    let greenlets = (0..concurrency).map(|_| {
        let shared = Arc::clone(&shared);
        green::spawn(move || {
            let (client, url, next) = &*shared;
            let mut ok = 0;
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let mut body = Vec::new();
                let got = client.get(url, &mut body);
                ok += usize::from(got.is_ok() && body == b"Hello, World!");
            }
            ok
        })
    });
    let ok: usize = green::joinall(greenlets)
        .into_iter()
        .map(|done| done.unwrap_or(0))
        .sum();

    let secs = start.elapsed().as_secs_f64();
    let (cpu_s, hwm_kb) = (cpu_seconds(), peak_kilobytes());
    println!(
        "{}",
        serde_json::json!({ "secs": secs, "ok": ok, "cpu_s": cpu_s, "hwm_kb": hwm_kb })
    );
}

/// What this process has used so far, in all its threads.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one `timespec`, and `time` is one.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `VmHWM` of this process.
fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
