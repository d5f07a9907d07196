//! OS threads that are greenlets: what `std::thread` and C make by pthread_create.
//!
//! ```text
//!   pthread_create(start, argument)
//!      greenlet, with thread-locals of its own       *thread = the address of its block,
//!      start(argument)                                which is what pthread_self() says in it
//!      destructors of its thread-locals
//!   pthread_join(thread) --- known here? --- no: libc's
//!                               | yes: joins the greenlet, on whatever hub or thread
//! ```
//!
//! A thread is known until it has ended and was joined or detached, and so while another joins
//! it. Its block is kept as long, so no other gets its address before. Stacks are as large as the
//! caller asks for, and take memory as they are used. Attributes of scheduling are not looked at.
//! `pthread_cancel` does not reach such a thread.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use libc::{pid_t, pthread_attr_t, pthread_t};

use super::gate::{run, step_aside};
use super::raw::{next, raw};
use super::{attributes, hooks, sites, thread_exit};
use crate::greenlet::{Builder, Greenlet, identity};
use crate::hub::{Task, with_hub};
use crate::stack::stack_around;
use crate::sys::identity::Identity;
use crate::sys::lock::lock;

/// Where all of them are spawned, as [`Location`](std::panic::Location) has it.
pub(super) const FILE: &str = file!();

pub(super) type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// What a thread returns that was killed (pthread.h: PTHREAD_CANCELED).
const CANCELED: usize = usize::MAX;

/// Those that are known, by what pthread_self() says in them.
static KNOWN: Mutex<BTreeMap<pthread_t, Green>> = Mutex::new(BTreeMap::new());
/// How many that are: nobody is looked for when there is none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A thread that is a greenlet.
pub(super) struct Green {
    pub(super) state: Join,
    pub(super) course: Arc<Course>,
    /// The kernel's id of the OS thread on which it runs.
    pub(super) os_thread: pid_t,
    pub(super) name: [u8; attributes::NAME_BYTES_MAX],
    /// Its start routine has returned.
    has_returned: bool,
    _identity: Arc<Identity>,
}

impl Green {
    pub(super) fn has_ended(&self) -> bool {
        match &self.state {
            Join::Joinable(greenlet) => greenlet.is_finished(),
            // The thread that joins it will forget it at once.
            Join::BeingJoined(_) => false,
            Join::Detached => self.has_returned,
        }
    }
}

/// What is to become of what a thread returns.
pub(super) enum Join {
    Joinable(Greenlet<()>),
    /// By the thread with this id, which has the greenlet.
    BeingJoined(pthread_t),
    Detached,
}

/// What a thread itself tells of itself.
pub(super) struct Course {
    pub(super) value: AtomicPtr<c_void>,
    /// The lowest usable address of its stack, the bytes above, and those of the guard below. Known
    /// once it has started.
    pub(super) stack: OnceLock<(usize, usize, usize)>,
}

/// Calls `look` with a thread, if it is a greenlet that is known here.
pub(super) fn with_known<T>(thread: pthread_t, look: impl FnOnce(&mut Green) -> T) -> Option<T> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    lock(&KNOWN).get_mut(&thread).map(look)
}

fn note(thread: pthread_t, green: Green) {
    let former = lock(&KNOWN).insert(thread, green);
    debug_assert!(former.is_none(), "its block was still in use");
    COUNT.fetch_add(1, Ordering::Release);
}

/// Forgets a thread that was joined, or detached and has returned.
pub(super) fn forget(thread: pthread_t) {
    // Dropped without the lock.
    let known = lock(&KNOWN).remove(&thread);
    if known.is_some() {
        COUNT.fetch_sub(1, Ordering::Release);
    }
}

/// Has nobody join the thread any more, if nobody does.
///
/// # Errors
/// EINVAL if it was detached before.
pub(super) fn detach(thread: pthread_t) -> Option<Result<(), c_int>> {
    let detached = with_known(thread, |green| match green.state {
        // As libc: the thread that joins it goes on to do so.
        Join::BeingJoined(_) => Ok(None),
        Join::Detached => Err(libc::EINVAL),
        Join::Joinable(_) => {
            let former = std::mem::replace(&mut green.state, Join::Detached);
            Ok(Some((former, green.has_returned)))
        }
    })?;
    Some(detached.map(|former| {
        if let Some((_greenlet, true)) = former {
            forget(thread);
        }
    }))
}

/// The start routine of the running thread has returned.
fn note_return(thread: pthread_t) {
    let detached = with_known(thread, |green| {
        green.has_returned = true;
        matches!(green.state, Join::Detached)
    });
    if detached == Some(true) {
        forget(thread);
    }
}

/// The start routine, which owns what its argument points to: so it has to run, also when its
/// greenlet was killed before it began and the closure is only dropped.
struct Body {
    start: Start,
    argument: *mut c_void,
    course: Arc<Course>,
    /// Where a closure that could not be spawned is dropped.
    spawner: pthread_t,
    done: bool,
}

// SAFETY: pthread_create hands both to another thread: that is what they are for.
unsafe impl Send for Body {}

impl Body {
    fn run(mut self) {
        self.call();
    }

    fn call(&mut self) {
        self.done = true;
        let here = 0u8;
        stack_around(&raw const here).map(|stack| self.course.stack.set(stack));
        thread_exit::call(self.start, self.argument, &self.course.value);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // SAFETY: takes nothing.
        let here = unsafe { libc::pthread_self() };
        if here != self.spawner {
            if !self.done {
                self.call();
            }
            sites::forget();
            note_return(here);
        }
    }
}

type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let native = || match next!(c"pthread_create" as Create) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, attributes, start, argument) as isize },
        None => libc::ENOSYS as isize,
    };
    let mut started = false;
    let green = |_: &super::gate::Green<'_>| {
        // SAFETY: null, or initialised attributes, as pthread_create demands.
        let wanted = unsafe { wanted(attributes) };
        let made = spawn(wanted, start, argument);
        started = made.is_ok();
        // SAFETY: the caller has a place for the thread.
        Some(made.map_or_else(
            |errno| errno as isize,
            |made| unsafe {
                thread.write(made);
                0
            },
        ))
    };
    let error = run(&hooks::pthread_create, green, native) as c_int;
    if started {
        step_aside();
    }
    error
}

/// What of a thread's attributes is looked at.
struct Wanted {
    stack_bytes: usize,
    detached: bool,
}

/// # Safety
/// `attributes` is null or points to initialised ones.
unsafe fn wanted(attributes: *const pthread_attr_t) -> Wanted {
    let (mut stack_bytes, mut state) = (0, libc::PTHREAD_CREATE_JOINABLE);
    let mut default = MaybeUninit::<pthread_attr_t>::uninit();
    // SAFETY: the caller's attributes, or the process's default ones; both answers have a place.
    unsafe {
        let mut asked = attributes;
        if asked.is_null() && pthread_getattr_default_np(default.as_mut_ptr()) == 0 {
            asked = default.as_ptr();
        }
        if !asked.is_null() {
            libc::pthread_attr_getstacksize(asked, &mut stack_bytes);
            pthread_attr_getdetachstate(asked, &mut state);
        }
        if ptr::eq(asked, default.as_ptr()) {
            libc::pthread_attr_destroy(default.as_mut_ptr());
        }
    }
    Wanted {
        stack_bytes,
        detached: state == libc::PTHREAD_CREATE_DETACHED,
    }
}

// In glibc, not in the crate libc.
unsafe extern "C" {
    fn pthread_getattr_default_np(attributes: *mut pthread_attr_t) -> c_int;
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

fn spawn(wanted: Wanted, start: Start, argument: *mut c_void) -> Result<pthread_t, c_int> {
    let course = Arc::new(Course {
        value: AtomicPtr::new(ptr::without_provenance_mut(CANCELED)),
        stack: OnceLock::new(),
    });
    let body = Body {
        start,
        argument,
        course: Arc::clone(&course),
        // SAFETY: takes nothing.
        spawner: unsafe { libc::pthread_self() },
        done: false,
    };
    let mut builder = Builder::new();
    if wanted.stack_bytes > 0 {
        builder = builder.stack_size(wanted.stack_bytes);
    }
    let site = sites::capture();
    let greenlet = builder
        .spawn(move || body.run())
        .map_err(|_| libc::EAGAIN)?;
    if let Some(site) = site {
        sites::note(greenlet.id(), site);
    }
    let _identity = identity::of_greenlet(&greenlet).ok_or(libc::EAGAIN)?;
    let thread = _identity.address() as pthread_t;
    let green = Green {
        state: match wanted.detached {
            true => Join::Detached,
            false => Join::Joinable(greenlet),
        },
        course,
        os_thread: os_thread(),
        name: attributes::own_name(),
        has_returned: false,
        _identity,
    };
    note(thread, green);
    Ok(thread)
}

/// The kernel's id of the OS thread that runs.
pub(super) fn os_thread() -> pid_t {
    // SAFETY: takes nothing.
    unsafe { raw!(SYS_gettid) as pid_t }
}

/// Is it the greenlet that runs, with its own thread-locals?
pub(super) fn is_running(thread: pthread_t) -> bool {
    let runs = with_hub(|hub| {
        let task = hub?.running()?;
        Some(is_of(task.get(), thread))
    });
    runs == Some(true)
}

/// Are these the greenlet's own thread-locals?
pub(super) fn is_of(task: &Task, thread: pthread_t) -> bool {
    identity::of(task).is_some_and(|identity| identity.address() as pthread_t == thread)
}
