//! Start greenlets on the hub of another OS thread, and see what the one of this thread does.
//!
//! A hub is the scheduler of one OS thread. It is made when it is first needed, so nobody has to
//! come here to spawn or to wait. What one comes here for:
//!
//! | to | there is |
//! |---|---|
//! | start a greenlet on another OS thread | [`current`] there, [`HubHandle::spawn`] here |
//! | wait until all other greenlets have ended | [`wait_idle`] |
//! | see what each greenlet waits for | [`dump`] |
//! | count greenlets, timers, stacks, switches | [`stats`] |
//! | see how deep stacks are used | [`stack_census`] |
//! | be told of each spawn, switch and end | [`subscribe`] |
//! | prove that something lets the others run | [`assert_switches`] |
//! | see all hubs of the process, or be told of blocked ones | [`inspect`](crate::inspect) |
//!
//! # Examples
//! A second hub, on an OS thread of its own, runs what it is sent until its root is unparked:
//! ```
//! use std::{sync::mpsc, thread};
//!
//! let (sender, receiver) = mpsc::channel();
//! let worker = thread::spawn(move || {
//!     sender.send((greenroom::hub::current(), greenroom::current())).unwrap();
//!     greenroom::thread::park();
//! });
//! let (hub, root) = receiver.recv().unwrap();
//!
//! let greenlet = hub.spawn(|| thread::current().id());
//! assert_eq!(greenlet.join().unwrap(), worker.thread().id());
//! root.unpark();
//! worker.join().unwrap();
//! ```
//!
//! # Inside
//! ```text
//!            +--------------------- one turn ----------------------+
//!            |                                                     |
//!   run queue: resume, at most 256 and for at most 1 ms            |
//!            |                                                     |
//!   inbox:   wakes and spawns that other threads have sent         |
//!            |                                                     |
//!   poll:    wait for descriptors (no longer than the next timer)  |
//!            |  wake who waits for them                            |
//!   timers:  wake whose time has come (after I/O, so that I/O wins)|
//!            +-----------------------------------------------------+
//! ```
//!
//! There is no thread or stack of its own for this: the *root*, which is whatever runs on the
//! OS thread's native stack, runs turns while it is parked. All other greenlets switch to the
//! root's stack to park and are resumed from there.
//!
//! Which file first: `task` (states), `turn` (the picture above), then this one.

mod assert;
mod background;
#[allow(
    unsafe_code,
    reason = "tasks are counted, and their memory is used again"
)]
mod cell;
mod count;
#[allow(unsafe_code, reason = "the thread-local pointer to the hub")]
mod current;
pub(crate) mod ended;
mod events;
mod handle;
pub(crate) mod helpers;
mod hook;
mod inbox;
mod later;
pub(crate) mod nested;
#[cfg(feature = "monkey")]
pub(crate) mod owed;
pub(crate) mod owner;
pub(crate) mod pulse;
pub(crate) mod remote;
pub(crate) mod sim;
pub(crate) mod slots;
mod stats;
pub(crate) mod storage;
mod stuck;
#[allow(unsafe_code, reason = "switches between stacks")]
mod switch;
#[allow(unsafe_code, reason = "tasks are shared between threads, in halves")]
pub(crate) mod task;
mod turn;
pub(crate) mod waker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

pub use assert::assert_switches;
pub(crate) use background::Background;
pub(crate) use cell::{Slot, TaskRef, new_task};
#[cfg(feature = "monkey")]
pub(crate) use current::forget_hub;
pub(crate) use current::{current_hub, run_on_fresh_hub, watch_forks, with_hub};
pub use events::{Event, Subscription, subscribe};
pub use handle::{HubHandle, current, dump, stack_census, stats, try_current, wait_idle};
pub use nested::CoroutineId;
pub(crate) use remote::{Message, Shared};
pub use stats::Stats;
pub(crate) use stuck::{Help, park_without_hub};
#[cfg(feature = "monkey")]
pub(crate) use task::ask_for_origins;
pub(crate) use task::{Exit, Known, State, Task, TaskPtr, Why};

use crate::poller::{Interest, Key, Poller};
use crate::stack::{Pool, overflow};
use crate::sys::event_fd::EventFd;
use crate::sys::report::report;
use crate::sys::{self, panics};
use crate::timer::{self, Timers};
use sim::World;

/// The scheduler of one OS thread.
pub(crate) struct Hub {
    pub(crate) shared: Arc<Shared>,
    root: TaskRef,
    /// Who runs: the root, a greenlet, or nobody while the hub itself does.
    running: Cell<Option<TaskPtr>>,
    run_queue: RefCell<VecDeque<TaskPtr>>,
    idlers: RefCell<VecDeque<TaskPtr>>,
    tasks: RefCell<slots::Slots<TaskPtr>>,
    pub(crate) cells: cell::Cells,
    timers: RefCell<Timers<TaskPtr>>,
    pub(crate) poller: RefCell<Poller<TaskPtr>>,
    stacks: RefCell<Pool>,
    pub(crate) world: World,
    /// Of which process it is, in number of forks.
    forks: u32,
    /// The signals that its OS thread did not take when it was made.
    #[cfg(feature = "monkey")]
    pub(crate) signals_blocked: u64,
    /// The clock as of this turn.
    now: Cell<u64>,
    turn: turn::Progress,
    events: events::Events,
    pub(crate) counters: stats::Counters,
    frame_ids: Cell<u64>,
    greenlet_ids: Cell<u64>,
    /// Parked tasks that something outside this hub will wake, which nothing here shows.
    pub(crate) helped: Rc<Cell<usize>>,
    /// Waits for what other OS threads may have as well, if there are any.
    pub(crate) perhaps_helped: Rc<Cell<usize>>,
    /// Greenlets that `wait_idle` does not wait for.
    background: Rc<Cell<usize>>,
    lookout: stuck::Lookout,
    /// Who waits for the end of all others.
    outwaiters: RefCell<Vec<TaskPtr>>,
    /// Set when nothing can wake the root any more: what it is to panic with.
    stuck: RefCell<Option<String>>,
    /// The root parks in a destructor: it must not panic now.
    root_unwinds: Cell<bool>,
    /// The number of the code that the hub itself calls, as an owner of reentrant locks.
    owner_number: Cell<u64>,
    _alt_stack: Option<overflow::AltStack>,
}

impl Hub {
    fn new(world: World) -> io::Result<Rc<Hub>> {
        hook::install();
        later::install();
        current::watch_forks();
        let bell = EventFd::new()?;
        let poller = Poller::new(&bell, world.sim().is_some())?;
        let shared = Arc::new(Shared::new(bell, poller.epoll()));
        let name = thread::current().name().map(Box::from);
        let id = shared.id_of(0);
        let (root, _) = new_task::<()>(&shared, None, id, name, Location::caller());
        root.local().state.set(State::Running);
        root.set_minimal_id(0);
        let now = world.now();
        root.local().born.set(now);
        pulse::enlist(&shared);
        Ok(Rc::new(Hub {
            running: Cell::new(Some(TaskPtr::new(&root))),
            shared,
            root,
            run_queue: RefCell::default(),
            idlers: RefCell::default(),
            tasks: RefCell::new(slots::Slots::new()),
            cells: cell::Cells::default(),
            timers: RefCell::new(Timers::new()),
            poller: RefCell::new(poller),
            stacks: RefCell::new(Pool::new()),
            world,
            forks: sys::fork::generation(),
            #[cfg(feature = "monkey")]
            signals_blocked: sys::signal::blocked(),
            now: Cell::new(now),
            turn: turn::Progress::new(),
            events: events::Events::new(pulse::are_wanted()),
            counters: stats::Counters::default(),
            frame_ids: Cell::new(0),
            greenlet_ids: Cell::new(0),
            helped: Rc::default(),
            perhaps_helped: Rc::default(),
            background: Rc::default(),
            lookout: stuck::Lookout::default(),
            outwaiters: RefCell::default(),
            stuck: RefCell::default(),
            root_unwinds: Cell::new(false),
            owner_number: Cell::new(owner::NOBODY),
            _alt_stack: overflow::ensure_alt_stack(),
        }))
    }

    /// Who runs now; `None` while the hub itself does, in code that must not park.
    #[inline]
    pub(crate) fn running(&self) -> Option<TaskPtr> {
        self.running.get()
    }

    /// Who runs now, if it is not the root.
    pub(crate) fn running_greenlet(&self) -> Option<TaskPtr> {
        self.running().filter(|task| !self.is_root(*task))
    }

    pub(crate) fn root(&self) -> &TaskRef {
        &self.root
    }

    pub(crate) fn owns(&self, task: &Task) -> bool {
        Arc::ptr_eq(&self.shared, &task.hub)
    }

    /// The clock as of this turn: free, and never ahead of [`Hub::fresh_now`].
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// The clock now. A sleep is measured from here, also after a burst of computation.
    pub(crate) fn fresh_now(&self) -> u64 {
        self.world.now()
    }

    /// Whether nothing of the hub is in the middle of a change: then code that it has called,
    /// directly or by way of a logger or an allocator, may switch.
    pub(crate) fn is_at_ease(&self) -> bool {
        self.run_queue.try_borrow_mut().is_ok()
            && self.poller.try_borrow_mut().is_ok()
            && self.timers.try_borrow_mut().is_ok()
            && self.tasks.try_borrow_mut().is_ok()
            && self.stacks.try_borrow_mut().is_ok()
            && self.idlers.try_borrow_mut().is_ok()
            && self.outwaiters.try_borrow_mut().is_ok()
            && self.cells.are_at_ease()
            && self.events.are_at_ease()
    }

    /// Makes a parked task of this hub runnable; nothing for any other. One that is to start
    /// late is not started by this, unless it has been killed.
    #[inline]
    pub(crate) fn wake(&self, task: &Task) {
        self.rouse(task);
    }

    /// As [`Hub::wake`]; returns whether it was parked.
    #[inline]
    fn rouse(&self, task: &Task) -> bool {
        let awaits_its_time =
            task.local().why.get() == Why::Start && !task.killed.load(Ordering::Relaxed);
        !awaits_its_time && self.wake_or_start(task)
    }

    #[inline]
    fn wake_or_start(&self, task: &Task) -> bool {
        let parked = task.local().state.get() == State::Parked;
        if parked {
            self.make_runnable(TaskPtr::new(task));
        }
        parked
    }

    #[inline]
    fn make_runnable(&self, task: TaskPtr) {
        let local = task.get().local();
        debug_assert_eq!(local.state.get(), State::Parked);
        local.state.set(State::Runnable);
        self.run_queue.borrow_mut().push_back(task);
    }

    /// Parks whoever runs until it is woken, at the latest at `deadline`. May return early for
    /// no reason: the caller looks again at what it waits for.
    #[inline]
    pub(crate) fn park(&self, why: Why, deadline: Option<u64>) {
        self.note_why(why);
        self.park_noted_apart(deadline);
    }

    #[inline(never)]
    fn park_noted_apart(&self, deadline: Option<u64>) {
        self.park_noted(deadline);
    }

    /// Notes what the next park waits for.
    #[inline(always)]
    pub(crate) fn note_why(&self, why: Why) {
        if let Some(task) = self.running() {
            task.get().local().why.set(why);
        }
    }

    /// As [`Hub::park`], for what has been noted.
    #[inline(always)]
    pub(crate) fn park_noted(&self, deadline: Option<u64>) {
        match self.running() {
            Some(task) if !thread::panicking() => self.park_task(task, deadline),
            running => self.park_in_a_strait(running, deadline),
        }
    }

    #[cold]
    fn park_in_a_strait(&self, running: Option<TaskPtr>, deadline: Option<u64>) {
        match running {
            Some(task) => self.park_while_panicking(task, deadline),
            None => self.wait_natively(None, deadline),
        }
    }

    /// A destructor parks while its greenlet unwinds: its panic count goes to sleep with it,
    /// and where that can't be done the OS thread waits instead.
    #[cold]
    fn park_while_panicking(&self, task: TaskPtr, deadline: Option<u64>) {
        match panics::take() {
            Some(count) => {
                // Others that do the same meanwhile come and go in any order: not theirs to say.
                let root_unwinds = self.is_root(task);
                if root_unwinds {
                    self.root_unwinds.set(true);
                }
                self.park_task(task, deadline);
                if root_unwinds {
                    self.root_unwinds.set(false);
                }
                panics::put(count);
            }
            None => {
                let fd = match task.get().local().why.get() {
                    Why::Readable(fd) => Some((fd, Interest::Read)),
                    Why::Writable(fd) => Some((fd, Interest::Write)),
                    _ => None,
                };
                self.wait_natively(fd, deadline);
            }
        }
    }

    #[inline(always)]
    fn park_task(&self, task: TaskPtr, deadline: Option<u64>) {
        let local = task.get().local();
        debug_assert_eq!(local.state.get(), State::Running, "only who runs can park");
        local.since.set(self.now());
        let wake_at = deadline.unwrap_or(u64::MAX).min(local.alarm.get());
        let timer = (wake_at != u64::MAX).then(|| self.arm(wake_at, task));
        local.state.set(State::Parked);
        if cfg!(greenroom_spurious_wakes) && self.turn.coin() {
            self.make_runnable(task);
        }
        if let Some(sim) = self.world.sim() {
            self.simulate_park(sim, task);
        }
        let helped = matches!(local.why.get(), Why::Shared(_));
        if helped {
            self.perhaps_helped.set(self.perhaps_helped.get() + 1);
        }
        self.switch_out(task);
        if helped {
            self.perhaps_helped.set(self.perhaps_helped.get() - 1);
        }
        if let Some(timer) = timer {
            self.disarm(timer);
        }
        if self.is_root(task) {
            self.panic_if_stuck();
        }
    }

    // Apart, so that a park without a timer is short enough to be written out where it is.
    #[inline(never)]
    fn arm(&self, wake_at: u64, task: TaskPtr) -> timer::Key {
        self.timers.borrow_mut().arm(wake_at, task)
    }

    #[inline(never)]
    fn disarm(&self, timer: timer::Key) {
        self.timers.borrow_mut().cancel(timer);
    }

    /// Goes to the end of the run queue.
    pub(crate) fn yield_now(&self) {
        let Some(task) = self.running() else { return };
        let count = if thread::panicking() {
            let Some(count) = panics::take() else { return };
            Some(count)
        } else {
            None
        };
        task.get().local().state.set(State::Runnable);
        self.run_queue.borrow_mut().push_back(task);
        self.switch_out(task);
        if self.is_root(task) {
            self.panic_if_stuck();
        }
        if let Some(count) = count {
            panics::put(count);
        }
    }

    /// Parks until nothing is runnable and no descriptor is ready.
    pub(crate) fn idle(&self) {
        let Some(task) = self.running() else { return };
        self.idlers.borrow_mut().push_back(task);
        // Who is taken off the list has been woken for it. While unwinding the park may be a
        // native one, during which the hub does not get to be idle.
        loop {
            self.park(Why::Idle, None);
            let waits = self.idlers.borrow().contains(&task);
            if !waits || self.is_interrupted() || thread::panicking() {
                break;
            }
        }
        self.idlers.borrow_mut().retain(|other| *other != task);
    }

    /// Leaves the running task's stack; returns when it runs again.
    #[inline(always)]
    fn switch_out(&self, task: TaskPtr) {
        if self.is_root(task) {
            self.turn_until_root_runs();
        } else {
            switch::suspend(task);
        }
        debug_assert_eq!(task.get().local().state.get(), State::Running);
    }

    #[inline(never)]
    fn panic_if_stuck(&self) {
        if let Some(report) = self.stuck.take() {
            panic!("{report}");
        }
    }

    #[inline]
    pub(crate) fn is_root(&self, task: TaskPtr) -> bool {
        std::ptr::eq(task.get(), &*self.root)
    }

    /// Blocks the OS thread: for code that can't switch (in the hub itself, in a panic hook).
    #[cold]
    fn wait_natively(&self, fd: Option<(i32, Interest)>, deadline: Option<u64>) {
        // Other greenlets stand still meanwhile, so nobody here can wake us: look again soon.
        const SLICE_NS: u64 = 1_000_000;
        let mut left = deadline.map_or(SLICE_NS, |deadline| {
            deadline.saturating_sub(self.fresh_now()).min(SLICE_NS)
        });
        // Virtual time has nobody else to move it now.
        if let (Some(sim), Some(deadline)) = (self.world.sim(), deadline) {
            sim.advance_to(deadline);
            left = 0;
        }
        let waited = match fd {
            Some((fd, interest)) => switch::poll_raw(fd, interest, left),
            None => sys::fd::poll(None, false, false, Some(left)),
        };
        if let Err(error) = waited {
            report!(Debug, "greenroom: poll(2) of {fd:?} failed: {error}");
        }
        // Whoever waits for a descriptor is told of it by the registry, even here.
        if fd.is_some() {
            self.collect(Some(0));
        }
        self.now.set(self.fresh_now());
        self.receive_mail();
    }

    /// Begins to watch `fd` on this hub.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, known_as: RawFd) -> io::Result<Key> {
        #[cfg(feature = "monkey")]
        self.take_from_number(fd);
        self.poller.borrow_mut().register(fd, known_as)
    }

    /// A descriptor that was watched by its number alone has got an owner now.
    #[cfg(feature = "monkey")]
    fn take_from_number(&self, fd: BorrowedFd<'_>) {
        let known = self.poller.borrow_mut().numbers.remove(fd.as_raw_fd());
        if let Some(known) = known {
            self.deregister(known.key, fd);
        }
    }

    /// Stops watching; whoever waits is woken and finds its key stale: EBADF.
    pub(crate) fn deregister(&self, key: Key, fd: BorrowedFd<'_>) -> usize {
        let orphans = self.poller.borrow_mut().deregister(key, fd);
        orphans.iter().for_each(|task| self.wake(task.get()));
        orphans.len()
    }

    /// Wakes whoever waits for `fd`, to find its key stale; returns how many there were.
    pub(crate) fn cancel_waits(&self, fd: BorrowedFd<'_>) -> usize {
        let keys = self.poller.borrow_mut().registry().keys_of(fd.as_raw_fd());
        keys.into_iter().map(|key| self.deregister(key, fd)).sum()
    }

    /// One operation has succeeded without parking.
    #[inline]
    pub(crate) fn count_operation(&self) {
        self.turn.spend_operation();
    }

    /// How many wait to run.
    #[cfg(feature = "monkey")]
    pub(crate) fn runnable(&self) -> usize {
        self.run_queue.borrow().len()
    }

    /// After enough such operations in a row the next one is to let others have their turn, or
    /// an always-ready socket would starve them.
    #[inline]
    pub(crate) fn is_budget_spent(&self) -> bool {
        self.turn.is_budget_spent()
    }

    /// Whether the greenlet that runs is to let others run, since it has just woken one of them.
    #[cfg(feature = "monkey")]
    pub(crate) fn steps_aside(&self) -> bool {
        self.runnable() > 0 && self.turn.steps_aside()
    }

    /// A number that no other timeout of this hub has had; 0 is none.
    pub(crate) fn next_frame_id(&self) -> u64 {
        self.frame_ids.set(self.frame_ids.get() + 1);
        self.frame_ids.get()
    }

    /// An id for a greenlet that is spawned here. The root has the first.
    pub(crate) fn next_greenlet_id(&self) -> u64 {
        self.greenlet_ids.set(self.greenlet_ids.get() + 1);
        self.shared.id_of(self.greenlet_ids.get())
    }

    /// Parks the root until all others have ended; false at the deadline, at a kill or a timeout
    /// from outside, or when they never will because nothing is left that could wake them.
    /// Those in the background may be spared the wait.
    pub(crate) fn wait_for_others(&self, deadline: Option<u64>, spare_background: bool) -> bool {
        let me = usize::from(self.running().is_some_and(|task| !self.is_root(task)));
        let spared = || {
            if spare_background {
                self.background.get()
            } else {
                0
            }
        };
        let all_ended = || self.alive() <= me + spared();
        loop {
            // What has been sent here, and not yet looked at, is to finish as well.
            self.receive_mail();
            if all_ended() && !self.shared.has_mail() {
                return true;
            }
            if deadline.is_some_and(|deadline| deadline <= self.now()) || self.is_interrupted() {
                return false;
            }
            self.park_until_one_has_ended(deadline);
            if self.run_queue.borrow().is_empty() && self.timers.borrow().len() == 0 {
                let stuck = self.is_stuck();
                if stuck {
                    return all_ended();
                }
            }
        }
    }

    /// Whether a kill or a timeout waits for whoever runs: the room `cancel` delivers it at the
    /// next park that can unwind.
    fn is_interrupted(&self) -> bool {
        self.running().is_some_and(|task| {
            let (task, local) = (task.get(), task.get().local());
            let killed = task.killed.load(Ordering::Acquire) && local.shields.get() == 0;
            killed && !thread::panicking() || local.alarm.get() <= self.now()
        })
    }

    fn park_until_one_has_ended(&self, deadline: Option<u64>) {
        let task = self.running();
        self.outwaiters.borrow_mut().extend(task);
        self.park(Why::Others, deadline);
        self.outwaiters
            .borrow_mut()
            .retain(|other| Some(*other) != task);
    }

    /// Notes that whoever runs has spawned `task`, unless somebody elsewhere has.
    pub(crate) fn note_spawner(&self, task: &Task) {
        if let Some(running) = self.running() {
            let _ = task.spawner.compare_exchange(
                u64::MAX,
                running.get().id,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Number of greenlets that have been launched and have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Is there a greenlet with thread-locals of its own that libc knows by this thread id?
    /// Allocates nothing.
    #[cfg(feature = "monkey")]
    pub(crate) fn has_thread_id(&self, id: u32) -> bool {
        let is_it = |task: &TaskPtr| {
            let identity = task.get().local().identity.borrow();
            identity
                .as_ref()
                .is_some_and(|identity| identity.thread_id() == id)
        };
        self.tasks.borrow().iter().any(is_it)
    }

    /// Calls `visit` with every greenlet that has not ended.
    pub(crate) fn each_task(&self, visit: impl FnMut(&TaskRef)) {
        let tasks = self.tasks.borrow();
        let counted: Vec<_> = tasks.iter().map(|task| task.counted()).collect();
        drop(tasks);
        counted.iter().for_each(visit);
    }
}
