//! Where one descriptor is registered: on each hub that has had to wait for it.
//!
//! A registration belongs to the object, not to the number of its descriptor: so a number that
//! comes back names nothing of what it named before.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::hub::{Hub, Message, Shared, with_hub};
use crate::poller::Key;
use crate::sys::fork;
use crate::sys::lock::lock;

/// One hub's registration of a descriptor.
#[derive(Clone, Debug)]
struct Registration {
    hub: Arc<Shared>,
    key: Key,
}

/// Nearly always one hub uses a descriptor: its registration is found without a lock.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    home: OnceLock<Registration>,
    others: Mutex<Vec<Registration>>,
    /// The home's registration is no longer good; there is a new one among the others.
    moved: AtomicBool,
}

impl Registrations {
    /// The key on `hub`, if there is one. It may be stale: then it is to be noted anew.
    #[inline]
    pub(super) fn on(&self, hub: &Hub) -> Option<Key> {
        let home = self.home.get()?;
        if Arc::ptr_eq(&home.hub, &hub.shared) && !self.moved.load(Ordering::Relaxed) {
            return Some(home.key);
        }
        self.among_others(hub)
    }

    #[cold]
    fn among_others(&self, hub: &Hub) -> Option<Key> {
        let others = lock(&self.others);
        let here = others
            .iter()
            .find(|other| Arc::ptr_eq(&other.hub, &hub.shared))?;
        Some(here.key)
    }

    /// Notes a new registration on `hub`, in place of one that is no longer good.
    pub(super) fn note(&self, hub: &Hub, key: Key) {
        let new = Registration {
            hub: Arc::clone(&hub.shared),
            key,
        };
        let Err(new) = self.home.set(new) else { return };
        self.note_among_others(hub, new);
    }

    #[cold]
    fn note_among_others(&self, hub: &Hub, new: Registration) {
        let home = self.home.get();
        if home.is_some_and(|home| Arc::ptr_eq(&home.hub, &hub.shared)) {
            // What the home has noted went stale: from now on everyone looks here.
            self.moved.store(true, Ordering::Relaxed);
        }
        let mut others = lock(&self.others);
        // Those of hubs that have ended go as well: each would keep what is shared with its hub.
        others.retain(|other| !Arc::ptr_eq(&other.hub, &hub.shared) && !other.hub.is_closed());
        others.push(new);
    }

    /// Takes `fd` out of every hub's set; to be done before it is closed.
    pub(super) fn end(&mut self, fd: BorrowedFd<'_>) {
        let others = self
            .others
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for Registration { hub, key } in self.home.take().into_iter().chain(others.drain(..)) {
            let here = with_hub(|mine| match mine {
                Some(mine) if Arc::ptr_eq(&mine.shared, &hub) => {
                    mine.deregister(key, fd);
                    true
                }
                _ => false,
            });
            // In a forked child the epoll set is the parent's, and so is the registration.
            if !here && !hub.is_closed() && hub.forks == fork::generation() {
                hub.unwatch(fd, Message::Forget(key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use crate::poller::Registry;

    #[test]
    fn hubs_that_have_ended_are_forgotten() {
        let _bound = bounded();
        let registrations = Registrations::default();
        for _ in 0..5 {
            crate::greenlet::run(|| {
                let key = Registry::<u8>::new().insert(7);
                with_hub(|hub| registrations.note(hub.expect("this runs on one"), key));
            });
        }
        assert_eq!(lock(&registrations.others).len(), 1);
    }
}
