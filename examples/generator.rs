//! A producer and two consumers that take turns by yielding, without a scheduler.
//!
//! ```text
//! cargo run --example generator
//! ```

use std::io;

use clap::Parser;
use greenroom::generator::{Generator, Yielder};

/// Eats whatever it is sent. The first thing sent only starts it.
type Consumer = Generator<Option<u32>, (), ()>;

fn consumer(name: &'static str) -> io::Result<Consumer> {
    Generator::new(move |yielder: &Yielder<Option<u32>, ()>, _| {
        println!("--->starting eating baozi...");
        while let Some(baozi) = yielder.suspend(()) {
            println!("[{name}] is eating baozi {baozi}");
        }
    })
}

fn producer(consumers: &mut [Consumer]) {
    for consumer in &mut *consumers {
        consumer.resume(None);
    }
    for baozi in 1..=5 {
        for consumer in &mut *consumers {
            consumer.resume(Some(baozi));
        }
        println!("[producer] is making baozi {baozi}");
    }
}

/// A producer and two consumers that take turns by yielding, without a scheduler.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    producer(&mut [consumer("c1")?, consumer("c2")?]);
    // Dropped in the middle of their loops, the consumers unwind.
    Ok(())
}
