//! How many guests at a time: places, given out in the order of asking, on whatever hub.

use std::sync::Arc;

use crate::sync::Semaphore;

/// See the head of this file.
pub(super) struct Limit(Arc<Semaphore>);

/// One of the places; free again when it is dropped.
pub(super) struct Place(Arc<Semaphore>);

impl Limit {
    pub(super) fn new(places: usize) -> Limit {
        Limit(Arc::new(Semaphore::new(places)))
    }

    /// A place, if there is one that nobody waits for.
    pub(super) fn try_take(&self) -> Option<Place> {
        self.0.try_acquire()?.forget();
        Some(Place(Arc::clone(&self.0)))
    }

    /// Parks until there is a place.
    pub(super) fn take(&self) -> Place {
        self.0.acquire().forget();
        Place(Arc::clone(&self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.release();
    }
}
