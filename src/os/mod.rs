//! Use what only Unix or only Linux has, under std's own paths.
//!
//! To move code over, replace `std::os::unix` by `greenroom::os::unix` in what names `fs`,
//! `net` or `process`, and `std::os::linux` by `greenroom::os::linux` in what names `fs`, `net` or
//! `process`. What else is in `std::os` works as it is.
pub mod linux;
pub mod unix;
