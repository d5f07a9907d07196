//! What the pool promises. Whatever ends a process or changes its limits runs in a child: the
//! same test, started again by name with CHILD in its environment.

use super::guard::GuardKind;
use super::*;
use crate::bounded::bounded;
use std::io::ErrorKind;
use std::process::{Command, Output};

const CHILD: &str = "GREENROOM_STACK_TEST_CHILD";

/// Runs `body` in a process of its own, on a thread of std's; the parent gets how it ended.
pub(super) fn in_child(test: &str, body: impl FnOnce()) -> Output {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        // SAFETY: ends the process; nothing of it is needed any more.
        unsafe { libc::_exit(0) };
    }
    Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("stack::{test}"),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, test)
        .output()
        .unwrap()
}

/// Asserts that the child ran and that all it asserted held.
fn assert_passed(out: &Output) {
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{:?}: {text}", out.status);
    assert!(
        !String::from_utf8_lossy(&out.stdout).contains("0 passed"),
        "no such test"
    );
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

fn rss_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * size::page_bytes()
}

/// Writes to each page from the top down, and reads it back.
fn fill(stack: &Stack, byte: u8) {
    let mut at = stack.top() - 1;
    while at >= stack.top() - stack.usable() + 16 * COLOUR_BYTES {
        // SAFETY: inside the usable range of a stack the test owns and nobody runs on.
        unsafe {
            (at as *mut u8).write_volatile(byte);
            assert_eq!((at as *mut u8).read_volatile(), byte);
        }
        at -= 4096;
    }
}

#[test]
fn the_stack_given_last_is_taken_first() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let a = pool.take(None).unwrap();
    let b = pool.take(None).unwrap();
    let (at_a, at_b) = (a.limit(), b.limit());
    assert_ne!(at_a, at_b);
    pool.give(a);
    pool.give(b);
    assert_eq!(pool.take(None).unwrap().limit(), at_b);
    assert_eq!(pool.take(None).unwrap().limit(), at_a);
}

#[test]
fn each_size_class_has_stacks_of_its_own() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let small = pool.take(Some(65_536)).unwrap();
    let large = pool.take(Some(3 << 20)).unwrap();
    assert!(small.usable() >= 65_536 && small.usable() < 131_072);
    assert!(large.usable() >= 3 << 20);
    let at_small = small.limit();
    pool.give(small);
    pool.give(large);
    assert_eq!(pool.take(Some(65_000)).unwrap().limit(), at_small);
}

#[test]
fn stacks_are_aligned_coloured_and_do_not_overlap() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let stacks: Vec<_> = (0..64).map(|_| pool.take(None).unwrap()).collect();
    let page = size::page_bytes();
    let mut shifts = std::collections::BTreeSet::new();
    let mut places = std::collections::BTreeSet::new();
    for stack in &stacks {
        assert_eq!(stack.top() % STACK_ALIGNMENT, 0);
        assert_eq!(stack.limit() % page, 0);
        shifts.insert(stack.top() % page);
        places.insert((
            stack.limit(),
            stack.limit() + size::guard_bytes() + stack.usable(),
        ));
    }
    assert_eq!(shifts.len(), COLOURS);
    assert_eq!(places.len(), stacks.len());
    let ends = places.iter().map(|p| p.1);
    assert!(
        ends.zip(places.iter().skip(1))
            .all(|(end, next)| end <= next.0)
    );
}

#[test]
fn the_whole_usable_range_can_be_written() {
    let _bound = bounded();
    let mut pool = Pool::new();
    for size in [None, Some(size::size_min()), Some(100_000), Some(8 << 20)] {
        let stack = pool.take(size).unwrap();
        let floor = stack.limit() + size::guard_bytes();
        // SAFETY: exactly the usable range of a stack the test owns.
        unsafe { std::ptr::write_bytes(floor as *mut u8, 0xa5, stack.usable()) };
        assert_eq!(stack.high_water(), stack.usable());
    }
}

#[test]
fn high_water_is_where_the_lowest_page_was_touched() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let stack = pool.take(None).unwrap();
    assert_eq!(stack.high_water(), 0);
    let end = stack.limit() + size::guard_bytes() + stack.usable();
    // SAFETY: inside the usable range of a stack the test owns.
    unsafe { ((end - 30_000) as *mut u8).write_volatile(1) };
    assert_eq!(
        stack.high_water(),
        size::round_up(30_000, size::page_bytes())
    );
}

#[test]
fn sizes_out_of_range_are_refused_by_name() {
    let _bound = bounded();
    let mut pool = Pool::new();
    for size in [0, 1, size::size_min() - 1, (1 << 30) + 1, usize::MAX] {
        for why in [
            pool.take(Some(size)).unwrap_err(),
            set_default_stack_size(size).unwrap_err(),
        ] {
            assert_eq!(why.kind(), ErrorKind::InvalidInput);
            let text = why.to_string();
            for number in [size, size::size_min(), 1 << 30] {
                assert!(text.contains(&number.to_string()), "{text} lacks {number}");
            }
        }
    }
    assert_eq!(pool.stats().slabs, 0);
    assert!(pool.take(Some(size::size_min())).unwrap().usable() >= 16 << 10);
    assert!(pool.take(Some(1 << 30)).unwrap().usable() >= 1 << 30);
}

#[test]
fn the_default_size_can_be_set_and_set_back() {
    let _bound = bounded();
    let out = in_child("tests::the_default_size_can_be_set_and_set_back", || {
        let mut pool = Pool::new();
        let built_in = default_stack_size();
        assert_eq!(
            built_in,
            if cfg!(debug_assertions) {
                1 << 20
            } else {
                256 << 10
            }
        );
        let before = pool.take(None).unwrap().usable();
        assert_eq!(before, built_in - size::guard_bytes());
        set_default_stack_size(65_536).unwrap();
        assert_eq!(default_stack_size(), 65_536);
        assert_eq!(pool.take(None).unwrap().usable(), 65_536);
        assert!(set_default_stack_size(1).is_err());
        assert_eq!(default_stack_size(), 65_536);
        set_default_stack_size(built_in).unwrap();
        assert_eq!(pool.take(None).unwrap().usable(), before);
    });
    assert_passed(&out);
}

#[test]
fn stats_count_what_is_out_and_what_is_back() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let stacks: Vec<_> = (0..100).map(|_| pool.take(None).unwrap()).collect();
    assert_eq!((pool.stats().live, pool.stats().pooled), (100, 0));
    for stack in stacks {
        pool.give(stack);
    }
    let stats = pool.stats();
    assert_eq!((stats.live, stats.pooled, stats.slabs), (0, 100, 2));
    assert_eq!(stats.bytes_reserved, 192 * default_stack_size());
}

#[test]
fn a_stack_of_another_pool_is_not_taken_back() {
    let _bound = bounded();
    let (mut ours, mut theirs) = (Pool::new(), Pool::new());
    let keep = ours.take(None).unwrap();
    theirs.give(ours.take(None).unwrap());
    let stack = theirs.take(None).unwrap();
    ours.give(stack);
    assert_eq!(ours.stats().pooled, 0);
    assert_eq!(theirs.stats().pooled, 0);
    ours.give(keep);
    assert_eq!(ours.stats().pooled, 1);
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan's shadow counts as memory")]
fn a_hundred_thousand_stacks_take_few_maps_and_no_memory() {
    let _bound = bounded();
    if guard::kind() == GuardKind::Mprotect {
        return; // Two maps each, by nature: see the test of its limit.
    }
    let out = in_child(
        "tests::a_hundred_thousand_stacks_take_few_maps_and_no_memory",
        || {
            let mut pool = Pool::new();
            let mut stacks = Vec::with_capacity(100_000);
            let (maps_before, rss_before) = (maps(), rss_bytes());
            stacks.extend((0..100_000).map(|_| pool.take(None).unwrap()));
            let (maps_more, rss_more) = (maps() - maps_before, rss_bytes() - rss_before);
            assert!(maps_more <= 64, "{maps_more} maps");
            assert!(pool.stats().slabs <= 30, "{:?}", pool.stats());
            assert!(rss_more < 8 << 20, "{rss_more} bytes");
        },
    );
    assert_passed(&out);
}

#[test]
fn trim_gives_memory_back_and_spares_the_hot_set() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let stacks: Vec<_> = (0..200).map(|_| pool.take(Some(65_536)).unwrap()).collect();
    for stack in &stacks {
        fill(stack, 7);
    }
    let low_first: Vec<_> = stacks.iter().map(|s| (s.floor(), s.end)).collect();
    for stack in stacks {
        pool.give(stack);
    }
    assert_eq!(pool.trim(), (200 - 64) * 65_536);
    assert_eq!(pool.trim(), 0, "nothing was used since");
    let resident = |i: usize| advise::lowest_resident(low_first[i].0, low_first[i].1).is_some();
    assert!((0..136).all(|i| !resident(i)), "trimmed");
    assert!((136..200).all(resident), "hot");

    let stacks: Vec<_> = (0..100).map(|_| pool.take(Some(65_536)).unwrap()).collect();
    for stack in stacks {
        fill(&stack, 9);
        pool.give(stack);
    }
    assert_eq!(
        pool.trim(),
        36 * 65_536,
        "only what was used since the last trim"
    );
}

#[test]
fn guards_survive_trim() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let stacks: Vec<_> = (0..70).map(|_| pool.take(Some(65_536)).unwrap()).collect();
    for stack in stacks {
        pool.give(stack);
    }
    assert!(pool.trim() > 0);
    let guards: Vec<_> = (0..70)
        .map(|_| pool.take(Some(65_536)).unwrap().limit())
        .collect();
    assert!(
        guards
            .iter()
            .all(|guard| write_by_kernel(*guard) == Err(libc::EFAULT))
    );
}

/// Lets a syscall write one byte to the address.
fn write_by_kernel(address: usize) -> Result<(), i32> {
    let mut pipe = [0; 2];
    // SAFETY: the kernel checks the address itself: that is what the test is about; where it
    // is writable, it is a stack that the test owns.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        assert_eq!(libc::write(pipe[1], [1_u8].as_ptr().cast(), 1), 1);
        let read = libc::read(pipe[0], address as *mut libc::c_void, 1);
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap();
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        if read == 1 { Ok(()) } else { Err(errno) }
    }
}

#[test]
fn a_syscall_given_a_guard_says_efault() {
    let _bound = bounded();
    let mut pool = Pool::new();
    // Across the first batches of guards, and both ends of each guard.
    for _ in 0..40 {
        let stack = pool.take(None).unwrap();
        let floor = stack.limit() + size::guard_bytes();
        assert_eq!(write_by_kernel(stack.limit()), Err(libc::EFAULT));
        assert_eq!(write_by_kernel(floor - 1), Err(libc::EFAULT));
        assert_eq!(write_by_kernel(floor), Ok(()));
    }
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan's shadow is beyond any limit")]
fn beyond_the_address_space_limit_take_fails_and_malloc_works() {
    let _bound = bounded();
    let out = in_child(
        "tests::beyond_the_address_space_limit_take_fails_and_malloc_works",
        || {
            let limit = libc::rlimit {
                rlim_cur: 2 << 30,
                rlim_max: 2 << 30,
            };
            // SAFETY: reads the struct; the process is this test's own.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
            let mut pool = Pool::new();
            let mut stacks = Vec::new();
            let why = loop {
                match pool.take(Some(65_536)) {
                    Ok(stack) => stacks.push(stack),
                    Err(why) => break why,
                }
            };
            assert_eq!(why.kind(), ErrorKind::OutOfMemory);
            assert!(why.to_string().contains("RLIMIT_AS"), "{why}");
            // 2 GiB are 16,384 slots; most of them could be had.
            assert!(stacks.len() > 13_000, "{}", stacks.len());
            assert!(pool.take(Some(65_536)).is_err());
            assert_eq!(vec![1_u8; 16 << 20].len(), 16 << 20);
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            pool.give(stacks.pop().unwrap());
            assert!(pool.take(Some(65_536)).is_ok());
        },
    );
    assert_passed(&out);
}

#[test]
fn the_map_budget_ends_in_an_error_that_names_it() {
    let _bound = bounded();
    if guard::kind() != GuardKind::Mprotect {
        return; // The other kinds need no maps.
    }
    let out = in_child(
        "tests::the_map_budget_ends_in_an_error_that_names_it",
        || {
            let mut pool = Pool::new();
            let mut stacks = Vec::new();
            let why = loop {
                match pool.take(None) {
                    Ok(stack) => stacks.push(stack),
                    Err(why) => break why,
                }
            };
            assert_eq!(why.kind(), ErrorKind::OutOfMemory);
            assert!(why.to_string().contains("vm.max_map_count"), "{why}");
            assert!(stacks.len() > 20_000, "{}", stacks.len());
            assert!(
                Pool::new().take(None).is_err(),
                "the budget is the process's"
            );
            assert_eq!(vec![1_u8; 64 << 20].len(), 64 << 20);
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            for stack in stacks {
                pool.give(stack);
            }
            drop(pool);
            assert!(Pool::new().take(None).is_ok(), "the budget comes back");
        },
    );
    assert_passed(&out);
}

#[test]
fn the_guard_kind_is_the_one_forced() {
    let _bound = bounded();
    let kind = Pool::new().stats().guard;
    if cfg!(greenroom_guard_mprotect) {
        assert_eq!(kind, GuardKind::Mprotect);
    } else if cfg!(greenroom_guard_poison) {
        assert_eq!(kind, GuardKind::Poison);
    } else {
        assert_ne!(format!("{kind:?}"), "");
    }
}

#[test]
fn drop_unmaps_all_but_the_slab_of_a_stack_that_is_out() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let mut stacks: Vec<_> = (0..100).map(|_| pool.take(None).unwrap()).collect();
    let held = stacks.pop().unwrap();
    let gone = stacks[0].end - 1;
    assert!(table::find(gone).is_some());
    for stack in stacks {
        pool.give(stack);
    }
    drop(pool);
    assert!(
        table::find(gone).is_none(),
        "the first slab is out of the table"
    );
    assert!(table::find(held.limit()).is_some(), "the second is not");
    fill(&held, 3);
    assert_eq!(write_by_kernel(held.limit()), Err(libc::EFAULT));
}

#[test]
fn a_forked_child_can_go_on_with_pools_old_and_new() {
    let _bound = bounded();
    let mut pool = Pool::new();
    let old = pool.take(None).unwrap();
    fill(&old, 1);
    // SAFETY: the child only takes and gives stacks, and leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut good = write_by_kernel(old.limit()) == Err(libc::EFAULT);
        // Beyond the first batch of guards, which the parent has set.
        let mut new = Pool::new();
        for _ in 0..40 {
            let (a, b) = (pool.take(None), new.take(None));
            let guarded = |s: &Stack| write_by_kernel(s.limit()) == Err(libc::EFAULT);
            good &= a.is_ok_and(|s| guarded(&s)) && b.is_ok_and(|s| guarded(&s));
        }
        // SAFETY: as above.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child's guards");
    let more: Vec<_> = (0..40).map(|_| pool.take(None).unwrap()).collect();
    more.iter().for_each(|stack| fill(stack, 2));
}

#[test]
fn locked_memory_does_not_keep_guards_away() {
    let _bound = bounded();
    let out = in_child("tests::locked_memory_does_not_keep_guards_away", || {
        // SAFETY: concerns this process only. It may be refused for want of privilege.
        if unsafe { libc::mlockall(libc::MCL_FUTURE) } == 0 {
            match Pool::new().take(Some(65_536)) {
                Ok(stack) => assert_eq!(write_by_kernel(stack.limit()), Err(libc::EFAULT)),
                Err(why) => assert_eq!(why.kind(), ErrorKind::OutOfMemory),
            }
        }
        eprintln!("guards are {:?};", guard::kind());
    });
    assert_passed(&out);
    // Nor does it make the probe think worse of the kernel.
    let kind = format!("guards are {:?};", guard::kind());
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains(&kind), "{kind} {text}");
}
