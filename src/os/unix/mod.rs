//! What Unix systems have in common: sockets that are named by paths.
pub mod net;
