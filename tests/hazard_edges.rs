//! Edges, half-closes, signals, and bytes that must not be lost.
//! Rows 23, 25 to 27 and 37 of the register of hazards.
mod hazard_support;

use greenroom::net::{Shutdown, TcpListener, TcpStream};
use greenroom::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use greenroom::{sleep, spawn, spawn_local, with_timeout, yield_now};
use hazard_support::{Count, HOUR, alone_and_well, bounded, leak_free, ms, settle};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one.into(), listener.accept().unwrap().0.into())
}

fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
}

// Row 23.
#[test]
fn after_a_full_and_after_a_short_read_the_rest_is_still_found() {
    let _bound = bounded();
    leak_free("edges", || {
        let (mut one, mut other) = tcp_pair();
        let reads = spawn_local(move || {
            let mut sizes = Vec::new();
            let mut buffer = [0; 4];
            loop {
                match one.read(&mut buffer).unwrap() {
                    0 => return sizes,
                    size => sizes.push(size),
                }
            }
        });
        yield_now();
        for part in [&b"1234"[..], b"12345678", b"123", b"12345", b"1"] {
            other.write_all(part).unwrap();
            sleep(ms(1));
        }
        drop(other);
        assert_eq!(reads.join().unwrap(), [4, 4, 4, 3, 4, 1, 1]);
    });
}

#[test]
fn an_end_that_arrives_with_the_last_bytes_is_found_after_them() {
    let _bound = bounded();
    leak_free("ends", || {
        for round in 0..200 {
            let (mut one, mut other) = tcp_pair();
            let reads = spawn_local(move || {
                let mut all = Vec::new();
                let mut buffer = [0; 64];
                loop {
                    match one.read(&mut buffer).unwrap() {
                        0 => return all.len(),
                        size => all.extend_from_slice(&buffer[..size]),
                    }
                }
            });
            if round % 2 == 0 {
                yield_now();
            }
            other.write_all(&[1; 100]).unwrap();
            if round % 3 == 0 {
                yield_now();
            }
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reads.join().unwrap(), 100);
        }
    });
}

#[test]
fn a_writer_that_was_only_partly_served_goes_on_when_there_is_room() {
    let _bound = bounded();
    leak_free("partial writes", || {
        for pair in [tcp_pair as fn() -> _, tcp_pair] {
            let (mut one, mut other) = pair();
            let writes = spawn_local(move || {
                let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
                one.write_all(&bytes).unwrap();
            });
            let mut all = Vec::new();
            let mut buffer = [0; 10_007];
            loop {
                let size = other.read(&mut buffer).unwrap();
                if size == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..size]);
            }
            writes.join().unwrap();
            assert_eq!(all.len(), 3_000_000);
            let wrong = all.iter().enumerate().find(|(n, byte)| *n as u8 != **byte);
            assert_eq!(wrong, None);
        }
    });
}

// Row 25.
#[test]
fn each_half_closes_by_itself() {
    let _bound = bounded();
    leak_free("half closes", || {
        let (mut one, mut other) = tcp_pair();
        one.shutdown(Shutdown::Write).unwrap();
        let mut byte = [0];
        assert_eq!(other.read(&mut byte).unwrap(), 0);
        assert_eq!(other.read(&mut byte).unwrap(), 0, "and again");
        other.write_all(b"x").unwrap();
        assert_eq!(one.read(&mut byte).unwrap(), 1);
        assert_eq!(one.write(b"y").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let waits = spawn_local(move || {
            let end = one.read(&mut [0]);
            (one, end.unwrap())
        });
        settle();
        drop(other);
        assert_eq!(waits.join().unwrap().1, 0);

        let (one, other) = tcp_pair();
        one.shutdown(Shutdown::Read).unwrap();
        assert_eq!((&one).read(&mut byte).unwrap(), 0);
        (&one).write_all(b"x").unwrap();
        assert_eq!((&other).read(&mut byte).unwrap(), 1);
    });
}

#[test]
fn a_reset_wakes_reader_and_writer_and_is_told_to_one() {
    let _bound = bounded();
    leak_free("reset", || {
        let (one, other) = tcp_pair();
        fill(&one);
        let one = Rc::new(one);
        let (reads, writes) = (Rc::clone(&one), Rc::clone(&one));
        let reads = spawn_local(move || (&*reads).read(&mut [0]));
        let writes = spawn_local(move || (&*writes).write_all(&[0; 1 << 20]));
        settle();
        // What is unread makes the close a reset.
        drop(other);
        let (read, written) = (reads.join().unwrap(), writes.join().unwrap());
        let reset = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        assert!(reset(written.unwrap_err().kind()));
        assert!(read.map_or_else(|error| reset(error.kind()), |size| size == 0));
    });
}

// Row 26.
#[test]
fn a_write_to_nobody_is_an_error_and_no_signal() {
    let _bound = bounded();
    let test = "a_write_to_nobody_is_an_error_and_no_signal";
    alone_and_well(test, || {
        // SAFETY: SIG_DFL is a valid action; std has set it to ignore for its own pipes' sake.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (one, other) = tcp_pair();
        drop(other);
        let broken = |mut stream: &dyn Fn() -> std::io::Result<usize>| {
            let stream = &mut stream;
            loop {
                match stream() {
                    Ok(_) => sleep(ms(1)),
                    Err(error) => return error.kind(),
                }
            }
        };
        let kind = broken(&|| (&one).write(b"x"));
        assert!(matches!(
            kind,
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        ));
        assert_eq!(broken(&|| (&one).write(b"x")), ErrorKind::BrokenPipe);
        let (one, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(broken(&|| (&one).write(b"x")), ErrorKind::BrokenPipe);
        let buffers = [std::io::IoSlice::new(b"x")];
        assert_eq!(
            broken(&|| (&one).write_vectored(&buffers)),
            ErrorKind::BrokenPipe
        );
    });
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_storm_of_signals_is_never_an_error() {
    let _bound = bounded();
    let test = "a_storm_of_signals_is_never_an_error";
    alone_and_well(test, || {
        // SAFETY: the handler only adds to an atomic, without SA_RESTART every call is
        // interrupted; the action and the timer outlive the calls.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count_signal as *const () as usize;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
                0
            );
            let every = libc::timeval {
                tv_sec: 0,
                tv_usec: 200,
            };
            let timer = libc::itimerval {
                it_interval: every,
                it_value: every,
            };
            let set = libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            assert_eq!(set, 0);
        }
        let begin = std::time::Instant::now();
        let path = std::env::temp_dir().join(format!("greenroom-storm-{}", std::process::id()));
        while begin.elapsed() < ms(300) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let serves = spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                let mut bytes = vec![0; 300_000];
                peer.read_exact(&mut bytes).unwrap();
                peer.write_all(&bytes).unwrap();
            });
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&vec![1; 300_000]).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), 300_000);
            serves.join().unwrap();
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            let connects = spawn_local({
                let path = path.clone();
                move || UnixStream::connect(path).unwrap().write(b"x").unwrap()
            });
            assert_eq!(listener.accept().unwrap().0.read(&mut [0; 2]).unwrap(), 1);
            assert_eq!(connects.join().unwrap(), 1);
            let nap = std::time::Instant::now();
            sleep(ms(2));
            assert!(nap.elapsed() >= ms(2), "a signal has ended a sleep");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(SIGNALS.load(Ordering::Relaxed) > 100);
    });
}

// Row 27: a single read moves bytes or fails, so those that are killed have taken none.
#[test]
fn no_byte_is_lost_when_readers_are_killed_at_any_moment() {
    let _bound = bounded();
    leak_free("conservation", || {
        const TOTAL: u64 = 40_000;
        let (one, mut other) = UnixStream::pair().unwrap();
        let (one, taken) = (Rc::new(one), Rc::new(RefCell::new(Vec::<u8>::new())));
        let writes = spawn_local(move || {
            let bytes: Vec<u8> = (0..TOTAL).map(|n| n as u8).collect();
            for part in bytes.chunks(7) {
                other.write_all(part).unwrap();
                if part[0] % 5 == 0 {
                    yield_now();
                }
            }
        });
        let kills = Count::default();
        let mut random = 88_172_645_463_325_252_u64;
        while !writes.is_finished() || taken.borrow().len() < TOTAL as usize {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (one, taken) = (Rc::clone(&one), Rc::clone(&taken));
            let size = 1 + (random >> 20) as usize % 13;
            let reads = spawn_local(move || {
                loop {
                    let mut buffer = [0; 13];
                    let read = (&*one).read(&mut buffer[..size]).unwrap();
                    if read == 0 {
                        greenroom::thread::park();
                    }
                    taken.borrow_mut().extend_from_slice(&buffer[..read]);
                }
            });
            (0..random % 4).for_each(|_| yield_now());
            if random.is_multiple_of(3) {
                sleep(Duration::from_micros(random % 50));
            }
            reads.kill();
            assert!(reads.join().unwrap_err().is_killed());
            kills.add();
        }
        assert!(kills.get() > 10, "{}", kills.get());
        let taken = taken.borrow();
        let wrong = taken
            .iter()
            .enumerate()
            .find(|(n, byte)| *n as u8 != **byte);
        assert_eq!((wrong, taken.len() as u64), (None, TOTAL));
    });
}

#[test]
fn no_datagram_and_no_connection_is_lost_when_receivers_time_out() {
    let _bound = bounded();
    leak_free("datagrams", || {
        let (one, other) = UnixDatagram::pair().unwrap();
        let sends = spawn_local(move || {
            for n in 0..500_u32 {
                other.send(&n.to_ne_bytes()).unwrap();
                if n % 7 == 0 {
                    sleep(Duration::from_micros(50));
                }
            }
        });
        let mut expected = 0_u32;
        while expected < 500 {
            let mut word = [0; 4];
            let limit = Duration::from_micros(u64::from(expected % 60));
            if with_timeout(limit, || one.recv(&mut word).unwrap()).is_ok() {
                assert_eq!(u32::from_ne_bytes(word), expected);
                expected += 1;
            }
        }
        sends.join().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients = spawn_local(move || {
            let connect = |_| TcpStream::connect(address).unwrap();
            (0..50).map(connect).collect::<Vec<_>>()
        });
        let mut accepted = 0;
        while accepted < 50 {
            let limit = Duration::from_micros(accepted % 40);
            if with_timeout(limit, || listener.accept().map(drop)).is_ok() {
                accepted += 1;
            }
        }
        assert_eq!(clients.join().unwrap().len(), 50);
        assert!(with_timeout(HOUR, || ()).is_ok());
    });
}

// Row 37: what never has to park is still stopped.
#[test]
fn a_loop_of_operations_that_are_always_ready_can_be_killed_and_timed_out() {
    let _bound = bounded();
    leak_free("always ready", || {
        fn endless() {
            let (one, other) = UnixDatagram::pair().unwrap();
            loop {
                assert_eq!(one.send(b"x").unwrap(), 1);
                assert_eq!(other.recv(&mut [0]).unwrap(), 1);
            }
        }
        let busy = spawn(endless);
        yield_now();
        assert_eq!(greenroom::killall([&busy], Some(ms(5000))), 0);
        let begin = std::time::Instant::now();
        assert!(with_timeout(ms(2), endless).is_err());
        assert!(begin.elapsed() < ms(5000));
    });
}

#[test]
fn waiters_on_one_descriptor_are_served_in_order_also_when_one_is_killed() {
    let _bound = bounded();
    leak_free("order", || {
        let (one, mut other) = UnixStream::pair().unwrap();
        let (one, order) = (Rc::new(one), Rc::new(RefCell::new(Vec::new())));
        let readers: Vec<_> = (0..6)
            .map(|n| {
                let (one, order) = (Rc::clone(&one), Rc::clone(&order));
                spawn_local(move || {
                    (&*one).read_exact(&mut [0]).unwrap();
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        settle();
        // The first has been woken for the bytes, and is killed before it runs.
        other.write_all(b"123").unwrap();
        readers[0].kill();
        readers[3].kill();
        sleep(ms(1));
        other.write_all(b"45").unwrap();
        sleep(ms(1));
        let served = order.borrow().clone();
        assert!(served.is_sorted(), "{served:?}");
        assert_eq!(
            served.len(),
            5 - usize::from(!served.contains(&0)),
            "{served:?}"
        );
        readers.iter().for_each(greenroom::Greenlet::kill);
    });
}
