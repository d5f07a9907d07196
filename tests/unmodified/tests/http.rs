//! HTTP clients that block: ureq and reqwest::blocking.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::sync::Arc;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_secs(1);

fn path(n: usize) -> String {
    format!("/{n}")
}

fn by_ureq(agent: &ureq::Agent, url: &str) -> String {
    let mut response = agent.get(url).call().expect("an answer");
    response.body_mut().read_to_string().expect("a body")
}

#[test]
fn ureq_with_a_connection_each() {
    let server = http_server(DELAY * 3 / 2);
    on_one_os_thread(move || {
        let get = move |n: usize| {
            let agent = ureq::Agent::new_with_defaults();
            by_ureq(&agent, &format!("http://{server}/{n}"))
        };
        assert_same_and_side_by_side("ureq", Mode::ALL, get, path);
    });
}

#[test]
fn ureq_with_an_agent_for_all() {
    let server = http_server(DELAY);
    on_one_os_thread(move || {
        let agent = ureq::Agent::new_with_defaults();
        let get = move |n: usize| by_ureq(&agent, &format!("http://{server}/{n}"));
        assert_same_and_side_by_side("ureq, one agent", &[Mode::Spawn], get, path);
    });
}

#[test]
fn ureq_gives_up_in_time() {
    let server = http_server(Duration::from_secs(60));
    on_one_os_thread(move || {
        let give_up = move |n| {
            let config = ureq::Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(1)))
                .build();
            let agent = ureq::Agent::new_with_config(config);
            (
                n,
                told(agent.get(format!("http://{server}/")).call().unwrap_err()),
            )
        };
        let late = |n| (n, "timeout: global".to_owned());
        assert_same_and_side_by_side("ureq, timeouts", &[Mode::Spawn], give_up, late);
    });
}

/// Two thousand ends of handshakes are work that no greenlet takes off the processor. An answer
/// that takes its time leaves room for it within the promise.
const TLS_DELAY: Duration = Duration::from_secs(3);

/// A server with a certificate of a CA that nobody knows, and an agent that trusts this CA.
fn tls() -> (u16, ureq::Agent) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "greenroom's own CA");
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".into()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap().der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    let server = server(move |peer| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(rustls::StreamOwned::new(connection, peer), TLS_DELAY);
    });
    let root = ureq::tls::Certificate::from_der(root.der()).to_owned();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        // A handshake each, in each run.
        .max_idle_connections(0)
        .build();
    (server.port(), ureq::Agent::new_with_config(config))
}

#[test]
fn ureq_over_tls_with_a_ca_of_our_own() {
    let (port, agent) = tls();
    on_one_os_thread(move || {
        let get = move |n: usize| by_ureq(&agent, &format!("https://localhost:{port}/{n}"));
        assert_same_and_side_by_side("ureq over TLS", Mode::ALL, get, path);
    });
}

#[test]
fn reqwest_blocking_and_its_tokio() {
    let server = http_server(2 * DELAY);
    on_one_os_thread(move || {
        let make = move || {
            let client = reqwest::blocking::Client::new();
            move |n: usize| {
                let response = client.get(format!("http://{server}/{n}")).send();
                response.expect("an answer").text().expect("a body")
            }
        };
        // The caller waits for the client's own thread by std::thread::park.
        let proof = Proof::of("reqwest::blocking").modes(Mode::WITH_IDENTITY);
        proof.run_each(make, path);
    });
}

#[test]
fn errnos() {
    let silent = silent_server(Duration::from_secs(60));
    let resets = resetting_server();
    let (tls, trusting) = tls();
    let limit = Some(Duration::from_millis(100));
    on_one_os_thread(move || {
        let said = same_failures(Mode::ALL, move || {
            let config = ureq::Agent::config_builder().timeout_recv_response(limit);
            let agent = ureq::Agent::new_with_config(config.build());
            let fails = |url: String| told(agent.get(url).call().unwrap_err());
            vec![
                ("refused", fails(format!("http://{NOBODY}/"))),
                ("late", fails(format!("http://{silent}/"))),
                ("reset", fails(format!("http://{resets}/"))),
                ("no such name", fails("http://no.such.name.invalid/".into())),
                ("not trusted", fails(format!("https://localhost:{tls}/"))),
                ("another name", {
                    let url = format!("https://127.0.0.1:{tls}/");
                    told(trusting.get(url).call().unwrap_err())
                }),
            ]
        });
        assert!(said[0].1.contains("os error 111"), "{said:?}");
        assert!(said[1].1.contains("timeout"), "{said:?}");
        let said = same_failures(Mode::WITH_IDENTITY, move || {
            let fails = |url: String, limit_ms| {
                let client = reqwest::blocking::Client::builder();
                let client = client.timeout(Duration::from_millis(limit_ms)).build();
                told(client.unwrap().get(url).send().unwrap_err())
            };
            vec![
                ("refused", fails(format!("http://{NOBODY}/"), 20_000)),
                ("late", fails(format!("http://{silent}/"), 100)),
                ("reset", fails(format!("http://{resets}/"), 20_000)),
                (
                    "no such name",
                    fails("http://no.such.name.invalid/".into(), 20_000),
                ),
            ]
        });
        assert!(said[0].1.contains("os error 111"), "{said:?}");
    });
}
