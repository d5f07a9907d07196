//! A descriptor is about to be closed: whoever waits for it is told, on each hub that knows it.
//!
//! ```text
//!   close(fd)   this hub:     DEL, registration gone, waiters woken: they find EBADF
//!               other hubs:   DEL, and a message to do the same
//!               then the kernel closes, and the number may come back
//! ```

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::lives::{self, Owner};
use super::raw::raw;
use super::turn::borrow;
use crate::hub::{Hub, Message, Shared, with_hub};
use crate::sys::fork;
use crate::sys::lock::lock;

/// The hubs that know descriptors by number.
static HUBS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// The process whose memory this is.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// To be called when the patch is made, and in forked children.
pub(super) extern "C" fn note_process() {
    // SAFETY: getpid takes nothing.
    let process = unsafe { raw!(SYS_getpid) };
    PROCESS.store(process as i32, Ordering::Relaxed);
}

/// A child of vfork(2) closes descriptors of its own, but the memory is its parent's.
pub(super) fn borrows_memory() -> bool {
    // SAFETY: getpid takes nothing.
    let process = unsafe { raw!(SYS_getpid) };
    process as i32 != PROCESS.load(Ordering::Relaxed)
}

/// From now on `hub` is told of what others close.
pub(super) fn announce(hub: &Hub) {
    let mut hubs = lock(&HUBS);
    let here = |other: &Weak<Shared>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(&hub.shared));
    if !hubs.iter().any(here) {
        hubs.retain(|other| other.strong_count() > 0);
        hubs.push(Arc::downgrade(&hub.shared));
    }
}

/// Takes the registration of a number that is about to be closed from this thread's hub.
fn forget_here(hub: &Hub, fd: i32, life: u32) {
    let Ok(mut poller) = hub.poller.try_borrow_mut() else {
        // From within the hub: its next look at the number finds that its life is over.
        return;
    };
    let known = poller.numbers.get(fd).copied();
    if known.is_some_and(|known| known.life == life) {
        // SAFETY: still open, or else the kernel says so.
        let _ = poller.epoll().delete(unsafe { borrow(fd) });
    }
    drop(poller);
    forget_life(hub, fd, Some(life));
}

/// As [`forget_here`], for a number that may have come back already, as something else: the
/// kernel's set is left alone.
pub(super) fn forget_life(hub: &Hub, fd: i32, life: Option<u32>) {
    let Ok(mut poller) = hub.poller.try_borrow_mut() else {
        return;
    };
    let known = poller.numbers.get(fd).copied();
    let Some(known) = known.filter(|known| life.is_none_or(|life| known.life == life)) else {
        return;
    };
    poller.numbers.remove(fd);
    let orphans = poller.registry().remove(known.key);
    drop(poller);
    if hub.is_at_ease() {
        orphans.iter().for_each(|task| hub.wake(task.get()));
    }
}

/// `fd` is about to be closed.
#[inline]
pub(super) fn forget(fd: i32) {
    if lives::is_known(fd) {
        forget_everywhere(fd);
    }
}

#[cold]
fn forget_everywhere(fd: i32) {
    if borrows_memory() {
        return;
    }
    let Some((life, owner)) = lives::end(fd) else {
        return;
    };
    let here = with_hub(|hub| {
        let hub = hub?;
        forget_here(hub, fd, life);
        Some(Owner::Hub(hub.shared.number as u32))
    });
    if here == Some(owner) {
        return;
    }
    let hubs = lock(&HUBS).clone();
    for hub in hubs.iter().filter_map(Weak::upgrade) {
        let mine = with_hub(|mine| mine.is_some_and(|mine| Arc::ptr_eq(&mine.shared, &hub)));
        if mine || hub.is_closed() || hub.forks != fork::generation() {
            continue;
        }
        let forget = Message::Run(Box::new(move |hub| forget_life(hub, fd, Some(life))));
        // SAFETY: still open: the caller is about to close it.
        hub.unwatch(unsafe { borrow(fd) }, forget);
    }
}
