//! Waiting with [`wait`](super::wait) for what only a parked greenlet can wait for: one is spawned.

use super::wait::{Ready, sealed};
use super::{Greenlet, spawn_local};

/// Calls when it is dropped: when what is waited for has happened, and when there is nobody who
/// could wait for it.
struct CallOnDrop(Option<Ready>);

impl Drop for CallOnDrop {
    fn drop(&mut self) {
        if let Some(ready) = self.0.take() {
            ready.call();
        }
    }
}

/// The greenlet that waits on somebody's behalf; killed with the subscription.
struct Watch(Greenlet<()>);

impl sealed::Subscription for Watch {}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Has `ready` called when `wait`, run in a greenlet of its own, returns.
pub(crate) fn watch(
    ready: Ready,
    wait: impl FnOnce() + 'static,
) -> Option<Box<dyn sealed::Subscription>> {
    let ready = CallOnDrop(Some(ready));
    let greenlet = spawn_local(move || {
        let _ready = ready;
        wait();
    });
    Some(Box::new(Watch(greenlet)))
}
