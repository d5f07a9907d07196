//! Greenlets that are kept together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;
use crate::cancel;
use crate::greenlet::{self, Greenlet, GreenletId, GreenletRef};

/// A set of greenlets, to be joined or killed together. One that ends leaves it.
///
/// A clone is the same group, and may go to any thread. Dropping it changes nothing for its
/// greenlets.
///
/// # Examples
/// ```
/// use greenroom::pool::Group;
/// let group = Group::new();
/// let sum = group.spawn(|| 40 + 2);
/// group.spawn(|| greenroom::sleep(std::time::Duration::from_millis(1)));
/// assert_eq!(group.len(), 2);
/// group.join();
/// assert!(group.is_empty());
/// assert_eq!(sum.join().unwrap(), 42);
/// ```
#[doc(alias("JoinSet", "WaitGroup", "TaskTracker"))]
#[derive(Clone)]
pub struct Group {
    crew: Arc<Crew>,
}

impl Group {
    /// An empty group.
    pub fn new() -> Group {
        Group {
            crew: Crew::new(usize::MAX),
        }
    }

    /// As [`greenroom::spawn`](crate::spawn()), into the group.
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.admit(greenlet::spawn(f))
    }

    /// As [`greenroom::spawn_local`](crate::spawn_local), into the group.
    ///
    /// # Parks
    /// Never.
    #[track_caller]
    pub fn spawn_local<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.admit(greenlet::spawn_local(f))
    }

    fn admit<T>(&self, greenlet: Greenlet<T>) -> Greenlet<T> {
        self.add(greenlet.thread());
        greenlet
    }

    /// Puts a greenlet into the group that runs already, on whatever hub.
    ///
    /// # Examples
    /// ```
    /// let greenlet = greenroom::spawn(|| ());
    /// let group = greenroom::pool::Group::new();
    /// group.add(greenlet.thread());
    /// assert!(group.contains(greenlet.id()));
    /// group.join();
    /// ```
    ///
    /// # Parks
    /// Never.
    pub fn add(&self, greenlet: &GreenletRef) {
        if let Ok(slot) = self.crew.try_slot() {
            self.crew.enter(slot, greenlet);
        }
    }

    /// Takes a greenlet out, which runs on. False when it was not in there.
    pub fn discard(&self, id: GreenletId) -> bool {
        self.crew.leave(id)
    }

    /// Waits until the group is empty.
    ///
    /// # Panics
    /// When it is called by one of the group. In the root, when nothing is left that could wake any
    /// of them ("this operation would block forever").
    ///
    /// # Parks
    /// Until then. A kill or a timeout unwinds.
    pub fn join(&self) {
        join(&self.crew, None);
    }

    /// As [`join`](Group::join), for at most `limit`; whether the group was empty by then.
    ///
    /// # Panics
    /// As `join`.
    ///
    /// # Parks
    /// As `join`, and no longer than `limit`.
    pub fn join_timeout(&self, limit: Duration) -> bool {
        join(&self.crew, cancel::deadline_in(limit))
    }

    /// Kills all, also those who come in meanwhile, waits for them to end, at most for `limit`, and
    /// returns how many are left.
    ///
    /// # Examples
    /// ```
    /// let group = greenroom::pool::Group::new();
    /// (0..3).for_each(|_| drop(group.spawn(greenroom::thread::park)));
    /// assert_eq!(group.kill(None), 0);
    /// ```
    ///
    /// # Parks
    /// Until all have ended or the time is up. A kill or a timeout of the caller unwinds.
    pub fn kill(&self, limit: Option<Duration>) -> usize {
        self.crew.kill(limit.and_then(cancel::deadline_in))
    }

    /// Kills one of the group, and returns at once. False when it is not in there.
    pub fn kill_one(&self, id: GreenletId) -> bool {
        kill_one(&self.crew, id)
    }

    /// How many are in there.
    pub fn len(&self) -> usize {
        self.crew.len()
    }

    /// Whether nobody is in there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether that one is in there.
    pub fn contains(&self, id: GreenletId) -> bool {
        self.crew.contains(id)
    }

    /// Those who are in there now.
    pub fn greenlets(&self) -> Vec<GreenletRef> {
        self.crew.members()
    }
}

pub(super) fn join(crew: &Crew, deadline: Option<u64>) -> bool {
    assert!(
        !crew.has_caller(),
        "a greenlet can't join the group or pool that it is in: it would wait for itself"
    );
    crew.wait_until_empty(deadline)
}

pub(super) fn kill_one(crew: &Crew, id: GreenletId) -> bool {
    let members = crew.members();
    let member = members.iter().find(|member| member.id() == id);
    member.inspect(|member| member.kill()).is_some()
}

impl Default for Group {
    fn default() -> Group {
        Group::new()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
