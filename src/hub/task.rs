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

use std::alloc::Layout;
#[cfg(feature = "monkey")]
use std::cell::RefCell;
use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZero;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::cell::TaskRef;
use super::count::Count;
use super::nested::CoroutineId;
#[cfg(feature = "monkey")]
use super::owed::{OutputPipes, Owed};
use super::remote::{ID_BITS, REMOTE_BIT, Shared};
use super::storage::Storage;
use super::waker::Waker;
use crate::coroutine::{Coroutine, Suspender};
#[cfg(feature = "monkey")]
use crate::sys::identity::Identity;
use crate::sys::lock::lock;
use crate::timer;

/// Identifies a greenlet for the life of the process.
///
/// An `Option` of it takes no more memory than the id itself, as with [`std::thread::ThreadId`].
// One more than the number, which is 0 for the root of the first hub.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GreenletId(NonZero<u64>);

impl GreenletId {
    pub(crate) fn new(number: u64) -> GreenletId {
        GreenletId(NonZero::<u64>::MIN.saturating_add(number))
    }

    pub(crate) fn is_of_same_hub(self, other: GreenletId) -> bool {
        self.number() >> ID_BITS == other.number() >> ID_BITS
    }

    pub(super) fn number(self) -> u64 {
        self.0.get() - 1
    }
}

impl fmt::Debug for GreenletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GreenletId({self})")
    }
}

/// The count on its hub: "7" on the first hub of the process, "2.7" on its third; "r7" for the
/// 7th that was spawned there from another thread.
impl fmt::Display for GreenletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        let (hub, count) = (number >> ID_BITS, number & ((1 << ID_BITS) - 1));
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
    /// The same, of something that other OS threads can reach, if there are any: a lock, an event.
    Shared(&'static str),
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
            Why::Join(id) => write!(f, "greenlet #{} to finish", GreenletId::new(*id)),
            Why::Wait(count) => write!(f, "the first of {count} objects"),
            Why::Scope(count) => write!(f, "the {count} greenlets of its scope"),
            Why::Others => write!(f, "all other greenlets to finish"),
            Why::Helper(what) | Why::Shared(what) => write!(f, "{what}"),
        }
    }
}

/// One `with_timeout` that a greenlet is inside of; lives on that greenlet's stack.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    pub(crate) deadline: Cell<u64>,
    /// Entered in a destructor while the greenlet unwinds: then it is delivered there.
    pub(crate) unwinding: bool,
    /// A wait that could not be unwound has met it: see the room `cancel`.
    pub(crate) met: Cell<bool>,
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
    /// How often that was delivered again, as an error.
    pub(crate) met_again: Cell<u32>,
    /// The thread-locals that it runs with; `None` for those of whoever runs the hub.
    #[cfg(feature = "monkey")]
    pub(crate) identity: RefCell<Option<Arc<Identity>>>,
    /// Errors that the patch has promised it.
    #[cfg(feature = "monkey")]
    pub(crate) owed: Cell<Option<Box<Owed>>>,
    /// What it waits for as only std's `Command::output` does.
    #[cfg(feature = "monkey")]
    pub(crate) output_pipes: Cell<Option<Box<OutputPipes>>>,
    /// When it was launched, by the hub's clock.
    pub(crate) born: Cell<u64>,
    /// What it has called itself, as a thread does (pthread_setname_np), up to a zero byte.
    #[cfg(feature = "monkey")]
    pub(crate) label: Cell<[u8; 16]>,
    /// The coroutine on whose stack it stands, if not on its own.
    pub(crate) innermost: Cell<Option<CoroutineId>>,
    /// Its number as an owner of reentrant locks; 0 until it has one.
    pub(crate) owner_number: Cell<u64>,
    /// A count of this task that its last waker has left here for the next: to give it back and
    /// take it again is two locked instructions. Gone when the task has ended.
    pub(super) spare: Cell<Option<TaskRef>>,
    /// The values of `green_local!` and `tree_local!`.
    pub(crate) storage: Storage,
}

impl Local {
    fn new() -> Local {
        Local {
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
            met_again: Cell::new(0),
            spare: Cell::new(None),
            #[cfg(feature = "monkey")]
            identity: RefCell::new(None),
            #[cfg(feature = "monkey")]
            label: Cell::new([0; 16]),
            #[cfg(feature = "monkey")]
            owed: Cell::new(None),
            #[cfg(feature = "monkey")]
            output_pipes: Cell::new(None),
            born: Cell::new(0),
            innermost: Cell::new(None),
            owner_number: Cell::new(0),
            storage: Storage::new(),
        }
    }

    /// The frame is over: its error is owed no more.
    #[cfg(feature = "monkey")]
    pub(crate) fn forget_owed(&self, frame: u64) {
        let owed = self.owed.take();
        self.owed.set(owed.filter(|owed| owed.due != frame));
    }

    /// Calls `f` with what it has called itself. Allocates nothing.
    #[cfg(feature = "monkey")]
    fn with_label<R>(&self, f: impl FnOnce(&str) -> R) -> Option<R> {
        let label = self.label.get();
        let name = label.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(name).ok()?;
        (!name.is_empty()).then(|| f(name))
    }

    #[cfg(not(feature = "monkey"))]
    fn with_label<R>(&self, _: impl FnOnce(&str) -> R) -> Option<R> {
        None
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

    fn remove(&mut self, id: u64) -> Option<Exit> {
        let first = self.first.take_if(|(other, _)| *other == id);
        let removed = first.or_else(|| {
            let others = self.others.as_mut()?;
            let position = others.iter().position(|(other, _)| *other == id)?;
            others.remove(position)
        });
        removed.map(|(_, exit)| exit)
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.as_ref().is_none_or(|others| others.is_empty())
    }
}

/// Phases of a task's end, as other threads see them; each is one bit.
const ALIVE: u8 = 0;
/// Something is to happen at the end.
const AWAITED: u8 = 1;
const ENDED: u8 = 2;
/// Nobody wants the result, said from another OS thread than the hub's.
const DETACHED: u8 = 4;

/// One greenlet, as its hub sees it.
#[repr(C)]
pub(crate) struct Task {
    pub(crate) killed: AtomicBool,
    /// A wait has met the kill without being unwound. Written by the hub's OS thread, read after
    /// the end by all.
    pub(crate) kill_met: AtomicBool,
    /// The token of `unpark`.
    pub(crate) token: AtomicBool,
    phase: AtomicU8,
    /// Nobody wants the result, said on the hub's own OS thread.
    detached: AtomicBool,
    /// Kills and timeouts that unwind its stack now, or were caught and not yet dropped.
    pub(crate) cancellations: AtomicU32,
    pub(super) count: Count,
    /// 0 for the root, for others one more than their index in the hub's table of tasks;
    /// `u32::MAX` until they have one. Written by the hub's OS thread, read by all.
    minimal_id: AtomicU32,
    local: Local,
    /// The id of the greenlet that has spawned it; `u64::MAX` for none.
    pub(crate) spawner: AtomicU64,
    pub(crate) id: u64,
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) hub: Arc<Shared>,
    exits: Mutex<Exits>,
    /// The memory of the task; see the file `cell`.
    pub(super) cell: NonNull<Task>,
    pub(super) layout: &'static Layout,
}

// SAFETY: `local` is reached only through `Task::local`, whose callers are on the OS thread of
// the task's hub; all other fields are immutable or synchronise themselves. What `local` owns
// is taken out on the hub's thread, so that no other thread drops it: the coroutine when it has
// returned, and what the storage holds before that, when the greenlet's body closes it for good
// (`greenlet::launch`). A task that never runs to its end (its thread has ended, it was declared
// abandoned) is never dropped: its hub held it, and has not let go of it.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    /// What is to be written to `cell`, which was allocated with `layout`.
    #[inline]
    pub(super) fn new(
        hub: Arc<Shared>,
        id: u64,
        name: Option<Box<str>>,
        spawned_at: &'static Location<'static>,
        cell: NonNull<Task>,
        layout: &'static Layout,
    ) -> Task {
        Task {
            local: Local::new(),
            id,
            name,
            spawned_at,
            hub,
            minimal_id: AtomicU32::new(u32::MAX),
            killed: AtomicBool::new(false),
            kill_met: AtomicBool::new(false),
            token: AtomicBool::new(false),
            phase: AtomicU8::new(ALIVE),
            cancellations: AtomicU32::new(0),
            detached: AtomicBool::new(false),
            spawner: AtomicU64::new(u64::MAX),
            exits: Mutex::default(),
            count: Count::one(false),
            cell,
            layout,
        }
    }

    /// Lets go of all that the task owns, but for its count of the hub's shared half. Its end
    /// has done so already with nearly everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.name = None;
        if *self.phase.get_mut() & ENDED == 0 {
            self.local = Local::new();
            self.exits = Mutex::default();
        }
    }

    /// Makes a new task of one that has been cleared, on the same hub.
    #[inline]
    pub(super) fn renew(
        &mut self,
        id: u64,
        name: Option<Box<str>>,
        spawned_at: &'static Location<'static>,
    ) {
        self.local = Local::new();
        (self.id, self.name, self.spawned_at) = (id, name, spawned_at);
        self.minimal_id = AtomicU32::new(u32::MAX);
        self.killed = AtomicBool::new(false);
        self.kill_met = AtomicBool::new(false);
        self.token = AtomicBool::new(false);
        self.cancellations = AtomicU32::new(0);
        self.spawner = AtomicU64::new(u64::MAX);
        self.phase = AtomicU8::new(ALIVE);
        self.detached = AtomicBool::new(false);
        self.count = Count::one(false);
    }

    /// The half that belongs to the hub's OS thread; to be called there only.
    #[inline]
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// It is over, or never was: its hub's OS thread is to be seen here.
    #[cfg(feature = "monkey")]
    pub(crate) fn leave_identity(&self) {
        let identity = self.local().identity.take();
        identity.iter().for_each(|identity| identity.leave());
    }

    pub(crate) fn greenlet_id(&self) -> GreenletId {
        GreenletId::new(self.id)
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
        self.phase.load(Ordering::Acquire) & ENDED != 0
    }

    /// Notes that nobody wants the result; to be called on the hub's OS thread.
    pub(crate) fn detach_here(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    /// As [`Task::detach_here`], from any other thread; `false` if the task has ended before.
    pub(crate) fn detach_from_afar(&self) -> bool {
        self.phase.fetch_or(DETACHED, Ordering::AcqRel) & ENDED == 0
    }

    /// Whether nobody wants the result, as far as is known.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed) || self.phase.load(Ordering::Acquire) & DETACHED != 0
    }

    /// Asks for something to happen at the end; `Err` gives it back if that has come already.
    pub(crate) fn at_exit(&self, exit: Exit) -> Result<u64, Exit> {
        let mut exits = lock(&self.exits);
        // Noted under the lock: `end` sees either the new phase here or the entry there.
        let before = self.phase.fetch_or(AWAITED, Ordering::AcqRel);
        if before & ENDED != 0 {
            return Err(exit);
        }
        Ok(exits.push(exit))
    }

    /// Takes back what `at_exit` noted; false when it has happened or is happening.
    pub(crate) fn revoke_exit(&self, id: u64) -> bool {
        let mut exits = lock(&self.exits);
        let removed = exits.remove(id);
        drop(exits);
        // Dropped without the lock: what it owns may be foreign.
        removed.is_some()
    }

    /// Declares the task ended and has `each` do what is to be done about it, one after the
    /// other: so one that is revoked meanwhile does not happen. Returns whether another thread
    /// has said before that nobody wants the result.
    pub(crate) fn end(&self, mut each: impl FnMut(Exit)) -> bool {
        let before = self.phase.swap(ENDED, Ordering::AcqRel);
        let mut left = before & AWAITED != 0;
        while left {
            let mut exits = lock(&self.exits);
            let exit = exits.pop();
            // None can come any more.
            left = !exits.is_empty();
            drop(exits);
            exit.into_iter().for_each(&mut each);
        }
        before & DETACHED != 0
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

/// Where a task was spawned, for reports.
pub(crate) struct Origin<'a>(&'a Task);

/// Knows better than the task itself where that was spawned.
static TELLER: OnceLock<fn(&Task) -> Option<String>> = OnceLock::new();

/// Names who is asked from now on. The first one stays.
#[cfg(feature = "monkey")]
pub(crate) fn ask_for_origins(teller: fn(&Task) -> Option<String>) {
    TELLER.get_or_init(|| teller);
}

impl Task {
    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin(self)
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TELLER.get().and_then(|teller| teller(self.0)) {
            Some(told) => f.write_str(&told),
            None => fmt::Display::fmt(self.0.spawned_at, f),
        }
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

/// A task of the present thread's hub, with all that it is known by there: who a thread is in a
/// patched program has only the name that it gives itself.
pub(crate) struct Known<'a>(pub(crate) &'a Task);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let written = self
            .0
            .local()
            .with_label(|name| write!(f, ", thread '{name}'"));
        written.unwrap_or(Ok(()))
    }
}

impl Known<'_> {
    /// The name that it was given, or else the one that it has given itself.
    pub(crate) fn name(&self) -> Option<String> {
        let given = self.0.name.as_deref().map(String::from);
        given.or_else(|| self.0.local().with_label(|name| name.to_owned()))
    }
}

/// A task by address, without a count: for queues of the hub that owns it.
///
/// Valid as long as the hub holds the task, which is from its launch until it has ended and its
/// coroutine has returned; the hub keeps no pointer beyond that. Its root the hub counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPtr(NonNull<Task>);

impl TaskPtr {
    pub(crate) fn new(task: &Task) -> TaskPtr {
        TaskPtr(task.cell)
    }

    #[inline]
    pub(crate) fn get<'a>(self) -> &'a Task {
        // SAFETY: see the type's description; what is held is not freed.
        unsafe { self.0.as_ref() }
    }

    /// One count more.
    pub(crate) fn counted(self) -> TaskRef {
        TaskRef::of(self.get())
    }
}

impl fmt::Debug for TaskPtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.get(), f)
    }
}
