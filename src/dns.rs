//! Names to addresses: literals at once, names through getaddrinfo on a helper thread.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::{sys, threadpool};

/// The addresses of `host`.
///
/// # Errors
/// Those of getaddrinfo(3), with the name in the text.
///
/// # Parks
/// For names, not for literals. A kill or a timeout unwinds; the lookup is left behind.
pub(crate) fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let found = threadpool::call("a name lookup", move || sys::resolve::lookup(&name, port))?;
    found.map_err(|error| io::Error::new(error.kind(), format!("lookup of '{host}': {error}")))
}
