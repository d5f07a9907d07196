//! Who is not concerned: threads without a hub, `native`, destructors that unwind, the standard
//! output; and what can be asked of the patch.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenroom::monkey::{self, Part};
use monkey_support::{green, ms, os_thread};

#[test]
fn each_function_is_ours_in_this_program() {
    let _bound = bounded();
    // T9: what is linked in another order, or hidden, is told.
    monkey::verify().unwrap();
    monkey::patch_all().unwrap();
    let report = monkey::report();
    assert!(report.symbols().len() > 60);
    assert!(
        report
            .symbols()
            .iter()
            .all(monkey::SymbolReport::is_patched)
    );
    assert!(monkey::is_patched("recv") && !monkey::is_patched("fread"));
    // C code finds them as well, by the dynamic table of the program.
    // SAFETY: C strings.
    let found = |name: &std::ffi::CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert_eq!(found(c"recv"), libc::recv as *mut c_void);
    // SAFETY: as above.
    let real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"recv".as_ptr()) };
    assert_ne!(found(c"recv"), real);
}

#[test]
fn a_thread_without_a_hub_makes_its_calls_uncounted() {
    let _bound = bounded();
    let calls = || monkey::report().symbol("usleep").unwrap().calls();
    monkey::patch_all().unwrap();
    let before = calls();
    // SAFETY: no pointers.
    let sleeps = || (0..10).all(|_| unsafe { libc::usleep(1) } == 0);
    assert!(os_thread(sleeps).join().unwrap());
    assert_eq!(calls(), before);
    // SAFETY: no pointers.
    green(|| unsafe { libc::usleep(1) });
    assert_eq!(calls(), before + 1);
}

#[test]
fn native_blocks_the_thread_and_is_told_in_the_report() {
    let _bound = bounded();
    green(|| {
        let ran = Arc::new(Mutex::new(false));
        let theirs = Arc::clone(&ran);
        let other = greenroom::spawn(move || *theirs.lock().unwrap() = true);
        let bypassed = || monkey::report().symbol("nanosleep").unwrap().bypassed();
        let before = bypassed();
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        // SAFETY: a valid time.
        let nap = || unsafe { libc::nanosleep(&time, null_mut()) };
        assert_eq!(monkey::native(nap), 0);
        assert!(!*ran.lock().unwrap(), "nobody else has run");
        let report = monkey::report();
        let symbol = report.symbol("nanosleep").unwrap();
        assert_eq!(symbol.bypassed(), before + 1);
        assert!(symbol.blocked() >= ms(20));
        assert!(
            symbol.to_string().contains("inside of native()"),
            "{symbol}"
        );
        other.join().unwrap();
    });
}

#[test]
fn a_destructor_that_unwinds_blocks_and_harms_nobody() {
    let _bound = bounded();
    // T3: others must not see its panic, and poison their locks.
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(ms(20));
        }
    }
    green(|| {
        let innocent = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&innocent);
        let neighbour = greenroom::spawn(move || {
            (0..20).for_each(|_| {
                let mut count = theirs.lock().unwrap();
                thread::sleep(ms(1));
                assert!(!thread::panicking());
                *count += 1;
            });
        });
        // It has its thread-locals from the root, as others may.
        let panics = greenroom::spawn_local(|| {
            let _slow = Slow;
            thread::sleep(ms(2));
            std::panic::resume_unwind(Box::new("no message"));
        });
        assert!(panics.join().unwrap_err().is_panic());
        let report = monkey::report();
        let sleeps = report.symbol("clock_nanosleep").unwrap().to_string();
        assert!(sleeps.contains("blocked while a panic unwinds"), "{sleeps}");
        neighbour.join().unwrap();
        assert!(!innocent.is_poisoned());
    });
}

#[test]
fn the_standard_output_never_parks() {
    let _bound = bounded();
    // A pipe that nobody reads for a while: println! holds a lock that belongs to the thread.
    if std::env::var_os("MONKEY_PRINTS").is_some() {
        return green(|| {
            let printers = (0..4).map(|i| {
                greenroom::spawn(move || {
                    (0..2000).for_each(|_| println!("{i} and some more text to fill the pipe"));
                })
            });
            greenroom::joinall(printers)
                .into_iter()
                .for_each(|done| done.unwrap());
        });
    }
    let name = "the_standard_output_never_parks";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("MONKEY_PRINTS", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(ms(100));
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let lines = text
        .lines()
        .filter(|line| line.ends_with("to fill the pipe"));
    assert_eq!(lines.count(), 8000);
}

#[test]
fn parts_can_be_patched_by_themselves() {
    let _bound = bounded();
    let name = "parts_can_be_patched_by_themselves";
    if std::env::var_os("MONKEY_PARTS").is_some() {
        assert!(!monkey::is_patched("recv"));
        monkey::patch(&[Part::Time]).unwrap();
        assert!(monkey::is_patched("usleep") && !monkey::is_patched("recv"));
        let begin = Instant::now();
        let sleepers = (0..10).map(|_| greenroom::spawn(|| thread::sleep(ms(100))));
        greenroom::joinall(sleepers)
            .into_iter()
            .for_each(|done| done.unwrap());
        assert!(begin.elapsed() < ms(900));
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args([name, "--exact"]).env("MONKEY_PARTS", "1");
    assert!(child.output().unwrap().status.success());
}

#[test]
fn a_dump_says_who_waits_for_what() {
    let _bound = bounded();
    green(|| {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let locker = greenroom::spawn(move || drop(theirs.lock()));
        let (near, far) = UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        let reader = greenroom::spawn(move || (&near).read(&mut [0]).unwrap());
        let reading = format!("descriptor {fd} to be readable");
        let begin = Instant::now();
        // A reader that has waited for 100 ms runs for a moment, to ask the kernel once more.
        let dump = loop {
            greenroom::sleep(ms(2));
            let dump = greenroom::hub::dump();
            assert!(dump.contains("waits for a futex"), "{dump}");
            if dump.contains(&reading) || begin.elapsed() > Duration::from_secs(20) {
                break dump;
            }
        };
        assert!(dump.contains(&reading), "{dump}");
        drop((held, far));
        locker.join().unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn closures_and_loggers_may_call_back() {
    let _bound = bounded();
    // T12: what a hook calls may come to a hook again.
    struct Loud(UnixStream);
    impl log::Log for Loud {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }
        fn log(&self, record: &log::Record) {
            let _ = writeln!(&self.0, "{}", record.args());
        }
        fn flush(&self) {}
    }
    let (near, mut far) = UnixStream::pair().unwrap();
    let _ = log::set_logger(Box::leak(Box::new(Loud(near))));
    log::set_max_level(log::LevelFilter::Trace);
    let reader = os_thread(move || far.read(&mut [0; 9]).unwrap());
    green(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        let waiter = greenroom::spawn(move || {
            let mut byte = [0u8];
            // SAFETY: a valid buffer.
            unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) }
        });
        greenroom::sleep(ms(2));
        log::info!("from a greenlet");
        drop(near);
        assert_eq!(waiter.join().unwrap(), -1);
    });
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_hub_that_ends_is_forgotten() {
    let _bound = bounded();
    // T6: a descriptor that a hub has known, closed when the hub is gone.
    let (near, mut far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let near = os_thread(move || {
        let mut near = near;
        green(move || {
            near.set_read_timeout(Some(ms(5))).unwrap();
            near.read(&mut [0]).unwrap_err();
            near
        })
    });
    drop(near.join().unwrap());
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

/// What of libc std calls and may block, and why it is not replaced.
const EXCUSED: &[(&str, &str)] = &[
    (
        "pread64",
        "of files that have a position: pipes and sockets refuse it",
    ),
    ("preadv", "as pread64"),
    ("preadv64", "as pread64"),
    ("pwrite64", "as pread64"),
    ("pwritev", "as pread64"),
    ("pwritev64", "as pread64"),
    (
        "fsync",
        "waits for a disk: regular files block, patched or not",
    ),
    ("fdatasync", "as fsync"),
    ("copy_file_range", "between regular files"),
    ("pause", "waits for a signal, which the thread gets"),
    ("fgetc", "inside of stdio nothing can be seen"),
];

/// Names of libc that may block, as far as std or C code of today calls them.
const BLOCKING: &[&str] = &[
    "accept",
    "accept4",
    "clock_nanosleep",
    "close",
    "close_range",
    "connect",
    "copy_file_range",
    "dup2",
    "dup3",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fclose",
    "fcntl",
    "fcntl64",
    "fdatasync",
    "flock",
    "fsync",
    "futex_waitv",
    "getaddrinfo",
    "gethostbyname",
    "getnameinfo",
    "ioctl",
    "lockf",
    "nanosleep",
    "open64",
    "openat64",
    "pause",
    "poll",
    "ppoll",
    "pread64",
    "preadv",
    "preadv64",
    "pselect",
    "pthread_join",
    "pwrite64",
    "pwritev",
    "pwritev64",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sched_yield",
    "select",
    "sem_timedwait",
    "sem_wait",
    "send",
    "sendfile",
    "sendfile64",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "sleep",
    "splice",
    "syscall",
    "tee",
    "usleep",
    "vmsplice",
    "wait",
    "wait3",
    "wait4",
    "waitid",
    "waitpid",
    "write",
    "writev",
];

#[test]
fn nothing_blocking_that_this_std_imports_is_missing() {
    let _bound = bounded();
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = format!("{}/lib/rustlib/{host}/lib", sysroot.trim());
    let library = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".so");
    let library = library.into_iter().find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_std)
    });
    let library = library.expect("the toolchain has a libstd");
    let imports = Command::new("nm")
        .args(["-D", "-u"])
        .arg(&library)
        .output()
        .unwrap();
    assert!(imports.status.success(), "nm, of binutils, is needed");
    let imports = String::from_utf8_lossy(&imports.stdout).into_owned();
    let name = |line: &'static str| line.trim().split([' ', '@']).nth(1);
    let imports: Vec<&str> = imports.leak().lines().filter_map(name).collect();
    assert!(
        imports.contains(&"recv") && imports.contains(&"syscall"),
        "{imports:?}"
    );
    let report = monkey::report();
    for name in BLOCKING.iter().filter(|name| imports.contains(name)) {
        let excused = EXCUSED.iter().any(|(other, _)| other == name);
        assert!(
            excused || report.symbol(name).is_some(),
            "std calls {name}, which is not hooked"
        );
    }
}

/// How often others run while a greenlet raises SIGUSR1 a thousand times.
fn turns_while_raising() -> usize {
    let turns = Arc::new(AtomicUsize::new(0));
    let others = Arc::clone(&turns);
    let other = greenroom::spawn(move || {
        loop {
            others.fetch_add(1, Ordering::Relaxed);
            greenroom::yield_now();
        }
    });
    let raises = greenroom::spawn(move || {
        let before = turns.load(Ordering::Relaxed);
        for _ in 0..1000 {
            // SAFETY: a plain number; the signal comes to this very thread.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
        turns.load(Ordering::Relaxed) - before
    });
    let turns = raises.join().unwrap();
    other.kill();
    turns
}

/// It may have interrupted anything, an allocation for one, and stand on the signal stack, where
/// the next signal would write over it.
#[test]
fn a_handler_of_signals_lets_nobody_run_in_its_middle() {
    let _bound = bounded();
    static WRITER: AtomicI32 = AtomicI32::new(-1);
    extern "C" fn writes(_: libc::c_int) {
        // SAFETY: one byte is there to be read.
        unsafe { libc::write(WRITER.load(Ordering::Relaxed), b"x".as_ptr().cast(), 1) };
    }
    monkey::patch_all().unwrap();
    let usr1 = greenroom::signal::Signal::USR1;
    let signals = greenroom::signal::Signals::new(&[usr1]).unwrap();
    assert_eq!(turns_while_raising(), 0, "ours");
    assert_eq!(signals.pending(), 1000);
    drop(signals);

    // As crates do that tell of signals by a pipe.
    let (mut reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    WRITER.store(writer.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: zeroed is a valid sigaction; the handler makes a call that handlers may make.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = writes as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, null_mut()), 0);
    }
    assert_eq!(turns_while_raising(), 0, "theirs");
    drop(writer);
    let mut told = Vec::new();
    reader.read_to_end(&mut told).unwrap();
    assert!(!told.is_empty());
}
