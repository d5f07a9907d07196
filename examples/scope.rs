//! Greenlets that borrow: `scope` does not return before all of them have ended, so they may use
//! what lies on the stack around it, without `Arc`, `move` or `'static`.
//!
//! ```text
//! cargo run --example scope
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;

const TEXT: &str = "the quick brown fox\n\
                    jumps over the lazy dog\n\
                    and the dog sleeps on";

/// Greenlets that borrow.
#[derive(Parser)]
struct Args {}

fn main() {
    Args::parse();
    // Sums of borrowed slices, one greenlet each.
    let numbers: Vec<u64> = (1..=1000).collect();
    let total: u64 = greenroom::scope(|s| {
        let chunks = numbers.chunks(100);
        let parts: Vec<_> = chunks
            .map(|chunk| {
                s.spawn(|| {
                    fetch();
                    chunk.iter().sum::<u64>()
                })
            })
            .collect();
        let sums = parts.into_iter().map(|part| part.join().unwrap());
        sums.sum()
    });
    println!("1 + 2 + ... + {} = {total}", numbers.len());

    // A word count, line by line. What is shared need not be `Sync`: all greenlets of a scope
    // are on one OS thread, and only a call that parks lets another one run.
    let words = Cell::new(0);
    let mut counts = BTreeMap::new();
    let lines = greenroom::scope(|s| {
        let words = &words;
        let counted: Vec<_> = TEXT
            .lines()
            .map(|line| s.spawn(|| count(line, words)))
            .collect();
        counted
            .into_iter()
            .map(|line| line.join().unwrap())
            .collect::<Vec<_>>()
    });
    for (word, times) in lines.into_iter().flatten() {
        *counts.entry(word).or_insert(0) += times;
    }
    println!("{} words, {} different ones", words.get(), counts.len());
    println!(
        "\"the\" comes {} times, \"dog\" {}",
        counts["the"], counts["dog"]
    );
}

fn count<'text>(line: &'text str, words: &Cell<usize>) -> BTreeMap<&'text str, usize> {
    fetch();
    let mut counts = BTreeMap::new();
    for word in line.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
        words.set(words.get() + 1);
    }
    counts
}

/// Stands for whatever the work has to wait for.
fn fetch() {
    greenroom::sleep(Duration::from_millis(20));
}
