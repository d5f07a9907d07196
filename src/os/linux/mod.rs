//! What only Linux has.
pub mod net;
