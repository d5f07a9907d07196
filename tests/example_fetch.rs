//! The `fetch` example, run as its users run it, against servers of every temper.

mod bounded;

use bounded::bounded_by;
#[path = "example_fetch/child.rs"]
mod child;
#[path = "example_fetch/failures.rs"]
mod failures;
#[path = "example_fetch/https.rs"]
mod https;
#[path = "example_fetch/limits.rs"]
mod limits;
#[path = "example_fetch/origin.rs"]
mod origin;
#[path = "example_fetch/saving.rs"]
mod saving;
#[path = "example_fetch/tls.rs"]
mod tls;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use child::{Done, fetch};
use origin::{REFUSING, respond, serve, serve_paths};

/// Fetches a bad URL beside a good one: the bad one has its reason, the good one comes.
fn fails(flags: &[&str], bad: &str, reason: &str) -> Done {
    let good = format!("{}/good", serve_paths());
    let done = fetch(&[flags, &["--json", bad, &good]].concat());
    done.assert_failed(bad, reason);
    assert_eq!((done.code, done.failures().len()), (1, 1), "{done:#?}");
    let urls = done.json()["urls"].clone();
    let of = |wanted: &str| {
        urls.as_array()
            .unwrap()
            .iter()
            .find(|url| url["url"] == wanted)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (&of(&good)["ok"], &of(&good)["bytes"]),
        (&true.into(), &5.into())
    );
    assert_eq!(of(bad)["ok"], false);
    assert!(
        of(bad)["error"].as_str().unwrap().starts_with(reason),
        "{done:#?}"
    );
    done
}

// ---- the show ----------------------------------------------------------------------------------

#[test]
fn the_show_needs_no_network_and_prints_what_both_ways_cost() {
    let _bound = bounded_by(300);
    let done = child::run(&mut Command::new(child::example("fetch")));
    assert_eq!(done.code, 0, "{done:#?}");
    let lines: Vec<&str> = done.out.lines().collect();
    let count = |wanted: &dyn Fn(&str) -> bool| lines.iter().filter(|line| wanted(line)).count();
    // Twice each: serially and in parallel.
    assert_eq!(
        count(&|line| line.starts_with("GET: http://127.0.0.1:")),
        2 * 60
    );
    assert_eq!(
        count(&|line| line.contains(" bytes received from http://127.0.0.1:")),
        2 * 57
    );
    assert_eq!(count(&|line| line.starts_with("1 bytes received from ")), 2);
    assert_eq!(
        count(&|line| line.starts_with("2000000 bytes received from ")),
        2
    );
    assert_eq!(
        count(&|line| line.ends_with("/missing: the server answered 404 Not Found")),
        2
    );
    assert_eq!(
        count(&|line| line.ends_with("/resets: connection reset by the server")),
        2
    );
    assert_eq!(
        count(&|line| line.ends_with("/silent: no complete answer within 1.5 s")),
        2
    );
    assert_eq!(count(&|line| line.starts_with("failed: ")), 2 * 3);

    let number = |before: &str| -> f64 {
        let line = lines.iter().find_map(|line| line.strip_prefix(before));
        let text = line.unwrap_or_else(|| panic!("no {before:?} in {done:#?}"));
        text.trim_end_matches(" s").parse().expect("a number")
    };
    let (serial, parallel) = (number("serial cost "), number("parallel cost "));
    assert!(serial > 5.0 && serial < 20.0, "{serial}");
    assert!(
        number("ratio ") > 3.0,
        "serial {serial}, parallel {parallel}"
    );
}

// ---- what is fetched ---------------------------------------------------------------------------

#[test]
fn pages_are_named_before_and_counted_after_and_listed_at_the_end() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let done = fetch(&[format!("{site}/a"), format!("{site}/abc")]);
    assert_eq!(done.code, 0, "{done:#?}");
    for line in [
        format!("GET: {site}/a"),
        format!("GET: {site}/abc"),
        format!("2 bytes received from {site}/a."),
        format!("4 bytes received from {site}/abc."),
    ] {
        assert!(
            done.out.lines().any(|l| l == line),
            "no {line:?} in {done:#?}"
        );
    }
    let table: Vec<Vec<&str>> = done
        .out
        .lines()
        .skip_while(|line| !line.starts_with("status"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(table[0], ["status", "bytes", "seconds", "url"]);
    assert_eq!(
        (table[1][0], table[1][1], table[1][3]),
        ("200", "2", &*format!("{site}/a"))
    );
    assert_eq!(
        (table[2][0], table[2][1], table[2][3]),
        ("200", "4", &*format!("{site}/abc"))
    );
    assert_eq!(table[3][..5], ["2", "of", "2", "fetched,", "0"]);
    assert_eq!(done.err, "", "no bar where nobody watches");
}

#[test]
fn a_duplicate_is_reported_and_fetched_once() {
    let _bound = bounded_by(300);
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    let site = serve(move |_, visitor| {
        counter.fetch_add(1, Ordering::Relaxed);
        respond(visitor, "200 OK", "", b"x");
    });
    // The last two are the same page to a server.
    let done = fetch(&[format!("{site}/"), site.clone(), format!("{site}/#top")]);
    assert_eq!(
        (done.code, hits.load(Ordering::Relaxed)),
        (0, 1),
        "{done:#?}"
    );
    let note = format!("note: given again, fetched once: {site}/");
    assert_eq!(
        done.err.lines().filter(|line| **line == note).count(),
        2,
        "{done:#?}"
    );
}

#[test]
fn a_file_gives_one_url_per_line() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("urls.txt");
    let text = format!("# some pages\r\n\r\n  {site}/one  \r\n{site}/two\n#{site}/three\n\u{7}\n");
    fs::write(&file, text).unwrap();
    let done = fetch(&["--json", "--file", file.to_str().unwrap()]);
    let urls = done.json()["urls"].as_array().unwrap().clone();
    let fetched: Vec<_> = urls.iter().filter(|url| url["ok"] == true).collect();
    assert_eq!(fetched.len(), 2);
    assert_eq!(fetched[0]["url"], format!("{site}/one"));
    assert_eq!(fetched[1]["url"], format!("{site}/two"));
    done.assert_failed("\\u{7}", "not a URL to fetch: ");
    assert_eq!(done.code, 1);
}

#[test]
fn one_worker_keeps_the_order_and_serial_too() {
    let _bound = bounded_by(300);
    for flags in [&["--serial"][..], &["--concurrency", "1"]] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let site = serve(move |path, visitor| {
            log.lock().unwrap().push(path.to_owned());
            respond(visitor, "200 OK", "", b"x");
        });
        let paths: Vec<String> = (0..12).map(|n| format!("/{n}")).collect();
        let mut args: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        args.extend(paths.iter().map(|path| format!("{site}{path}")));
        let done = fetch(&args);
        assert_eq!((done.code, &*seen.lock().unwrap()), (0, &paths));
        let said: Vec<&str> = done.out.lines().take(24).collect();
        let wanted: Vec<String> = paths
            .iter()
            .flat_map(|path| {
                let url = format!("{site}{path}");
                [
                    format!("GET: {url}"),
                    format!("1 bytes received from {url}."),
                ]
            })
            .collect();
        assert_eq!(said, wanted);
    }
}

#[test]
fn so_many_are_fetched_at_once_and_never_more() {
    let _bound = bounded_by(300);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let site = serve(move |_, visitor| {
        let here = inside.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(here, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        inside.fetch_sub(1, Ordering::SeqCst);
        respond(visitor, "200 OK", "", b"x");
    });
    let mut args = vec!["--concurrency".to_owned(), "7".to_owned()];
    args.extend((0..35).map(|n| format!("{site}/{n}")));
    let done = fetch(&args);
    assert_eq!(
        (done.code, most.load(Ordering::SeqCst)),
        (0, 7),
        "{done:#?}"
    );
}

// ---- what is said ------------------------------------------------------------------------------

#[test]
fn json_is_one_document_with_everything_in_it() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let (good, bad) = (format!("{site}/x"), "http://nosuch.invalid/");
    let done = fetch(&["--json", &good, bad, &good]);
    let document = done.json();
    assert_eq!(
        (&document["ok"], &document["failed"]),
        (&1.into(), &1.into()),
        "{done:#?}"
    );
    assert_eq!(
        (&document["duplicates"], &document["bytes"]),
        (&1.into(), &2.into())
    );
    assert!(document["seconds"].as_f64().unwrap() > 0.0);
    let [first, second] = document["urls"].as_array().unwrap().as_slice() else {
        panic!("two URLs: {done:#?}");
    };
    assert_eq!(
        (&first["url"], &first["ok"], &first["status"]),
        (&good.into(), &true.into(), &200.into())
    );
    assert!(first["error"].is_null() && first["saved"].is_null() && first["moved_to"].is_null());
    assert_eq!(
        (&second["url"], &second["ok"]),
        (&bad.into(), &false.into())
    );
    assert!(second["status"].is_null() && second["bytes"].is_null() && second["error"].is_string());
}

#[test]
fn quiet_says_nothing_but_failures() {
    let _bound = bounded_by(300);
    let site = serve_paths();
    let good = format!("{site}/x");
    let done = fetch(&["--quiet", &good, &good]);
    assert_eq!((done.code, &*done.out, &*done.err), (0, "", ""));
    let done = fetch(&["--quiet", &good, "nonsense"]);
    assert_eq!((done.code, &*done.out), (1, ""));
    assert_eq!(done.err.lines().collect::<Vec<_>>(), done.failures());
    assert_eq!(done.failures().len(), 1);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let _bound = bounded_by(300);
    let mut command = Command::new(child::example("fetch"));
    let proxy = format!("http://{REFUSING}");
    command
        .env("http_proxy", &proxy)
        .env("HTTP_PROXY", &proxy)
        .env("ALL_PROXY", &proxy);
    let done = child::run(command.arg(serve_paths()));
    assert_eq!(done.code, 0, "{done:#?}");
}

#[test]
fn what_makes_no_sense_exits_with_2() {
    let _bound = bounded_by(300);
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "# nothing\n").unwrap();
    let empty = empty.to_str().unwrap();
    let url = "http://127.0.0.1:1/";
    for args in [
        &["--concurrency", "many", url][..],
        &["--concurrency", "0", url],
        &["--concurrency", "-1", url],
        &["--timeout", "0", url],
        &["--timeout", "NaN", url],
        &["--timeout", "inf", url],
        &["--timeout", "soon", url],
        &["--max-bytes", "-1", url],
        &["--json", "--quiet", url],
        &["--cacert", "/nonexistent", url],
        &["--cacert", empty, url],
        &["--output", "/dev/null/x", url],
        &["--quiet"],
        &["--file", empty],
        &["--file", "/nonexistent", url],
        &["--timeout", "-1", url],
    ] {
        let done = fetch(args);
        assert_eq!(done.code, 2, "{args:?}: {done:#?}");
        assert!(
            done.err.starts_with("error: ") && done.out.is_empty(),
            "{args:?}: {done:#?}"
        );
        // Not the usage error of an option that looks like a number.
        assert!(!done.err.contains("unexpected"), "{args:?}: {done:#?}");
    }
    let missing = fetch(&["--file", "/nonexistent"]);
    assert!(missing.err.contains("--file /nonexistent: No such file"));
}

#[test]
fn a_url_without_a_scheme_is_asked_about() {
    let _bound = bounded_by(300);
    for text in ["www.python.org", "localhost:8000/x"] {
        let done = fetch(&[text]);
        assert_eq!(done.code, 1, "{done:#?}");
        done.assert_failed(text, "not a URL to fetch: is http:// or https:// missing?");
    }
}

#[test]
fn help_names_every_option_and_gives_examples() {
    let _bound = bounded_by(300);
    let done = fetch(&["--help"]);
    assert_eq!((done.code, &*done.err), (0, ""));
    for word in [
        "--file",
        "--concurrency",
        "--timeout",
        "--serial",
        "--output",
        "--json",
        "--quiet",
        "--cacert",
        "--max-bytes",
        "--max-redirects",
        "Examples:",
        "Exit status:",
    ] {
        assert!(done.out.contains(word), "no {word} in {}", done.out);
    }
}

// ---- the benchmark -----------------------------------------------------------------------------

#[test]
fn fetch_bench_counts_what_came_as_it_should() {
    let _bound = bounded_by(300);
    let site = serve(|_, visitor| respond(visitor, "200 OK", "", b"Hello, World!"));
    let done = child::run(Command::new(child::example("fetch_bench")).args([&site, "50", "10"]));
    let result = done.json();
    assert_eq!((done.code, &result["ok"]), (0, &50.into()), "{done:#?}");
    for field in ["secs", "cpu_s", "hwm_kb"] {
        assert!(
            result[field].as_f64().unwrap() > 0.0,
            "{field} in {done:#?}"
        );
    }
}
