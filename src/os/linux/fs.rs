//! What files have on Linux only: std's own, for what is known about a file is std's.
pub use std::os::linux::fs::MetadataExt;
