//! Three greenlets that take turns: while one sleeps, the others run.
//!
//! ```text
//! cargo run --example hello            takes 2 seconds, not 3
//! cargo run --example hello -- --fast  the same in a tenth of a second
//! cargo run --example hello -- --two   without the third
//! ```

use std::time::Duration;

use clap::Parser;
use greenroom::{joinall, sleep, spawn};

/// Three greenlets take turns.
#[derive(Parser)]
struct Args {
    /// Divide all times by 20
    #[arg(long)]
    fast: bool,
    /// Leave out func3
    #[arg(long)]
    two: bool,
}

#[allow(
    clippy::disallowed_names,
    reason = "foo and bar are whom this program is about"
)]
fn main() {
    let Args { fast, two } = Args::parse();
    let second = Duration::from_secs(1) / if fast { 20 } else { 1 };

    let foo = move || {
        println!("Running in foo");
        // Stands for anything that waits: a read, a query.
        sleep(2 * second);
        println!("Explicit context switch to foo again");
    };
    let bar = move || {
        println!("Explicit context to bar");
        sleep(second);
        println!("Implicit Context switch back to bar");
    };
    let func3 = || {
        println!("Running func3");
        // A sleep of zero only lets the others have their turn.
        sleep(Duration::ZERO);
        println!("Running func3 again");
    };

    let mut greenlets = vec![spawn(foo), spawn(bar)];
    if !two {
        greenlets.push(spawn(func3));
    }
    for result in joinall(greenlets) {
        result.expect("nobody panics and nobody is killed here");
    }
}
