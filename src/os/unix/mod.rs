//! What Unix systems have in common: sockets that are named by paths, ways to start programs.
pub mod net;
#[allow(unsafe_code, reason = "an unsafe fn of std's is mirrored")]
pub mod process;
