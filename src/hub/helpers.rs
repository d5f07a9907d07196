//! OS threads of our own, which wake somebody only when they have been given work.
//!
//! ```text
//!   hired ---> idle <---> works ---> gone      its Thread lives from before it is made to its end,
//!                                              an Idle while it waits for work,
//!   work:      given ---> done                 a Work from its giving to its end
//! ```
//!
//! A worker that has been given work may not have noticed, and then still waits: so idle are
//! those who wait, less what there is to do.

use std::sync::atomic::{AtomicIsize, Ordering};

use crate::sys::fork::{self, PerProcess};

/// How many there are.
#[derive(Clone, Copy)]
pub(super) struct Helpers {
    pub(super) threads: usize,
    pub(super) idle: usize,
}

impl Helpers {
    pub(super) fn min(self, other: Helpers) -> Helpers {
        Helpers {
            threads: self.threads.min(other.threads),
            idle: self.idle.min(other.idle),
        }
    }
}

#[derive(Default)]
struct Counts {
    threads: AtomicIsize,
    idle: AtomicIsize,
}

fn counts() -> &'static Counts {
    static COUNTS: PerProcess<Counts> = PerProcess::new();
    COUNTS.get(|| {
        fork::count();
        Counts::default()
    })
}

pub(super) fn count() -> Helpers {
    let counts = counts();
    let [threads, idle] = [&counts.threads, &counts.idle].map(|count| {
        let count = count.load(Ordering::Acquire);
        usize::try_from(count).unwrap_or(0)
    });
    Helpers { threads, idle }
}

/// Something that is counted as long as it lives.
#[derive(Debug)]
struct Counted {
    in_count: &'static AtomicIsize,
    by: isize,
}

impl Counted {
    fn new(in_count: &'static AtomicIsize, by: isize) -> Counted {
        in_count.fetch_add(by, Ordering::AcqRel);
        Counted { in_count, by }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_count.fetch_sub(self.by, Ordering::AcqRel);
    }
}

/// A thread of our own.
#[derive(Debug)]
pub(crate) struct Thread(#[expect(dead_code, reason = "kept to be dropped")] Counted);

impl Thread {
    pub(crate) fn new() -> Thread {
        Thread(Counted::new(&counts().threads, 1))
    }
}

/// One of them waits for work.
#[derive(Debug)]
pub(crate) struct Idle(#[expect(dead_code, reason = "kept to be dropped")] Counted);

impl Idle {
    pub(crate) fn new() -> Idle {
        Idle(Counted::new(&counts().idle, 1))
    }
}

/// Work for one of them, which is not done yet.
#[derive(Debug)]
pub(crate) struct Work(#[expect(dead_code, reason = "kept to be dropped")] Counted);

impl Work {
    pub(crate) fn new() -> Work {
        Work(Counted::new(&counts().idle, -1))
    }
}
