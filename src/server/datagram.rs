//! A server of datagrams.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use super::core::{Core, Serve};
use super::door::{Door, Kind, Place};
use super::endpoint::DatagramSocket;
use super::endpoint::sealed::{Endpoint, Receive};
use super::handle::{Control, ServerHandle, common_controls};
use super::handler::Outcome;
use super::lane;
use super::settings::{Settings, common_settings};
use crate::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use crate::os::unix::net::UnixDatagram;

/// The error of a datagram that is too long.
pub(super) const CUT_OFF: io::ErrorKind = io::ErrorKind::FileTooLarge;
/// No datagram of UDP is longer.
const SIZE: usize = 65_535;

/// Serves datagrams, UDP or Unix, each in a greenlet of its own unless told otherwise.
///
/// The handler is called with the bytes, the sender and the socket, to answer with. All that is
/// said of [`StreamServer`](super::StreamServer) on errors, panics, limits and the end of a server
/// holds here as well, a datagram being what a connection is there. With a full
/// [`Spawn::Pool`](super::Spawn::Pool) datagrams wait in the socket, and are lost when that is
/// full. With [`Spawn::Inline`](super::Spawn::Inline) they are served in the order in which they
/// came.
///
/// A datagram that is longer than [`size`](DatagramBuilder::size) is not served: it is logged and
/// counted in [`Stats::errors`](super::Stats::errors). With the size that it has if not said,
/// that can't happen with UDP.
///
/// # Examples
/// ```
/// use greenroom::net::UdpSocket;
/// use greenroom::server::DatagramServer;
///
/// let server = DatagramServer::bind("127.0.0.1:0", |data, peer, socket| {
///     socket.send_to(&data.to_ascii_uppercase(), peer)
/// })?;
/// server.start()?;
///
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"hello", server.address())?;
/// let mut answer = [0; 16];
/// let (length, from) = client.recv_from(&mut answer)?;
/// assert_eq!((&answer[..length], from), (&b"HELLO"[..], server.address()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DatagramServer<D: DatagramSocket = UdpSocket> {
    core: Arc<Core<Datagrams<D>>>,
    address: D::Address,
    is_ready: bool,
}

/// Datagrams as guests.
pub(super) struct Datagrams<D>(PhantomData<D>);

/// One datagram and the door that it came in by.
pub(super) struct Datagram<D: DatagramSocket> {
    data: Vec<u8>,
    peer: D::Address,
    door: Arc<Door<D>>,
}

impl<D: DatagramSocket> Kind for Datagrams<D> {
    type Endpoint = D;
    type Guest = Datagram<D>;

    fn next<P>(
        door: &Arc<Door<D>>,
        room: &mut Vec<u8>,
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(Datagram<D>, P)> {
        let (length, peer, pass) = Receive::receive_through(&door.endpoint, room, gate)?;
        if length > room.len() {
            let (room, peer) = (room.len(), format!("{peer:?}"));
            let what = format!("a datagram of {length} bytes from {peer}, cut off at {room}");
            return Err(io::Error::new(CUT_OFF, what));
        }
        let datagram = Datagram {
            data: room[..length].to_vec(),
            peer,
            door: Arc::clone(door),
        };
        Ok((datagram, pass))
    }

    fn peer(guest: &Datagram<D>) -> D::Address {
        guest.peer.clone()
    }

    fn room(core: &Core<Self>) -> usize {
        core.settings.size
    }
}

impl DatagramServer {
    /// A server at the first of `addr`'s addresses that can be bound; port 0 asks for any free
    /// one.
    ///
    /// `handler` is called with the bytes of each datagram, its sender, and the socket.
    ///
    /// # Errors
    /// Those of the lookup, then the error of the last address tried, which it names.
    ///
    /// # Parks
    /// Only for the lookup of a host name.
    pub fn bind<R: Outcome>(
        addr: impl ToSocketAddrs,
        handler: impl Fn(&[u8], SocketAddr, &UdpSocket) -> R + Send + Sync + 'static,
    ) -> io::Result<DatagramServer> {
        DatagramServer::builder(addr).bind(handler)
    }

    /// How a server of UDP datagrams is to be made. A host name is looked up now; what comes of it
    /// is told by [`bind`](DatagramBuilder::bind).
    ///
    /// # Parks
    /// Only for the lookup of a host name.
    pub fn builder(addr: impl ToSocketAddrs) -> DatagramBuilder<UdpSocket> {
        DatagramBuilder::new(Place::look_up(addr))
    }

    /// How a server of Unix datagrams is to be made, at `path`, where nothing may be yet. It
    /// removes the path when it is closed.
    pub fn builder_at(path: impl AsRef<Path>) -> DatagramBuilder<UnixDatagram> {
        DatagramBuilder::new(Place::path(path.as_ref()))
    }

    /// How a server is to be made of a socket that is bound already, std's or ours. Once closed it
    /// can't be started again. A nonblocking mode and a timeout that the socket has are taken from
    /// it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::server::DatagramServer;
    ///
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let server = DatagramServer::builder_of(socket).bind(|_, _, _| ())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// When a socket of std's can't be made nonblocking, which no open socket refuses.
    pub fn builder_of<I: IntoDatagramSocket>(socket: I) -> DatagramBuilder<I::Socket> {
        DatagramBuilder::new(Ok(Place::Ready(socket.into_socket())))
    }
}

/// What is, or becomes, one of our datagram sockets.
pub trait IntoDatagramSocket {
    /// Which one.
    type Socket: DatagramSocket;

    /// Turns it into one of ours.
    fn into_socket(self) -> Self::Socket;
}

impl<D: DatagramSocket> IntoDatagramSocket for D {
    type Socket = D;

    fn into_socket(self) -> D {
        self
    }
}

impl IntoDatagramSocket for std::net::UdpSocket {
    type Socket = UdpSocket;

    fn into_socket(self) -> UdpSocket {
        self.into()
    }
}

impl IntoDatagramSocket for std::os::unix::net::UnixDatagram {
    type Socket = UnixDatagram;

    fn into_socket(self) -> UnixDatagram {
        self.into()
    }
}

/// How a [`DatagramServer`] is to be made.
///
/// # Examples
/// ```
/// use greenroom::server::{DatagramServer, Spawn};
///
/// let server = DatagramServer::builder("127.0.0.1:0")
///     .name("time")
///     .spawn(Spawn::Inline)
///     .size(512)
///     .bind(|_, peer, socket| socket.send_to(b"late", peer))?;
/// server.start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until a server is bound with it"]
pub struct DatagramBuilder<D: DatagramSocket> {
    place: io::Result<Place<D>>,
    settings: Settings,
}

impl<D: DatagramSocket> DatagramBuilder<D> {
    fn new(place: io::Result<Place<D>>) -> DatagramBuilder<D> {
        let mut settings = Settings::new("datagram server", false);
        settings.size = SIZE;
        DatagramBuilder { place, settings }
    }

    common_settings!();

    /// The longest datagram that is served, in bytes: 65,535 if not said, which is as long as one
    /// of UDP can be, and at most 64 MiB.
    pub fn size(mut self, bytes: usize) -> Self {
        self.settings.size = bytes;
        self
    }

    /// Binds the server. `handler` is called with the bytes of each datagram, its sender, and the
    /// socket, and returns nothing or a `Result`.
    ///
    /// # Errors
    /// Those of the lookup, then the error of the last address tried, which it names;
    /// `InvalidInput` for settings that make no sense.
    ///
    /// # Parks
    /// Never.
    pub fn bind<R: Outcome>(
        self,
        handler: impl Fn(&[u8], D::Address, &D) -> R + Send + Sync + 'static,
    ) -> io::Result<DatagramServer<D>> {
        let door = self.place?.door(&self.settings)?;
        let (address, is_ready) = (door.address.clone(), door.ready);
        Ok(DatagramServer {
            core: Arc::new(Core::new(self.settings, door, serving(handler))),
            address,
            is_ready,
        })
    }
}

fn serving<D: DatagramSocket, R: Outcome>(
    handler: impl Fn(&[u8], D::Address, &D) -> R + Send + Sync + 'static,
) -> Arc<Serve<Datagram<D>>> {
    Arc::new(move |guest| {
        let Datagram { data, peer, door } = guest;
        handler(&data, peer, &door.endpoint).into_result()
    })
}

impl<D: DatagramSocket> DatagramServer<D> {
    /// The address that it is bound to.
    pub fn address(&self) -> <D as Endpoint>::Address {
        self.address.clone()
    }

    /// Serves what comes in, beginning with what has come since it was bound; does nothing if it
    /// does so already. As [`StreamServer::start`](super::StreamServer::start).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Parks
    /// As there.
    pub fn start(&self) -> io::Result<()> {
        lane::start(&self.core, &self.address, self.is_ready)
    }

    /// [Starts](DatagramServer::start) it, and waits until it is closed or stopped from elsewhere,
    /// as [`StreamServer::serve_forever`](super::StreamServer::serve_forever).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Parks
    /// As there.
    pub fn serve_forever(&self) -> io::Result<()> {
        self.start()?;
        self.core.wait_for_end()
    }

    /// Has datagrams that come from now on served by `handler`.
    ///
    /// # Parks
    /// Never.
    pub fn set_handle<R: Outcome>(
        &self,
        handler: impl Fn(&[u8], D::Address, &D) -> R + Send + Sync + 'static,
    ) {
        self.core.set_handler(serving(handler));
    }

    /// The server's name for others.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.core) as Arc<dyn Control>)
    }

    common_controls!(DatagramServer::control);

    fn control(&self) -> &Arc<Core<Datagrams<D>>> {
        &self.core
    }
}

impl<D: DatagramSocket> Drop for DatagramServer<D> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<D: DatagramSocket> fmt::Debug for DatagramServer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramServer")
            .field("address", &self.address)
            .field("settings", &self.core.settings)
            .field("phase", &self.core.phase())
            .field("stats", &self.core.stats())
            .finish_non_exhaustive()
    }
}
