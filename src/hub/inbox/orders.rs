//! Models of an inbox: no message is left behind, be the hub awake, asleep or gone.

use std::sync::Arc;

use loom::thread;

use super::Inbox;
use crate::bounded::bounded;
use crate::sys::atomic::modelled::{Wakes, explore};

/// An inbox with its bell.
struct Home {
    inbox: Inbox<u32>,
    bell: Wakes,
}

impl Home {
    fn new() -> Arc<Home> {
        let home = Home {
            inbox: Inbox::new(),
            bell: Wakes::new(),
        };
        // Here, as those who share it would not agree on who has made what.
        home.inbox.wake_up();
        home.inbox.is_closed();
        Arc::new(home)
    }

    /// As `Shared::send`: returns what is taken out of an inbox that is closed.
    fn send(&self, message: u32) -> Vec<u32> {
        if self.inbox.push(message) {
            self.bell.wake();
        }
        match self.inbox.is_closed() {
            true => self.empty(),
            false => Vec::new(),
        }
    }

    fn empty(&self) -> Vec<u32> {
        std::iter::from_fn(|| self.inbox.pop()).collect()
    }
}

#[test]
fn a_hub_that_sleeps_is_rung_for_each_message() {
    let _bound = bounded();
    explore("a_hub_that_sleeps_is_rung_for_each_message", 2, || {
        let home = Home::new();
        let senders = [1, 2].map(|message| {
            let home = Arc::clone(&home);
            thread::spawn(move || assert!(home.send(message).is_empty()))
        });
        let mut received = Vec::new();
        // An edge that came before is still told by the next epoll_wait.
        let mut heard = home.bell.begin();
        while received.len() < 2 {
            received.extend(home.empty());
            if received.len() < 2 && home.inbox.fall_asleep() {
                heard = home.bell.sleep(heard);
                home.inbox.wake_up();
            }
        }
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        for sender in senders {
            sender.join().expect("it does not panic");
        }
    });
}

#[test]
fn a_message_to_a_hub_that_ends_is_taken_out_by_one_of_both() {
    let _bound = bounded();
    explore(
        "a_message_to_a_hub_that_ends_is_taken_out_by_one_of_both",
        2,
        || {
            let home = Home::new();
            let senders = [1, 2].map(|message| {
                let home = Arc::clone(&home);
                thread::spawn(move || home.send(message))
            });
            home.inbox.close();
            let mut out = home.empty();
            for sender in senders {
                out.extend(sender.join().expect("it does not panic"));
            }
            out.sort_unstable();
            assert_eq!(out, [1, 2]);
        },
    );
}
