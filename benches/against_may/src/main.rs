//! Claim: a ball between two greenlets through queues costs at most half of what it costs between
//! two coroutines of may, on one worker thread. In turn, A B A B; the median of the ratios counts.

use greenroom::sync::Queue;
use may::sync::mpsc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BALLS: usize = 100_000;
const ROUNDS: usize = 15;

fn main() {
    may::config().set_workers(1);
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (ours, theirs) = (greenlets(), coroutines());
            let each = |time: Duration| time.as_nanos() as f64 / (2 * BALLS) as f64;
            println!("{:6.1} ns : {:6.1} ns", each(ours), each(theirs));
            ours.as_secs_f64() / theirs.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "queue ping-pong, greenroom : may, median {:.3} (demand 0.5)",
        ratios[ROUNDS / 2]
    );
}

fn greenlets() -> Duration {
    let begin = Instant::now();
    let (there, back) = (Arc::new(Queue::new()), Arc::new(Queue::new()));
    let (incoming, outgoing) = (Arc::clone(&there), Arc::clone(&back));
    let other = greenroom::spawn(move || {
        for _ in 0..BALLS {
            outgoing.put(incoming.get().expect("a ball")).expect("open");
        }
    });
    let this = greenroom::spawn(move || {
        for ball in 0..BALLS {
            there.put(ball).expect("open");
            back.get().expect("the ball again");
        }
    });
    greenroom::joinall([this, other]);
    begin.elapsed()
}

fn coroutines() -> Duration {
    let begin = Instant::now();
    let (there, incoming) = mpsc::channel();
    let (outgoing, back) = mpsc::channel();
    // SAFETY: neither touches thread-locals, nor much stack.
    let other = unsafe {
        may::coroutine::spawn(move || {
            for _ in 0..BALLS {
                outgoing
                    .send(incoming.recv().expect("a ball"))
                    .expect("open");
            }
        })
    };
    // SAFETY: as above.
    let this = unsafe {
        may::coroutine::spawn(move || {
            for ball in 0..BALLS {
                there.send(ball).expect("open");
                back.recv().expect("the ball again");
            }
        })
    };
    this.join().expect("no panic");
    other.join().expect("no panic");
    begin.elapsed()
}
