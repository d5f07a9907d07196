//! Kills and timeouts reach code that knows nothing of them: as an errno, and then by unwinding
//! at the next park of our own.

mod monkey_support;

use monkey_support::bounded;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::{with_timeout, with_timeout_late};
use monkey_support::{errno, green, ms};

type Call = (&'static str, fn() -> i32);

/// Calls that wait for what never comes: each returns the errno it failed with.
fn endless() -> Vec<Call> {
    fn code<T>(done: std::io::Result<T>) -> i32 {
        done.map(drop).unwrap_err().raw_os_error().unwrap()
    }
    vec![
        ("recv", || {
            let (mut near, _far) = UnixStream::pair().unwrap();
            code(near.read(&mut [0]))
        }),
        ("send", || {
            let (mut near, _far) = UnixStream::pair().unwrap();
            code((0..1000).try_for_each(|_| near.write_all(&[0; 65536])))
        }),
        ("read", || {
            let (mut reader, _writer) = std::io::pipe().unwrap();
            code(reader.read(&mut [0]))
        }),
        ("accept", || {
            code(TcpListener::bind("127.0.0.1:0").unwrap().accept())
        }),
        ("recvfrom", || {
            code(UdpSocket::bind("127.0.0.1:0").unwrap().recv_from(&mut [0]))
        }),
        ("waitpid", || {
            let mut child = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .unwrap();
            let code = code(child.wait());
            child.kill().unwrap();
            greenroom::shield(|| child.wait().unwrap());
            code
        }),
    ]
}

#[test]
fn a_timeout_comes_as_an_errno() {
    let _bound = bounded();
    for (name, call) in endless() {
        green(move || {
            let (elapsed, said) = with_timeout_late(ms(20), call).unwrap_err();
            assert_eq!(elapsed.limit(), ms(20));
            assert_eq!(said, Some(libc::ETIMEDOUT), "{name}");
            assert!(with_timeout(ms(20), call).is_err(), "{name}");
        });
    }
}

#[test]
fn a_kill_comes_as_an_errno_and_unwinds_from_the_next_park_of_our_own() {
    let _bound = bounded();
    for (name, call) in endless() {
        green(move || {
            let said = Rc::new(Cell::new(0));
            let theirs = Rc::clone(&said);
            let victim = greenroom::spawn_local(move || {
                theirs.set(call());
                greenroom::sleep(ms(60_000));
                theirs.set(-1);
            });
            greenroom::sleep(ms(20));
            victim.kill();
            assert!(victim.join().unwrap_err().is_killed(), "{name}");
            assert_eq!(said.get(), libc::ECANCELED, "{name}");
        });
    }
}

#[test]
fn a_sleep_of_std_ends_early_and_a_lock_of_std_does_not() {
    let _bound = bounded();
    green(|| {
        let begin = Instant::now();
        assert!(with_timeout(ms(20), || thread::sleep(Duration::from_secs(60))).is_err());
        assert!(begin.elapsed() < Duration::from_secs(30));
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let victim = greenroom::spawn(move || {
            drop(theirs.lock().unwrap());
            // SAFETY: nothing to poll: a sleep, which goes on.
            assert_eq!(unsafe { libc::poll(null_mut(), 0, 5) }, 0);
            // SAFETY: as above; nothing else could end it.
            let said = (unsafe { libc::poll(null_mut(), 0, -1) }, errno());
            assert_eq!(said, (-1, libc::EINTR));
            greenroom::yield_now();
            greenroom::sleep(ms(1));
            unreachable!("the kill unwinds");
        });
        greenroom::sleep(ms(5));
        victim.kill();
        greenroom::sleep(ms(5));
        assert!(!victim.is_finished(), "it waits for the lock");
        drop(held);
        assert!(victim.join().unwrap_err().is_killed());
    });
}

#[test]
fn what_was_sent_before_a_kill_is_told() {
    let _bound = bounded();
    green(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let sender = greenroom::spawn(move || greenroom::shield(|| (&near).write(&[7; 9_000_000])));
        greenroom::sleep(ms(5));
        sender.kill();
        greenroom::sleep(ms(5));
        assert!(!sender.is_finished(), "shielded");
        let reader = greenroom::spawn(move || {
            let mut all = Vec::new();
            (&far).read_to_end(&mut all).map(|_| all.len())
        });
        assert_eq!(sender.join().unwrap().unwrap(), 9_000_000);
        assert_eq!(reader.join().unwrap().unwrap(), 9_000_000);

        let (near, far) = UnixStream::pair().unwrap();
        let sender = with_timeout_late(ms(20), || (&near).write(&[7; 9_000_000]).unwrap());
        let sent = sender.unwrap_err().1.unwrap();
        assert!(0 < sent && sent < 9_000_000, "a part, and no error: {sent}");
        drop(near);
        let mut all = Vec::new();
        assert_eq!((&far).read_to_end(&mut all).unwrap(), sent);
    });
}

#[test]
fn a_killed_waiter_leaves_nothing_behind() {
    let _bound = bounded();
    green(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Arc::new(near);
        for _ in 0..20 {
            let theirs = Arc::clone(&near);
            let victim = greenroom::spawn(move || (&*theirs).read(&mut [0]).map(drop));
            greenroom::sleep(ms(1));
            victim.kill();
            let _ = victim.join();
        }
        let theirs = Arc::clone(&near);
        let reader = greenroom::spawn(move || (&*theirs).read(&mut [0]).unwrap());
        greenroom::sleep(ms(1));
        far.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), 1, "no dead waiter stands before it");
        let stats = greenroom::hub::stats();
        assert_eq!(stats.greenlets, 1, "{stats:?}");
    });
}
