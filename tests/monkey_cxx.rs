//! C++ under the patch: std::mutex, std::condition_variable and their kin, in a shared object.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use monkey_support::{green, ms, os_thread, pipe};

const SOURCE: &str = r#"
#include <condition_variable>
#include <chrono>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <unistd.h>

static std::mutex mutex;
static std::recursive_mutex recursive;
static std::shared_mutex shared;
static std::condition_variable filled;
static std::deque<long> queue;
static long sum;

extern "C" {
// Holds the lock across a call that waits.
long add_after_read(int fd) {
    std::lock_guard<std::mutex> held(mutex);
    char byte = 0;
    long before = sum;
    if (read(fd, &byte, 1) != 1) return -1;
    sum = before + byte;
    return sum;
}
long add_recursively(int fd) {
    std::lock_guard<std::recursive_mutex> held(recursive);
    std::lock_guard<std::recursive_mutex> again(recursive);
    long before = sum;
    char byte = 0;
    if (read(fd, &byte, 1) != 1) return -1;
    sum = before + byte;
    return sum;
}
long put(long value) {
    std::unique_lock<std::mutex> held(mutex);
    queue.push_back(value);
    filled.notify_one();
    return value;
}
long take(int) {
    std::unique_lock<std::mutex> held(mutex);
    filled.wait(held, [] { return !queue.empty(); });
    long value = queue.front();
    queue.pop_front();
    return value;
}
long take_for(long ms) {
    std::unique_lock<std::mutex> held(mutex);
    auto some = [] { return !queue.empty(); };
    return filled.wait_for(held, std::chrono::milliseconds(ms), some);
}
long read_sum(int) {
    std::shared_lock<std::shared_mutex> held(shared);
    usleep(1000);
    return sum;
}
long write_sum(long value) {
    std::unique_lock<std::shared_mutex> held(shared);
    sum = -1;
    usleep(1000);
    sum = value;
    return value;
}
}
"#;

fn compiled(folder: &Path) -> Option<CString> {
    let (source, library) = (folder.join("locks.cc"), folder.join("locks.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-shared", "-fPIC", "-O2", "-pthread", "-o"]);
    let status = compiler.arg(&library).arg(&source).status().ok()?;
    assert!(status.success());
    CString::new(library.to_str().unwrap()).ok()
}

#[derive(Clone, Copy)]
struct Library(*mut c_void);

// SAFETY: the handle of a library that stays open.
unsafe impl Send for Library {}

impl Library {
    fn get(self, name: &std::ffi::CStr) -> *mut c_void {
        // SAFETY: an open library, and a C string.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null());
        found
    }

    fn number(self, name: &std::ffi::CStr) -> extern "C" fn(c_int) -> isize {
        // SAFETY: so the functions with these names are declared.
        unsafe { std::mem::transmute(self.get(name)) }
    }

    fn value(self, name: &std::ffi::CStr) -> extern "C" fn(isize) -> isize {
        // SAFETY: as above.
        unsafe { std::mem::transmute(self.get(name)) }
    }
}

#[test]
fn the_locks_of_the_standard_library_may_be_held_across_a_park() {
    let _bound = bounded();
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(folder.path()) else {
        eprintln!("SKIPPED: there is no C++ compiler here");
        return;
    };
    // SAFETY: a C string; what runs when it is loaded is the standard library's.
    let library = Library(unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) });
    assert!(!library.0.is_null());
    green(move || {
        greenroom::monkey::verify().unwrap();
        for name in [c"add_after_read", c"add_recursively"] {
            sums_up(library.number(name));
        }
        hands_over(library);
        reads_and_writes(library);
    });
}

/// What is added under the lock arrives, though each holder parks.
fn sums_up(add: extern "C" fn(c_int) -> isize) {
    let [reader, writer] = pipe();
    let adders: Vec<_> = (0..20)
        .map(|_| greenroom::spawn(move || add(reader)))
        .collect();
    greenroom::sleep(ms(5));
    let before = add_all(writer, 1);
    assert_eq!(before, 20);
    let sums = greenroom::joinall(adders).into_iter().map(Result::unwrap);
    let mut sums: Vec<_> = sums.collect();
    sums.sort_unstable();
    assert!(
        sums.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sums:?}"
    );
}

fn add_all(writer: c_int, byte: u8) -> isize {
    // SAFETY: a valid buffer.
    unsafe { libc::write(writer, [byte; 20].as_ptr().cast(), 20) }
}

fn hands_over(library: Library) {
    let (take, put) = (library.number(c"take"), library.value(c"put"));
    let taken = Arc::new(AtomicUsize::new(0));
    let takers: Vec<_> = (0..10)
        .map(|_| {
            let taken = Arc::clone(&taken);
            greenroom::spawn(move || taken.fetch_add(take(0) as usize, Ordering::Relaxed))
        })
        .collect();
    greenroom::sleep(ms(5));
    (0..5).for_each(|value| assert_eq!(put(value), value));
    let thread = os_thread(move || (5..10).for_each(|value| assert_eq!(put(value), value)));
    greenroom::joinall(takers);
    thread.join().unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), 45);
    let thread = os_thread(move || take(0));
    greenroom::sleep(ms(5));
    put(7);
    assert_eq!(thread.join().unwrap(), 7);
    assert_eq!(library.value(c"take_for")(5), 0, "nothing comes");
}

fn reads_and_writes(library: Library) {
    let (read, write) = (library.number(c"read_sum"), library.value(c"write_sum"));
    write(0);
    let writers = (1..6).map(|value| greenroom::spawn(move || write(value)));
    let writers: Vec<_> = writers.collect();
    let readers = (0..50).map(|_| greenroom::spawn(move || read(0)));
    for seen in greenroom::joinall(readers) {
        assert!((0..6).contains(&seen.unwrap()));
    }
    greenroom::joinall(writers);
}
