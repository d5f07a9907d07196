//! Why a URL was not fetched: one line for each way it can go wrong.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::StatusCode;

/// The reasons. `Display` is the line a user reads; every limit that was met is named.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not something we can fetch.
    BadUrl(String),
    /// The server answered, but not with success.
    Status(u16),
    /// The deadline for the whole request passed.
    Deadline(Duration),
    /// The body went past the cap.
    TooLong(u64),
    /// More redirects than allowed.
    TooManyRedirects(u32),
    /// A redirect back to where we have been.
    RedirectLoop(String),
    /// A redirect we don't follow.
    BadRedirect(String),
    /// No address for the name.
    Lookup { host: String, source: io::Error },
    /// No connection to the address.
    Connect { addr: SocketAddr, source: io::Error },
    /// The server reset the connection.
    Reset,
    /// The server closed the connection in the middle of its answer.
    BrokenOff,
    /// The server did not prove who it is.
    Certificate(String),
    /// Any other trouble with TLS.
    Tls(String),
    /// The answer is not HTTP as we know it.
    Protocol(String),
    /// Any other trouble with a socket.
    Io(io::Error),
    /// The body could not be handed on.
    Sink(io::Error),
    /// The file for the body could not be made.
    Save { path: PathBuf, source: io::Error },
    /// The greenlet that fetched it panicked.
    Panicked,
}

impl Failure {
    /// The status, when it is the status that failed.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Failure::Status(code) => Some(*code),
            _ => None,
        }
    }

    /// Says what a deadline was: ureq only knows that it passed.
    pub(crate) fn from_ureq(e: ureq::Error, timeout: Duration) -> Failure {
        match e {
            ureq::Error::Timeout(_) => Failure::Deadline(timeout),
            ureq::Error::Io(e) => Failure::from_io(e, timeout),
            ureq::Error::Other(e) => match e.downcast::<Failure>() {
                Ok(ours) => *ours,
                Err(e) => Failure::Protocol(e.to_string()),
            },
            ureq::Error::Rustls(e) => Failure::from_rustls(&e),
            ureq::Error::Tls(e) => Failure::Tls(e.to_owned()),
            ureq::Error::LargeResponseHeader(_, max) => {
                Failure::Protocol(format!("response head longer than {max} bytes"))
            }
            ureq::Error::BadUri(e) => Failure::BadUrl(e),
            ureq::Error::Http(e) => Failure::BadUrl(e.to_string()),
            ureq::Error::Protocol(e) => Failure::Protocol(e.to_string()),
            other => Failure::Protocol(other.to_string()),
        }
    }

    /// Unpacks what ureq and rustls put into an `io::Error`.
    pub(crate) fn from_io(e: io::Error, timeout: Duration) -> Failure {
        if e.get_ref().is_some_and(|inner| inner.is::<ureq::Error>()) {
            return Failure::from_ureq(ureq::Error::from(e), timeout);
        }
        if let Some(tls) = e
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Failure::from_rustls(tls);
        }
        match e.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Failure::Reset,
            io::ErrorKind::UnexpectedEof => Failure::BrokenOff,
            _ => Failure::Io(e),
        }
    }

    fn from_rustls(e: &rustls::Error) -> Failure {
        match e {
            rustls::Error::InvalidCertificate(why) => Failure::Certificate(why.to_string()),
            other => Failure::Tls(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::BadUrl(why) => write!(f, "not a URL to fetch: {why}"),
            Failure::Status(code) => match StatusCode::from_u16(*code) {
                Ok(status) => write!(f, "the server answered {status}"),
                Err(_) => write!(f, "the server answered {code}"),
            },
            Failure::Deadline(limit) => {
                write!(f, "no complete answer within {} s", limit.as_secs_f64())
            }
            Failure::TooLong(max) => write!(f, "body longer than {max} bytes"),
            Failure::TooManyRedirects(max) => write!(f, "more than {max} redirects"),
            Failure::RedirectLoop(to) => write!(f, "redirect loop: sent back to {to}"),
            Failure::BadRedirect(why) => write!(f, "redirect not followed: {why}"),
            Failure::Lookup { host, source } => write!(f, "no address for host {host}: {source}"),
            Failure::Connect { addr, source } => {
                write!(f, "cannot connect to {addr}: {source}")?;
                match source.raw_os_error() {
                    Some(libc::EMFILE) => write!(f, "; raise `ulimit -n` or lower --concurrency"),
                    _ => Ok(()),
                }
            }
            Failure::Reset => write!(f, "connection reset by the server"),
            Failure::BrokenOff => write!(f, "connection closed in the middle of the answer"),
            Failure::Certificate(why) => write!(f, "certificate rejected: {why}"),
            Failure::Tls(why) => write!(f, "TLS failed: {why}"),
            Failure::Protocol(why) => write!(f, "bad answer: {why}"),
            Failure::Io(e) => write!(f, "{e}"),
            Failure::Sink(e) => write!(f, "cannot save the body: {e}"),
            Failure::Save { path, source } => {
                write!(f, "cannot save to {}: {source}", path.display())
            }
            Failure::Panicked => write!(f, "the greenlet that fetched it panicked"),
        }
    }
}

impl StdError for Failure {}

/// The way through ureq: it hands back what it doesn't know as it got it.
impl From<Failure> for ureq::Error {
    fn from(failure: Failure) -> ureq::Error {
        ureq::Error::Other(Box::new(failure))
    }
}
