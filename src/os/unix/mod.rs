//! What Unix systems have in common.
pub mod net;
