//! What gevent's own tests ask of `selectors`: behaviours 91, 95, 96 and 100 of our list,
//! re-written in our words after the test that each names, not copied; and what Python's
//! documentation promises beyond them. What holds for all three kinds is tested with all three.
mod select_support;

use greenroom::io::{Read, Write, pipe};
use greenroom::net::{TcpListener, TcpStream};
use greenroom::select::Events;
use greenroom::selectors::{Kind, Selector};
use greenroom::{sim, sleep, spawn, spawn_local, with_timeout, yield_now};
use select_support::bounded;
use select_support::*;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs a test with each kind of selector.
macro_rules! with_each_kind {
    ($($(#[$about:meta])* fn $test:ident($new:ident) $body:block)*) => {$(
        mod $test {
            use super::*;
            $(#[$about])*
            fn of_kind<K: Kind + Send + 'static>() {
                let _bound = bounded();
                fn $new<T, K: Kind>() -> Selector<T, K> {
                    Selector::new().unwrap()
                }
                let $new = || $new::<_, K>();
                $body
            }
            #[test]
            fn epoll() {
                let _bound = bounded();
                of_kind::<greenroom::selectors::Epoll>();
            }
            #[test]
            fn poll() {
                let _bound = bounded();
                of_kind::<greenroom::selectors::Polling>();
            }
            #[test]
            fn select() {
                let _bound = bounded();
                of_kind::<greenroom::selectors::Selecting>();
            }
        }
    )*};
}

with_each_kind! {
    // 96: test__selectors.py test_select_using_socketpair, test_many_sockets
    fn many_socket_pairs_are_told_one_by_one_and_again_when_written_again(new) {
        let selector = new();
        let mut pairs: Vec<_> = (0..100).map(|_| pair()).collect();
        for (index, (reader, _)) in pairs.iter().enumerate() {
            selector.register(reader, Events::READ, index).unwrap();
        }
        for round in 0..3 {
            for (_, writer) in &mut pairs {
                writer.write_all(&[round]).unwrap();
            }
            let mut left = pairs.len();
            while left > 0 {
                for (key, events) in selector.select(None).unwrap() {
                    assert_eq!(events, Events::READ);
                    let mut byte = [9];
                    pairs[*key.data].0.read_exact(&mut byte).unwrap();
                    assert_eq!(byte, [round]);
                    left -= 1;
                }
            }
            assert_eq!(told(&selector, NOW), []);
        }
    }

    fn keys_carry_their_data_and_can_be_looked_up(new) {
        let selector = new();
        let (a, b) = pair();
        let key = selector.register(&a, Events::READ, "a").unwrap();
        assert_eq!((key.fd, key.events, *key.data), (a.as_raw_fd(), Events::READ, "a"));
        selector.register(&b, Events::WRITE, "b").unwrap();
        assert_eq!(*selector.get_key(&b).unwrap().data, "b");
        let map = selector.get_map();
        assert_eq!(map.len(), 2);
        assert_eq!(*map[&a.as_raw_fd()].data, "a");
        assert_eq!(selector.len(), 2);
        assert_eq!(*selector.unregister(&a).unwrap().data, "a");
        assert_eq!(kind(selector.get_key(&a)), ErrorKind::NotFound);
        assert_eq!(told(&selector, NOW), [(b.as_raw_fd(), Events::WRITE)]);
        assert!(!selector.is_empty());
        let text = format!("{selector:?}");
        assert!(text.contains("Selector") && text.contains("WRITE"), "{text}");
    }

    // 95: test__selectors.py, test_select.py: KeyError for what is unknown
    fn what_is_unknown_is_not_found_and_what_is_known_exists(new) {
        let selector = new();
        let (a, b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        for result in [
            selector.register(&a, Events::WRITE, ()),
            selector.register(a.as_raw_fd(), Events::READ, ()),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(error.to_string().contains(&a.as_raw_fd().to_string()), "{error}");
        }
        assert_eq!(kind(selector.unregister(&b)), ErrorKind::NotFound);
        assert_eq!(kind(selector.modify(&b, Events::READ)), ErrorKind::NotFound);
        assert_eq!(kind(selector.modify_with(-1, Events::READ, ())), ErrorKind::NotFound);
        assert_eq!(kind(selector.get_key(i32::MAX)), ErrorKind::NotFound);
        assert_eq!(kind(selector.register(-1, Events::READ, ())), ErrorKind::InvalidInput);
        assert_eq!(kind(selector.register(&b, Events::empty(), ())), ErrorKind::InvalidInput);
        assert_eq!(kind(selector.modify(&a, Events::ERROR)), ErrorKind::InvalidInput);
        assert_eq!(selector.len(), 1);
        assert_eq!(told(&selector, NOW), []);
    }

    fn a_modification_counts_and_keeps_the_data_unless_there_is_other(new) {
        let selector = new();
        let (a, _b) = pair();
        let fd = a.as_raw_fd();
        selector.register(&a, Events::READ, 1).unwrap();
        assert_eq!(told(&selector, NOW), []);
        assert_eq!(*selector.modify(&a, Events::READ | Events::WRITE).unwrap().data, 1);
        assert_eq!(told(&selector, None), [(fd, Events::WRITE)]);
        assert_eq!(*selector.modify_with(&a, Events::READ, 2).unwrap().data, 2);
        assert_eq!(told(&selector, NOW), []);
        assert_eq!(*selector.unregister(&a).unwrap().data, 2);
    }

    fn it_is_told_until_it_is_no_longer_so(new) {
        let selector = new();
        let (mut a, mut b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        b.write_all(b"xy").unwrap();
        for _ in 0..3 {
            assert_eq!(told(&selector, None), [(a.as_raw_fd(), Events::READ)]);
        }
        a.read_exact(&mut [0]).unwrap();
        assert_eq!(told(&selector, None).len(), 1, "there is a second byte");
        a.read_exact(&mut [0]).unwrap();
        assert_eq!(told(&selector, SOON), []);
    }

    fn an_end_counts_as_what_was_asked_for(new) {
        let selector = new();
        let (a, b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        drop(b);
        assert!(told(&selector, None)[0].1.contains(Events::READ));
        let (reader, writer) = pipe().unwrap();
        selector.register(&writer, Events::WRITE, ()).unwrap();
        selector.unregister(&a).unwrap();
        drop(reader);
        let events = told(&selector, None)[0].1;
        assert!(events.contains(Events::WRITE) && !events.contains(Events::READ), "{events:?}");
    }

    // 54: testing/timing.py
    fn a_limit_is_kept_to_and_leaves_nothing_behind(new) {
        let selector = new();
        let (a, mut b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        for limit in [NOW, Some(Duration::from_nanos(1)), SOON, Some(Duration::from_millis(3))] {
            let begin = Instant::now();
            assert_eq!(told(&selector, limit), []);
            assert!(begin.elapsed() >= limit.unwrap());
        }
        assert_nobody_waits();
        let writes = spawn(move || {
            sleep(ms(5));
            b.write_all(b"x").map(|()| b)
        });
        assert_eq!(told(&selector, Some(Duration::MAX)).len(), 1);
        writes.join().unwrap().unwrap();
    }

    fn a_look_without_a_limit_of_time_lets_the_others_have_their_turn(new) {
        let selector = new();
        let (a, mut b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        let writes = spawn(move || b.write_all(b"x").map(|()| b));
        assert_eq!(told(&selector, NOW).len(), 1, "written while it let others run");
        writes.join().unwrap().unwrap();
    }

    fn what_others_register_while_one_waits_counts_at_once(new) {
        let selector = Arc::new(new());
        let theirs = Arc::clone(&selector);
        let waits = spawn(move || told(&theirs, None));
        yield_now();
        let (a, _b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        yield_now();
        assert!(!waits.is_finished());
        selector.modify(&a, Events::WRITE).unwrap();
        assert_eq!(waits.join().unwrap(), [(a.as_raw_fd(), Events::WRITE)]);
    }

    fn what_others_register_while_one_waits_is_told_when_it_gets_ready(new) {
        let selector = Arc::new(new());
        let theirs = Arc::clone(&selector);
        let waits = spawn(move || told(&theirs, None));
        yield_now();
        let (a, mut b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        sleep(ms(5));
        assert!(!waits.is_finished());
        b.write_all(b"x").unwrap();
        assert_eq!(waits.join().unwrap(), [(a.as_raw_fd(), Events::READ)]);
    }

    fn what_others_unregister_while_one_waits_is_not_told(new) {
        let selector = Arc::new(new());
        let (a, mut b) = pair();
        let (c, mut d) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        selector.register(&c, Events::READ, ()).unwrap();
        let theirs = Arc::clone(&selector);
        let waits = spawn(move || told(&theirs, None));
        yield_now();
        selector.unregister(&a).unwrap();
        b.write_all(b"x").unwrap();
        sleep(ms(5));
        assert!(!waits.is_finished());
        d.write_all(b"x").unwrap();
        assert_eq!(waits.join().unwrap(), [(c.as_raw_fd(), Events::READ)]);
    }

    fn another_thread_may_register_while_one_waits(new) {
        let selector = Arc::new(new());
        let (a, mut b) = pair();
        b.write_all(b"x").unwrap();
        let theirs = Arc::clone(&selector);
        let fd = a.as_raw_fd();
        let other = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            theirs.register(fd, Events::READ, ()).unwrap();
            // Nobody here has a hub yet: it waits as an OS thread does.
            told(&theirs, None)
        });
        assert_eq!(told(&selector, None), [(fd, Events::READ)]);
        assert_eq!(other.join().unwrap(), [(fd, Events::READ)]);
    }

    fn closing_wakes_who_waits_and_all_calls_fail_from_then_on(new) {
        let selector = Arc::new(new());
        let (a, b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        let waits: Vec<_> = [None, Some(LONG)]
            .map(|limit| {
                let theirs = Arc::clone(&selector);
                spawn(move || errno(theirs.select(limit)))
            })
            .into();
        let theirs = Arc::clone(&selector);
        let elsewhere = std::thread::spawn(move || errno(theirs.select(None)));
        sleep(ms(20));
        selector.close();
        selector.close();
        for wait in waits {
            assert_eq!(wait.join().unwrap(), EBADF);
        }
        assert_eq!(elsewhere.join().unwrap(), EBADF);
        assert_eq!(errno(selector.select(NOW)), EBADF);
        assert_eq!(errno(selector.select(None)), EBADF);
        assert_eq!(errno(selector.register(&b, Events::READ, ())), EBADF);
        assert_eq!(errno(selector.modify(&a, Events::READ)), EBADF);
        assert_eq!(errno(selector.unregister(&a)), EBADF);
        assert_eq!(errno(selector.get_key(&a)), EBADF);
        assert!(selector.get_map().is_empty());
        assert_nobody_waits();
    }

    fn a_kill_and_a_timeout_end_it_and_lose_nothing(new) {
        let selector = Arc::new(new());
        let (a, mut b) = pair();
        selector.register(&a, Events::READ, ()).unwrap();
        assert!(with_timeout(ms(5), || selector.select(None)).is_err());
        let theirs = Arc::clone(&selector);
        let waits = spawn(move || theirs.select(None).map(|_| ()));
        yield_now();
        b.write_all(b"x").unwrap();
        waits.kill();
        let _ = waits.join();
        assert_eq!(told(&selector, None), [(a.as_raw_fd(), Events::READ)]);
        assert_nobody_waits();
    }

    fn several_greenlets_may_wait_and_several_selectors_for_one_descriptor(new) {
        let (a, mut b) = pair();
        let one = Arc::new(new());
        let two = Arc::new(new());
        for selector in [&one, &two] {
            selector.register(&a, Events::READ, ()).unwrap();
        }
        let waits: Vec<_> = [&one, &one, &two, &two]
            .map(|selector| {
                let selector = Arc::clone(selector);
                spawn(move || told(&selector, None).len())
            })
            .into();
        let reads = Rc::new(a);
        let theirs = Rc::clone(&reads);
        let peeks = spawn_local(move || {
            greenroom::io::wait_readable(&*theirs).unwrap();
        });
        yield_now();
        b.write_all(b"x").unwrap();
        for wait in waits {
            assert_eq!(wait.join().unwrap(), 1);
        }
        peeks.join().unwrap();
    }

    fn what_is_always_ready_does_not_keep_others_from_running(new) {
        let selector = new();
        let (a, _b) = pair();
        selector.register(&a, Events::WRITE, ()).unwrap();
        let busy = spawn_local(move || {
            loop {
                selector.select(None).unwrap();
            }
        });
        for _ in 0..10 {
            sleep(ms(1));
        }
        busy.kill();
        assert!(busy.join().unwrap_err().is_killed());
    }

    fn regular_files_are_always_ready(new) {
        let selector = new();
        let file = File::open("/etc/passwd").unwrap();
        let fd = file.as_raw_fd();
        selector.register(&file, Events::READ, ()).unwrap();
        for _ in 0..3 {
            assert_eq!(told(&selector, None), [(fd, Events::READ)]);
        }
        selector.modify(&file, Events::WRITE).unwrap();
        assert_eq!(told(&selector, NOW), [(fd, Events::WRITE)]);
        assert_eq!(kind(selector.register(&file, Events::READ, ())), ErrorKind::AlreadyExists);
        selector.unregister(&file).unwrap();
        assert_eq!(told(&selector, NOW), []);
    }

    fn there_is_no_limit_of_1024_descriptors(new) {
        let selector = new();
        let mut pairs: Vec<_> = (0..1500).map(|_| pair()).collect();
        for (reader, _) in &pairs {
            selector.register(reader, Events::READ, ()).unwrap();
        }
        let farthest = pairs.iter_mut().max_by_key(|(reader, _)| reader.as_raw_fd());
        let (reader, writer) = farthest.unwrap();
        assert!(reader.as_raw_fd() > 1024);
        writer.write_all(b"x").unwrap();
        assert_eq!(told(&selector, None), [(reader.as_raw_fd(), Events::READ)]);
    }

    fn the_users_data_may_use_the_selector_when_it_is_dropped(new) {
        struct Looks<K: Kind>(std::sync::Weak<Selector<Looks<K>, K>>, Arc<AtomicUsize>);
        impl<K: Kind> Drop for Looks<K> {
            fn drop(&mut self) {
                if let Some(selector) = self.0.upgrade() {
                    self.1.fetch_add(1 + selector.len(), Ordering::Relaxed);
                }
            }
        }
        let selector = Arc::new(new());
        let looked = Arc::new(AtomicUsize::new(0));
        let data = || Looks(Arc::downgrade(&selector), Arc::clone(&looked));
        let (a, _b) = pair();
        drop(selector.register(&a, Events::READ, data()).unwrap());
        assert!(selector.register(&a, Events::READ, data()).is_err());
        assert_eq!(looked.swap(0, Ordering::Relaxed), 2, "refused, with one registered");
        drop(selector.modify_with(&a, Events::READ, data()).unwrap());
        assert_eq!(looked.swap(0, Ordering::Relaxed), 2, "replaced");
        selector.close();
        assert_eq!(looked.swap(0, Ordering::Relaxed), 1, "forgotten");
    }

    fn simulated_sockets_can_be_watched_in_virtual_time(new) {
        for seed in 0..20 {
            sim::run(seed, || {
                let selector = new();
                let listener = TcpListener::bind("10.0.0.1:80").unwrap();
                selector.register(&listener, Events::READ, ()).unwrap();
                let minute = Duration::from_secs(60);
                let client = spawn(move || {
                    sleep(2 * minute);
                    TcpStream::connect("10.0.0.1:80").unwrap()
                });
                let begin = greenroom::now();
                assert_eq!(told(&selector, Some(minute)), []);
                assert_eq!(greenroom::now() - begin, minute);
                assert_eq!(told(&selector, None).len(), 1);
                assert_eq!(greenroom::now() - begin, 2 * minute);
                client.join().unwrap();
            });
        }
    }
}
