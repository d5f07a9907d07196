//! What the kernel has no "don't wait" for: named pipes, terminals and other devices.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use monkey_support::{green, later, ms, native, on_one_os_thread, os_thread, owned, parks, pipe};

/// Both ends of a new named pipe.
fn fifo() -> (File, File) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenroom-fifo-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    let open = |write: bool| {
        OpenOptions::new()
            .read(!write)
            .write(write)
            .open(&path)
            .unwrap()
    };
    // With somebody on the other side, no open waits.
    let both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let ends = (open(false), open(true));
    drop(both);
    std::fs::remove_file(&path).unwrap();
    ends
}

/// Both sides of a new terminal, which passes bytes on as they are.
fn terminal() -> (File, File) {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: places for both numbers; valid settings.
    unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(
            libc::openpty(&mut master, &mut slave, null, null as _, null as _),
            0
        );
        let mut settings: libc::termios = std::mem::zeroed();
        libc::tcgetattr(slave, &mut settings);
        libc::cfmakeraw(&mut settings);
        assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &settings), 0);
    }
    (File::from(owned(master)), File::from(owned(slave)))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Sends much from one greenlet to another.
fn pass(mut reader: File, mut writer: File, length: usize) {
    let begin = Instant::now();
    let sender = thread::spawn(move || {
        writer.write_all(&bytes(length)).unwrap();
        writer
    });
    let mut got = vec![0; length];
    reader.read_exact(&mut got).unwrap();
    assert!(got == bytes(length));
    drop(sender.join().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(30));
}

/// Everything there is, both ways.
fn pass_all_ways() {
    let (reader, writer) = fifo();
    pass(reader, writer, 300_000);
    let (master, slave) = terminal();
    pass(
        master.try_clone().unwrap(),
        slave.try_clone().unwrap(),
        100_000,
    );
    pass(slave, master, 100_000);
    let [reader, writer] = pipe().map(|end| File::from(owned(end)));
    pass(reader, writer, 300_000);
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (OwnedFd::from(near), OwnedFd::from(far));
    pass(File::from(near), File::from(far), 1_000_000);
}

#[test]
fn all_bytes_pass_between_greenlets_of_one_os_thread() {
    let _bound = bounded();
    on_one_os_thread(|| green(pass_all_ways));
}

#[test]
fn an_end_is_seen_and_a_reader_that_is_gone_too() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let (mut reader, writer) = fifo();
            let waiting = thread::spawn(move || reader.read(&mut [0; 8]).unwrap());
            thread::sleep(ms(20));
            drop(writer);
            assert_eq!(waiting.join().unwrap(), 0);

            let (reader, mut writer) = fifo();
            let waiting = thread::spawn(move || writer.write_all(&bytes(200_000)));
            thread::sleep(ms(20));
            drop(reader);
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        });
    });
}

/// Refuses preadv2 and pwritev2, as kernels before Linux 4.6 do, for the rest of this OS thread.
fn forget_preadv2() {
    let step = |code: u32, jump_true, jump_false, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let (load, equal, give) = (0x20, 0x15, 0x06);
    let mut filter = [
        step(load, 0, 0, 0),
        step(equal, 1, 0, libc::SYS_preadv2 as u32),
        step(equal, 0, 1, libc::SYS_pwritev2 as u32),
        step(give, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program lives here; it concerns this OS thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
        let refused = libc::syscall(libc::SYS_preadv2, 0, 0, 0, -1, -1, libc::RWF_NOWAIT);
        assert_eq!((refused, monkey_support::errno()), (-1, libc::ENOSYS));
    }
}

#[test]
fn all_bytes_pass_on_kernels_without_preadv2() {
    let _bound = bounded();
    on_one_os_thread(|| {
        forget_preadv2();
        green(|| {
            pass_all_ways();
            // What is wrong is wrong, and what waits parks.
            let [reader, writer] = pipe().map(|end| File::from(owned(end)));
            assert_eq!(
                (&reader).write(b"x").unwrap_err().raw_os_error(),
                Some(libc::EBADF)
            );
            assert_eq!(
                (&writer).read(&mut [0]).unwrap_err().raw_os_error(),
                Some(libc::EBADF)
            );
        });
        let [mut reader, mut writer] = pipe().map(|end| File::from(owned(end)));
        let far = later(move || writer.write_all(b"late").unwrap());
        assert_eq!(parks(move || reader.read(&mut [0; 8]).unwrap()), 4);
        far.join().unwrap();
    });
}

/// An OS thread reads from the same pipe: what was there when poll(2) was asked may be gone.
#[test]
fn a_competitor_for_a_named_pipe_does_not_stop_the_hub() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            const ROUNDS: usize = 3_000;
            let (reader, mut writer) = fifo();
            let theirs = reader.try_clone().unwrap();
            let read_all = |mut reader: File| {
                let (mut byte, mut count) = ([0], 0);
                while reader.read(&mut byte).unwrap() > 0 {
                    count += 1;
                }
                count
            };
            let far = os_thread(move || read_all(theirs));
            let near = thread::spawn(move || read_all(reader));
            for _ in 0..ROUNDS {
                writer.write_all(&[1]).unwrap();
                thread::yield_now();
            }
            drop(writer);
            assert_eq!(near.join().unwrap() + far.join().unwrap(), ROUNDS);
        });
    });
}

/// Records of PIPE_BUF bytes stay whole, whoever writes beside them.
#[test]
fn small_writes_are_whole() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let (mut reader, writer) = fifo();
            let writers = (0..4u8).map(|id| {
                let mut writer = writer.try_clone().unwrap();
                let write = move || {
                    for _ in 0..40 {
                        assert_eq!(writer.write(&[id; libc::PIPE_BUF]).unwrap(), libc::PIPE_BUF);
                    }
                };
                if id < 2 {
                    thread::spawn(write)
                } else {
                    os_thread(write)
                }
            });
            let writers: Vec<_> = writers.collect();
            drop(writer);
            let mut record = [0; libc::PIPE_BUF];
            for _ in 0..160 {
                reader.read_exact(&mut record).unwrap();
                assert!(record.iter().all(|byte| *byte == record[0]));
            }
            assert_eq!(reader.read(&mut record).unwrap(), 0);
            writers
                .into_iter()
                .for_each(|writer| writer.join().unwrap());
        });
    });
}

/// Reads once, as soon as `act` has made it ready: which happens only while the greenlet parks.
fn reads_when(fd: c_int, act: impl FnOnce() + Send + 'static) -> isize {
    let device = File::from(owned(fd));
    let far = later(act);
    let got = parks(move || {
        let mut buffer = [0u64; 64];
        // SAFETY: the buffer's own length.
        unsafe { libc::read(device.as_raw_fd(), buffer.as_mut_ptr().cast(), 512) }
    });
    far.join().unwrap();
    got
}

#[test]
fn a_read_of_any_device_parks() {
    let _bound = bounded();
    on_one_os_thread(|| {
        for older in [false, true] {
            if older {
                forget_preadv2();
            }
            // SAFETY: these make descriptors out of numbers and what lives here.
            unsafe {
                let counter = libc::eventfd(0, 0);
                let rung = move || assert_eq!(libc::write(counter, [1u64].as_ptr().cast(), 8), 8);
                assert_eq!(reads_when(counter, rung), 8);

                let timer = libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
                let set = move || {
                    let mut soon: libc::itimerspec = std::mem::zeroed();
                    soon.it_value.tv_nsec = 1_000_000;
                    libc::timerfd_settime(timer, 0, &soon, std::ptr::null_mut());
                };
                assert_eq!(reads_when(timer, set), 8);

                let mut signals: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&mut signals, libc::SIGURG);
                libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
                let signal = libc::signalfd(-1, &signals, 0);
                let (process, thread) = (libc::getpid(), libc::gettid());
                let raise = move || {
                    libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGURG);
                };
                assert_eq!(reads_when(signal, raise), 128);

                let folder = std::env::temp_dir();
                let folder = folder.join(format!("greenroom-watched-{}", std::process::id()));
                std::fs::create_dir(&folder).unwrap();
                let path = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
                let watch = libc::inotify_init1(0);
                libc::inotify_add_watch(watch, path.as_ptr(), libc::IN_CREATE);
                let file = folder.join("new");
                let create = move || drop(File::create(&file).unwrap());
                assert_eq!(reads_when(watch, create), 32);
                std::fs::remove_dir_all(&folder).unwrap();
            }
            let (master, mut slave) = terminal();
            let typed = move || slave.write_all(b"typed").unwrap();
            assert_eq!(reads_when(master.into_raw_fd(), typed), 5);
        }
    });
}

/// A terminal may be told to return 0 after a time, or at once.
#[test]
fn a_terminal_that_has_a_time_limit_keeps_it() {
    let _bound = bounded();
    let program = |tenths: u8| {
        let (_master, mut slave) = terminal();
        // SAFETY: valid settings of an open terminal.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            libc::tcgetattr(slave.as_raw_fd(), &mut settings);
            settings.c_cc[libc::VMIN] = 0;
            settings.c_cc[libc::VTIME] = tenths;
            libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &settings);
        }
        let begin = Instant::now();
        let got = slave.read(&mut [0; 8]).unwrap();
        (got, begin.elapsed() >= ms(100 * u64::from(tenths)))
    };
    for tenths in [0, 2] {
        let without = native(move || program(tenths));
        on_one_os_thread(move || assert_eq!(green(move || program(tenths)), without));
        assert_eq!(without, (0, true));
    }
}

/// The file itself stays as it is for all who share it.
#[test]
fn the_mode_of_a_pipe_is_not_touched() {
    let _bound = bounded();
    on_one_os_thread(|| {
        green(|| {
            let (mut reader, mut writer) = fifo();
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (ends, stopped) = ([reader.as_raw_fd(), writer.as_raw_fd()], stop.clone());
            let watch = os_thread(move || {
                while !stopped.load(Ordering::Relaxed) {
                    for end in ends {
                        // SAFETY: no pointers.
                        let mode = unsafe { libc::fcntl(end, libc::F_GETFL) };
                        assert_eq!(mode & libc::O_NONBLOCK, 0);
                    }
                }
            });
            let sender = thread::spawn(move || {
                writer.write_all(&bytes(500_000)).unwrap();
                writer
            });
            let mut got = vec![0; 500_000];
            reader.read_exact(&mut got).unwrap();
            stop.store(true, Ordering::Relaxed);
            watch.join().unwrap();
            drop(sender.join().unwrap());
        });
    });
}
