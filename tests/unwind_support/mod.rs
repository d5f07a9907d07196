//! Backtraces out of signal handlers, which come between any two instructions.
//!
//! A walk is right if it ends at the root of a stack: at the first function of a greenlet or of
//! an OS thread, as they were seen by walks that began in an ordinary call.

#[path = "../bounded/mod.rs"]
mod bounded;

#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use bounded::{bounded, bounded_by};

#[cfg(target_arch = "x86_64")]
use std::arch::naked_asm;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use greenroom::generator::Generator;
#[cfg(target_arch = "x86_64")]
use greenroom::thread::park;
use greenroom::{joinall, spawn, spawn_local, yield_now};

const FRAMES_MAX: usize = 400;
const ROOTS_MAX: usize = 8;
const END_OF_STACK: c_int = 5;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        walk: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    /// Looks at what lies before, as for an address to return to.
    fn _Unwind_FindEnclosingFunction(at: *mut c_void) -> *mut c_void;
}

/// Where a walk has come.
struct Walk {
    frames: usize,
    last: usize,
    ended: bool,
}

extern "C" fn step(context: *mut c_void, walk: *mut c_void) -> c_int {
    // SAFETY: `Walk::here` passes its own; the context is the unwinder's, live during this call.
    let (walk, at) = unsafe { (&mut *walk.cast::<Walk>(), _Unwind_GetIP(context)) };
    if at != 0 {
        (walk.frames, walk.last) = (walk.frames + 1, at);
    }
    c_int::from(walk.frames > FRAMES_MAX)
}

impl Walk {
    fn here() -> Walk {
        let mut walk = Walk {
            frames: 0,
            last: 0,
            ended: false,
        };
        // SAFETY: `step` has the signature that is asked for, and gets what it wants.
        walk.ended = unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) } == END_OF_STACK;
        walk
    }

    fn root(&self) -> *mut c_void {
        // SAFETY: it only looks the address up.
        unsafe { _Unwind_FindEnclosingFunction(self.last as *mut c_void) }
    }
}

const PORTABLE: bool = cfg!(any(
    greenroom_portable_switch,
    feature = "sanitizer",
    not(target_arch = "x86_64")
));

static ROOTS: [AtomicPtr<c_void>; ROOTS_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; _];
static WALKS: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);
/// The instruction at which the first of the wrong ones began.
static WRONG_AT: AtomicUsize = AtomicUsize::new(0);
/// One test at a time: signals and these counts are the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn learn_root() {
    let walk = Walk::here();
    assert!(walk.ended && !walk.root().is_null());
    let free = ROOTS.iter().find(|root| {
        let is = root.load(Relaxed);
        is.is_null() || is == walk.root()
    });
    free.expect("there are few").store(walk.root(), Relaxed);
}

fn look(context: *mut c_void) {
    let walk = Walk::here();
    let root = walk.root();
    let known = ROOTS.iter().any(|known| known.load(Relaxed) == root);
    WALKS.fetch_add(1, Relaxed);
    // SAFETY: the kernel passes a live context to a handler with SA_SIGINFO.
    let at = unsafe { interrupted_at(context) };
    if (!walk.ended || root.is_null() || !known) && !is_in_plt(at) {
        let _ = WRONG_AT.compare_exchange(0, at, Relaxed, Relaxed);
        WRONG.fetch_add(1, Relaxed);
    }
}

/// # Safety
/// `context` is what the kernel gave a handler with SA_SIGINFO.
unsafe fn interrupted_at(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's word.
    #[cfg(target_arch = "x86_64")]
    return unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] } as usize;
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    return unsafe { (*context).uc_mcontext.pc } as usize;
}

/// Linkers write jumps to functions of other libraries, and lld describes them to no unwinder.
fn is_in_plt(at: usize) -> bool {
    // SAFETY: it only looks the address up.
    let described = !unsafe { _Unwind_FindEnclosingFunction((at + 1) as *mut c_void) }.is_null();
    // SAFETY: the instruction that was interrupted; no jump by memory is shorter than two bytes.
    let is_jump = || unsafe { (at as *const [u8; 2]).read() } == [0xff, 0x25];
    !described && (cfg!(not(target_arch = "x86_64")) || is_jump())
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn begin(signal: c_int, handler: Handler) {
    learn_root();
    // Both kinds, and whatever the unwinder makes at its first time.
    spawn(learn_root).join().unwrap();
    spawn_local(learn_root).join().unwrap();
    WALKS.store(0, Relaxed);
    WRONG.store(0, Relaxed);
    WRONG_AT.store(0, Relaxed);
    // SAFETY: the handler has the signature that SA_SIGINFO asks for; it only uses atomics, its
    // own stack and the unwinder, which looks its tables up without a lock.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
}

fn assert_all_right() -> usize {
    let (walks, wrong) = (WALKS.load(Relaxed), WRONG.load(Relaxed));
    let at = WRONG_AT.load(Relaxed);
    // SAFETY: all zeroes is a valid value, of numbers and pointers.
    let mut object: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: it only looks the address up, and fills what it is given.
    let is_known = unsafe { libc::dladdr(at as *const c_void, &mut object) } != 0;
    // SAFETY: dladdr has filled it.
    let name = is_known.then(|| unsafe { CStr::from_ptr(object.dli_fname) });
    // For addr2line.
    let offset = at.wrapping_sub(object.dli_fbase as usize);
    // The portable switch only holds that no walk reads what is no stack (and on x86-64 only with
    // frame pointers): some end early, or at another root.
    let wrong_max = if PORTABLE { walks / 100 } else { 0 };
    assert!(
        wrong <= wrong_max,
        "{wrong} of {walks} walks went wrong, first at {offset:#x} of {name:?}"
    );
    walks
}

fn three_yields() {
    (0..3).for_each(|_| yield_now());
}

#[cfg(target_arch = "x86_64")]
fn three_yields_and_a_park() {
    three_yields();
    park();
}

/// A greenlet that begins, parks and ends, and a generator.
fn begin_and_end() {
    spawn_local(yield_now).join().unwrap();
    let generator = Generator::new(|yielder, ()| yielder.suspend(1)).unwrap();
    assert_eq!(generator.sum::<i32>(), 1);
}

/// How often an instruction is looked at: the next thousand rounds of a loop show nothing new.
#[cfg(target_arch = "x86_64")]
const VISITS_MAX: usize = 40;
#[cfg(target_arch = "x86_64")]
static VISITS: [AtomicUsize; 1 << 16] = [const { AtomicUsize::new(0) }; _];

#[cfg(target_arch = "x86_64")]
extern "C" fn looked(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a live context to a handler with SA_SIGINFO.
    let at = unsafe { interrupted_at(context) };
    if VISITS[at % VISITS.len()].fetch_add(1, Relaxed) < VISITS_MAX {
        look(context);
    }
}

#[cfg(target_arch = "x86_64")]
const TRAP: u64 = 0x100;

/// Sets and clears flags of the processor; a walk must hold in here as well.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "sysv64" fn change_flags(set: u64, keep: u64) {
    naked_asm!(
        ".cfi_startproc",
        "pushfq",
        ".cfi_adjust_cfa_offset 8",
        "or [rsp], rdi",
        "and [rsp], rsi",
        "popfq",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

/// A walk at each instruction of all kinds of switches.
#[cfg(target_arch = "x86_64")]
pub(crate) fn walk_at_each_instruction() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    begin(libc::SIGTRAP, looked);
    begin_and_end();
    // In a patched program they have their own thread-locals, and it takes very many instructions
    // to make and to end those.
    let others = [
        spawn(three_yields_and_a_park),
        spawn(three_yields_and_a_park),
    ];
    // SAFETY: with the trap flag set a SIGTRAP comes after each instruction, and is handled.
    unsafe { change_flags(TRAP, !0) };
    yield_now();
    yield_now();
    begin_and_end();
    // SAFETY: as above; it is taken away again.
    unsafe { change_flags(0, !TRAP) };
    others.iter().for_each(|other| other.thread().unpark());
    joinall(others);
    let walks = assert_all_right();
    assert!(walks > 5000, "{walks} instructions were seen");
}

static TIMER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static WALKS_MAX: AtomicUsize = AtomicUsize::new(0);
static TURN: AtomicUsize = AtomicUsize::new(1);

extern "C" fn looked_by_timer(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno is this thread's.
    let errno = unsafe { *libc::__errno_location() };
    look(context);
    if WALKS.load(Relaxed) < WALKS_MAX.load(Relaxed) {
        arm();
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The next one comes after 4 to 36 microseconds. An interval would have it come as soon as the
/// handler returns, and nothing else would ever run.
fn arm() {
    let turn = TURN.load(Relaxed);
    TURN.store(
        turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223),
        Relaxed,
    );
    // SAFETY: all zeroes is a valid value.
    let mut when: libc::itimerspec = unsafe { std::mem::zeroed() };
    when.it_value.tv_nsec = 4000 + (turn >> 8) as i64 % 32_768;
    // SAFETY: the timer is there; the call is async-signal-safe (POSIX).
    unsafe { libc::timer_settime(TIMER.load(Relaxed), 0, &when, ptr::null_mut()) };
}

/// So many walks, at any moment while greenlets switch.
pub(crate) fn walk_at_any_moment(walks: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    begin(libc::SIGPROF, looked_by_timer);
    // SAFETY: all zeroes is a valid value; the call fills what it is given.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_signo = libc::SIGPROF;
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer = ptr::null_mut();
        let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer);
        assert_eq!(made, 0);
        TIMER.store(timer, Relaxed);
    }
    WALKS_MAX.store(walks, Relaxed);
    arm();
    while WALKS.load(Relaxed) < walks {
        let others = [spawn(three_yields), spawn(three_yields)];
        begin_and_end();
        joinall(others);
    }
    // SAFETY: it is there, and not set any more.
    unsafe { libc::timer_delete(TIMER.load(Relaxed)) };
    assert_all_right();
}
