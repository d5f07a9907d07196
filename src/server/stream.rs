//! A server of connections.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use super::core::{Core, Serve};
use super::door::{Door, Kind, Place};
use super::endpoint::Listener;
use super::endpoint::sealed::{Accept, Endpoint};
use super::handle::{Control, ServerHandle, common_controls};
use super::handler::Outcome;
use super::lane;
use super::settings::{Settings, common_settings};
use super::upgrade::{Plain, Upgrade};
use crate::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use crate::os::unix::net::UnixListener;

/// Serves connections, TCP or Unix, each in a greenlet of its own unless told otherwise.
///
/// The handler owns the stream, so the connection is closed when it returns, panics or is killed,
/// unless it has handed the stream on. An error that it returns and a panic are logged with the
/// server's name and the peer; they end that connection and nothing else.
///
/// * It is bound when it is made, so that its [`address`](StreamServer::address) is known, and
///   listens from [`start`](StreamServer::start) on: before, connections are refused.
/// * When an accept fails, or there is no stack for a greenlet, it pauses, for 10 ms at first
///   and twice as long each time up to 1 s, until one succeeds; connections wait in the queue of
///   the kernel meanwhile. After an error of one connection, as the network passes them on, it
///   goes on at once. An error that shows the socket itself to be bad ends the server.
/// * At most 100 connections are accepted before others on the hub have a turn.
/// * Dropping it [closes](StreamServer::close) it: nobody is let in any more, who is in stays.
///   [`stop`](StreamServer::stop) is the end with a deadline.
///
/// # Examples
/// ```
/// use greenroom::net::TcpStream;
/// use greenroom::server::StreamServer;
/// use std::io::{self, Read, Write};
///
/// let server = StreamServer::bind("127.0.0.1:0", |stream, _peer| {
///     io::copy(&mut &stream, &mut &stream)
/// })?;
/// server.start()?;
///
/// let mut client = TcpStream::connect(server.address())?;
/// client.write_all(b"hello")?;
/// client.shutdown(greenroom::net::Shutdown::Write)?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
///
/// assert_eq!(server.stop(None), 0);
/// # Ok::<(), io::Error>(())
/// ```
#[doc(alias("listen", "TcpServer", "accept loop", "graceful shutdown"))]
pub struct StreamServer<L: Listener = TcpListener, U: Upgrade<L::Stream> = Plain> {
    core: Arc<Core<Streams<L>>>,
    address: L::Address,
    is_ready: bool,
    upgrade: Arc<U>,
}

/// Connections as guests.
pub(super) struct Streams<L>(PhantomData<L>);

impl<L: Listener> Kind for Streams<L> {
    type Endpoint = L;
    type Guest = (L::Stream, L::Address);

    fn next<P>(
        door: &Arc<Door<L>>,
        _room: &mut Vec<u8>,
        gate: impl FnMut() -> io::Result<P>,
    ) -> io::Result<(Self::Guest, P)> {
        let (stream, peer, pass) = Accept::accept_through(&door.endpoint, gate)?;
        Ok(((stream, peer), pass))
    }

    fn peer(guest: &Self::Guest) -> L::Address {
        guest.1.clone()
    }

    fn room(_core: &Core<Self>) -> usize {
        0
    }
}

impl StreamServer {
    /// A server of TCP connections at the first of `addr`'s addresses that can be bound; port 0
    /// asks for any free one.
    ///
    /// `handler` is called with each connection and the address of its other end, and returns
    /// nothing or a `Result`. See [`builder`](StreamServer::builder) for all that can be chosen.
    ///
    /// # Errors
    /// Those of the lookup, then the error of the last address tried, which it names.
    ///
    /// # Parks
    /// Only for the lookup of a host name.
    pub fn bind<R: Outcome>(
        addr: impl ToSocketAddrs,
        handler: impl Fn(TcpStream, SocketAddr) -> R + Send + Sync + 'static,
    ) -> io::Result<StreamServer> {
        StreamServer::builder(addr).bind(handler)
    }

    /// How a server of TCP connections is to be made. A host name is looked up now; what comes of
    /// it is told by [`bind`](StreamBuilder::bind).
    ///
    /// # Parks
    /// Only for the lookup of a host name.
    pub fn builder(addr: impl ToSocketAddrs) -> StreamBuilder<TcpListener> {
        StreamBuilder::new(Place::look_up(addr))
    }

    /// How a server of Unix connections is to be made, at `path`, where nothing may be yet. It
    /// removes the path when it is closed.
    pub fn builder_at(path: impl AsRef<Path>) -> StreamBuilder<UnixListener> {
        StreamBuilder::new(Place::path(path.as_ref()))
    }

    /// How a server is to be made of a listener that listens already, std's or ours.
    ///
    /// Connections are not refused before it starts, they wait. Once closed it can't be started
    /// again. A nonblocking mode and a timeout that the listener has are taken from it.
    ///
    /// # Examples
    /// ```
    /// use greenroom::os::unix::net::UnixListener;
    /// use greenroom::server::StreamServer;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = StreamServer::builder_of(listener).bind(|_, _| ())?;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let listener = UnixListener::bind(dir.path().join("socket"))?;
    /// let server = StreamServer::builder_of(listener).bind(|_, _| ())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// When a listener of std's can't be made nonblocking, which no open socket refuses.
    pub fn builder_of<I: IntoListener>(listener: I) -> StreamBuilder<I::Listener> {
        StreamBuilder::new(Ok(Place::Ready(listener.into_listener())))
    }
}

/// What is, or becomes, one of our listeners.
pub trait IntoListener {
    /// Which one.
    type Listener: Listener;

    /// Turns it into one of ours.
    fn into_listener(self) -> Self::Listener;
}

impl<L: Listener> IntoListener for L {
    type Listener = L;

    fn into_listener(self) -> L {
        self
    }
}

impl IntoListener for std::net::TcpListener {
    type Listener = TcpListener;

    fn into_listener(self) -> TcpListener {
        self.into()
    }
}

impl IntoListener for std::os::unix::net::UnixListener {
    type Listener = UnixListener;

    fn into_listener(self) -> UnixListener {
        self.into()
    }
}

/// How a [`StreamServer`] is to be made.
///
/// # Examples
/// ```
/// use greenroom::server::{Spawn, StreamServer};
///
/// let server = StreamServer::builder("127.0.0.1:0")
///     .name("greeter")
///     .spawn(Spawn::Pool(1000))
///     .backlog(128)
///     .hubs(2)
///     .bind(|stream, _peer| std::io::Write::write_all(&mut &stream, b"hello"))?;
/// server.start()?;
/// server.stop(None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until a server is bound with it"]
pub struct StreamBuilder<L: Listener, U = Plain> {
    place: io::Result<Place<L>>,
    pub(super) settings: Settings,
    pub(super) upgrade: U,
}

impl<L: Listener> StreamBuilder<L> {
    fn new(place: io::Result<Place<L>>) -> StreamBuilder<L> {
        StreamBuilder {
            place,
            settings: Settings::new("stream server", true),
            upgrade: Plain,
        }
    }

    /// Has the handler get what `upgrade` makes of each connection.
    #[cfg(feature = "tls")]
    pub(super) fn upgraded<U>(self, upgrade: U) -> StreamBuilder<L, U> {
        StreamBuilder {
            place: self.place,
            settings: self.settings,
            upgrade,
        }
    }
}

impl<L: Listener, U: Upgrade<L::Stream>> StreamBuilder<L, U> {
    common_settings!();

    /// How many connections may wait to be accepted, 4,096 if not said; fewer where the system's
    /// `net.core.somaxconn` says so. Not for a listener that listens already.
    pub fn backlog(mut self, count: u32) -> Self {
        self.settings.backlog = Some(count);
        self
    }

    /// Whether `SO_REUSEADDR` is set, as it is if not said: so that a server can start again
    /// while connections of its predecessor linger.
    pub fn reuse_addr(mut self, on: bool) -> Self {
        self.settings.options.reuse_addr = on;
        self
    }

    /// Binds the server. `handler` is called with each connection and the address of its other
    /// end, and returns nothing or a `Result`.
    ///
    /// # Errors
    /// Those of the lookup, then the error of the last address tried, which it names;
    /// `InvalidInput` for settings that make no sense, and for a ready socket that does not
    /// listen.
    ///
    /// # Parks
    /// Never.
    pub fn bind<R: Outcome>(
        self,
        handler: impl Fn(U::Stream, L::Address) -> R + Send + Sync + 'static,
    ) -> io::Result<StreamServer<L, U>> {
        let door = self.place?.door(&self.settings)?;
        let (address, is_ready) = (door.address.clone(), door.ready);
        let upgrade = Arc::new(self.upgrade);
        let handler = upgrading(&upgrade, handler);
        Ok(StreamServer {
            core: Arc::new(Core::new(self.settings, door, handler)),
            address,
            is_ready,
            upgrade,
        })
    }
}

/// The handler, behind the upgrade of its connections.
fn upgrading<S, A, U, R>(
    upgrade: &Arc<U>,
    handler: impl Fn(U::Stream, A) -> R + Send + Sync + 'static,
) -> Arc<Serve<(S, A)>>
where
    S: 'static,
    A: 'static,
    U: Upgrade<S>,
    R: Outcome,
{
    let upgrade = Arc::clone(upgrade);
    Arc::new(move |(stream, peer)| {
        upgrade.serve(stream, |stream| handler(stream, peer).into_result())
    })
}

impl<L: Listener, U: Upgrade<L::Stream>> StreamServer<L, U> {
    /// The address that it is bound to.
    pub fn address(&self) -> <L as Endpoint>::Address {
        self.address.clone()
    }

    /// Listens, and lets connections in; does nothing if it does so already. Returns at once:
    /// connections are served whenever the caller parks, or on [`hubs`](StreamBuilder::hubs) of
    /// its own.
    ///
    /// A server that was closed or stopped binds the same address anew.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2), naming the address; the lack of descriptors or OS threads
    /// for hubs; `ResourceBusy` while somebody is in from before it was closed. The server is
    /// closed then, and can be started again.
    ///
    /// # Parks
    /// Only for hubs of its own to come up. A kill unwinds and closes the server.
    pub fn start(&self) -> io::Result<()> {
        lane::start(&self.core, &self.address, self.is_ready)
    }

    /// [Starts](StreamServer::start) it, and waits until it is closed or stopped from elsewhere:
    /// by a [`handle`](StreamServer::handle), say.
    ///
    /// After a stop it returns when that is over, so that `main` may return as well.
    ///
    /// # Errors
    /// As `start`; and the error that has ended the server, if one has.
    ///
    /// # Parks
    /// Until then. A kill or a timeout unwinds and closes the server.
    pub fn serve_forever(&self) -> io::Result<()> {
        self.start()?;
        self.core.wait_for_end()
    }

    /// Has connections that come from now on served by `handler`.
    ///
    /// # Parks
    /// Never.
    pub fn set_handle<R: Outcome>(
        &self,
        handler: impl Fn(U::Stream, L::Address) -> R + Send + Sync + 'static,
    ) {
        self.core.set_handler(upgrading(&self.upgrade, handler));
    }

    /// The server's name for others.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.core) as Arc<dyn Control>)
    }

    common_controls!(StreamServer::control);

    fn control(&self) -> &Arc<Core<Streams<L>>> {
        &self.core
    }
}

impl<L: Listener, U: Upgrade<L::Stream>> Drop for StreamServer<L, U> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<L: Listener, U: Upgrade<L::Stream>> fmt::Debug for StreamServer<L, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServer")
            .field("address", &self.address)
            .field("settings", &self.core.settings)
            .field("phase", &self.core.phase())
            .field("stats", &self.core.stats())
            .finish_non_exhaustive()
    }
}
