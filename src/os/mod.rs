//! What is particular to the operating system, under std's own paths.
pub mod linux;
pub mod unix;
