//! Speak TLS, by rustls: whose connections read and write through our sockets as they are.
//!
//! [`rustls::StreamOwned`] over one of our streams parks where it would block. What this module
//! adds is the handshake, in a given time and with its errors told; and an end that the other side
//! can tell from a connection that was cut.
//!
//! A server is made by [`StreamBuilder::tls`](crate::server::StreamBuilder::tls).

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::client::ClientConnectionData;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ServerConnectionData;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection};
use rustls::{SideData, StreamOwned, Writer};

use crate::cancel::{shield, with_timeout};
use crate::io::Source;
use crate::net::TcpStream;
use crate::os::unix::net::UnixStream;
use crate::sys::lock::lock;
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

        fn is_nonblocking(&self) -> bool;
    }

    impl SendNow for TcpStream {
        fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
            send_now(self.source(), bytes, || (&*self).write(bytes))
        }

        fn is_nonblocking(&self) -> bool {
            self.source().is_nonblocking()
        }
    }

    impl SendNow for UnixStream {
        fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
            send_now(self.source(), bytes, || (&*self).write(bytes))
        }

        fn is_nonblocking(&self) -> bool {
            self.source().is_nonblocking()
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
/// An end of the stream is marked by a message, close_notify, without which the other side sees
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). It is sent in two places:
///
/// * [`shutdown`](TlsStream::shutdown) sends it.
/// * Dropping the stream sends it if the kernel takes it at once, without parking. For a stream
///   that a [server](crate::server::StreamBuilder::tls) made, it is sent when the handler has
///   returned without an error: a stream that the handler drops without a shutdown stays open until
///   then.
///
/// It is never sent after a write or a flush that failed, that a kill or a timeout ended, or that
/// panicked, nor by a drop during an unwind: the other side can then tell that it has not got all.
/// An error that loses nothing does not count: `Interrupted`, and `WouldBlock` in nonblocking mode
/// if a later attempt succeeds.
///
/// # Parks
/// Reads, writes and flushes, as those of the socket below. A kill or a timeout of a write leaves
/// it open how much has been sent.
pub struct TlsStream<S: Socket = TcpStream, C: Side = ServerConnection> {
    /// `None` only after `into_inner` and in `drop`.
    stream: Option<StreamOwned<C, S>>,
    sent: Sent,
    /// Where the server leaves word of how the handler has ended.
    handler: Option<Arc<Mutex<Handler<S, C>>>>,
}

/// What has become of the writes so far.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    /// Each has succeeded.
    All,
    /// And the end after them.
    End,
    /// The last one has to be repeated, as usual in nonblocking mode.
    Unfinished,
    /// One has failed.
    Cut,
}

/// How the handler of a server's stream is doing.
enum Handler<S: Socket, C: Side> {
    Runs,
    /// It has dropped the stream, which ends as the handler does.
    Dropped(Box<StreamOwned<C, S>>),
    Ended {
        well: bool,
    },
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
        sent: Sent::All,
        handler: None,
    })
}

/// Has `handler` serve the stream, and ends the stream as that ends: if it is dropped by then, a
/// close_notify follows only when `handler` succeeds.
///
/// # Errors
/// Those of `handler`; those of the socket if it does not take within `limit` what was written.
///
/// # Parks
/// Where `handler` does, and until the kernel has taken the close_notify, for `limit` at most.
pub(crate) fn serve<S: Socket, E: From<io::Error>>(
    mut stream: TlsStream<S>,
    limit: Duration,
    handler: impl FnOnce(TlsStream<S>) -> Result<(), E>,
) -> Result<(), E> {
    struct Ending<'a, S: Socket>(&'a Mutex<Handler<S, ServerConnection>>, bool);
    impl<S: Socket> Ending<'_, S> {
        fn tell(&self) -> Handler<S, ServerConnection> {
            mem::replace(&mut *lock(self.0), Handler::Ended { well: self.1 })
        }
    }
    impl<S: Socket> Drop for Ending<'_, S> {
        fn drop(&mut self) {
            // Closes the socket of a stream that is left there by a handler that has failed.
            drop(self.tell());
        }
    }
    let state = Arc::new(Mutex::new(Handler::Runs));
    stream.handler = Some(Arc::clone(&state));
    let mut ending = Ending(&state, false);
    handler(stream)?;
    ending.1 = true;
    if let Handler::Dropped(mut stream) = ending.tell() {
        let owes = stream.conn.wants_write();
        let ended = with_timeout(limit, || close(&mut stream.conn, &mut stream.sock));
        // A peer that has got everything and gone needs no close_notify.
        ended
            .unwrap_or_else(|late| Err(late.into()))
            .or_else(|error| if owes { Err(error) } else { Ok(()) })?;
    }
    Ok(())
}

/// Sends what is buffered, and close_notify after it.
fn close<C: Side>(conn: &mut C, socket: &mut impl Write) -> io::Result<()> {
    conn.send_close_notify();
    send_buffered(conn, socket)
}

/// Unlike rustls' `complete_io` it never reads: a peer that does not read may not write either.
fn send_buffered<C: Side>(conn: &mut C, socket: &mut impl Write) -> io::Result<()> {
    while conn.wants_write() {
        match conn.write_tls(socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl<S: Socket, C: Side> TlsStream<S, C> {
    fn stream(&self) -> &StreamOwned<C, S> {
        self.stream.as_ref().expect("only into_inner takes it")
    }

    fn stream_mut(&mut self) -> &mut StreamOwned<C, S> {
        self.stream.as_mut().expect("only into_inner takes it")
    }

    /// Calls `send`, and notes whether all of it has been sent.
    fn send<T>(
        &mut self,
        send: impl FnOnce(&mut StreamOwned<C, S>) -> io::Result<T>,
    ) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        // Stays so if `send` unwinds.
        let before = mem::replace(&mut self.sent, Sent::Cut);
        let result = send(self.stream_mut());
        self.sent = match result.as_ref().map_err(io::Error::kind) {
            _ if before == Sent::Cut => Sent::Cut,
            Ok(_) => Sent::All,
            Err(Interrupted) => before,
            Err(WouldBlock) if self.get_ref().is_nonblocking() => Sent::Unfinished,
            Err(_) => Sent::Cut,
        };
        result
    }

    fn write_by(
        &mut self,
        take: impl FnOnce(&mut Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.send(|StreamOwned { conn, sock }| {
            send_buffered(conn, sock)?;
            let taken = take(&mut conn.writer())?;
            // These bytes are taken, so an error is left to the next write. Where there is none,
            // the end still comes after them, or not at all.
            let _ = send_buffered(conn, sock);
            Ok(taken)
        })
    }

    /// Tells the other side that no more comes (close_notify). Reading goes on.
    ///
    /// # Errors
    /// Those of the socket. `BrokenPipe` after a write that was cut short: the other side would
    /// take what it has got for all.
    ///
    /// # Parks
    /// Until the kernel has taken it. A kill unwinds.
    pub fn shutdown(&mut self) -> io::Result<()> {
        if matches!(self.sent, Sent::Unfinished | Sent::Cut) {
            let why = "no close_notify: an earlier write of the TLS stream was cut short";
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, why));
        }
        let StreamOwned { conn, sock } = self.stream_mut();
        close(conn, sock)?;
        self.sent = Sent::End;
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
        self.write_by(|writer| writer.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_by(|writer| writer.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send(|StreamOwned { conn, sock }| send_buffered(conn, sock))
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
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        if thread::panicking() || self.sent != Sent::All {
            return;
        }
        if let Some(state) = &self.handler {
            let mut state = lock(state);
            match *state {
                Handler::Ended { well: true } => {}
                Handler::Ended { well: false } => return,
                _ => {
                    *state = Handler::Dropped(Box::new(stream));
                    return;
                }
            }
        }
        // What the kernel does not take at once is not waited for: then the end is missing.
        let _ = close(&mut stream.conn, &mut Now(&mut stream.sock));
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
