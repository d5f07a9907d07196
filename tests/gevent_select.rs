//! What gevent's own tests ask of `select` and `poll`: behaviours 53, 54, 91 and 95 of our list,
//! re-written in our words after the test that each names, not copied; and what Python's
//! documentation and select(2) promise beyond them.
mod select_support;

use greenroom::io::{Read, Write, pipe};
use greenroom::net::{TcpListener, TcpStream};
use greenroom::select::{Events, Poll, select};
use greenroom::{hub, sim, sleep, spawn, with_timeout, yield_now};
use select_support::bounded;
use select_support::*;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic;
use std::rc::Rc;
use std::time::{Duration, Instant};

const NONE: &[RawFd] = &[];

/// Selects for reading only.
fn readable(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<Vec<RawFd>> {
    select(fds, NONE, NONE, timeout).map(|(read, _, _)| read)
}

fn polling(fd: &impl AsRawFd, events: Events) -> Poll {
    let mut poll = Poll::new();
    poll.register(fd, events).unwrap();
    poll
}

// 95: test__select.py TestSelect
#[test]
fn without_descriptors_it_only_waits_and_others_run_meanwhile() {
    let _bound = bounded();
    sim::run(1, || {
        let other = spawn(|| sleep(Duration::from_secs(3599)));
        let begin = greenroom::now();
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(readable(NONE, hour).unwrap(), NONE);
        assert_eq!(greenroom::now() - begin, Duration::from_secs(3600));
        assert!(other.is_finished());
        assert_eq!(Poll::new().poll(hour).unwrap(), []);
        assert_eq!(greenroom::now() - begin, Duration::from_secs(7200));
    });
}

#[test]
fn without_descriptors_and_without_an_end_it_is_told_as_a_deadlock() {
    let _bound = bounded();
    sim::run(1, || {
        let waits = panic::catch_unwind(|| readable(NONE, None));
        let message = waits.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("block forever"), "{message}");
        assert!(message.contains("none of no descriptors"), "{message}");
    });
}

// 95: test__select.py test_closed, TestPossibleCrashes
#[test]
fn a_closed_descriptor_is_ebadf_in_any_place() {
    let _bound = bounded();
    let (open, _peer) = pair();
    let (open, closed) = (open.as_raw_fd(), closed_number());
    for timeout in [NOW, SOON, None] {
        for [read, write, except] in [
            [closed, open, open],
            [open, closed, open],
            [open, open, closed],
        ] {
            let error = select(&[open, read], &[write], &[except], timeout).unwrap_err();
            assert_eq!(error.raw_os_error(), EBADF);
        }
    }
}

// 95: test__select.py test_fd_negative
#[test]
fn a_negative_number_is_named_in_the_error() {
    let _bound = bounded();
    let error = readable(&[-7], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("-7"), "{error}");
    let error = Poll::new().register(-1, Events::READ).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

// 95: test__select.py TestPollRead test_unregister_never_registered
#[test]
fn what_is_not_registered_is_not_found() {
    let _bound = bounded();
    let mut poll = Poll::new();
    for result in [poll.unregister(5), poll.modify(5, Events::READ)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains('5'), "{error}");
    }
}

// 95: test__select.py test_poll_invalid
#[test]
fn a_closed_descriptor_is_told_by_poll_beside_the_others_and_can_be_unregistered() {
    let _bound = bounded();
    let (reader, mut writer) = pair();
    let closed = closed_number();
    let mut poll = polling(&reader, Events::READ);
    poll.register(closed, Events::READ).unwrap();
    assert_eq!(poll.poll(None).unwrap(), [(closed, Events::INVALID)]);
    writer.write_all(b"x").unwrap();
    let both = [
        (reader.as_raw_fd(), Events::READ),
        (closed, Events::INVALID),
    ];
    assert_eq!(poll.poll(None).unwrap(), both);
    poll.unregister(closed).unwrap();
    assert_eq!(poll.poll(None).unwrap(), both[..1]);
}

// 54: testing/timing.py over select and poll
#[test]
fn a_limit_is_kept_to_and_leaves_nothing_behind() {
    let _bound = bounded();
    let (reader, _peer) = pair();
    let poll = polling(&reader, Events::READ);
    for timeout in [NOW, Some(Duration::from_nanos(1)), SOON] {
        let begin = Instant::now();
        assert_eq!(readable(&[reader.as_raw_fd()], timeout).unwrap(), NONE);
        assert_eq!(poll.poll(timeout).unwrap(), []);
        let took = begin.elapsed();
        assert!(took >= 2 * timeout.unwrap() && took < ms(5000), "{took:?}");
    }
    let before = hub::stats().registrations;
    readable(&[reader.as_raw_fd()], SOON).unwrap();
    assert_eq!(hub::stats().registrations, before);
    assert_nobody_waits();
}

// 53: [src priority -1 / MAXPRI]
#[test]
fn what_is_ready_at_the_moment_of_expiry_wins() {
    let _bound = bounded();
    let (reader, mut writer) = pair();
    let late = spawn(move || select(&[&reader], &[], &[], SOON).map(|(read, _, _)| read.len()));
    yield_now();
    // By the time that the hub looks, both are true.
    writer.write_all(b"x").unwrap();
    std::thread::sleep(ms(60));
    assert_eq!(late.join().unwrap().unwrap(), 1);
}

#[test]
fn a_wait_ends_when_something_happens_and_parks_nobody_else() {
    let _bound = bounded();
    let (reader, mut writer) = pair();
    let steps = spawn(move || {
        for _ in 0..5 {
            sleep(ms(1));
        }
        writer.write_all(b"x").map(|()| writer)
    });
    let begin = Instant::now();
    for timeout in [None, Some(Duration::MAX), Some(LONG)] {
        assert_eq!(readable(&[reader.as_raw_fd()], timeout).unwrap().len(), 1);
    }
    assert!(begin.elapsed() < LONG);
    steps.join().unwrap().unwrap();
}

#[test]
fn a_look_without_a_limit_of_time_lets_the_others_have_their_turn() {
    let _bound = bounded();
    let (reader, mut writer) = pair();
    let poll = polling(&reader, Events::READ);
    let writes = spawn(move || writer.write_all(b"x").map(|()| writer));
    assert_eq!(
        poll.poll(NOW).unwrap().len(),
        1,
        "written while it let others run"
    );
    let looks = spawn(move || {
        let (reader, _peer) = pair();
        while readable(&[reader.as_raw_fd()], NOW).unwrap().is_empty() {}
    });
    yield_now();
    looks.kill();
    assert!(
        looks.join().unwrap_err().is_killed(),
        "and is told of a kill"
    );
    writes.join().unwrap().unwrap();
}

#[test]
fn what_is_always_ready_does_not_keep_others_from_running() {
    let _bound = bounded();
    let (socket, _peer) = pair();
    let busy = spawn(move || {
        loop {
            select(NONE, &[socket.as_raw_fd()], NONE, None).unwrap();
        }
    });
    for _ in 0..10 {
        sleep(ms(1));
    }
    busy.kill();
    assert!(busy.join().unwrap_err().is_killed());
}

#[test]
fn each_slice_gets_its_own_and_repeated_ones_as_often_as_given() {
    let _bound = bounded();
    let (a, mut b) = pair();
    b.write_all(b"x").unwrap();
    let (a, b) = (a.as_raw_fd(), b.as_raw_fd());
    let found = select(&[a, b, a], &[b], &[a, b], None).unwrap();
    assert_eq!(found, (vec![a, a], vec![b], vec![]));
}

#[test]
fn what_is_given_may_be_of_several_types() {
    let _bound = bounded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let fds = [listener.as_fd(), client.as_fd()];
    let (read, write, _) = select(&fds, &fds, &[], None).unwrap();
    let numbers = [read[0], write[0]].map(|fd| fd.as_raw_fd());
    assert_eq!(numbers, [listener.as_raw_fd(), client.as_raw_fd()]);
    assert_eq!((read.len(), write.len()), (1, 1));
    let boxed: Vec<Box<dyn AsRawFd>> = vec![Box::new(listener), Box::new(client)];
    let named: Vec<&dyn AsRawFd> = boxed.iter().map(|one| &**one).collect();
    assert_eq!(select(&named, &[], &[], NOW).unwrap().0.len(), 1);
}

#[test]
fn an_end_is_readable_a_hangup_told_and_a_broken_pipe_writable() {
    let _bound = bounded();
    let (a, b) = pair();
    b.shutdown(greenroom::net::Shutdown::Write).unwrap();
    let poll = polling(&a, Events::READ | Events::READ_CLOSED);
    let fd = a.as_raw_fd();
    assert_eq!(
        poll.poll(None).unwrap(),
        [(fd, Events::READ | Events::READ_CLOSED)]
    );
    drop(b);
    let told = poll.poll(None).unwrap()[0].1;
    assert!(told.contains(Events::HANGUP | Events::READ), "{told:?}");

    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let fd = writer.as_raw_fd();
    assert_eq!(
        polling(&writer, Events::empty()).poll(None).unwrap(),
        [(fd, Events::ERROR)]
    );
    let (read, write, except) = select(&[fd], &[fd], &[fd], None).unwrap();
    assert_eq!(
        (read.len(), write.len(), except.len()),
        (1, 1, 0),
        "as select(2)"
    );
}

#[test]
fn urgent_data_is_exceptional() {
    let _bound = bounded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let waits = spawn(move || select(&[], &[], &[&server], None).map(|(_, _, x)| x.len()));
    yield_now();
    // SAFETY: one byte is sent from a buffer of one byte.
    let sent = unsafe { libc::send(client.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    assert_eq!(waits.join().unwrap().unwrap(), 1);
}

#[test]
fn what_nobody_asked_about_is_neither_told_nor_spun_on() {
    let _bound = bounded();
    let (socket, peer) = pair();
    drop(peer);
    let before = hub::stats().polls;
    let (_, _, except) = select(&[], &[], &[&socket], Some(ms(50))).unwrap();
    assert!(except.is_empty());
    let polls = hub::stats().polls - before;
    assert!(polls < 10, "{polls} polls in 50 ms");
}

#[test]
fn regular_files_are_always_ready() {
    let _bound = bounded();
    let file = File::open("/etc/passwd").unwrap();
    let fd = file.as_raw_fd();
    let found = select(&[fd], &[fd], &[fd], None).unwrap();
    assert_eq!(found, (vec![fd], vec![fd], vec![]));
    assert_eq!(select(&[], &[], &[&file], SOON).unwrap().2.len(), 0);
    let poll = polling(&file, Events::READ);
    assert_eq!(poll.poll(None).unwrap(), [(fd, Events::READ)]);
}

#[test]
fn there_is_no_limit_of_1024_descriptors() {
    let _bound = bounded();
    let pairs: Vec<_> = (0..1500).map(|_| pair()).collect();
    let fds: Vec<RawFd> = pairs.iter().map(|(reader, _)| reader.as_raw_fd()).collect();
    let last = *fds.iter().max().unwrap();
    assert!(last > 1024);
    let place = fds.iter().position(|fd| *fd == last).unwrap();
    let mut writer = pairs[place].1.try_clone().unwrap();
    let writes = spawn(move || writer.write_all(b"x"));
    assert_eq!(readable(&fds, None).unwrap(), [last]);
    let mut poll = Poll::new();
    for fd in &fds {
        poll.register(*fd, Events::READ).unwrap();
    }
    assert_eq!(poll.poll(None).unwrap(), [(last, Events::READ)]);
    writes.join().unwrap().unwrap();
}

#[test]
fn a_second_registration_replaces_the_first_and_so_does_a_modification() {
    let _bound = bounded();
    let (socket, _peer) = pair();
    let mut poll = polling(&socket, Events::READ);
    let fd = socket.as_raw_fd();
    assert_eq!(poll.poll(NOW).unwrap(), []);
    poll.register(&socket, Events::WRITE).unwrap();
    assert_eq!(poll.poll(NOW).unwrap(), [(fd, Events::WRITE)]);
    poll.modify(&socket, Events::READ).unwrap();
    assert_eq!(poll.poll(NOW).unwrap(), []);
    poll.unregister(&socket).unwrap();
    assert_eq!(
        poll.unregister(&socket).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    for only_epoll in [Events::EDGE, Events::ONESHOT] {
        let error = poll
            .register(&socket, Events::READ | only_epoll)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("EpollSelector"), "{error}");
    }
}

#[test]
fn it_works_beside_a_parked_read_and_another_wait_for_the_same_descriptor() {
    let _bound = bounded();
    let (socket, mut peer) = pair();
    let socket = Rc::new(socket);
    let theirs = Rc::clone(&socket);
    let reads = greenroom::spawn_local(move || {
        let mut byte = [0];
        (&*theirs).read_exact(&mut byte).map(|()| byte[0])
    });
    let polls = [1, 2].map(|_| {
        let poll = polling(&*socket, Events::READ | Events::READ_CLOSED);
        spawn(move || poll.poll(None).map(|found| found.len()))
    });
    yield_now();
    peer.write_all(b"x").unwrap();
    peer.shutdown(greenroom::net::Shutdown::Write).unwrap();
    for poll in polls {
        assert_eq!(poll.join().unwrap().unwrap(), 1);
    }
    assert_eq!(reads.join().unwrap().unwrap(), b'x');
}

#[test]
fn a_kill_and_a_timeout_end_it_and_leave_nothing_behind() {
    let _bound = bounded();
    let (socket, mut peer) = pair();
    let before = hub::stats().registrations;
    let poll = polling(&socket, Events::READ);
    assert!(with_timeout(ms(5), || poll.poll(None)).is_err());
    let waits = spawn(move || poll.poll(None));
    yield_now();
    assert_eq!(hub::stats().waiting, 1);
    waits.kill();
    assert!(waits.join().unwrap_err().is_killed());
    assert_eq!(hub::stats().registrations, before);
    assert_nobody_waits();
    peer.write_all(b"x").unwrap();
    assert_eq!(select(&[&socket], &[], &[], None).unwrap().0.len(), 1);
}

#[test]
fn where_nothing_may_unwind_a_kill_is_ecanceled() {
    let _bound = bounded();
    let (socket, _peer) = pair();
    let waits = spawn(move || {
        greenroom::foreign(|| select(&[&socket], &[], &[], None).map(|_| ()).unwrap_err())
    });
    yield_now();
    waits.kill();
    let (killed, late) = waits.join_late().unwrap_err();
    assert!(killed.is_killed());
    assert_eq!(late.unwrap().raw_os_error(), Some(libc::ECANCELED));
}

#[test]
fn a_destructor_may_wait_while_its_greenlet_unwinds() {
    let _bound = bounded();
    struct Waits(Poll, std::sync::mpsc::Sender<usize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.1.send(self.0.poll(None).unwrap().len()).unwrap();
        }
    }
    let (socket, mut peer) = pair();
    let (sender, receiver) = std::sync::mpsc::channel();
    let waits = Waits(polling(&socket, Events::READ), sender);
    let killed = spawn(move || {
        let _waits = waits;
        greenroom::thread::park();
    });
    yield_now();
    killed.kill();
    // From another thread: where a destructor can't park, it blocks this one.
    let writes = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        peer.write_all(b"x").map(|()| peer)
    });
    assert!(killed.join().unwrap_err().is_killed());
    assert_eq!(receiver.recv().unwrap(), 1);
    writes.join().unwrap().unwrap();
}

// 91: test__hub.py TestCloseSocketWhilePolling, test__select.py TestPossibleCrashes
#[test]
fn closing_while_somebody_polls_neither_crashes_nor_spins_and_the_next_look_tells() {
    let _bound = bounded();
    let (socket, _peer) = pair();
    let far = far_duplicate(&socket);
    let number = far.as_raw_fd();
    let poll = polling(&far, Events::READ);
    let again = poll.clone();
    let before = hub::stats().polls;
    let waits = spawn(move || poll.poll(Some(ms(50))));
    yield_now();
    drop(far);
    let _ = waits.join().unwrap().unwrap();
    let polls = hub::stats().polls - before;
    assert!(polls < 30, "{polls} polls in 50 ms");
    assert_eq!(again.poll(None).unwrap(), [(number, Events::INVALID)]);

    // The number names something else now: that is watched.
    let (other, mut writer) = pair();
    // SAFETY: dup2 takes plain numbers, and the second names nothing.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
    assert_eq!(again.poll(NOW).unwrap(), []);
    writer.write_all(b"x").unwrap();
    assert_eq!(again.poll(None).unwrap(), [(number, Events::READ)]);
    // SAFETY: dup2 has just made it, for this test only.
    unsafe { libc::close(number) };
}

#[test]
fn it_works_on_a_thread_without_a_hub() {
    let _bound = bounded();
    let (mut reader, mut writer) = io::pipe().unwrap();
    std::thread::spawn(move || {
        let poll = polling(&reader, Events::READ);
        let begin = Instant::now();
        assert_eq!(poll.poll(SOON).unwrap(), []);
        assert!(begin.elapsed() >= SOON.unwrap());
        let writes = std::thread::spawn(move || {
            std::thread::sleep(ms(10));
            writer.write_all(b"x").map(|()| writer)
        });
        assert_eq!(poll.poll(None).unwrap().len(), 1);
        reader.read_exact(&mut [0]).unwrap();
        writes.join().unwrap().unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn simulated_sockets_can_be_watched_in_virtual_time() {
    let _bound = bounded();
    for seed in 0..50 {
        sim::run(seed, || {
            let listener = TcpListener::bind("10.0.0.1:80").unwrap();
            let client = spawn(|| {
                sleep(Duration::from_secs(60));
                let mut stream = TcpStream::connect("10.0.0.1:80").unwrap();
                sleep(Duration::from_secs(60));
                stream.write_all(b"x").unwrap();
                stream
            });
            let begin = greenroom::now();
            let minute = Duration::from_secs(60);
            assert!(
                readable(&[listener.as_raw_fd()], Some(minute / 2))
                    .unwrap()
                    .is_empty()
            );
            assert_eq!(greenroom::now() - begin, minute / 2);
            assert_eq!(readable(&[listener.as_raw_fd()], None).unwrap().len(), 1);
            let (server, _) = listener.accept().unwrap();
            let poll = polling(&server, Events::READ);
            assert_eq!(poll.poll(None).unwrap().len(), 1);
            assert_eq!(greenroom::now() - begin, 2 * minute);
            client.join().unwrap();
        });
    }
}
