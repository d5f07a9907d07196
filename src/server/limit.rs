//! How many guests at a time: places, given out in the order of asking, on whatever hub.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cancel;
use crate::hub::Why;
use crate::hub::waker::Waker;

/// See the head of this file.
pub(super) struct Limit(Mutex<State>);

struct State {
    free: usize,
    queue: VecDeque<Arc<Ticket>>,
}

/// One who waits.
struct Ticket {
    called: AtomicBool,
    waker: Waker,
}

/// One of the places; free again when it is dropped.
pub(super) struct Place(Arc<Limit>);

impl Limit {
    pub(super) fn new(places: usize) -> Arc<Limit> {
        Arc::new(Limit(Mutex::new(State {
            free: places,
            queue: VecDeque::new(),
        })))
    }

    /// A place, if there is one that nobody waits for.
    pub(super) fn try_take(self: &Arc<Limit>) -> Option<Place> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Place(Arc::clone(self)))
    }

    /// Parks until there is a place.
    pub(super) fn take(self: &Arc<Limit>) -> Place {
        let mut state = self.lock();
        if let Some(free) = state.free.checked_sub(1) {
            state.free = free;
            return Place(Arc::clone(self));
        }
        let ticket = Arc::new(Ticket {
            called: AtomicBool::new(false),
            waker: Waker::current(),
        });
        state.queue.push_back(Arc::clone(&ticket));
        drop(state);
        let waiting = Waiting(self, ticket);
        while !waiting.1.called.load(Ordering::Acquire) {
            cancel::park_on(Why::Helper("a place for a guest of its server"), None);
        }
        std::mem::forget(waiting);
        Place(Arc::clone(self))
    }

    fn give_back(&self) {
        let mut state = self.lock();
        let Some(next) = state.queue.pop_front() else {
            state.free += 1;
            return;
        };
        next.called.store(true, Ordering::Release);
        drop(state);
        next.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place in the queue, given up when the wait is unwound.
struct Waiting<'a>(&'a Arc<Limit>, Arc<Ticket>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let ours = |ticket: &Arc<Ticket>| Arc::ptr_eq(ticket, &self.1);
        state.queue.retain(|ticket| !ours(ticket));
        drop(state);
        if self.1.called.load(Ordering::Acquire) {
            self.0.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::greenlet::{killall, spawn_local, yield_now};

    #[test]
    fn a_place_passes_to_who_has_waited_longest() {
        let limit = Limit::new(1);
        let place = limit.try_take().unwrap();
        assert!(limit.try_take().is_none());
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (limit, order) = (Arc::clone(&limit), std::rc::Rc::clone(&order));
                spawn_local(move || {
                    let _place = limit.take();
                    order.borrow_mut().push(number);
                })
            })
            .collect();
        yield_now();
        drop(place);
        waiters.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(*order.borrow(), [0, 1, 2]);
        assert!(limit.try_take().is_some());
    }

    #[test]
    fn who_is_killed_with_a_place_just_given_passes_it_on() {
        let limit = Limit::new(1);
        let place = limit.take();
        let waiter = |limit: &Arc<Limit>| {
            let limit = Arc::clone(limit);
            spawn_local(move || drop(limit.take()))
        };
        let (first, second) = (waiter(&limit), waiter(&limit));
        yield_now();
        first.kill();
        drop(place);
        second.join().unwrap();
        assert_eq!(killall([&first], None), 0);
        assert!(limit.try_take().is_some());
    }
}
