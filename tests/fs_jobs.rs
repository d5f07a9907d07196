//! What std's tests can't ask of `greenroom::fs`: that others run meanwhile, that kills are
//! harmless, that no thread of the pool is kept by what a greenlet can wait for.
mod gevent_support;

use gevent_support::{bounded, is_alone, ms, passes_alone};
use greenroom::fs::{self, File};
use greenroom::os::unix::fs::OpenOptionsExt;
use greenroom::{
    Greenlet, hub, joinall, killall, sleep, spawn, threadpool, with_timeout, yield_now,
};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An end of a FIFO to write to, which nobody reads yet: opened so that this does not wait.
fn fifo(path: &Path) -> std::fs::File {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).open(path).unwrap()
}

/// Notes that it runs, until it is killed.
fn ticker() -> (Greenlet<()>, Arc<AtomicUsize>) {
    let ticks = Arc::<AtomicUsize>::default();
    let theirs = Arc::clone(&ticks);
    let ticker = spawn(move || {
        loop {
            theirs.fetch_add(1, Ordering::Relaxed);
            yield_now();
        }
    });
    (ticker, ticks)
}

#[test]
fn others_run_while_a_job_is_done() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    drop(fifo(&path));
    let theirs = path.clone();
    // Each end waits for the other to be opened.
    let writer = spawn(move || File::create(&theirs)?.write_all(b"both are open"));
    let mut reader = File::open(&path).unwrap();
    writer.join().unwrap().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "both are open");
}

#[test]
fn what_is_in_memory_is_read_without_a_switch_and_yet_others_have_their_turn() {
    let _bound = bounded();
    greenroom::run(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let mut file = File::open(&path).unwrap();
        // Where the file system can't, each read is a job.
        file.read_exact(&mut [0]).unwrap();
        let before = hub::stats().sleeps;
        for _ in 0..10 {
            file.rewind().unwrap();
            file.read_exact(&mut [0]).unwrap();
        }
        let at_once = hub::stats().sleeps == before;
        let (ticker, ticks) = ticker();
        for _ in 0..1000 {
            file.rewind().unwrap();
            file.read_exact(&mut [0]).unwrap();
        }
        assert!(ticks.load(Ordering::Relaxed) >= 5);
        ticker.kill();
        let known = ["tmpfs", "ext4", "xfs", "btrfs"];
        let stat = std::process::Command::new("stat")
            .args(["-f", "-c", "%T"])
            .arg(&path)
            .output();
        let kind = String::from_utf8(stat.unwrap().stdout).unwrap();
        assert!(
            at_once || !known.iter().any(|one| kind.contains(one)),
            "{kind}"
        );
    });
}

#[test]
fn who_reads_can_be_killed_and_the_buffer_is_left_alone() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let mut writer = fifo(&path);
    let mut file = File::open(&path).unwrap();
    let mut buffer = vec![7; 1000];
    assert!(with_timeout(ms(10), || file.read(&mut buffer)).is_err());
    assert!(buffer.iter().all(|byte| *byte == 7));
    writer.write_all(&[8; 10]).unwrap();
    assert_eq!(
        file.read(&mut buffer).unwrap(),
        10,
        "nothing was taken by who gave up"
    );
    assert_eq!(buffer[..11], [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7]);
}

#[test]
fn a_fifo_keeps_no_thread_of_the_pool_waiting() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let mut writer = fifo(&path);
    let pool = threadpool::default_pool();
    let readers: Vec<_> = (0..pool.size() + 10)
        .map(|_| {
            let mut file = File::open(&path).unwrap();
            spawn(move || file.read(&mut [0]))
        })
        .collect();
    sleep(ms(5));
    assert!(fs::exists(&path).unwrap(), "there are threads for others");
    writer.write_all(&vec![b'x'; readers.len()]).unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), 1);
    }
}

#[test]
fn a_nonblocking_file_says_that_it_would_block() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let _writer = fifo(&path);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    let read = spawn(move || file.read(&mut [0])).join().unwrap();
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_lock_is_waited_for_without_a_thread_and_can_be_given_up() {
    let _bound = bounded();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let holder = File::create(&path).unwrap();
    holder.lock().unwrap();
    let pool = threadpool::default_pool();
    let waiters: Vec<_> = (0..pool.size() + 10)
        .map(|_| {
            let file = File::open(&path).unwrap();
            spawn(move || file.lock_shared())
        })
        .collect();
    sleep(ms(5));
    assert_eq!(killall([&waiters[0]], None), 0);
    assert!(waiters.iter().skip(1).all(|waiter| !waiter.is_finished()));
    drop(holder);
    let results = joinall(waiters);
    assert!(results[0].is_err());
    assert!(
        results[1..]
            .iter()
            .all(|one| one.as_ref().is_ok_and(Result::is_ok))
    );
}

#[test]
fn a_listing_that_is_interrupted_loses_no_entry() {
    let _bound = bounded();
    if !is_alone() {
        passes_alone("a_listing_that_is_interrupted_loses_no_entry");
        return;
    }
    let mut left = HashSet::new();
    let dir = tempfile::tempdir().unwrap();
    for n in 0..1000 {
        std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        left.insert(OsString::from(n.to_string()));
    }
    let pool = threadpool::default_pool();
    let size = pool.size();
    let mut entries = fs::read_dir(dir.path()).unwrap();
    for n in 0..1000 {
        if n % 100 == 0 {
            pool.resize(0).unwrap();
            // Entries that were read ahead need no job.
            while let Ok(Some(entry)) = with_timeout(ms(2), || entries.next()) {
                left.remove(&entry.unwrap().file_name());
            }
            pool.resize(size).unwrap();
        }
        if let Some(entry) = entries.next() {
            left.remove(&entry.unwrap().file_name());
        }
    }
    assert!(left.is_empty(), "{} were lost", left.len());
}

#[test]
fn many_use_the_file_system_at_once_and_leave_nothing_open() {
    let _bound = bounded();
    greenroom::run(|| {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let users: Vec<_> = (0..300)
            .map(|n| {
                let dir = Arc::clone(&dir);
                spawn(move || {
                    let path = dir.path().join(n.to_string());
                    fs::write(&path, n.to_string())?;
                    let mut text = String::new();
                    File::open(&path)?.read_to_string(&mut text)?;
                    fs::remove_file(&path).map(|()| text)
                })
            })
            .collect();
        let texts = joinall(users)
            .into_iter()
            .map(|text| text.unwrap().unwrap());
        assert!(texts.eq((0..300).map(|n| n.to_string())));
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    });
}
