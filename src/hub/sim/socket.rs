//! What a simulated socket is, beside its descriptor.
//!
//! ```text
//!   stream     one end of a Unix socketpair; bytes and half-closes are the kernel's
//!   listener   a mailbox of ends that wait to be accepted
//!   datagram   a mailbox of datagrams
//! ```
//!
//! Descriptors are real, so that the poller, the registrations and `AsFd` are the real ones, too;
//! addresses, options, loss and resets are ours.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::mailbox::Mailbox;
use super::network::{Network, Protocol};
use super::simulation;
use crate::poller::Interest;
use crate::sys::errno;
use crate::sys::lock::lock;
use crate::sys::socket::{self, Kind};

/// Bytes that a stream holds in each direction, before the kernel's own accounting. Fixed, so
/// that the system's defaults change no run, and small, so that writers have to wait.
const STREAM_BUFFER: usize = 32 * 1024;
/// Bytes that may wait in a datagram socket; what comes beyond is lost, as with the kernel.
const DATAGRAMS_MAX: usize = 256 * 1024;
/// The most that one datagram can carry.
const DATAGRAM_MAX: usize = 65_507;

/// See the head of this file. All clones of a handle share it.
#[derive(Debug)]
pub(crate) struct Socket {
    network: Arc<Network>,
    local: SocketAddr,
    role: Role,
    /// Options that mean nothing here, remembered.
    options: Mutex<BTreeMap<&'static str, u32>>,
}

#[derive(Debug)]
enum Role {
    Listener(Mailbox<Offer>),
    Stream {
        peer: SocketAddr,
        dialed: bool,
        link: Arc<Link>,
        /// The reset has been told to this end.
        told: AtomicBool,
    },
    Datagram {
        mailbox: Mailbox<Datagram>,
        peer: Mutex<Option<SocketAddr>>,
        /// Nobody received what was sent to the peer.
        refused: AtomicBool,
    },
}

/// What the two ends of a connection have in common.
#[derive(Debug, Default)]
struct Link {
    broken: AtomicBool,
}

/// A connection that waits to be accepted.
type Offer = (OwnedFd, Arc<Socket>);

#[derive(Clone, Debug)]
struct Datagram {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// The two ends of a new connection.
pub(super) fn connected(
    network: &Arc<Network>,
    from: SocketAddr,
    to: SocketAddr,
) -> (Socket, Socket) {
    let link = Arc::new(Link::default());
    let end = |local, peer, dialed| {
        let role = Role::Stream {
            peer,
            dialed,
            link: Arc::clone(&link),
            told: AtomicBool::new(false),
        };
        Socket::new(Arc::clone(network), local, role)
    };
    (end(from, to, true), end(to, from, false))
}

impl Socket {
    fn new(network: Arc<Network>, local: SocketAddr, role: Role) -> Socket {
        Socket {
            network,
            local,
            role,
            options: Mutex::default(),
        }
    }

    pub(super) fn bound(
        network: Arc<Network>,
        protocol: Protocol,
        local: SocketAddr,
    ) -> io::Result<(OwnedFd, Socket)> {
        let (role, fd) = match protocol {
            Protocol::Tcp => {
                let (mailbox, fd) = Mailbox::new()?;
                (Role::Listener(mailbox), fd)
            }
            Protocol::Udp => {
                let (mailbox, fd) = Mailbox::new()?;
                let role = Role::Datagram {
                    mailbox,
                    peer: Mutex::default(),
                    refused: AtomicBool::new(false),
                };
                (role, fd)
            }
        };
        Ok((fd, Socket::new(network, local, role)))
    }

    /// The descriptors of a connection.
    pub(super) fn wire() -> io::Result<(OwnedFd, OwnedFd)> {
        let (near, far) = socket::pair(Kind::Stream)?;
        socket::set_send_buffer(near.as_fd(), STREAM_BUFFER)?;
        socket::set_send_buffer(far.as_fd(), STREAM_BUFFER)?;
        Ok((near, far))
    }

    pub(crate) fn is_listener(&self) -> bool {
        matches!(self.role, Role::Listener(_))
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.role, Role::Stream { .. })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// # Errors
    /// NotConnected.
    pub(crate) fn peer(&self) -> io::Result<SocketAddr> {
        let peer = match &self.role {
            Role::Stream { peer, .. } => Some(*peer),
            Role::Datagram { peer, .. } => *lock(peer),
            Role::Listener(_) => None,
        };
        peer.ok_or_else(|| io::Error::from_raw_os_error(errno::ENOTCONN))
    }

    pub(crate) fn option(&self, name: &'static str, default: u32) -> u32 {
        let options = lock(&self.options);
        options.get(name).copied().unwrap_or(default)
    }

    pub(crate) fn set_option(&self, name: &'static str, value: u32) {
        let mut options = lock(&self.options);
        options.insert(name, value);
    }

    /// Number of connections that wait to be accepted.
    pub(super) fn backlog(&self) -> usize {
        match &self.role {
            Role::Listener(mailbox) => mailbox.queue().len(),
            _ => 0,
        }
    }

    pub(super) fn offer(&self, fd: OwnedFd, end: Arc<Socket>) -> io::Result<()> {
        match &self.role {
            Role::Listener(mailbox) => mailbox.push((fd, end)),
            _ => unreachable!("only listeners are found at an address of TCP"),
        }
    }

    /// Takes the next connection; `fd` is the listener's.
    ///
    /// # Errors
    /// WouldBlock; InvalidInput when this is no listener.
    pub(crate) fn accept(&self, fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Arc<Socket>)> {
        match &self.role {
            Role::Listener(mailbox) => mailbox.pop(fd),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The error of an operation on a connection that has been reset.
    ///
    /// # Errors
    /// ECONNRESET for reads and for the first write, EPIPE for those after it.
    pub(crate) fn check(&self, interest: Interest) -> io::Result<()> {
        let Role::Stream { link, told, .. } = &self.role else {
            return Ok(());
        };
        if !link.broken.load(Relaxed) {
            return Ok(());
        }
        let told = told.swap(true, Relaxed);
        Err(io::Error::from_raw_os_error(
            if told && interest == Interest::Write {
                errno::EPIPE
            } else {
                errno::ECONNRESET
            },
        ))
    }

    /// Resets the connection; `fd` is one of its ends. Whoever waits at either end is woken.
    pub(crate) fn reset(&self, fd: BorrowedFd<'_>) {
        if let Role::Stream { link, .. } = &self.role {
            link.broken.store(true, Relaxed);
            socket::shut_down(fd);
        }
    }

    /// Gives a datagram socket a peer.
    pub(crate) fn set_peer(&self, to: &SocketAddr) {
        if let Role::Datagram { peer, refused, .. } = &self.role {
            let to = SocketAddr::new(to.ip(), to.port());
            *lock(peer) = Some(to);
            refused.store(false, Relaxed);
        }
    }

    /// Sends a datagram, to the peer if no address is given. Never blocks.
    ///
    /// # Errors
    /// EDESTADDRREQ without an address, EMSGSIZE for one that is too long, ConnectionRefused
    /// when an earlier one reached nobody at the peer.
    pub(crate) fn send_to(&self, bytes: &[u8], to: Option<&SocketAddr>) -> io::Result<usize> {
        self.check_refused()?;
        let connected = to.is_none();
        let to = match to {
            Some(to) => *to,
            None => self
                .peer()
                .map_err(|_| io::Error::from_raw_os_error(errno::EDESTADDRREQ))?,
        };
        if bytes.len() > DATAGRAM_MAX {
            return Err(io::Error::from_raw_os_error(errno::EMSGSIZE));
        }
        if simulation(|sim| sim.loses()) == Some(true) {
            return Ok(bytes.len());
        }
        match self.network.find(Protocol::Udp, &to) {
            Some(receiver) => receiver.deliver(self.seen_from(&to), bytes)?,
            None if connected => self.note_refused(),
            None => {}
        }
        Ok(bytes.len())
    }

    /// The sender's address, as the receiver at `to` sees it.
    fn seen_from(&self, to: &SocketAddr) -> SocketAddr {
        if self.local.ip().is_unspecified() {
            SocketAddr::new(to.ip(), self.local.port())
        } else {
            self.local
        }
    }

    fn deliver(&self, from: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let Role::Datagram { mailbox, .. } = &self.role else {
            return Ok(());
        };
        if self.peer().is_ok_and(|peer| peer != from) {
            return Ok(());
        }
        let waiting: usize = mailbox.queue().iter().map(|one| one.bytes.len() + 1).sum();
        if waiting + bytes.len() >= DATAGRAMS_MAX {
            return Ok(());
        }
        let bytes = bytes.to_vec();
        mailbox.push(Datagram { from, bytes })
    }

    /// Receives a datagram, cut to the buffer; `fd` is this socket's. With `peek` it stays.
    ///
    /// # Errors
    /// WouldBlock; ConnectionRefused when one that was sent reached nobody at the peer.
    pub(crate) fn recv_from(
        &self,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        peek: bool,
    ) -> io::Result<(usize, SocketAddr)> {
        self.check_refused()?;
        let Role::Datagram { mailbox, .. } = &self.role else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let datagram = if peek {
            let first = mailbox.queue().front().cloned();
            first.ok_or(io::ErrorKind::WouldBlock)?
        } else {
            mailbox.pop(fd)?
        };
        let count = datagram.bytes.len().min(buf.len());
        buf[..count].copy_from_slice(&datagram.bytes[..count]);
        Ok((count, datagram.from))
    }

    fn note_refused(&self) {
        if let Role::Datagram { refused, .. } = &self.role {
            refused.store(true, Relaxed);
        }
    }

    fn check_refused(&self) -> io::Result<()> {
        match &self.role {
            Role::Datagram { refused, .. } if refused.swap(false, Relaxed) => {
                Err(io::Error::from_raw_os_error(errno::ECONNREFUSED))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        match &self.role {
            Role::Listener(mailbox) => {
                self.network.unbind(Protocol::Tcp, self.local);
                // Nobody will accept them any more: their far ends see a reset.
                let offers = std::mem::take(&mut *mailbox.queue());
                offers.iter().for_each(|(fd, end)| end.reset(fd.as_fd()));
            }
            Role::Datagram { .. } => self.network.unbind(Protocol::Udp, self.local),
            Role::Stream { dialed: true, .. } => self.network.hang_up(&self.local),
            Role::Stream { .. } => {}
        }
    }
}
