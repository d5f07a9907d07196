//! What a child of fork(2) must know: that it is one.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the first process and this one, as far as we watched.
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// From now on, counts the forks of this process: see [`generation`].
pub(crate) fn count() {
    static COUNTING: Once = Once::new();
    extern "C" fn count_one() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: as in `watch`.
    COUNTING.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(count_one));
    });
}

/// From now on, runs `in_child` in every child of fork(2), and counts the generation.
/// vfork, posix_spawn and clone without CLONE_VM's copy don't come here and needn't.
pub(crate) fn watch(in_child: extern "C" fn()) {
    static WATCHING: Once = Once::new();
    watch_once(&WATCHING, in_child);
}

/// As [`watch`], for another hook, once for each `once`.
pub(crate) fn watch_once(once: &'static Once, in_child: extern "C" fn()) {
    count();
    once.call_once(|| {
        // SAFETY: the handlers are `extern "C"`, do not unwind and only touch atomics and
        // const-initialised thread-locals, or make async-signal-safe calls, which is allowed in
        // a forked child.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

/// Ends the process at once, without running exit handlers that belong to the parent.
pub(crate) fn exit_child() -> ! {
    // SAFETY: _exit takes a plain int and does not return.
    unsafe { libc::_exit(0) }
}

/// A value of which each process has its own: a forked child makes a new one, since its parent's
/// may have been copied in any state, with its locks held by threads that don't exist here.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    made: AtomicPtr<(u32, T)>,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess {
            made: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// This process's value. It lives as long as this does, those of parents for ever.
    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &T {
        let present = self.made.load(Ordering::Acquire);
        // SAFETY: what is stored is null or comes from `Box::into_raw` below, and is freed only
        // by `drop`, which nobody's borrow outlives.
        if let Some((made_in, value)) = unsafe { present.as_ref() }
            && *made_in == generation()
        {
            return value;
        }
        let new = Box::into_raw(Box::new((generation(), make())));
        match self
            .made
            .compare_exchange(present, new, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: `new` is published, and so freed only by `drop`.
            Ok(_) => unsafe { &(*new).1 },
            Err(theirs) => {
                // SAFETY: `new` was not published; what another thread has is as above.
                unsafe {
                    drop(Box::from_raw(new));
                    &(*theirs).1
                }
            }
        }
    }

    /// This process's value, if it has been made.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`; this borrow is the only one.
        let (made_in, value) = unsafe { self.made.get_mut().as_mut()? };
        (*made_in == generation()).then_some(value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = *self.made.get_mut();
        // SAFETY: as in `get`. A value of the parent's may be in any state: it is leaked.
        unsafe {
            if made
                .as_ref()
                .is_some_and(|(made_in, _)| *made_in == generation())
            {
                drop(Box::from_raw(made));
            }
        }
    }
}
