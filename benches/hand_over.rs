//! Claim: handing over to another greenlet is far cheaper than any system call.

mod common;

use std::hint::black_box;
use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Bench, Claim, bare_syscalls, cpu};
use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, Yielder};

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let runtime = common::tokio_runtime();

    let claim = Claim::new("yield, 2 greenlets : bare syscall", 0.5, 0.25);
    bench.compare(claim, &mut two_greenlets, &mut bare_syscalls);
    let claim = Claim::demand("yield, 2 greenlets : tokio yield_now, 2 tasks", 0.6);
    bench.compare(claim, &mut two_greenlets, &mut |count| {
        two_tasks(&runtime, count)
    });
    let claim = Claim::stretch("yield, 2 greenlets : bare switch, inlined", 4.0);
    bench.compare(claim, &mut two_greenlets, &mut |count| {
        bare_switches(inlined, count)
    });

    let claim = Claim::information("bare switch, 2 calls deep : inlined");
    let mut deep = |count| bare_switches(two_calls_deep, count);
    bench.compare(claim, &mut deep, &mut |count| bare_switches(inlined, count));

    crowd(&mut bench);
    bench.finish()
}

/// Two greenlets yield to each other, `count` times in all.
fn two_greenlets(count: u64) -> Duration {
    let half = move || (0..count / 2).for_each(|_| greenroom::yield_now());
    cpu(|| {
        greenroom::joinall([greenroom::spawn(half), greenroom::spawn(half)]);
    })
}

fn two_tasks(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    let half = move || async move {
        for _ in 0..count / 2 {
            tokio::task::yield_now().await;
        }
    };
    cpu(|| {
        runtime.block_on(async {
            let (a, b) = (tokio::spawn(half()), tokio::spawn(half()));
            a.await.and(b.await).expect("no task panics");
        });
    })
}

/// Round-robin among so many that their stacks fit into no cache.
fn crowd(bench: &mut Bench) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let number = bench.size(100_000, 1000);
    let yields = || {
        while !STOP.load(Ordering::Relaxed) {
            greenroom::yield_now()
        }
    };
    let greenlets: Vec<_> = (0..number).map(|_| greenroom::spawn(yields)).collect();
    // The root yields as well: one round of all of them.
    let mut round = |count| in_rounds(number, count, greenroom::yield_now);
    let mut bare: Vec<_> = (0..number).map(|_| bare_coroutine(inlined)).collect();
    let mut bare_round = |count| {
        in_rounds(number, count, || {
            bare.iter_mut().for_each(|one| turn(one, false))
        })
    };
    bare_round(1);

    let rounds = bench.size(15, 2);
    let claim = Claim::demand("yield, 100,000 greenlets : bare syscall", 5.0);
    bench.compare_in(rounds, claim, &mut round, &mut bare_syscalls);
    let claim = Claim::stretch("yield, 100,000 greenlets : bare switch, 100,000", 2.0);
    bench.compare_in(rounds, claim, &mut round, &mut bare_round);

    STOP.store(true, Ordering::Relaxed);
    greenroom::joinall(greenlets);
    bare.iter_mut().for_each(|one| turn(one, true));
}

/// Calls `round` for at least `count` things, of which it does `number` at a time.
fn in_rounds(number: u64, count: u64, mut round: impl FnMut()) -> Duration {
    let rounds = count.div_ceil(number);
    let time = cpu(|| (0..rounds).for_each(|_| round()));
    time.mul_f64(count as f64 / (rounds * number) as f64)
}

type Bare = Coroutine<bool, (), (), Mapped>;

/// Suspends until it is told to stop.
fn inlined(yielder: &Yielder<bool, ()>) {
    while !yielder.suspend(()) {}
}

/// As [`inlined`], but as a library must do it: in a function that a function calls. Every `ret`
/// between a suspend and the loop then jumps to where the predictor does not expect it.
fn two_calls_deep(yielder: &Yielder<bool, ()>) {
    #[inline(never)]
    fn outer(yielder: &Yielder<bool, ()>) -> bool {
        black_box(inner(yielder))
    }
    #[inline(never)]
    fn inner(yielder: &Yielder<bool, ()>) -> bool {
        black_box(yielder.suspend(()))
    }
    while !outer(yielder) {}
}

fn bare_coroutine(body: impl Fn(&Yielder<bool, ()>) + 'static) -> Bare {
    Coroutine::with_stack(Mapped::new(), move |yielder, _| body(yielder))
}

/// There and back again.
#[inline]
fn turn(coroutine: &mut Bare, stop: bool) {
    let _ = coroutine.resume(stop);
}

fn bare_switches(body: impl Fn(&Yielder<bool, ()>) + 'static, count: u64) -> Duration {
    let mut coroutine = bare_coroutine(body);
    turn(&mut coroutine, false);
    let time = cpu(|| (0..count).for_each(|_| turn(&mut coroutine, false)));
    turn(&mut coroutine, true);
    time
}

/// A stack for nothing but a switch: no guard, and never given back while others might use it.
struct Mapped {
    bottom: usize,
    colour: usize,
}

const STRIDE: usize = 64 * 1024;
/// Lines by which the tops of stacks are shifted, so that they don't share one set of the cache.
const COLOURS: usize = 16;

impl Mapped {
    fn new() -> Mapped {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
        );
        // SAFETY: a new mapping wherever the kernel finds room.
        let map = unsafe { libc::mmap(ptr::null_mut(), STRIDE, access, flags, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        let bottom = map as usize;
        let colour = bottom / STRIDE % COLOURS * 64;
        Mapped { bottom, colour }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and a coroutine drops its stack only when it has ended.
        unsafe { libc::munmap(self.bottom as *mut libc::c_void, STRIDE) };
    }
}

// SAFETY: base and limit are page- and line-aligned ends of a mapping that lives as long as this.
// There is no guard, but what runs here needs a few hundred bytes.
unsafe impl Stack for Mapped {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.bottom + STRIDE - self.colour).expect("not at address 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.bottom).expect("not at address 0")
    }
}
