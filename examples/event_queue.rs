//! The event-driven model: a queue of events, and a loop that calls each event's handler.
//!
//! ```text
//! cargo run --example event_queue
//! ```
//!
//! A mouse and a keyboard put events into the queue, and neither knows what becomes of them: each
//! event brings its own handler. The loop takes one after the other and calls it. When the mouse
//! is faster than the handlers, the queue grows, and the mouse does not notice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use greenroom::{GreenletRef, current, sleep, spawn_local, thread};

/// What to call for an event; it says whether the window stays open.
type Handler = Box<dyn FnOnce() -> ControlFlow<()>>;

/// Events in order of arrival.
struct EventQueue {
    events: RefCell<VecDeque<Handler>>,
    /// Who handles them, and parks while there are none.
    window: GreenletRef,
}

impl EventQueue {
    fn put(&self, handler: impl FnOnce() -> ControlFlow<()> + 'static) {
        self.events.borrow_mut().push_back(Box::new(handler));
        self.window.unpark();
    }

    fn take(&self) -> Handler {
        loop {
            // A statement of its own, so that the queue is not borrowed while we park.
            let event = self.events.borrow_mut().pop_front();
            match event {
                Some(handler) => return handler,
                None => thread::park(),
            }
        }
    }
}

/// The event-driven model.
#[derive(Parser)]
struct Args {}

fn main() {
    Args::parse();
    let queue = Rc::new(EventQueue {
        events: RefCell::default(),
        window: current(),
    });
    let (for_mouse, for_keyboard) = (Rc::clone(&queue), Rc::clone(&queue));
    spawn_local(move || mouse(&for_mouse));
    spawn_local(move || keyboard(&for_keyboard));

    while queue.take()().is_continue() {}
    println!("the window is closed");
}

/// Clicks ten times, faster than a click is handled.
fn mouse(queue: &EventQueue) {
    for x in 1..=10 {
        queue.put(move || on_click(x, 10 * x));
        sleep(Duration::from_millis(5));
    }
    let waiting = queue.events.borrow().len();
    println!("the mouse is done, {waiting} events wait");
}

/// Types a word, and Escape when it has seen enough.
fn keyboard(queue: &EventQueue) {
    for key in "hi!".chars() {
        queue.put(move || on_key_down(key));
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(300));
    queue.put(|| ControlFlow::Break(()));
}

fn on_click(x: i32, y: i32) -> ControlFlow<()> {
    sleep(Duration::from_millis(15)); // to redraw the window, say
    println!("on_click({x}, {y})");
    ControlFlow::Continue(())
}

fn on_key_down(key: char) -> ControlFlow<()> {
    println!("on_key_down({key:?})");
    ControlFlow::Continue(())
}
