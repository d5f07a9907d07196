//! Futures, awaited by code that blocks: the bridge to the async world.
//!
//! | to | there is |
//! |---|---|
//! | await a future in a greenlet, or on any OS thread | [`block_on`] |
//! | await a greenlet in async code, on whatever executor | `greenlet.await`: [`JoinFuture`] |
//! | await a value that a greenlet sets | `(&result).await` on a [`sync::AsyncResult`] |
//!
//! A future that needs the reactor of a runtime (a tokio socket, a tokio timer) needs that
//! runtime to run on an OS thread of its own. There it may be spawned, or it is polled here with
//! the runtime entered for as long as the poll lasts, and no longer: tokio keeps for the OS thread
//! what it is in, and its other greenlets are not.
//! ```
//! use std::{future::poll_fn, pin::pin, thread, time::Duration};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let handle = runtime.handle().clone();
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let driver = thread::spawn(move || runtime.block_on(stopped));
//!
//! let there = handle.spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
//! greenroom::block_on(there)?;
//!
//! greenroom::block_on(async {
//!     let mut nap = pin!(async { tokio::time::sleep(Duration::from_millis(1)).await });
//!     poll_fn(|context| {
//!         let _entered = handle.enter();
//!         nap.as_mut().poll(context)
//!     })
//!     .await
//! });
//! drop(stop);
//! driver.join().unwrap().unwrap_err();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`sync::AsyncResult`]: crate::sync::AsyncResult

mod alarm;

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub use crate::greenlet::JoinFuture;
pub use crate::sync::ResultFuture;

use crate::cancel;
use crate::greenlet::yield_now;
use crate::hub::{Help, Why};
use alarm::Alarm;

/// Runs a future to its end, and returns its output.
///
/// It is polled here, on this greenlet's stack, whenever it has asked for that: its `Waker` may be
/// called on any thread. On an OS thread without a hub the thread blocks in between.
///
/// # Examples
/// ```
/// let (sender, receiver) = tokio::sync::oneshot::channel();
/// greenroom::spawn(move || sender.send(42));
/// let greenlet = greenroom::spawn(|| greenroom::block_on(receiver));
/// assert_eq!(greenlet.join().unwrap(), Ok(42));
/// ```
///
/// # Panics
/// When the future does. In the root, when nothing is left that could wake it ("this operation
/// would block forever").
///
/// # Parks
/// Until the future is ready; others run meanwhile, also if it wakes itself all the time. A kill
/// or a timeout unwinds, which drops the future.
#[doc(alias("async", "await", "Future", "tokio"))]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let alarm = Arc::new(Alarm::for_caller());
    let waker = Waker::from(Arc::clone(&alarm));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if alarm.is_rung() {
            // It wants to go on at once: the others first, or they never would.
            yield_now();
            continue;
        }
        // Its own, and that of `waker`: whoever has a further one may be on another thread.
        let _help = (Arc::strong_count(&alarm) > 2).then(Help::is_possible);
        alarm.renew();
        while !alarm.is_rung() {
            cancel::park_on(Why::Helper("a future"), None);
        }
    }
}
