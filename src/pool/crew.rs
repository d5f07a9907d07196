//! Who is in a group or a pool, and who waits to get in or for the others to be gone.
//!
//! ```text
//!              enter: a slot                      ends, or is discarded
//!   outside ------------------> member (holds it) ---------------------> gone
//!      |                                                  | slot
//!      '-- full: waits, first come first served <---------'
//!                                             none left: those who join are told
//! ```
//!
//! Invariants, under the one lock: `taken` is the number of members and of slots that are granted
//! or held by those about to bring a member in; who waits for a slot does so because
//! `taken >= size`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::greenlet::{GreenletId, GreenletRef};
use crate::hub::{Hub, with_hub};
use crate::sync::waiting::{self, Home};
use crate::sync::waitlist::{Key, Notice, WaitList};
use crate::sys::lock::lock;

/// What the head of this file is about.
pub(super) struct Crew {
    state: Mutex<State>,
}

struct State {
    members: BTreeMap<GreenletId, GreenletRef>,
    taken: usize,
    size: usize,
    /// Who comes in while somebody kills all is killed at once.
    killing: usize,
    /// Members that wait for a slot here, however long it takes.
    stalled: BTreeSet<GreenletId>,
    entrance: WaitList,
    exit: WaitList,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    Full,
    /// All members wait for each other here.
    Deadlock,
}

/// The right to bring one member in. Dropped, it goes to the next.
pub(super) struct Slot(Option<Arc<Crew>>);

impl Crew {
    pub(super) fn new(size: usize) -> Arc<Crew> {
        Arc::new(Crew {
            state: Mutex::new(State {
                members: BTreeMap::new(),
                taken: 0,
                size,
                killing: 0,
                stalled: BTreeSet::new(),
                entrance: WaitList::new(),
                exit: WaitList::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A slot if there is one now.
    pub(super) fn try_slot(self: &Arc<Self>) -> Result<Slot, NoSlot> {
        let is_had = self.take_if_free()
            || waiting::take_over(&Entrance(self), false) && self.take_if_free();
        let slot = is_had.then(|| Slot(Some(Arc::clone(self))));
        slot.ok_or(NoSlot::Full)
    }

    fn take_if_free(&self) -> bool {
        self.lock().take_if_free()
    }

    /// A slot, waited for until `deadline`.
    pub(super) fn slot(self: &Arc<Self>, deadline: Option<u64>) -> Result<Slot, NoSlot> {
        let me = running();
        let mut state = self.lock();
        if state.take_if_free() {
            return Ok(Slot(Some(Arc::clone(self))));
        }
        let stalled = me.filter(|me| deadline.is_none() && state.members.contains_key(me));
        if let Some(me) = stalled {
            if state.stalled.len() + 1 >= state.taken {
                return Err(NoSlot::Deadlock);
            }
            state.stalled.insert(me);
        }
        let key = state.entrance.push((), Notice::to_me());
        drop(state);
        let _stalled = Stalled(self, stalled);
        let waited = waiting::wait(&Entrance(self), key, "a place in a pool", deadline);
        waited.map_err(|()| NoSlot::Full)?;
        Ok(Slot(Some(Arc::clone(self))))
    }

    /// Whether whoever runs is one of them.
    pub(super) fn has_caller(&self) -> bool {
        running().is_some_and(|me| self.contains(me))
    }

    pub(super) fn contains(&self, id: GreenletId) -> bool {
        self.lock().members.contains_key(&id)
    }

    pub(super) fn members(&self) -> Vec<GreenletRef> {
        let state = self.lock();
        state.members.values().map(GreenletRef::clone).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().members.len()
    }

    pub(super) fn size(&self) -> usize {
        self.lock().size
    }

    pub(super) fn free(&self) -> usize {
        let state = self.lock();
        state.size.saturating_sub(state.taken)
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().entrance.len()
    }

    pub(super) fn resize(&self, size: usize) {
        let mut state = self.lock();
        state.size = size;
        let notices = state.grant();
        drop(state);
        notices.into_iter().for_each(Notice::tell);
    }

    /// Brings a greenlet in, which leaves when it ends.
    pub(super) fn enter(self: &Arc<Self>, mut slot: Slot, who: &GreenletRef) {
        let mut state = self.lock();
        let known = state.members.insert(who.id(), who.uncounted());
        let killing = state.killing > 0;
        drop(state);
        if known.is_some() {
            // It is one already, and has a slot: this one goes back.
            return drop(slot);
        }
        slot.0 = None;
        if killing {
            who.kill();
        }
        let (crew, id) = (Arc::clone(self), who.id());
        who.at_end(move || {
            crew.leave(id);
        });
    }

    /// Lets a member go, and its slot to the next. False when it is none any more.
    pub(super) fn leave(&self, id: GreenletId) -> bool {
        let left = self.lock().members.remove(&id);
        let was_here = left.is_some();
        if was_here {
            self.free_slot();
        }
        was_here
    }

    fn free_slot(&self) {
        let mut state = self.lock();
        state.taken -= 1;
        let mut notices = state.grant();
        if state.taken == 0 {
            notices.extend(state.exit.grant_all());
        }
        drop(state);
        notices.into_iter().for_each(Notice::tell);
    }

    /// Waits until nobody is in there; false at the deadline.
    pub(super) fn wait_until_empty(&self, deadline: Option<u64>) -> bool {
        let mut state = self.lock();
        if state.taken == 0 {
            return true;
        }
        let key: Key = state.exit.push((), Notice::to_me());
        drop(state);
        waiting::wait(&Exit(self), key, "a pool to be empty", deadline).is_ok()
    }

    /// Kills all, those who come in meanwhile as well, each of them once; and waits for their end.
    /// Returns how many are left at the deadline.
    pub(super) fn kill(&self, deadline: Option<u64>) -> usize {
        struct Killing<'a>(&'a Crew);
        impl Drop for Killing<'_> {
            fn drop(&mut self) {
                self.0.lock().killing -= 1;
            }
        }
        let mut state = self.lock();
        state.killing += 1;
        let members: Vec<_> = state.members.values().map(GreenletRef::uncounted).collect();
        drop(state);
        let _killing = Killing(self);
        members.iter().for_each(GreenletRef::kill);
        if self.wait_until_empty(deadline) {
            return 0;
        }
        self.len()
    }
}

impl State {
    fn take_if_free(&mut self) -> bool {
        let free = self.taken < self.size && self.entrance.is_empty();
        self.taken += usize::from(free);
        free
    }

    /// Gives free slots to those who have waited longest.
    fn grant(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while self.taken < self.size
            && let Some(notice) = self.entrance.grant_first_living()
        {
            self.taken += 1;
            notices.push(notice);
        }
        notices
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(crew) = self.0.take() {
            crew.free_slot();
        }
    }
}

/// Those who wait for a slot; one that is not used goes to the next.
struct Entrance<'a>(&'a Crew);

impl Home for Entrance<'_> {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.0.lock().entrance)
    }

    fn pass_on(&self, (): ()) {
        self.0.free_slot();
    }
}

/// Those who wait for all to be gone.
struct Exit<'a>(&'a Crew);

impl Home for Exit<'_> {
    type Payload = ();

    fn with_list<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        f(&mut self.0.lock().exit)
    }

    /// All others have been told as well.
    fn pass_on(&self, (): ()) {}
}

/// While it lives, a member waits for a slot.
struct Stalled<'a>(&'a Crew, Option<GreenletId>);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.1 {
            self.0.lock().stalled.remove(&id);
        }
    }
}

fn running() -> Option<GreenletId> {
    with_hub(|hub| {
        let task = hub.and_then(Hub::running);
        task.map(|task| task.get().greenlet_id())
    })
}
