//! Things that are dear to make, lent out: connections.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::cancel;
use crate::greenlet::now;
use crate::sync::{self, Semaphore};
use crate::sys::lock::lock;

type Create<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;
type Check<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

/// A pool of things, connections for one, that are made when they are needed, lent out, and kept
/// for the next who needs one.
///
/// There are never more than so many. Who wants one more waits, in the order of coming, until one
/// is given back. What was used last is lent first, so that the others grow old and go.
///
/// It may be shared among greenlets of all hubs and plain OS threads.
///
/// # Examples
/// ```
/// use greenroom::net::TcpStream;
/// use greenroom::pool::Resources;
/// use std::{io, time::Duration};
///
/// # let server = greenroom::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = server.local_addr()?;
/// let connections = Resources::new(4, move || TcpStream::connect(address))
///     .idle_limit(Duration::from_secs(60))
///     .age_limit(Duration::from_secs(3600))
///     .check(|stream| matches!(stream.take_error(), Ok(None)));
/// let first = connections.get()?;
/// let port = first.local_addr()?.port();
/// drop(first);
/// assert_eq!(connections.get()?.local_addr()?.port(), port, "it is the same one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("connection pool", "r2d2", "ConnectionPool"))]
pub struct Resources<T, E = std::io::Error> {
    create: Create<T, E>,
    check: Option<Check<T>>,
    idle_limit: Option<Duration>,
    age_limit: Option<Duration>,
    max: usize,
    permits: Semaphore,
    shelf: Mutex<Shelf<T>>,
}

/// Those that are not lent; the one used last is the last.
struct Shelf<T> {
    idle: Vec<Kept<T>>,
    closed: bool,
}

struct Kept<T> {
    thing: T,
    made: Instant,
    given_back: Instant,
}

impl<T, E> Resources<T, E> {
    /// A pool of at most `max` things, which `create` makes. It is called by whoever needs a new
    /// one, and may park.
    ///
    /// # Panics
    /// When `max` is 0: nobody would ever get one.
    pub fn new(
        max: usize,
        create: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Resources<T, E> {
        assert!(max > 0, "a pool of at most 0 things has none to lend");
        Resources {
            create: Box::new(create),
            check: None,
            idle_limit: None,
            age_limit: None,
            max,
            permits: Semaphore::new(max.min(Semaphore::PERMITS_MAX)),
            shelf: Mutex::new(Shelf {
                idle: Vec::new(),
                closed: false,
            }),
        }
    }

    /// Lets go of things that nobody has used for so long.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Resources<T, E> {
        self.idle_limit = Some(limit);
        self
    }

    /// Lets go of things that were made so long ago, when they are not lent.
    #[must_use]
    pub fn age_limit(mut self, limit: Duration) -> Resources<T, E> {
        self.age_limit = Some(limit);
        self
    }

    /// Has `check` look at each thing that was used before, when it is to be lent again: one that
    /// is no good (`false`) is let go of, and another taken. It may park.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&mut T) -> bool + Send + Sync + 'static,
    ) -> Resources<T, E> {
        self.check = Some(Box::new(check));
        self
    }

    /// Borrows a thing: one that was given back, or else a new one.
    ///
    /// # Examples
    /// See [`Resources`].
    ///
    /// # Errors
    /// [`GetError::Create`] with the error of the maker, [`GetError::Closed`] when the pool is, or
    /// is closed while this waits.
    ///
    /// # Panics
    /// When the maker or the check does. In the root, when nothing is left that could give one back
    /// ("this operation would block forever").
    ///
    /// # Parks
    /// While all are lent, and as the maker and the check do. A kill or a timeout unwinds, and then
    /// none is lost.
    pub fn get(&self) -> Result<Lent<'_, T, E>, GetError<E>> {
        if self.is_closed() {
            return Err(GetError::Closed);
        }
        self.lend(self.permits.acquire())
    }

    /// As [`get`](Resources::get), waiting at most for `limit` for one to be given back.
    ///
    /// # Examples
    /// ```
    /// use greenroom::pool::{GetError, Resources};
    /// use std::time::Duration;
    /// let pool = Resources::<u8, ()>::new(1, || Ok(7));
    /// let lent = pool.get().unwrap();
    /// let second = pool.get_timeout(Duration::from_millis(1));
    /// assert!(matches!(second, Err(GetError::Exhausted)));
    /// ```
    ///
    /// # Errors
    /// As `get`, and [`GetError::Exhausted`] when the time was up first.
    ///
    /// # Panics
    /// As `get`.
    ///
    /// # Parks
    /// As `get`.
    pub fn get_timeout(&self, limit: Duration) -> Result<Lent<'_, T, E>, GetError<E>> {
        if self.is_closed() {
            return Err(GetError::Closed);
        }
        let permit = self.permits.acquire_timeout(limit);
        self.lend(permit.ok_or(GetError::Exhausted)?)
    }

    /// As [`get`](Resources::get), if not all are lent.
    ///
    /// # Errors
    /// As `get`, and [`GetError::Exhausted`] when all are.
    ///
    /// # Panics
    /// As `get`.
    ///
    /// # Parks
    /// As the maker and the check do.
    pub fn try_get(&self) -> Result<Lent<'_, T, E>, GetError<E>> {
        if self.is_closed() {
            return Err(GetError::Closed);
        }
        let permit = self.permits.try_acquire();
        self.lend(permit.ok_or(GetError::Exhausted)?)
    }

    /// Whoever fails here, or is killed, drops the permit: the next one has it.
    fn lend<'a>(&'a self, permit: sync::Permit<'a>) -> Result<Lent<'a, T, E>, GetError<E>> {
        loop {
            let mut shelf = self.lock();
            if shelf.closed {
                return Err(GetError::Closed);
            }
            let kept = shelf.idle.pop();
            drop(shelf);
            let Some(mut kept) = kept else { break };
            // What is no good is dropped here, with no lock held.
            if !self.is_over(&kept) && self.check.as_ref().is_none_or(|is| is(&mut kept.thing)) {
                return Ok(self.lent(kept.thing, kept.made, permit));
            }
        }
        let thing = (self.create)().map_err(GetError::Create)?;
        Ok(self.lent(thing, now(), permit))
    }

    fn lent<'a>(&'a self, thing: T, made: Instant, permit: sync::Permit<'a>) -> Lent<'a, T, E> {
        Lent {
            thing: Some(thing),
            made,
            pool: self,
            _permit: permit,
        }
    }

    fn is_over(&self, kept: &Kept<T>) -> bool {
        let now = now();
        let beyond = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        beyond(kept.given_back, self.idle_limit) || beyond(kept.made, self.age_limit)
    }

    /// Lets go of all that are not lent and have been there or unused for too long, and returns how
    /// many that were. Without it they go when their turn to be lent comes.
    ///
    /// # Parks
    /// As the destructors of the things do.
    pub fn prune(&self) -> usize {
        let mut shelf = self.lock();
        let all = std::mem::take(&mut shelf.idle);
        let (over, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| self.is_over(one));
        shelf.idle = kept;
        drop(shelf);
        over.len()
    }

    /// Lends nothing any more. Those that are not lent go now, the others when they are given back;
    /// who waits for one is told.
    ///
    /// # Parks
    /// As the destructors of the things do.
    pub fn close(&self) {
        let mut shelf = self.lock();
        let first = !std::mem::replace(&mut shelf.closed, true);
        let idle = std::mem::take(&mut shelf.idle);
        drop(shelf);
        if first {
            // Handed from one who waits to the next.
            self.permits.release();
        }
        drop(idle);
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many there can be.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many are made, and not lent.
    pub fn idle(&self) -> usize {
        self.lock().idle.len()
    }

    /// How many are lent, or about to be.
    pub fn lent_count(&self) -> usize {
        let free = self.permits.permits();
        self.max.saturating_sub(free)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<T>> {
        lock(&self.shelf)
    }
}

impl<T, E> fmt::Debug for Resources<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources")
            .field("max", &self.max)
            .field("idle", &self.idle())
            .field("lent", &self.lent_count())
            .finish_non_exhaustive()
    }
}

/// A thing that is lent by [`Resources`], and goes back there when it is dropped.
///
/// Dropped while its greenlet unwinds, by a panic, a kill or a timeout, it is let go of instead:
/// nobody knows in the middle of what it was. So it is where nothing can unwind, after a wait of
/// the greenlet has met a kill or a timeout around the drop: see
/// [`with_timeout`](crate::with_timeout).
#[must_use = "it goes back when it is dropped"]
pub struct Lent<'a, T, E = std::io::Error> {
    /// There until the drop.
    thing: Option<T>,
    made: Instant,
    pool: &'a Resources<T, E>,
    /// Dropped last: who gets it finds the thing.
    _permit: sync::Permit<'a>,
}

impl<T, E> Lent<'_, T, E> {
    /// Lets go of the thing, which is no good any more; there is room for a new one.
    ///
    /// # Parks
    /// As its destructor does.
    pub fn discard(self) {
        drop(self.take());
    }

    /// Takes the thing out of the pool, for good; there is room for a new one.
    ///
    /// # Examples
    /// ```
    /// let pool = greenroom::pool::Resources::<u8, ()>::new(1, || Ok(7));
    /// let taken = pool.get().unwrap().take();
    /// assert_eq!((taken, pool.idle(), pool.lent_count()), (7, 0, 0));
    /// ```
    pub fn take(mut self) -> T {
        self.thing.take().expect("it is there until the drop")
    }
}

impl<T, E> Deref for Lent<'_, T, E> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until the drop")
    }
}

impl<T, E> DerefMut for Lent<'_, T, E> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until the drop")
    }
}

impl<T, E> Drop for Lent<'_, T, E> {
    fn drop(&mut self) {
        let Some(thing) = self.thing.take() else {
            return;
        };
        let kept = Kept {
            thing,
            made: self.made,
            given_back: now(),
        };
        if thread::panicking() || cancel::has_met() || self.pool.is_over(&kept) {
            return;
        }
        let mut shelf = self.pool.lock();
        if shelf.closed {
            drop(shelf);
            drop(kept);
        } else {
            shelf.idle.push(kept);
        }
    }
}

impl<T: fmt::Debug, E> fmt::Debug for Lent<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.thing).finish()
    }
}

/// Why [`Resources`] has lent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError<E> {
    /// All are lent, and none was given back in time.
    Exhausted,
    /// The pool has been closed.
    Closed,
    /// A new one could not be made.
    Create(E),
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Exhausted => write!(f, "all that the pool can have are lent"),
            GetError::Closed => write!(f, "the pool is closed"),
            GetError::Create(error) => write!(f, "a new one could not be made: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GetError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GetError::Create(error) => Some(error),
            _ => None,
        }
    }
}
