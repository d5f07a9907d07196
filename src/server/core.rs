//! A server from its start to its end, and who waits for whom.
//!
//! ```text
//!            start                      close, stop, drop, a fatal error
//!   Idle ------------> Started ------------------------------------------> Closed
//!                       |    ^                                               |
//!        stop_accepting |    | start_accepting                 start (if it  |
//!                       v    |                                can bind anew) v
//!                      no acceptors                                       Started
//!
//!   acceptors   one greenlet for each hub, of the present epoch; those of an older one go
//!   active      guests that are in: from the accept until all that serves them is dropped
//!   seats       of these, the ones whose greenlet is known, so that it can be killed
//! ```
//!
//! The lock is held for a few steps only. Under it nobody is woken, nothing of the user's is run
//! or dropped, and no socket is closed: all that is done with what has been taken out of it.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::door::{Door, Kind};
use super::handle::Stats;
use super::limit::Limit;
use super::settings::{Settings, Spawn};
use crate::cancel;
use crate::hub::slots::Slots;
use crate::hub::waker::Waker;
use crate::hub::{Help, HubHandle, Why, with_hub};
use crate::sys::lock::lock;
use crate::sys::report::{self, Level};

/// How long guests that are killed have for their destructors.
const GRACE: Duration = Duration::from_secs(1);
/// How long the hubs of a server have to be taken down: a little longer than they take.
const TEARDOWN: Duration = Duration::from_secs(6);

/// A lane keeps a guest that it has accepted while it has at most one in so many more than the
/// lane with the fewest.
const SLACK: usize = 16;
/// A hub that has not begun a turn for so long is taken to compute.
const LAG_MAX_NS: u64 = 100_000_000;

pub(super) type Fault = Box<dyn Error + Send + Sync>;
pub(super) type Serve<G> = dyn Fn(G) -> Result<(), Fault> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Starting,
    Started,
    Closed,
}

/// See the head of this file.
pub(super) struct Core<K: Kind> {
    pub(super) settings: Settings,
    /// The address, as logs have it.
    pub(super) place: String,
    pub(super) limit: Option<Limit>,
    handler: Mutex<Arc<Serve<K::Guest>>>,
    /// Acceptors of another epoch than this are to go. Odd while there are to be some. Changed
    /// under the lock only.
    pub(super) epoch: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) active: AtomicUsize,
    /// Of these, the ones of each lane.
    loads: Vec<Load>,
    state: Mutex<State<K>>,
}

/// How many guests are in on one lane. Far from that of the next one, which others change.
#[derive(Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

pub(super) struct State<K: Kind> {
    pub(super) phase: Phase,
    /// One for each lane, or one for all.
    pub(super) doors: Vec<Arc<Door<K::Endpoint>>>,
    pub(super) lanes: Vec<HubHandle>,
    pub(super) threads: Vec<thread::JoinHandle<()>>,
    /// OS threads of lanes that have not ended.
    pub(super) threads_alive: usize,
    pub(super) acceptors: Slots<Acceptor>,
    /// Acceptors on their way to their hub.
    pub(super) acceptors_due: usize,
    pub(super) seats: Slots<Waker>,
    /// A stop has killed: who comes in late is turned out.
    pub(super) dying: bool,
    /// By `stop`, so that its guests are to be waited for.
    drained: bool,
    stops: usize,
    error: Option<io::Error>,
    waiters: Slots<Waker>,
}

pub(super) struct Acceptor {
    pub(super) waker: Waker,
    /// It serves a guest itself: not to be killed for having accepted it.
    pub(super) handling: bool,
}

impl<K: Kind> State<K> {
    fn accepts(&self) -> bool {
        self.acceptors.len() + self.acceptors_due > 0
    }
}

impl<K: Kind> Core<K> {
    pub(super) fn new(
        settings: Settings,
        door: Door<K::Endpoint>,
        handler: Arc<Serve<K::Guest>>,
    ) -> Core<K> {
        let limit = match settings.spawn {
            Spawn::Pool(places) => Some(Limit::new(places)),
            _ => None,
        };
        let lanes = settings.hubs.unwrap_or(1);
        Core {
            place: format!("{:?}", door.address),
            settings,
            limit,
            handler: Mutex::new(handler),
            epoch: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            loads: std::iter::repeat_with(Load::default).take(lanes).collect(),
            state: Mutex::new(State {
                phase: Phase::Idle,
                doors: vec![Arc::new(door)],
                lanes: Vec::new(),
                threads: Vec::new(),
                threads_alive: 0,
                acceptors: Slots::new(),
                acceptors_due: 0,
                seats: Slots::new(),
                dying: false,
                drained: false,
                stops: 0,
                error: None,
                waiters: Slots::new(),
            }),
        }
    }

    /// The lane that is to serve the next guest: the one with the fewest, unless `own` has hardly
    /// more. With few guests each one counts, for one may keep a core busy; with many a hand-over
    /// for every small difference would cost more than it gains.
    ///
    /// A lane whose hub computes for long gets none: they would wait there while others are idle.
    pub(super) fn lane_for_next(&self, lanes: &[HubHandle], own: usize) -> usize {
        let guests = |lane: usize| self.loads[lane].0.load(Ordering::Relaxed);
        let mine = guests(own);
        if mine == 0 {
            return own;
        }
        let now = cancel::now();
        let others = (0..lanes.len()).filter(|lane| *lane != own);
        let able = others.filter(|lane| lanes[*lane].shared.lag_ns(now) < LAG_MAX_NS);
        match able.map(|lane| (guests(lane), lane)).min() {
            Some((fewest, lane)) if mine > fewest + fewest / SLACK => lane,
            _ => own,
        }
    }

    pub(super) fn enter(&self, lane: usize) {
        self.active.fetch_add(1, Ordering::AcqRel);
        self.loads[lane].0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many are left on all lanes.
    pub(super) fn leave(&self, lane: usize) -> usize {
        self.loads[lane].0.fetch_sub(1, Ordering::Relaxed);
        self.active.fetch_sub(1, Ordering::AcqRel) - 1
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }

    /// Changes the state, and has those who wait for it look again.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State<K>) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let waiters: Vec<Waker> = state.waiters.iter().cloned().collect();
        drop(state);
        waiters.iter().for_each(Waker::wake);
        result
    }

    /// Parks until `done`; false when the deadline came first.
    pub(super) fn wait_until(
        &self,
        what: &'static str,
        deadline: Option<u64>,
        done: impl Fn(&State<K>) -> bool,
    ) -> bool {
        struct Waiting<'a, K: Kind>(&'a Core<K>, Option<usize>);
        impl<K: Kind> Drop for Waiting<'_, K> {
            fn drop(&mut self) {
                if let Some(key) = self.1 {
                    self.0.lock().waiters.remove(key);
                }
            }
        }
        let mut waiting = Waiting(self, None);
        // With hubs of its own others can always wake us. Without, who has a handle of the server
        // can, which is as good as one of this hub to the detector of deadlocks.
        let _help = self.settings.hubs.map(|_| Help::expect());
        let _hub = with_hub(|hub| hub.map(|hub| HubHandle::new(&hub.shared)));
        loop {
            let mut state = self.lock();
            if done(&state) {
                return true;
            }
            if waiting.1.is_none() {
                waiting.1 = Some(state.waiters.insert(Waker::current()));
            }
            drop(state);
            if deadline.is_some_and(|deadline| deadline <= cancel::now()) {
                return false;
            }
            cancel::park_on(Why::Helper(what), deadline);
        }
    }

    pub(super) fn handler(&self) -> Arc<Serve<K::Guest>> {
        Arc::clone(&lock(&self.handler))
    }

    pub(super) fn set_handler(&self, new: Arc<Serve<K::Guest>>) {
        let mut handler = lock(&self.handler);
        let old = std::mem::replace(&mut *handler, new);
        drop(handler);
        drop(old);
    }

    /// Logs what has happened here: nobody's logger may unwind through a server.
    pub(super) fn log(&self, level: Level, what: std::fmt::Arguments<'_>) {
        let (name, place) = (&self.settings.name, &self.place);
        let text = format_args!("{name} at {place}: {what}");
        report::write(level, module_path!(), text);
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            accepted: self.accepted.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// Tells the acceptors to go; returns whom to wake for it by a kill.
    fn dismiss(&self, state: &mut State<K>) -> Vec<Waker> {
        let accepting = self.epoch.load(Ordering::Acquire) % 2;
        self.epoch.fetch_add(accepting, Ordering::AcqRel);
        let idle = state.acceptors.iter().filter(|one| !one.handling);
        idle.map(|one| one.waker.clone()).collect()
    }

    pub(super) fn stop_accepting(&self) {
        let idle = self.change(|state| self.dismiss(state));
        kill(&idle);
    }

    /// Lets nobody in any more, and lets go of the sockets. Who is in stays.
    pub(super) fn close(&self) {
        let (idle, doors, lanes) = self.change(|state| {
            state.phase = Phase::Closed;
            let idle = self.dismiss(state);
            (idle, state.doors.split_off(0), state.lanes.split_off(0))
        });
        kill(&idle);
        drop((doors, lanes));
    }

    /// Ends the server for good, with an error.
    pub(super) fn fail(&self, error: io::Error) {
        self.log(Level::Error, format_args!("it ends: {error}"));
        let mut state = self.lock();
        let first = state.error.is_none() && state.phase != Phase::Closed;
        if first {
            state.error = Some(error);
        }
        drop(state);
        self.close();
    }

    /// See [`StreamServer::stop`](super::StreamServer::stop).
    pub(super) fn stop(&self, limit: Option<Duration>) -> usize {
        struct Stopping<'a, K: Kind>(&'a Core<K>);
        impl<K: Kind> Drop for Stopping<'_, K> {
            fn drop(&mut self) {
                self.0.change(|state| state.stops -= 1);
            }
        }
        let deadline = limit.and_then(cancel::deadline_in);
        self.change(|state| {
            state.stops += 1;
            state.drained = true;
        });
        let _stopping = Stopping(self);
        self.close();
        let me = Waker::current();
        let (guest, acceptor) = self.parts_of(&me);
        let gone = |state: &State<K>| {
            let acceptors = state.acceptors.len() + state.acceptors_due;
            acceptors <= acceptor && self.active.load(Ordering::Acquire) <= guest
        };
        let mut killed = 0;
        if !self.wait_until("the guests of a server to leave", deadline, gone) {
            killed = self.kill_guests(&me);
            let grace = cancel::deadline_in(GRACE);
            if !self.wait_until("the killed guests of a server", grace, gone) {
                let left = self.active.load(Ordering::Relaxed).saturating_sub(guest);
                let what = format_args!("{left} guests have withstood their kill");
                self.log(Level::Error, what);
            }
        }
        if guest == 0 && self.active.load(Ordering::Acquire) == 0 {
            self.see_threads_off();
        }
        killed
    }

    /// Whether who runs now is itself a guest and an acceptor: 0 or 1 each.
    fn parts_of(&self, me: &Waker) -> (usize, usize) {
        let state = self.lock();
        let guest = state.seats.iter().any(|seat| seat.is_for_same(me));
        let acceptor = state.acceptors.iter().any(|one| one.waker.is_for_same(me));
        (usize::from(guest), usize::from(acceptor))
    }

    fn kill_guests(&self, me: &Waker) -> usize {
        let seats: Vec<Waker> = self.change(|state| {
            state.dying = true;
            let others = state.seats.iter().filter(|seat| !seat.is_for_same(me));
            others.cloned().collect()
        });
        kill(&seats);
        seats.len()
    }

    /// Waits for the OS threads of the hubs, so that they have left nothing behind.
    fn see_threads_off(&self) {
        let deadline = cancel::deadline_in(TEARDOWN);
        let gone = |state: &State<K>| state.threads_alive == 0;
        if self.wait_until("the hubs of a server to end", deadline, gone) {
            let threads = self.lock().threads.split_off(0);
            let me = thread::current().id();
            // They have only to return: no wait to speak of.
            for thread in threads.into_iter().filter(|one| one.thread().id() != me) {
                thread.join().unwrap_or_else(std::mem::forget);
            }
        }
    }

    /// See [`StreamServer::serve_forever`](super::StreamServer::serve_forever).
    pub(super) fn wait_for_end(&self) -> io::Result<()> {
        struct Close<'a, K: Kind>(&'a Core<K>);
        impl<K: Kind> Drop for Close<'_, K> {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let close = Close(self);
        self.wait_until("its server to be stopped", None, |state| {
            let closed = state.phase == Phase::Closed && !state.accepts() && state.stops == 0;
            let left = self.active.load(Ordering::Acquire) == 0;
            closed && (left || state.dying || !state.drained)
        });
        std::mem::forget(close);
        match &self.lock().error {
            None => Ok(()),
            Some(error) => Err(match error.raw_os_error() {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
        }
    }

    /// Begins a start: true if the caller is to carry it out.
    ///
    /// # Errors
    /// When what an earlier start has left is still there.
    pub(super) fn begin_start(&self) -> io::Result<bool> {
        self.wait_until("its server to be started", None, |state| {
            state.phase != Phase::Starting
        });
        let active = self.active.load(Ordering::Acquire);
        self.change(|state| {
            if state.phase == Phase::Started {
                return Ok(false);
            }
            if state.phase == Phase::Closed && (active > 0 || state.threads_alive > 0) {
                let what = format!("the server still has {active} guests from before it closed");
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
            }
            state.phase = Phase::Starting;
            state.threads.clear();
            (state.dying, state.drained, state.error) = (false, false, None);
            Ok(true)
        })
    }

    /// Whether the OS threads of the hubs have nothing left to do.
    pub(super) fn is_over(&self, state: &State<K>) -> bool {
        let active = self.active.load(Ordering::Acquire);
        state.phase == Phase::Closed && !state.accepts() && active == 0
    }
}

fn kill(wakers: &[Waker]) {
    for waker in wakers {
        if let Waker::Green(task) = waker {
            cancel::kill(task);
        }
    }
}
