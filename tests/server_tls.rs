//! Servers that speak TLS: with rustls' client, with curl, and with those who speak no TLS at all.
mod hazard_support;

use greenroom::io::{Read, Write};
use greenroom::net::{SocketAddr, TcpStream};
use greenroom::os::unix::net::UnixStream;
use greenroom::server::{Spawn, StreamServer, Tls};
use greenroom::tls::{self, TlsStream};
use greenroom::{sleep, spawn};
use hazard_support::{bounded, leak_free, ms};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, crypto::ring};
use std::io::{self, ErrorKind};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const LOCAL: &str = "127.0.0.1:0";
const LONG: Option<Duration> = Some(Duration::from_secs(30));

struct Ends {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    pem: String,
}

/// Both ends of a world with one certificate, for localhost.
fn ends() -> Ends {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let pem = made.cert.pem();
    let cert = CertificateDer::from(made.cert);
    let provider = Arc::new(ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.into())
        .unwrap();
    server.alpn_protocols = vec![b"word/1".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"word/1".to_vec()];
    Ends {
        server: Arc::new(server),
        client: Arc::new(client),
        pem,
    }
}

type Client = TlsStream<TcpStream, ClientConnection>;

fn connect(ends: &Ends, address: SocketAddr) -> io::Result<Client> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address)?;
    tls::connect(Arc::clone(&ends.client), name, stream, LONG)
}

fn echo(mut stream: TlsStream, _peer: SocketAddr) -> io::Result<()> {
    let mut some = [0; 100_000];
    loop {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            count => stream.write_all(&some[..count])?,
        }
    }
}

fn serve(ends: &Ends) -> StreamServer<greenroom::net::TcpListener, Tls> {
    let builder = StreamServer::builder(LOCAL).tls(Arc::clone(&ends.server));
    let server = builder.handshake_timeout(ms(300)).bind(echo).unwrap();
    server.start().unwrap();
    server
}

#[test]
fn much_goes_there_and_back() {
    let _bound = bounded();
    let ends = ends();
    let server = serve(&ends);
    let mut client = connect(&ends, server.address()).unwrap();
    assert_eq!(client.alpn_protocol(), Some(&b"word/1"[..]));
    assert_eq!(client.peer_certificates().unwrap().len(), 1);
    assert_eq!(client.get_ref().peer_addr().unwrap(), server.address());
    let data: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    for piece in data.chunks(30_000) {
        client.write_all(piece).unwrap();
        let mut back = vec![0; piece.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, piece);
    }
    client.shutdown().unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the server ends as well");
    assert_eq!(server.stop(LONG), 0);
    assert_eq!(server.stats().failed, 0);
}

#[test]
fn a_stream_that_is_dropped_ends_well_and_one_that_is_unwound_does_not() {
    let _bound = bounded();
    let ends = ends();
    let server = serve(&ends);
    server.set_handle(|mut stream: TlsStream, _| {
        stream.write_all(b"all").unwrap();
        drop(stream);
    });
    let mut text = String::new();
    let mut client = connect(&ends, server.address()).unwrap();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all");
    server.set_handle(|mut stream: TlsStream, _| {
        let sent = stream.write_all(b"part");
        assert!(sent.is_err(), "in the middle");
    });
    let mut client = connect(&ends, server.address()).unwrap();
    let cut = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn who_speaks_no_tls_or_not_at_all_holds_up_nobody_and_is_sent_away() {
    let _bound = bounded();
    let ends = ends();
    let server = serve(&ends);
    let mut garbage = TcpStream::connect(server.address()).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut silent = TcpStream::connect(server.address()).unwrap();
    let address = server.address();
    let slow = spawn(move || {
        let mut slow = TcpStream::connect(address).unwrap();
        // A record that says how long it is, and then comes byte by byte.
        slow.write_all(&[22, 3, 1, 2, 0]).unwrap();
        (0..100).find(|_| {
            sleep(ms(20));
            slow.write_all(&[0]).is_err()
        })
    });
    let mut client = connect(&ends, server.address()).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let mut told = Vec::new();
    // Its alert, or a reset that has overtaken it.
    let _ = garbage.read_to_end(&mut told);
    let ended = silent.read(&mut [0]);
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    assert!(slow.join().unwrap().is_some());
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert_eq!((server.stats().active, server.stats().failed), (1, 3));
}

#[test]
fn in_a_full_pool_silent_guests_are_out_after_their_time() {
    let _bound = bounded();
    let ends = ends();
    let builder = StreamServer::builder(LOCAL).spawn(Spawn::Pool(2));
    let builder = builder.tls(Arc::clone(&ends.server));
    let server = builder.handshake_timeout(ms(50)).bind(echo).unwrap();
    server.start().unwrap();
    let _silent = [1, 2, 3, 4].map(|_| TcpStream::connect(server.address()).unwrap());
    let mut client = connect(&ends, server.address()).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_stop_in_the_middle_of_handshakes_leaves_nothing() {
    let _bound = bounded();
    let ends = ends();
    leak_free("a handshake", || {
        let builder = StreamServer::builder(LOCAL).tls(Arc::clone(&ends.server));
        let server = builder.bind(echo).unwrap();
        server.start().unwrap();
        let _silent = [1, 2, 3].map(|_| TcpStream::connect(server.address()).unwrap());
        while server.stats().active < 3 {
            sleep(ms(1));
        }
        assert_eq!(server.stop(Some(Duration::ZERO)), 3);
    });
}

#[test]
fn an_untrusted_server_is_an_error_at_once() {
    let _bound = bounded();
    let (one, other) = (ends(), ends());
    let server = serve(&one);
    let error = connect(&other, server.address()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("TLS handshake"), "{error}");
}

#[test]
fn tls_goes_through_unix_sockets_as_well() {
    let _bound = bounded();
    let ends = ends();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls");
    let builder = StreamServer::builder_at(&path).tls(Arc::clone(&ends.server));
    let server = builder.bind(|mut stream, _| stream.write_all(b"hello"));
    let server = server.unwrap();
    server.start().unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = tls::connect(Arc::clone(&ends.client), name, stream, None).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn in_a_simulation_tls_is_spoken_over_simulated_sockets() {
    let _bound = bounded();
    let ends = ends();
    greenroom::sim::run(11, || {
        let builder = StreamServer::builder("10.0.0.1:443").tls(Arc::clone(&ends.server));
        let server = builder.bind(|mut stream, _| stream.write_all(b"virtual"));
        let server = server.unwrap();
        server.start().unwrap();
        let mut client = connect(&ends, server.address()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "virtual");
        server.stop(None);
    });
}

#[test]
fn curl_is_served() {
    let _bound = bounded();
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: curl is not installed");
        return;
    }
    let ends = ends();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &ends.pem).unwrap();
    let server = serve(&ends);
    server.set_handle(|mut stream: TlsStream, _| -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nHello, curl!")
    });
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        "--cacert",
    ]);
    curl.arg(ca).arg("--connect-to");
    curl.arg(format!("localhost:443:{}", server.address()));
    curl.arg("https://localhost/");
    // On a thread of its own: waiting for a child blocks.
    let child = std::thread::spawn(move || curl.output().unwrap());
    while !child.is_finished() {
        sleep(ms(1));
    }
    let output = child.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"Hello, curl!");
}
