//! All other waits: locks, sleeps, polls, names, pipes, children, threads.

mod monkey_support;

use monkey_support::bounded;
use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{green, later, ms, os_thread, owned, pair, parks, pipe};

#[test]
fn a_std_mutex_may_be_held_across_a_park() {
    let _bound = bounded();
    // T2: without the patch the second greenlet blocks the thread on which the first would run.
    green(|| {
        let count = Arc::new(Mutex::new(0));
        let greenlets = (0..100).map(|_| {
            let count = Arc::clone(&count);
            greenroom::spawn(move || {
                let mut count = count.lock().unwrap();
                let seen = *count;
                thread::sleep(ms(1));
                *count = seen + 1;
            })
        });
        greenroom::joinall(greenlets)
            .into_iter()
            .for_each(|done| done.unwrap());
        assert_eq!(*count.lock().unwrap(), 100);
    });
}

#[test]
fn std_s_locks_work_between_greenlets() {
    let _bound = bounded();
    green(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let waiters: Vec<_> = (0..20)
            .map(|i| {
                let shared = Arc::clone(&shared);
                greenroom::spawn(move || {
                    let (number, changed) = &*shared;
                    let held = number.lock().unwrap();
                    drop(changed.wait_while(held, |number| *number <= i).unwrap());
                })
            })
            .collect();
        for _ in 0..20 {
            thread::sleep(Duration::from_micros(100));
            *shared.0.lock().unwrap() += 1;
            shared.1.notify_all();
        }
        greenroom::joinall(waiters)
            .into_iter()
            .for_each(|done| done.unwrap());

        let barrier = Arc::new(Barrier::new(10));
        let once = Arc::new(OnceLock::new());
        let table = Arc::new(RwLock::new(Vec::new()));
        let greenlets = (0..10).map(|i| {
            let (barrier, once, table) = (barrier.clone(), once.clone(), table.clone());
            greenroom::spawn(move || {
                barrier.wait();
                let made = *once.get_or_init(|| {
                    thread::sleep(ms(5));
                    i
                });
                table.write().unwrap().push(made);
                let read = table.read().unwrap();
                thread::sleep(ms(1));
                read[0]
            })
        });
        let made: Vec<_> = greenroom::joinall(greenlets)
            .into_iter()
            .map(|m| m.unwrap())
            .collect();
        assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
        assert_eq!(table.read().unwrap().len(), 10);
    });
}

#[test]
fn a_condvar_s_limit_of_time_is_kept() {
    let _bound = bounded();
    let begin = Instant::now();
    let timed_out = parks(|| {
        let (number, changed) = (Mutex::new(0), Condvar::new());
        changed
            .wait_timeout(number.lock().unwrap(), ms(40))
            .unwrap()
            .1
            .timed_out()
    });
    assert!(timed_out && begin.elapsed() >= ms(40));
}

#[test]
fn locks_are_handed_between_greenlets_and_os_threads() {
    let _bound = bounded();
    let shared = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let step = |shared: &(Mutex<usize>, Condvar), mine: usize| {
        for _ in 0..200 {
            let held = shared.0.lock().unwrap();
            let mut held = shared.1.wait_while(held, |turn| *turn % 3 != mine).unwrap();
            *held += 1;
            drop(held);
            shared.1.notify_all();
        }
    };
    let plain = Arc::clone(&shared);
    let plain = os_thread(move || step(&plain, 0));
    let other_hub = Arc::clone(&shared);
    let other_hub = os_thread(move || green(move || step(&other_hub, 1)));
    let here = Arc::clone(&shared);
    green(move || step(&here, 2));
    plain.join().unwrap();
    other_hub.join().unwrap();
    assert_eq!(*shared.0.lock().unwrap(), 600);
}

#[test]
fn semaphores_park() {
    let _bound = bounded();
    struct Shared(*mut libc::sem_t);
    // SAFETY: semaphores are for several threads.
    unsafe impl Send for Shared {}
    let semaphore = Box::leak(Box::new(std::mem::MaybeUninit::uninit()));
    let at = semaphore.as_mut_ptr();
    // SAFETY: room for a semaphore.
    assert_eq!(unsafe { libc::sem_init(at, 0, 0) }, 0);
    let shared = Shared(at);
    // SAFETY: a semaphore that lives for ever.
    let far = later(move || assert_eq!(unsafe { libc::sem_post({ shared }.0) }, 0));
    let shared = Shared(at);
    // SAFETY: as above.
    assert_eq!(parks(move || unsafe { libc::sem_wait({ shared }.0) }), 0);
    far.join().unwrap();
}

#[test]
fn each_kind_of_sleep_parks() {
    let _bound = bounded();
    fn sleep(name: &str) -> i32 {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 40_000_000,
        };
        // SAFETY: valid times, and nothing to poll.
        unsafe {
            match name {
                "usleep" => libc::usleep(40_000),
                "nanosleep" => libc::nanosleep(&time, null_mut()),
                "clock_nanosleep" => {
                    libc::clock_nanosleep(libc::CLOCK_REALTIME, 0, &time, null_mut())
                }
                "poll" => libc::poll(null_mut(), 0, 40),
                "sleep" => libc::sleep(1) as i32,
                _ => {
                    thread::sleep(ms(40));
                    0
                }
            }
        }
    }
    let names = [
        "thread::sleep",
        "usleep",
        "nanosleep",
        "clock_nanosleep",
        "poll",
        "sleep",
    ];
    for name in names {
        let begin = Instant::now();
        assert_eq!(parks(move || sleep(name)), 0, "{name}");
        assert!(begin.elapsed() >= ms(40), "{name}: {:?}", begin.elapsed());
    }
}

#[test]
fn a_hundred_sleep_as_long_as_one() {
    let _bound = bounded();
    green(|| {
        let begin = Instant::now();
        let sleepers = (0..100).map(|_| greenroom::spawn(|| thread::sleep(ms(100))));
        greenroom::joinall(sleepers)
            .into_iter()
            .for_each(|done| done.unwrap());
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "one by one it takes 10 s"
        );
    });
}

#[test]
fn poll_select_and_epoll_park() {
    let _bound = bounded();
    let [reads, writes] = pipe().map(owned);
    let fd = reads.as_raw_fd();
    let mut writer = std::fs::File::from(writes);
    for kind in [
        "poll",
        "ppoll",
        "select",
        "pselect",
        "epoll_wait",
        "epoll_pwait",
    ] {
        let mut clone = writer.try_clone().unwrap();
        let far = later(move || clone.write_all(b"x").unwrap());
        // SAFETY: valid arrays and sets; the descriptors are open.
        let found = parks(move || unsafe {
            let mut one = libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            let mut set: libc::fd_set = std::mem::zeroed();
            libc::FD_SET(fd, &mut set);
            let long = libc::timespec {
                tv_sec: 9,
                tv_nsec: 0,
            };
            let none = std::ptr::null();
            let epfd = libc::epoll_create1(0);
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: 7,
            };
            libc::epoll_ctl(epfd, libc::EPOLL_CTL_ADD, fd, &mut event);
            let found = match kind {
                "poll" => libc::poll(&mut one, 1, 9000),
                "ppoll" => libc::ppoll(&mut one, 1, &long, none),
                "select" => libc::select(fd + 1, &mut set, null_mut(), null_mut(), null_mut()),
                "pselect" => libc::pselect(fd + 1, &mut set, null_mut(), null_mut(), &long, none),
                "epoll_wait" => libc::epoll_wait(epfd, &mut event, 1, -1),
                _ => libc::epoll_pwait(epfd, &mut event, 1, 9000, none),
            };
            libc::close(epfd);
            found
        });
        assert_eq!(found, 1, "{kind}");
        far.join().unwrap();
        let mut byte = [0u8];
        // SAFETY: a valid buffer.
        assert_eq!(unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) }, 1);
    }
    writer.flush().unwrap();
}

#[test]
fn a_poll_of_many_is_woken_by_any() {
    let _bound = bounded();
    green(|| {
        let pipes: Vec<_> = (0..50).map(|_| pipe().map(owned)).collect();
        let ask = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut asked: Vec<_> = pipes.iter().map(|ends| ask(ends[0].as_raw_fd())).collect();
        for chosen in [49, 0, 25] {
            let writer = pipes[chosen][1].as_raw_fd();
            let writing = greenroom::spawn(move || {
                greenroom::sleep(ms(5));
                // SAFETY: a valid byte.
                unsafe { libc::write(writer, [1u8].as_ptr().cast(), 1) }
            });
            // SAFETY: as many as there are.
            let found = unsafe { libc::poll(asked.as_mut_ptr(), 50, -1) };
            assert_eq!((found, asked[chosen].revents), (1, libc::POLLIN));
            assert_eq!(writing.join().unwrap(), 1);
            let mut byte = [0u8];
            let reader = asked[chosen].fd;
            // SAFETY: a valid buffer.
            let done = unsafe { libc::read(reader, byte.as_mut_ptr().cast(), 1) };
            assert_eq!(done, 1);
        }
    });
}

#[test]
fn pipes_park_in_both_directions() {
    let _bound = bounded();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let far = later(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 1_000_000);
    });
    let block = vec![3; 1_000_000];
    assert_eq!(parks(move || writer.write(&block).unwrap()), 1_000_000);
    far.join().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let far = later(move || writer.write_all(b"bytes").unwrap());
    let mut text = String::new();
    assert_eq!(parks(move || reader.read_to_string(&mut text).unwrap()), 5);
    far.join().unwrap();
}

#[test]
fn sendfile_and_splice_park_and_move_all() {
    let _bound = bounded();
    const LENGTH: usize = 3_000_000;
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(&vec![9; LENGTH]).unwrap();
    let [near, far] = pair(libc::SOCK_STREAM).map(owned);
    let mut far = std::os::unix::net::UnixStream::from(far);
    let reader = later(move || {
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), LENGTH);
    });
    let sent = parks(move || {
        let mut from = 0;
        // SAFETY: open descriptors and a place for the offset.
        unsafe { libc::sendfile(near.as_raw_fd(), file.as_raw_fd(), &mut from, LENGTH) }
    });
    assert_eq!(sent, LENGTH as isize);
    reader.join().unwrap();

    let ([reads, writes], [_out, into]) = (pipe().map(owned), pipe().map(owned));
    let mut writer = std::fs::File::from(writes);
    let far = later(move || writer.write_all(b"spliced").unwrap());
    let moved = parks(move || {
        let (from, to) = (reads.as_raw_fd(), into.as_raw_fd());
        // SAFETY: open descriptors, no offsets.
        unsafe { libc::splice(from, null_mut(), to, null_mut(), 100, 0) }
    });
    assert_eq!(moved, 7);
    far.join().unwrap();
}

#[test]
fn names_are_looked_up_off_the_hub_s_thread() {
    let _bound = bounded();
    // T4: at the same time, and each gets an answer that is freed by whoever got it.
    green(|| {
        let lookups = (0..50)
            .map(|_| greenroom::spawn(|| ("localhost", 80).to_socket_addrs().unwrap().count()));
        for found in greenroom::joinall(lookups) {
            assert!(found.unwrap() > 0);
        }
        // SAFETY: a C string; the answer is libc's own.
        let host = unsafe { libc_gethostbyname(c"localhost".as_ptr()) };
        assert!(!host.is_null());
    });
    assert!(
        greenroom::monkey::report()
            .symbol("getaddrinfo")
            .unwrap()
            .parks()
            == 0
    );
}

unsafe extern "C" {
    #[link_name = "gethostbyname"]
    fn libc_gethostbyname(name: *const std::ffi::c_char) -> *mut libc::hostent;
}

#[test]
fn children_are_awaited_and_read() {
    let _bound = bounded();
    let begin = Instant::now();
    green(|| {
        let children = (0..20).map(|i| {
            greenroom::spawn(move || {
                let script = format!("sleep 0.2; echo {i}; exit {i}");
                let output = Command::new("sh").args(["-c", &script]).output().unwrap();
                assert_eq!(output.status.code(), Some(i));
                assert_eq!(output.stdout, format!("{i}\n").as_bytes());
            })
        });
        greenroom::joinall(children)
            .into_iter()
            .for_each(|done| done.unwrap());
    });
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "one by one it takes 4 s"
    );
    let status = parks(|| Command::new("sleep").arg("0.05").status().unwrap());
    assert!(status.success());
    // By waitid, which leaves it to be waited for.
    let status = parks(|| {
        let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
        let looks = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: a place for nothing.
        let status = unsafe { libc::waitid(libc::P_PID, child.id(), null_mut(), looks) };
        assert!(child.try_wait().unwrap().is_some(), "it has ended");
        status
    });
    assert_eq!(status, 0);
}

#[test]
fn a_child_of_fork_is_unpatched_and_its_parent_goes_on() {
    let _bound = bounded();
    // T13: with pre_exec std forks; what runs between fork and exec is in the child.
    use std::os::unix::process::CommandExt;
    green(|| {
        let [a, b] = pair(libc::SOCK_STREAM).map(owned);
        let waiter = greenroom::spawn(move || {
            let mut byte = [0u8];
            // SAFETY: a valid buffer.
            unsafe { libc::recv(a.as_raw_fd(), byte.as_mut_ptr().cast(), 1, 0) }
        });
        greenroom::sleep(ms(5));
        let mut command = Command::new("true");
        // SAFETY: sleeps and closes, which a forked child may do.
        unsafe {
            command.pre_exec(|| {
                libc::usleep(20_000);
                (3..64).for_each(|fd| {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                });
                Ok(())
            });
        }
        assert!(command.status().unwrap().success());
        // SAFETY: a valid byte.
        let done = unsafe { libc::send(b.as_raw_fd(), [1u8].as_ptr().cast(), 1, 0) };
        assert_eq!(done, 1);
        assert_eq!(
            waiter.join().unwrap(),
            1,
            "the parent's registration is still there"
        );
    });
}

#[test]
fn a_child_s_output_is_read_while_it_writes() {
    let _bound = bounded();
    let (text, ok) = parks(|| {
        let script = "for i in 1 2 3 4; do sleep 0.02; echo $i; done";
        let command = ["-c", script];
        let child = Command::new("sh")
            .args(command)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        (text, child.wait().unwrap().success())
    });
    assert_eq!((text.as_str(), ok), ("1\n2\n3\n4\n", true));
}

#[test]
fn threads_are_joined() {
    let _bound = bounded();
    assert_eq!(
        parks(|| {
            let thread = os_thread(|| {
                thread::sleep(ms(50));
                42
            });
            thread.join().unwrap()
        }),
        42
    );
}

#[test]
fn locks_of_files_are_waited_for() {
    let _bound = bounded();
    let file = tempfile::NamedTempFile::new().unwrap();
    let again = file.reopen().unwrap();
    let lock = |file: &std::fs::File, operation| {
        // SAFETY: no pointers.
        unsafe { libc::flock(file.as_raw_fd(), operation) }
    };
    assert_eq!(lock(file.as_file(), libc::LOCK_EX), 0);
    let far = later(move || assert_eq!(lock(file.as_file(), libc::LOCK_UN), 0));
    assert_eq!(parks(move || lock(&again, libc::LOCK_EX)), 0);
    far.join().unwrap();
}

#[test]
fn a_runtime_of_tokio_on_other_threads_notices_nothing() {
    let _bound = bounded();
    static DONE: AtomicUsize = AtomicUsize::new(0);
    greenroom::monkey::patch_all().unwrap();
    let tokio = os_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            use tokio::io::Interest;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..50 {
                let client = tokio::spawn(tokio::net::TcpStream::connect(address));
                let (peer, _) = listener.accept().await.unwrap();
                let client = client.await.unwrap().unwrap();
                client.try_write(b"x").unwrap();
                peer.ready(Interest::READABLE).await.unwrap();
                assert_eq!(peer.try_read(&mut [0; 4]).unwrap(), 1);
                tokio::time::sleep(ms(1)).await;
                DONE.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    parks(|| (0..20).for_each(|_| thread::sleep(ms(5))));
    tokio.join().unwrap();
    assert_eq!(DONE.load(Ordering::Relaxed), 50);
}

/// A set of one signal that is blocked on this OS thread.
fn blocked(signal: i32) -> libc::sigset_t {
    // SAFETY: a place for the set; zeros are an empty one.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut());
        set
    }
}

#[test]
fn a_signal_is_waited_for() {
    let _bound = bounded();
    let signal = libc::SIGRTMIN() + 3;
    let set = blocked(signal);
    // SAFETY: takes nothing.
    let here = unsafe { libc::pthread_self() };
    let sends = later(move || {
        // SAFETY: the thread is the test's own, which waits for this one.
        assert_eq!(unsafe { libc::pthread_kill(here, signal) }, 0);
    });
    let found = parks(move || {
        let mut found = 0;
        // SAFETY: a set, and a place for the number.
        assert_eq!(unsafe { libc::sigwait(&set, &mut found) }, 0);
        found
    });
    assert_eq!(found, signal);
    sends.join().unwrap();
}

#[test]
fn a_wait_for_a_signal_has_its_limit_and_its_kill() {
    let _bound = bounded();
    let set = blocked(libc::SIGRTMIN() + 4);
    let (waited, error) = parks(move || {
        let (begin, limit) = (Instant::now(), ms(100));
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: limit.as_nanos() as i64,
        };
        // SAFETY: a set and a time.
        let result = unsafe { libc::sigtimedwait(&set, null_mut(), &time) };
        assert_eq!(result, -1);
        assert!(begin.elapsed() >= limit);
        (result, std::io::Error::last_os_error().raw_os_error())
    });
    assert_eq!((waited, error), (-1, Some(libc::EAGAIN)));
    let error = green(move || {
        let waits = greenroom::spawn_local(move || {
            // SAFETY: a set.
            let result = unsafe { libc::sigwaitinfo(&set, null_mut()) };
            assert_eq!(result, -1);
            std::io::Error::last_os_error().raw_os_error()
        });
        greenroom::yield_now();
        waits.kill();
        let (killed, late) = waits.join_late().unwrap_err();
        assert!(killed.is_killed());
        late.unwrap()
    });
    assert_eq!(error, Some(libc::ECANCELED));
}
