//! Names whose servers never answer hold up neither files nor other names.
//!
//! Each test has a resolv.conf of its own, in a mount namespace of its own: it names a server on
//! the loopback that reads no question. Only root may do that; others skip these tests.
#![cfg(target_env = "gnu")]

mod hazard_support;

use std::ffi::CString;
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use std::{fs, io};

use greenroom::net::ToSocketAddrs;
use greenroom::{Greenlet, sleep, spawn};
use hazard_support::{bounded, ms};

/// The server, which is silent, and this file's own resolv.conf.
fn silence() -> &'static (UdpSocket, tempfile::NamedTempFile) {
    static SILENCE: OnceLock<(UdpSocket, tempfile::NamedTempFile)> = OnceLock::new();
    SILENCE.get_or_init(|| {
        // An address of this process's own, for others run these tests at the same time.
        let [_, a, b, c] = (std::process::id() | 1 << 22).to_be_bytes();
        let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, a, b, c), 53)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("nameserver 127.{a}.{b}.{c}\noptions timeout:4 attempts:1\n");
        fs::write(file.path(), text).unwrap();
        (socket, file)
    })
}

fn done(result: libc::c_int) -> bool {
    let denied = result != 0;
    if denied {
        println!("SKIPPED: {}", io::Error::last_os_error());
    }
    !denied
}

/// From now on no name server answers this thread, nor those that it makes. One test at a time: all
/// look names up by the same threads.
fn no_server_answers() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    unshare().then_some(one)
}

fn unshare() -> bool {
    // SAFETY: plain numbers; this thread alone leaves the namespace of the process.
    if !done(unsafe { libc::unshare(libc::CLONE_NEWNS) }) {
        return false;
    }
    let path = silence().1.path().as_os_str().as_bytes();
    let (from, to) = (CString::new(path).unwrap(), c"/etc/resolv.conf");
    let (none, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: C strings, or null where the kind of mount has none.
    unsafe {
        done(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))
            && done(libc::mount(
                from.as_ptr(),
                to.as_ptr(),
                none,
                libc::MS_BIND,
                none.cast(),
            ))
    }
}

fn is_found(name: &str) -> bool {
    (name, 80)
        .to_socket_addrs()
        .is_ok_and(|found| found.count() > 0)
}

/// So many lookups that get no answer.
fn dead(count: usize) -> Vec<Greenlet<bool>> {
    let dead = (0..count).map(|n| spawn(move || is_found(&format!("dead-{n}.invalid."))));
    let dead = dead.collect();
    sleep(ms(100));
    dead
}

/// The threads of our pools.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    let ours =
        |name: &io::Result<String>| name.as_ref().is_ok_and(|name| name == "greenroom-pool\n");
    names.filter(ours).count()
}

#[test]
fn files_and_other_names_do_not_wait_for_names_that_nobody_knows() {
    let _bound = bounded();
    let Some(_alone) = no_server_answers() else {
        return;
    };
    let dead = dead(50);
    assert!(greenroom::fs::metadata("/etc/hosts").is_ok());
    assert!(is_found("localhost"));
    let ended = dead.iter().filter(|one| one.is_finished()).count();
    assert_eq!(ended, 0, "they are waited for still");
    dead.iter().for_each(Greenlet::kill);
}

#[test]
fn lookups_that_were_given_up_hold_up_nothing() {
    let _bound = bounded();
    let Some(_alone) = no_server_answers() else {
        return;
    };
    for _ in 0..4 {
        let dead = dead(50);
        dead.iter().for_each(Greenlet::kill);
        for one in dead {
            assert!(one.join().unwrap_err().is_killed());
        }
    }
    let begin = Instant::now();
    assert!(greenroom::fs::metadata("/etc/hosts").is_ok());
    assert!(is_found("localhost"));
    // Behind 200 dead names on 32 threads it would be some 25 s.
    assert!(begin.elapsed() < ms(15_000), "{:?}", begin.elapsed());
}

#[test]
fn lookups_are_bounded_and_their_threads_end() {
    let _bound = bounded();
    let Some(_alone) = no_server_answers() else {
        return;
    };
    let dead = dead(700);
    // A busy machine takes its time to start them.
    while threads() < 500 {
        sleep(ms(10));
    }
    // Those of the pool for files are idle by now, or will be.
    assert!(
        (500..=512 + 32).contains(&threads()),
        "{} threads",
        threads()
    );
    assert!(greenroom::fs::metadata("/etc/hosts").is_ok());
    dead.iter().for_each(Greenlet::kill);
    // Those that had no thread yet never get one: this is the next.
    assert!(is_found("localhost"));
    while threads() > 0 {
        sleep(ms(100));
    }
}

#[cfg(feature = "monkey")]
mod patched {
    use super::*;
    use std::net::ToSocketAddrs;
    use std::thread;

    fn is_found(name: &str) -> bool {
        (name, 80)
            .to_socket_addrs()
            .is_ok_and(|mut found| found.next().is_some())
    }

    /// What libc says of an address.
    fn name_of(address: [u8; 4], flags: libc::c_int) -> (libc::c_int, String) {
        // SAFETY: zeros are an address.
        let mut socket: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        socket.sin_family = libc::AF_INET as libc::sa_family_t;
        socket.sin_addr.s_addr = u32::from_ne_bytes(address);
        let mut name = [0u8; 256];
        // SAFETY: an address, and room for its name.
        let code = unsafe {
            libc::getnameinfo(
                (&raw const socket).cast(),
                size_of_val(&socket) as libc::socklen_t,
                name.as_mut_ptr().cast(),
                name.len() as libc::socklen_t,
                std::ptr::null_mut(),
                0,
                flags,
            )
        };
        let end = name.iter().position(|byte| *byte == 0).unwrap();
        (code, String::from_utf8_lossy(&name[..end]).into_owned())
    }

    fn resolve_in_figures() -> Vec<String> {
        let numbers = ["127.0.0.1", "127.1", "0x7f000001", "::1", "fe80::1%lo"];
        let found = numbers.map(|name| format!("{:?}", (name, 80).to_socket_addrs().ok()));
        let reverse = format!("{:?}", name_of([127, 0, 0, 9], libc::NI_NUMERICHOST));
        found.into_iter().chain([reverse]).collect()
    }

    #[test]
    fn the_same_holds_for_libc_under_the_patch() {
        let _bound = bounded();
        let Some(_alone) = no_server_answers() else {
            return;
        };
        let natively = resolve_in_figures();
        greenroom::monkey::patch_all().unwrap();
        spawn(move || {
            let dead: Vec<_> = (0..40)
                .map(|n| match n % 4 {
                    // Nothing ends it before its time.
                    0 => thread::spawn(move || name_of([192, 0, 2, n], 0).0 == 0),
                    _ => thread::spawn(move || is_found(&format!("dead-{n}.invalid."))),
                })
                .collect();
            thread::sleep(ms(100));
            assert!(is_found("localhost"));
            assert_eq!(resolve_in_figures(), natively);
            assert!(greenroom::fs::metadata("/etc/hosts").is_ok());
            assert!(fs::metadata("/etc/hosts").is_ok());
            assert_eq!(name_of([127, 0, 0, 1], 0).1, "localhost");
            assert!(dead.iter().all(|one| !one.is_finished()));
            assert!(dead.into_iter().all(|one| !one.join().unwrap()));
        })
        .join()
        .unwrap();
    }
}
