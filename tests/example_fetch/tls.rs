//! An https server with an authority of its own.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::origin::{accept, read_head};

/// The stream a visitor talks over.
pub(crate) type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server whose certificate is for one name.
pub(crate) struct Site {
    pub(crate) port: u16,
    /// Holds the authority's PEM file.
    dir: TempDir,
}

impl Site {
    /// Where the authority's certificate lies.
    pub(crate) fn cacert(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

/// Serves https with a certificate for `name`; `answer` gets the path.
pub(crate) fn serve(name: &str, answer: impl Fn(&str, &mut Tls) + Send + Sync + 'static) -> Site {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");

    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let cert = server.signed_by(&key, &authority).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a server's configuration");
    let config = Arc::new(config);

    let port = accept(move |visitor| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let mut stream = StreamOwned::new(connection, visitor);
        let path = read_head(&mut stream);
        if !path.is_empty() {
            answer(&path, &mut stream);
        }
    });
    let dir = tempfile::tempdir().expect("a directory");
    let site = Site { port, dir };
    std::fs::write(site.cacert(), authority.pem()).expect("write the authority's certificate");
    site
}

/// Says goodbye as TLS wants it.
pub(crate) fn close(stream: &mut Tls) {
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
