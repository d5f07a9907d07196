//! Models of a count: a task is freed once, by a thread that sees all that others did with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::thread;

use super::{Count, Then};
use crate::bounded::bounded;
use crate::hub::inbox::Inbox;
use crate::sys::atomic::AtomicUsize;
use crate::sys::atomic::modelled::{Watched, explore};

struct Task {
    count: Count,
    body: Watched,
    /// What the hub alone writes as long as it holds the task.
    result: Watched,
    freed: AtomicUsize,
    /// One message is one count.
    home: Inbox<()>,
}

impl Task {
    fn new(housed: bool, counts: usize) -> Arc<Task> {
        let task = Task {
            count: Count::one(housed),
            body: Watched::new(),
            result: Watched::new(),
            freed: AtomicUsize::new(0),
            home: Inbox::new(),
        };
        // Here, as those who share it would not agree on who has made what.
        task.count.is_housed();
        task.count.refs();
        task.freed.load(Ordering::Relaxed);
        task.home.wake_up();
        task.home.is_closed();
        (1..counts).for_each(|_| task.count.add());
        Arc::new(task)
    }

    fn look(&self) {
        self.body.read();
    }

    fn free(&self) {
        self.body.add();
        self.result.add();
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// As `TaskRef::let_go_abroad`.
    fn drop_abroad(&self) {
        self.look();
        match self.count.drop_abroad(|| self.home.is_closed()) {
            Then::Nothing => {}
            Then::Free => self.free(),
            Then::SendHome => {
                self.home.push(());
                if self.home.is_closed() {
                    self.empty(|| self.drop_abroad());
                }
            }
        }
    }

    fn drop_at_home(&self) {
        self.look();
        if self.count.drop_at_home() {
            self.free();
        }
    }

    fn empty(&self, each: impl Fn()) {
        while self.home.pop().is_some() {
            each();
        }
    }

    /// The hub has run it, and lets go of it.
    fn evict(&self) {
        self.look();
        self.result.add();
        if self.count.evict() {
            self.free();
        }
    }

    #[track_caller]
    fn assert_freed(&self) {
        assert_eq!(self.freed.load(Ordering::Relaxed), 1, "times freed");
    }
}

fn abroad(task: &Arc<Task>) -> thread::JoinHandle<()> {
    let task = Arc::clone(task);
    thread::spawn(move || task.drop_abroad())
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}

#[test]
fn the_last_of_several_threads_frees() {
    let _bound = bounded();
    explore("the_last_of_several_threads_frees", 3, || {
        let task = Task::new(false, 3);
        let threads = [abroad(&task), abroad(&task)];
        task.drop_abroad();
        join(threads);
        task.assert_freed();
    });
}

#[test]
fn a_task_that_its_hub_lets_go_of_is_freed_once() {
    let _bound = bounded();
    explore("a_task_that_its_hub_lets_go_of_is_freed_once", 3, || {
        let task = Task::new(true, 2);
        let threads = [abroad(&task), abroad(&task)];
        task.empty(|| task.drop_at_home());
        task.evict();
        task.home.close();
        task.empty(|| task.drop_at_home());
        join(threads);
        task.assert_freed();
    });
}

#[test]
fn a_task_that_was_counted_at_home_is_freed_once() {
    let _bound = bounded();
    explore("a_task_that_was_counted_at_home_is_freed_once", 3, || {
        let task = Task::new(true, 2);
        let threads = [abroad(&task)];
        task.drop_at_home();
        task.empty(|| task.drop_at_home());
        task.evict();
        task.empty(|| task.drop_at_home());
        task.home.close();
        task.empty(|| task.drop_at_home());
        join(threads);
        task.assert_freed();
    });
}

#[test]
fn a_task_that_is_at_home_last_is_freed_there() {
    let _bound = bounded();
    explore("a_task_that_is_at_home_last_is_freed_there", 2, || {
        let task = Task::new(true, 3);
        let threads = [abroad(&task), abroad(&task)];
        task.evict();
        task.drop_at_home();
        task.home.close();
        task.empty(|| task.drop_at_home());
        join(threads);
        task.assert_freed();
    });
}
