//! A listener in a process without descriptors. Alone in its process, whose limit it lowers.
mod net_support;

use greenroom::net;
use greenroom::thread;

use net::{TcpListener, TcpStream};
use net_support::bounded;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const EMFILE: Option<i32> = Some(24);

/// Counts the warnings that a row of failures begins.
struct Rows(AtomicUsize);

static ROWS: Rows = Rows(AtomicUsize::new(0));

impl log::Log for Rows {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record
            .args()
            .to_string()
            .contains("pausing before each retry")
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

fn limit_to(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0);
}

#[test]
fn a_loop_over_failing_accepts_does_not_spin_and_recovers() {
    let _bound = bounded();
    log::set_logger(&ROWS).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let spare = File::open("/dev/null").unwrap();
    // Whoever needs descriptors to wait takes them now.
    thread::spawn(|| ()).join().unwrap();
    limit_to(spare.as_raw_fd() as u64 + 1);
    let fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();

    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(400));
        drop((spare, fillers));
    });
    let begin = Instant::now();
    let mut failures = 0;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert_eq!(error.raw_os_error(), EMFILE),
        }
        failures += 1;
        assert!(
            failures < 20,
            "{failures} failures in {:?}",
            begin.elapsed()
        );
    };
    // 10 + 20 + 40 + 80 + 160 + 320 ms reach beyond the 400.
    assert!((3..=7).contains(&failures), "{failures} failures");
    assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
    holder.join().unwrap();

    let fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let _second = stream;
    assert_eq!(ROWS.0.load(Ordering::Relaxed), 1);
    assert!(listener.accept().is_err());
    // After a success the pauses begin anew, and so does the row that is logged.
    assert_eq!(ROWS.0.load(Ordering::Relaxed), 2);
    listener.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    assert!(listener.accept().is_err());
    assert!(
        begin.elapsed() < Duration::from_millis(10),
        "no pause in nonblocking mode"
    );
    drop(fillers);
}
