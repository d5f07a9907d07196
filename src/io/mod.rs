//! STAND-IN for the io room.
pub(crate) mod source;
pub(crate) use source::Source;
