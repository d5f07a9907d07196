//! `--output`: what is kept, where, and where never.

use super::bounded_by;
use std::fs;
use std::os::unix::fs::symlink;

use crate::child::fetch;
use crate::origin::{respond, serve, serve_paths};

/// The files below a directory, by name.
fn files(dir: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bodies_are_saved_byte_for_byte_under_distinct_names() {
    let _bound = bounded_by(300);
    let body: Vec<u8> = (0..300_000_u32)
        .flat_map(|n| (n % 251).to_le_bytes())
        .collect();
    let served = body.clone();
    let site = serve(move |path, visitor| match path {
        "/big" => respond(visitor, "200 OK", "", &served),
        "/missing" => respond(visitor, "404 Not Found", "", b"sorry"),
        other => respond(visitor, "200 OK", "", other.as_bytes()),
    });
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made/here");
    let paths = ["/big", "/a/b", "/a_b", "/a?b", "/missing", "/"];
    let urls: Vec<String> = paths.iter().map(|path| format!("{site}{path}")).collect();
    let mut args = vec!["--json", "--output", out.to_str().unwrap()];
    args.extend(urls.iter().map(String::as_str));
    let done = fetch(&args);
    assert_eq!(done.code, 1, "{done:#?}");

    let results = done.json()["urls"].as_array().unwrap().clone();
    let saved: Vec<_> = results
        .iter()
        .filter_map(|url| url["saved"].as_str())
        .collect();
    assert_eq!(fs::read(saved[0]).unwrap(), body);
    assert_eq!(fs::read(saved[1]).unwrap(), b"/a/b");
    assert_eq!(fs::read(saved[2]).unwrap(), b"/a_b");
    assert_eq!(fs::read(saved[3]).unwrap(), b"/a?b");
    assert_eq!(fs::read(saved[4]).unwrap(), b"/");
    assert_eq!(
        files(&out).len(),
        5,
        "nothing of the missing page: {:?}",
        files(&out)
    );

    let again = fetch(&["--output", out.to_str().unwrap(), &urls[1]]);
    assert!(
        again.out.contains(&format!("saved in {}/", out.display())),
        "{again:#?}"
    );
    assert_eq!(
        files(&out).len(),
        5,
        "the same name as before: {:?}",
        files(&out)
    );
}

#[test]
fn no_url_makes_a_file_outside_of_the_directory() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let long = "x".repeat(4000);
    let paths = [
        "/../../escaped",
        "/%2e%2e/%2e%2e/escaped",
        "/..%2f..%2fescaped",
        "//etc/passwd",
        "/a\\..\\..\\b",
        "/nul%00byte",
        "/?../../escaped",
        &format!("/{long}1"),
        &format!("/{long}2"),
    ];
    let mut args = vec!["--output".to_owned(), out.to_str().unwrap().to_owned()];
    args.extend(paths.iter().map(|path| format!("{site}{path}")));
    let done = fetch(&args);
    assert_eq!(files(dir.path()), ["out"], "{done:#?}");
    let inside = files(&out);
    let safe = |name: &String| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
            && !name.starts_with('.')
            && name.len() < 200
    };
    assert!(inside.iter().all(safe), "{inside:?}");
    assert_eq!(
        (done.code, inside.len()),
        (0, done.out.matches("GET: ").count()),
        "{done:#?}"
    );
}

#[test]
fn a_link_that_lies_in_the_way_is_replaced_and_not_followed() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let dir = tempfile::tempdir().unwrap();
    let (out, precious) = (dir.path().join("out"), dir.path().join("precious"));
    fs::create_dir(&out).unwrap();
    fs::write(&precious, "mine").unwrap();
    let url = format!("{site}/page");
    let name = format!(
        "{}_page",
        site.trim_start_matches("http://").replace(':', "_")
    );
    symlink(&precious, out.join(&name)).unwrap();
    let done = fetch(&["--output", out.to_str().unwrap(), &url]);
    assert_eq!(done.code, 0, "{done:#?}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
    assert_eq!(fs::read_to_string(out.join(&name)).unwrap(), "/page");
}
