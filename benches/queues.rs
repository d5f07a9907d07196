//! Claim: to put and get without a switch costs about what crossbeam's channel costs, though a
//! queue knows its waiters; to hand an item to another greenlet costs little more than a yield.

mod common;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use common::{Bench, Claim, cpu};
use greenroom::sync::{Channel, LifoQueue, PriorityQueue, Queue};

fn main() -> ExitCode {
    let mut bench = Bench::start();
    without_a_switch(&mut bench);
    ping_pong(&mut bench);
    bench.finish()
}

/// Times `count` calls.
fn times(count: u64, mut call: impl FnMut()) -> Duration {
    cpu(|| (0..count).for_each(|_| call()))
}

fn without_a_switch(bench: &mut Bench) {
    let (bounded, unbounded) = (Queue::bounded(64), Queue::new());
    let (sender, receiver) = crossbeam_channel::bounded(64);
    let mut theirs = |count| {
        times(count, || {
            sender.try_send(1u64).expect("there is room");
            receiver.try_recv().expect("one was sent");
        })
    };
    let claim = Claim::demand("try_put + try_get, bounded : crossbeam-channel", 1.5);
    bench.compare(claim, &mut |count| tries(&bounded, count), &mut theirs);
    let claim = Claim::demand("put + get, bounded : crossbeam-channel", 1.5);
    bench.compare(claim, &mut |count| puts(&bounded, count), &mut theirs);

    let (sender, receiver) = crossbeam_channel::unbounded();
    let mut theirs = |count| {
        times(count, || {
            sender.try_send(1u64).expect("there is room");
            receiver.try_recv().expect("one was sent");
        })
    };
    let claim = Claim::demand("try_put + try_get, unbounded : crossbeam-channel", 1.5);
    bench.compare(claim, &mut |count| tries(&unbounded, count), &mut theirs);
    let claim = Claim::demand("put + get, unbounded : crossbeam-channel", 1.5);
    bench.compare(claim, &mut |count| puts(&unbounded, count), &mut theirs);

    let stack = LifoQueue::new();
    let mut ours = |count| {
        times(count, || {
            stack.try_put(1u64).expect("there is room");
            stack.try_get().expect("one was put");
        })
    };
    let claim = Claim::information("LifoQueue, try_put + try_get : crossbeam-channel");
    bench.compare(claim, &mut ours, &mut theirs);
    let heap = PriorityQueue::from_iter(0..1000u64);
    let mut ours = |count| {
        times(count, || {
            heap.try_put(1u64).expect("there is room");
            heap.try_get().expect("one was put");
        })
    };
    let claim = Claim::information("PriorityQueue of 1000, the same : crossbeam-channel");
    bench.compare(claim, &mut ours, &mut theirs);
}

fn tries(queue: &Queue<u64>, count: u64) -> Duration {
    times(count, || {
        queue.try_put(1).expect("there is room");
        queue.try_get().expect("one was put");
    })
}

fn puts(queue: &Queue<u64>, count: u64) -> Duration {
    times(count, || {
        queue.put(1).expect("it is open");
        queue.get().expect("it is open");
    })
}

/// `count` items go there and come back, half of them each way.
fn ping_pong(bench: &mut Bench) {
    let runtime = common::tokio_runtime();
    let mut tokio = |count| tokio_ping_pong(&runtime, count);
    let claim = Claim::demand("ping-pong, Queue : tokio mpsc, 2 tasks", 0.6);
    bench.compare(claim, &mut queue_ping_pong, &mut tokio);
    let claim = Claim::information("ping-pong, Queue : yield, 2 greenlets");
    bench.compare(claim, &mut queue_ping_pong, &mut yields);
    let claim = Claim::information("ping-pong, Channel : tokio mpsc, 2 tasks");
    bench.compare(claim, &mut channel_ping_pong, &mut tokio);
}

fn queue_ping_pong(count: u64) -> Duration {
    let (there, back) = (Arc::new(Queue::bounded(1)), Arc::new(Queue::bounded(1)));
    let answer = {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        move || there.iter().all(|item: u64| back.put(item).is_ok())
    };
    let ask = move || {
        for item in 0..count / 2 {
            there.put(item).expect("it is open");
            back.get().expect("it is open");
        }
        there.close();
    };
    cpu(|| {
        let (answerer, asker) = (greenroom::spawn(answer), greenroom::spawn(ask));
        asker.join().expect("it does not panic");
        answerer.join().expect("it does not panic");
    })
}

fn channel_ping_pong(count: u64) -> Duration {
    let (there, back) = (Arc::new(Channel::new()), Arc::new(Channel::new()));
    let answer = {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        move || there.iter().all(|item: u64| back.put(item).is_ok())
    };
    let ask = move || {
        for item in 0..count / 2 {
            there.put(item).expect("it is open");
            back.get().expect("it is open");
        }
        there.close();
    };
    cpu(|| {
        let (answerer, asker) = (greenroom::spawn(answer), greenroom::spawn(ask));
        asker.join().expect("it does not panic");
        answerer.join().expect("it does not panic");
    })
}

fn yields(count: u64) -> Duration {
    let half = move || (0..count / 2).for_each(|_| greenroom::yield_now());
    cpu(|| {
        greenroom::joinall([greenroom::spawn(half), greenroom::spawn(half)]);
    })
}

fn tokio_ping_pong(runtime: &tokio::runtime::Runtime, count: u64) -> Duration {
    use tokio::sync::mpsc;
    let (there, mut inbox) = mpsc::channel(1);
    let (answers, mut back) = mpsc::channel(1);
    let answer = async move {
        while let Some(item) = inbox.recv().await {
            answers.send(item).await.expect("the asker listens");
        }
    };
    let ask = async move {
        for item in 0..count / 2 {
            there.send(item).await.expect("the answerer listens");
            back.recv().await.expect("the answerer answers");
        }
    };
    cpu(|| {
        runtime.block_on(async {
            let (answerer, asker) = (tokio::spawn(answer), tokio::spawn(ask));
            asker.await.and(answerer.await).expect("no task panics");
        });
    })
}
