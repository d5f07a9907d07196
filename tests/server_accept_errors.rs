//! Errors that accept(2) passes on from a connection do not end a server.
//!
//! This program's own `syscall` stands before libc's, so that accept4 fails as a test wants it to.
//! The patch has one as well, so this is for builds without it.
#![cfg(all(not(feature = "monkey"), target_env = "gnu"))]

mod hazard_support;

use std::ffi::{c_int, c_long};
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom::net::TcpStream;
use greenroom::server::StreamServer;
use greenroom::{sleep, with_timeout};
use hazard_support::{bounded, ms};

/// What the next accepts are to fail with.
static ERRORS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());
static FAILED: AtomicUsize = AtomicUsize::new(0);
/// Each test has the errors to itself.
static TURN: Mutex<()> = Mutex::new(());

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

type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// # Safety
/// As syscall(2).
// SAFETY: the name is libc's, and variadic there: arguments are passed in the same registers.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if number == libc::SYS_accept4
        && let Ok(mut errors) = ERRORS.try_lock()
        && let Some(error) = errors.pop()
    {
        FAILED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: libc returns the address of this thread's errno.
        unsafe { *libc::__errno_location() = error };
        return -1;
    }
    static REAL: AtomicUsize = AtomicUsize::new(0);
    let mut real = REAL.load(Ordering::Relaxed);
    if real == 0 {
        // SAFETY: a C string.
        real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) } as usize;
        REAL.store(real, Ordering::Relaxed);
    }
    // SAFETY: the next function of this name is libc's, which takes these arguments.
    unsafe { std::mem::transmute::<usize, Syscall>(real)(number, a, b, c, d, e, f) }
}

const OF_CONNECTIONS: [c_int; 9] = [
    libc::ECONNABORTED,
    libc::ENETDOWN,
    libc::EPROTO,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ENETUNREACH,
];

#[test]
fn errors_of_connections_do_not_end_a_server_nor_make_it_pause() {
    let _bound = bounded();
    let _turn = TURN.lock().unwrap();
    let hello = |mut stream: TcpStream, _| stream.write_all(b"hello");
    let server = StreamServer::bind("127.0.0.1:0", hello).unwrap();
    for times in [1, 10, 50] {
        let errors = OF_CONNECTIONS.iter().copied().cycle();
        *ERRORS.lock().unwrap() = errors.take(OF_CONNECTIONS.len() * times).collect();
        let before = FAILED.load(Ordering::Relaxed);
        server.start().unwrap();
        let mut text = String::new();
        let mut client = TcpStream::connect(server.address()).unwrap();
        // Beyond 100 in a row there are pauses: 10 ms, 20 ms, ... 1 s.
        if times <= 10 {
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            let failed = FAILED.load(Ordering::Relaxed) - before;
            assert_eq!(failed, OF_CONNECTIONS.len() * times);
        } else {
            // A listener that fails for ever leaves others their turns.
            assert!(with_timeout(ms(300), || client.read_to_string(&mut text)).is_err());
            let failed = FAILED.load(Ordering::Relaxed) - before;
            assert!((100..150).contains(&failed), "{failed} accepts");
        }
        assert!(server.started());
        ERRORS.lock().unwrap().clear();
        sleep(ms(1));
        server.stop(None);
    }
}

#[test]
fn a_guest_that_has_come_in_ends_a_row_of_failures() {
    let _bound = bounded();
    let _turn = TURN.lock().unwrap();
    log::set_logger(&ROWS).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let hello = |mut stream: TcpStream, _| stream.write_all(b"hello");
    let server = StreamServer::bind("127.0.0.1:0", hello).unwrap();
    server.start().unwrap();
    sleep(ms(1));
    for row in 1..=3 {
        *ERRORS.lock().unwrap() = vec![libc::EMFILE; 2];
        let mut text = String::new();
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(ROWS.0.load(Ordering::Relaxed), row);
    }
    server.stop(None);
}

#[test]
fn a_server_that_starts_again_has_no_error_any_more() {
    let _bound = bounded();
    let _turn = TURN.lock().unwrap();
    let hello = |mut stream: TcpStream, _| stream.write_all(b"hello");
    let server = StreamServer::bind("127.0.0.1:0", hello).unwrap();
    *ERRORS.lock().unwrap() = vec![libc::ENOTSOCK];
    assert!(server.serve_forever().is_err());
    server.start().unwrap();
    let handle = server.handle();
    let stops = greenroom::spawn(move || handle.stop(None));
    server.serve_forever().unwrap();
    stops.join().unwrap();
}
