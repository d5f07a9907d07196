//! The hub's cell for one greenlet.
//!
//! ```text
//!          launch                   pop                     returns
//!   New ------------> Runnable -----------> Running ------------------> Done
//!                        ^                   |   |
//!                        |    yield          |   | park
//!                        +-------------------+   v
//!                        +------------------- Parked
//!                              wake
//! ```
//!
//! A task that is to start late goes from New to Parked, to be woken by its timer or a kill.
//!
//! A wake of a task that is not parked is a no-op. That loses nothing: only its own hub's OS
//! thread moves a task, so a wake that comes through the inbox is seen while the task does not
//! run, and whoever parks looks again at what it waits for when it runs again. Spurious wakes
//! are legal, so a late wake, meant for an earlier wait, does no harm either.
//!
//! Two halves: [`Local`] belongs to the hub's OS thread, everything else to all.

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::remote::{ID_BITS, REMOTE_BIT, Shared};
use super::waker::Waker;
use crate::coroutine::{Coroutine, Suspender};
use crate::timer;

/// Identifies a greenlet for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GreenletId(u64);

impl GreenletId {
    pub(super) fn new(number: u64) -> GreenletId {
        GreenletId(number)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// The count on its hub: "7" on the first hub of the process, "2.7" on its third; "r7" for the
/// 7th that was spawned there from another thread.
impl fmt::Display for GreenletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hub, count) = (self.0 >> ID_BITS, self.0 & ((1 << ID_BITS) - 1));
        if hub > 0 {
            write!(f, "{hub}.")?;
        }
        if count & REMOTE_BIT != 0 {
            write!(f, "r")?;
        }
        write!(f, "{}", count & !REMOTE_BIT)
    }
}

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Perhaps still on its way here: it has no stack yet.
    New,
    Runnable,
    Running,
    Parked,
    Done,
}

/// What a parked task waits for; told in dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Start,
    Sleep,
    Idle,
    Unpark,
    Readable(i32),
    Writable(i32),
    Join(u64),
    Wait(usize),
    Scope(usize),
    Others,
    Helper(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Start => write!(f, "its start"),
            Why::Sleep => write!(f, "the end of a sleep"),
            Why::Idle => write!(f, "the hub to be idle"),
            Why::Unpark => write!(f, "an unpark"),
            Why::Readable(fd) => write!(f, "descriptor {fd} to be readable"),
            Why::Writable(fd) => write!(f, "descriptor {fd} to be writable"),
            Why::Join(id) => write!(f, "greenlet #{} to finish", GreenletId(*id)),
            Why::Wait(count) => write!(f, "the first of {count} objects"),
            Why::Scope(count) => write!(f, "the {count} greenlets of its scope"),
            Why::Others => write!(f, "all other greenlets to finish"),
            Why::Helper(what) => write!(f, "{what}"),
        }
    }
}

/// One `with_timeout` that a greenlet is inside of; lives on that greenlet's stack.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    pub(crate) deadline: u64,
    /// Entered in a destructor while the greenlet unwinds: then it is delivered there.
    pub(crate) unwinding: bool,
    pub(crate) outer: *const Frame,
}

/// The half of a task that only its hub's OS thread may touch. In this order, so that what a
/// park and a resume touch lies on the task's first two cache lines.
#[repr(C)]
pub(crate) struct Local {
    pub(crate) state: Cell<State>,
    pub(crate) why: Cell<Why>,
    /// When it was parked, by the hub's clock.
    pub(crate) since: Cell<u64>,
    pub(crate) suspender: Cell<Option<Suspender>>,
    /// Who waits here, on the same hub, for the end: the first of them, without a lock.
    pub(crate) joiner: Cell<Option<TaskPtr>>,
    /// An address near the top of the stack of a task that is suspended.
    pub(crate) rests_at: Cell<*const u8>,
    /// The earliest deadline of the frames that may be delivered; `u64::MAX` for none.
    pub(crate) alarm: Cell<u64>,
    pub(crate) frames: Cell<*const Frame>,
    pub(crate) coroutine: UnsafeCell<Option<Coroutine>>,
    /// The timer that is to start it, if it is to start late.
    pub(crate) start_timer: Cell<Option<timer::Key>>,
    /// Inside a shield, the frame that was innermost when it began.
    pub(crate) shield_floor: Cell<*const Frame>,
    pub(crate) shields: Cell<u32>,
    /// Inside how many `foreign` calls: unwinding is forbidden then.
    pub(crate) foreign: Cell<u32>,
    /// The kill or the frame that was delivered last, by number; `u64::MAX` for none.
    pub(crate) met: Cell<u64>,
    /// A count of this task that its last waker has left here for the next: to give it back and
    /// take it again is two locked instructions. Gone when the task has ended.
    pub(super) spare: Cell<Option<Arc<Task>>>,
    /// Storage of the room `local`.
    pub(crate) locals: RefCell<Option<Box<dyn Any>>>,
    /// Storage of the same room that those inherit who are spawned by this task.
    pub(crate) tree: Cell<Option<Rc<dyn Any>>>,
}

impl Local {
    /// What there is in `tree`.
    pub(crate) fn shared_tree(&self) -> Option<Rc<dyn Any>> {
        let tree = self.tree.take();
        self.tree.set(tree.clone());
        tree
    }
}

/// What is to happen when a task ends.
pub(crate) enum Exit {
    Wake(Waker),
    Call(Box<dyn FnOnce() + Send>),
}

/// What is to happen when a task ends, in the order of asking, each with a number of its own.
/// Nearly always one thing or none: then nothing is allocated.
#[derive(Default)]
struct Exits {
    next_id: u64,
    first: Option<(u64, Exit)>,
    /// Boxed, since every task has the place for it and few have more than one.
    #[allow(clippy::box_collection, reason = "keeps the cell of every task small")]
    others: Option<Box<VecDeque<(u64, Exit)>>>,
}

impl Exits {
    fn push(&mut self, exit: Exit) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.is_empty() {
            self.first = Some((id, exit));
        } else {
            let others = self.others.get_or_insert_default();
            others.push_back((id, exit));
        }
        id
    }

    fn pop(&mut self) -> Option<Exit> {
        let others = self.others.as_mut();
        let next = self.first.take().or_else(|| others?.pop_front());
        next.map(|(_, exit)| exit)
    }

    fn remove(&mut self, id: u64) -> bool {
        if self.first.take_if(|(other, _)| *other == id).is_some() {
            return true;
        }
        let Some(others) = &mut self.others else {
            return false;
        };
        let position = others.iter().position(|(other, _)| *other == id);
        position.is_some_and(|position| others.remove(position).is_some())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.as_ref().is_none_or(|others| others.is_empty())
    }
}

/// Phases of a task's end, as other threads see them.
const ALIVE: u8 = 0;
const AWAITED: u8 = 1;
const ENDED: u8 = 2;

/// One greenlet, as its hub sees it.
#[repr(C)]
pub(crate) struct Task {
    pub(crate) killed: AtomicBool,
    /// The token of `unpark`.
    pub(crate) token: AtomicBool,
    phase: AtomicU8,
    /// Kills and timeouts that unwind its stack now, or were caught and not yet dropped.
    pub(crate) cancellations: AtomicU32,
    local: Local,
    pub(crate) id: u64,
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) hub: Arc<Shared>,
    /// 0 for the root, for others one more than their index in the hub's table of tasks;
    /// `u32::MAX` until they have one. Written by the hub's OS thread, read by all.
    minimal_id: AtomicU32,
    exits: Mutex<Exits>,
}

// SAFETY: `local` is reached only through `Task::local`, whose callers are on the OS thread of
// the task's hub; all other fields are immutable or synchronise themselves. What `local` owns
// (the coroutine, the storage of green_local! and tree_local!) is taken out before the task
// ends, on the hub's thread, so that no other thread drops it; a task that never runs to its end
// (its thread has ended, it was declared abandoned) is never dropped, for the leaked hub counts it.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    pub(crate) fn new(
        hub: Arc<Shared>,
        id: u64,
        name: Option<Box<str>>,
        spawned_at: &'static Location<'static>,
    ) -> Task {
        let local = Local {
            state: Cell::new(State::New),
            why: Cell::new(Why::Start),
            since: Cell::new(0),
            start_timer: Cell::new(None),
            suspender: Cell::new(None),
            joiner: Cell::new(None),
            rests_at: Cell::new(ptr::null()),
            coroutine: UnsafeCell::new(None),
            alarm: Cell::new(u64::MAX),
            frames: Cell::new(ptr::null()),
            shield_floor: Cell::new(ptr::null()),
            shields: Cell::new(0),
            foreign: Cell::new(0),
            met: Cell::new(u64::MAX),
            spare: Cell::new(None),
            locals: RefCell::new(None),
            tree: Cell::new(None),
        };
        Task {
            local,
            id,
            name,
            spawned_at,
            hub,
            minimal_id: AtomicU32::new(u32::MAX),
            killed: AtomicBool::new(false),
            token: AtomicBool::new(false),
            phase: AtomicU8::new(ALIVE),
            cancellations: AtomicU32::new(0),
            exits: Mutex::default(),
        }
    }

    /// The half that belongs to the hub's OS thread; to be called there only.
    #[inline]
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    pub(crate) fn greenlet_id(&self) -> GreenletId {
        GreenletId(self.id)
    }

    /// A number of its own among the living of its hub, once it is one of them.
    pub(crate) fn minimal_id(&self) -> Option<u32> {
        let id = self.minimal_id.load(Ordering::Relaxed);
        (id != u32::MAX).then_some(id)
    }

    pub(super) fn set_minimal_id(&self, id: u32) {
        self.minimal_id.store(id, Ordering::Relaxed);
    }

    /// Its index in the hub's table of tasks.
    pub(super) fn slot(&self) -> Option<usize> {
        self.minimal_id()?.checked_sub(1).map(|slot| slot as usize)
    }

    pub(super) fn set_slot(&self, slot: usize) {
        let id = u32::try_from(slot + 1).expect("4 billion tasks don't fit into memory");
        self.set_minimal_id(id);
    }

    /// Which one it is among those of its hub, in the order of their making.
    pub(crate) fn number(&self) -> u64 {
        self.id & ((1 << ID_BITS) - 1)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ENDED
    }

    /// Asks for something to happen at the end; `Err` gives it back if that has come already.
    pub(crate) fn at_exit(&self, exit: Exit) -> Result<u64, Exit> {
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        // Noted under the lock: `end` sees either the new phase here or the entry there.
        let noted =
            self.phase
                .compare_exchange(ALIVE, AWAITED, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(ENDED) {
            return Err(exit);
        }
        Ok(exits.push(exit))
    }

    /// Takes back what `at_exit` noted; false when it has happened or is happening.
    pub(crate) fn revoke_exit(&self, id: u64) -> bool {
        let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        exits.remove(id)
    }

    /// Declares the task ended and has `each` do what is to be done about it, one after the
    /// other: so one that is revoked meanwhile does not happen.
    pub(crate) fn end(&self, mut each: impl FnMut(Exit)) {
        let mut left = self.phase.swap(ENDED, Ordering::AcqRel) == AWAITED;
        while left {
            let mut exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
            let exit = exits.pop();
            // None can come any more.
            left = !exits.is_empty();
            drop(exits);
            exit.into_iter().for_each(&mut each);
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish()
    }
}

/// "greenlet #7" or "greenlet #7 'name'".
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greenlet #{}", self.greenlet_id())?;
        match &self.name {
            Some(name) => write!(f, " '{name}'"),
            None => Ok(()),
        }
    }
}

/// A task by address, without a count: for queues of the hub that owns it.
///
/// Valid as long as the task is in its hub's table, which is until it has ended and its
/// coroutine has returned; the hub keeps no pointer beyond that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPtr(ptr::NonNull<Task>);

impl TaskPtr {
    pub(crate) fn new(task: &Task) -> TaskPtr {
        TaskPtr(ptr::NonNull::from(task))
    }

    #[inline]
    pub(crate) fn get<'a>(self) -> &'a Task {
        // SAFETY: see the type's description; the hub's table holds a counted reference.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn to_arc(self) -> Arc<Task> {
        // SAFETY: every task lives in an Arc, and the hub's table holds one count of it.
        unsafe {
            Arc::increment_strong_count(self.0.as_ptr());
            Arc::from_raw(self.0.as_ptr())
        }
    }
}

impl fmt::Debug for TaskPtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.get(), f)
    }
}
