//! Names to addresses, by greenroom's lookup: the greenlet parks while the name server thinks.

use std::net::{IpAddr, SocketAddr};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::failure::Failure;
use crate::green;
use crate::green::net::ToSocketAddrs;

/// As many addresses as ureq keeps.
const ADDRS_MAX: usize = 16;

/// Looks names up within the time the request has left.
#[derive(Debug)]
pub(crate) struct GreenResolver;

impl Resolver for GreenResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        limit: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let default_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default_port);

        let mut found = self.empty();
        match host.parse::<IpAddr>() {
            Ok(ip) => found.push(SocketAddr::new(ip, port)),
            Err(_) => look_up(host, port, limit)?.for_each(|addr| found.push(addr)),
        }
        if found.is_empty() {
            Err(Error::HostNotFound)
        } else {
            Ok(found)
        }
    }
}

/// One lookup; the deadline interrupts it like any other wait.
fn look_up(
    host: &str,
    port: u16,
    limit: NextTimeout,
) -> Result<impl Iterator<Item = SocketAddr>, Error> {
    let lookup = || (host, port).to_socket_addrs();
    let answer = match limit.not_zero() {
        None => lookup(),
        Some(left) => {
            green::with_timeout(*left, lookup).map_err(|_| Error::Timeout(limit.reason))?
        }
    };
    let addrs = answer.map_err(|source| Failure::Lookup {
        host: host.to_owned(),
        source,
    })?;
    Ok(addrs.take(ADDRS_MAX))
}
