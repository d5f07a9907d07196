//! The address space of one simulation: who is bound where, and what hosts are called.
//!
//! Every address is local: a program may bind `10.0.0.1:80` and connect to it from "another
//! host" of the same simulation. `0.0.0.0` and `::` stand for all addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::socket::{Socket, connected};
use crate::sys::errno;
use crate::sys::lock::lock;

/// Connections that may wait to be accepted; std asks the kernel for as many.
const BACKLOG_MAX: usize = 128;

/// The ports given to those who ask for any: Linux's default range.
const PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Network(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Listeners and datagram sockets.
    bound: BTreeMap<(Protocol, SocketAddr), Weak<Socket>>,
    /// The near addresses of connections that were dialed.
    dialed: BTreeSet<SocketAddr>,
    ports_given: u64,
    names: BTreeMap<String, Vec<IpAddr>>,
}

impl Network {
    /// Binds a listener to `addr`.
    ///
    /// # Errors
    /// AddrInUse; EMFILE.
    pub(crate) fn listen(
        self: &Arc<Network>,
        addr: &SocketAddr,
    ) -> io::Result<(OwnedFd, Arc<Socket>)> {
        self.bind(Protocol::Tcp, addr)
    }

    /// Binds a datagram socket to `addr`.
    ///
    /// # Errors
    /// AddrInUse; EMFILE.
    pub(crate) fn open_datagram(
        self: &Arc<Network>,
        addr: &SocketAddr,
    ) -> io::Result<(OwnedFd, Arc<Socket>)> {
        self.bind(Protocol::Udp, addr)
    }

    fn bind(
        self: &Arc<Network>,
        protocol: Protocol,
        addr: &SocketAddr,
    ) -> io::Result<(OwnedFd, Arc<Socket>)> {
        let mut table = self.table();
        let mut addr = SocketAddr::new(addr.ip(), addr.port());
        if addr.port() == 0 {
            table.give_port(protocol, &mut addr)?;
        } else if table.is_taken(protocol, &addr) {
            return Err(io::Error::from_raw_os_error(errno::EADDRINUSE));
        }
        let (fd, socket) = Socket::bound(Arc::clone(self), protocol, addr)?;
        let socket = Arc::new(socket);
        table
            .bound
            .insert((protocol, addr), Arc::downgrade(&socket));
        Ok((fd, socket))
    }

    /// Connects to the listener at `to`; `None` when too many wait there already.
    ///
    /// # Errors
    /// ConnectionRefused where nobody listens; EMFILE.
    pub(crate) fn connect(
        self: &Arc<Network>,
        to: &SocketAddr,
    ) -> io::Result<Option<(OwnedFd, Arc<Socket>)>> {
        let to = reachable(to);
        let listener = self
            .find(Protocol::Tcp, &to)
            .ok_or_else(|| io::Error::from_raw_os_error(errno::ECONNREFUSED))?;
        if listener.backlog() >= BACKLOG_MAX {
            return Ok(None);
        }
        // On one host the near address of a connection is the far one, with a port of its own.
        let mut from = SocketAddr::new(to.ip(), 0);
        let mut table = self.table();
        table.give_port(Protocol::Tcp, &mut from)?;
        table.dialed.insert(from);
        drop(table);
        // From here on the address is given back by the socket that has it.
        let (near, far) = connected(self, from, to);
        let (near_fd, far_fd) = Socket::wire()?;
        listener.offer(far_fd, Arc::new(far))?;
        Ok(Some((near_fd, Arc::new(near))))
    }

    /// Who receives what is sent to `to`.
    pub(super) fn find(&self, protocol: Protocol, to: &SocketAddr) -> Option<Arc<Socket>> {
        let to = reachable(to);
        let table = self.table();
        let any = [
            to.ip(),
            unspecified_like(to.ip()),
            // What is bound to `::` takes version four as well, as is Linux's default.
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        any.iter().find_map(|ip| {
            let key = (protocol, SocketAddr::new(*ip, to.port()));
            table.bound.get(&key)?.upgrade()
        })
    }

    pub(super) fn unbind(&self, protocol: Protocol, addr: SocketAddr) {
        self.table().bound.remove(&(protocol, addr));
    }

    pub(super) fn hang_up(&self, dialed: &SocketAddr) {
        self.table().dialed.remove(dialed);
    }

    /// Gives a host one more address.
    pub(crate) fn name(&self, host: &str, ip: IpAddr) {
        let host = host.to_ascii_lowercase();
        self.table().names.entry(host).or_default().push(ip);
    }

    /// The addresses of a host, if it has any.
    pub(crate) fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        let host = host.to_ascii_lowercase();
        let known = self.table().names.get(&host).cloned();
        known.or_else(|| (host == "localhost").then(|| vec![Ipv4Addr::LOCALHOST.into()]))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0)
    }
}

impl Table {
    /// Two can't have the same port if they have the same address or one of them has all.
    fn is_taken(&self, protocol: Protocol, addr: &SocketAddr) -> bool {
        self.bound.keys().any(|(other_protocol, other)| {
            *other_protocol == protocol && other.port() == addr.port() && overlap(addr, other)
        })
    }

    /// Puts a free port into `addr`.
    fn give_port(&mut self, protocol: Protocol, addr: &mut SocketAddr) -> io::Result<()> {
        let count = u64::from(PORTS.end() - PORTS.start()) + 1;
        for _ in 0..count {
            let port = PORTS.start() + (self.ports_given % count) as u16;
            self.ports_given += 1;
            addr.set_port(port);
            if !self.dialed.contains(addr) && !self.is_taken(protocol, addr) {
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(errno::EADDRINUSE))
    }
}

fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let all = |addr: &SocketAddr| addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if a.is_ipv4() != b.is_ipv4() {
        return all(a) || all(b);
    }
    a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified()
}

fn unspecified_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Where a packet to `to` goes: to "all addresses" means to this host.
fn reachable(to: &SocketAddr) -> SocketAddr {
    let ip = match to.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, to.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::bounded;
    use std::os::fd::AsFd;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_free_again_when_its_socket_is_gone() {
        let _bound = bounded();
        let network = Arc::new(Network::default());
        let first = network.listen(&addr("1.1.1.1:80")).unwrap();
        let error = network.listen(&addr("1.1.1.1:80")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        network.open_datagram(&addr("1.1.1.1:80")).unwrap();
        network.listen(&addr("1.1.1.2:80")).unwrap();
        drop(first);
        network.listen(&addr("1.1.1.1:80")).unwrap();
    }

    #[test]
    fn all_addresses_collide_with_each_and_receive_for_each() {
        let _bound = bounded();
        let network = Arc::new(Network::default());
        let _all = network.listen(&addr("0.0.0.0:80")).unwrap();
        assert!(network.listen(&addr("1.1.1.1:80")).is_err());
        assert!(network.listen(&addr("[::]:80")).is_err());
        assert!(network.listen(&addr("[::1]:80")).is_ok());
        let (_fd, near) = network.connect(&addr("7.7.7.7:80")).unwrap().unwrap();
        assert_eq!(near.peer().unwrap(), addr("7.7.7.7:80"));
        assert_eq!(near.local().ip(), addr("7.7.7.7:80").ip());
        let to_all = network.connect(&addr("0.0.0.0:80")).unwrap().unwrap().1;
        assert_eq!(to_all.peer().unwrap(), addr("127.0.0.1:80"));
    }

    #[test]
    fn ports_given_are_free() {
        let _bound = bounded();
        let network = Arc::new(Network::default());
        let taken = network.listen(&addr("127.0.0.1:32769")).unwrap();
        let ports: Vec<_> = (0..3)
            .map(|_| network.listen(&addr("127.0.0.1:0")).unwrap().1)
            .map(|socket| socket.local().port())
            .collect();
        assert_eq!(ports, [32768, 32770, 32771]);
        drop(taken);
    }

    #[test]
    fn a_backlog_has_an_end() {
        let _bound = bounded();
        let network = Arc::new(Network::default());
        let (fd, listener) = network.listen(&addr("1.1.1.1:80")).unwrap();
        let connect = || network.connect(&addr("1.1.1.1:80")).unwrap();
        let waiting: Vec<_> = (0..BACKLOG_MAX).map_while(|_| connect()).collect();
        assert_eq!(waiting.len(), BACKLOG_MAX);
        assert!(connect().is_none());
        listener.accept(fd.as_fd()).unwrap();
        assert!(connect().is_some());
    }
}
