//! Letting guests in, and serving them.
//!
//! ```text
//!   acceptor    place in the pool? ---no---> park until there is one
//!      |             | yes                        |
//!      |          accept  ---would block---> give the place back, park until readable
//!      |             | a guest                    |
//!      +---- spawn --+  (100 in a row: yield)     +--- again
//!            here, or on the lane with the fewest guests
//!
//!   job         take a seat, so that a stop can kill us  ->  the handler  ->  leave
//! ```
//!
//! A place is asked for before each attempt and never kept while waiting for a guest: who waits
//! on one hub must not hold what another hub needs. So a guest that has been accepted always has
//! its place, and a full pool leaves the rest in the queue of the kernel.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::{Acceptor, Core, Phase};
use super::datagram::CUT_OFF;
use super::door::{Door, Kind};
use super::endpoint::sealed::Endpoint;
use super::limit::Place;
use super::settings::Spawn;
use crate::cancel::is_cancellation;
use crate::greenlet::{Builder, sleep, yield_now};
use crate::hub::HubHandle;
use crate::hub::waker::Waker;
use crate::net::backoff::Backoff;
use crate::sys::report::Level;
use crate::sys::{errno, socket};

/// An acceptor's entry in the books of its server. Made before it starts; when it is dropped the
/// acceptor is gone, or has never come to be.
pub(super) struct Post<K: Kind> {
    core: Arc<Core<K>>,
    epoch: u64,
    key: Option<usize>,
}

impl<K: Kind> Post<K> {
    /// To be counted in `acceptors_due` by the caller, who holds the lock.
    pub(super) fn new(core: &Arc<Core<K>>, epoch: u64) -> Post<K> {
        Post {
            core: Arc::clone(core),
            epoch,
            key: None,
        }
    }

    fn is_current(&self) -> bool {
        self.core.epoch.load(Ordering::Acquire) == self.epoch
    }

    /// Begins; false if it is to go at once.
    fn take_up(&mut self) -> bool {
        let mut state = self.core.lock();
        if !self.is_current() {
            return false;
        }
        state.acceptors_due -= 1;
        self.key = Some(state.acceptors.insert(Acceptor {
            waker: Waker::current(),
            handling: false,
        }));
        true
    }

    /// Says whether the acceptor serves a guest itself. Not when it is to go: it may have been
    /// killed already, which must not strike the guest.
    fn note_handling(&self, handling: bool) -> bool {
        let mut state = self.core.lock();
        if handling && !self.is_current() {
            return false;
        }
        let ours = self.key.and_then(|key| state.acceptors.get_mut(key));
        ours.map(|acceptor| acceptor.handling = handling).is_some()
    }
}

impl<K: Kind> Drop for Post<K> {
    fn drop(&mut self) {
        // Nobody has told it to go.
        if self.is_current() && self.core.phase() == Phase::Started {
            let what = "the greenlet that accepts was killed or could not be started";
            self.core.fail(io::Error::other(what));
        }
        self.core.change(|state| match self.key {
            Some(key) => drop(state.acceptors.remove(key)),
            None => state.acceptors_due -= 1,
        });
    }
}

/// After so many connections in a row that were lost before they were accepted, an acceptor pauses
/// as after any other error.
const LOST_MAX: u32 = 100;

/// Where an acceptor stands, and where others of its server do.
pub(super) struct Lanes {
    pub(super) all: Arc<[HubHandle]>,
    pub(super) own: usize,
}

/// All that an acceptor does.
pub(super) fn accept_all<K: Kind>(mut post: Post<K>, door: Arc<Door<K::Endpoint>>, lanes: Lanes) {
    if !post.take_up() {
        return;
    }
    let core = Arc::clone(&post.core);
    let backoff = Backoff::default();
    let mut room = vec![0; K::room(&core)];
    let mut kept = None;
    let row_max = match core.settings.shares_socket() {
        // Who takes many at a time leaves none for hubs that are idle.
        true => 1,
        false => core.settings.accepts_max,
    };
    let (mut row, mut lost) = (0, 0);
    while post.is_current() {
        let mut full = false;
        let gate = || match post.is_current() {
            true => admit(&core, &mut kept, &mut full),
            false => Err(io::Error::from_raw_os_error(errno::ECANCELED)),
        };
        let failed = match K::next(&door, &mut room, gate) {
            Ok((guest, place)) => {
                core.accepted.fetch_add(1, Ordering::Relaxed);
                let spawned = hand_over(&post, &lanes, place, guest);
                row += 1;
                if row >= row_max {
                    row = 0;
                    yield_now();
                }
                spawned
            }
            Err(_) if full => {
                kept = core.limit.as_ref().map(super::limit::Limit::take);
                continue;
            }
            Err(_) if !post.is_current() => return,
            Err(error) if is_final(&door, &error) => return core.fail(error),
            Err(error) => Err(error),
        };
        match failed {
            Ok(()) => {
                lost = 0;
                backoff.succeed();
            }
            Err(error) => {
                core.errors.fetch_add(1, Ordering::Relaxed);
                match error.kind() {
                    CUT_OFF => core.log(Level::Warn, format_args!("{error}")),
                    // That connection is lost: no reason to let others wait.
                    _ if socket::is_of_connection(&error) && lost < LOST_MAX => {
                        lost += 1;
                        yield_now();
                    }
                    _ => {
                        let (name, place) = (&core.settings.name, &core.place);
                        sleep(backoff.next(&format_args!("{name} at {place}"), &error));
                    }
                }
            }
        }
    }
}

/// Does the error show that the socket is bad, and not the connection that was to come?
fn is_final<E: Endpoint>(door: &Door<E>, error: &io::Error) -> bool {
    let is_listening = || door.endpoint.vet().is_ok();
    socket::is_fatal(error) && !(socket::is_of_connection(error) && is_listening())
}

/// A place for one guest more, where places are limited.
fn admit<K: Kind>(
    core: &Core<K>,
    kept: &mut Option<Place>,
    full: &mut bool,
) -> io::Result<Option<Place>> {
    let Some(limit) = &core.limit else {
        return Ok(None);
    };
    let place = kept.take().or_else(|| limit.try_take());
    *full = place.is_none();
    match place {
        Some(place) => Ok(Some(place)),
        None => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

/// Has a guest served as the settings say. Where that fails its connection is closed.
fn hand_over<K: Kind>(
    post: &Post<K>,
    lanes: &Lanes,
    place: Option<Place>,
    guest: K::Guest,
) -> io::Result<()> {
    let core = &post.core;
    let ticket = |lane| Ticket::new(core, lane, place);
    match &core.settings.spawn {
        Spawn::Inline if post.note_handling(true) => {
            serve(ticket(lanes.own), guest);
            post.note_handling(false);
            Ok(())
        }
        Spawn::With(spawn) => {
            let ticket = ticket(lanes.own);
            let job = Box::new(move || serve(ticket, guest));
            let spawned = panic::catch_unwind(AssertUnwindSafe(|| spawn.0(job)));
            spawned.map_err(|payload| {
                if is_cancellation(&*payload) {
                    panic::resume_unwind(payload);
                }
                let told = format!("the spawn function panicked: {}", message(&*payload));
                std::mem::forget(payload);
                io::Error::other(told)
            })
        }
        _ => {
            let builder = Builder::new();
            let builder = match core.settings.stack_size {
                Some(bytes) => builder.stack_size(bytes),
                None => builder,
            };
            let lane = core.lane_for_next(&lanes.all, lanes.own);
            let ticket = ticket(lane);
            if lane == lanes.own {
                return builder.spawn(move || serve(ticket, guest)).map(drop);
            }
            let sent = Sent(Some((ticket, guest)));
            drop(builder.spawn_on(&lanes.all[lane], move || sent.serve()));
            Ok(())
        }
    }
}

/// A guest on its way to another lane. Dropped there unserved, it counts as an error.
struct Sent<K: Kind>(Option<(Ticket<K>, K::Guest)>);

impl<K: Kind> Sent<K> {
    fn serve(mut self) {
        if let Some((ticket, guest)) = self.0.take() {
            serve(ticket, guest);
        }
    }
}

impl<K: Kind> Drop for Sent<K> {
    fn drop(&mut self) {
        if let Some((ticket, guest)) = self.0.take() {
            let core = Arc::clone(&ticket.core);
            core.errors.fetch_add(1, Ordering::Relaxed);
            let what = format_args!("no greenlet for the guest from {:?}", K::peer(&guest));
            core.log(Level::Error, what);
        }
    }
}

/// That a guest is in. Gone when it has left, whatever way.
struct Ticket<K: Kind> {
    core: Arc<Core<K>>,
    lane: usize,
    seat: Option<usize>,
    _place: Option<Place>,
}

impl<K: Kind> Ticket<K> {
    fn new(core: &Arc<Core<K>>, lane: usize, place: Option<Place>) -> Ticket<K> {
        core.enter(lane);
        Ticket {
            core: Arc::clone(core),
            lane,
            seat: None,
            _place: place,
        }
    }

    /// From now on a stop may kill who runs here; false if one has done so already.
    fn sit_down(&mut self) -> bool {
        let mut state = self.core.lock();
        if !state.dying {
            self.seat = Some(state.seats.insert(Waker::current()));
        }
        self.seat.is_some()
    }
}

impl<K: Kind> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        let seat = self.seat.and_then(|seat| state.seats.remove(seat));
        let left = self.core.leave(self.lane);
        // Those who wait for guests to leave begin by closing.
        let told = state.phase == Phase::Closed;
        drop(state);
        drop(seat);
        if told {
            self.core.change(|_| left);
        }
    }
}

/// All that is done for a guest, in a greenlet or whatever runs the job.
fn serve<K: Kind>(mut ticket: Ticket<K>, guest: K::Guest) {
    if !ticket.sit_down() {
        return drop(guest);
    }
    let core = Arc::clone(&ticket.core);
    let peer = K::peer(&guest);
    let handler = core.handler();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| handler(guest)));
    drop(handler);
    let told = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => {
            let level = match fault.downcast_ref::<io::Error>() {
                Some(error) if has_left(error) => Level::Debug,
                _ => Level::Warn,
            };
            core.log(level, format_args!("the guest from {peer:?}: {fault}"));
            panic::catch_unwind(AssertUnwindSafe(|| drop(fault)))
        }
        Err(payload) if is_cancellation(&*payload) => {
            drop(ticket);
            panic::resume_unwind(payload)
        }
        Err(payload) => {
            let what = message(&*payload);
            let what = format_args!("the handler panicked on the guest from {peer:?}: {what}");
            core.log(Level::Error, what);
            Err(payload)
        }
    };
    // The destructor of a payload may panic as well; there is nothing left to do about it.
    told.unwrap_or_else(std::mem::forget);
    core.failed.fetch_add(1, Ordering::Relaxed);
}

/// The guest has gone away, as guests do.
fn has_left(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    kinds.contains(&error.kind())
}

/// What a panic says.
pub(super) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("Box<dyn Any>")
}
