//! What a server may cost: bytes, time, redirects.

use super::bounded_by;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::child::fetch;
use crate::fails;
use crate::origin::{self, redirect, respond, serve};

#[test]
fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| match path {
        "/endless" => {
            let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            origin::write_for_ever(visitor, &[b'x'; 8192]);
        }
        "/chunks" => {
            let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            origin::write_for_ever(visitor, b"5\r\nhello\r\n");
        }
        "/announced" => {
            let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        }
        _ => respond(visitor, "200 OK", "", &[b'x'; 100_000]),
    });
    let cap = ["--max-bytes", "100000"];
    for path in ["/endless", "/chunks", "/announced"] {
        fails(
            &cap,
            &format!("{site}{path}"),
            "body longer than 100000 bytes",
        );
    }
    let exact = fetch(&[&cap[..], &[&format!("{site}/exact")]].concat());
    assert_eq!(exact.code, 0, "{exact:#?}");
    fails(
        &["--max-bytes", "99999"],
        &format!("{site}/exact"),
        "body longer than 99999 bytes",
    );
}

#[test]
fn the_deadline_covers_the_whole_request_however_lively_the_server_is() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| {
        let drip = |visitor: &mut TcpStream| {
            while visitor.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        };
        match path {
            "/silent" => thread::sleep(Duration::from_secs(30)),
            "/head" => {
                let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ");
                drip(visitor);
            }
            "/body" => {
                let _ = visitor.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                drip(visitor);
            }
            hop => {
                thread::sleep(Duration::from_millis(200));
                redirect(visitor, &format!("{hop}x"));
            }
        }
    });
    for path in ["/silent", "/head", "/body", "/hop"] {
        let url = format!("{site}{path}");
        let done = fails(
            &["--timeout", "0.7"],
            &url,
            "no complete answer within 0.7 s",
        );
        assert!(done.took > Duration::from_millis(650), "{done:#?}");
        assert!(done.took < Duration::from_secs(5), "{done:#?}");
    }
}

#[test]
fn a_server_that_never_speaks_tls_meets_the_deadline_too() {
    let _bound = bounded_by(300);
    let port = origin::accept(|_visitor| thread::sleep(Duration::from_secs(30)));
    let url = format!("https://127.0.0.1:{port}/");
    let done = fails(
        &["--timeout", "0.5"],
        &url,
        "no complete answer within 0.5 s",
    );
    assert!(done.took < Duration::from_secs(5), "{done:#?}");
}

#[test]
fn redirects_are_followed_so_far_and_not_in_circles() {
    let _bound = bounded_by(300);
    let site = serve(|path, visitor| match path {
        "/a" => redirect(visitor, "b?x=1#part"),
        "/b?x=1" => redirect(visitor, "/c"),
        "/c" => respond(visitor, "200 OK", "", b"here"),
        "/self" => redirect(visitor, "/self"),
        "/ping" => redirect(visitor, "/pong"),
        "/pong" => redirect(visitor, "/ping"),
        "/ftp" => redirect(visitor, "ftp://127.0.0.1/"),
        "/login" => redirect(visitor, "//me:pw@127.0.0.1/"),
        "/bad" => redirect(visitor, "http://[::1"),
        "/nowhere" => respond(visitor, "302 Found", "", b""),
        more => redirect(visitor, &format!("{more}x")),
    });
    let done = fetch(&["--json", &format!("{site}/a")]);
    let url = done.json()["urls"][0].clone();
    assert_eq!(
        (&url["status"], &url["bytes"]),
        (&200.into(), &4.into()),
        "{done:#?}"
    );
    assert_eq!(url["moved_to"], format!("{site}/c"));

    let to_self = format!("redirect loop: sent back to {site}/self");
    fails(&[], &format!("{site}/self"), &to_self);
    let to_start = format!("redirect loop: sent back to {site}/ping");
    fails(&[], &format!("{site}/ping"), &to_start);
    fails(&[], &format!("{site}/more"), "more than 10 redirects");
    fails(
        &["--max-redirects", "1"],
        &format!("{site}/a"),
        "more than 1 redirects",
    );
    fails(
        &[],
        &format!("{site}/ftp"),
        "redirect not followed: only http and https are fetched: ftp:",
    );
    let login = "redirect not followed: it holds a user name";
    fails(&[], &format!("{site}/login"), login);
    fails(&[], &format!("{site}/bad"), "redirect not followed: ");
    fails(
        &[],
        &format!("{site}/nowhere"),
        "the server answered 302 Found",
    );
}
