//! STAND-IN for the hub room.
use std::time::Duration;

/// Parks the running greenlet for that long.
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}
