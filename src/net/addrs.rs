//! What can be resolved to socket addresses.
use super::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use crate::dns;
use std::{io, iter, option, slice, vec};

/// What can be converted or resolved to one or more socket addresses.
///
/// The same as [`std::net::ToSocketAddrs`], with a lookup that parks.
///
/// # Examples
///
/// ```
/// use greenroom::net::ToSocketAddrs;
///
/// let mut addrs = "127.0.0.1:80".to_socket_addrs()?;
/// assert_eq!(addrs.next(), Some(([127, 0, 0, 1], 80).into()));
/// assert!("no port".to_socket_addrs().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which to try them.
    type Iter: Iterator<Item = SocketAddr>;

    /// Converts or resolves to the addresses.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a string without host or port, and what
    /// the lookup of a host name says.
    ///
    /// # Parks
    ///
    /// Only to look up a host name; the answer wakes it. A kill ends the wait, while the lookup
    /// itself runs to its end elsewhere.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

impl ToSocketAddrs for SocketAddr {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(Some(*self).into_iter())
    }
}

impl ToSocketAddrs for SocketAddrV4 {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::V4(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for SocketAddrV6 {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::V6(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (IpAddr, u16) {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (Ipv4Addr, u16) {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (Ipv6Addr, u16) {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        SocketAddr::from(*self).to_socket_addrs()
    }
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        lookup(host, port)
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        lookup(&self.0, self.1)
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(addr) = self.parse() {
            return Ok(vec![addr].into_iter());
        }
        let (host, port) = self
            .rsplit_once(':')
            .ok_or_else(|| invalid("invalid socket address"))?;
        let port = port.parse().map_err(|_| invalid("invalid port value"))?;
        lookup(host, port)
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

fn lookup(host: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    let addrs = match host.parse::<IpAddr>() {
        Ok(literal) => vec![SocketAddr::new(literal, port)],
        Err(_) => dns::lookup(host, port)?,
    };
    Ok(addrs.into_iter())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Tries `op` on each address until one succeeds; fails with the last error.
pub(super) fn each<A: ToSocketAddrs, T>(
    addrs: A,
    mut op: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for addr in addrs.to_socket_addrs()? {
        match op(&addr) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| invalid("could not resolve to any addresses")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;

    fn all(addrs: impl ToSocketAddrs) -> Vec<SocketAddr> {
        addrs.to_socket_addrs().unwrap().collect()
    }

    #[test]
    fn every_form_of_a_literal_is_the_same_address() {
        let _bound = bounded();
        let ip = Ipv4Addr::new(77, 88, 21, 11);
        let wanted = vec![SocketAddr::from((ip, 80))];
        assert_eq!(all(wanted[0]), wanted);
        assert_eq!(all(SocketAddrV4::new(ip, 80)), wanted);
        assert_eq!(all((IpAddr::V4(ip), 80)), wanted);
        assert_eq!(all((ip, 80)), wanted);
        assert_eq!(all(("77.88.21.11", 80)), wanted);
        assert_eq!(all((String::from("77.88.21.11"), 80)), wanted);
        assert_eq!(all("77.88.21.11:80"), wanted);
        assert_eq!(all(String::from("77.88.21.11:80")), wanted);
        assert_eq!(all(&wanted[..]), wanted);
    }

    #[test]
    fn literals_of_the_sixth_version() {
        let _bound = bounded();
        let wanted: Vec<SocketAddr> = vec!["[2a02:6b8:0:1::1]:53".parse().unwrap()];
        assert_eq!(all(("2a02:6b8:0:1::1", 53)), wanted);
        assert_eq!(all("[2a02:6b8:0:1::1]:53"), wanted);
        assert_eq!(all("2a02:6b8:0:1::1:53"), wanted);
        let SocketAddr::V6(v6) = wanted[0] else {
            panic!("not version six")
        };
        assert_eq!(all((*v6.ip(), 53)), wanted);
        assert_eq!(all(v6), wanted);
    }

    #[test]
    fn a_string_without_a_proper_port_is_invalid() {
        let _bound = bounded();
        for text in [
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:http",
            "localhost:65536",
            "",
        ] {
            let error = text.to_socket_addrs().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn localhost_is_this_host() {
        let _bound = bounded();
        assert!(
            all("localhost:7")
                .iter()
                .all(|addr| addr.ip().is_loopback() && addr.port() == 7)
        );
    }

    #[test]
    fn the_last_error_is_the_one_to_see() {
        let _bound = bounded();
        let none: &[SocketAddr] = &[];
        let error = each(none, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        let two = [
            SocketAddr::from(([1, 1, 1, 1], 1)),
            SocketAddr::from(([2, 2, 2, 2], 2)),
        ];
        let error = each(&two[..], |addr| {
            Err::<(), _>(io::Error::other(addr.to_string()))
        });
        assert_eq!(error.unwrap_err().to_string(), "2.2.2.2:2");
        assert_eq!(each(&two[..], |addr| Ok(addr.port())).unwrap(), 1);
    }
}
