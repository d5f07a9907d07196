//! What only Linux has: abstract names of Unix sockets, options of TCP.
pub mod fs;
pub mod net;
