//! What the overflow handler promises, each in a process that dies of it.

use super::tests::in_child;
use super::*;
use crate::bounded::bounded;
use std::arch::asm;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// Calls `f` on the stack and comes back when it returns.
fn on_stack(stack: &Stack, f: extern "C" fn()) {
    // SAFETY: the stack is live and owned.
    unsafe { on_stack_at(stack.top(), f) };
}

/// # Safety
/// A stack that nobody uses ends at `top`, which is aligned.
unsafe fn on_stack_at(top: usize, f: extern "C" fn()) {
    // SAFETY: the caller vouches for the stack, and `f` does not unwind. The register that
    // keeps the old stack pointer is one that `f` saves.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "xchg rsp, r12", "call {f}", "mov rsp, r12",
            f = in(reg) f, inout("r12") top => _, clobber_abi("C"),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "mov x20, sp", "mov sp, {top}", "blr {f}", "mov sp, x20",
            f = in(reg) f, top = in(reg) top, out("x20") _, clobber_abi("C"),
        );
    }
}

fn dig(depth: usize) -> usize {
    let frame = black_box([depth as u8; 1000]);
    if depth == usize::MAX {
        0
    } else {
        dig(depth + 1) + usize::from(frame[depth % 1000])
    }
}

extern "C" fn recurse() {
    black_box(dig(1));
}

extern "C" fn one_large_frame() {
    black_box([1_u8; 3 << 20]);
}

extern "C" fn read_null() {
    // SAFETY: none; the process is to die of it.
    unsafe { black_box(black_box(std::ptr::null::<u8>()).read_volatile()) };
}

fn overflow_a_stack(size: Option<usize>, f: extern "C" fn()) {
    overflow::install();
    let _alt_stack = overflow::ensure_alt_stack();
    let mut pool = Pool::new();
    // Not the slab's first slot, which has no slot below.
    let _first = pool.take(size).unwrap();
    on_stack(&pool.take(size).unwrap(), f);
}

/// Runs `f` on the process's main thread, on which the harness runs no test: as a signal handler
/// on that thread's own stack. Does not come back; the process is to end in `f`.
fn on_main(f: extern "C" fn(libc::c_int)) {
    // SAFETY: the main thread sits in a wait of the harness, so it holds no lock of malloc's.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = f as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::syscall(
            libc::SYS_tgkill,
            libc::getpid(),
            libc::getpid(),
            libc::SIGUSR1,
        );
        libc::pause();
    }
}

extern "C" fn overflow_a_stack_on_main(_: libc::c_int) {
    overflow_a_stack(Some(65_536), recurse);
}

extern "C" fn overflow_main_itself(_: libc::c_int) {
    recurse();
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Asserts that the child died by `abort` after exactly one message of ours, with these words.
fn assert_overflow(out: &Output, who: &str, bytes: usize) {
    let text = stderr(out);
    assert_eq!(
        out.status.signal(),
        Some(libc::SIGABRT),
        "{:?}: {text}",
        out.status
    );
    let start = format!("\n{who} has overflowed its stack: {bytes} bytes, fault at 0x");
    assert_eq!(
        text.matches("has overflowed its stack").count(),
        1,
        "{text}"
    );
    assert!(text.contains(&start), "{text}");
    let hint = " bytes below the stack's top\ngive it a larger one with Builder::stack_size, \
                or raise the default with set_default_stack_size\n";
    assert!(text.contains(hint), "{text}");
}

/// How far below the top the message says the fault was.
fn depth_in(out: &Output) -> usize {
    let text = stderr(out);
    let (before, _) = text.split_once(" bytes below").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn recursion_on_main_is_named_and_aborts() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::recursion_on_main_is_named_and_aborts",
        || {
            overflow::set_describer(|out| {
                write!(out, "greenlet #{} 'worker'", black_box(2)).is_ok()
            });
            on_main(overflow_a_stack_on_main);
        },
    );
    assert_overflow(&out, "greenlet #2 'worker'", 65_536);
    let depth = depth_in(&out);
    assert!(
        (65_537..=65_536 + size::guard_bytes()).contains(&depth),
        "{depth}"
    );
}

#[test]
fn the_default_size_is_named_as_it_is_set() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::the_default_size_is_named_as_it_is_set",
        || {
            overflow_a_stack(None, recurse);
        },
    );
    assert_overflow(&out, "a greenlet", default_stack_size());
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "the frame's shadow faults first")]
fn one_large_frame_is_named_too() {
    let _bound = bounded();
    let out = in_child("tests_overflow::one_large_frame_is_named_too", || {
        overflow_a_stack(Some(65_536), one_large_frame);
    });
    assert_overflow(&out, "a greenlet", 65_536);
}

#[test]
fn recursion_on_a_std_thread_is_named() {
    let _bound = bounded();
    let out = in_child("tests_overflow::recursion_on_a_std_thread_is_named", || {
        let _ = std::thread::spawn(|| overflow_a_stack(Some(65_536), recurse)).join();
    });
    assert_overflow(&out, "a greenlet", 65_536);
}

extern "C" fn raw_thread(_: *mut libc::c_void) -> *mut libc::c_void {
    overflow_a_stack(Some(65_536), recurse);
    std::ptr::null_mut()
}

/// Runs `f` on a thread that std knows nothing of.
fn on_raw_pthread(f: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void) {
    // SAFETY: the thread gets no argument, and is joined before this returns.
    unsafe {
        let mut thread = std::mem::zeroed();
        let null = std::ptr::null_mut();
        assert_eq!(
            libc::pthread_create(&mut thread, std::ptr::null(), f, null),
            0
        );
        libc::pthread_join(thread, std::ptr::null_mut());
    }
}

#[test]
fn recursion_on_a_raw_pthread_is_named() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::recursion_on_a_raw_pthread_is_named",
        || {
            on_raw_pthread(raw_thread);
        },
    );
    assert_overflow(&out, "a greenlet", 65_536);
}

#[test]
fn a_write_into_a_guard_from_elsewhere_aborts_without_a_name() {
    let _bound = bounded();
    let name = "tests_overflow::a_write_into_a_guard_from_elsewhere_aborts_without_a_name";
    let out = in_child(name, || {
        overflow::install();
        overflow::set_describer(|out| out.write_str("the wrong one").is_ok());
        let stack = Pool::new().take(None).unwrap();
        // SAFETY: none; the process is to die of it.
        unsafe { ((stack.limit() + 100) as *mut u8).write_volatile(1) };
    });
    assert_overflow(&out, "a greenlet", default_stack_size());
}

/// A stack with a guard below, as a library makes it.
fn overflow_a_stack_of_others() {
    const BYTES: usize = 1 << 20;
    overflow::install();
    // SAFETY: a new mapping wherever the kernel finds room; its upper half is made accessible.
    unsafe {
        let (none, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let map = libc::mmap(std::ptr::null_mut(), BYTES, none, flags, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let half = map.byte_add(BYTES / 2);
        assert_eq!(libc::mprotect(half, BYTES / 2, access), 0);
        on_stack_at(map as usize + BYTES, recurse);
    }
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn a_greenlet_that_overflows_a_stack_of_others_is_named_and_dies_as_it_would() {
    let _bound = bounded();
    let name = "tests_overflow::\
                a_greenlet_that_overflows_a_stack_of_others_is_named_and_dies_as_it_would";
    let out = in_child(name, || {
        overflow::set_describer(|out| out.write_str("greenlet #4").is_ok());
        overflow_a_stack_of_others();
    });
    let text = stderr(&out);
    let line = "\ngreenlet #4 has overflowed a stack that greenroom did not make, fault at 0x";
    assert_eq!(text.matches(line).count(), 1, "{text}");
    assert!(text.contains("Part::Identity"), "{text}");
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV), "{text}");
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn an_os_thread_that_overflows_a_stack_of_others_gets_no_message() {
    let _bound = bounded();
    let name = "tests_overflow::an_os_thread_that_overflows_a_stack_of_others_gets_no_message";
    let out = in_child(name, || {
        overflow::set_describer(|_| false);
        overflow_a_stack_of_others();
    });
    assert_plain_sigsegv(&out);
}

extern "C" fn step_over_the_guard() {
    let here = black_box(0_u8);
    let place = table::find((&raw const here) as usize).unwrap();
    // SAFETY: none; the process is to die of it: the guard of the slot below.
    unsafe { ((place.base - place.layout.slot + 8) as *mut u8).write_volatile(1) };
}

#[test]
fn a_frame_that_steps_over_its_guard_into_the_next_is_named() {
    let _bound = bounded();
    let name = "tests_overflow::a_frame_that_steps_over_its_guard_into_the_next_is_named";
    let out = in_child(name, || {
        overflow::set_describer(|out| out.write_str("greenlet #3").is_ok());
        overflow_a_stack(Some(65_536), step_over_the_guard);
    });
    assert_overflow(&out, "greenlet #3", 65_536);
}

extern "C" fn run_into_the_slot_above() {
    let here = black_box(0_u8);
    let end = table::find((&raw const here) as usize).unwrap().end();
    // SAFETY: none; the process is to die of it: the guard of the slot above.
    unsafe { ((end + 8) as *mut u8).write_volatile(1) };
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn a_buffer_overrun_into_the_slot_above_is_no_overflow() {
    let _bound = bounded();
    let name = "tests_overflow::a_buffer_overrun_into_the_slot_above_is_no_overflow";
    let out = in_child(name, || {
        overflow_a_stack(Some(65_536), run_into_the_slot_above);
    });
    let killed = [Some(libc::SIGSEGV), Some(libc::SIGBUS)];
    assert!(
        killed.contains(&out.status.signal()),
        "{:?}: {}",
        out.status,
        stderr(&out)
    );
    assert!(!stderr(&out).contains("overflowed"), "{}", stderr(&out));
}

fn assert_plain_sigsegv(out: &Output) {
    assert_eq!(
        out.status.signal(),
        Some(libc::SIGSEGV),
        "{:?}: {}",
        out.status,
        stderr(out)
    );
    assert!(!stderr(out).contains("overflowed"), "{}", stderr(out));
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn a_null_read_on_a_stack_dies_of_sigsegv() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::a_null_read_on_a_stack_dies_of_sigsegv",
        || {
            overflow_a_stack(None, read_null);
        },
    );
    assert_plain_sigsegv(&out);
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn a_null_read_elsewhere_dies_of_sigsegv() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::a_null_read_elsewhere_dies_of_sigsegv",
        || {
            overflow::install();
            read_null();
        },
    );
    assert_plain_sigsegv(&out);
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn the_main_threads_own_overflow_gets_stds_message() {
    let _bound = bounded();
    let name = "tests_overflow::the_main_threads_own_overflow_gets_stds_message";
    let out = in_child(name, || {
        overflow::install();
        overflow::install();
        on_main(overflow_main_itself);
    });
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{:?}", out.status);
    assert!(stderr(&out).contains("thread 'main'"), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("has overflowed its stack"),
        "{}",
        stderr(&out)
    );
    assert!(!stderr(&out).contains("greenlet"), "{}", stderr(&out));
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan reports it")]
fn a_std_threads_own_overflow_gets_stds_message() {
    let _bound = bounded();
    let name = "tests_overflow::a_std_threads_own_overflow_gets_stds_message";
    let out = in_child(name, || {
        overflow::install();
        let _ = std::thread::Builder::new()
            .name("plain".into())
            .spawn(|| recurse())
            .unwrap()
            .join();
    });
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{:?}", out.status);
    assert!(stderr(&out).contains("thread 'plain'"), "{}", stderr(&out));
}

/// Installs an action for SIGSEGV before ours.
fn before_ours(handler: usize, flags: libc::c_int) {
    // SAFETY: the handlers of these tests only call write, _exit and raise.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()),
            0
        );
    }
    overflow::install();
}

extern "C" fn plain_handler(signal: libc::c_int) {
    // SAFETY: ends the process, async-signal-safe.
    unsafe { libc::_exit(if signal == libc::SIGSEGV { 41 } else { 1 }) };
}

extern "C" fn full_handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel's siginfo, handed on; _exit is async-signal-safe.
    unsafe { libc::_exit(if (*info).si_addr().is_null() { 42 } else { 1 }) };
}

extern "C" fn returning_handler(_: libc::c_int) {
    // SAFETY: write is async-signal-safe.
    unsafe { libc::write(2, b"seen;".as_ptr().cast(), 5) };
}

fn raise_segv() {
    // SAFETY: sends this thread a signal, nothing else.
    unsafe { libc::raise(libc::SIGSEGV) };
}

#[test]
fn a_full_handler_gets_the_faults_that_are_not_ours() {
    let _bound = bounded();
    let name = "tests_overflow::a_full_handler_gets_the_faults_that_are_not_ours";
    let out = in_child(name, || {
        before_ours(full_handler as *const () as usize, libc::SA_SIGINFO);
        read_null();
    });
    assert_eq!(out.status.code(), Some(42), "{:?}", out.status);
}

#[test]
fn a_plain_handler_gets_the_faults_that_are_not_ours() {
    let _bound = bounded();
    let name = "tests_overflow::a_plain_handler_gets_the_faults_that_are_not_ours";
    let out = in_child(name, || {
        before_ours(plain_handler as *const () as usize, 0);
        read_null();
    });
    assert_eq!(out.status.code(), Some(41), "{:?}", out.status);
}

#[test]
fn a_one_shot_handler_has_one_turn() {
    let _bound = bounded();
    let out = in_child("tests_overflow::a_one_shot_handler_has_one_turn", || {
        before_ours(returning_handler as *const () as usize, libc::SA_RESETHAND);
        raise_segv();
        raise_segv();
    });
    assert_eq!(stderr(&out).matches("seen;").count(), 1, "{}", stderr(&out));
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV), "{:?}", out.status);
}

#[test]
fn an_ignored_signal_is_ignored_but_a_fault_is_not() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::an_ignored_signal_is_ignored_but_a_fault_is_not",
        || {
            before_ours(libc::SIG_IGN, 0);
            raise_segv();
            eprint!("alive;");
            read_null();
        },
    );
    assert!(stderr(&out).contains("alive;"), "{}", stderr(&out));
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV), "{:?}", out.status);
}

#[test]
fn a_sent_signal_with_the_default_action_kills() {
    let _bound = bounded();
    let out = in_child(
        "tests_overflow::a_sent_signal_with_the_default_action_kills",
        || {
            before_ours(libc::SIG_DFL, 0);
            raise_segv();
        },
    );
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV), "{:?}", out.status);
}

extern "C" fn alt_stack_comes_and_goes(_: *mut libc::c_void) -> *mut libc::c_void {
    let maps = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    let before = maps();
    let made = overflow::ensure_alt_stack();
    let good = made.is_some() && overflow::ensure_alt_stack().is_none();
    drop(made);
    let again = overflow::ensure_alt_stack();
    let good = good && again.is_some();
    drop(again);
    // SAFETY: ends the child process.
    unsafe { libc::_exit(if good && maps() == before { 0 } else { 1 }) };
}

#[test]
#[cfg_attr(feature = "sanitizer", ignore = "ASan makes one for every thread")]
fn an_alternate_stack_is_made_where_there_is_none_and_freed() {
    let _bound = bounded();
    let name = "tests_overflow::an_alternate_stack_is_made_where_there_is_none_and_freed";
    let out = in_child(name, || on_raw_pthread(alt_stack_comes_and_goes));
    assert_eq!(out.status.code(), Some(0), "{:?}", out.status);
    assert!(
        overflow::ensure_alt_stack().is_none(),
        "std's threads have one"
    );
}
