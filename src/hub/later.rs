//! Messages that came up where the logger must not run: kept here, and written by an OS thread.
//!
//! ```text
//!   keep:    queue, at most MESSAGES_MAX; hire a writer if there is none
//!   writer:  the oldest message to the logger ... until there is none; then it ends
//! ```
//!
//! On an OS thread of its own the logger may do what it does anywhere: block, park, spawn. Waiting
//! for a greenlet of the hub that has reported something, it waits for one that runs.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::task::State;
use super::{handle, helpers, with_hub};
use crate::sys::fork::{self, PerProcess};
use crate::sys::lock::{lock, natively};
use crate::sys::panics;
use crate::sys::report::{self, Host, Message};

/// Beyond that a message is dropped and counted: the logger does not keep up.
const MESSAGES_MAX: usize = 1000;
/// How long the writer waits for greenlets that the logger has spawned on it.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    lost: usize,
    /// There is a writer, or it is being made.
    written: bool,
}

thread_local! {
    /// This OS thread is the writer: what its logger causes is told to nobody.
    static IS_WRITER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn queue() -> &'static Mutex<Queue> {
    static QUEUE: PerProcess<Mutex<Queue>> = PerProcess::new();
    QUEUE.get(|| {
        fork::count();
        Mutex::default()
    })
}

/// Has messages pass by this file where the logger must not run.
pub(super) fn install() {
    report::set_host(Host { is_at_ease, keep });
}

/// Whether foreign code may run now: no hub is here, or one of its greenlets runs and nothing
/// of the hub is in the middle of a change.
fn is_at_ease() -> bool {
    let is_at_ease = with_hub(|hub| {
        hub.is_none_or(|hub| {
            let running = hub.running();
            let runs = running.is_some_and(|task| task.get().local().state.get() == State::Running);
            runs && hub.is_at_ease()
        })
    });
    is_at_ease && !panics::hook_runs()
}

fn keep(message: Message) {
    if IS_WRITER.get() {
        return;
    }
    let mut state = lock(queue());
    if state.messages.len() < MESSAGES_MAX {
        state.messages.push_back(message);
    } else {
        state.lost += 1;
    }
    let hire = !std::mem::replace(&mut state.written, true);
    drop(state);
    if hire && !hire_writer() {
        // The next message tries again.
        lock(queue()).written = false;
    }
}

fn hire_writer() -> bool {
    let helper = helpers::Thread::new();
    let builder = thread::Builder::new().name("greenroom log".to_owned());
    let work = move || {
        IS_WRITER.set(true);
        while let Some(message) = next() {
            report::deliver(&message);
            handle::wait_idle(Some(LINGER));
        }
        drop(helper);
    };
    natively(|| builder.spawn(work)).is_ok()
}

/// The next message to be written; `None` when the writer is to end, and is no longer counted.
fn next() -> Option<Message> {
    let mut state = lock(queue());
    let next = state.messages.pop_front();
    if next.is_some() {
        return next;
    }
    match std::mem::take(&mut state.lost) {
        0 => {
            state.written = false;
            None
        }
        count => Some(report::lost(count)),
    }
}
