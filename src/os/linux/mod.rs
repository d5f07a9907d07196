//! What only Linux has: abstract names of Unix sockets, options of TCP, descriptors of processes.
pub mod fs;
pub mod net;
pub mod process;
