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
//! A block is kept until its thread is joined or detached, so no other gets its address before.
//! Stacks are as large as the caller asks for, and take memory as they are used. Attributes of
//! scheduling are not looked at. `pthread_cancel` does not reach such a thread.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use libc::{clockid_t, pid_t, pthread_attr_t, pthread_t, timespec};

use super::gate::run;
use super::raw::{next, raw};
use super::{clocks, hooks, thread_exit};
use crate::cancel::{foreign, shield};
use crate::greenlet::{Builder, Greenlet, identity};
use crate::hub::{Task, with_hub};
use crate::stack::stack_around;
use crate::sys::identity::Identity;
use crate::sys::lock::lock;

pub(super) type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// What a thread returns that was killed (pthread.h: PTHREAD_CANCELED).
const CANCELED: usize = usize::MAX;

/// Those that can still be joined, by what pthread_self says in them.
static JOINABLE: Mutex<BTreeMap<pthread_t, Green>> = Mutex::new(BTreeMap::new());
/// How many that are: nobody is looked for when there is none.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Green {
    greenlet: Greenlet<()>,
    value: Arc<AtomicPtr<c_void>>,
    os_thread: pid_t,
    _identity: Arc<Identity>,
}

fn note(thread: pthread_t, green: Green) {
    let former = lock(&JOINABLE).insert(thread, green);
    debug_assert!(former.is_none(), "its block was still in use");
    COUNT.fetch_add(1, Ordering::Release);
}

fn take(thread: pthread_t) -> Option<Green> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let green = lock(&JOINABLE).remove(&thread)?;
    COUNT.fetch_sub(1, Ordering::Release);
    Some(green)
}

fn is_joinable(thread: pthread_t) -> bool {
    COUNT.load(Ordering::Acquire) > 0 && lock(&JOINABLE).contains_key(&thread)
}

/// The start routine, which owns what its argument points to: so it has to run, also when its
/// greenlet was killed before it began and the closure is only dropped.
struct Body {
    start: Start,
    argument: *mut c_void,
    value: Arc<AtomicPtr<c_void>>,
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
        thread_exit::call(self.start, self.argument, &self.value);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // SAFETY: takes nothing.
        let here = unsafe { libc::pthread_self() };
        if !self.done && here != self.spawner {
            self.call();
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
    let green = |_: &super::gate::Green<'_>| {
        // SAFETY: null, or initialised attributes, as pthread_create demands.
        let wanted = unsafe { wanted(attributes) };
        let made = spawn(wanted, start, argument);
        // SAFETY: the caller has a place for the thread.
        Some(made.map_or_else(
            |errno| errno as isize,
            |made| unsafe {
                thread.write(made);
                0
            },
        ))
    };
    run(&hooks::pthread_create, green, native) as c_int
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
    fn pthread_attr_setstack(
        attributes: *mut pthread_attr_t,
        lowest: *mut c_void,
        bytes: usize,
    ) -> c_int;
}

fn spawn(wanted: Wanted, start: Start, argument: *mut c_void) -> Result<pthread_t, c_int> {
    let value = Arc::new(AtomicPtr::new(ptr::without_provenance_mut(CANCELED)));
    let body = Body {
        start,
        argument,
        value: Arc::clone(&value),
        // SAFETY: takes nothing.
        spawner: unsafe { libc::pthread_self() },
        done: false,
    };
    let mut builder = Builder::new();
    if wanted.stack_bytes > 0 {
        builder = builder.stack_size(wanted.stack_bytes);
    }
    let greenlet = builder
        .spawn(move || body.run())
        .map_err(|_| libc::EAGAIN)?;
    let _identity = identity::of_greenlet(&greenlet).ok_or(libc::EAGAIN)?;
    let thread = _identity.address() as pthread_t;
    if !wanted.detached {
        note(
            thread,
            Green {
                greenlet,
                value,
                os_thread: os_thread(),
                _identity,
            },
        );
    }
    Ok(thread)
}

/// pthread_join for a thread that is a greenlet; `None` for one that is not.
///
/// A kill waits: who joins a thread knows of no failure.
///
/// # Safety
/// `value` is null, or has room for what the thread returned.
pub(super) unsafe fn join(thread: pthread_t, value: *mut *mut c_void) -> Option<c_int> {
    // SAFETY: takes nothing.
    if unsafe { libc::pthread_self() } == thread && is_joinable(thread) {
        return Some(libc::EDEADLK);
    }
    let Green {
        greenlet,
        value: returned,
        os_thread: _,
        _identity,
    } = take(thread)?;
    drop(foreign(|| shield(|| greenlet.join())));
    // SAFETY: the caller's.
    unsafe { hand_over(&returned, value) };
    Some(0)
}

/// # Safety
/// `place` is null, or has room for a pointer.
unsafe fn hand_over(returned: &AtomicPtr<c_void>, place: *mut *mut c_void) {
    if !place.is_null() {
        // SAFETY: the caller's.
        unsafe { place.write(returned.load(Ordering::Acquire)) };
    }
}

/// # Safety
/// `value` is null, or has room for what the thread returned.
unsafe fn join_for(thread: pthread_t, value: *mut *mut c_void, limit: Duration) -> Option<c_int> {
    let Green {
        greenlet,
        value: returned,
        os_thread,
        _identity,
    } = take(thread)?;
    let joined = foreign(|| shield(|| greenlet.join_timeout(limit)));
    if let Err(greenlet) = joined {
        note(
            thread,
            Green {
                greenlet,
                value: returned,
                os_thread,
                _identity,
            },
        );
        return Some(if limit.is_zero() {
            libc::EBUSY
        } else {
            libc::ETIMEDOUT
        });
    }
    // SAFETY: the caller's.
    unsafe { hand_over(&returned, value) };
    Some(0)
}

type TryJoin = unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_tryjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller's.
    if let Some(joined) = unsafe { join_for(thread, value, Duration::ZERO) } {
        return joined;
    }
    match next!(c"pthread_tryjoin_np" as TryJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value) },
        None => libc::ENOSYS,
    }
}

type TimedJoin = unsafe extern "C" fn(pthread_t, *mut *mut c_void, *const timespec) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_timedjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    deadline: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    if let Some(joined) = unsafe { join_until(thread, value, libc::CLOCK_REALTIME, deadline) } {
        return joined;
    }
    match next!(c"pthread_timedjoin_np" as TimedJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value, deadline) },
        None => libc::ENOSYS,
    }
}

type ClockJoin =
    unsafe extern "C" fn(pthread_t, *mut *mut c_void, clockid_t, *const timespec) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_clockjoin_np(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    deadline: *const timespec,
) -> c_int {
    // SAFETY: the caller's.
    if let Some(joined) = unsafe { join_until(thread, value, clock, deadline) } {
        return joined;
    }
    match next!(c"pthread_clockjoin_np" as ClockJoin) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, value, clock, deadline) },
        None => libc::ENOSYS,
    }
}

/// # Safety
/// As pthread_clockjoin_np(3).
unsafe fn join_until(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    deadline: *const timespec,
) -> Option<c_int> {
    if !is_joinable(thread) {
        return None;
    }
    // SAFETY: the caller's: null, or a moment.
    let Some(deadline) = (unsafe { deadline.as_ref() }) else {
        // SAFETY: the caller's.
        return unsafe { join(thread, value) };
    };
    if !clocks::is_valid(deadline) {
        return Some(libc::EINVAL);
    }
    let Some(now) = clocks::read(clock) else {
        return Some(libc::EINVAL);
    };
    let left = clocks::ns_of(deadline).saturating_sub(now);
    // SAFETY: the caller's.
    unsafe { join_for(thread, value, Duration::from_nanos(left)) }
}

type OfThread = unsafe extern "C" fn(pthread_t) -> c_int;

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    if take(thread).is_some() {
        return 0;
    }
    match next!(c"pthread_detach" as OfThread) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread) },
        None => libc::ENOSYS,
    }
}

type SetName = unsafe extern "C" fn(pthread_t, *const c_char) -> c_int;

/// The kernel's name is that of the OS thread: a greenlet leaves it alone. What it calls itself
/// is told in dumps, and when it panics or overflows its stack.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_setname_np(
    thread: pthread_t,
    name: *const c_char,
) -> c_int {
    if is_green(thread) {
        // SAFETY: the caller's: null, or a name with its zero byte.
        return unsafe { label(thread, name) };
    }
    match next!(c"pthread_setname_np" as SetName) {
        // SAFETY: the caller's.
        Some(real) => unsafe { real(thread, name) },
        None => libc::ENOSYS,
    }
}

/// # Safety
/// `name` is null, or ends with a zero byte.
unsafe fn label(thread: pthread_t, name: *const c_char) -> c_int {
    if name.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: the caller's.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let mut label = [0; 16];
    let Some(place) = label.get_mut(..name.len() + 1) else {
        return libc::ERANGE;
    };
    place[..name.len()].copy_from_slice(name);
    with_hub(|hub| {
        let task = hub.and_then(|hub| hub.running());
        // Only it itself may touch that.
        if let Some(task) = task.filter(|task| is_of(task.get(), thread)) {
            task.get().local().label.set(label);
        }
    });
    0
}

type GetAttributes = unsafe extern "C" fn(pthread_t, *mut pthread_attr_t) -> c_int;

/// Where the stack of a greenlet is, which libc does not know.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_getattr_np(
    thread: pthread_t,
    attributes: *mut pthread_attr_t,
) -> c_int {
    // SAFETY: takes nothing.
    let own = unsafe { libc::pthread_self() } == thread;
    let here = 0u8;
    let stack = (own && is_green(thread))
        .then(|| stack_around(&raw const here))
        .flatten();
    let Some((lowest, bytes, guard)) = stack else {
        return match next!(c"pthread_getattr_np" as GetAttributes) {
            // SAFETY: the caller's.
            Some(real) => unsafe { real(thread, attributes) },
            None => libc::ENOSYS,
        };
    };
    // SAFETY: the caller has a place for them.
    unsafe {
        let made = libc::pthread_attr_init(attributes);
        if made == 0 {
            pthread_attr_setstack(attributes, lowest as *mut c_void, bytes);
            libc::pthread_attr_setguardsize(attributes, guard);
        }
        made
    }
}

/// The kernel's id of the OS thread that runs.
fn os_thread() -> pid_t {
    // SAFETY: takes nothing.
    unsafe { raw!(SYS_gettid) as pid_t }
}

/// The kernel's id of the OS thread on which a thread runs that is a greenlet.
pub(super) fn os_thread_of(thread: pthread_t) -> Option<pid_t> {
    let joinable = |threads: &BTreeMap<_, Green>| Some(threads.get(&thread)?.os_thread);
    let noted = (COUNT.load(Ordering::Acquire) > 0).then(|| joinable(&lock(&JOINABLE)));
    noted.flatten().or_else(|| is_green(thread).then(os_thread))
}

/// Is it a thread that can be joined here, or the greenlet that runs, with its own thread-locals?
fn is_green(thread: pthread_t) -> bool {
    let runs = || {
        with_hub(|hub| {
            let task = hub?.running()?;
            Some(is_of(task.get(), thread))
        })
    };
    is_joinable(thread) || runs() == Some(true)
}

/// Are these the greenlet's own thread-locals?
fn is_of(task: &Task, thread: pthread_t) -> bool {
    identity::of(task).is_some_and(|identity| identity.address() as pthread_t == thread)
}
