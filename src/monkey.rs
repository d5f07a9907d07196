//! (To be merged into the room of the same name.)

/// Has greenlets own their thread-locals.
///
/// # Errors
/// Says why not.
pub fn own_thread_locals() -> Result<(), String> {
    crate::greenlet::identity::turn_on()
}
