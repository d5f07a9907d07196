//! Who is believed to be whom.

use super::bounded_by;
use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::child::fetch;
use crate::origin::{self, redirect, respond, serve_paths};
use crate::{fails, tls};

#[test]
fn https_needs_a_certificate_from_an_authority_it_trusts() {
    let _bound = bounded_by(300);
    let site = tls::serve("localhost", |path, stream| {
        respond(stream, "200 OK", "", path.as_bytes());
        tls::close(stream);
    });
    let url = format!("https://localhost:{}/secret", site.port);
    let cacert = site.cacert();
    let trusting = ["--json", "--cacert", cacert.to_str().unwrap()];

    let done = fetch(&[&trusting[..], &[&url]].concat());
    assert_eq!(
        (done.code, &done.json()["urls"][0]["bytes"]),
        (0, &7.into()),
        "{done:#?}"
    );

    fails(&[], &url, "certificate rejected: ");
    let other = format!("https://127.0.0.1:{}/secret", site.port);
    let done = fetch(&[&trusting[..], &[&other, &url]].concat());
    done.assert_failed(&other, "certificate rejected: ");
    assert!(
        done.err.contains("not valid for"),
        "the name is named: {done:#?}"
    );
    assert_eq!((&done.json()["ok"], done.code), (&1.into(), 1), "{done:#?}");
}

#[test]
fn https_that_breaks_off_or_goes_on_for_ever_or_leads_to_http_is_a_failure() {
    let _bound = bounded_by(300);
    let plain = serve_paths();
    let target = format!("{plain}/plain");
    let site = tls::serve("localhost", move |path, stream| match path {
        "/down" => redirect(stream, &target),
        "/head" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            origin::write_for_ever(stream, b"X-More-and-more-and-more-and-more");
        }
        "/cut" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf a pa");
            let _ = stream.flush();
        }
        _ => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\na whole page");
            tls::close(stream);
        }
    });
    let cacert = site.cacert();
    let trusting = ["--cacert", cacert.to_str().unwrap()];
    let base = format!("https://localhost:{}", site.port);
    let down = format!("redirect not followed: from https to http: {plain}/plain");
    fails(&trusting, &format!("{base}/down"), &down);
    let head = "bad answer: response head longer than 32000 bytes";
    fails(&trusting, &format!("{base}/head"), head);
    let cut = "connection closed in the middle of the answer";
    fails(&trusting, &format!("{base}/cut"), cut);
    let done = fetch(&[&trusting[..], &[&format!("{base}/whole")]].concat());
    assert_eq!(done.code, 0, "{done:#?}");
}

#[test]
fn http_spoken_on_an_https_port_is_a_failure() {
    let _bound = bounded_by(300);
    let port = origin::accept(|mut visitor| {
        let _ = visitor.peek(&mut [0]);
        let _ = visitor.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        thread::sleep(Duration::from_secs(1));
    });
    fails(&[], &format!("https://127.0.0.1:{port}/"), "TLS failed: ");
}
