//! Claim: a switch by hand costs about what a bare switch does, and less than the scheduler's.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{Bench, Claim, bare_syscalls, cpu};
use greenroom::fiber::{Fiber, current};
use greenroom::generator::{Generator, Yielder};

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let mut endless = Generator::new(|yielder: &Yielder<u64, u64>, first| {
        let mut value = first;
        loop {
            value = yielder.suspend(value + 1);
        }
    })
    .expect("there is a stack");
    let mut resume = |count: u64| {
        cpu(|| {
            (0..count).for_each(|n| {
                let _: greenroom::generator::GeneratorState<u64, ()> = endless.resume(n);
            });
        })
    };
    let claim = Claim::demand("generator, resume and yield : bare syscall", 1.0);
    bench.compare(claim, &mut resume, &mut bare_syscalls);
    let claim = Claim::demand("generator, resume and yield : 2 greenlet yields", 0.8);
    bench.compare(claim, &mut resume, &mut |count| two_greenlets(2 * count));

    let main = current();
    let there = Fiber::new(move |first: u64| {
        let mut value = first;
        loop {
            value = main.switch(value + 1).expect("main waits");
        }
    });
    let mut switch = |count: u64| {
        cpu(|| {
            (0..count).for_each(|n| {
                there.switch(n).expect("it waits");
            });
        })
    };
    let claim = Claim::demand("fiber, there and back : bare syscall", 2.0);
    bench.compare(claim, &mut switch, &mut bare_syscalls);

    let mut make = |count: u64| {
        cpu(|| {
            (0..count).for_each(|n| {
                let one = Generator::new(move |yielder: &Yielder<(), u64>, ()| yielder.suspend(n));
                assert_eq!(one.expect("there is a stack").sum::<u64>(), n);
            });
        })
    };
    let claim = Claim::information("generator, made, run and ended : greenlet");
    bench.compare(claim, &mut make, &mut spawn_and_join);
    bench.finish()
}

/// Two greenlets yield to each other, `count` times in all.
fn two_greenlets(count: u64) -> Duration {
    let half = move || (0..count / 2).for_each(|_| greenroom::yield_now());
    cpu(|| {
        greenroom::joinall([greenroom::spawn(half), greenroom::spawn(half)]);
    })
}

fn spawn_and_join(count: u64) -> Duration {
    cpu(|| {
        (0..count).for_each(|n| {
            assert_eq!(greenroom::spawn(move || n).join().expect("it ends"), n);
        });
    })
}
