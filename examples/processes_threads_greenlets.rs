//! All cores: one process for each, threads inside, greenlets inside these.
//!
//! ```text
//! cargo run --example processes_threads_greenlets
//! cargo run --example processes_threads_greenlets -- --processes 4 --threads 2 --greenlets 1000
//! ```
//!
//! Greenlets of one OS thread take turns on one core. Threads, each with a hub of its own, use
//! several; processes do, too, and share nothing: one that dies takes nobody along. The program
//! starts itself again as its own children (`--child`).

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use greenroom::{joinall, sleep, spawn};

/// Processes of threads of greenlets.
#[derive(Parser)]
struct Args {
    /// Number of processes; by default one for each core
    #[arg(long)]
    processes: Option<usize>,
    /// OS threads in each process
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Greenlets in each thread
    #[arg(long, default_value_t = 1000)]
    greenlets: usize,
    /// Be one of the processes; set by the program itself
    #[arg(long, hide = true)]
    child: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.child {
        return Ok(process(&args)?);
    }
    let cores = std::thread::available_parallelism()?.get();
    let processes = args.processes.unwrap_or(cores);
    println!("{cores} cores, {processes} processes");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", "--threads", &args.threads.to_string()]);
    command.args(["--greenlets", &args.greenlets.to_string()]);
    command.stdout(Stdio::piped());
    // All are started before the first is waited for.
    let children: io::Result<Vec<_>> = (0..processes).map(|_| command.spawn()).collect();
    let mut sum = 0;
    for child in children? {
        let pid = child.id();
        let output = child.wait_with_output()?;
        if !output.status.success() {
            anyhow::bail!("process {pid} failed: {}", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        print!("process {pid}:\n{text}");
        let sums = text
            .lines()
            .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        sum += sums.sum::<usize>();
    }
    println!("{sum} greenlets in all");
    Ok(())
}

/// One process: its threads, and a line from each.
fn process(args: &Args) -> io::Result<()> {
    let greenlets = args.greenlets;
    let threads: Vec<_> = (1..=args.threads)
        .map(|number| (number, std::thread::spawn(move || thread(greenlets))))
        .collect();
    for (number, thread) in threads {
        let finished = thread.join().expect("a thread does not panic");
        println!("  thread {number}: greenlets that have run: {finished}");
    }
    Ok(())
}

/// One OS thread, with a hub of its own: its greenlets all wait at the same time.
fn thread(greenlets: usize) -> usize {
    let nap = || sleep(Duration::from_millis(20));
    let greenlets: Vec<_> = (0..greenlets).map(|_| spawn(nap)).collect();
    joinall(greenlets).into_iter().filter(Result::is_ok).count()
}
