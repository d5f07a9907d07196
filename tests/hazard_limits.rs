//! The ends of stacks and of memory, and a hundred thousand greenlets short of them.
//! Rows 10, 16, 17 and 40 of the register of hazards.
mod hazard_support;

use greenroom::{Builder, foreign, hub, is_cancellation, sleep, spawn, spawn_local, thread};
use greenroom::{with_timeout, yield_now};
use hazard_support::{HOUR, OnDrop, alone, alone_and_well, bounded, descriptors, leak_free, maps};
use hazard_support::{ms, settle};
use std::cell::Cell;
use std::hint::black_box;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;
use std::rc::Rc;
use std::time::Instant;

#[allow(unconditional_recursion, reason = "it is to overflow its stack")]
fn dig(depth: usize) -> usize {
    let frame = black_box([depth as u8; 1000]);
    dig(depth + 1) + usize::from(frame[depth % 1000])
}

/// Touches only the far end of a frame of `SIZE` bytes.
#[inline(never)]
fn far_end<const SIZE: usize>() {
    let mut frame = MaybeUninit::<[u8; SIZE]>::uninit();
    // SAFETY: the first byte of the frame is inside of it.
    unsafe {
        black_box(&mut frame)
            .as_mut_ptr()
            .cast::<u8>()
            .write_volatile(1)
    };
}

/// The process has died of an overflow, and has said whose.
#[track_caller]
fn assert_told(output: Option<Output>, who: &str) {
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    let told = format!("{who} has overflowed its stack: 65536 bytes");
    assert!(text.contains(&told), "{}:\n{text}", output.status);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{text}");
}

fn overflow(name: &str) {
    let digs = Builder::new().name(name.into()).stack_size(65_536);
    let digs = digs.spawn(|| dig(0)).unwrap();
    let _ = digs.join();
}

// Row 16; on the first thread of a process: see hazard_main.rs.
#[test]
fn an_overflow_on_the_hub_of_a_thread_names_the_greenlet_and_its_size() {
    let _bound = bounded();
    let test = "an_overflow_on_the_hub_of_a_thread_names_the_greenlet_and_its_size";
    let output = alone(test, || {
        std::thread::spawn(|| overflow("deep")).join().unwrap()
    });
    assert_told(output, "'deep'");
}

#[test]
fn an_overflow_on_the_hub_of_a_raw_pthread_names_the_greenlet_and_its_size() {
    let _bound = bounded();
    extern "C" fn on_pthread(_: *mut libc::c_void) -> *mut libc::c_void {
        overflow("raw");
        std::ptr::null_mut()
    }
    let test = "an_overflow_on_the_hub_of_a_raw_pthread_names_the_greenlet_and_its_size";
    let output = alone(test, || {
        // SAFETY: the thread gets no argument, and is joined before anything ends.
        unsafe {
            let mut thread = std::mem::zeroed();
            let null = std::ptr::null_mut::<libc::c_void>();
            assert_eq!(
                libc::pthread_create(&raw mut thread, null.cast(), on_pthread, null),
                0
            );
            libc::pthread_join(thread, std::ptr::null_mut());
        }
    });
    assert_told(output, "'raw'");
}

#[test]
fn an_overflow_in_a_destructor_that_unwinds_is_told_as_well() {
    let _bound = bounded();
    let test = "an_overflow_in_a_destructor_that_unwinds_is_told_as_well";
    let output = alone(test, || {
        let digs = Builder::new().name("late".into()).stack_size(65_536);
        let digs = digs.spawn(|| {
            let _digs = OnDrop(|| _ = dig(0));
            sleep(HOUR);
        });
        yield_now();
        assert_eq!(greenroom::killall([&digs.unwrap()], None), 0);
    });
    assert_told(output, "'late'");
}

#[test]
fn a_greenlet_beside_one_that_is_nearly_full_keeps_its_own() {
    let _bound = bounded();
    leak_free("neighbours", || {
        fn deep(left: usize) -> usize {
            let frame = black_box([left as u8; 512]);
            if left == 0 {
                yield_now();
                return 0;
            }
            deep(left - 1) + usize::from(frame[left % 512])
        }
        let sum = (1..=60_usize).sum::<usize>();
        let greenlets: Vec<_> = (0..64)
            .map(|_| {
                Builder::new()
                    .stack_size(160 * 1024)
                    .spawn(|| deep(60))
                    .unwrap()
            })
            .collect();
        let sums = greenroom::joinall(greenlets);
        assert!(sums.into_iter().all(|one| one.unwrap() == sum));
    });
}

// Row 17: a frame that is touched at its far end only, as C's are, still meets the guard.
#[test]
fn a_frame_that_steps_less_than_the_guard_beyond_the_end_hits_the_guard() {
    let _bound = bounded();
    let test = "a_frame_that_steps_less_than_the_guard_beyond_the_end_hits_the_guard";
    let output = alone(test, || {
        let steps = Builder::new().name("far".into()).stack_size(65_536);
        // Sixteen pages of guard; its own probes would hit it as well, C's compilers have none.
        let _ = steps.spawn(far_end::<90_000>).unwrap().join();
    });
    assert_told(output, "'far'");
}

// Row 10: callbacks through C.
unsafe extern "C" {
    fn qsort(
        base: *mut libc::c_void,
        count: usize,
        size: usize,
        compare: extern "C" fn(*const libc::c_void, *const libc::c_void) -> libc::c_int,
    );
}

std::thread_local!(static COMPARED: Cell<usize> = const { Cell::new(0) });

extern "C" fn compare_slowly(a: *const libc::c_void, b: *const libc::c_void) -> libc::c_int {
    COMPARED.set(COMPARED.get() + 1);
    sleep(HOUR);
    // SAFETY: qsort passes two elements of its array.
    let (a, b) = unsafe { (*a.cast::<i32>(), *b.cast::<i32>()) };
    a.cmp(&b) as libc::c_int
}

extern "C" fn compare_reading(a: *const libc::c_void, b: *const libc::c_void) -> libc::c_int {
    use std::io::Read;
    COMPARED.set(COMPARED.get() + 1);
    let (mut reader, _writer) = greenroom::io::pipe().unwrap();
    let error = reader.read(&mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    // SAFETY: qsort passes two elements of its array.
    let (a, b) = unsafe { (*a.cast::<i32>(), *b.cast::<i32>()) };
    a.cmp(&b) as libc::c_int
}

type Compare = extern "C" fn(*const libc::c_void, *const libc::c_void) -> libc::c_int;

fn sorted(compare: Compare) -> [i32; 4] {
    let mut numbers = [3, 1, 4, 2];
    // SAFETY: four elements of four bytes; the callback neither unwinds nor keeps them.
    foreign(|| unsafe { qsort(numbers.as_mut_ptr().cast(), 4, 4, compare) });
    numbers
}

#[test]
fn a_kill_goes_around_the_frames_of_c_and_is_delivered_behind_them() {
    let _bound = bounded();
    for compare in [compare_slowly as Compare, compare_reading] {
        leak_free("qsort", || {
            COMPARED.set(0);
            let result = Rc::new(Cell::new([0; 4]));
            let theirs = Rc::clone(&result);
            let sorts = spawn_local(move || {
                theirs.set(sorted(compare));
                sleep(HOUR);
            });
            settle();
            assert_eq!(COMPARED.get(), 1, "it waits in the first comparison");
            sorts.kill();
            assert!(sorts.join().unwrap_err().is_killed());
            assert_eq!(result.get(), [1, 2, 3, 4], "C has finished its work");
            assert!(COMPARED.get() > 1);
        });
    }
}

#[test]
fn a_timeout_goes_around_the_frames_of_c_and_is_delivered_behind_them() {
    let _bound = bounded();
    leak_free("qsort", || {
        let result = Cell::new([0; 4]);
        let late = with_timeout(ms(2), || {
            result.set(sorted(compare_slowly));
            let caught = std::panic::catch_unwind(|| sleep(HOUR));
            assert!(caught.is_err_and(|payload| is_cancellation(&*payload)));
            sleep(HOUR);
        });
        assert!(late.is_err());
        assert_eq!(result.get(), [1, 2, 3, 4]);
    });
}

/// From now on this process may have `more` bytes of address space than it has now.
fn limit_address_space(more: u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let bytes = pages * 4096 + more;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(result, 0);
}

// Row 40.
#[test]
fn what_is_beyond_the_address_space_is_an_error_and_the_process_goes_on() {
    let _bound = bounded();
    let test = "what_is_beyond_the_address_space_is_an_error_and_the_process_goes_on";
    alone_and_well(test, || {
        spawn(|| ()).join().unwrap();
        limit_address_space(1 << 30);
        for _ in 0..2 {
            let mut parked = Vec::new();
            let error = loop {
                match Builder::new().stack_size(4 << 20).spawn(thread::park) {
                    Ok(greenlet) => parked.push(greenlet),
                    Err(error) => break error,
                }
                assert!(parked.len() < 1000, "the limit has no effect");
            };
            assert!(parked.len() > 20, "{}: {error}", parked.len());
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
            yield_now();
            // Those that there are go on, and as many can be had again.
            parked.iter().for_each(|one| one.thread().unpark());
            greenroom::joinall(parked)
                .into_iter()
                .for_each(Result::unwrap);
            assert_eq!(hub::stats().stacks_live, 0);
        }
    });
}

#[test]
fn a_stack_size_out_of_range_is_invalid_input() {
    let _bound = bounded();
    leak_free("sizes", || {
        for size in [usize::MAX, usize::MAX / 2, 1 << 60] {
            let error = Builder::new().stack_size(size).spawn(|| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{size}: {error}");
            let there = Builder::new()
                .stack_size(size)
                .spawn_on(&hub::current(), || ());
            let error = there.join().unwrap_err();
            let reason = error.not_started_because().unwrap();
            assert_eq!(reason.kind(), ErrorKind::InvalidInput, "{size}: {error}");
            greenroom::scope(|s| {
                assert!(
                    Builder::new()
                        .stack_size(size)
                        .spawn_scoped(s, || ())
                        .is_err()
                );
            });
        }
    });
}

#[test]
fn without_room_spawn_gives_a_greenlet_that_is_born_finished() {
    let _bound = bounded();
    let test = "without_room_spawn_gives_a_greenlet_that_is_born_finished";
    alone_and_well(test, || {
        drop(hub::current());
        greenroom::set_default_stack_size(1 << 30).unwrap();
        limit_address_space(256 << 20);
        let dropped = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&dropped);
        let guard = OnDrop(move || theirs.set(theirs.get() + 1));
        let never = spawn_local(move || drop(guard));
        assert!(never.is_finished());
        assert_eq!(dropped.get(), 1);
        never.kill();
        never.thread().unpark();
        let error = never.join().unwrap_err();
        assert!(error.not_started_because().is_some(), "{error}");
        assert!(!error.is_killed() && !error.is_panic());
        let linked = spawn(|| ());
        linked.link(|_| ());
        assert_eq!(greenroom::wait([&linked]).ready().len(), 1);
        let failed = greenroom::scope(|s| s.spawn(|| ()).join().is_err());
        assert!(failed);
        // As std does for a thread that nobody joins.
        let unnoticed = AssertUnwindSafe(|| greenroom::scope(|s| drop(s.spawn(|| ()))));
        assert!(catch_unwind(unnoticed).is_err());
        let small = Builder::new().stack_size(65_536).spawn(|| 7).unwrap();
        assert_eq!(small.join().unwrap(), 7);
    });
}

#[test]
fn a_hundred_thousand_greenlets_come_and_go() {
    let _bound = bounded();
    let test = "a_hundred_thousand_greenlets_come_and_go";
    alone_and_well(test, || {
        const COUNT: usize = 100_000;
        greenroom::set_default_stack_size(65_536).unwrap();
        spawn(|| ()).join().unwrap();
        let (fds, before) = (descriptors(), maps());
        for _ in 0..2 {
            let begin = Instant::now();
            let parked: Vec<_> = (0..COUNT)
                .map(|n| {
                    spawn(move || {
                        thread::park();
                        n
                    })
                })
                .collect();
            yield_now();
            let stats = hub::stats();
            assert_eq!((stats.greenlets, stats.stacks_live), (COUNT, COUNT));
            parked.iter().for_each(|one| one.thread().unpark());
            let results = greenroom::joinall(parked);
            assert!(
                results
                    .into_iter()
                    .enumerate()
                    .all(|(n, one)| one.unwrap() == n)
            );
            let stats = hub::stats();
            assert_eq!(
                (stats.greenlets, stats.stacks_live, stats.timers),
                (0, 0, 0)
            );
            assert!(begin.elapsed() < ms(60_000));
        }
        assert_eq!(descriptors(), fds);
        assert!(maps() < before + 5_000, "{} maps, {before} before", maps());
    });
}
