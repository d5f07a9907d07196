//! The sockets that servers take their guests from: how they are opened, vetted and asked.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::sync::Arc;

use crate::hub::sim::simulation;
use crate::io::{Read, Source, Write};
use crate::net::backoff::accept_through;
use crate::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use crate::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use crate::poller::Interest;
use crate::sys::addr::SockAddr;
use crate::sys::socket::{self, Kind};

/// What a [`StreamServer`](super::StreamServer) listens with: [`TcpListener`] or [`UnixListener`].
/// Only this crate implements it.
///
/// # Examples
/// ```
/// use greenroom::server::{Listener, StreamServer};
///
/// fn is_running<L: Listener>(server: &StreamServer<L>) -> bool {
///     server.started()
/// }
/// let server = StreamServer::bind("127.0.0.1:0", |_, _| ())?;
/// assert!(!is_running(&server));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Listener: sealed::Accept {}

impl Listener for TcpListener {}
impl Listener for UnixListener {}

/// What a [`DatagramServer`](super::DatagramServer) receives with: [`UdpSocket`] or
/// [`UnixDatagram`]. Only this crate implements it.
pub trait DatagramSocket: sealed::Receive {}

impl DatagramSocket for UdpSocket {}
impl DatagramSocket for UnixDatagram {}

/// How a socket is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(super) reuse_addr: bool,
    pub(super) reuse_port: bool,
}

pub(crate) mod sealed {
    use super::{AsFd, Debug, Options, Read, Write, io};

    /// A socket with an address.
    pub trait Endpoint: AsFd + Debug + Send + Sync + Sized + 'static {
        /// Where it is, and who its guests are.
        type Address: Clone + Debug + Send + Sync + 'static;

        /// Bound, but deaf until [`listen`](Endpoint::listen).
        fn open(at: &Self::Address, options: Options) -> io::Result<Self>;
        fn listen(&self, backlog: u32) -> io::Result<()>;
        /// Looks whether a socket from elsewhere will do, and takes it out of nonblocking mode.
        fn vet(&self) -> io::Result<()>;
        fn address(&self) -> io::Result<Self::Address>;
    }

    pub trait Accept: Endpoint {
        /// A connection.
        type Stream: Read + Write + AsFd + Debug + Send + 'static;

        /// Accepts one, with what `gate` gave for it.
        fn accept_through<P>(
            &self,
            gate: impl FnMut() -> io::Result<P>,
        ) -> io::Result<(Self::Stream, Self::Address, P)>;
    }

    pub trait Receive: Endpoint {
        /// Receives one datagram, cut to `room`, and says how long it was, with what `gate` gave
        /// for it.
        fn receive_through<P>(
            &self,
            room: &mut [u8],
            gate: impl FnMut() -> io::Result<P>,
        ) -> io::Result<(usize, Self::Address, P)>;
    }
}

use sealed::{Accept, Endpoint, Receive};

/// A nonblocking socket bound to `addr`.
fn open(addr: &SockAddr, kind: Kind, options: Options) -> io::Result<OwnedFd> {
    let fd = socket::open(addr.family(), kind)?;
    if options.reuse_addr {
        socket::set_reuse_addr(fd.as_fd())?;
    }
    if options.reuse_port {
        socket::set_reuse_port(fd.as_fd())?;
    }
    socket::bind(fd.as_fd(), addr)?;
    Ok(fd)
}

/// The server parks: neither a nonblocking mode nor a timeout may have it fail instead.
fn make_patient(source: &Source) -> io::Result<()> {
    source.set_nonblocking(false)?;
    source.set_timeout(Interest::Read, None)
}

fn vet_listener(source: &Source) -> io::Result<()> {
    if source.simulated().is_none() && !socket::is_listening(source.as_fd())? {
        let what = "the socket given to the server does not listen";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    make_patient(source)
}

impl Endpoint for TcpListener {
    type Address = SocketAddr;

    fn open(at: &SocketAddr, options: Options) -> io::Result<TcpListener> {
        // A simulated one listens as soon as it is there.
        if let Some(network) = simulation(|sim| Arc::clone(&sim.network)) {
            let source = Source::simulate(network.listen(at)?);
            return Ok(TcpListener::from_source(source));
        }
        let fd = open(&SockAddr::from(at), Kind::Stream, options)?;
        Ok(TcpListener::from_source(Source::new(fd)))
    }

    fn listen(&self, backlog: u32) -> io::Result<()> {
        match self.source().simulated() {
            Some(_) => Ok(()),
            None => socket::listen(self.as_fd(), backlog),
        }
    }

    fn vet(&self) -> io::Result<()> {
        vet_listener(self.source())
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn accept_through<P>(
        &self,
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(TcpStream, SocketAddr, P)> {
        let (source, addr, pass) = accept_through(self.source(), gate)?;
        Ok((TcpStream::from_source(source), addr.to_inet()?, pass))
    }
}

impl Endpoint for UnixListener {
    type Address = UnixAddr;

    fn open(at: &UnixAddr, options: Options) -> io::Result<UnixListener> {
        let fd = open(&SockAddr::from(at), Kind::Stream, options)?;
        Ok(UnixListener::from_source(Source::new(fd)))
    }

    fn listen(&self, backlog: u32) -> io::Result<()> {
        socket::listen(self.as_fd(), backlog)
    }

    fn vet(&self) -> io::Result<()> {
        vet_listener(self.source())
    }

    fn address(&self) -> io::Result<UnixAddr> {
        self.local_addr()
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    fn accept_through<P>(
        &self,
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(UnixStream, UnixAddr, P)> {
        let (source, addr, pass) = accept_through(self.source(), gate)?;
        Ok((UnixStream::from_source(source), addr.to_unix()?, pass))
    }
}

impl Endpoint for UdpSocket {
    type Address = SocketAddr;

    fn open(at: &SocketAddr, options: Options) -> io::Result<UdpSocket> {
        if let Some(network) = simulation(|sim| Arc::clone(&sim.network)) {
            let source = Source::simulate(network.open_datagram(at)?);
            return Ok(UdpSocket::from_source(source));
        }
        let fd = open(&SockAddr::from(at), Kind::Datagram, options)?;
        Ok(UdpSocket::from_source(Source::new(fd)))
    }

    fn listen(&self, _backlog: u32) -> io::Result<()> {
        Ok(())
    }

    fn vet(&self) -> io::Result<()> {
        make_patient(self.source())
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Receive for UdpSocket {
    fn receive_through<P>(
        &self,
        room: &mut [u8],
        mut gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(usize, SocketAddr, P)> {
        if let Some(simulated) = self.source().simulated() {
            // It says no more of a datagram than what has found room.
            let mut all = vec![0; room.len() + 1];
            let ((length, peer), pass) = self.source().retry(Interest::Read, |fd| {
                let pass = gate()?;
                let received = simulated.recv_from(fd, &mut all, false)?;
                Ok((received, pass))
            })?;
            let count = length.min(room.len());
            room[..count].copy_from_slice(&all[..count]);
            return Ok((length, peer, pass));
        }
        let (length, addr, pass) = receive_cut(self.source(), room, gate)?;
        Ok((length, addr.to_inet()?, pass))
    }
}

impl Endpoint for UnixDatagram {
    type Address = UnixAddr;

    fn open(at: &UnixAddr, options: Options) -> io::Result<UnixDatagram> {
        let fd = open(&SockAddr::from(at), Kind::Datagram, options)?;
        Ok(UnixDatagram::from_source(Source::new(fd)))
    }

    fn listen(&self, _backlog: u32) -> io::Result<()> {
        Ok(())
    }

    fn vet(&self) -> io::Result<()> {
        make_patient(self.source())
    }

    fn address(&self) -> io::Result<UnixAddr> {
        self.local_addr()
    }
}

impl Receive for UnixDatagram {
    fn receive_through<P>(
        &self,
        room: &mut [u8],
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(usize, UnixAddr, P)> {
        let (length, addr, pass) = receive_cut(self.source(), room, gate)?;
        Ok((length, addr.to_unix()?, pass))
    }
}

fn receive_cut<P>(
    source: &Source,
    room: &mut [u8],
    mut gate: impl FnMut() -> io::Result<P>,
) -> io::Result<(usize, SockAddr, P)> {
    let ((length, addr), pass) = source.retry(Interest::Read, |fd| {
        let pass = gate()?;
        socket::recv_cut(fd, room).map(|received| (received, pass))
    })?;
    Ok((length, addr, pass))
}
