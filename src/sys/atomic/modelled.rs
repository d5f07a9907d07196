//! What stands for std's types in a model, and what weakens their orders: see `weaken`.
//!
//! Constructors are `const`, as std's are, though loom's types must be made inside of a model. So
//! each is made at its first use. loom takes that for a write: a model uses what several threads
//! are to share once before it spawns them, or loom complains of a race.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use crate::sys::weaken::{self, weak};

macro_rules! atomic {
    ($name:ident of $value:ty, $($method:ident($($argument:ident: $kind:ty),*) -> $out:ty;)*) => {
        /// loom's, made at its first use.
        pub(crate) struct $name {
            first: $value,
            made: OnceLock<loom::sync::atomic::$name>,
        }

        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub(crate) const fn new(first: $value) -> $name {
                $name { first, made: OnceLock::new() }
            }

            fn made(&self) -> &loom::sync::atomic::$name {
                self.made.get_or_init(|| loom::sync::atomic::$name::new(self.first))
            }

            $(
                #[track_caller]
                pub(crate) fn $method(&self, $($argument: $kind,)* order: Ordering) -> $out {
                    self.made().$method($($argument,)* weak(Location::caller(), 0, order))
                }
            )*

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                yes: Ordering,
                no: Ordering,
            ) -> Result<$value, $value> {
                let at = Location::caller();
                self.made().compare_exchange(old, new, weak(at, 0, yes), weak(at, 1, no))
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                yes: Ordering,
                no: Ordering,
            ) -> Result<$value, $value> {
                let at = Location::caller();
                // Without failures that have no cause, which would only make orders more.
                self.made().compare_exchange(old, new, weak(at, 0, yes), weak(at, 1, no))
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(<$value>::default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

macro_rules! number {
    ($name:ident of $value:ty) => {
        atomic!($name of $value,
            load() -> $value;
            store(value: $value) -> ();
            swap(value: $value) -> $value;
            fetch_add(value: $value) -> $value;
            fetch_sub(value: $value) -> $value;
            fetch_or(value: $value) -> $value;
            fetch_and(value: $value) -> $value;
        );
    };
}

number!(AtomicU8 of u8);
number!(AtomicU32 of u32);
number!(AtomicUsize of usize);
atomic!(AtomicBool of bool,
    load() -> bool;
    store(value: bool) -> ();
    swap(value: bool) -> bool;
);

/// loom's; none at all when it is weakened to that.
#[track_caller]
pub(crate) fn fence(order: Ordering) {
    match weak(Location::caller(), 0, order) {
        Ordering::Relaxed => {}
        order => loom::sync::atomic::fence(order),
    }
}

/// Lets the other threads go on.
pub(crate) fn pause(_tries: u32) {
    loom::thread::yield_now();
}

/// loom's, which sees a race between the accesses.
pub(crate) struct UnsafeCell<T> {
    value: std::cell::UnsafeCell<T>,
    watched: OnceLock<loom::cell::UnsafeCell<()>>,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell {
            value: std::cell::UnsafeCell::new(value),
            watched: OnceLock::new(),
        }
    }

    fn watched(&self) -> &loom::cell::UnsafeCell<()> {
        self.watched.get_or_init(|| loom::cell::UnsafeCell::new(()))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.watched().with(|_| f(self.value.get()))
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.watched().with_mut(|_| f(self.value.get()))
    }
}

/// loom's, around a value of its own.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    value: std::cell::UnsafeCell<T>,
    made: OnceLock<loom::sync::Mutex<()>>,
}

// SAFETY: the value is reached only through a guard, of which `made` sees to it that there is one.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex {
            value: std::cell::UnsafeCell::new(value),
            made: OnceLock::new(),
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    _held: loom::sync::MutexGuard<'a, ()>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    let made = mutex.made.get_or_init(|| loom::sync::Mutex::new(()));
    let held = made.lock().unwrap_or_else(|error| error.into_inner());
    MutexGuard { mutex, _held: held }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see `Mutex`.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: see `Mutex`, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

/// The items that all threads of a model push into one queue.
const PUSHES_MAX: usize = 4;

/// Promises as little as a queue can: a pop acquires what the push of its item has released, and
/// nothing else is ordered. That a queue is seen to be empty orders nothing at all.
pub(crate) struct SegQueue<T> {
    tail: loom::sync::atomic::AtomicUsize,
    head: loom::sync::atomic::AtomicUsize,
    places: [Place<T>; PUSHES_MAX],
}

struct Place<T> {
    full: loom::sync::atomic::AtomicBool,
    item: loom::cell::UnsafeCell<Option<T>>,
}

// SAFETY: an item is written by the one push that has its place, and taken by the one pop that
// has it, after an acquiring load of the `full` that the push has released; loom sees to it.
unsafe impl<T: Send> Sync for SegQueue<T> {}

impl<T> SegQueue<T> {
    pub(crate) fn new() -> SegQueue<T> {
        SegQueue {
            tail: loom::sync::atomic::AtomicUsize::new(0),
            head: loom::sync::atomic::AtomicUsize::new(0),
            places: std::array::from_fn(|_| Place {
                full: loom::sync::atomic::AtomicBool::new(false),
                item: loom::cell::UnsafeCell::new(None),
            }),
        }
    }

    pub(crate) fn push(&self, item: T) {
        let place = &self.places[self.tail.fetch_add(1, Ordering::Relaxed)];
        // SAFETY: the place is this push's alone until it is full.
        place.item.with_mut(|at| unsafe { *at = Some(item) });
        place.full.store(true, Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        loop {
            let head = self.head.load(Ordering::Relaxed);
            let place = self.places.get(head)?;
            if !place.full.load(Ordering::Acquire) {
                return None;
            }
            let next = head + 1;
            let (order, head_at) = (Ordering::Relaxed, &self.head);
            if head_at.compare_exchange(head, next, order, order).is_ok() {
                // SAFETY: the place is full, and this pop's alone from now on.
                return place.item.with_mut(|at| unsafe { (*at).take() });
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let place = self.places.get(self.head.load(Ordering::Relaxed));
        place.is_none_or(|place| !place.full.load(Ordering::Relaxed))
    }
}

/// What the kernel does for those who sleep: it counts wakes. A sleep that a wake has ended comes
/// after that wake, as with locks; models see what an order is for where nobody need sleep.
pub(crate) struct Wakes {
    count: loom::sync::Mutex<u32>,
    changed: loom::sync::Condvar,
}

impl Wakes {
    pub(crate) fn new() -> Wakes {
        Wakes {
            count: loom::sync::Mutex::new(0),
            changed: loom::sync::Condvar::new(),
        }
    }

    /// The number of wakes: later ones end the sleep that begins here.
    pub(crate) fn begin(&self) -> u32 {
        *self.count.lock().expect("nobody panics with it")
    }

    /// Sleeps until there is a wake after so many. Returns their number.
    pub(crate) fn sleep(&self, begun: u32) -> u32 {
        let mut count = self.count.lock().expect("nobody panics with it");
        while *count == begun {
            count = self.changed.wait(count).expect("nobody panics with it");
        }
        *count
    }

    pub(crate) fn wake(&self) {
        *self.count.lock().expect("nobody panics with it") += 1;
        self.changed.notify_all();
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}

/// A word, and the two system calls.
#[derive(Debug)]
pub(crate) struct Futex {
    word: AtomicU32,
    wakes: Wakes,
}

impl Futex {
    pub(crate) fn new(value: u32) -> Futex {
        let word = AtomicU32::new(value);
        // Others may be the first to use it: it is made here.
        word.made();
        let wakes = Wakes::new();
        Futex { word, wakes }
    }

    /// A limit is up at once, or never.
    pub(crate) fn wait(&self, value: u32, limit_ns: u64) {
        let begun = self.wakes.begin();
        if limit_ns > 0 && self.word.made().load(Ordering::Relaxed) == value {
            self.wakes.sleep(begun);
        }
    }

    pub(crate) fn wake(&self) {
        self.wakes.wake();
    }
}

impl Deref for Futex {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.word
    }
}

/// Tries all interleavings of `model` with so many interruptions, and prints their number.
pub(crate) fn explore(
    name: &str,
    interruptions_max: usize,
    model: impl Fn() + Send + Sync + 'static,
) {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions_max);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("\n{name}: {} interleavings", count.load(Ordering::Relaxed));
    weaken::print_met(name);
}

/// Memory that is ordered by what is modelled: loom panics where two accesses race.
pub(crate) struct Watched(loom::cell::UnsafeCell<u32>);

// SAFETY: accesses that are not ordered end in a panic.
unsafe impl Sync for Watched {}

impl Watched {
    pub(crate) fn new() -> Watched {
        Watched(loom::cell::UnsafeCell::new(0))
    }

    pub(crate) fn read(&self) -> u32 {
        // SAFETY: it is initialized, and loom has seen that nobody writes meanwhile.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) fn add(&self) {
        // SAFETY: it is initialized, and loom has seen that nobody else uses it meanwhile.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}
