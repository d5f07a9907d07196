//! Claim: to await a future costs no more here than on an executor that does nothing else.

mod common;

use std::future::{Future, ready};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use common::{Bench, Claim, cpu};
use tokio::sync::mpsc;

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let runtime = common::tokio_runtime();

    let mut ours = |count: u64| cpu(|| (0..count).for_each(|n| assert_eq!(block_on(n), n)));
    let claim = Claim::demand("block_on, ready : parking the thread", 3.0);
    bench.compare(claim, &mut ours, &mut |count| {
        cpu(|| (0..count).for_each(|n| assert_eq!(block_on_thread(ready(n)), n)))
    });
    let claim = Claim::demand("block_on, ready : tokio block_on", 1.0);
    bench.compare(claim, &mut ours, &mut |count| {
        cpu(|| (0..count).for_each(|n| assert_eq!(runtime.block_on(ready(n)), n)))
    });
    let claim = Claim::demand("async ping-pong, 2 greenlets : 2 tokio tasks", 1.5);
    bench.compare(claim, &mut ping_pong, &mut |count| {
        tokio_ping_pong(&runtime, count)
    });
    bench.finish()
}

fn block_on(n: u64) -> u64 {
    greenroom::block_on(ready(n))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
fn block_on_thread<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

async fn pass_on(mut from: mpsc::Receiver<u64>, to: mpsc::Sender<u64>, count: u64) {
    for _ in 0..count {
        let Some(n) = from.recv().await else { return };
        if to.send(n + 1).await.is_err() {
            return;
        }
    }
}

fn two_pipes(count: u64) -> [impl Future<Output = ()> + Send + 'static; 2] {
    let (there, from_there) = mpsc::channel(1);
    let (back, from_back) = mpsc::channel(1);
    there.try_send(0).expect("there is room");
    [
        pass_on(from_there, back, count),
        pass_on(from_back, there, count),
    ]
}

fn ping_pong(count: u64) -> Duration {
    cpu(|| {
        let greenlets = two_pipes(count / 2 + 1)
            .map(|pipe| greenroom::spawn(move || greenroom::block_on(pipe)));
        greenroom::joinall(greenlets);
    })
}

fn tokio_ping_pong(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    cpu(|| {
        runtime.block_on(async {
            let [a, b] = two_pipes(count / 2 + 1).map(tokio::spawn);
            a.await.and(b.await).expect("no task panics");
        });
    })
}
