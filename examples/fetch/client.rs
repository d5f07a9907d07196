//! One GET, whole: redirects, the deadline over everything, the cap on the body.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ureq::http::{Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body};
use url::Url;

use crate::failure::Failure;
use crate::resolver::GreenResolver;
use crate::transport::{GreenConnector, WholeBodies};

/// The longest head of a response; it has to fit into the buffer below.
const HEAD_MAX: usize = 32_000;
/// What ureq's TLS transport gets to read into, and to write from, instead of 128 KiB each.
const TLS_INPUT: usize = 32 << 10;
const TLS_OUTPUT: usize = 16 << 10;
/// How much of a body is moved at a time; it lies on the greenlet's stack.
const CHUNK: usize = 8 << 10;

/// What one request may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the lookup of the name to the last byte of the body, redirects included.
    pub(crate) timeout: Duration,
    pub(crate) body_max: u64,
    pub(crate) redirects_max: u32,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    /// Where the redirects led, if there were any.
    pub(crate) moved_to: Option<Url>,
}

/// One HTTP client for all greenlets: its TLS setup is made once, at the first https URL.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    limits: Limits,
}

impl Client {
    /// A client that trusts `roots`.
    pub(crate) fn new(limits: Limits, roots: RootCerts) -> Client {
        let config = Agent::config_builder()
            .user_agent(concat!("greenroom-fetch/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(limits.timeout))
            .max_response_header_size(HEAD_MAX)
            .input_buffer_size(TLS_INPUT)
            .output_buffer_size(TLS_OUTPUT)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0) // we follow them ourselves
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        let chain = GreenConnector
            .chain(RustlsConnector::default())
            .chain(WholeBodies);
        Client {
            agent: Agent::with_parts(config, chain, GreenResolver),
            limits,
        }
    }

    /// Fetches `url` and writes the body to `sink`.
    pub(crate) fn get(&self, url: &Url, sink: &mut dyn Write) -> Result<Page, Failure> {
        let deadline = Instant::now() + self.limits.timeout;
        let mut trail: Vec<Url> = Vec::new();
        loop {
            let here = trail.last().unwrap_or(url);
            let answer = self.ask(here, trail.is_empty(), deadline)?;
            let Some(next) = redirect(&answer, here)? else {
                let status = answer.status().as_u16();
                let bytes = self.receive(answer, sink)?;
                return Ok(Page {
                    status,
                    bytes,
                    moved_to: trail.pop(),
                });
            };
            if next == *url || trail.contains(&next) {
                return Err(Failure::RedirectLoop(next.into()));
            }
            if trail.len() >= self.limits.redirects_max as usize {
                return Err(Failure::TooManyRedirects(self.limits.redirects_max));
            }
            trail.push(next);
        }
    }

    /// Sends one request and waits for the head of its answer.
    fn ask(&self, url: &Url, first: bool, deadline: Instant) -> Result<Response<Body>, Failure> {
        let request = self.agent.get(url.as_str());
        // The agent's own limit serves the first request; later ones get what is left of it.
        let answer = if first {
            request.call()
        } else {
            let left = deadline.saturating_duration_since(Instant::now());
            request.config().timeout_global(Some(left)).build().call()
        };
        answer.map_err(|e| Failure::from_ureq(e, self.limits.timeout))
    }

    /// Moves the body to `sink`, as far as the cap allows.
    fn receive(&self, answer: Response<Body>, sink: &mut dyn Write) -> Result<u64, Failure> {
        if !answer.status().is_success() {
            return Err(Failure::Status(answer.status().as_u16()));
        }
        let max = self.limits.body_max;
        let mut body = answer.into_body();
        if body
            .content_length()
            .is_some_and(|announced| announced > max)
        {
            return Err(Failure::TooLong(max));
        }
        let mut reader = body.as_reader();
        let mut chunk = [0; CHUNK];
        let mut bytes = 0;
        loop {
            let got = match reader.read(&mut chunk) {
                Ok(0) => return Ok(bytes),
                Ok(got) => got,
                Err(e) => return Err(Failure::from_io(e, self.limits.timeout)),
            };
            bytes += got as u64;
            if bytes > max {
                return Err(Failure::TooLong(max));
            }
            sink.write_all(&chunk[..got]).map_err(Failure::Sink)?;
        }
    }
}

/// Where the answer sends us, if it is a redirect that we follow.
fn redirect(answer: &Response<Body>, here: &Url) -> Result<Option<Url>, Failure> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(target) = answer.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    let target = String::from_utf8_lossy(target.as_bytes());
    let refuse = |why: &str| Err(Failure::BadRedirect(format!("{why}: {target}")));
    let next = match here.join(&target) {
        Ok(next) => next,
        Err(e) => return refuse(&e.to_string()),
    };
    if here.scheme() == "https" && next.scheme() == "http" {
        return refuse("from https to http");
    }
    fetchable(next).map(Some).or_else(refuse)
}

/// Lets through what we fetch; says of everything else why not.
pub(crate) fn fetchable(mut url: Url) -> Result<Url, &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http and https are fetched");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or a password");
    }
    url.set_fragment(None); // it never goes to a server
    Ok(url)
}

/// The roots that ship with the client, and those of a PEM file besides.
pub(crate) fn roots_with(pem: &[u8]) -> io::Result<RootCerts> {
    let mut roots: Vec<_> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
        .collect();
    let shipped = roots.len();
    for item in ureq::tls::parse_pem(pem) {
        match item.map_err(ureq::Error::into_io)? {
            ureq::tls::PemItem::Certificate(cert) => roots.push(cert),
            _ => continue,
        }
    }
    if roots.len() == shipped {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no certificate in it",
        ));
    }
    Ok(RootCerts::new_with_certs(&roots))
}
