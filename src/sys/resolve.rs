//! getaddrinfo(3), which blocks: only to be called on threads that may.

use std::net::SocketAddr;

/// The addresses of `host`, through the C library and so through nsswitch.conf and hosts(5).
pub(crate) fn lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    use std::net::ToSocketAddrs;
    Ok((host, port).to_socket_addrs()?.collect())
}
