//! ureq over green sockets: this is all it takes to make a blocking client cooperative.
//!
//! ureq asks a [`Connector`] for a [`Transport`] and does the HTTP on top of it. Ours hands
//! it a green `TcpStream`: where a std socket blocks the OS thread, this one parks the
//! greenlet, and the other fetches go on. A second connector stands at the end of the chain,
//! after TLS, and refuses to take a broken connection for the end of a body.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::buffers::SmallBuffers;
use crate::failure::Failure;
use crate::green::net::TcpStream;

/// The first link of the chain: opens a green TCP connection.
#[derive(Debug)]
pub(crate) struct GreenConnector;

impl Connector for GreenConnector {
    type Out = GreenTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<GreenTransport>, Error> {
        let stream = dial(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        Ok(Some(GreenTransport {
            stream,
            buffers: SmallBuffers::default(),
        }))
    }
}

/// Tries each address in turn, with an equal share of the time that is left.
fn dial(addrs: &[SocketAddr], limit: NextTimeout) -> Result<TcpStream, Error> {
    let deadline = limit.not_zero().map(|left| Instant::now() + *left);
    let mut refusal = Error::HostNotFound;
    for (tried, addr) in addrs.iter().enumerate() {
        let attempt = match deadline {
            None => TcpStream::connect(addr),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                let share = left / (addrs.len() - tried) as u32;
                if share.is_zero() {
                    return Err(Error::Timeout(limit.reason));
                }
                TcpStream::connect_timeout(addr, share)
            }
        };
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(e) if is_timeout(&e) => refusal = Error::Timeout(limit.reason),
            Err(source) => {
                refusal = Failure::Connect {
                    addr: *addr,
                    source,
                }
                .into()
            }
        }
    }
    Err(refusal)
}

/// One connection for one request.
#[derive(Debug)]
pub(crate) struct GreenTransport {
    stream: TcpStream,
    buffers: SmallBuffers,
}

impl Transport for GreenTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, limit: NextTimeout) -> Result<(), Error> {
        if limit.after.is_zero() {
            return Err(Error::Timeout(limit.reason));
        }
        self.stream
            .set_write_timeout(limit.not_zero().map(|left| *left))?;
        let request = &self.buffers.output()[..amount];
        self.stream
            .write_all(request)
            .map_err(|e| explain(e, limit))?;
        self.buffers.request_sent();
        Ok(())
    }

    fn await_input(&mut self, limit: NextTimeout) -> Result<bool, Error> {
        if limit.after.is_zero() {
            return Err(Error::Timeout(limit.reason));
        }
        self.stream
            .set_read_timeout(limit.not_zero().map(|left| *left))?;
        let room = self.buffers.input_append_buf();
        let got = loop {
            match self.stream.read(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| explain(e, limit))?,
            }
        };
        self.buffers.input_appended(got);
        Ok(got > 0)
    }

    /// Never kept for a second request.
    fn is_open(&mut self) -> bool {
        false
    }
}

/// A socket reports its timeout as either kind.
fn is_timeout(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A socket's timeout is ureq's, told with the limit it stands for.
fn explain(e: io::Error, limit: NextTimeout) -> Error {
    if is_timeout(&e) {
        Error::Timeout(limit.reason)
    } else {
        Error::Io(e)
    }
}

/// The last link of the chain: a connection that breaks fails the request.
///
/// A body without a length lasts until the server closes. There ureq takes a reset, and a
/// TLS stream cut without goodbye, for that close: half a page would pass for a whole one.
#[derive(Debug)]
pub(crate) struct WholeBodies;

impl<In: Transport> Connector<In> for WholeBodies {
    type Out = WholeBody<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<WholeBody<In>>, Error> {
        Ok(chained.map(WholeBody))
    }
}

/// Passes everything through but the errors that mean "broken off".
#[derive(Debug)]
pub(crate) struct WholeBody<T>(T);

impl<T: Transport> Transport for WholeBody<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, limit: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, limit)
    }

    fn await_input(&mut self, limit: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(limit).map_err(|e| match e {
            Error::Io(e) if e.kind() == io::ErrorKind::ConnectionReset => Failure::Reset.into(),
            Error::Io(e) if e.kind() == io::ErrorKind::ConnectionAborted => Failure::Reset.into(),
            Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => Failure::BrokenOff.into(),
            other => other,
        })
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
