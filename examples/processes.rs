//! Ten children at once, told of in the order in which they end.
//!
//! ```text
//! cargo run --example processes
//! ```
//!
//! The first to be started takes the longest. All of it takes as long as that one does.

use std::io;

use clap::Parser;
use greenroom::iwait;
use greenroom::process::{Child, Command, Stdio};

const CHILDREN: u32 = 10;

/// Child number `n` ends sooner the greater its number is.
fn start(n: u32) -> io::Result<Child> {
    let nap = f64::from(CHILDREN - n) * 0.15;
    let script = format!("sleep {nap}; echo I was number {n}; exit {n}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdout(Stdio::piped()).spawn()
}

/// Ten children at once, told of in the order in which they end.
#[derive(Parser)]
struct Args {}

fn main() -> anyhow::Result<()> {
    Args::parse();
    let children: Vec<Child> = (0..CHILDREN).map(start).collect::<io::Result<_>>()?;

    let order: Vec<u32> = iwait(&children).map(Child::id).collect();
    let place = |child: &Child| order.iter().position(|id| *id == child.id());

    for (n, child) in children.into_iter().enumerate() {
        let place = place(&child).expect("each has been waited for") + 1;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let code = output.status.code().expect("nobody has killed it");
        println!(
            "{n}: ended as {place} of {CHILDREN}, with {code}: {}",
            said.trim()
        );
    }
    Ok(())
}
