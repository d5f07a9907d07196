//! Both worlds: futures awaited by greenlets, greenlets awaited by futures.
mod gevent_support;

use gevent_support::{LONG, bounded, ms};
use greenroom::sync::{Arc, AsyncResult};
use greenroom::{block_on, hub, sim, with_timeout};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Never ready. Notes that it was dropped.
struct Never(Rc<Cell<bool>>);

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Never {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A tokio runtime on a thread of its own, until it is dropped.
struct Tokio {
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    driver: Option<thread::JoinHandle<()>>,
}

impl Tokio {
    fn start() -> Tokio {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let driver = thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Tokio {
            handle,
            stop: Some(stop),
            driver: Some(driver),
        }
    }
}

impl Drop for Tokio {
    fn drop(&mut self) {
        self.stop.take();
        self.driver.take().map(thread::JoinHandle::join);
    }
}

#[test]
fn a_future_that_is_ready_needs_no_hub() {
    let _bound = bounded();
    let bare = thread::spawn(|| (block_on(async { 42 }), hub::stats()));
    let (answer, stats) = bare.join().unwrap();
    assert_eq!(answer, 42);
    assert_eq!(stats, hub::Stats::default());
}

#[test]
fn a_greenlet_awaits_while_others_run() {
    let _bound = bounded();
    sim::run(1, || {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waits = greenroom::spawn(move || block_on(receiver));
        greenroom::sleep(ms(5));
        assert!(!waits.is_finished());
        sender.send(7).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(7));
    });
}

#[test]
fn a_waker_may_be_called_on_another_thread() {
    let _bound = bounded();
    for _ in 0..200 {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = thread::spawn(move || sender.send(1));
        let waits = greenroom::spawn(move || block_on(receiver));
        assert_eq!(waits.join().unwrap(), Ok(1));
        other.join().unwrap().unwrap();
    }
}

#[test]
fn a_plain_thread_awaits_what_a_greenlet_sends() {
    let _bound = bounded();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let plain = thread::spawn(move || block_on(receiver));
    greenroom::spawn_later(ms(2), move || sender.send(3))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(plain.join().unwrap(), Ok(3));
}

#[test]
fn a_future_that_wakes_itself_lets_others_run() {
    let _bound = bounded();
    let spins = Rc::new(Cell::new(0u64));
    let count = Rc::clone(&spins);
    let spinner = greenroom::spawn_local(move || {
        block_on(poll_fn(|context| {
            count.set(count.get() + 1);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
    });
    let others = (0..10).map(|_| greenroom::spawn(|| greenroom::sleep(ms(1))));
    greenroom::joinall(others.collect::<Vec<_>>());
    assert!(spins.get() > 10);
    spinner.kill();
    assert!(spinner.join().unwrap_err().is_killed());
}

#[test]
fn a_kill_or_a_timeout_drops_the_future() {
    let _bound = bounded();
    sim::run(2, || {
        let dropped = Rc::new(Cell::new(false));
        let never = Never(Rc::clone(&dropped));
        assert!(with_timeout(ms(10), || block_on(never)).is_err());
        assert!(dropped.replace(false));
        let never = Never(Rc::clone(&dropped));
        let waits = greenroom::spawn_local(|| block_on(never));
        greenroom::sleep(ms(1));
        assert!(!dropped.get());
        waits.kill();
        assert!(waits.join().unwrap_err().is_killed());
        assert!(dropped.get());
    });
}

#[test]
fn a_future_that_nobody_can_wake_is_a_deadlock_that_is_told() {
    let _bound = bounded();
    let dropped = Rc::new(Cell::new(false));
    let never = Never(Rc::clone(&dropped));
    let stuck = std::panic::AssertUnwindSafe(|| sim::run(3, || block_on(never)));
    let payload = std::panic::catch_unwind(stuck).unwrap_err();
    let text = payload.downcast_ref::<String>().unwrap();
    assert!(text.contains("the root waits for a future"), "{text}");
    assert!(dropped.get());
}

#[test]
fn a_waker_that_is_called_late_harms_nobody() {
    let _bound = bounded();
    let kept: Rc<Cell<Option<Waker>>> = Rc::default();
    let mut first = true;
    block_on(poll_fn(|context| {
        kept.set(Some(context.waker().clone()));
        context.waker().wake_by_ref();
        let ready = !std::mem::take(&mut first);
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    kept.take().unwrap().wake();
    greenroom::sleep(ms(1));
}

#[test]
fn block_on_nests() {
    let _bound = bounded();
    let nested = block_on(async { block_on(async { block_on(async { 5 }) }) });
    assert_eq!(nested, 5);
}

#[test]
fn a_greenlet_is_awaited_by_tokio() {
    let _bound = bounded();
    let tokio = Tokio::start();
    let greenlet = greenroom::spawn_later(ms(2), || 6 * 7);
    let there = tokio.handle.spawn(async move { greenlet.await.unwrap() });
    assert_eq!(block_on(there).unwrap(), 42);
    let panicked = greenroom::spawn(|| panic!("in the greenlet"));
    let there = tokio.handle.spawn(async move {
        let outcome: Result<(), _> = panicked.await;
        outcome.unwrap_err().is_panic()
    });
    assert!(block_on(there).unwrap());
}

#[test]
fn a_greenlet_that_has_ended_is_ready_at_once() {
    let _bound = bounded();
    let greenlet = greenroom::spawn(|| 1);
    greenroom::yield_now();
    let mut joined = pin!(greenlet.into_future());
    let mut context = Context::from_waker(Waker::noop());
    let polled = joined.as_mut().poll(&mut context);
    assert!(matches!(polled, Poll::Ready(Ok(1))));
    assert!(joined.handle().is_none());
}

#[test]
fn a_join_that_is_dropped_detaches_and_wakes_nobody() {
    let _bound = bounded();
    let woken = Arc::new(Mutex::new(0));
    struct Count(Arc<Mutex<u32>>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let waker = Waker::from(Arc::new(Count(Arc::clone(&woken))));
    let poll_once = |greenlet: greenroom::Greenlet<()>| {
        let mut joined = greenlet.into_future();
        let polled = pin!(&mut joined).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        joined
    };
    let kept = poll_once(greenroom::spawn(|| ()));
    drop(poll_once(greenroom::spawn(|| ())));
    assert!(hub::wait_idle(None));
    assert_eq!(*woken.lock().unwrap(), 1, "the one that was kept");
    drop(kept);
}

#[test]
fn the_greenlet_of_a_join_can_be_killed() {
    let _bound = bounded();
    let greenlet = greenroom::spawn(greenroom::thread::park);
    let joined = greenlet.into_future();
    joined.handle().unwrap().kill();
    assert!(block_on(joined).unwrap_err().is_killed());
}

#[test]
fn a_result_is_awaited_on_both_sides() {
    let _bound = bounded();
    let tokio = Tokio::start();
    let result = Arc::new(AsyncResult::new());
    let theirs = Arc::clone(&result);
    let there = tokio.handle.spawn(async move { *(&*theirs).await });
    let here = Arc::clone(&result);
    let here = greenroom::spawn(move || block_on(async { *(&*here).await }));
    greenroom::sleep(ms(2));
    result.set(9);
    assert_eq!(block_on(there).unwrap(), 9);
    assert_eq!(here.join().unwrap(), 9);
    assert_eq!(block_on(async { *(&*result).await }), 9, "it stays");
}

#[test]
fn a_result_that_is_no_longer_awaited_wakes_nobody() {
    let _bound = bounded();
    let result = AsyncResult::new();
    let late = sim::run(4, || with_timeout(ms(1), || block_on(&result)).is_err());
    assert!(late);
    result.set(1);
    assert_eq!(*block_on(&result), 1);
}

#[test]
fn sockets_and_timers_of_tokio_work_with_its_runtime_on_another_thread() {
    let _bound = bounded();
    let tokio = Tokio::start();
    let server = greenroom::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let echo = greenroom::spawn(move || {
        let mut buffer = [0; 64];
        let (count, peer) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..count], peer).unwrap()
    });
    let handle = tokio.handle.clone();
    let client = greenroom::spawn(move || {
        let mut talk = pin!(async {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            socket.send_to(b"both worlds", address).await.unwrap();
            let mut buffer = [0; 64];
            let count = socket.recv(&mut buffer).await.unwrap();
            buffer[..count].to_vec()
        });
        block_on(poll_fn(|context| {
            let _entered = handle.enter();
            talk.as_mut().poll(context)
        }))
    });
    assert_eq!(client.join().unwrap(), b"both worlds");
    assert_eq!(echo.join().unwrap(), 11);
}

#[test]
fn ten_thousand_wakes_from_other_threads_are_not_lost() {
    let _bound = bounded();
    let begin = Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let producers: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || (0..5_000u64).for_each(|n| block_on(sender.send(n)).unwrap()))
        })
        .collect();
    drop(sender);
    let sum = greenroom::spawn(move || {
        let mut sum = 0;
        while let Some(n) = block_on(receiver.recv()) {
            sum += n;
        }
        sum
    });
    assert_eq!(sum.join().unwrap(), 2 * 4_999 * 5_000 / 2);
    producers.into_iter().for_each(|one| one.join().unwrap());
    assert!(begin.elapsed() < LONG);
}
