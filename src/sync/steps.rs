//! The atomic steps that locks are made of: std's types. In this crate's own tests each stops
//! before it takes effect, so that others may run, if the test tries orders: see `exploration`.

#[cfg(any(not(test), loom))]
pub(super) use crate::{
    cancel::park_on,
    sys::atomic::{AtomicBool, AtomicU8, AtomicUsize, Mutex, MutexGuard, lock},
};

#[cfg(all(test, not(loom)))]
pub(super) use stopping::{
    AtomicBool, AtomicU8, AtomicUsize, Mutex, MutexGuard, lock, park_on, step, wake,
};

#[cfg(any(not(test), loom))]
#[inline]
pub(super) fn wake(waker: crate::hub::waker::Waker) {
    waker.wake_last();
}

#[cfg(test)]
#[cfg(not(loom))]
mod stopping {
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::ops::{Deref, DerefMut};
    use std::sync::TryLockError;
    use std::sync::atomic::Ordering;

    use crate::cancel;
    use crate::hub::sim::script;
    use crate::hub::waker::Waker;
    use crate::hub::{Why, with_hub};
    use crate::sys;

    thread_local! {
        /// Who waits for an internal lock.
        static BLOCKED: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
        /// Greenlets that were woken before they had parked: as with a wake from another thread,
        /// their next park is over at once.
        static WOKEN: RefCell<HashSet<u64>> = RefCell::default();
    }

    /// Others may run here.
    pub(crate) fn step() {
        if script::is_on() {
            with_hub(|hub| {
                if let Some(hub) = hub.filter(|hub| hub.running_greenlet().is_some()) {
                    script::offer();
                    hub.yield_now();
                }
            });
        }
    }

    fn me() -> Option<u64> {
        with_hub(|hub| hub?.running_greenlet().map(|task| task.get().id))
    }

    pub(crate) fn wake(waker: Waker) {
        if script::is_on()
            && let Waker::Green(task) = &waker
        {
            WOKEN.with_borrow_mut(|woken| woken.insert(task.id));
        }
        waker.wake_last();
    }

    pub(crate) fn park_on(why: Why, deadline: Option<u64>) {
        step();
        let was_woken = || WOKEN.with_borrow_mut(|woken| me().is_some_and(|me| woken.remove(&me)));
        if !was_woken() {
            cancel::park_on(why, deadline);
            was_woken();
            return;
        }
        // Of a park that is over at once there is left that a kill is delivered.
        with_hub(|hub| {
            if let Some((hub, task)) = hub.and_then(|hub| Some((hub, hub.running()?))) {
                let _ = cancel::check(hub, task);
            }
        });
    }

    macro_rules! atomic {
        (
            $name:ident of $value:ty,
            $($method:ident($($argument:ident: $kind:ty),*) -> $out:ty;)*
        ) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(std::sync::atomic::$name);

            #[allow(dead_code, reason = "not every lock needs every operation")]
            impl $name {
                pub(crate) const fn new(value: $value) -> $name {
                    $name(std::sync::atomic::$name::new(value))
                }

                $(pub(crate) fn $method(&self, $($argument: $kind),*) -> $out {
                    step();
                    self.0.$method($($argument),*)
                })*
            }
        };
    }

    macro_rules! number {
        ($name:ident of $value:ty) => {
            atomic!($name of $value,
                load(order: Ordering) -> $value;
                store(value: $value, order: Ordering) -> ();
                swap(value: $value, order: Ordering) -> $value;
                fetch_add(value: $value, order: Ordering) -> $value;
                fetch_sub(value: $value, order: Ordering) -> $value;
                fetch_or(value: $value, order: Ordering) -> $value;
                fetch_and(value: $value, order: Ordering) -> $value;
                compare_exchange(old: $value, new: $value, yes: Ordering, no: Ordering)
                    -> Result<$value, $value>;
                compare_exchange_weak(old: $value, new: $value, yes: Ordering, no: Ordering)
                    -> Result<$value, $value>;
            );
        };
    }

    number!(AtomicU8 of u8);
    number!(AtomicUsize of usize);
    atomic!(AtomicBool of bool,
        load(order: Ordering) -> bool;
        store(value: bool, order: Ordering) -> ();
    );

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<std::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Mutex<T> {
            Mutex(std::sync::Mutex::new(value))
        }
    }

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        if !script::is_on() {
            return MutexGuard(Some(sys::lock::lock(&mutex.0)));
        }
        step();
        loop {
            match mutex.0.try_lock() {
                Ok(guard) => return MutexGuard(Some(guard)),
                Err(TryLockError::Poisoned(error)) => return MutexGuard(Some(error.into_inner())),
                Err(TryLockError::WouldBlock) => wait_for_another(),
            }
        }
    }

    /// Parks until some internal lock is free, whatever is due.
    fn wait_for_another() {
        BLOCKED.with_borrow_mut(|blocked| blocked.push(Waker::current()));
        cancel::shield(|| {
            with_hub(|hub| hub.map(|hub| hub.park(Why::Helper("an internal lock"), None)));
        });
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.0 = None;
            let blocked = BLOCKED.take();
            blocked.iter().for_each(Waker::wake);
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("it is there until the drop")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("it is there until the drop")
        }
    }
}
