//! What serves the guests of a server.

use std::error::Error;

pub(super) type Fault = Box<dyn Error + Send + Sync>;

/// What a handler may return: nothing, or a `Result`, whose error is logged.
///
/// # Examples
/// ```
/// use greenroom::server::Outcome;
///
/// assert!(().into_result().is_ok());
/// let failed: Result<u64, std::io::Error> = Err(std::io::ErrorKind::NotFound.into());
/// assert!(failed.into_result().is_err());
/// ```
pub trait Outcome {
    /// The error, if there is one.
    ///
    /// # Errors
    /// What the handler returned as such.
    fn into_result(self) -> Result<(), Fault>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Fault> {
        Ok(())
    }
}

impl<T, E: Into<Fault>> Outcome for Result<T, E> {
    fn into_result(self) -> Result<(), Fault> {
        self.map(drop).map_err(Into::into)
    }
}

/// Serves the connections of a [`StreamServer`](super::StreamServer), for handlers with a name and
/// a state. Every closure of `(stream, peer)` is one.
///
/// Servers take closures; [`into_fn`](Handler::into_fn) makes one of any handler.
///
/// # Examples
/// ```
/// use greenroom::net::{SocketAddr, TcpStream};
/// use greenroom::server::{Handler, StreamServer};
/// use std::io::{self, Write};
///
/// struct Greeter {
///     greeting: &'static str,
/// }
///
/// impl Handler<TcpStream, SocketAddr> for Greeter {
///     type Outcome = io::Result<()>;
///
///     fn handle(&self, mut stream: TcpStream, _peer: SocketAddr) -> io::Result<()> {
///         stream.write_all(self.greeting.as_bytes())
///     }
/// }
///
/// let greeter = Greeter { greeting: "hello" };
/// let server = StreamServer::bind("127.0.0.1:0", greeter.into_fn())?;
/// server.start()?;
/// let mut text = String::new();
/// io::Read::read_to_string(&mut TcpStream::connect(server.address())?, &mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), io::Error>(())
/// ```
pub trait Handler<S, A>: Send + Sync + 'static {
    /// What serving one returns.
    type Outcome: Outcome;

    /// Serves one connection, which is closed when `stream` is dropped.
    fn handle(&self, stream: S, peer: A) -> Self::Outcome;

    /// The handler as a closure.
    fn into_fn(self) -> impl Fn(S, A) -> Self::Outcome + Send + Sync + 'static
    where
        Self: Sized,
    {
        move |stream, peer| self.handle(stream, peer)
    }
}

impl<F, R, S, A> Handler<S, A> for F
where
    F: Fn(S, A) -> R + Send + Sync + 'static,
    R: Outcome,
{
    type Outcome = R;

    fn handle(&self, stream: S, peer: A) -> R {
        self(stream, peer)
    }
}
