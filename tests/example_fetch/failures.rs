//! What goes wrong on the way: each has its own reason, and the others go on.

use super::bounded_by;
use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::child::fetch;
use crate::fails;
use crate::origin::{self, REFUSING, respond, serve, serve_paths};

#[test]
fn an_error_status_is_a_failure() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| respond(visitor, &path[1..].replace('_', " "), "", b"no"));
    let missing = fails(
        &[],
        &format!("{site}/404_x"),
        "the server answered 404 Not Found",
    );
    assert_eq!(missing.json()["urls"][0]["status"], 404);
    fails(
        &[],
        &format!("{site}/500_x"),
        "the server answered 500 Internal Server Error",
    );
    fails(
        &[],
        &format!("{site}/304_x"),
        "the server answered 304 Not Modified",
    );
}

#[test]
fn a_reset_is_a_failure_even_in_a_body_that_ends_when_the_server_closes() {
    let _bound = bounded_by(300);
    // A socket that is closed with bytes unread resets the connection.
    let before = origin::accept(|visitor| {
        let _ = visitor.peek(&mut [0]);
    });
    let url = format!("http://127.0.0.1:{before}/");
    fails(&[], &url, "connection reset by the server");

    let within = origin::accept(|mut visitor| {
        let _ = visitor.peek(&mut [0]);
        let _ = visitor.write_all(b"HTTP/1.0 200 OK\r\n\r\nhalf a pa");
        thread::sleep(Duration::from_millis(100));
    });
    let url = format!("http://127.0.0.1:{within}/");
    fails(&[], &url, "connection reset by the server");
}

#[test]
fn a_body_that_ends_too_early_is_a_failure() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| {
        let _ = match path {
            "/length" => visitor.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
            "/chunked" => {
                visitor.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf")
            }
            _ => visitor.write_all(b"HTTP/1.1 200 OK\r\nContent-Le"),
        };
    });
    for path in ["/length", "/chunked", "/head"] {
        fails(
            &[],
            &format!("{site}{path}"),
            "connection closed in the middle of the answer",
        );
    }
}

#[test]
fn what_is_no_http_is_a_failure_and_its_bytes_are_made_harmless() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| {
        let _ = match path {
            "/ssh" => visitor.write_all(b"SSH-2.0-\x1b[31mred\r\n\r\n"),
            "/location" => {
                visitor.write_all(b"HTTP/1.1 302 Found\r\nLocation: ftp:\xc2\x9b31m\r\n\r\n")
            }
            _ => visitor.write_all("HTTP/1.1 200 \u{1b}[31m\r\n\r\n".as_bytes()),
        };
    });
    for path in ["/ssh", "/location", "/status"] {
        let done = fetch(&[format!("{site}{path}")]);
        let said = format!("{}{}", done.out, done.err);
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(said.chars().all(harmless), "{done:#?}");
        assert_eq!((done.failures().len(), done.code), (1, 1), "{done:#?}");
        let spelled_out = done.err.contains("\\u{9b}31m");
        assert_eq!(spelled_out, path == "/location", "{done:#?}");
    }
}

#[test]
fn an_endless_head_meets_its_limit() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| {
        let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\n");
        match path {
            "/lines" => origin::write_for_ever(visitor, b"X-More: and more and more\r\n"),
            _ => origin::write_for_ever(visitor, b"X-More-and-more-and-more-and-more"),
        }
    });
    fails(
        &[],
        &format!("{site}/lines"),
        "bad answer: http parse resulted in too many headers",
    );
    fails(
        &[],
        &format!("{site}/line"),
        "bad answer: response head longer than 32000 bytes",
    );
}

#[test]
fn a_refused_port_an_unknown_host_and_a_bad_url_are_told_apart() {
    let _bound = bounded_by(300);
    let reason = format!("cannot connect to {REFUSING}: Connection refused");
    fails(&[], &format!("http://{REFUSING}/"), &reason);
    fails(
        &[],
        "http://nosuch.invalid/",
        "no address for host nosuch.invalid: ",
    );
    fails(
        &[],
        "no url",
        "not a URL to fetch: is http:// or https:// missing?",
    );
    fails(
        &[],
        "ftp://127.0.0.1/x",
        "not a URL to fetch: only http and https",
    );
    fails(
        &[],
        "http://me:pw@127.0.0.1/",
        "not a URL to fetch: it holds a user name",
    );
    fails(
        &[],
        "http://127.0.0.1:99999/",
        "not a URL to fetch: invalid port number",
    );
}

#[test]
fn an_unreadable_file_is_a_command_line_that_makes_no_sense() {
    let _bound = bounded_by(300);
    let good = format!("{}/good", serve_paths());
    for (file, reason) in [
        ("/nonexistent/urls", "No such file"),
        ("/", "Is a directory"),
    ] {
        let done = fetch(&["--file", file, &good]);
        let told = format!("error: --file {file}: {reason}");
        assert!(done.err.starts_with(&told), "{done:#?}");
        assert_eq!((done.code, &*done.out), (2, ""), "nothing is fetched");
    }
}
