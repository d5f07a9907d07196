//! A TLS stream that was cut short never looks complete, and a complete one never looks cut.
mod hazard_support;

use std::any::Any;
use std::io::{BufWriter, ErrorKind, IoSlice, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use greenroom::net::{SocketAddr, TcpListener, TcpStream};
use greenroom::server::{StreamServer, Tls};
use greenroom::tls::{self, TlsStream};
use greenroom::{sleep, spawn, spawn_later, with_timeout};
use hazard_support::{bounded, ms};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, crypto::ring};

/// More than the buffers of a connection hold, and less.
const MUCH: usize = 30_000_000;
const LITTLE: usize = 100_000;
const LONG: Option<Duration> = Some(Duration::from_secs(30));

type Fault = Box<dyn std::error::Error + Send + Sync>;
type Client = TlsStream<TcpStream, ClientConnection>;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let cert = CertificateDer::from(made.cert);
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn connect(config: Arc<ClientConfig>, address: SocketAddr) -> Client {
    let name = ServerName::try_from("localhost").unwrap();
    tls::connect(config, name, TcpStream::connect(address).unwrap(), LONG).unwrap()
}

fn read_all(mut stream: impl Read) -> Result<usize, ErrorKind> {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    read.map_err(|error| error.kind())
}

/// What a client gets that begins to read when the handler has ended.
fn served(handler: impl Fn(TlsStream) -> Result<(), Fault> + Send + Sync + 'static) -> Got {
    served_by(handler, |server| {
        while server.stats().active > 0 {
            sleep(ms(5));
        }
    })
}

/// What a client gets that begins to read late, and for which the handler waits.
fn served_late(handler: impl Fn(TlsStream) -> Result<(), Fault> + Send + Sync + 'static) -> Got {
    served_by(handler, |_| sleep(ms(200)))
}

type Got = Result<usize, ErrorKind>;
const CUT: Got = Err(ErrorKind::UnexpectedEof);

fn served_by(
    handler: impl Fn(TlsStream) -> Result<(), Fault> + Send + Sync + 'static,
    meanwhile: impl FnOnce(&StreamServer<TcpListener, Tls>),
) -> Got {
    let (server, client) = configs();
    let server = StreamServer::builder("127.0.0.1:0").tls(server);
    let server = server.bind(move |stream, _| handler(stream)).unwrap();
    server.start().unwrap();
    let client = connect(client, server.address());
    sleep(ms(100));
    meanwhile(&server);
    read_all(client)
}

fn late(stream: &mut TlsStream) {
    let written = with_timeout(ms(50), || stream.write_all(&vec![9; MUCH]));
    assert!(written.is_err(), "the client does not read yet");
}

fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

#[test]
fn after_a_write_that_a_caught_timeout_ended_the_stream_is_cut() {
    let _bound = bounded();
    let plain = |mut stream: TlsStream| {
        late(&mut stream);
        Ok(())
    };
    assert_eq!(served(plain), CUT);
    let vectored = |mut stream: TlsStream| {
        let bytes = vec![9; MUCH];
        let written = with_timeout(ms(50), || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (one, two) = rest.split_at(rest.len() / 2);
                let count = stream.write_vectored(&[IoSlice::new(one), IoSlice::new(two)]);
                rest = &rest[count.unwrap()..];
            }
        });
        assert!(written.is_err());
        Ok(())
    };
    assert_eq!(served(vectored), CUT);
    let buffered = |mut stream: TlsStream| {
        let mut writer = BufWriter::new(Write::by_ref(&mut stream));
        let written = with_timeout(ms(50), || {
            (0..MUCH / 1000).try_for_each(|_| writer.write_all(&[9; 1000]))
        });
        assert!(written.is_err());
        Ok(())
    };
    assert_eq!(served(buffered), CUT);
    let shut = |mut stream: TlsStream| {
        late(&mut stream);
        let refused = stream.shutdown().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe, "{refused}");
        Ok(())
    };
    assert_eq!(served(shut), CUT);
    let told = |mut stream: TlsStream| {
        late(&mut stream);
        // The client reads by now; what is left of the record goes out with it.
        stream.write_all(b"sorry, that was too late")?;
        Ok(())
    };
    assert_eq!(served_late(told), CUT);
}

#[test]
fn after_a_write_that_failed_the_stream_is_cut() {
    let _bound = bounded();
    let swallowed = |mut stream: TlsStream| {
        stream.get_ref().set_write_timeout(Some(ms(50)))?;
        assert!(stream.write_all(&vec![9; MUCH]).is_err());
        Ok(())
    };
    assert_eq!(served(swallowed), CUT);
    let returned = |mut stream: TlsStream| {
        stream.get_ref().set_write_timeout(Some(ms(50)))?;
        Ok(stream.write_all(&vec![9; MUCH])?)
    };
    assert_eq!(served(returned), CUT);
    let given_up = |mut stream: TlsStream| {
        stream.get_ref().set_nonblocking(true)?;
        assert!(stream.write_all(&vec![9; MUCH]).is_err());
        Ok(())
    };
    assert_eq!(served(given_up), CUT);
    // The last piece is in rustls' buffer, and its error is nowhere told.
    let kept = |mut stream: TlsStream| {
        stream.get_ref().set_write_timeout(Some(ms(50)))?;
        while !stream.connection().wants_write() {
            stream.write_all(&[9; 16_000])?;
        }
        Ok(())
    };
    assert_eq!(served(kept), CUT);
}

#[test]
fn a_handler_that_fails_has_not_ended_its_stream() {
    let _bound = bounded();
    let fails = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        Err("the disk is gone".into())
    };
    assert_eq!(served(fails), CUT);
    let drops = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        drop(stream);
        Err("the disk is gone".into())
    };
    assert_eq!(served(drops), CUT);
    let panics = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        drop(stream);
        std::panic::resume_unwind(Box::new("after the stream"))
    };
    assert_eq!(served(panics), CUT);
    let unwinds = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        std::panic::resume_unwind(Box::new("with the stream"))
    };
    assert_eq!(served(unwinds), CUT);
}

#[test]
fn a_stream_that_outlives_a_handler_that_failed_is_cut() {
    let _bound = bounded();
    static KEPT: Mutex<Option<TlsStream>> = Mutex::new(None);
    let keeps = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        *KEPT.lock().unwrap() = Some(stream);
        Err("somebody else has it".into())
    };
    let got = served_by(keeps, |_| drop(KEPT.lock().unwrap().take().unwrap()));
    assert_eq!(got, CUT);
}

#[test]
fn after_a_kill_the_stream_is_cut_wherever_it_is_dropped() {
    let _bound = bounded();
    let stop = |server: &StreamServer<TcpListener, Tls>| {
        assert_eq!(server.stop(Some(Duration::ZERO)), 1);
    };
    let unwinds = |mut stream: TlsStream| Ok(stream.write_all(&vec![9; MUCH])?);
    assert_eq!(served_by(unwinds, stop), CUT);
    let between = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        sleep(ms(60_000));
        Ok(())
    };
    assert_eq!(served_by(between, stop), CUT);
    let after_the_drop = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        drop(stream);
        sleep(ms(60_000));
        Ok(())
    };
    assert_eq!(served_by(after_the_drop, stop), CUT);
    let swallows = |mut stream: TlsStream| {
        assert!(caught(|| stream.write_all(&vec![9; MUCH])).is_err());
        Ok(())
    };
    assert_eq!(served_by(swallows, stop), CUT);
}

#[test]
fn a_client_that_gives_up_a_write_does_not_end_its_stream_either() {
    let _bound = bounded();
    let (server, client) = configs();
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = StreamServer::builder("127.0.0.1:0").tls(server);
    let server = server.bind(move |stream, _| {
        sleep(ms(100));
        sender.send(read_all(stream)).unwrap();
    });
    let server = server.unwrap();
    server.start().unwrap();
    let got = || receiver.recv_timeout(ms(30_000)).unwrap();
    // A client that has not read all that it was sent closes with a reset.
    let is_cut = |got| got == CUT || got == Err(ErrorKind::ConnectionReset);
    let mut first = connect(Arc::clone(&client), server.address());
    assert!(with_timeout(ms(50), || first.write_all(&vec![9; MUCH])).is_err());
    drop(first);
    while server.stats().active > 0 {
        sleep(ms(5));
    }
    assert!(is_cut(got()));
    let mut second = connect(Arc::clone(&client), server.address());
    let killed = spawn(move || second.write_all(&vec![9; MUCH]).is_ok());
    sleep(ms(50));
    killed.kill();
    while server.stats().active > 0 {
        sleep(ms(5));
    }
    assert!(is_cut(got()));
    let mut third = connect(client, server.address());
    third.write_all(&[9; LITTLE]).unwrap();
    third.shutdown().unwrap();
    assert_eq!(read_all(third), Ok(0));
    assert_eq!(got(), Ok(LITTLE));
}

#[test]
fn a_handler_that_ends_well_ends_its_stream_however_full_the_buffers_are() {
    let _bound = bounded();
    // What does not fit any more is waited for: not even one byte of room may be left.
    let much = |mut stream: TlsStream| {
        let mut sent = 0;
        stream.get_ref().set_nonblocking(true)?;
        while let Ok(count) = stream.write(&[9; 16_000]) {
            sent += count;
        }
        stream.get_ref().set_nonblocking(false)?;
        stream.write_all(&vec![9; MUCH / 2 - sent])?;
        Ok(())
    };
    assert_eq!(served_late(much), Ok(MUCH / 2));
    let idle = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        let idle = with_timeout(ms(20), || stream.read(&mut [0]));
        assert!(idle.is_err(), "an idle client is no failed write");
        Ok(())
    };
    assert_eq!(served(idle), Ok(LITTLE));
    let handed_on = |mut stream: TlsStream| {
        drop(spawn_later(ms(20), move || stream.write_all(&[9; LITTLE])));
        Ok(())
    };
    assert_eq!(served(handed_on), Ok(LITTLE));
    let goes_on = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        stream.shutdown()?;
        drop(stream);
        sleep(ms(60_000));
        Ok(())
    };
    assert_eq!(served_late(goes_on), Ok(LITTLE));
    let fails_later = |mut stream: TlsStream| {
        stream.write_all(&[9; LITTLE])?;
        stream.shutdown()?;
        Err("the stream itself was closed before".into())
    };
    assert_eq!(served(fails_later), Ok(LITTLE));
}

#[test]
fn a_client_that_reads_nothing_is_not_waited_for_beyond_the_limit() {
    let _bound = bounded();
    let (server, client) = configs();
    let server = StreamServer::builder("127.0.0.1:0").tls(server);
    let server = server.handshake_timeout(ms(300)).bind(|mut stream, _| {
        stream.get_ref().set_nonblocking(true)?;
        while !stream.connection().wants_write() {
            stream.write_all(&[9; 16_000])?;
        }
        // What is left in the buffer is sent at the end, which has to wait for the client.
        stream.get_ref().set_nonblocking(false)
    });
    let server = server.unwrap();
    server.start().unwrap();
    let _client = connect(client, server.address());
    while server.stats().accepted == 0 || server.stats().active > 0 {
        sleep(ms(5));
    }
}
