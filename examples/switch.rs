//! Two functions that switch to each other by hand: greenlet's first example.
//!
//! ```text
//! cargo run --example switch
//! ```

use clap::Parser;
use greenroom::fiber::{Fiber, FiberError};

fn test1(gr2: &Fiber<()>) -> Result<(), FiberError> {
    println!("12");
    gr2.switch(())?;
    println!("34");
    gr2.switch(())
}

fn test2(gr1: &Fiber<()>) -> Result<(), FiberError> {
    println!("56");
    gr1.switch(())?;
    println!("78");
    Ok(())
}

/// Two functions that switch to each other by hand.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let (gr1, gr2) = (Fiber::unset(), Fiber::unset());
    let (one, two) = (gr1.downgrade(), gr2.clone());
    gr1.set_run(move |()| test1(&two).expect("the second one waits for us"))?;
    gr2.set_run(move |()| {
        let gr1 = one.upgrade().expect("main keeps it");
        test2(&gr1).expect("the first one waits for us");
    })?;
    // Comes back when the second one has ended; the first one still stands in its switch.
    gr1.switch(())?;
    assert!(gr2.is_dead() && gr1.is_active());
    Ok(())
}
