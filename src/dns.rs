//! Names to addresses: literals at once, names through getaddrinfo on a helper thread.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::hub::sim::simulation;
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
    if let Some(found) = simulation(|sim| sim.network.resolve(host)) {
        let addresses = found.ok_or_else(|| unknown(host))?;
        return Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect());
    }
    let name = host.to_owned();
    let found = threadpool::look_up(move || sys::resolve::lookup(&name, port))?;
    found.map_err(|error| io::Error::new(error.kind(), format!("lookup of '{host}': {error}")))
}

/// What getaddrinfo says of a name that nobody knows, by a simulation's table of names.
fn unknown(host: &str) -> io::Error {
    // The kind that std gives it has no name in public; no errno is 0, so that has it, too.
    let kind = io::Error::from_raw_os_error(0).kind();
    let reason = "failed to lookup address information: Name or service not known";
    io::Error::new(kind, format!("lookup of '{host}': {reason}"))
}
