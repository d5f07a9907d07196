//! The crate `stacker`, on which parsers and compilers recurse: it has code run on stacks of its
//! own, and keeps the limit of the present one in a thread-local.
#![cfg(all(feature = "monkey", target_env = "gnu"))]

mod hazard_support;

use hazard_support::bounded;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;

use greenroom::{Greenlet, joinall, spawn, spawn_local, yield_now};
use hazard_support::alone;

const DEPTH: u64 = 2000;

/// Recurses deeper than any stack, and parks all the way down.
fn recurse(depth: u64) -> u64 {
    stacker::maybe_grow(32 << 10, 256 << 10, || {
        let frame = black_box([1_u8; 2000]);
        if depth.is_multiple_of(3) {
            yield_now();
        }
        match depth {
            0 => 0,
            _ => recurse(depth - 1) + u64::from(frame[depth as usize % 2000]),
        }
    })
}

/// Greenlets of several depths, so that none leaves its stacks in the order of the others.
fn several(spawn: impl Fn(u64) -> Greenlet<u64>) -> Vec<u64> {
    let greenlets: Vec<_> = (0..4).map(|n| spawn(DEPTH + 100 * n)).collect();
    let ended = joinall(greenlets).into_iter();
    ended.map(|depth| depth.unwrap() % DEPTH / 100).collect()
}

#[test]
fn greenlets_with_thread_locals_of_their_own_recurse_on_grown_stacks() {
    let _bound = bounded();
    greenroom::monkey::patch_all().unwrap();
    assert_eq!(recurse(DEPTH), DEPTH);
    let ended = several(|depth| spawn(move || recurse(depth)));
    assert_eq!(ended, [0, 1, 2, 3]);
}

#[test]
fn greenlets_that_share_the_limit_of_their_stacks_are_named_when_they_overflow() {
    let _bound = bounded();
    let Some(out) = alone(
        "greenlets_that_share_the_limit_of_their_stacks_are_named_when_they_overflow",
        || {
            greenroom::monkey::patch_all().unwrap();
            assert_eq!(recurse(10), 10);
            several(|depth| spawn_local(move || recurse(depth)));
        },
    ) else {
        return;
    };
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("greenlet #"), "{text}");
    assert!(
        text.contains("has overflowed a stack that greenroom did not make"),
        "{text}"
    );
    assert!(text.contains("Part::Identity"), "{text}");
    assert_eq!(out.status.signal(), Some(libc::SIGSEGV), "{text}");
}
