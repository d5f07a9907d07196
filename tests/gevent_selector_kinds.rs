//! What the kinds of selectors differ in: edges, closed descriptors, the epoll set itself.
//! Behaviours 91 and 100 of our list, re-written in our words after gevent's tests, not copied.
mod select_support;

use greenroom::io::{Read, Write};
use greenroom::os::unix::net::UnixStream;
use greenroom::select::{Events, select};
use greenroom::selectors::{DefaultSelector, EpollSelector, PollSelector, SelectSelector};
use greenroom::{hub, sleep, spawn, yield_now};
use select_support::bounded;
use select_support::*;
use std::cell::Cell;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn an_edge_is_told_once_and_again_when_there_is_more() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    let (mut a, mut b) = pair();
    let once = [(a.as_raw_fd(), Events::READ)];
    selector
        .register(&a, Events::READ | Events::EDGE, ())
        .unwrap();
    b.write_all(b"xy").unwrap();
    assert_eq!(told(&selector, None), once);
    a.read_exact(&mut [0]).unwrap();
    assert_eq!(told(&selector, SOON), [], "though a byte is left");
    b.write_all(b"z").unwrap();
    assert_eq!(told(&selector, None), once);
    selector.modify(&a, Events::READ | Events::EDGE).unwrap();
    assert_eq!(
        told(&selector, None),
        once,
        "told anew after a modification"
    );
    assert_eq!(told(&selector, NOW), []);
}

#[test]
fn a_oneshot_is_silent_until_the_next_modification() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    let (a, mut b) = pair();
    let oneshot = Events::READ | Events::ONESHOT;
    selector.register(&a, oneshot, ()).unwrap();
    for _ in 0..3 {
        b.write_all(b"x").unwrap();
        assert_eq!(told(&selector, None).len(), 1);
        b.write_all(b"x").unwrap();
        assert_eq!(told(&selector, NOW), []);
        // To be refused changes nothing.
        assert_eq!(
            kind(selector.register(&a, oneshot, ())),
            ErrorKind::AlreadyExists
        );
        assert_eq!(told(&selector, NOW), []);
        selector.modify(&a, oneshot).unwrap();
    }
}

#[test]
fn what_leaves_and_comes_back_under_its_number_is_watched_again() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    let (socket, mut peer) = pair();
    let number = far_duplicate(&socket);
    let fd = number.as_raw_fd();
    selector.register(&number, Events::READ, 1).unwrap();
    drop(number);
    selector.unregister(fd).unwrap();
    // The same socket, under the same number: epoll has never noticed that it was away.
    // SAFETY: dup2 takes plain numbers, and the second names nothing.
    assert_eq!(unsafe { libc::dup2(socket.as_raw_fd(), fd) }, fd);
    selector.register(fd, Events::READ, 2).unwrap();
    peer.write_all(b"x").unwrap();
    let found = selector.select(None).unwrap();
    assert_eq!((found.len(), *found[0].0.data), (1, 2));
    // SAFETY: made by dup2 just now, for this test only.
    unsafe { libc::close(fd) };
}

#[test]
fn only_epoll_tells_of_edges() {
    let _bound = bounded();
    let (a, _b) = pair();
    for events in [Events::EDGE, Events::ONESHOT] {
        let events = Events::READ | events;
        let poll = PollSelector::new().unwrap();
        let error = poll.register(&a, events, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("EpollSelector"), "{error}");
        let select = SelectSelector::new().unwrap();
        select.register(&a, Events::READ, ()).unwrap();
        assert_eq!(kind(select.modify(&a, events)), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_regular_file_has_one_edge() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    let file = File::open("/etc/passwd").unwrap();
    selector
        .register(&file, Events::READ | Events::EDGE, ())
        .unwrap();
    assert_eq!(told(&selector, NOW).len(), 1);
    assert_eq!(told(&selector, NOW), []);
}

// 91, 95: test__selectors.py TestPossibleCrashes
#[test]
fn epoll_forgets_what_is_closed_and_its_number_can_be_registered_again() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    assert_eq!(
        errno(selector.register(closed_number(), Events::READ, 0)),
        EBADF
    );
    let (mut writer, reader) = pair();
    let number = far_duplicate(&reader);
    drop(reader);
    let fd = number.as_raw_fd();
    selector.register(&number, Events::READ, 1).unwrap();
    drop(number);
    assert!(writer.write_all(b"x").is_err(), "it was the last one");
    assert_eq!(told(&selector, SOON), []);
    assert_eq!(kind(selector.modify(fd, Events::READ)), ErrorKind::NotFound);
    assert!(selector.is_empty(), "found to be gone");

    let again = |selector: &EpollSelector<i32>, data| {
        let (reader, writer) = pair();
        // SAFETY: dup2 takes plain numbers, and the second names nothing.
        assert_eq!(unsafe { libc::dup2(reader.as_raw_fd(), fd) }, fd);
        selector.register(fd, Events::READ, data).unwrap();
        writer
    };
    let first = again(&selector, 2);
    // SAFETY: made by dup2 just now, for this test only.
    unsafe { libc::close(fd) };
    let mut second = again(&selector, 3);
    drop(first);
    second.write_all(b"x").unwrap();
    let found = selector.select(None).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0].0.data, 3);
    // SAFETY: as above.
    unsafe { libc::close(fd) };
    assert_eq!(*selector.unregister(fd).unwrap().data, 3);
}

#[test]
fn what_was_closed_while_a_duplicate_lives_is_not_spun_on() {
    let _bound = bounded();
    haunt(Events::READ);
    // Told to one of those who wait only: the other one must hear of the new set all the same.
    haunt(Events::READ | Events::EDGE);
}

fn haunt(events: Events) {
    let selector = Arc::new(EpollSelector::new().unwrap());
    let (socket, mut peer) = pair();
    let file = File::open("/etc/passwd").unwrap();
    let edge = Events::READ | Events::EDGE;
    selector.register(&file, edge, "file").unwrap();
    assert_eq!(told(&selector, None).len(), 1, "the file's edge");
    let number = far_duplicate(&socket);
    selector.register(&number, events, "ghost").unwrap();
    let fd = number.as_raw_fd();
    drop(number);
    // Too late: epoll no longer knows a descriptor of that number, and still reports it.
    selector.unregister(fd).unwrap();
    let waits = [1, 2].map(|_| {
        let theirs = Arc::clone(&selector);
        spawn(move || {
            loop {
                let found = theirs.select(None).unwrap();
                // The file has another edge when the set is made anew.
                if let Some((_, events)) = found.iter().find(|(key, _)| *key.data == "late") {
                    return *events;
                }
            }
        })
    });
    yield_now();
    let before = hub::stats().switches;
    peer.write_all(b"x").unwrap();
    sleep(ms(50));
    let switches = hub::stats().switches - before;
    assert!(switches < 100, "{switches} switches in 50 ms");
    // Both wait where what comes later is registered.
    let (late, mut late_peer) = pair();
    selector.register(&late, Events::READ, "late").unwrap();
    late_peer.write_all(b"x").unwrap();
    for wait in waits {
        assert_eq!(wait.join().unwrap(), Events::READ);
    }
}

#[test]
fn what_a_number_named_before_is_not_taken_for_what_it_names_now() {
    let _bound = bounded();
    let selector = EpollSelector::new().unwrap();
    let (socket, mut peer) = pair();
    let (other, mut other_peer) = pair();
    let number = far_duplicate(&socket);
    let fd = number.as_raw_fd();
    selector.register(&number, Events::READ, "before").unwrap();
    drop(number);
    // SAFETY: dup2 takes plain numbers, and the second names nothing.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), fd) }, fd);
    selector.register(fd, Events::READ, "now").unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(told(&selector, SOON), []);
    other_peer.write_all(b"x").unwrap();
    let found = selector.select(None).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0].0.data, "now");
    // SAFETY: made by dup2 just now, for this test only.
    unsafe { libc::close(fd) };
}

#[test]
fn poll_tells_of_what_is_closed_and_select_fails() {
    let _bound = bounded();
    let number = closed_number();
    let poll = PollSelector::new().unwrap();
    poll.register(number, Events::READ, ()).unwrap();
    assert_eq!(
        told(&poll, None),
        [(number, Events::READ | Events::INVALID)]
    );
    poll.unregister(number).unwrap();
    assert_eq!(told(&poll, NOW), []);
    let select = SelectSelector::new().unwrap();
    select.register(number, Events::READ, ()).unwrap();
    assert_eq!(errno(select.select(None)), EBADF);
    select.unregister(number).unwrap();
    assert_eq!(told(&select, NOW), []);
}

#[test]
fn three_thousand_descriptors_of_which_ten_are_active() {
    let _bound = bounded();
    let selector = DefaultSelector::new().unwrap();
    let mut pairs: Vec<(UnixStream, UnixStream)> = (0..3000).map(|_| pair()).collect();
    for (index, (reader, _)) in pairs.iter().enumerate() {
        selector.register(reader, Events::READ, index).unwrap();
    }
    for round in 0..20 {
        for index in (0..3000).skip(round).step_by(300) {
            pairs[index].1.write_all(b"x").unwrap();
        }
        let mut found: Vec<usize> = Vec::new();
        while found.len() < 10 {
            for (key, _) in selector.select(None).unwrap() {
                pairs[*key.data].0.read_exact(&mut [0]).unwrap();
                found.push(*key.data);
            }
        }
        found.sort_unstable();
        let expected: Vec<usize> = (0..3000).skip(round).step_by(300).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn more_than_one_call_tells_are_told_in_turn_and_none_is_left_out() {
    let _bound = bounded();
    let selector = DefaultSelector::new().unwrap();
    let pairs: Vec<_> = (0..1500).map(|_| pair()).collect();
    for (index, (socket, _)) in pairs.iter().enumerate() {
        selector.register(socket, Events::WRITE, index).unwrap();
    }
    let mut seen = vec![0; pairs.len()];
    for _ in 0..3 {
        for (key, _) in selector.select(None).unwrap() {
            seen[*key.data] += 1;
        }
    }
    assert!(seen.iter().all(|times| (1..=3).contains(times)), "{seen:?}");
}

#[test]
fn threads_with_and_without_a_hub_share_one_selector() {
    let _bound = bounded();
    let selector = Arc::new(DefaultSelector::new().unwrap());
    let (a, mut b) = pair();
    selector.register(&a, Events::READ, ()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = [false, true]
        .map(|green| {
            let (selector, stop) = (Arc::clone(&selector), Arc::clone(&stop));
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    selector.select(None).unwrap();
                }
            };
            std::thread::spawn(move || match green {
                true => spawn(work).join().unwrap(),
                false => work(),
            })
        })
        .into();
    sleep(ms(10));
    stop.store(true, Ordering::Relaxed);
    b.write_all(b"x").unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_selector_can_be_watched_by_another_one() {
    let _bound = bounded();
    let (a, mut b) = pair();
    let inner = EpollSelector::new().unwrap();
    inner.register(&a, Events::READ, ()).unwrap();
    let outer = EpollSelector::new().unwrap();
    outer.register(&inner, Events::READ, ()).unwrap();
    assert_eq!(told(&outer, NOW), []);
    let writes = spawn(move || b.write_all(b"x").map(|()| b));
    assert_eq!(told(&outer, None), [(inner.as_raw_fd(), Events::READ)]);
    assert_eq!(told(&inner, NOW).len(), 1);
    assert_eq!(
        errno(inner.register(&outer, Events::READ, ())),
        Some(libc::ELOOP)
    );
    writes.join().unwrap().unwrap();
}

// 100: test__close_backend_fd.py
#[test]
fn somebody_who_closes_the_epoll_set_itself_is_reported() {
    let _bound = bounded();
    const TEST: &str = "somebody_who_closes_the_epoll_set_itself_is_reported";
    if !is_alone() {
        passes_alone(TEST);
        return;
    }
    let _bound = bounded();
    let selector = DefaultSelector::new().unwrap();
    let (a, mut b) = pair();
    selector.register(&a, Events::READ, ()).unwrap();
    b.write_all(b"x").unwrap();
    assert_eq!(told(&selector, None).len(), 1);
    let fd = selector.as_raw_fd();
    // SAFETY: not sound in general, which is the point; nothing else in this process runs.
    unsafe { libc::close(fd) };
    assert_eq!(errno(selector.select(NOW)), EBADF);
    assert_eq!(errno(selector.select(None)), EBADF);
    assert_eq!(errno(selector.register(&b, Events::READ, ())), EBADF);
    let null = File::open("/dev/null").unwrap();
    if null.as_raw_fd() != fd {
        // SAFETY: gives the number back, so that its owner may close it.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
    assert_eq!(
        errno(selector.select(None)),
        Some(libc::EINVAL),
        "no epoll set any more"
    );
    if null.as_raw_fd() == fd {
        std::mem::forget(null);
    }
}

#[test]
fn a_forked_child_has_a_set_of_its_own() {
    let _bound = bounded();
    const TEST: &str = "a_forked_child_has_a_set_of_its_own";
    if !is_alone() {
        passes_alone(TEST);
        return;
    }
    let _bound = bounded();
    let selector = DefaultSelector::new().unwrap();
    let (a, mut b) = pair();
    let (c, mut d) = pair();
    selector.register(&a, Events::READ, ()).unwrap();
    selector.register(&c, Events::READ, ()).unwrap();
    assert_eq!(told(&selector, SOON), []);
    // SAFETY: the child goes on in plain Rust code, and the harness's other thread sits in a join.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: alarm takes a plain number; its signal ends a child that hangs.
        unsafe { libc::alarm(20) };
        let before = selector.as_raw_fd();
        d.write_all(b"x").unwrap();
        let found = told(&selector, None) == [(c.as_raw_fd(), Events::READ)];
        let fresh = selector.unregister(&a).is_ok() && selector.as_raw_fd() != before;
        // SAFETY: _exit does not return.
        unsafe { libc::_exit(i32::from(!(found && fresh))) };
    }
    let mut status = 0;
    // SAFETY: `status` is there to be written.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    b.write_all(b"x").unwrap();
    let mut expected = [(a.as_raw_fd(), Events::READ), (c.as_raw_fd(), Events::READ)];
    expected.sort_by_key(|(fd, _)| *fd);
    assert_eq!(told(&selector, None), expected, "untouched by the child");
}

#[test]
fn where_nothing_may_unwind_a_kill_is_ecanceled() {
    let _bound = bounded();
    let waits = spawn(move || {
        let selector = DefaultSelector::<()>::new().unwrap();
        greenroom::foreign(|| errno(selector.select(None)))
    });
    yield_now();
    waits.kill();
    let (killed, late) = waits.join_late().unwrap_err();
    assert!(killed.is_killed());
    assert_eq!(late.unwrap(), Some(libc::ECANCELED));
}

#[test]
fn without_descriptors_it_is_an_error_and_who_waits_is_still_reached() {
    let _bound = bounded();
    const TEST: &str = "without_descriptors_it_is_an_error_and_who_waits_is_still_reached";
    if !is_alone() {
        passes_alone(TEST);
        return;
    }
    let _bound = bounded();
    const EMFILE: Option<i32> = Some(libc::EMFILE);
    let (a, _b) = pair();
    let file = File::open("/etc/passwd").unwrap();
    let epoll = Arc::new(EpollSelector::new().unwrap());
    epoll.register(&a, Events::READ, ()).unwrap();
    let theirs = Arc::clone(&epoll);
    let waits = spawn(move || errno(theirs.select(None)));
    yield_now();
    let fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(fillers.len() > 100);

    assert_eq!(errno(EpollSelector::<()>::new()), EMFILE);
    assert_eq!(errno(epoll.register(&file, Events::READ, ())), EMFILE);
    let poll = PollSelector::new().unwrap();
    poll.register(&a, Events::READ, ()).unwrap();
    assert_eq!(told(&poll, NOW), [], "to look takes none");
    assert_eq!(errno(poll.select(SOON)), EMFILE);
    assert_eq!(errno(select(&[&a], &[], &[], SOON)), EMFILE);
    epoll.close();
    assert_eq!(waits.join().unwrap(), EBADF);
    drop(fillers);
    assert_eq!(told(&poll, SOON), []);
}

#[test]
fn a_thousand_selectors_leave_no_descriptor() {
    let _bound = bounded();
    const TEST: &str = "a_thousand_selectors_leave_no_descriptor";
    if !is_alone() {
        passes_alone(TEST);
        return;
    }
    let (a, _b) = pair();
    let file = File::open("/etc/passwd").unwrap();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = Cell::new(0);
    let once = || {
        let epoll = EpollSelector::new().unwrap();
        epoll.register(&a, Events::READ, ()).unwrap();
        epoll.register(&file, Events::READ, ()).unwrap();
        epoll.select(Some(Duration::from_micros(1))).unwrap();
        let poll = PollSelector::new().unwrap();
        poll.register(&a, Events::READ, ()).unwrap();
        poll.select(Some(Duration::from_micros(1))).unwrap();
        if round.replace(round.get() + 1) % 2 == 0 {
            epoll.close();
            poll.close();
        }
    };
    once();
    let before = (count(), hub::stats().registrations);
    (0..1000).for_each(|_| once());
    assert_eq!((count(), hub::stats().registrations), before);
}
