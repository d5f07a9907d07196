//! The part of a hub that other OS threads may touch: its [`Inbox`] and its doorbell.
//!
//! The doorbell and the epoll set are closed when the hub ends, though other threads may know it
//! for much longer. Ringing, taking a descriptor out of the set, and closing them hold one lock:
//! so no number is used that is closed, and perhaps reused, by then.

use std::os::fd::BorrowedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use once_cell::sync::Lazy;

use super::cell::TaskRef;
use super::inbox::Inbox;
use super::pulse::Pulse;
use super::{Hub, with_hub};
use crate::poller::Key;
use crate::sys::epoll::Epoll;
use crate::sys::event_fd::EventFd;
use crate::sys::lock::lock;
use crate::sys::report::{self, report};
use crate::sys::{clock, fork};

/// Greenlet ids are `hub << ID_BITS | count`: unique in the process, without a shared counter.
pub(super) const ID_BITS: u32 = 40;
/// Set in the count of those that another thread has numbered.
pub(super) const REMOTE_BIT: u64 = 1 << (ID_BITS - 1);

static HUBS: AtomicU64 = AtomicU64::new(0);

/// Makes the next hub one whose greenlets have the ids of that which `id` is from.
#[cfg(test)]
pub(crate) fn skip_hubs(id: super::task::GreenletId) {
    const NUMBERS: u64 = 1 << (u64::BITS - ID_BITS);
    let wanted = id.number() >> ID_BITS;
    let skip = |next: u64| next + wanted.wrapping_sub(next) % NUMBERS;
    let skipped = HUBS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
        Some(skip(next))
    });
    skipped.expect("it is always changed");
}

/// What one thread asks of another's hub.
pub(crate) enum Message {
    Wake(TaskRef),
    Run(Box<dyn FnOnce(&Hub) + Send>),
    /// A count of a task that is to be let go of there: the last, while the hub holds the task.
    Return(TaskRef),
    /// A descriptor was closed elsewhere: forget its registration, tell who waits.
    Forget(Key),
}

/// The descriptors of a hub that other threads use.
struct Doors {
    bell: EventFd,
    epoll: Arc<Epoll>,
}

/// See the head of this file.
pub(crate) struct Shared {
    pub(crate) number: u64,
    /// The hubs of the same OS thread that stand still as long as this one is there.
    outer: Vec<u64>,
    inbox: Inbox<Message>,
    /// When the present turn began, or when the hub was last woken by a message.
    turned_at: AtomicU64,
    /// None for a hub that has ended, and for the one that is nowhere.
    doors: Mutex<Option<Doors>>,
    /// The fork generation of the process that the hub belongs to.
    pub(crate) forks: u32,
    ids: AtomicU64,
    /// Handles by which another thread may wake or start something here.
    pub(crate) handles: AtomicUsize,
    /// What watchdogs look at.
    pub(super) pulse: Pulse,
    /// Rings of the bell, for statistics.
    pub(crate) rings: AtomicU64,
}

impl Shared {
    /// For a hub inside of that of the present thread, if it has one.
    pub(crate) fn new(bell: EventFd, epoll: Arc<Epoll>) -> Shared {
        let outer = with_hub(|hub| {
            let shared = &hub?.shared;
            Some([&shared.outer[..], &[shared.number]].concat())
        });
        Shared {
            outer: outer.unwrap_or_default(),
            ..Shared::with_doors(Some(Doors { bell, epoll }))
        }
    }

    /// Whether `other` is a hub of the same OS thread, which stands still until this one ends.
    pub(super) fn holds_up(&self, other: &Shared) -> bool {
        self.outer.contains(&other.number)
    }

    pub(super) fn is_inner(&self) -> bool {
        !self.outer.is_empty()
    }

    /// Home of the greenlets that could not be started for want of a hub.
    pub(crate) fn nowhere() -> Arc<Shared> {
        static NOWHERE: Lazy<Arc<Shared>> = Lazy::new(|| {
            let nowhere = Shared::with_doors(None);
            nowhere.close();
            Arc::new(nowhere)
        });
        Arc::clone(&NOWHERE)
    }

    fn with_doors(doors: Option<Doors>) -> Shared {
        Shared {
            number: HUBS.fetch_add(1, Ordering::Relaxed),
            outer: Vec::new(),
            inbox: Inbox::new(),
            turned_at: AtomicU64::new(clock::now_ns()),
            doors: Mutex::new(doors),
            forks: fork::generation(),
            ids: AtomicU64::new(1),
            handles: AtomicUsize::new(0),
            pulse: Pulse::new(),
            rings: AtomicU64::new(0),
        }
    }

    /// Takes a descriptor that is about to be closed out of the hub's epoll set, and has the hub
    /// forget it by `forget`.
    pub(crate) fn unwatch(&self, fd: BorrowedFd<'_>, forget: Message) {
        let deleted = self.with_doors_open(|doors| doors.epoll.delete(fd));
        self.send(forget);
        // After the message: the logger is foreign code.
        if let Some(Err(error)) = deleted {
            let hub = self.number;
            report!(
                Debug,
                "greenroom: {fd:?} was not watched by hub {hub}: {error}"
            );
        }
    }

    /// The id of a greenlet that another thread spawns here.
    pub(crate) fn next_id(&self) -> u64 {
        self.id_of(REMOTE_BIT | self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of the greenlet that is the hub's own `count`th.
    pub(crate) fn id_of(&self, count: u64) -> u64 {
        (self.number << ID_BITS) | count
    }

    /// Leaves a message. `false` when the hub is gone: the message is then dropped, here.
    pub(crate) fn send(&self, message: Message) -> bool {
        if self.inbox.push(message) {
            self.rings.fetch_add(1, Ordering::Relaxed);
            self.note_turn(clock::now_ns());
            self.with_doors_open(|doors| doors.bell.ring());
        }
        let open = !self.is_closed();
        if !open {
            self.empty_inbox();
        }
        open
    }

    pub(crate) fn receive(&self) -> Option<Message> {
        self.inbox.pop()
    }

    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The hub wants to sleep: from now on messages ring. `false` if there is mail already.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.inbox.fall_asleep()
    }

    pub(super) fn note_turn(&self, now: u64) {
        self.turned_at.store(now, Ordering::Relaxed);
    }

    /// For how long, by `now`, a message that is sent now would have waited already: zero for a
    /// hub that sleeps, long for one that computes.
    pub(crate) fn lag_ns(&self, now: u64) -> u64 {
        match self.inbox.is_asleep() {
            true => 0,
            false => now.saturating_sub(self.turned_at.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn wake_up(&self) {
        self.inbox.wake_up();
    }

    /// The hub is gone: what is sent from now on is dropped by its sender.
    pub(crate) fn close(&self) {
        self.inbox.close();
        self.empty_inbox();
        self.pulse.rest();
        // Those who come from now on find them closed; one that rings just now has the lock.
        drop(self.lock_doors().and_then(|mut doors| doors.take()));
    }

    /// Calls `f` with the descriptors, if they are still open.
    fn with_doors_open<R>(&self, f: impl FnOnce(&Doors) -> R) -> Option<R> {
        self.lock_doors()?.as_ref().map(f)
    }

    /// None in a forked child, where the hub is the parent's, and so is whoever had this locked.
    fn lock_doors(&self) -> Option<MutexGuard<'_, Option<Doors>>> {
        (self.forks == fork::generation()).then(|| lock(&self.doors))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    fn empty_inbox(&self) {
        while let Some(message) = self.inbox.pop() {
            // What a closure owns may panic when dropped, and this may be the end of a thread.
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(message)));
            if let Err(payload) = dropped {
                report!(Error, "greenroom: the destructor of a closure panicked");
                report::discard(payload);
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
