//! Servers that speak TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::endpoint::Listener;
use super::handler::Fault;
use super::stream::StreamBuilder;
use super::upgrade::{Upgrade, sealed};
use crate::tls::{self, Socket, TlsStream, accept};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS, begun before the handler gets the connection: see [`StreamBuilder::tls`].
pub struct Tls {
    config: Arc<ServerConfig>,
    limit: Duration,
}

impl sealed::Sealed for Tls {}

impl<S: Socket> Upgrade<S> for Tls {
    type Stream = TlsStream<S>;

    fn serve(
        &self,
        stream: S,
        handler: impl FnOnce(TlsStream<S>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let stream = accept(Arc::clone(&self.config), stream, Some(self.limit))?;
        tls::serve(stream, self.limit, handler)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<L: Listener> StreamBuilder<L> {
    /// Has the handler get a [`TlsStream`]. The handshake is made in the greenlet of the handler,
    /// so that a slow one holds up nobody else, and within ten seconds. One that fails is logged
    /// and closes the connection; the handler does not learn of it.
    ///
    /// When the handler returns without an error, the end of the stream is sent to the client,
    /// within the same limit. After an error, a panic, a kill or a write that was cut short it is
    /// not, so that the client can tell: see [`TlsStream`].
    ///
    /// # Examples
    /// ```
    /// use greenroom::server::StreamServer;
    /// use rustls::{ServerConfig, crypto::ring};
    /// use std::{io::Write, sync::Arc};
    ///
    /// let names = vec!["localhost".into()];
    /// let made = rcgen::generate_simple_self_signed(names).unwrap();
    /// let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    /// let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_single_cert(vec![made.cert.into()], key.into())?;
    /// let server = StreamServer::builder("127.0.0.1:0")
    ///     .tls(Arc::new(config))
    ///     .bind(|mut stream, _peer| stream.write_all(b"secret"))?;
    /// server.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tls(self, config: Arc<ServerConfig>) -> StreamBuilder<L, Tls> {
        self.upgraded(Tls {
            config,
            limit: HANDSHAKE,
        })
    }
}

impl<L: Listener> StreamBuilder<L, Tls> {
    /// How long a handshake may take, and sending the end of the stream; ten seconds if not said.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.upgrade.limit = limit;
        self
    }
}
