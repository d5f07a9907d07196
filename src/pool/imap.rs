//! Results one after the other, with a bounded number of items under way.
//!
//! No greenlet of its own feeds the pool: each `next` does, from the reader's own greenlet. So the
//! items are taken lazily, and a panic of theirs is the reader's.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::Pool;
use super::workers::inline;
use crate::greenlet::{Greenlet, GreenletId, JoinError};
use crate::sync::Semaphore;
use crate::sys::lock::lock;

/// What both kinds have in common.
struct Feed<I, F> {
    pool: Pool,
    items: Fuse<I>,
    f: Rc<F>,
    /// Where in the source, for reports.
    made_at: &'static Location<'static>,
    /// How many may be under way; the size of the pool unless it is set.
    ahead: Option<usize>,
}

/// What has become of one item.
enum Begun<R> {
    Runs(Greenlet<R>),
    /// There was no room for it, and the reader is of the pool: it has done it itself.
    Done(Result<R, JoinError>),
}

impl<I, F, R> Feed<I, F>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    #[track_caller]
    fn new(pool: &Pool, items: I, f: F) -> Feed<I, F> {
        Feed {
            made_at: Location::caller(),
            pool: pool.clone(),
            items: items.fuse(),
            f: Rc::new(f),
            ahead: None,
        }
    }

    /// Begins with one more item, if that is allowed while so many are under way.
    fn begin(&mut self, under_way: usize) -> Option<Begun<R>> {
        let first = under_way == 0;
        let ahead = self.ahead.unwrap_or_else(|| self.pool.size()).max(1);
        if under_way >= ahead || !first && self.pool.is_full() {
            return None;
        }
        let item = self.items.next()?;
        let f = Rc::clone(&self.f);
        let nested = self.pool.crew().has_caller();
        // Somebody else may have taken the place since, so the item waits for one.
        match self.pool.start(!nested, self.made_at, move || f(item)) {
            Ok(greenlet) => Some(Begun::Runs(greenlet)),
            Err(work) => Some(Begun::Done(inline(work))),
        }
    }
}

/// Results in the order of the items; made by [`Pool::imap`].
#[must_use = "nothing begins before a result is asked for"]
pub struct Imap<I, F, R> {
    feed: Feed<I, F>,
    under_way: VecDeque<Begun<R>>,
}

impl<I, F, R> Imap<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    #[track_caller]
    pub(super) fn new(pool: &Pool, items: I, f: F) -> Imap<I, F, R> {
        Imap {
            feed: Feed::new(pool, items, f),
            under_way: VecDeque::new(),
        }
    }

    /// Lets at most so many items, at least one, be under way or done and not read.
    pub fn ahead(mut self, items: usize) -> Imap<I, F, R> {
        self.feed.ahead = Some(items);
        self
    }
}

/// # Panics
/// When the items do. Asked again, it goes on.
///
/// # Parks
/// Until the next result is there. A kill or a timeout unwinds, and that result is lost.
impl<I, F, R> Iterator for Imap<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Result<R, JoinError>> {
        while let Some(begun) = self.feed.begin(self.under_way.len()) {
            self.under_way.push_back(begun);
        }
        match self.under_way.pop_front()? {
            Begun::Runs(greenlet) => Some(greenlet.join()),
            Begun::Done(result) => Some(result),
        }
    }
}

impl<I, F, R> FusedIterator for Imap<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
}

impl<I, F, R> Drop for Imap<I, F, R> {
    fn drop(&mut self) {
        kill(self.under_way.iter());
    }
}

fn kill<'a, R: 'a>(under_way: impl Iterator<Item = &'a Begun<R>>) {
    for begun in under_way {
        if let Begun::Runs(greenlet) = begun {
            greenlet.kill();
        }
    }
}

impl<I, F, R> fmt::Debug for Imap<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}

/// Results in the order in which they are done; made by [`Pool::imap_unordered`].
#[must_use = "nothing begins before a result is asked for"]
pub struct ImapUnordered<I, F, R> {
    feed: Feed<I, F>,
    under_way: Vec<Begun<R>>,
    ended: Arc<Ended>,
}

/// Those that have ended, in that order, and a permit for each.
struct Ended {
    order: Mutex<VecDeque<GreenletId>>,
    count: Semaphore,
}

impl Ended {
    fn note(&self, id: GreenletId) {
        let mut order = lock(&self.order);
        order.push_back(id);
        drop(order);
        self.count.release();
    }

    fn next(&self) -> Option<GreenletId> {
        self.count.acquire().forget();
        let mut order = lock(&self.order);
        order.pop_front()
    }
}

impl<I, F, R> ImapUnordered<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    #[track_caller]
    pub(super) fn new(pool: &Pool, items: I, f: F) -> ImapUnordered<I, F, R> {
        ImapUnordered {
            feed: Feed::new(pool, items, f),
            under_way: Vec::new(),
            ended: Arc::new(Ended {
                order: Mutex::default(),
                count: Semaphore::new(0),
            }),
        }
    }

    /// Lets at most so many items, at least one, be under way or done and not read.
    pub fn ahead(mut self, items: usize) -> ImapUnordered<I, F, R> {
        self.feed.ahead = Some(items);
        self
    }

    fn take(&mut self, id: GreenletId) -> Option<Result<R, JoinError>> {
        let is_it =
            |begun: &Begun<R>| matches!(begun, Begun::Runs(greenlet) if greenlet.id() == id);
        let position = self.under_way.iter().position(is_it)?;
        match self.under_way.swap_remove(position) {
            Begun::Runs(greenlet) => Some(greenlet.join()),
            Begun::Done(result) => Some(result),
        }
    }
}

/// # Panics
/// When the items do. Asked again, it goes on.
///
/// # Parks
/// Until one more is done. A kill or a timeout unwinds, and loses nothing.
impl<I, F, R> Iterator for ImapUnordered<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Result<R, JoinError>> {
        while let Some(begun) = self.feed.begin(self.under_way.len()) {
            match begun {
                Begun::Done(result) => return Some(result),
                Begun::Runs(greenlet) => {
                    let (ended, id) = (Arc::clone(&self.ended), greenlet.id());
                    greenlet.thread().at_end(move || ended.note(id));
                    self.under_way.push(Begun::Runs(greenlet));
                }
            }
        }
        if self.under_way.is_empty() {
            return None;
        }
        let id = self.ended.next()?;
        self.take(id)
    }
}

impl<I, F, R> FusedIterator for ImapUnordered<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
}

impl<I, F, R> Drop for ImapUnordered<I, F, R> {
    fn drop(&mut self) {
        kill(self.under_way.iter());
    }
}

impl<I, F, R> fmt::Debug for ImapUnordered<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered")
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}
