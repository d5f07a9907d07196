//! Speak TLS, by rustls: whose connections read and write through our sockets as they are.
//!
//! [`rustls::StreamOwned`] over one of our streams parks where it would block. What this module
//! adds is the handshake, in a given time and with its errors told; and an end that the other side
//! can tell from a connection that was cut.
//!
//! A server is made by [`StreamBuilder::tls`](crate::server::StreamBuilder::tls).

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::ClientConnectionData;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ServerConnectionData;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection};
use rustls::{SideData, StreamOwned};

use crate::cancel::{shield, with_timeout};
use crate::io::Source;
use crate::net::TcpStream;
use crate::os::unix::net::UnixStream;
use crate::sys::socket;

/// What TLS is spoken over: [`TcpStream`] or [`UnixStream`]. Only this crate implements it.
pub trait Socket: Read + Write + AsFd + fmt::Debug + Send + sealed::SendNow + 'static {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// Which end: [`ServerConnection`] or [`ClientConnection`]. Only this crate implements it.
pub trait Side: DerefMut + Deref<Target = ConnectionCommon<Self::Data>> + sealed::Sealed {
    /// What rustls knows of it.
    type Data: SideData;
}

impl Side for ServerConnection {
    type Data = ServerConnectionData;
}

impl Side for ClientConnection {
    type Data = ClientConnectionData;
}

mod sealed {
    use super::*;

    pub trait Sealed {}
    impl Sealed for ServerConnection {}
    impl Sealed for ClientConnection {}

    pub trait SendNow {
        /// Sends what the kernel takes at once.
        fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize>;
    }

    impl SendNow for TcpStream {
        fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
            send_now(self.source(), bytes, || (&*self).write(bytes))
        }
    }

    impl SendNow for UnixStream {
        fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
            send_now(self.source(), bytes, || (&*self).write(bytes))
        }
    }

    fn send_now(
        source: &Source,
        bytes: &[u8],
        simulated: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        match source.simulated() {
            None => socket::send(source.as_fd(), bytes),
            Some(_) => shield(simulated),
        }
    }
}

/// A TLS connection, its handshake done: what is written and read is encrypted on the way.
///
/// [`shutdown`](TlsStream::shutdown) tells the other side that no more comes. Dropping it does so
/// as well if the kernel takes it at once, without parking; but not while its greenlet unwinds, so
/// that the other side can tell that it has not got all.
///
/// # Parks
/// Reads, writes and flushes, as those of the socket below. A kill or a timeout of a write leaves
/// it open how much has been sent.
pub struct TlsStream<S: Socket = TcpStream, C: Side = ServerConnection> {
    /// Taken only by `into_inner`.
    stream: Option<StreamOwned<C, S>>,
}

/// Makes the server's end of a handshake, within `limit` if there is one.
///
/// # Errors
/// What rustls says, as `InvalidData`; `UnexpectedEof` when the other side has gone; `TimedOut`.
///
/// # Parks
/// Until the handshake is done. A kill or a timeout unwinds and closes the connection.
pub fn accept<S: Socket>(
    config: Arc<ServerConfig>,
    socket: S,
    limit: Option<Duration>,
) -> io::Result<TlsStream<S>> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    shake_hands(connection, socket, limit)
}

/// Makes the client's end of a handshake with a server of that name, within `limit` if there is
/// one.
///
/// # Errors
/// As [`accept`].
///
/// # Parks
/// As [`accept`].
pub fn connect<S: Socket>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    socket: S,
    limit: Option<Duration>,
) -> io::Result<TlsStream<S, ClientConnection>> {
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    shake_hands(connection, socket, limit)
}

fn shake_hands<S: Socket, C: Side>(
    connection: C,
    socket: S,
    limit: Option<Duration>,
) -> io::Result<TlsStream<S, C>> {
    let mut stream = StreamOwned::new(connection, socket);
    let mut shake = || stream.conn.complete_io(&mut stream.sock).map(drop);
    let done = match limit {
        None => shake(),
        Some(limit) => with_timeout(limit, shake).unwrap_or_else(|late| Err(late.into())),
    };
    let about = |error: io::Error| io::Error::new(error.kind(), format!("TLS handshake: {error}"));
    done.map_err(about)?;
    Ok(TlsStream {
        stream: Some(stream),
    })
}

impl<S: Socket, C: Side> TlsStream<S, C> {
    fn stream(&self) -> &StreamOwned<C, S> {
        self.stream.as_ref().expect("only into_inner takes it")
    }

    fn stream_mut(&mut self) -> &mut StreamOwned<C, S> {
        self.stream.as_mut().expect("only into_inner takes it")
    }

    /// Tells the other side that no more comes (close_notify). Reading goes on.
    ///
    /// # Errors
    /// Those of the socket.
    ///
    /// # Parks
    /// Until the kernel has taken it. A kill unwinds.
    pub fn shutdown(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = self.stream_mut();
        conn.send_close_notify();
        while conn.wants_write() {
            conn.write_tls(sock)?;
        }
        Ok(())
    }

    /// The certificates of the other side, its own first; none if it has shown none.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.stream().conn.peer_certificates()
    }

    /// The protocol that both sides have agreed on (ALPN).
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.stream().conn.alpn_protocol()
    }

    /// What rustls knows of the connection.
    pub fn connection(&self) -> &C {
        &self.stream().conn
    }

    /// The socket below, for its addresses and timeouts.
    pub fn get_ref(&self) -> &S {
        &self.stream().sock
    }

    /// The parts, as rustls has them. Nothing is told to the other side when that is dropped.
    pub fn into_inner(mut self) -> StreamOwned<C, S> {
        self.stream.take().expect("only this takes it")
    }
}

impl<S: Socket, C: Side> Read for TlsStream<S, C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream_mut().read(buf)
    }
}

impl<S: Socket, C: Side> Write for TlsStream<S, C> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream_mut().write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream_mut().write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream_mut().flush()
    }
}

impl<S: Socket, C: Side> Drop for TlsStream<S, C> {
    fn drop(&mut self) {
        struct Now<'a, S>(&'a mut S);
        impl<S: Socket> Write for Now<'_, S> {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.send_now(buf)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let Some(StreamOwned { conn, sock }) = &mut self.stream else {
            return;
        };
        if thread::panicking() {
            return;
        }
        conn.send_close_notify();
        // What is not taken at once, or nobody is there to take, is not waited for.
        while conn.wants_write() && conn.write_tls(&mut Now(sock)).is_ok_and(|sent| sent > 0) {}
    }
}

impl<S: Socket, C: Side> fmt::Debug for TlsStream<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", self.get_ref())
            .field("protocol", &self.stream().conn.protocol_version())
            .finish_non_exhaustive()
    }
}
