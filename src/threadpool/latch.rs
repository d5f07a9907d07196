//! What is shut until something has happened, and open from then on.

use std::io;
use std::mem;

use crate::cancel;
use crate::greenlet::Ready;
use crate::greenlet::sealed::Subscription;
use crate::hub::waker::Waker;
use crate::hub::{Help, Why};
use crate::sys::atomic::{Mutex, MutexGuard, lock};

/// See the head of this file. Waited for by greenlets of any hub, and by plain threads.
#[derive(Default)]
pub(super) struct Latch(Mutex<State>);

#[derive(Default)]
struct State {
    open: bool,
    last_id: u64,
    watchers: Vec<(u64, Watcher)>,
}

enum Watcher {
    Wake(Waker),
    Call(Ready),
}

impl Latch {
    pub(super) fn open(&self) {
        let mut state = self.lock();
        state.open = true;
        let watchers = mem::take(&mut state.watchers);
        drop(state);
        for (_, watcher) in watchers {
            match watcher {
                Watcher::Wake(waker) => waker.wake(),
                Watcher::Call(ready) => ready.call(),
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Parks until it is open; false when the deadline came first. A kill or a timeout that
    /// can't unwind is an error.
    pub(super) fn wait(&self, what: &'static str, deadline: Option<u64>) -> io::Result<bool> {
        self.wait_by(deadline, || cancel::park(Why::Helper(what), deadline))
    }

    /// As [`wait`](Latch::wait), waiting on where a kill or a timeout can't unwind.
    pub(super) fn wait_on(&self, what: &'static str, deadline: Option<u64>) -> bool {
        let opened = self.wait_by(deadline, || {
            cancel::park_on(Why::Helper(what), deadline);
            Ok(())
        });
        opened.expect("this park does not fail")
    }

    fn wait_by(
        &self,
        deadline: Option<u64>,
        park: impl Fn() -> io::Result<()>,
    ) -> io::Result<bool> {
        let Ok(_watch) = self.watch(Watcher::Wake(Waker::current())) else {
            return Ok(true);
        };
        let _help = Help::expect();
        while !self.is_open() {
            if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
                return Ok(false);
            }
            park()?;
        }
        Ok(true)
    }

    /// Has `ready` called when it opens; at once if it is open.
    pub(super) fn subscribe(&self, ready: Ready) -> Option<Box<dyn Subscription + '_>> {
        match self.watch(Watcher::Call(ready)) {
            Ok(watch) => Some(Box::new(Subscribed {
                _watch: watch,
                _help: Help::expect(),
            })),
            Err(Watcher::Call(ready)) => {
                ready.call();
                None
            }
            Err(Watcher::Wake(_)) => unreachable!("a call was noted, so a call comes back"),
        }
    }

    fn watch(&self, watcher: Watcher) -> Result<Watch<'_>, Watcher> {
        let mut state = self.lock();
        if state.open {
            return Err(watcher);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.watchers.push((id, watcher));
        Ok(Watch { latch: self, id })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// One watcher's entry; taken back when dropped.
struct Watch<'a> {
    latch: &'a Latch,
    id: u64,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.latch.lock();
        let mine = state.watchers.iter().position(|(id, _)| *id == self.id);
        let mine = mine.map(|at| state.watchers.swap_remove(at));
        drop(state);
        drop(mine);
    }
}

struct Subscribed<'a> {
    _watch: Watch<'a>,
    _help: Help,
}

impl Subscription for Subscribed<'_> {}

#[cfg(all(test, loom))]
mod orders;
