//! The memory of a task: one block for the task and its greenlet's result, counted, used again.
//!
//! ```text
//!               +--------------------------------------+--------------------+
//!   Cell<R>     | Task  (count, layout, hub, ...)     | result: Option<R>  |
//!               +--------------------------------------+--------------------+
//!                 ^        ^            ^                ^
//!            TaskRef    TaskRef      TaskPtr           Slot<R>
//!            (counted handles)   (the hub's own)   (who writes or reads the result)
//! ```
//!
//! A locked instruction costs as much as an allocation, and all that was stored before has to
//! wait for it. So a spawn and its join have none for the count:
//! * The hub holds a task that is born on it without a count, by the flag `housed`. While that is
//!   set, only the hub's OS thread may let go of the last count; another thread sends it home
//!   instead. No thread can see it set too late, for it is set before any other knows the task.
//!   So a task that is sent to the hub, by a thread that knows it already, is held by a count.
//! * There, who lets go of a count sees by a plain load that it is the last: where there is no
//!   other, and no hub, there is nobody who could make one.
//!
//! What counts knows no `R`. So the end of the last count frees the memory and drops the task,
//! never the result: that is taken out by whoever has the right to it (see `greenlet::packet`),
//! and if nobody ever does, because a handle was forgotten, then the count of that handle keeps
//! the cell for good.
//!
//! A cell that is let go of on its own hub's OS thread is kept there for the next spawn, its
//! task with all that it owned gone but for its count of the hub's shared half.

use std::alloc::{self, Layout};
use std::cell::{RefCell, UnsafeCell};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::count::{Count, Then};
use super::remote::{Message, Shared};
use super::task::{Task, TaskPtr};
use super::{Hub, with_hub};

/// What a cell takes whose result is small: these are all of one size, and used again.
const LAYOUT_KEPT: &Layout = Cell::<[usize; 5]>::LAYOUT;
/// How many cells a hub keeps for later spawns: 2 MB.
const CELLS_KEPT: usize = 4096;

/// See the head of this file.
#[repr(C)]
struct Cell<R> {
    task: Task,
    result: UnsafeCell<Option<R>>,
}

impl<R> Cell<R> {
    const LAYOUT: &'static Layout = &Layout::new::<Cell<R>>();
}

/// Makes a task with a place for a result of type `R`, counted once.
///
/// If it is to be launched right here, then `home` is its hub: that houses it from now on, and
/// may have a cell for it.
pub(crate) fn new_task<R>(
    hub: &Arc<Shared>,
    home: Option<&Hub>,
    id: u64,
    name: Option<Box<str>>,
    spawned_at: &'static Location<'static>,
) -> (TaskRef, Slot<R>) {
    let needed = Cell::<R>::LAYOUT;
    let fits = needed.size() <= LAYOUT_KEPT.size() && needed.align() <= LAYOUT_KEPT.align();
    let used = home.filter(|_| fits).and_then(|home| home.cells.take());
    let cell = match used {
        Some(task) => {
            // SAFETY: what is kept is a whole task, and nobody else's any more.
            unsafe { (*task.as_ptr()).renew(id, name, spawned_at) };
            task.cast::<Cell<R>>()
        }
        None => {
            let layout = if fits { LAYOUT_KEPT } else { needed };
            // SAFETY: a layout with a task in it is not empty.
            let memory = NonNull::new(unsafe { alloc::alloc(*layout) });
            let cell = memory.unwrap_or_else(|| alloc::handle_alloc_error(*layout));
            let cell = cell.cast::<Cell<R>>();
            let task = Task::new(Arc::clone(hub), id, name, spawned_at, cell.cast(), layout);
            // SAFETY: the block is large enough and aligned for a `Cell<R>`.
            unsafe { (&raw mut (*cell.as_ptr()).task).write(task) };
            cell
        }
    };
    // SAFETY: as above. A cell that is used again had another type's result here, long gone.
    unsafe {
        (&raw mut (*cell.as_ptr()).result).write(UnsafeCell::new(None));
        (*cell.as_ptr()).task.count = Count::one(home.is_some());
    }
    (TaskRef(cell.cast()), Slot(cell))
}

/// A counted pointer to a task: an `Arc` whose task a hub can use again.
pub(crate) struct TaskRef(NonNull<Task>);

// SAFETY: as `Arc`: a task is `Send` and `Sync`, and counted atomically.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// One count more, for a task that is counted, or held by this OS thread's hub.
    pub(super) fn of(task: &Task) -> TaskRef {
        task.count.add();
        TaskRef(task.cell)
    }
}

#[cfg(test)]
impl TaskRef {
    /// How often it is counted, this one included.
    pub(crate) fn counts(&self) -> usize {
        self.count.refs()
    }
}

impl Deref for TaskRef {
    type Target = Task;

    #[inline]
    fn deref(&self) -> &Task {
        // SAFETY: counted, so it lives.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for TaskRef {
    #[inline]
    fn clone(&self) -> TaskRef {
        TaskRef::of(self)
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        with_hub(|hub| match hub {
            Some(hub) if hub.owns(self) => self.let_go_at_home(hub),
            _ => self.let_go_abroad(),
        });
    }
}

impl TaskRef {
    /// Lets go of this count, on the OS thread of the task's hub.
    #[inline]
    fn let_go_at_home(&self, hub: &Hub) {
        if self.count.drop_at_home() {
            // SAFETY: the last count was this one, and the hub does not hold the task any more.
            unsafe { free(self.0, Some(hub)) }
        }
    }

    /// As [`TaskRef::let_go_at_home`], on any other thread.
    #[inline(never)]
    fn let_go_abroad(&self) {
        match self.count.drop_abroad(|| self.hub.is_closed()) {
            Then::Nothing => {}
            // SAFETY: as above; and what the hub did with it happened before.
            Then::Free => unsafe { free(self.0, None) },
            Then::SendHome => self.send_home(),
        }
    }

    /// Has the hub that holds the task let go of this count, which is the last.
    #[cold]
    fn send_home(&self) {
        // The message may be received, and the task be gone, before it is quite sent.
        let home = Arc::clone(&self.hub);
        home.send(Message::Return(TaskRef(self.0)));
    }
}

/// The hub lets go of `task`, and must have no pointer to it left.
///
/// # Safety
/// `hub` held it, since it was launched there, and its coroutine has returned.
pub(super) unsafe fn evict(task: TaskPtr, hub: &Hub) {
    let at = task.get().cell;
    if !task.get().count.is_housed() {
        // The count with which it was sent here.
        return drop(TaskRef(at));
    }
    if task.get().count.evict() {
        // SAFETY: nobody counts it, and nobody but the hub could have begun to.
        unsafe { free(at, Some(hub)) }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Keeps the cell of a task on `home`, its own hub, or gives it back to the allocator.
///
/// # Safety
/// Nobody may use the task any more, nor its result.
unsafe fn free(at: NonNull<Task>, home: Option<&Hub>) {
    // SAFETY: the caller vouches for it.
    let task = unsafe { &mut *at.as_ptr() };
    task.clear();
    let layout = task.layout;
    let home = home.filter(|_| layout == LAYOUT_KEPT);
    if !home.is_some_and(|home| home.cells.keep(at)) {
        // SAFETY: the cell was allocated with this layout, and its result is gone.
        unsafe {
            ptr::drop_in_place(at.as_ptr());
            alloc::dealloc(at.as_ptr().cast(), *layout);
        }
    }
}

/// The cells that a hub keeps for later spawns: whole tasks that own nothing, LIFO.
#[derive(Debug, Default)]
pub(crate) struct Cells(RefCell<Vec<NonNull<Task>>>);

impl Cells {
    /// Is nobody in the middle of a change?
    pub(super) fn are_at_ease(&self) -> bool {
        self.0.try_borrow_mut().is_ok()
    }

    #[inline]
    fn take(&self) -> Option<NonNull<Task>> {
        self.0.borrow_mut().pop()
    }

    /// False when there are enough.
    #[inline]
    fn keep(&self, task: NonNull<Task>) -> bool {
        let mut cells = self.0.borrow_mut();
        let room = cells.len() < CELLS_KEPT;
        if room {
            cells.push(task);
        }
        room
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        for task in self.0.take() {
            // SAFETY: what is kept is a whole task that is nobody's; all have this layout.
            unsafe {
                ptr::drop_in_place(task.as_ptr());
                alloc::dealloc(task.as_ptr().cast(), *LAYOUT_KEPT);
            }
        }
    }
}

/// The place for a result, without a count: its users see to it that somebody counts the task.
pub(crate) struct Slot<R>(NonNull<Cell<R>>);

impl<R> Clone for Slot<R> {
    fn clone(&self) -> Slot<R> {
        *self
    }
}

impl<R> Copy for Slot<R> {}

impl<R> Slot<R> {
    /// The task that it belongs to.
    ///
    /// # Safety
    /// The task must be counted for as long as it is used.
    #[inline]
    pub(crate) unsafe fn task<'a>(self) -> &'a Task {
        // SAFETY: the caller vouches for it.
        unsafe { &(*self.0.as_ptr()).task }
    }

    /// The result, if there is one.
    ///
    /// # Safety
    /// The task must be counted, and nobody else may use the place meanwhile.
    #[inline]
    pub(crate) unsafe fn place<'a>(self) -> &'a mut Option<R> {
        // SAFETY: the caller vouches for it.
        unsafe { &mut *(*self.0.as_ptr()).result.get() }
    }
}

#[cfg(test)]
mod tests {
    use crate::bounded::bounded;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use crate::hub::with_hub;
    use crate::{run, spawn, yield_now};

    fn kept() -> usize {
        with_hub(|hub| hub.expect("inside of run").cells.0.borrow().len())
    }

    #[test]
    fn a_cell_is_used_again_whatever_the_type_of_its_result() {
        let _bound = bounded();
        run(|| {
            assert_eq!(spawn(|| 1_u8).join().unwrap(), 1);
            assert_eq!(kept(), 1);
            let text = spawn(|| String::from("longer"));
            assert_eq!(kept(), 0);
            assert_eq!(text.join().unwrap(), "longer");
            assert_eq!(kept(), 1);
        });
    }

    #[test]
    fn a_cell_with_a_large_result_goes_back_to_the_allocator() {
        let _bound = bounded();
        run(|| {
            assert_eq!(spawn(|| [7_u8; 4096]).join().unwrap(), [7; 4096]);
            assert_eq!(kept(), 0);
        });
    }

    #[test]
    fn no_more_cells_are_kept_than_a_burst_needs() {
        let _bound = bounded();
        run(|| {
            let burst: Vec<_> = (0..super::CELLS_KEPT + 10).map(|_| spawn(|| ())).collect();
            crate::joinall(burst);
            assert_eq!(kept(), super::CELLS_KEPT);
        });
    }

    #[test]
    fn a_detached_greenlets_cell_is_kept_at_its_end() {
        let _bound = bounded();
        run(|| {
            drop(spawn(|| ()));
            assert_eq!(kept(), 0);
            yield_now();
            assert_eq!(kept(), 1);
        });
    }

    #[test]
    fn a_count_that_another_thread_lets_go_of_last_comes_home() {
        let _bound = bounded();
        run(|| {
            let (sender, receiver) = mpsc::channel();
            let parked = spawn(crate::thread::park);
            let name = parked.thread().clone();
            drop(parked);
            thread::scope(|s| {
                s.spawn(move || drop(receiver.recv().expect("sent below")));
                sender.send(name.clone()).expect("it waits");
            });
            name.unpark();
            // The last of all, while the greenlet is still to run.
            thread::spawn(move || drop(name))
                .join()
                .expect("it does not panic");
            yield_now();
            // A turn of one resume takes its mail that much sooner.
            if !cfg!(greenroom_turn_of_one) {
                assert_eq!(kept(), 0, "the count is on its way");
            }
            crate::sleep(Duration::from_millis(1));
            assert_eq!(kept(), 1);
        });
    }

    #[test]
    fn a_task_may_outlive_its_hub() {
        let _bound = bounded();
        let name = run(|| {
            let greenlet = spawn(|| ());
            let name = greenlet.thread().clone();
            greenlet.join().unwrap();
            name
        });
        assert_eq!(name.minimal_id(), Some(1));
        thread::spawn(move || drop(name))
            .join()
            .expect("it does not panic");
    }
}
