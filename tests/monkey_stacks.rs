//! T14: real C on the stacks of patched greenlets: what is too deep for one is told by name and
//! corrupts nothing, names are looked up elsewhere, and many large stacks cost neither maps nor
//! memory.

mod monkey_support;

use monkey_support::bounded;
use std::ffi::{CString, c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::ptr::{null, null_mut};
use std::thread;

use greenroom::{Builder, monkey};
use monkey_support::{ms, on_one_os_thread};

const SMALL: usize = 64 << 10;

/// Runs `f` in a process of its own, which is to die of it, or not.
fn in_child(name: &str, f: impl FnOnce()) -> Output {
    if std::env::var("MONKEY_STACKS").as_deref() == Ok(name) {
        f();
        std::process::exit(0);
    }
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("MONKEY_STACKS", name)
        .output()
        .unwrap()
}

/// Runs `f` in a patched greenlet with a small stack, next to another one that is parked.
fn on_small_stack(bytes: usize, f: impl FnOnce() + Send + 'static) {
    monkey::patch_all().unwrap();
    let small = |name: &str| Builder::new().name(name.into()).stack_size(bytes);
    let below = small("below").spawn(|| thread::sleep(ms(60_000))).unwrap();
    greenroom::yield_now();
    let deep = small("deep").spawn(f).unwrap();
    deep.join().unwrap();
    drop(below);
}

fn assert_told(out: &Output) {
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{out:?}");
    assert!(
        text.contains("'deep' has overflowed its stack: 65536 bytes"),
        "{text}"
    );
}

/// Compiles a regular expression of so many nested groups, for which libc calls itself.
fn compile(depth: usize) -> c_int {
    let text = "(".repeat(depth) + "a" + &")".repeat(depth);
    let text = CString::new(text).unwrap();
    // SAFETY: regcomp fills it in; zeros may be freed.
    let mut compiled = unsafe { std::mem::zeroed() };
    // SAFETY: a C string, and a place for what is compiled.
    let result = unsafe { libc::regcomp(&mut compiled, text.as_ptr(), libc::REG_EXTENDED) };
    if result == 0 {
        // SAFETY: it was compiled.
        unsafe { libc::regfree(&mut compiled) };
    }
    result
}

#[test]
fn libc_that_recurses_too_deeply_is_named() {
    let _bound = bounded();
    let name = "libc_that_recurses_too_deeply_is_named";
    let out = in_child(name, || {
        on_small_stack(SMALL, || {
            assert_eq!(compile(10), 0);
            compile(20_000);
        });
    });
    assert_told(&out);
}

/// Sorts by a comparison that sorts.
extern "C" fn compare(_: *const c_void, _: *const c_void) -> c_int {
    sort();
    0
}

fn sort() {
    let mut numbers = [0u64; 64];
    // SAFETY: so many numbers, and a function that compares any.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 64, 8, Some(compare)) };
}

#[test]
fn callbacks_from_libc_that_never_end_are_named() {
    let _bound = bounded();
    let name = "callbacks_from_libc_that_never_end_are_named";
    assert_told(&in_child(name, || on_small_stack(SMALL, sort)));
}

fn look_up() {
    // SAFETY: C strings, and a place for the answer, which is freed.
    unsafe {
        let mut found = null_mut();
        let told = libc::getaddrinfo(c"localhost".as_ptr(), c"80".as_ptr(), null(), &mut found);
        assert_eq!(told, 0);
        libc::freeaddrinfo(found);
    }
}

/// How deep a greenlet uses its stack for `f`, in a process that has not looked a name up yet.
fn depth_of(which: &str, f: fn()) -> usize {
    let name = "names_are_not_looked_up_on_the_stack_of_a_greenlet";
    let asked = std::env::var("MONKEY_DEPTH");
    if asked.as_deref() == Ok(which) {
        monkey::patch_all().unwrap();
        greenroom::yield_now();
        greenroom::hub::stack_census(true);
        greenroom::spawn(f).join().unwrap();
        eprintln!("depth {}", greenroom::hub::stats().stack_high_water);
        std::process::exit(0);
    }
    if asked.is_ok() {
        return 0;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let out = child.env("MONKEY_DEPTH", which).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    let depth = text.lines().find_map(|line| line.strip_prefix("depth "));
    depth.expect(&text).parse().unwrap()
}

#[test]
fn names_are_not_looked_up_on_the_stack_of_a_greenlet() {
    let _bound = bounded();
    let patched = depth_of("patched", look_up);
    let native = depth_of("native", || monkey::native(look_up));
    assert!(patched < native, "{patched} bytes deep, {native} natively");
}

#[test]
fn many_large_stacks_cost_neither_maps_nor_memory() {
    let _bound = bounded();
    const MANY: usize = 5000;
    on_one_os_thread(|| {
        let (maps, bytes) = (maps(), resident_bytes());
        let threads: Vec<_> = (0..MANY)
            .map(|_| {
                let builder = thread::Builder::new().stack_size(8 << 20);
                builder.spawn(|| thread::sleep(ms(1500))).unwrap()
            })
            .collect();
        thread::sleep(ms(500));
        let report = monkey::report();
        assert!(report.symbol("clock_nanosleep").unwrap().parks() >= MANY as u64);
        let more_maps = self::maps().saturating_sub(maps);
        let more_bytes = resident_bytes().saturating_sub(bytes);
        assert!(more_maps < 100, "{more_maps} maps");
        // With huge pages it would be 2 MiB each.
        let each = more_bytes / MANY;
        assert!(each < 48 << 10, "{each} bytes each");
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident = pages.split_whitespace().nth(1).unwrap();
    resident.parse::<usize>().unwrap() * 4096
}
