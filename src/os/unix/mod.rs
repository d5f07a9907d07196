//! What Unix systems have in common: more about files, sockets that are named by paths, ways to
//! start programs.
pub mod fs;
pub mod net;
#[allow(unsafe_code, reason = "an unsafe fn of std's is mirrored")]
pub mod process;
