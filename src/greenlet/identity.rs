//! Which thread-locals a greenlet runs with: its own, or those of whoever spawned it.
//!
//! | spawned by | once this is turned on |
//! |---|---|
//! | `spawn`, `spawn_later`, `HubHandle::spawn` | its own: its closure is `Send`, it is a thread |
//! | `spawn_local`, `scope` | its spawner's: what is not `Send` may refer to them |
//!
//! Without the feature `monkey` there is nothing to choose, and nothing is paid.

use std::io;

use crate::hub::{Hub, Task};

#[cfg(feature = "monkey")]
pub(crate) use own::{before_exit, of, of_greenlet, state, turn_on};
#[cfg(feature = "monkey")]
pub(super) use own::{end, ends, for_new, give};

#[cfg(feature = "monkey")]
mod own {
    use super::{Hub, Task, io};
    use crate::cancel;
    use crate::greenlet::Greenlet;
    use crate::hub::TaskPtr;
    use crate::hub::{forget_hub, with_hub};
    use crate::sys::ending;
    use crate::sys::identity::{Identity, is_at_home, probe};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    static ON: AtomicBool = AtomicBool::new(false);
    static REFUSED: AtomicBool = AtomicBool::new(false);

    /// From now on those who may have thread-locals of their own get them.
    ///
    /// # Errors
    /// Says why not, where a trial fails.
    pub(crate) fn turn_on() -> Result<(), String> {
        probe().inspect_err(|_| REFUSED.store(true, Ordering::Release))?;
        ON.store(true, Ordering::Release);
        Ok(())
    }

    /// Is it turned on? The error of the trial, if that was made.
    pub(crate) fn state() -> Result<bool, String> {
        if REFUSED.load(Ordering::Acquire) {
            probe()?;
        }
        Ok(ON.load(Ordering::Acquire))
    }

    /// Those for a greenlet that is about to be spawned; `None` for the hub's.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(in super::super) fn for_new(hub: &Hub, shares: bool) -> io::Result<Option<Arc<Identity>>> {
        if shares {
            let spawner = hub.running_greenlet();
            return Ok(spawner.and_then(|spawner| of(spawner.get())));
        }
        let own = ON.load(Ordering::Acquire).then(Identity::new);
        Ok(own.transpose()?.map(Arc::new))
    }

    pub(in super::super) fn give(task: &Task, identity: Option<Arc<Identity>>) {
        identity.iter().for_each(|identity| identity.join());
        *task.local().identity.borrow_mut() = identity;
    }

    /// The thread-locals of a task of this thread's hub, if they are not the hub's.
    pub(crate) fn of(task: &Task) -> Option<Arc<Identity>> {
        task.local().identity.borrow().clone()
    }

    /// Whether whoever runs is the end of a greenlet's own thread-locals: who shares them from
    /// here on and outlives that would stand in what is gone.
    pub(in super::super) fn ends() -> bool {
        let of_greenlet = |hub: &Hub| hub.running_greenlet().and_then(|task| of(task.get()));
        ending::has_begun() && with_hub(|hub| hub.and_then(of_greenlet)).is_some()
    }

    /// As [`of`], for a greenlet that was just spawned here.
    pub(crate) fn of_greenlet<T>(greenlet: &Greenlet<T>) -> Option<Arc<Identity>> {
        of(&greenlet.thread.task)
    }

    /// Ends the thread-locals of the running greenlet, if nobody shares them any more.
    ///
    /// Their destructors are called by C code, and std ends the process if one unwinds: so no
    /// timeout is delivered there, and kills have been shielded off.
    pub(in super::super) fn end(task: &Task) {
        let identity = task.local().identity.borrow();
        let Some(identity) = &*identity else { return };
        if identity.has_one_user() {
            ending::begin();
            // SAFETY: they are what the running greenlet runs with, and nobody else has them.
            cancel::foreign(|| unsafe { identity.run_destructors() });
        }
    }

    /// To be called before exit(3), which destroys the thread-locals that are in place, on top of
    /// the caller's frames. From here on nothing is resumed that may stand inside of one of them.
    /// For those of an OS thread `sys::ending` sees to it.
    pub(crate) fn before_exit() {
        if is_at_home() {
            return;
        }
        let task = with_hub(|hub| hub?.running_greenlet());
        let is_alone = |task: &TaskPtr| of(task.get()).is_some_and(|own| own.has_one_user());
        ending::begin();
        match task.filter(is_alone) {
            // As at its own end: it may park, since nobody else has these thread-locals.
            Some(task) => {
                cancel::shield_to_the_end(task.get());
                cancel::add_foreign(1);
            }
            // A park would let those run that share them.
            None => forget_hub(),
        }
    }
}

#[cfg(not(feature = "monkey"))]
pub(super) struct Identity;

#[cfg(not(feature = "monkey"))]
pub(super) fn for_new(_hub: &Hub, _shares: bool) -> io::Result<Identity> {
    Ok(Identity)
}

#[cfg(not(feature = "monkey"))]
pub(super) fn give(_task: &Task, _: Identity) {}

#[cfg(not(feature = "monkey"))]
pub(super) fn end(_task: &Task) {}

#[cfg(not(feature = "monkey"))]
pub(super) fn ends() -> bool {
    false
}
