//! A kill or a limit that patched code takes for an error, or for the end of a sleep, is told to
//! those who have set it.

mod monkey_support;

use monkey_support::bounded;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::{spawn, with_timeout, with_timeout_late};
use monkey_support::{green, ms};

const MINUTE: Duration = Duration::from_secs(60);

type Call = (&'static str, fn());

/// Calls of std that fail, or end early: each is over long before the minute is.
fn broken_off() -> Vec<Call> {
    vec![
        ("a sleep", || thread::sleep(MINUTE)),
        ("TcpStream::read", || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.read(&mut [0]).unwrap_err();
        }),
        ("TcpStream::read with a limit of its own", || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            near.set_read_timeout(Some(MINUTE)).unwrap();
            near.read(&mut [0]).unwrap_err();
        }),
        ("TcpListener::accept", || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.accept().map(drop).unwrap_err();
        }),
        ("UdpSocket::recv_from", || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.recv_from(&mut [0]).unwrap_err();
        }),
        ("UnixStream::write_all", || {
            let (mut near, _far) = UnixStream::pair().unwrap();
            near.write_all(&vec![0; 10_000_000]).unwrap_err();
        }),
        ("PipeReader::read", || {
            let (mut reader, _writer) = std::io::pipe().unwrap();
            reader.read(&mut [0]).unwrap_err();
        }),
        ("Child::wait", || {
            let mut command = std::process::Command::new("sleep");
            let mut child = command.arg("60").spawn().unwrap();
            child.wait().unwrap_err();
            child.kill().unwrap();
            greenroom::shield(|| child.wait().unwrap());
        }),
        ("flock", || {
            let id = std::process::id();
            let name = std::env::temp_dir().join(format!("greenroom-told-{id}"));
            let open = || std::fs::File::create(&name).unwrap();
            let (held, wanted) = (open(), open());
            // SAFETY: takes no pointers.
            let lock =
                |file: &std::fs::File| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
            assert_eq!([lock(&held), lock(&wanted)], [0, -1]);
        }),
    ]
}

#[test]
fn what_is_broken_off_is_elapsed_and_killed() {
    let _bound = bounded();
    for (name, call) in broken_off() {
        green(move || {
            let begin = Instant::now();
            assert!(with_timeout(ms(20), call).is_err(), "{name}");
            let late = with_timeout_late(ms(20), || {
                call();
                name
            });
            assert_eq!(late.unwrap_err().1, Some(name));
            let victim = spawn(call);
            greenroom::sleep(ms(20));
            victim.kill();
            assert!(victim.join().unwrap_err().is_killed(), "{name}");
            let victim = spawn(move || {
                call();
                name
            });
            greenroom::sleep(ms(20));
            victim.kill();
            assert_eq!(victim.join_late().unwrap_err().1, Some(name));
            assert!(begin.elapsed() < MINUTE / 2, "{name} goes on");
        });
    }
}

/// Waits of std that can't fail: each ends after 200 ms.
fn go_on() -> Vec<Call> {
    fn after(call: impl FnOnce() + Send + 'static) {
        spawn(move || {
            greenroom::sleep(ms(200));
            call();
        });
    }
    vec![
        ("Mutex::lock", || {
            let lock = Arc::new(Mutex::new(()));
            let held = Arc::clone(&lock);
            spawn(move || {
                let _held = held.lock().unwrap();
                thread::sleep(ms(200));
            });
            greenroom::yield_now();
            drop(lock.lock().unwrap());
        }),
        ("Receiver::recv", || {
            let (sender, receiver) = mpsc::channel();
            after(move || sender.send(1).unwrap());
            assert_eq!(receiver.recv(), Ok(1));
        }),
        ("Condvar::wait", || {
            let pair = Arc::new((Mutex::new(false), Condvar::new()));
            let theirs = Arc::clone(&pair);
            after(move || {
                *theirs.0.lock().unwrap() = true;
                theirs.1.notify_one();
            });
            let guard = pair.0.lock().unwrap();
            drop(pair.1.wait_while(guard, |done| !*done).unwrap());
        }),
        ("Barrier::wait", || {
            let barrier = Arc::new(Barrier::new(2));
            let theirs = Arc::clone(&barrier);
            after(move || {
                theirs.wait();
            });
            barrier.wait();
        }),
        ("JoinHandle::join", || {
            thread::spawn(|| thread::sleep(ms(200))).join().unwrap()
        }),
        ("park", || {
            let me = thread::current();
            after(move || me.unpark());
            thread::park();
        }),
    ]
}

#[test]
fn what_goes_on_is_elapsed_and_killed_when_it_ends() {
    let _bound = bounded();
    for (name, call) in go_on() {
        green(move || {
            let begin = Instant::now();
            let late = spawn(move || with_timeout(ms(20), call));
            assert!(late.join().unwrap().is_err(), "{name}");
            let victim = spawn(call);
            greenroom::sleep(ms(20));
            victim.kill();
            assert!(victim.join().unwrap_err().is_killed(), "{name}");
            assert!(begin.elapsed() >= ms(350), "{name} was broken off");
            let in_time = spawn(move || with_timeout(MINUTE, call));
            assert!(in_time.join().unwrap().is_ok(), "{name}");
        });
    }
}

/// What std's handle of a thread gives is what the closure has returned; a thread has no kill, and
/// std no place for the news of one.
#[test]
fn a_join_handle_of_std_does_not_tell() {
    let _bound = bounded();
    green(|| {
        let limited = spawn(|| {
            let thread = thread::spawn(|| {
                // The limit is that of the greenlet that waits for it, and not its own.
                thread::sleep(ms(100));
                7
            });
            with_timeout_late(ms(20), || thread.join().unwrap())
        });
        assert_eq!(limited.join().unwrap().unwrap_err().1, Some(7));
    });
}

#[test]
fn a_handler_of_a_server_that_is_killed_ends_with_an_error() {
    let _bound = bounded();
    use greenroom::server::StreamServer;
    green(|| {
        let said = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&said);
        let server = StreamServer::bind("127.0.0.1:0", move |_, _| {
            // A guest that uses a socket of std's on the way.
            let (mut near, _far) = UnixStream::pair().unwrap();
            *theirs.lock().unwrap() = near.read(&mut [0]).unwrap_err().raw_os_error();
        })
        .unwrap();
        let address = server.address();
        server.start().unwrap();
        let _guest = TcpStream::connect(address).unwrap();
        greenroom::sleep(ms(30));
        assert_eq!(server.stop(Some(ms(10))), 1, "it is counted as killed");
        assert_eq!(*said.lock().unwrap(), Some(libc::ECANCELED));
    });
}
