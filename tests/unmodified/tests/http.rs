//! HTTP clients that block: ureq and reqwest::blocking.

use std::sync::Arc;
use std::time::Duration;
use unmodified::*;

const DELAY: Duration = Duration::from_secs(1);

fn by_ureq(agent: &ureq::Agent, url: &str) -> String {
    let mut response = agent.get(url).call().expect("an answer");
    response.body_mut().read_to_string().expect("a body")
}

#[test]
fn ureq_with_a_connection_each() {
    let server = http_server(DELAY);
    on_one_os_thread(move || {
        let get = move |n: usize| {
            let agent = ureq::Agent::new_with_defaults();
            by_ureq(&agent, &format!("http://{server}/{n}"))
        };
        let (native, _) = timed(|| greenroom::monkey::native(|| get(7)));
        let (one, single) = timed(|| get(7));
        assert_eq!(native, one);
        let (texts, all) = many(MANY, get);
        let expected: Vec<_> = (0..MANY).map(|n| format!("/{n}")).collect();
        assert_eq!(texts, expected);
        assert_side_by_side("ureq", single, all);
    });
}

#[test]
fn ureq_with_an_agent_for_all() {
    let server = http_server(DELAY);
    on_one_os_thread(move || {
        let agent = ureq::Agent::new_with_defaults();
        let get = move |n: usize| by_ureq(&agent, &format!("http://{server}/{n}"));
        let (_, single) = timed(|| get(0));
        let (texts, all) = many(MANY, get);
        assert_eq!(texts[999], "/999");
        assert_side_by_side("ureq, one agent", single, all);
    });
}

#[test]
fn ureq_gives_up_in_time() {
    let server = http_server(Duration::from_secs(60));
    on_one_os_thread(move || {
        let give_up = move |_| {
            let limit = Duration::from_millis(300);
            let config = ureq::Agent::config_builder()
                .timeout_global(Some(limit))
                .build();
            let call = ureq::Agent::new_with_config(config)
                .get(format!("http://{server}/"))
                .call();
            matches!(call, Err(ureq::Error::Timeout(_)))
        };
        let (gave_up, all) = many(100, give_up);
        assert!(gave_up.iter().all(|gave_up| *gave_up));
        assert!(all < Duration::from_secs(5), "{all:?}");
    });
}

#[test]
fn ureq_over_tls_with_a_ca_of_our_own() {
    let authority = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let certificate = authority.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(authority.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    let server = server(move |peer| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(rustls::StreamOwned::new(connection, peer), DELAY);
    });
    on_one_os_thread(move || {
        let root = ureq::tls::Certificate::from_der(&certificate).to_owned();
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
            .build();
        let config = ureq::Agent::config_builder().tls_config(tls).build();
        let agent = ureq::Agent::new_with_config(config);
        let port = server.port();
        let get = move |n: usize| by_ureq(&agent, &format!("https://localhost:{port}/{n}"));
        let (_, single) = timed(|| get(0));
        // A handshake is work: so many of them, and not a thousand, fit into the time.
        let (texts, all) = many(200, get);
        assert_eq!(texts[199], "/199");
        assert_side_by_side("ureq over TLS, 200 at once", single, all);
    });
}

#[test]
fn reqwest_blocking_and_its_tokio() {
    let server = http_server(DELAY);
    on_one_os_thread(move || {
        let client = reqwest::blocking::Client::new();
        let get = move |n: usize| {
            let response = client.get(format!("http://{server}/{n}")).send();
            response.expect("an answer").text().expect("a body")
        };
        let (_, single) = timed(|| get(0));
        let (texts, all) = many(MANY, get);
        assert_eq!(texts[999], "/999");
        assert_side_by_side("reqwest::blocking", single, all);
    });
}
