//! What gevent's own tests ask of name lookups (test__socket_dns.py): behaviour 97 of our list,
//! re-written in our words, not copied. The resolver to agree with is std's, which is libc's.
//!
//! This program's own getaddrinfo stands before libc's: it knows a name that takes its time and
//! a domain that does not exist, so that no test needs a network.
//! The patch has one as well, so this is for builds without it.
#![cfg(not(feature = "monkey"))]

mod gevent_support;

use gevent_support::{bounded, ms};
use greenroom::net::ToSocketAddrs;
use greenroom::with_timeout;
use std::ffi::{CStr, c_char, c_int};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Takes [`SLOW`], and is not found then.
const SLOW_NAME: &str = "slow.test";
const SLOW: Duration = ms(2500);

/// Lookups of [`SLOW_NAME`] that have been begun.
static SLOW_LOOKUPS: AtomicUsize = AtomicUsize::new(0);

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
) -> c_int;

/// # Safety
/// As for getaddrinfo(3).
// SAFETY: the name is libc's and so are the types: it replaces that function for this program.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
) -> c_int {
    if !node.is_null() {
        // SAFETY: by contract `node` is null or a C string.
        let name = unsafe { CStr::from_ptr(node) }.to_bytes();
        if name == SLOW_NAME.as_bytes() {
            SLOW_LOOKUPS.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(SLOW);
        }
        if name.ends_with(b".test") || name.ends_with(b".invalid") {
            return libc::EAI_NONAME;
        }
    }
    // SAFETY: the next function of this name is libc's, which has this type.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"getaddrinfo".as_ptr());
        let next: GetAddrInfo = std::mem::transmute(next);
        next(node, service, hints, found)
    }
}

type Found = Result<Vec<SocketAddr>, ErrorKind>;

fn ours(host: impl ToSocketAddrs) -> Found {
    let found = host.to_socket_addrs().map_err(|error| error.kind())?;
    Ok(found.collect())
}

fn stds(host: impl std::net::ToSocketAddrs) -> Found {
    let found = host.to_socket_addrs().map_err(|error| error.kind())?;
    Ok(found.collect())
}

#[track_caller]
fn assert_same_host(host: &str) -> Found {
    let found = ours((host, 80));
    assert_eq!(found, stds((host, 80)), "'{host}'");
    found
}

#[track_caller]
fn assert_same_text(text: &str) -> Found {
    let found = ours(text);
    assert_eq!(found, stds(text), "'{text}'");
    found
}

// 97: TestLocalhost
#[test]
fn localhost_is_what_libc_says_in_the_same_order() {
    let _bound = bounded();
    let found = assert_same_host("localhost").unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback()));
    assert!(!found.is_empty());
    let in_greenlet = greenroom::spawn(|| ours(("localhost", 80)));
    assert_eq!(in_greenlet.join().unwrap().unwrap(), found);
    assert_same_text("localhost:8080").unwrap();
    let _ = assert_same_host("LOCALHOST");
    let _ = assert_same_host("ip6-localhost");
}

// 97: TestEtcHosts
#[test]
fn every_name_in_the_hosts_file_is_what_libc_says() {
    let _bound = bounded();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let names = lines.flat_map(|line| line.split_whitespace().skip(1));
    for name in names.chain(["localhost"]).take(20) {
        let _ = assert_same_host(name);
    }
}

// 97: Test127001, TestInternational's literals, test_ipv6
#[test]
fn literal_addresses_are_what_std_says() {
    let _bound = bounded();
    for host in [
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "1:2::3",
    ] {
        assert_eq!(assert_same_host(host).unwrap().len(), 1);
    }
    for text in ["127.0.0.1:80", "[::1]:80", "[fe80::1%1]:80", "0.0.0.0:0"] {
        assert_eq!(assert_same_text(text).unwrap().len(), 1);
    }
    let _ = assert_same_host("127.1");
    let _ = assert_same_host("0x7f000001");
}

// 97: TestBadName, TestBadIP, TestInvalidPort
#[test]
fn bad_names_are_errors_of_the_same_kind() {
    let _bound = bounded();
    for host in [
        "no-such-host.invalid",
        "x.test",
        "with\0nul",
        &"long.".repeat(60),
    ] {
        assert!(
            assert_same_host(&format!("{host}.invalid")).is_err(),
            "{host:?}"
        );
    }
    for text in [
        "",
        ":",
        "127.0.0.1",
        "[::1]",
        "::1:",
        "no-such-host.invalid:80",
    ] {
        assert!(assert_same_text(text).is_err(), "{text:?}");
    }
}

// 97: TestPort, port strings. Service names are no business of std's.
#[test]
fn ports_are_read_as_std_reads_them() {
    let _bound = bounded();
    for port in ["0", "65535", "080"] {
        assert!(
            assert_same_text(&format!("127.0.0.1:{port}")).is_ok(),
            "{port}"
        );
        assert!(
            assert_same_text(&format!("localhost:{port}")).is_ok(),
            "{port}"
        );
    }
    for port in ["65536", "-1", "http", "", " 80", "8o"] {
        assert!(
            assert_same_text(&format!("127.0.0.1:{port}")).is_err(),
            "{port}"
        );
        assert!(
            assert_same_text(&format!("localhost:{port}")).is_err(),
            "{port}"
        );
    }
}

// 97: TestInterrupted and `test__issue230`'s relatives: a lookup does not hold its hub
#[test]
fn others_run_while_a_name_is_looked_up_and_a_timeout_ends_it() {
    let _bound = bounded();
    let before = SLOW_LOOKUPS.load(Ordering::Relaxed);
    let ticker = greenroom::spawn(|| {
        let begin = Instant::now();
        (0..5).for_each(|_| greenroom::sleep(ms(1)));
        begin.elapsed()
    });
    let begin = Instant::now();
    let slow = with_timeout(ms(100), || ours((SLOW_NAME, 80)));
    assert!(slow.is_err());
    assert!(begin.elapsed() >= ms(100) && begin.elapsed() < SLOW);
    assert!(ticker.join().unwrap() < SLOW);
    assert!(SLOW_LOOKUPS.load(Ordering::Relaxed) > before);
}

// 97: and a kill
#[test]
fn a_kill_ends_a_lookup() {
    let _bound = bounded();
    let slow = greenroom::spawn(|| ours((SLOW_NAME, 80)));
    greenroom::sleep(ms(5));
    let begin = Instant::now();
    assert_eq!(greenroom::killall([&slow], None), 0);
    assert!(begin.elapsed() < SLOW);
    assert!(slow.join().unwrap_err().is_killed());
}

// 97: several at once
#[test]
fn lookups_of_several_greenlets_run_side_by_side() {
    let _bound = bounded();
    let begin = Instant::now();
    let lookups = (0..8).map(|_| greenroom::spawn(|| ours((SLOW_NAME, 80))));
    for found in greenroom::joinall(lookups.collect::<Vec<_>>()) {
        assert!(found.unwrap().is_err());
    }
    assert!(begin.elapsed() >= SLOW);
    assert!(begin.elapsed() < SLOW * 5, "{:?}", begin.elapsed());
}
